//! `replay` against live endpoints, against a second `replay`, and against peers that are not Broker endpoints.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::Fixture;
use crate::program::{End, Files, Program, command};
use crate::recorder::{Recorder, meta};
use serde_json::{Value as Json, json};
use zeek_bridge::endpoint::Endpoint;
use zeek_bridge::management::{Agent, DispatchError, JsonText, ManagementResult, Node, Values};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};

const NODE_TOPIC: &str = "--topic zeek/management/node";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn replay(folder: &Path, options: &str) -> Program {
    Program::start(&format!("replay {} {options}", folder.display()))
}

#[track_caller]
fn same(end: &End) {
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(end.stdout.len(), 1, "{end:?}");
    assert!(end.stdout[0].ends_with("no difference"), "{end:?}");
}

/// Plays both sides of a recording to each other.
#[track_caller]
fn with_itself(folder: &Path, options: &str) {
    let mut listener = replay(folder, &format!("--as listener --listen 127.0.0.1:0 --tls off {options}"));
    let address = listener.address();
    let connector = replay(folder, &format!("--as connector --connect {address} --tls off {options}"));
    [connector.end(), listener.end()].iter().for_each(same);
}

/// Starts a node with a value. Returns its address.
fn node(value: &str, tls: &str) -> (Program, String) {
    let mut values = tempfile::NamedTempFile::new().unwrap();
    write!(values, r#"{{"name": "{value}", "list": [1, 2]}}"#).unwrap();
    let values = values.path().display();
    let mut node =
        Program::start(&format!("node --name worker-01 --values {values} --listen 127.0.0.1:0 {tls}"));
    let address = node.address();
    (node, address)
}

/// Records a dispatch to a node that has a value.
fn recorded_dispatch(tls: &str) -> (Recorder, PathBuf) {
    let (_node, address) = node("one", tls);
    let mut recorder = Recorder::start(&address, tls);
    let end = Program::run(&format!("dispatch --connect {} {tls} get_id_value name", recorder.address), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let folder = recorder.recording();
    (recorder, folder)
}

#[test]
fn every_fixture_can_be_replayed_against_itself() {
    let names = Fixture::names();
    assert!(names.len() >= 16, "{names:?}");
    for name in names {
        with_itself(&fixture(&name), "");
    }
}

#[test]
fn a_recording_matches_a_new_node_and_a_new_agent() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "anybody");
    for tls in ["--tls off", &files.options] {
        let (_recorder, folder) = recorded_dispatch(tls);
        let (_node, address) = node("one", tls);
        same(&replay(&folder, &format!("--as connector --connect {address} {tls}")).end());
        // Replay again, with the same node.
        same(&replay(&folder, &format!("--connect {address} {tls}")).end());
        let mut listener = replay(&folder, &format!("--as listener --listen 127.0.0.1:0 {tls}"));
        let address = listener.address();
        // The request has a different id than the recorded one. The replayed answer contains the new id.
        let end = Program::run(&format!("dispatch --connect {address} {tls} get_id_value name"), "");
        assert_eq!(end.json(), [json!({"node": "worker-01", "success": true, "data": "one", "error": null})]);
        same(&listener.end());
    }
}

