//! `tap`: text, filters, `--follow` and `--stats`.

use std::time::Duration;

use crate::program::child::{Running, skip};
use crate::program::{End, Program, command, command_of};
use crate::terminal::OnTerminal;
use serde_json::json;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::Endpoint;
use zeek_bridge::management::{DispatchRequest, NotifyNodeHello};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::{Event, IdentifierUpdate, LogCreate, LogWrite, ZeekMessage};

const LIMIT: Duration = Duration::from_secs(30);

/// Returns an endpoint that listens, and its address.
async fn listening() -> (Endpoint, String) {
    let endpoint = Endpoint::new().unwrap();
    let listener = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap();
    let address = listener.local_addr().to_string();
    (endpoint, address)
}

async fn publish(endpoint: &Endpoint, topic: &'static str, messages: impl IntoIterator<Item = ZeekMessage>) {
    let topic = Topic::from_static(topic);
    // The limit only prevents a hang.
    tokio::time::timeout(LIMIT, endpoint.wait_for_subscribers(&topic, 1)).await.expect("no subscriber");
    for message in messages {
        assert_eq!(endpoint.publish(topic.clone(), &message.into_value()).await.unwrap(), 1);
    }
}

/// Starts a tap with these options, publishes these messages to it, and returns its output.
async fn tapped(options: &str, messages: Vec<ZeekMessage>) -> End {
    let (endpoint, address) = listening().await;
    let tap = Program::start(&format!("tap --topic /t --tls off --connect {address} {options}"));
    publish(&endpoint, "/t/x", messages).await;
    tokio::task::spawn_blocking(|| tap.end()).await.unwrap()
}

fn event(name: &str, args: impl IntoIterator<Item = Value>) -> ZeekMessage {
    Event::new(name, args.into_iter().collect::<Vec<_>>()).into()
}

fn log_write() -> ZeekMessage {
    LogWrite {
        stream: "Conn::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        path: "conn".into(),
        rows: "1234567".into(),
    }
    .into()
}

