//! `tap` for people: text, filters, `--follow` and `--stats`, as a user drives them.

use std::time::Duration;

use crate::program::child::Running;
use crate::program::{End, Program, command};
use crate::terminal::OnTerminal;
use serde_json::json;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::Endpoint;
use zeek_bridge::management::{DispatchRequest, NotifyNodeHello};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::{Event, LogWrite, Message};

const LIMIT: Duration = Duration::from_secs(30);

/// Listens, and lets programs connect to it.
async fn listening() -> (Endpoint, String) {
    let endpoint = Endpoint::new().unwrap();
    let listener = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap();
    let address = listener.local_addr().to_string();
    (endpoint, address)
}

async fn say(endpoint: &Endpoint, topic: &'static str, messages: impl IntoIterator<Item = Message>) {
    let topic = Topic::from_static(topic);
    // The limit is only there so that a fault does not make the tests hang.
    tokio::time::timeout(LIMIT, endpoint.wait_for_subscribers(&topic, 1)).await.expect("nobody listens in");
    for message in messages {
        assert_eq!(endpoint.publish(topic.clone(), &message.into_value()).await.unwrap(), 1);
    }
}

/// What a tap with these options has printed when it has heard these messages.
async fn tapped(options: &str, messages: Vec<Message>) -> End {
    let (endpoint, address) = listening().await;
    let tap = Program::start(&format!("tap --topic /t --tls off --connect {address} {options}"));
    say(&endpoint, "/t/x", messages).await;
    tokio::task::spawn_blocking(|| tap.end()).await.unwrap()
}

fn event(name: &str, args: impl IntoIterator<Item = Value>) -> Message {
    Event::new(name, args.into_iter().collect::<Vec<_>>()).into()
}

fn log_write() -> Message {
    LogWrite {
        stream: "Conn::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        path: "conn".into(),
        rows: "1234567".into(),
    }
    .into()
}

