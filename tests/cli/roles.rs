//! `node`, `dispatch` and `demo`, as a user drives them.

use std::io::{Read, Write};

use crate::program::child::{Running, soon};
use crate::program::{End, Files, Program, command};
use serde_json::{Value as Json, json};
use zeek_bridge::endpoint::{Endpoint, LinkError, Status};
use zeek_bridge::management::{JsonText, Node};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};
use zeek_bridge::peering::CloseReason;

fn values(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn good(node: &str, data: Json) -> Json {
    json!({"node": node, "success": true, "data": data, "error": null})
}

fn bad(node: &str, error: &str) -> Json {
    json!({"node": node, "success": false, "data": null, "error": error})
}

#[track_caller]
fn answers(end: &End, expected: &[Json]) {
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert_eq!(end.json(), expected);
}

#[test]
fn a_node_that_listens_answers_agent_after_agent() {
    let file =
        values(r#"{"Cluster::node": "worker-01", "ports": [{"port": 80, "proto": "tcp"}], "real": 1.50}"#);
    let values = file.path().display();
    let mut node =
        Program::start(&format!("node --name worker-01 --values {values} --tls off --listen 127.0.0.1:0"));
    let address = node.address();
    let dispatch =
        |action: &str| Program::run(&format!("dispatch --tls off --connect {address} {action}"), "");
    answers(&dispatch("get_id_value Cluster::node"), &[good("worker-01", json!("worker-01"))]);
    let ports = json!([{"port": 80, "proto": "tcp"}]);
    answers(&dispatch("--nodes worker-01 get_id_value ports"), &[good("worker-01", ports)]);
    let real = dispatch("get_id_value real");
    assert_eq!(real.stdout, [r#"{"node":"worker-01","success":true,"data":1.50,"error":null}"#]);
    // A failure is an answer.
    answers(&dispatch("get_id_value nonsense"), &[bad("worker-01", "unknown id")]);
    answers(&dispatch("get_id_value"), &[bad("worker-01", "get_id_value expects name of global identifier")]);
    answers(&dispatch("reboot now"), &[bad("worker-01", "dispatch reboot unknown")]);
    answers(&dispatch("-- get_id_value --x"), &[bad("worker-01", "unknown id")]);
    node.signal("TERM");
    let end = node.end();
    assert_eq!((end.code, end.stdout.len()), (Some(0), 0), "{end:?}");
}

#[test]
fn an_agent_that_listens_waits_for_the_nodes_it_expects() {
    let mut dispatch = Program::start("dispatch --tls off --listen 127.0.0.1:0 --expect 2 get_id_value x");
    let address = dispatch.address();
    let node = |name: &str| Program::start(&format!("node --name {name} --tls off --connect {address}"));
    let nodes = [node("b"), node("a")];
    let end = dispatch.end();
    assert_eq!(
        (end.code, end.json()),
        (Some(0), vec![bad("a", "unknown id"), bad("b", "unknown id")]),
        "{end:?}"
    );
    for node in nodes {
        node.signal("INT");
        assert_eq!(node.end().code, Some(0));
    }
}

#[test]
fn only_the_named_nodes_are_asked() {
    let mut dispatch =
        Program::start("dispatch --tls off --listen 127.0.0.1:0 --nodes a,c --expect 3 get_id_value x");
    let address = dispatch.address();
    let node = |name: &str| Program::start(&format!("node --name {name} --tls off --connect {address}"));
    let _nodes = ["a", "b", "c"].map(node);
    let end = dispatch.end();
    assert_eq!(
        (end.code, end.json()),
        (Some(0), vec![bad("a", "unknown id"), bad("c", "unknown id")]),
        "{end:?}"
    );
}

#[test]
fn node_and_agent_meet_over_mutual_tls() {
    let authority = ephemeral_authority().unwrap();
    let [node_files, agent_files] = ["worker-01", "agent"].map(|name| Files::issue(&authority, name));
    let options = &node_files.options;
    let mut node = Program::start(&format!("node --name worker-01 --listen 127.0.0.1:0 {options}"));
    let address = node.address();
    let options = &agent_files.options;
    let end = Program::run(&format!("dispatch --connect {address} {options} get_id_value x"), "");
    answers(&end, &[bad("worker-01", "unknown id")]);
}

#[test]
fn a_missing_node_is_exit_code_5_and_named() {
    let mut node = Program::start("node --name here --tls off --listen 127.0.0.1:0");
    let address = node.address();
    let dispatch = |options: &str| {
        Program::run(
            &format!("dispatch --tls off --connect {address} --timeout 2 {options} get_id_value x"),
            "",
        )
    };
    dispatch("--nodes gone,here,lost").fails(5, &["a hello of gone, lost", "here said hello"]);
    dispatch("--expect 2").fails(5, &["2 nodes of different names", "here said hello"]);
    let mut alone = Program::start("dispatch --tls off --listen 127.0.0.1:0 --timeout 0.3 get_id_value x");
    alone.address();
    alone.end().fails(5, &["nobody said hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_exit_code_5_and_the_others_are_printed() {
    let endpoint = Endpoint::new().unwrap();
    let silent = |_: String, _: Vec<String>| std::future::pending::<Result<Option<JsonText>, String>>();
    let _node = Node::start(endpoint.clone(), "silent", silent).await;
    let mut dispatch =
        Program::start("dispatch --tls off --listen 127.0.0.1:0 --expect 2 --timeout 3 get_id_value x");
    let address = dispatch.address();
    let _other = Program::start(&format!("node --name other --tls off --connect {address}"));
    endpoint.connect(&address, Tls::Off, None).first_attempt().await.unwrap();
    let end = tokio::task::spawn_blocking(|| dispatch.end()).await.unwrap();
    assert_eq!((end.code, end.json()), (Some(5), vec![bad("other", "unknown id")]), "{end:?}");
    end.has_said(&["no answer from silent"]);
}

#[test]
fn a_node_goes_on_trying_and_says_why_it_cannot_connect() {
    // A port that nobody else gets meanwhile, and nobody listens on.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let mut node = Program::start(&format!("node --name n --tls off --connect {address}"));
    let line = node.says("peer unavailable");
    for words in [&address.to_string(), "is a Zeek or zeek-bridge listening there?", "next try in"] {
        assert!(line.contains(words), "{line}");
    }
    drop(bound);
    let dispatch = Program::run(&format!("dispatch --tls off --listen {address} get_id_value x"), "");
    assert_eq!((dispatch.code, dispatch.json()), (Some(0), vec![bad("n", "unknown id")]), "{dispatch:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_leaves_with_bye() {
    let endpoint = Endpoint::new().unwrap();
    let mut status = endpoint.status();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut node = command(format!("node --name n --tls off --connect {address}").split(' '));
    node.env("RUST_LOG", "zeek_bridge=info");
    let mut node = Program::spawn(node);
    while !matches!(soon("a status", status.recv()).await.unwrap(), Status::PeerAdded { .. }) {}
    node.says("peer added");
    node.signal("TERM");
    match soon("a status", status.recv()).await.unwrap() {
        Status::PeerLost { error: LinkError::Closed(CloseReason::PeerLeft), .. } => {}
        other => panic!("{other}"),
    }
    assert_eq!(node.end().code, Some(0));
}

#[test]
fn wrong_values_are_named() {
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
fn the_demo_needs_nothing_and_all_answers_agree() {
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
fn the_demo_comes_to_its_verdict_when_nobody_reads() {
    let mut demo = Running::spawn(&mut command(["demo"]));
    drop(demo.stdout.take());
    let end = demo.output();
    assert_eq!(
        (end.status.code(), String::from_utf8(end.stderr).unwrap().as_str()),
        (Some(0), "all 36 answers are those of Zeek 8.0.9\n")
    );
}

#[test]
fn two_nodes_of_one_name_are_one() {
    let mut dispatch =
        Program::start("dispatch --tls off --listen 127.0.0.1:0 --expect 2 --timeout 1 get_id_value x");
    let address = dispatch.address();
    let _nodes = [(); 2].map(|()| Program::start(&format!("node --name w --tls off --connect {address}")));
    dispatch.end().fails(5, &["2 nodes of different names; w said hello (nodes of one name count as one)"]);
}

#[test]
fn a_node_s_name_is_clean_text() {
    for name in ["", "a\n\u{1b}[31m", "a\u{7f}"] {
        let node = Program::with(["node", "--name", name, "--tls", "off", "--connect", "a:1"]);
        node.end().fails(2, &["--name", "control characters", "worker-01"]);
    }
}

#[test]
fn what_is_wrong_with_a_values_file_is_named() {
    let run = |path: &str| {
        Program::run(&format!("node --name n --tls off --listen 127.0.0.1:0 --values {path}"), "")
    };
    let file = |content: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    };
    let twice = file(b"{\"a\": 1, \"b\": {\"a\": 2}, \"\\u0061\": 3}");
    run(&twice.path().display().to_string()).fails(1, &["\"a\" stands there more than once"]);
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
    answers(&end, &[good("n", json!(1))]);
}