/// Returns the lines without the time and the peer, which differ between runs.
fn without_peer(end: &End) -> Vec<&str> {
    assert_eq!(end.code, Some(0), "{end:?}");
    end.stdout
        .iter()
        .map(|line| {
            let (time, rest) = line.split_once("Z  ").unwrap();
            assert_eq!((time.len(), time.split(':').count()), (12, 3), "{line}");
            let (peer, rest) = rest.split_once("  ").unwrap();
            assert!(peer.len() == 8 && peer.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
            rest
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_has_a_line_for_each_event_or_log_write_and_escapes_control_characters() {
    let batch = ZeekMessage::Batch(vec![log_write(), event("in_batch", [])]);
    let evil = event("evil", ["\u{1b}[2J\n\u{202e}".into()]);
    let value = event("ping", ["a".into(), Value::Count(5)]);
    let end = tapped("--format text --count 3", vec![value, batch, evil]).await;
    assert_eq!(
        without_peer(&end),
        [
            "/t/x  ping(a, 5)",
            "/t/x  log write Conn::LOG to conn by Log::WRITER_ASCII: 7 bytes of rows",
            "/t/x  in_batch()",
            r"/t/x  evil(\u{1b}[2J\n\u{202e})",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_text_is_colored_only_on_request() {
    let run = async |options: &str| tapped(&format!("{options} --count 1"), vec![event("e", [])]).await;
    let end = run("--format text --color always").await;
    assert!(end.stdout[0].ends_with("\u{1b}[36m/t/x\u{1b}[0m  \u{1b}[1m\u{1b}[32me\u{1b}[0m()"), "{end:?}");
    for options in ["--format text", "--format text --color never", "--color always"] {
        assert!(!run(options).await.stdout[0].contains('\u{1b}'), "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_the_output_is_json() {
    let end = tapped("--count 1", vec![event("e", [Value::Count(1)])]).await;
    let line = &end.json()[0];
    assert_eq!((&line["topic"], &line["event"]), (&json!("/t/x"), &json!("e")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_json_has_its_members_in_a_fixed_order() {
    let event = Event::new("e", (1u64, "a\u{1b}")).with_metadata([(7, 2u64), (200, 3)]);
    let empty = Event::new("empty", ()).with_metadata([(7, 2u64); 0]);
    let create = LogCreate {
        stream: "Conn::LOG".into(),
        writer: b"\xff"[..].into(),
        writer_info: Value::None,
        fields: Value::from((1u64, "x")),
    };
    let update = IdentifierUpdate { id: "M::x".into(), value: Value::Boolean(true) };
    let messages = || {
        let messages: [ZeekMessage; 6] = [
            event.clone().into(),
            empty.clone().into(),
            Event::new("plain", ()).into(),
            create.clone().into(),
            log_write(),
            update.clone().into(),
        ];
        messages.into_iter().chain([ZeekMessage::Batch(Vec::new())]).collect()
    };
    let without_peer = |end: End| -> Vec<String> {
        assert_eq!(end.code, Some(0), "{end:?}");
        let line = |line: &String| {
            let (time, rest) = line.split_once("Z\",\"peer\":\"").unwrap();
            assert!(time.starts_with("{\"time\":\"2"), "{line}");
            rest.split_once("\",\"topic\":\"/t/x\",").unwrap().1.to_owned()
        };
        end.stdout.iter().map(line).collect()
    };
    let json = without_peer(tapped("--format json --count 7", messages()).await);
    assert_eq!(
        json,
        [
            r#""event":"e","args":[{"@data-type":"count","data":1},{"@data-type":"string","data":"a\u001b"}],"metadata":[{"id":7,"value":{"@data-type":"count","data":2}},{"id":200,"value":{"@data-type":"count","data":3}}]}"#,
            r#""event":"empty","args":[],"metadata":[]}"#,
            r#""event":"plain","args":[],"metadata":null}"#,
            r#""value":{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":2},{"@data-type":"vector","data":[{"@data-type":"enum-value","data":"Conn::LOG"},{"@data-type":"enum-value","hex":"ff"},{"@data-type":"none","data":{}},{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"string","data":"x"}]}]}]}}"#,
            r#""value":{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":3},{"@data-type":"vector","data":[{"@data-type":"enum-value","data":"Conn::LOG"},{"@data-type":"enum-value","data":"Log::WRITER_ASCII"},{"@data-type":"string","data":"conn"},{"@data-type":"string","data":"1234567"}]}]}}"#,
            r#""value":{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":4},{"@data-type":"vector","data":[{"@data-type":"string","data":"M::x"},{"@data-type":"boolean","data":true}]}]}}"#,
            r#""value":{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":5},{"@data-type":"vector","data":[]}]}}"#,
        ]
    );
    let plain = without_peer(tapped("--format plain --count 7", messages()).await);
    assert_eq!(
        plain,
        [
            r#""kind":"event","event":"e","args":[1,"a\u001b"],"metadata":[{"id":7,"value":2},{"id":200,"value":3}]}"#,
            r#""kind":"event","event":"empty","args":[],"metadata":[]}"#,
            r#""kind":"event","event":"plain","args":[],"metadata":null}"#,
            r#""kind":"log-create","stream":"Conn::LOG","writer":null,"fields":[1,"x"]}"#,
            r#""kind":"log-write","stream":"Conn::LOG","writer":"Log::WRITER_ASCII","path":"conn","rows":"1234567"}"#,
            r#""kind":"identifier","id":"M::x","value":true}"#,
            r#""kind":"empty-batch"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_apply_to_text_json_and_counts() {
    let node = |name: &str| -> Vec<ZeekMessage> {
        let hello: Event = NotifyNodeHello { node: name.into() }.into();
        let request =
            DispatchRequest { reqid: "r".into(), action: vec!["a".into()], nodes: [name.to_owned()].into() };
        vec![hello.into(), Event::from(request).into(), event("other", [name.into()])]
    };
    let all = || [node("w1"), node("w2"), vec![event("last", ["w1".into(), "w2".into()])]].concat();
    let names = |end: &End| -> Vec<String> {
        end.json()
            .iter()
            .map(|line| line["event"].as_str().unwrap().rsplit("::").next().unwrap().into())
            .collect()
    };
    let end = tapped("--node w2 --count 4", all()).await;
    assert_eq!(names(&end), ["notify_node_hello", "node_dispatch_request", "other", "last"]);
    assert!(end.stdout[..3].iter().all(|line| line.contains("w2")), "{end:?}");
    let end = tapped("--event *hello --event l?st --count 3", all()).await;
    assert_eq!(names(&end), ["notify_node_hello", "notify_node_hello", "last"]);
    let end = tapped("--event *hello --event last --node w1 --count 2 --format text", all()).await;
    assert_eq!(
        without_peer(&end),
        ["/t/x  Management::Node::API::notify_node_hello(w1)", "/t/x  last(w1, w2)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn text_shows_the_matching_parts_of_a_batch_and_json_the_complete_batch() {
    let batches = || {
        let fits = ZeekMessage::Batch(vec![event("a", []), event("b", []), log_write()]);
        vec![ZeekMessage::Batch(vec![event("c", [])]), fits, event("b", ["alone".into()])]
    };
    let end = tapped("--event b --count 2 --format text", batches()).await;
    assert_eq!(without_peer(&end), ["/t/x  b()", "/t/x  b(alone)"]);
    let end = tapped("--event b --count 2", batches()).await;
    assert!(end.json()[0]["value"].to_string().contains("Conn::LOG"), "{end:?}");
    assert_eq!((end.stdout.len(), end.json()[1]["event"].as_str()), (2, Some("b")));
}

#[test]
fn wrong_options_are_reported() {
    let run = |options: &str| Program::run(&format!("tap --topic x --tls off --connect a:1 {options}"), "");
    run("--format xml").fails(2, &["--format", "auto, text, json"]);
    run("--color blue").fails(2, &["--color", "auto, always, never"]);
    run("--stats --interval 0").fails(2, &["--interval", "100ms to 1day"]);
    run("--stats --interval -1").fails(2, &["--interval", "100ms to 1day"]);
    run("--interval 2").fails(2, &["--stats"]);
    run("--stats --identity").fails(2, &["--identity", "--stats"]);
    run("--event=").fails(2, &["--event", "Management::*"]);
    run("--node=").fails(2, &["--node", "worker-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_retries_the_first_connection_and_reports_peers() {
    // The port is bound here, so no other process can listen on it.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.set_reuseaddr(true).unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let mut tap = Program::start(&format!("tap --topic /t --tls off --connect {address} --follow --count 2"));
    tap.says("is a Zeek or zeek-bridge listening there?");
    drop(bound);
    for (name, there_again) in [("one", true), ("two", false)] {
        let endpoint = Endpoint::new().unwrap();
        endpoint.listen(&address.to_string(), Tls::Off).await.unwrap();
        publish(&endpoint, "/t", [event(name, [])]).await;
        tap.says("peer added");
        assert_eq!(tap.line()["event"], name);
        endpoint.shutdown().await;
        if there_again {
            tap.says("peer lost");
        }
    }
    assert_eq!(tap.end().code, Some(0));
}

#[test]
fn stats_without_a_peering_end_with_exit_code_3() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let end =
        Program::run(&format!("tap --topic /t --tls off --connect {address} --stats --interval 0.1"), "");
    end.fails(3, &["is a Zeek or zeek-bridge listening there?"]);
}

#[test]
fn follow_without_a_peer_ends_with_a_timeout_error() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let end =
        Program::run(&format!("tap --topic /t --tls off --connect {address} --follow --timeout 0.2"), "");
    end.fails(5, &["timeout: no peering yet"]);
    // A listener needs no peer, so the timeout is not an error.
    let end = Program::run("tap --topic /t --tls off --listen 127.0.0.1:0 --follow --timeout 0.2", "");
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_json_lines_and_the_last_one_is_the_total() {
    let messages = vec![
        event("a", []),
        ZeekMessage::Batch(vec![event("a", []), event("b", []), log_write()]),
        event("a", ["not counted".into()]),
    ];
    let end = tapped("--stats --interval 86400 --event ? --count 2", messages).await;
    assert_eq!((end.code, end.stdout.len()), (Some(0), 1), "{end:?}");
    let last = &end.json()[0];
    let rows: Vec<_> =
        last["rows"].as_array().unwrap().iter().map(|row| (&row["event"], &row["count"])).collect();
    assert_eq!(rows, [(&json!("a"), &json!(2)), (&json!("b"), &json!(1))]);
    assert_eq!(
        (&last["end"], &last["all"]["count"], &last["others"]),
        (&json!(true), &json!(3), &json!(null))
    );
    let bytes = |of: &serde_json::Value| of["bytes"].as_u64().unwrap();
    assert_eq!(bytes(&last["rows"][0]) + bytes(&last["rows"][1]), bytes(&last["all"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_reported_at_each_interval() {
    let (endpoint, address) = listening().await;
    let mut tap =
        Program::start(&format!("tap --topic /t --tls off --connect {address} --stats --interval 0.1"));
    publish(&endpoint, "/t/x", [event("a", []), event("a", [])]).await;
    let mut counted = 0;
    while counted < 2 {
        let line = tap.line();
        assert_eq!((&line["end"], &line["peers"]), (&json!(false), &json!(1)));
        for row in line["rows"].as_array().unwrap() {
            assert_eq!(row["topic"], "/t/x");
            assert!(row["rate"].as_f64().unwrap() > 0.0, "{line}");
            counted = row["count"].as_u64().unwrap();
        }
    }
    // An interval without messages has no rows.
    while tap.line()["rows"] != json!([]) {}
    tap.signal("INT");
    let end = tap.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    let last = end.json().pop().unwrap();
    assert_eq!((&last["end"], &last["rows"][0]["count"]), (&json!(true), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_lines_are_text_and_truncated_to_its_width() {
    let (endpoint, address) = listening().await;
    let options = format!("tap --topic /t --tls off --connect {address} --count 3");
    let mut terminal = OnTerminal::start(command(options.split(' ')), 50, 10);
    let long = event("long", ["x".repeat(100).as_str().into()]);
    publish(&endpoint, "/t/x", [long.clone()]).await;
    let shown = terminal.shows("…");
    // The first line reports the connection.
    assert_eq!(shown.lines().nth(1).unwrap().chars().count(), 50, "{shown}");
    // NO_COLOR is set.
    assert!(shown.contains("/t/x  long(xxx") && !shown.contains('\u{1b}'), "{shown}");
    terminal.resize(80, 10);
    publish(&endpoint, "/t/x", [long, event("short", [])]).await;
    let shown = terminal.end();
    let lengths: Vec<_> = shown.lines().map(|line| line.chars().count()).collect();
    assert_eq!(lengths[1..3], [50, 80], "{shown}");
    assert!(shown.lines().nth(3).unwrap().ends_with("/t/x  short()"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_restored_when_stats_are_suspended_or_end() {
    const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
    const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
    let options = "tap --topic /t --tls off --listen 127.0.0.1:0 --stats --interval 0.1 --follow";
    let mut tap = command(options.split(' '));
    tap.env("TERM", "xterm");
    let mut terminal = OnTerminal::start(tap, 110, 6);
    let shown = terminal.shows(ENTER);
    let address = shown.lines().next().unwrap().strip_prefix("listening on ").unwrap();
    let endpoint = Endpoint::new().unwrap();
    endpoint.connect(address, Tls::Off).await.unwrap();
    publish(&endpoint, "/t/x", (0..20).map(|n| event(&format!("event{n:02}"), []))).await;
    // Messages to stderr are below the table.
    terminal.screen_shows("event00");
    terminal.screen_shows("and 18 more");
    let screen = terminal.screen_shows("peer added");
    assert!(screen.lines().next().unwrap().contains("messages in"), "{screen}");
    // Stdin is not a terminal: no keys are read.
    assert!(!screen.contains("q quit"), "{screen}");
    // Suspend and resume the program, as Ctrl-Z and `fg` do.
    terminal.signal("TSTP");
    terminal.shows(LEAVE);
    terminal.shows("peer added");
    terminal.is_stopped();
    terminal.signal("CONT");
    terminal.shows(ENTER);
    terminal.signal("INT");
    let shown = terminal.end();
    let (_, behind) = shown
        .rsplit_once(LEAVE)
        .unwrap_or_else(|| panic!("the program has not left the alternate screen: {shown:?}"));
    assert!(!behind.contains("\u{1b}["), "{behind:?}");
    for n in 0..20 {
        assert!(behind.contains(&format!("event{n:02}")), "{n}: {behind}");
    }
    assert!(behind.contains("20 messages in") && behind.contains("peer removed"), "{behind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_control_the_live_table_and_it_fits_the_terminal() {
    let (endpoint, address) = listening().await;
    let options = format!("tap --topic /t --tls off --connect {address} --stats --interval 0.1 --event *");
    let mut tap = command(options.split(' '));
    tap.env("TERM", "xterm");
    let mut terminal = OnTerminal::with_keys(tap, 110, 12);
    let hostile = "\u{1b}[2Jz";
    publish(&endpoint, "/t/x", ["b", "b", "a", hostile].map(|name| event(name, []))).await;
    let first = |screen: &str| screen.lines().nth(3).unwrap().split_whitespace().last().unwrap().to_owned();
    terminal.screen_shows("4 messages in");
    terminal.press("c");
    let screen = terminal.screen_shows("COUNT▼");
    assert_eq!(first(&screen), "b", "{screen}");
    assert!(screen.contains(r"\u{1b}[2Jz"), "{screen}");
    terminal.press("e");
    let screen = terminal.screen_shows("EVENT▲");
    assert_eq!(first(&screen), r"\u{1b}[2Jz", "{screen}");
    terminal.press("e");
    assert_eq!(first(&terminal.screen_shows("EVENT▼")), "b");
    // Not all columns and rows fit on this screen: the column SHARE is omitted, and a line counts the omitted rows.
    terminal.resize(60, 5);
    let screen = terminal.screen_shows("and 2 more");
    assert!(!screen.contains("SHARE"), "{screen}");
    terminal.press("q");
    let shown = terminal.end();
    let (_, after) = shown.rsplit_once("\u{1b}[?1049l").unwrap();
    assert!(after.contains("4 messages in") && !after.contains('\u{1b}'), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_esc_and_sigquit_end_the_live_table_before_the_count_is_reached() {
    // Ctrl-C, Ctrl-\, Esc, and a signal that another process sends.
    for key in [Some("\u{3}"), Some("\u{1c}"), Some("\u{1b}"), None] {
        let (endpoint, address) = listening().await;
        let options = format!("tap --topic /t --tls off --connect {address} --stats --count 2");
        let mut tap = command(options.split(' '));
        tap.env("TERM", "xterm");
        let mut terminal = OnTerminal::with_keys(tap, 80, 12);
        publish(&endpoint, "/t/x", [event("e", [])]).await;
        terminal.screen_shows("q quit");
        match key {
            Some(key) => terminal.press(key),
            None => terminal.signal("QUIT"),
        }
        let shown = terminal.end_with(1);
        let (_, after) = shown
            .rsplit_once("\u{1b}[?1049l")
            .unwrap_or_else(|| panic!("the program has not left the alternate screen: {shown:?}"));
        assert!(after.contains("interrupted: received 1 of 2 messages"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_in_the_background_of_a_shell_are_tables() {
    if std::process::Command::new("setsid").arg("--version").output().is_err() {
        skip("setsid is not installed: no job is started in the background of a shell");
        return;
    }
    let (endpoint, address) = listening().await;
    let options = format!("tap --topic /t --tls off --connect {address} --stats --count 1");
    let tap = command(options.split(' '));
    // Start a new session with this terminal as its controlling terminal, and a shell with job control.
    let shell = ["--ctty", "--wait", "sh", "-c", "set -m; \"$@\" & wait $!", "-"];
    let mut shell = command_of("setsid", shell);
    shell.arg(tap.get_program()).args(tap.get_args()).env("TERM", "xterm");
    let mut terminal = OnTerminal::with_keys(shell, 80, 12);
    publish(&endpoint, "/t/x", [event("e", [])]).await;
    terminal.shows("1 message in");
    assert!(!terminal.end().contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_whose_output_is_not_read_can_be_ended() {
    use std::process::Stdio;
    use zeek_bridge::endpoint::Status;
    let (endpoint, address) = listening().await;
    let mut status = endpoint.status();
    let options = format!("tap --topic /t --tls off --connect {address} --count 100");
    let mut tap = Running::spawn(command(options.split(' ')).stderr(Stdio::null()));
    // Publish more than the buffer of a pipe holds.
    publish(&endpoint, "/t/x", (0..100).map(|_| event("e", ["x".repeat(5000).into()]))).await;
    let left = async {
        while !matches!(status.recv().await, Some(Status::PeerLost { .. } | Status::PeerRemoved { .. })) {}
    };
    tokio::time::timeout(LIMIT, left).await.expect("the tap leaves after the last message");
    assert!(tap.try_wait().unwrap().is_none(), "the tap ended although its output was not read");
    tap.signal("TERM");
    assert_eq!(tap.end().code(), Some(1), "the exit code reports incomplete output");
}