/// The lines without the time and the peer, which differ.
fn behind_the_peer(end: &End) -> Vec<&str> {
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
async fn text_is_a_line_for_each_message_and_steers_no_terminal() {
    let batch = Message::Batch(vec![log_write(), event("in_batch", [])]);
    let evil = event("evil", ["\u{1b}[2J\n\u{202e}".into()]);
    let value = event("ping", ["a".into(), Value::Count(5)]);
    let end = tapped("--format text --count 3", vec![value, batch, evil]).await;
    assert_eq!(
        behind_the_peer(&end),
        [
            "/t/x  ping(a, 5)",
            "/t/x  log write Conn::LOG to conn by Log::WRITER_ASCII: 7 bytes of rows",
            "/t/x  in_batch()",
            r"/t/x  evil(\u{1b}[2J\n\u{202e})",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn color_is_there_when_it_is_asked_for_and_not_where_no_terminal_is() {
    let run = async |options: &str| tapped(&format!("{options} --count 1"), vec![event("e", [])]).await;
    let end = run("--format text --color always").await;
    assert!(end.stdout[0].ends_with("\u{1b}[36m/t/x\u{1b}[0m  \u{1b}[1m\u{1b}[32me\u{1b}[0m()"), "{end:?}");
    for options in ["--format text", "--format text --color never", "--color always"] {
        assert!(!run(options).await.stdout[0].contains('\u{1b}'), "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_is_json_as_ever() {
    let end = tapped("--count 1", vec![event("e", [Value::Count(1)])]).await;
    let line = &end.json()[0];
    assert_eq!((&line["topic"], &line["event"]), (&json!("/t/x"), &json!("e")));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_in_text_and_json_and_what_is_counted() {
    let node = |name: &str| -> Vec<Message> {
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
        behind_the_peer(&end),
        ["/t/x  Management::Node::API::notify_node_hello(w1)", "/t/x  last(w1, w2)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_text_shows_what_fits_and_json_all_if_anything_does() {
    let batches = || {
        let fits = Message::Batch(vec![event("a", []), event("b", []), log_write()]);
        vec![Message::Batch(vec![event("c", [])]), fits, event("b", ["alone".into()])]
    };
    let end = tapped("--event b --count 2 --format text", batches()).await;
    assert_eq!(behind_the_peer(&end), ["/t/x  b()", "/t/x  b(alone)"]);
    let end = tapped("--event b --count 2", batches()).await;
    assert!(end.json()[0]["value"].to_string().contains("Conn::LOG"), "{end:?}");
    assert_eq!((end.stdout.len(), end.json()[1]["event"].as_str()), (2, Some("b")));
}

#[test]
fn wrong_options_are_named() {
    let run = |options: &str| Program::run(&format!("tap --topic x --tls off --connect a:1 {options}"), "");
    run("--format xml").fails(2, &["--format", "auto, text, json"]);
    run("--color blue").fails(2, &["--color", "auto, always, never"]);
    run("--stats --interval 0").fails(2, &["--interval", "0.1 to 86400"]);
    run("--stats --interval -1").fails(2, &["--interval", "0.1 to 86400"]);
    run("--interval 2").fails(2, &["--stats"]);
    run("--stats --identity").fails(2, &["--identity", "--stats"]);
    run("--event=").fails(2, &["--event", "Management::*"]);
    run("--node=").fails(2, &["--node", "worker-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_begins_before_anyone_listens_and_tells_who_comes_and_goes() {
    // Nobody else gets the port while it is bound here, and nobody listens on it.
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
        say(&endpoint, "/t", [event(name, [])]).await;
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
fn stats_of_nothing_are_not_told() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let end =
        Program::run(&format!("tap --topic /t --tls off --connect {address} --stats --interval 0.1"), "");
    end.fails(3, &["is a Zeek or zeek-bridge listening there?"]);
}

#[test]
fn follow_without_any_peer_is_a_timeout() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let end =
        Program::run(&format!("tap --topic /t --tls off --connect {address} --follow --timeout 0.2"), "");
    end.fails(5, &["timeout: no peering yet"]);
    // Who listens has none until one comes.
    let end = Program::run("tap --topic /t --tls off --listen 127.0.0.1:0 --follow --timeout 0.2", "");
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_json_lines_and_the_last_one_tells_of_all() {
    let messages = vec![
        event("a", []),
        Message::Batch(vec![event("a", []), event("b", []), log_write()]),
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
async fn stats_come_again_and_again() {
    let (endpoint, address) = listening().await;
    let mut tap =
        Program::start(&format!("tap --topic /t --tls off --connect {address} --stats --interval 0.1"));
    say(&endpoint, "/t/x", [event("a", []), event("a", [])]).await;
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
    // An interval in which nothing came has no rows.
    while tap.line()["rows"] != json!([]) {}
    tap.signal("INT");
    let end = tap.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    let last = end.json().pop().unwrap();
    assert_eq!((&last["end"], &last["rows"][0]["count"]), (&json!(true), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_lines_are_for_people_and_as_long_as_it_is_wide() {
    let (endpoint, address) = listening().await;
    let options = format!("tap --topic /t --tls off --connect {address} --count 3");
    let mut terminal = OnTerminal::start(command(options.split(' ')), 50, 10);
    let long = event("long", ["x".repeat(100).as_str().into()]);
    say(&endpoint, "/t/x", [long.clone()]).await;
    let shown = terminal.shows("…");
    assert_eq!(shown.lines().next().unwrap().chars().count(), 50, "{shown}");
    // NO_COLOR is set.
    assert!(shown.contains("/t/x  long(xxx") && !shown.contains('\u{1b}'), "{shown}");
    terminal.terminal.resize(80, 10);
    say(&endpoint, "/t/x", [long, event("short", [])]).await;
    let shown = terminal.end();
    let lengths: Vec<_> = shown.lines().map(|line| line.chars().count()).collect();
    assert_eq!(lengths[..2], [50, 80], "{shown}");
    assert!(shown.lines().nth(2).unwrap().ends_with("/t/x  short()"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_stats_were_drawn_on_is_left_as_it_was() {
    const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
    const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
    let options = "tap --topic /t --tls off --listen 127.0.0.1:0 --stats --interval 0.1 --follow";
    let mut tap = command(options.split(' '));
    tap.env("TERM", "xterm");
    let mut terminal = OnTerminal::start(tap, 110, 6);
    let shown = terminal.shows(ENTER);
    let address = shown.lines().next().unwrap().strip_prefix("listening on ").unwrap();
    let endpoint = Endpoint::new().unwrap();
    endpoint.connect(address, Tls::Off, None).first_attempt().await.unwrap();
    say(&endpoint, "/t/x", (0..20).map(|n| event(&format!("event{n:02}"), []))).await;
    // What is said meanwhile is below the table, and not in its midst.
    terminal.shows("event00");
    terminal.shows("and 19 more");
    terminal.shows("peer added");
    // As with Ctrl-Z, and `fg`.
    terminal.signal("TSTP");
    terminal.shows(LEAVE);
    terminal.shows("peer added");
    terminal.is_stopped();
    terminal.signal("CONT");
    terminal.shows(ENTER);
    terminal.signal("INT");
    let shown = terminal.end();
    let (_, behind) = shown.rsplit_once(LEAVE).unwrap_or_else(|| panic!("not left: {shown:?}"));
    assert!(!behind.contains("\u{1b}["), "{behind:?}");
    for n in 0..20 {
        assert!(behind.contains(&format!("event{n:02}")), "{n}: {behind}");
    }
    assert!(behind.contains("20 messages in") && behind.contains("peer removed"), "{behind}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_nobody_to_read_can_be_ended() {
    use std::process::Stdio;
    use zeek_bridge::endpoint::Status;
    let (endpoint, address) = listening().await;
    let mut status = endpoint.status();
    let options = format!("tap --topic /t --tls off --connect {address} --count 100");
    let mut tap = Running::spawn(command(options.split(' ')).stderr(Stdio::null()));
    // A pipe takes less.
    say(&endpoint, "/t/x", (0..100).map(|_| event("e", ["x".repeat(5000).into()]))).await;
    let left = async {
        while !matches!(status.recv().await, Some(Status::PeerLost { .. } | Status::PeerRemoved { .. })) {}
    };
    tokio::time::timeout(LIMIT, left).await.expect("it does not leave when it has what it wants");
    assert!(tap.try_wait().unwrap().is_none(), "all was written, where nobody reads");
    tap.signal("TERM");
    assert_eq!(tap.end().code(), Some(1), "not all was written");
}
