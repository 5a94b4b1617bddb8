//! `node`, `dispatch` and `demo`, as a user runs them.

use std::io::Write;
use std::time::Duration;

use crate::program::child::Running;
use crate::program::{End, Files, Program, command};
use serde_json::{Value as Json, json};
use zeek_bridge::data::Value;
use zeek_bridge::endpoint::{ConnectError, Endpoint, Status, StatusReceiver};
use zeek_bridge::management::{DispatchError, DispatchRequest, JsonText, NODE_TOPIC, Node, NodeMessage};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};
use zeek_bridge::peering::CloseReason;
use zeek_bridge::zeek::{Event, ZeekMessage};

fn values(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn success(node: &str, data: Json) -> Json {
    json!({"node": node, "success": true, "data": data, "error": null})
}

fn failed(node: &str, error: &str) -> Json {
    json!({"node": node, "success": false, "data": null, "error": error})
}

#[track_caller]
fn assert_answers(end: &End, expected: &[Json]) {
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert_eq!(end.json(), expected);
}

#[test]
fn a_listening_node_answers_several_agents() {
    let file =
        values(r#"{"Cluster::node": "worker-01", "ports": [{"port": 80, "proto": "tcp"}], "real": 1.50}"#);
    let values = file.path().display();
    let mut node =
        Program::start(&format!("node --name worker-01 --values {values} --tls off --listen 127.0.0.1:0"));
    let address = node.address();
    let dispatch =
        |action: &str| Program::run(&format!("dispatch --tls off --connect {address} {action}"), "");
    assert_answers(&dispatch("get_id_value Cluster::node"), &[success("worker-01", json!("worker-01"))]);
    let ports = json!([{"port": 80, "proto": "tcp"}]);
    assert_answers(&dispatch("--nodes worker-01 get_id_value ports"), &[success("worker-01", ports)]);
    let real = dispatch("get_id_value real");
    assert_eq!(real.stdout, [r#"{"node":"worker-01","success":true,"data":1.50,"error":null}"#]);
    // A failure is also an answer.
    assert_answers(&dispatch("get_id_value nonsense"), &[failed("worker-01", "unknown id")]);
    assert_answers(
        &dispatch("get_id_value"),
        &[failed("worker-01", "get_id_value expects name of global identifier")],
    );
    assert_answers(&dispatch("reboot now"), &[failed("worker-01", "dispatch reboot unknown")]);
    assert_answers(&dispatch("-- get_id_value --x"), &[failed("worker-01", "unknown id")]);
    node.signal("TERM");
    let end = node.end();
    assert_eq!((end.code, end.stdout.len()), (Some(0), 0), "{end:?}");
}

#[test]
fn a_listening_agent_waits_for_the_expected_nodes() {
    let mut dispatch = Program::start("dispatch --tls off --listen 127.0.0.1:0 --expect 2 get_id_value x");
    let address = dispatch.address();
    let node = |name: &str| Program::start(&format!("node --name {name} --tls off --connect {address}"));
    let nodes = [node("b"), node("a")];
    let end = dispatch.end();
    assert_eq!(
        (end.code, end.json()),
        (Some(0), vec![failed("a", "unknown id"), failed("b", "unknown id")]),
        "{end:?}"
    );
    for node in nodes {
        node.signal("INT");
        assert_eq!(node.end().code, Some(0));
    }
}

#[test]
fn only_the_named_nodes_receive_the_request() {
    let mut dispatch =
        Program::start("dispatch --tls off --listen 127.0.0.1:0 --nodes a,c --expect 3 get_id_value x");
    let address = dispatch.address();
    let node = |name: &str| Program::start(&format!("node --name {name} --tls off --connect {address}"));
    let _nodes = ["a", "b", "c"].map(node);
    let end = dispatch.end();
    assert_eq!(
        (end.code, end.json()),
        (Some(0), vec![failed("a", "unknown id"), failed("c", "unknown id")]),
        "{end:?}"
    );
}

#[test]
fn a_node_answers_an_agent_over_mutual_tls() {
    let authority = ephemeral_authority().unwrap();
    let [node_files, agent_files] = ["worker-01", "agent"].map(|name| Files::issue(&authority, name));
    let options = &node_files.options;
    let mut node = Program::start(&format!("node --name worker-01 --listen 127.0.0.1:0 {options}"));
    let address = node.address();
    let options = &agent_files.options;
    let end = Program::run(&format!("dispatch --connect {address} {options} get_id_value x"), "");
    assert_answers(&end, &[failed("worker-01", "unknown id")]);
}

#[test]
fn a_missing_node_is_reported_with_exit_code_5() {
    let mut node = Program::start("node --name here --tls off --listen 127.0.0.1:0");
    let address = node.address();
    let dispatch = |options: &str| {
        Program::run(
            &format!("dispatch --tls off --connect {address} --timeout 2 {options} get_id_value x"),
            "",
        )
    };
    dispatch("--nodes gone,here,lost").fails(5, &["no hello from gone, lost", "received a hello from: here"]);
    dispatch("--expect 2").fails(5, &["2 nodes of different names", "received a hello from: here"]);
    let mut alone = Program::start("dispatch --tls off --listen 127.0.0.1:0 --timeout 0.3 get_id_value x");
    alone.address();
    alone.end().fails(5, &["no hello from one node", "received a hello from: none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_response_causes_exit_code_5_and_other_answers_are_printed() {
    let endpoint = Endpoint::new().unwrap();
    let silent =
        |_: String, _: Vec<String>| std::future::pending::<Result<Option<JsonText>, DispatchError>>();
    let _node = Node::start(endpoint.clone(), "silent", silent).await;
    let mut dispatch =
        Program::start("dispatch --tls off --listen 127.0.0.1:0 --expect 2 --timeout 3 get_id_value x");
    let address = dispatch.address();
    let _other = Program::start(&format!("node --name other --tls off --connect {address}"));
    endpoint.connect(&address, Tls::Off).await.unwrap();
    let end = tokio::task::spawn_blocking(|| dispatch.end()).await.unwrap();
    assert_eq!((end.code, end.json()), (Some(5), vec![failed("other", "unknown id")]), "{end:?}");
    end.has_said(&["no answer from silent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_node_cannot_control_the_terminal() {
    let endpoint = Endpoint::new().unwrap();
    let silent =
        |_: String, _: Vec<String>| std::future::pending::<Result<Option<JsonText>, DispatchError>>();
    let _node = Node::start(endpoint.clone(), "w\u{1b}[2J\nerror: \u{9b}x", silent).await;
    let shown = r"w\u{1b}[2J\nerror: \u{9b}x";
    for (options, expected) in [
        ("", format!("error: timeout: no answer from {shown}")),
        ("--nodes gone", format!("received a hello from: {shown} (nodes of")),
    ] {
        let args = format!("dispatch --tls off --listen 127.0.0.1:0 --timeout 2 {options} get_id_value x");
        let mut dispatch = Program::start(&args);
        let address = dispatch.address();
        endpoint.connect(&address, Tls::Off).await.unwrap();
        let end = tokio::task::spawn_blocking(|| dispatch.end()).await.unwrap();
        end.fails(5, &[&expected]);
    }
}

#[test]
fn a_node_retries_and_reports_why_it_cannot_connect() {
    // The port is bound but has no listener, so no other process can listen on it.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let mut node = Program::start(&format!("node --name n --tls off --connect {address}"));
    let line = node.says("peer unavailable");
    for text in [&address.to_string(), "is a Zeek or zeek-bridge listening there?", "next try in"] {
        assert!(line.contains(text), "{line}");
    }
    drop(bound);
    let dispatch = Program::run(&format!("dispatch --tls off --listen {address} get_id_value x"), "");
    assert_eq!((dispatch.code, dispatch.json()), (Some(0), vec![failed("n", "unknown id")]), "{dispatch:?}");
}

/// Time limit that only a failing test reaches.
const LONG: Duration = Duration::from_secs(60);

/// Commands that run until a signal.
const UNTIL_SIGNAL: [&str; 4] =
    ["node --name n", "tap --topic /t", "publish --topic /t", "dispatch --timeout 60 get_id_value x"];

/// Starts a command and waits until `endpoint` regards the peering with it as established.
async fn peer_of(endpoint: &Endpoint, status: &mut StatusReceiver, address: &str, options: &str) -> Program {
    let program = Program::start(&format!("{options} --tls off --connect {address}"));
    while !matches!(status.recv().await.unwrap(), Status::PeerAdded { .. }) {}
    assert_eq!(endpoint.peers().len(), 1);
    program
}

/// Asserts that the peer leaves with BYE.
async fn left_with_bye(status: &mut StatusReceiver, options: &str) {
    match status.recv().await.unwrap() {
        Status::PeerLost { error: ConnectError::Closed(CloseReason::PeerLeft), .. } => {}
        other => panic!("{options}: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_the_end_of_the_handshake_is_followed_by_bye() {
    let endpoint = Endpoint::new().unwrap();
    let mut status = endpoint.status();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr().to_string();
    for options in UNTIL_SIGNAL.repeat(4) {
        // The last message of the handshake may still be on its way to the program.
        let program = peer_of(&endpoint, &mut status, &address, options).await;
        program.signal("TERM");
        left_with_bye(&mut status, options).await;
        assert!(matches!(program.end().code, Some(0 | 1)), "{options}");
    }
}

/// timeout(1) signals its child, and then its process group, which contains the child.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_signal_does_not_interrupt_the_graceful_shutdown() {
    let endpoint = Endpoint::new().unwrap();
    let mut status = endpoint.status();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr().to_string();
    for options in UNTIL_SIGNAL.repeat(4) {
        let program = peer_of(&endpoint, &mut status, &address, options).await;
        let pid = rustix::process::Pid::from_raw(program.pid().try_into().unwrap()).unwrap();
        let terminate = || rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        terminate();
        // Wait until the first signal is handled, because the kernel would merge the second one with a pending signal.
        while signal_is_pending(program.pid(), rustix::process::Signal::TERM) {
            std::thread::yield_now();
        }
        terminate();
        left_with_bye(&mut status, options).await;
        assert!(matches!(program.end().code, Some(0 | 1)), "{options}");
    }
}

/// Returns whether a signal is pending for a process.
#[cfg(target_os = "linux")]
fn signal_is_pending(pid: u32, signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn the_option_retry_sets_the_delay_before_reconnecting() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    // The default delay is one second, with a jitter of a quarter. It is short, because an agent waits only 5 s for the
    // nodes of a deployment.
    for (options, tries, least, most) in
        [("", 3, 0.7, 1.3), ("--retry 3600", 1, 2699.0, 4501.0), ("--retry 0.001..1000", 5, 0.0, 0.1)]
    {
        let mut node = Program::start(&format!("node --name n --tls off --connect {address} {options}"));
        for _ in 0..tries {
            let line = node.says("next try in ");
            // The fields of the log line follow this text.
            let (wait, _) = line.rsplit_once("next try in ").unwrap().1.split_once(" s").unwrap();
            assert!((least..=most).contains(&wait.parse().unwrap()), "{options}: {line}");
        }
    }
    for command in UNTIL_SIGNAL {
        let end = Program::run(&format!("{command} --tls off --retry 2..1 --connect {address}"), "");
        end.fails(2, &["--retry", "shorter than the first"]);
        let end = Program::run(&format!("{command} --tls off --retry 1 --listen {address}"), "");
        end.fails(2, &["--retry", "cannot be used with", "--listen"]);
    }
    // `replay` makes one connection.
    let end = Program::run(&format!("replay . --tls off --retry 1 --connect {address}"), "");
    end.fails(2, &["unexpected argument '--retry'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_utf_8_are_not_passed_to_programs() {
    for options in ["--exec /bin/false", "--stdio"] {
        let endpoint = Endpoint::new().unwrap();
        let mut answers = endpoint.subscribe([NODE_TOPIC.clone()]).await;
        let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
        let _node = Program::start(&format!("node --name n --tls off --connect {address} {options}"));
        endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
        let action = Value::Vector(vec![Value::String(vec![0xff].into())]);
        let request = Event::new(DispatchRequest::NAME, ("r", action, Value::Set(Default::default())));
        endpoint.publish(NODE_TOPIC.clone(), &ZeekMessage::from(request).into_value()).await.unwrap();
        loop {
            let message = tokio::time::timeout(LONG, answers.recv()).await.unwrap().unwrap();
            let value = message.value();
            let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_value(value) else { panic!() };
            if let Ok(Some(NodeMessage::Response(response))) = NodeMessage::parse(&event) {
                let expected = DispatchError::NotUtf8.to_string();
                assert_eq!(response.result().error().as_deref(), Some(&*expected), "{options}");
                break;
            }
        }
    }
}

#[test]
fn an_invalid_values_file_is_reported() {
    let run = |file: &str| {
        Program::run(&format!("node --name n --tls off --listen 127.0.0.1:0 --values {file}"), "")
    };
    run("/nowhere/values.json").fails(1, &["/nowhere/values.json", "check its name"]);
    for text in ["", "[]", "{", "{\"a\": }", "{\"a\": 1} x"] {
        let file = values(text);
        let name = file.path().display().to_string();
        run(&name).fails(1, &[&name, "expected a JSON object", "Cluster::node"]);
    }
    let mut binary = tempfile::NamedTempFile::new().unwrap();
    binary.write_all(b"{\"a\": \"\xff\"}").unwrap();
    run(&binary.path().display().to_string()).fails(1, &["UTF-8"]);
    Program::with(["node", "--name", "", "--tls", "off", "--listen", "127.0.0.1:0"])
        .end()
        .fails(2, &["--name"]);
}

#[test]
fn a_dispatch_can_be_interrupted() {
    let mut dispatch = Program::start("dispatch --tls off --listen 127.0.0.1:0 get_id_value x");
    dispatch.address();
    dispatch.signal("TERM");
    dispatch.end().fails(1, &["interrupted"]);
}

#[test]
fn the_demo_needs_no_files_and_all_answers_are_those_of_zeek() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(["demo"]);
    command.env_clear().current_dir(folder.path());
    let end = Program::spawn(command).end();
    assert_eq!(
        (end.code, end.stderr.as_str()),
        (Some(0), "all 36 answers are those of Zeek 8.0.9"),
        "{end:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let lines = end.json();
    let agree =
        |link: &str| lines.iter().filter(|line| line["link"] == link && line["agrees"] == true).count();
    assert_eq!((agree("captured-agent"), agree("rust-agent")), (12, 24));
    for name in ["notify_node_hello", "node_dispatch_request", "node_dispatch_response"] {
        let name = format!("Management::Node::API::{name}");
        for link in ["captured-agent", "rust-agent"] {
            assert!(
                lines
                    .iter()
                    .any(|line| line["link"] == link && line["event"] == *name && line["from"].is_string()),
                "{name} over {link}"
            );
        }
    }
    let reasons: Vec<_> = lines.iter().filter_map(|line| line["zeek"].as_str()).collect();
    for reason in ["success", "failure: unknown id", "failure: no ID value", "silent"] {
        assert!(reasons.contains(&reason), "{reason}");
    }
}

#[test]
fn the_text_of_the_demo_has_a_line_for_each_event_and_a_table_of_the_comparisons() {
    let end = Program::run("demo --format text", "");
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), "all 36 answers are those of Zeek 8.0.9"));
    let count = |part: &str| end.stdout.iter().filter(|line| line.contains(part)).count();
    // First part: a hello, a status request, 12 requests and 12 answers. Second part: two hellos, 12 requests to each of two
    // nodes, and 23 answers.
    assert_eq!((count(" -> "), count("  hello")), (26 + 49, 3), "{end:?}");
    assert_eq!((count(" 3 of 3 same"), count("Zeek's answer")), (12, 1), "{end:?}");
    let table = end.stdout.iter().position(|line| line.contains("Zeek's answer")).unwrap();
    for line in &end.stdout[table..] {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_demo_completes_with_a_closed_stdout() {
    let mut demo = Running::spawn(&mut command(["demo"]));
    drop(demo.stdout.take());
    let end = demo.output();
    assert_eq!(
        (end.status.code(), String::from_utf8(end.stderr).unwrap().as_str()),
        (Some(0), "all 36 answers are those of Zeek 8.0.9\n")
    );
}

#[test]
fn two_nodes_with_the_same_name_count_once() {
    let mut dispatch =
        Program::start("dispatch --tls off --listen 127.0.0.1:0 --expect 2 --timeout 1 get_id_value x");
    let address = dispatch.address();
    let _nodes = [(); 2].map(|()| Program::start(&format!("node --name w --tls off --connect {address}")));
    dispatch.end().fails(
        5,
        &["2 nodes of different names; received a hello from: w (nodes of the same name count once)"],
    );
}

#[test]
fn an_empty_node_name_or_one_with_control_characters_is_rejected() {
    for name in ["", "a\n\u{1b}[31m", "a\u{7f}"] {
        let node = Program::with(["node", "--name", name, "--tls", "off", "--connect", "a:1"]);
        node.end().fails(2, &["--name", "control characters", "worker-01"]);
    }
}

#[test]
fn duplicate_keys_and_wrong_encodings_of_a_values_file_are_reported() {
    let run = |path: &str| {
        Program::run(&format!("node --name n --tls off --listen 127.0.0.1:0 --values {path}"), "")
    };
    let file = |content: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    };
    let twice = file(b"{\"a\": 1, \"b\": {\"a\": 2}, \"\\u0061\": 3}");
    run(&twice.path().display().to_string()).fails(1, &["the key \"a\" occurs more than once"]);
    let latin = file(b"{\"a\": \"\xe9\"}");
    let end = run(&latin.path().display().to_string());
    end.fails(1, &["byte 8 is not UTF-8"]);
    assert!(!end.stderr.contains("permissions"), "{end:?}");
    let end = run("src");
    end.fails(1, &["src: it is a directory"]);
    assert!(!end.stderr.contains("permissions"), "{end:?}");

    let marked = file(b"\xef\xbb\xbf{\"a\": 1}");
    let mut node = Program::start(&format!(
        "node --name n --tls off --listen 127.0.0.1:0 --values {}",
        marked.path().display()
    ));
    let address = node.address();
    let end = Program::run(&format!("dispatch --tls off --connect {address} get_id_value a"), "");
    assert_answers(&end, &[success("n", json!(1))]);
}