#[test]
fn a_different_value_is_reported_with_its_path() {
    let (_recorder, folder) = recorded_dispatch("--tls off");
    let (_node, address) = node("two", "--tls off");
    let run = |options: &str| replay(&folder, &format!("--connect {address} --tls off {options}")).end();
    let at = "Management::Node::API::node_dispatch_response.args[1][3]";
    let end = run("");
    assert_eq!((end.code, end.stdout.len(), end.stderr.as_str()), (Some(1), 2, ""), "{end:?}");
    for words in ["frame ", "zeek/management/node", at, r#"recorded "\"one\"", received "\"two\"""#] {
        assert!(end.stdout[0].contains(words), "{words}: {end:?}");
    }
    assert!(end.stdout[1].ends_with("1 difference"), "{end:?}");
    let end = run("--format json");
    let string = |text: &str| json!({"@data-type": "string", "data": text});
    let mut found = end.json();
    assert!(found[0]["frame"].take().is_u64());
    assert_eq!(
        found[0],
        json!({"frame": null, "topic": "zeek/management/node", "what": "differs", "at": at,
               "recorded": string("\"one\""), "came": string("\"two\"")})
    );
    let (sent, compared) = (&found[1]["said"], &found[1]["compared"]);
    let last = format!(r#"{{"said":{sent},"compared":{compared},"differences":1}}"#);
    assert_eq!((end.code, &end.stdout[1]), (Some(1), &last));
    for ignored in ["*.args[1][3]", "*_response", at] {
        same(&run(&format!("--ignore {ignored}")));
    }
    // A replay of the node reports that a request differs from the recorded one.
    let mut listener = replay(&folder, "--listen 127.0.0.1:0 --tls off");
    let address = listener.address();
    let asking = Program::start(&format!("dispatch --connect {address} --tls off get_id_value list"));
    let end = listener.end();
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(
        end.stdout[0].contains(r#"node_dispatch_request.args[1][1]: recorded "name", received "list""#),
        "{end:?}"
    );
    drop(asking);
}

#[test]
fn recorded_messages_reach_a_new_tap_and_different_messages_are_reported() {
    let tap = |count: u32| {
        let mut tap =
            Program::start(&format!("tap --tls off --topic /t --count {count} --listen 127.0.0.1:0"));
        let address = tap.address();
        (tap, address)
    };
    let publish = |address: &str, names: &[&str]| {
        let lines = names.iter().map(|name| format!("{{\"event\": \"{name}\", \"args\": []}}\n"));
        Program::run(
            &format!("publish --tls off --topic /t --timeout 20 --connect {address}"),
            lines.collect::<String>(),
        )
    };
    let (tap_end, address) = tap(3);
    let mut recorder = Recorder::start(&address, "--tls off");
    assert_eq!(publish(&recorder.address, &["a", "b", "c"]).code, Some(0));
    let before = tap_end.end().stdout.len();
    let folder = recorder.recording();
    let (tap_end, address) = tap(3);
    same(&replay(&folder, &format!("--connect {address} --tls off")).end());
    assert_eq!((before, tap_end.end().stdout.len()), (3, 3));
    // Replay the tap to new publishers.
    let listen = |options: &str| {
        let mut listener = replay(&folder, &format!("--listen 127.0.0.1:0 --tls off {options}"));
        let address = listener.address();
        (listener, address)
    };
    let (listener, address) = listen("");
    assert_eq!(publish(&address, &["a", "b", "c"]).code, Some(0));
    same(&listener.end());
    let (listener, address) = listen("");
    publish(&address, &["b", "a", "c"]);
    let end = listener.end();
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stdout[0].contains("/t, a, after frame") && end.stdout.len() == 2, "{end:?}");
    let (listener, address) = listen("");
    // The replay ends after the last recorded message, so the additional message must be sent before that.
    publish(&address, &["a", "b", "d", "c"]);
    let end = listener.end();
    assert!(end.code == Some(1) && end.stdout[0].starts_with("not recorded, /t, d: received "), "{end:?}");
    // The last message is not published.
    let (listener, address) = listen("--timeout 1");
    publish(&address, &["a", "b"]);
    let end = listener.end();
    assert!(end.stdout[0].ends_with(", not received") && end.stdout[0].contains("/t, c: "), "{end:?}");
    assert!(matches!(end.code, Some(1 | 5)), "{end:?}");
}

#[test]
fn a_missing_answer_ends_with_exit_code_5() {
    let (_recorder, folder) = recorded_dispatch("--tls off");
    // A tap receives requests and answers none.
    let mut tap = Program::start("tap --tls off --topic zeek/management/node --listen 127.0.0.1:0");
    let address = tap.address();
    let end = replay(&folder, &format!("--connect {address} --tls off --timeout 1")).end();
    assert_eq!(end.code, Some(5), "{end:?}");
    assert!(end.stdout[0].contains("notify_node_hello: recorded (1, 1, ("), "{end:?}");
    end.has_said(&["within 1 s", "--topic", "--ignore"]);
}

/// Returns the requests of a captured agent, with the answers of the captured node.
fn dispatches(name: &str) -> Vec<(Vec<String>, BTreeSet<String>, Json)> {
    let frames = Fixture::load(name).frames;
    let events = |end: &'static str| {
        frames.iter().filter_map(move |frame| {
            let event = &frame.json["value"]["data"][2]["data"];
            event[0]["data"].as_str()?.ends_with(end).then(|| event[1]["data"].clone())
        })
    };
    let texts = |list: &Json| -> Vec<String> {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text["data"].as_str().unwrap().to_owned())
            .collect()
    };
    let answer = |reqid: &Json| events("node_dispatch_response").find(|args| args[0] == *reqid);
    events("node_dispatch_request")
        .map(|args| {
            let answer = answer(&args[0]).map_or(Json::Null, |args| args[1]["data"].clone());
            (texts(&args[1]), texts(&args[2]).into_iter().collect(), answer)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_the_same_values_matches_the_captured_one() {
    for other in [false, true] {
        let mut values = Values::default();
        for (action, _, answer) in dispatches("node-worker") {
            let [_, id] = action.as_slice() else { panic!("{action:?}") };
            if let Some(text) = answer[3]["data"].as_str() {
                let text = if other && id == "Broker::peer_buffer_size" { "1" } else { text };
                values.insert(id, JsonText::new(text).unwrap());
            } else if answer[4]["data"] == DispatchError::NoValue.to_string() {
                values.insert_without_value(id);
            }
        }
        let mut listener = replay(
            &fixture("node-worker"),
            &format!("--as listener --listen 127.0.0.1:0 --tls off {NODE_TOPIC}"),
        );
        let endpoint = Endpoint::new().unwrap();
        let node = Node::start(endpoint.clone(), "worker-01", values).await;
        endpoint.connect(listener.address(), Tls::Off).await.unwrap();
        let end = tokio::task::spawn_blocking(|| listener.end()).await.unwrap();
        if other {
            assert!(end.stdout[0].contains(r#"recorded "8192", received "1""#), "{end:?}");
            assert_eq!((end.code, end.stdout.len()), (Some(1), 2), "{end:?}");
        } else {
            same(&end);
        }
        node.stop().await;
        endpoint.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_captured_node_answers_the_requests_of_another_agent() {
    let endpoint = Endpoint::new().unwrap();
    let agent = Agent::start(endpoint.clone()).await;
    let listener = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap();
    let address = listener.local_addr();
    let connector = replay(
        &fixture("node-worker"),
        &format!("--as connector --connect {address} --tls off {NODE_TOPIC}"),
    );
    agent.wait_for_nodes(|nodes| !nodes.is_empty()).await;
    for (action, nodes, answer) in dispatches("node-worker") {
        // The request ids of the agent are longer than the recorded ones. Only `worker-01` answers, so do not wait long
        // for the answers to a request that also names other nodes.
        let all_are_here = nodes.iter().all(|node| node == "worker-01");
        let patience = if all_are_here { Duration::from_secs(20) } else { Duration::from_millis(1) };
        let outcome = agent.dispatch(action, nodes, patience).await.unwrap();
        if !all_are_here {
            continue;
        }
        let result: &ManagementResult = &outcome.answers["worker-01"];
        assert_eq!(result.is_success(), answer[1]["data"].as_bool().unwrap());
        assert_eq!(
            result.data().and_then(|data| data.as_str().map(str::to_owned)).as_deref(),
            answer[3]["data"].as_str()
        );
    }
    same(&tokio::task::spawn_blocking(|| connector.end()).await.unwrap());
}

#[test]
fn a_redacted_recording_can_be_replayed() {
    let (_node, address) = node("one", "--tls off");
    let mut recorder = Recorder::start(&address, "--tls off --redact");
    Program::run(&format!("dispatch --connect {} --tls off get_id_value name", recorder.address), "");
    let folder = recorder.recording();
    assert_eq!(meta(&folder)["redacted"], true);
    with_itself(&folder, "");
}

#[test]
fn at_recorded_speed_no_frame_is_sent_before_its_recorded_time() {
    let folder = fixture("ping-pong-2.6.0");
    let frames = fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    let times =
        frames.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["t_us"].as_u64().unwrap());
    let start = Instant::now();
    with_itself(&folder, "--speed recorded");
    // The last frame answers a BYE, and this BYE is not sent at its recorded time.
    let times: Vec<u64> = times.collect();
    assert!(start.elapsed() >= Duration::from_micros(times[times.len() - 3]), "{times:?}");
}

#[test]
fn wrong_input_is_reported() {
    let run = |folder: &Path, options: &str| replay(folder, &format!("--tls off {options}")).end();
    let plain = fixture("plain-peering");
    run(&plain, "").fails(2, &["--connect", "--listen"]);
    run(&plain, "--as listener --connect 127.0.0.1:1")
        .fails(2, &["--as listener cannot be used with --connect"]);
    run(&plain, "--as connector --listen 127.0.0.1:0")
        .fails(2, &["--as connector cannot be used with --listen"]);
    run(&plain, "--as nobody --connect 127.0.0.1:1").fails(2, &["nobody", "listener"]);
    run(&plain, "--connect 127.0.0.1:1 --wait 0").fails(2, &["--wait"]);
    replay(&plain, "--connect 127.0.0.1:1").end().fails(2, &["--tls off"]);
    // The port is bound here, so no other process can listen on it.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap().to_string();
    run(&plain, &format!("--connect {address}")).fails(3, &["cannot connect: ", &address]);
    run(&plain, "--listen 192.0.2.1:1").fails(3, &["cannot listen on"]);
    run(&plain, "--listen 127.0.0.1:0 --timeout 0.5").fails(5, &["no connection within", "--wait"]);
    run(&fixture(""), "--connect 127.0.0.1:1")
        .fails(1, &["is not a recording but contains ", "name one of them, such as"]);
    for folder in [Path::new("/nowhere"), &fixture("captures"), &fixture("captures/http.pcap")] {
        run(folder, "--connect 127.0.0.1:1").fails(1, &["is not a recording", "zeek-bridge record"]);
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["connector.bin", "listener.bin", "frames.jsonl"] {
        fs::copy(plain.join(file), copy.path().join(file)).unwrap();
    }
    fs::write(copy.path().join("meta.json"), r#"{"continues": "the-first"}"#).unwrap();
    run(copy.path(), "--connect 127.0.0.1:1").fails(1, &["later part", "the-first"]);
    fs::remove_file(copy.path().join("meta.json")).unwrap();
    fs::write(copy.path().join("frames.jsonl"), "{}\n").unwrap();
    run(copy.path(), "--connect 127.0.0.1:1").fails(1, &["frames.jsonl, line 1"]);
    fs::write(copy.path().join("frames.jsonl"), "").unwrap();
    run(copy.path(), "--connect 127.0.0.1:1").fails(1, &["its frames.jsonl is empty"]);
    for file in ["connector.bin", "listener.bin", "frames.jsonl"] {
        fs::write(copy.path().join(file), "").unwrap();
    }
    run(copy.path(), "--connect 127.0.0.1:1").fails(1, &["contains no frames"]);
}

#[test]
fn peers_of_another_protocol_are_reported() {
    let plain = fixture("plain-peering");
    // Only one side uses TLS.
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "n");
    let (_node, address) = node("x", &files.options);
    let end = replay(&plain, &format!("--connect {address} --tls off --timeout 5")).end();
    end.fails(4, &["the peer expects TLS here"]);
    let (_node, address) = node("x", "--tls off");
    let end = replay(&plain, &format!("--connect {address} {} --timeout 5", files.options)).end();
    end.fails(4, &["TLS with", "failed"]);
    // A peer with a different protocol.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let talking = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        stream
    });
    let end = replay(&plain, &format!("--connect {address} --tls off")).end();
    assert_eq!(end.code, Some(6), "{end:?}");
    end.has_said(&["HTTP, not Broker"]);
    drop(talking.join().unwrap());
    // A peer that closes the connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let end = replay(&plain, &format!("--connect {address} --tls off")).end();
    assert_eq!(end.code, Some(1), "{end:?}");
    closing.join().unwrap();
    // The exit code does not depend on stdout, which is /dev/null here. Nothing listens at port 1.
    let mut program =
        command(["replay", plain.to_str().unwrap(), "--tls", "off", "--connect", "127.0.0.1:1"]);
    program.stdout(std::process::Stdio::null());
    assert_eq!(Program::spawn(program).end().code, Some(3));
}
