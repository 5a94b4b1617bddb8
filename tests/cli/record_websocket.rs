//! `record` and `decode` of Zeek's WebSocket API.

use std::fs;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use zeek_bridge::net::tls::ephemeral_authority;

use crate::program::{Files, Program};
use crate::recorder::{Recorder, capture, decoded, meta};

/// Starts a recorder between WebSocket endpoints.
fn recorder(target: &str, options: &str) -> Recorder {
    let out = Arc::new(tempfile::tempdir().unwrap());
    let args = format!("record --connect {target} --out {} {options}", out.path().display());
    Recorder::start_with(args, out)
}

/// Publishes an event over a recorder to a `tap`, which ends after it.
fn publish(recorder: &Recorder, options: &str) {
    let command =
        format!("publish --topic /demo --connect {} {options} Demo::ping string:hi", recorder.address);
    let end = Program::run(&command, "");
    assert_eq!(end.code, Some(0), "{end:?}");
}

fn kinds(frames: &[Json]) -> Vec<(&str, &str)> {
    frames.iter().map(|frame| (frame["from"].as_str().unwrap(), frame["kind"].as_str().unwrap())).collect()
}

#[test]
fn a_session_is_recorded_and_a_capture_of_it_has_the_same_frames() {
    let mut tap = Program::start("tap --topic /demo --format json --listen ws://127.0.0.1:0 --count 1");
    let mut recorder = recorder(&tap.address(), "--listen ws://127.0.0.1:0");
    assert!(recorder.address.starts_with("ws://127.0.0.1:"), "{}", recorder.address);
    publish(&recorder, "");
    let heard = tap.line();
    let folder = recorder.recording();
    let (about, frames) = decoded(&folder, 0);
    assert_eq!(about["protocol"], "websocket");
    assert_eq!(
        kinds(&frames)[..5],
        [
            ("connector", "http-request"),
            ("listener", "http-response"),
            ("connector", "subscriptions"),
            ("listener", "ack"),
            ("connector", "event"),
        ]
    );
    // The event has the members that `tap` prints.
    for member in ["topic", "event", "args", "metadata"] {
        assert_eq!((frames[4].get(member), member), (heard.get(member), member));
        assert!(heard.get(member).is_some());
    }
    assert_eq!(frames[2]["topics"], json!([]));
    let lines = fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, frames);
    assert_eq!(meta(&folder)["protocol"], "websocket");
    let (about, captured) = decoded(capture(&folder, &frames).path(), 0);
    assert_eq!((about["protocol"].as_str(), captured), (Some("websocket"), frames));
    let summary = Program::run(&format!("decode --summary {}", folder.display()), "");
    assert_eq!(summary.code, Some(0));
    // Either side may close first, so the code is 1000 or 1001.
    for row in ["event Demo::ping ", "closed "] {
        assert!(summary.stdout.iter().any(|line| line.trim_start().starts_with(row)), "{row}: {summary:?}");
    }
    let replay = Program::run(&format!("replay {} --connect 127.0.0.1:1 --tls off", folder.display()), "");
    replay.fails(1, &["is a recording of the WebSocket API", "zeek-bridge publish"]);
    let replay = Program::run(&format!("replay {} --connect ws://127.0.0.1:1", folder.display()), "");
    replay.fails(2, &["Broker's native protocol only"]);
    assert_eq!(recorder.stop().code, Some(0));
}

#[test]
fn both_sides_of_a_recorder_can_use_tls_and_tokens() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "127.0.0.1");
    let file = |name: &str| files.folder.path().join(name).display().to_string();
    fs::write(file("token"), "secret-token").unwrap();
    let tap = format!(
        "tap --topic /demo --format json --listen wss://127.0.0.1:0 --certificate {} --keyfile {} --token-file {}",
        file("certificate"),
        file("keyfile"),
        file("token")
    );
    let mut tap = Program::start(&tap);
    let server = tap.address();
    let options = format!(
        "--listen wss://127.0.0.1:0 --listen-certificate {} --listen-keyfile {} --connect-cafile {}",
        file("certificate"),
        file("keyfile"),
        file("cafile")
    );
    let mut one = recorder(&server, &options);
    publish(&one, &format!("--cafile {} --token-file {}", file("cafile"), file("token")));
    assert_eq!(tap.line()["event"], "Demo::ping");
    let folder = one.recording();
    let (about, frames) = decoded(&folder, 0);
    assert_eq!((&about["protocol"], &frames[4]["kind"]), (&json!("websocket"), &json!("event")));
    // The token is only in the recorded bytes.
    let request = frames[0]["text"].as_str().unwrap();
    assert!(
        request.contains("Authorization: (hidden)\r\n") && !request.contains("secret-token"),
        "{request}"
    );
    assert_eq!(meta(&folder)["tls"], json!({"connector": "server", "listener": "server"}));
    assert_eq!(one.stop().code, Some(0));
    // The certificate of the server must contain the host of the URL.
    let other = options.replace("--connect-cafile", "--connect-verify-name zeek.example --connect-cafile");
    let mut other = recorder(&server, &other);
    let command = format!(
        "publish --topic /demo --connect {} --cafile {} --token-file {} --timeout 5s Demo::ping",
        other.address,
        file("cafile"),
        file("token")
    );
    assert_ne!(Program::run(&command, "").code, Some(0));
    other.program.says("zeek.example");
    assert_eq!(other.stop().code, Some(0));
}

#[test]
fn a_server_without_tls_is_recorded_with_ws() {
    let files = Files::issue(&ephemeral_authority().unwrap(), "127.0.0.1");
    let mut tap = Program::start("tap --topic /demo --listen ws://127.0.0.1:0");
    let target = tap.address().replace("ws://", "wss://");
    let cafile = files.folder.path().join("cafile");
    let mut recorder =
        recorder(&target, &format!("--listen ws://127.0.0.1:0 --connect-cafile {}", cafile.display()));
    let publish = format!("publish --topic /demo --connect {} --timeout 5s Demo::ping", recorder.address);
    assert_ne!(Program::run(&publish, "").code, Some(0));
    recorder.program.says("use ws:// for a server without TLS");
    assert_eq!(recorder.stop().code, Some(0));
}

#[test]
fn options_that_the_websocket_api_does_not_have_are_refused() {
    let run = |options: &str| Program::run(&format!("record --out /nonexistent/zeek-bridge {options}"), "");
    run("--listen ws://127.0.0.1:0 --connect 127.0.0.1:1 --tls off")
        .fails(2, &["different protocols", "ws:// or wss:// on both sides", "zeek-bridge run"]);
    run("--listen ws://127.0.0.1:0 --connect ws://127.0.0.1:1 --redact")
        .fails(2, &["--redact is for Broker's protocol"]);
    run("--listen ws://127.0.0.1:0 --connect ws://127.0.0.1:1 --tls off")
        .fails(2, &["--tls cannot be used with ws://"]);
    run("--listen ws://127.0.0.1:0 --connect ws://127.0.0.1:1 --listen-cafile a")
        .fails(2, &["--listen-cafile cannot be used with ws://127.0.0.1:0", "ws:// has no TLS"]);
    run("--listen ws://127.0.0.1:0 --connect wss://127.0.0.1:1").fails(2, &["wss:// requires --cafile"]);
    run("--listen wss://127.0.0.1:0 --connect ws://127.0.0.1:1 --listen-cafile a")
        .fails(2, &["--listen-certificate"]);
}
