//! `record` between endpoints, and between plain sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::program::child::{LIMIT, within};
use crate::program::{Files, Program, command_of};
use crate::recorder::{Recorder, capture, decoded, events, files, meta};
use serde_json::{Value as Json, json};
use zeek_bridge::net::tls::ephemeral_authority;

const NODE: &str = "node --name worker-01 --listen 127.0.0.1:0";
const HELLO: &str = "Management::Node::API::notify_node_hello";
const REQUEST: &str = "Management::Node::API::node_dispatch_request";
const RESPONSE: &str = "Management::Node::API::node_dispatch_response";

/// Sends a request to the node at an address and returns its answer.
#[track_caller]
fn ask(address: &str, options: &str) -> Json {
    let end = Program::run(&format!("dispatch --connect {address} {options} get_id_value secret_name"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    end.json().remove(0)
}

fn unknown() -> Json {
    json!({"node": "worker-01", "success": false, "data": null, "error": "unknown id"})
}

/// Returns sockets on both sides of a recorder.
fn sockets(recorder: &Recorder, target: &TcpListener) -> (TcpStream, TcpStream) {
    let connector = TcpStream::connect(&recorder.address).unwrap();
    let target = target.try_clone().unwrap();
    let sockets = (connector, within("the recorder to connect", move || target.accept().unwrap().0));
    for socket in [&sockets.0, &sockets.1] {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
    }
    sockets
}

fn target() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[track_caller]
fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    let mut writer = from.try_clone().unwrap();
    let all = bytes.to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&all).unwrap());
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == bytes);
}

#[test]
fn a_dispatch_is_recorded_and_a_capture_of_it_has_the_same_frames() {
    let mut node = Program::start(&format!("{NODE} --tls off"));
    let mut recorder = Recorder::start(&node.address(), "--tls off");
    assert_eq!(ask(&recorder.address, "--tls off"), unknown());
    let folder = recorder.recording();
    let (about, frames) = decoded(&folder, 0);
    assert_eq!(about["protocol"], "broker");
    assert!(about["start"].as_str().unwrap().ends_with('Z') && about.get("note").is_none(), "{about}");
    assert_eq!(events(&frames), [("listener", HELLO), ("connector", REQUEST), ("listener", RESPONSE)]);
    // The recorded lines equal those decoded from the bytes.
    let [connector, listener, lines, _] = files(&folder);
    let lines: Vec<Json> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, frames);
    let (_, captured) = decoded(capture(&folder, &frames).path(), 0);
    assert_eq!(captured, frames);
    // Only the owner can read the recording.
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let meta = meta(&folder);
    assert_eq!((&meta["complete"], &meta["redacted"]), (&json!(true), &json!(false)));
    assert_eq!(meta["frames"], frames.len());
    assert_eq!(meta["bytes"], json!({"connector": connector.len(), "listener": listener.len()}));
    assert_eq!(meta["tls"], json!({"connector": "off", "listener": "off"}));
    // Record again, with the same node.
    assert_eq!(ask(&recorder.address, "--tls off"), unknown());
    assert_ne!(recorder.recording(), folder);
    let end = recorder.stop();
    assert_eq!((end.code, end.stdout.len()), (Some(0), 0), "{end:?}");
}

#[test]
fn each_side_of_a_recorder_has_its_own_tls_options() {
    let [there, here] = [(); 2].map(|()| ephemeral_authority().unwrap());
    let node_files = Files::issue(&there, "worker-01");
    let [to_node, to_agent] = [Files::issue(&there, "recorder"), Files::issue(&here, "recorder")];
    let agent_files = Files::issue(&here, "agent");
    let mut node = Program::start(&format!("{NODE} {}", node_files.options));
    let side = |side: &str, files: &Files| files.options.replace("--", &format!("--{side}-"));
    let options = [side("listen", &to_agent), side("connect", &to_node)].concat();
    let mut recorder = Recorder::start(&node.address(), &options);
    assert_eq!(ask(&recorder.address, &agent_files.options), unknown());
    let folder = recorder.recording();
    assert_eq!(meta(&folder)["tls"], json!({"connector": "mutual", "listener": "mutual"}));
    assert_eq!(events(&decoded(&folder, 0).1).len(), 3);
    // The certificates for one side of the recorder are rejected on the other side.
    let stranger = Program::run(
        &format!("dispatch --connect {} --timeout 5 {} get_id_value x", recorder.address, node_files.options),
        "",
    );
    assert_ne!(stranger.code, Some(0), "{stranger:?}");
    recorder.program.says(": TLS failed: ");
    assert_eq!(recorder.stop().code, Some(0));
}

#[test]
fn common_tls_options_apply_to_both_sides() {
    let authority = ephemeral_authority().unwrap();
    let [node_files, files] = ["worker-01", "agent"].map(|name| Files::issue(&authority, name));
    let mut node = Program::start(&format!("{NODE} {}", node_files.options));
    let address = node.address();
    let mut recorder = Recorder::start(&address, &format!("{} --listen-tls off", files.options));
    assert_eq!(ask(&recorder.address, "--tls off"), unknown());
    let folder = recorder.recording();
    assert_eq!(meta(&folder)["tls"], json!({"connector": "off", "listener": "mutual"}));
    let mut recorder = Recorder::start(&address, &files.options);
    assert_eq!(ask(&recorder.address, &files.options), unknown());
    recorder.recording();
}

#[test]
fn published_messages_reach_subscribers() {
    let mut tap = Program::start("tap --tls off --topic /t --count 3 --listen 127.0.0.1:0");
    let mut recorder = Recorder::start(&tap.address(), "--tls off");
    let lines = (1..=3).map(|n| format!("{{\"event\": \"e{n}\", \"args\": []}}\n")).collect::<String>();
    let end = Program::run(&format!("publish --tls off --topic /t --connect {}", recorder.address), lines);
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(tap.end().json().len(), 3);
    let (_, frames) = decoded(&recorder.recording(), 0);
    assert_eq!(events(&frames), [("connector", "e1"), ("connector", "e2"), ("connector", "e3")]);
}

#[test]
fn a_side_that_has_closed_its_direction_still_receives() {
    let (listener, address) = target();
    let mut recorder = Recorder::start(&address, "--tls off");
    let (mut connector, mut target) = sockets(&recorder, &listener);
    recorder.begun();
    let probe = b"\0\0\0\x05\x07ZEEK";
    passes(&mut connector, &mut target, probe);
    connector.shutdown(Shutdown::Write).unwrap();
    assert_eq!(target.read(&mut [0]).unwrap(), 0);
    passes(&mut target, &mut connector, probe);
    drop(target);
    assert_eq!(connector.read(&mut [0]).unwrap(), 0);
    let end = recorder.ended();
    assert_eq!((&end["frames"], &end["bytes"]), (&json!(2), &json!({"connector": 9, "listener": 9})));
}

#[test]
fn other_protocols_are_forwarded_and_recorded_with_an_error() {
    let (listener, address) = target();
    let mut recorder = Recorder::start(&address, "--tls off");
    let (mut connector, mut target) = sockets(&recorder, &listener);
    let folder = recorder.begun();
    let request = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), (0..=255).cycle().take(3_000_000).collect()].concat();
    passes(&mut connector, &mut target, &request);
    passes(&mut target, &mut connector, b"\0\0\0\x02\xff\xff");
    drop((connector, target));
    recorder.ended();
    let [from_connector, from_listener, ..] = files(&folder);
    assert!(from_connector == request);
    assert_eq!(from_listener, b"\0\0\0\x02\xff\xff");
    let (_, frames) = decoded(&folder, 1);
    let error = |from: &str| {
        let frame = frames.iter().find(|frame| frame["from"] == from).unwrap();
        frame["error"].as_str().unwrap().to_owned()
    };
    assert!(error("connector").contains("HTTP, not Broker"), "{frames:?}");
    assert!(error("listener").contains("255"), "{frames:?}");
}

#[test]
fn an_unreachable_target_is_reported_and_retried_for_the_next_connection() {
    // The port is bound here, so no other process can listen on it.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    // If another test starts a program now, the child process holds this socket until it executes the program.
    bound.set_reuseaddr(true).unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let mut recorder = Recorder::start(&address.to_string(), "--tls off");
    let mut connector = TcpStream::connect(&recorder.address).unwrap();
    assert!(matches!(connector.read(&mut [0]), Ok(0) | Err(_)));
    let line = recorder.program.says("cannot connect: ");
    assert!(line.contains(&address.to_string()), "{line}");
    drop(bound);
    let listener = TcpListener::bind(address).unwrap();
    let (mut connector, mut target) = sockets(&recorder, &listener);
    passes(&mut connector, &mut target, b"\0\0\0\x05\x07ZEEK");
    recorder.begun();
    let end = recorder.stop();
    assert_eq!((end.code, end.stdout.len()), (Some(0), 1), "{end:?}");
}

#[test]
fn a_killed_recorder_leaves_a_recording_that_can_be_read() {
    let (listener, address) = target();
    let mut recorder = Recorder::start(&address, "--tls off");
    let (mut connector, mut target) = sockets(&recorder, &listener);
    let folder = recorder.begun();
    // A complete probe message, and a part of a second one.
    passes(&mut connector, &mut target, b"\0\0\0\x05\x07ZEEK\0\0\0\x05\x07ZE");
    let lines = || fs::read(folder.join("frames.jsonl")).unwrap();
    let deadline = std::time::Instant::now() + LIMIT;
    while lines().is_empty() {
        assert!(std::time::Instant::now() < deadline, "no line was written in time");
        std::thread::yield_now();
    }
    // Decode the recording while it is being written.
    let (about, frames) = decoded(&folder, 0);
    assert_eq!(
        (about["note"].as_str().unwrap().contains("not finished"), frames.len()),
        (true, 1),
        "{about}"
    );
    recorder.program.kill();
    assert_eq!(decoded(&folder, 0), (about, frames.clone()));
    assert_eq!(files(&folder)[0].len(), 16);
    // Simulate a line that was written only partially.
    let whole = lines();
    for length in [1, whole.len() / 2, whole.len() - 1] {
        fs::write(folder.join("frames.jsonl"), &whole[..length]).unwrap();
        let (_, again) = decoded(&folder, 0);
        assert_eq!(again[0]["message"], frames[0]["message"]);
    }
}

#[test]
fn a_side_that_may_expect_tls_is_reported() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "n");
    let mut node = Program::start(&format!("{NODE} {}", files.options));
    let mut recorder = Recorder::start(&node.address(), "--tls off");
    let ask = |recorder: &Recorder, options: &str| {
        let dispatch =
            format!("dispatch --connect {} --timeout 5 {options} get_id_value x", recorder.address);
        assert_ne!(Program::run(&dispatch, "").code, Some(0));
    };
    ask(&recorder, "--tls off");
    recorder.program.says("see --connect-tls");
    let mut plain = Program::start(&format!("{NODE} --tls off"));
    let mut recorder = Recorder::start(&plain.address(), "--tls off");
    ask(&recorder, &files.options);
    recorder.program.says("uses TLS, which is disabled here, so no frames can be recorded: see --listen-tls");
    let (listener, address) = target();
    let mut recorder = Recorder::start(&address, "--tls off");
    let (mut connector, mut target) = sockets(&recorder, &listener);
    passes(&mut connector, &mut target, b"\0\0\0\x05\x07ZEEK");
    drop(target);
    recorder.program.says("without sending anything and may expect TLS: see --connect-tls");
}

#[test]
fn traffic_continues_when_the_folder_is_removed() {
    let (listener, address) = target();
    let mut recorder = Recorder::start(&address, "--tls off");
    fs::remove_dir(recorder.out.path()).unwrap();
    for _ in 0..2 {
        let (mut connector, mut target) = sockets(&recorder, &listener);
        passes(&mut connector, &mut target, &[1; 1_000_000]);
        passes(&mut target, &mut connector, &[2; 1_000_000]);
        recorder.program.says("a recording in");
    }
    fs::create_dir(recorder.out.path()).unwrap();
    let end = recorder.stop();
    assert_eq!(end.code, Some(1), "{end:?}");
    end.has_said(&["connections that were not completely recorded: 2"]);
}

/// Starts a recorder whose files are limited to `blocks` blocks. Writing more to a file fails, as on a full disk.
fn limited(out: Arc<tempfile::TempDir>, address: &str, blocks: u32) -> Recorder {
    let args = Recorder::args(&out, address, "--tls off");
    let program = env!("CARGO_BIN_EXE_zeek-bridge");
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {args}");
    let mut program = Program::spawn(command_of("sh", ["-c", &limited]));
    Recorder { address: program.address(), program, out }
}

#[test]
fn a_recording_that_cannot_be_created_leaves_no_files() {
    let (listener, address) = target();
    let out = Arc::new(tempfile::tempdir().unwrap());
    let mut recorder = limited(out.clone(), &address, 0);
    let (mut connector, mut target) = sockets(&recorder, &listener);
    recorder.program.says("a recording in");
    passes(&mut connector, &mut target, b"passes");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    assert_eq!(recorder.stop().code, Some(1));
}

#[test]
fn traffic_continues_when_the_disk_is_full_and_the_recording_is_marked_incomplete() {
    let (listener, address) = target();
    let out = Arc::new(tempfile::tempdir().unwrap());
    let mut recorder = limited(out, &address, 64);
    let (mut connector, mut target) = sockets(&recorder, &listener);
    let folder = recorder.begun();
    passes(&mut connector, &mut target, b"\0\0\0\x05\x07ZEEK");
    passes(&mut connector, &mut target, &[9; 1_000_000]);
    let line = recorder.program.says("too large");
    assert!(
        line.contains("is incomplete, and its connection continues") && !line.contains("free some space"),
        "{line}"
    );
    let end = recorder.ended();
    assert!(end["error"].as_str().unwrap().contains("too large"), "{end}");
    passes(&mut target, &mut connector, &[3; 1_000_000]);
    let meta = meta(&folder);
    assert_eq!((&meta["complete"], &meta["error"]), (&json!(false), &end["error"]));
    let (about, frames) = decoded(&folder, 1);
    assert!(about["note"].as_str().unwrap().contains("stops before the end"), "{about}");
    assert_eq!(frames[0]["message"], json!({"type": "probe"}));
    assert_eq!(recorder.stop().code, Some(1));
}

#[test]
fn a_long_connection_is_split_and_the_oldest_recordings_are_removed() {
    let mut tap = Program::start("tap --tls off --topic /t --count 300 --listen 127.0.0.1:0");
    let out = Arc::new(tempfile::tempdir().unwrap());
    // A file that does not belong to a recording is kept.
    fs::write(out.path().join("notes"), "").unwrap();
    let recorder = Recorder::start_in(out.clone(), &tap.address(), "--tls off --rotate 8KiB --keep 3");
    let text = "x".repeat(100);
    let lines = (0..300)
        .map(|n| format!("{{\"event\": \"e{n}\", \"args\": [{}]}}\n", string(&text)))
        .collect::<String>();
    let end = Program::run(&format!("publish --tls off --topic /t --connect {}", recorder.address), lines);
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(tap.end().json().len(), 300);
    let end = recorder.stop();
    assert_eq!(end.code, Some(0), "{end:?}");
    let mut folders: Vec<PathBuf> = Vec::new();
    for (text, line) in end.stdout.iter().zip(end.json()) {
        let folder = PathBuf::from(line["recording"].as_str().unwrap());
        let (frames, bytes) = (&line["frames"], &line["bytes"]);
        let [connector, listener] = ["connector", "listener"].map(|side| &bytes[side]);
        let end = match line["state"].as_str() {
            Some("begun") => r#""begun"}"#.to_owned(),
            _ => format!(
                r#""ended","frames":{frames},"bytes":{{"connector":{connector},"listener":{listener}}},"error":null}}"#
            ),
        };
        assert_eq!(*text, format!(r#"{{"recording":{},"state":{end}"#, line["recording"]));
        if line["state"] == "begun" {
            folders.push(folder);
        } else {
            assert_eq!((Some(&folder), &line["error"]), (folders.last(), &Json::Null));
        }
    }
    assert!(folders.len() > 3, "{folders:?}");
    let there = folders.iter().filter(|folder| folder.is_dir()).collect::<Vec<_>>();
    for folder in &there {
        let size = files(folder).iter().map(Vec::len).sum::<usize>();
        // The size is checked every 4 KiB of traffic. In this test, the lines are about five times as long as the traffic.
        assert!(size < 8 * 1024 + 32 * 1024, "{size}");
    }
    assert_eq!(there, folders[folders.len() - 3..].iter().collect::<Vec<_>>());
    let name = |folder: &Path| folder.file_name().unwrap().to_str().unwrap().to_owned();
    let mut found = Vec::new();
    for two in folders[folders.len() - 4..].windows(2) {
        let (about, frames) = decoded(&two[1], 0);
        assert_eq!(meta(&two[1])["continues"], name(&two[0]));
        assert!(about["note"].as_str().unwrap().contains(&name(&two[0])), "{about}");
        found.extend(events(&frames).into_iter().map(|(_, name)| name.to_owned()));
    }
    let last = 300 - found.len()..300;
    assert_eq!(found, last.map(|n| format!("e{n}")).collect::<Vec<_>>());
    assert!(out.path().join("notes").is_file());
}

fn string(text: &str) -> Json {
    json!({"@data-type": "string", "data": text})
}

#[test]
fn a_redacted_recording_has_no_secrets_and_consistent_pseudonyms() {
    let mut tap = Program::start("tap --tls off --topic /topic-stays --count 2 --listen 127.0.0.1:0");
    let mut recorder = Recorder::start(&tap.address(), "--tls off --redact");
    let value = |kind: &str, data: &str| json!({"@data-type": kind, "data": data});
    let uuid = "dc93b00a-d79e-5c20-a6b6-f360d043470a";
    let args = json!([
        string("alice"),
        value("address", "192.0.2.77"),
        value("address", "192.0.2.78"),
        value("subnet", "192.0.2.0/24"),
        value("address", "2001:db8::77"),
        {"@data-type": "set", "data": [string("alice"), string("bob")]},
        {"@data-type": "count", "data": 4711},
        value("enum-value", "Conn::STAYS"),
        string(uuid),
        string(""),
    ]);
    let lines = [json!({"event": "name_stays", "args": args}), string("alice")]
        .map(|line| format!("{line}\n"))
        .concat();
    let publish = format!("publish --tls off --topic /topic-stays --connect {}", recorder.address);
    assert_eq!(Program::run(&publish, lines).code, Some(0));
    // The forwarded bytes are not changed.
    let received = tap.end().json();
    assert_eq!((&received[0]["args"], &received[1]["value"]), (&args, &string("alice")));
    let folder = recorder.recording();
    for file in files(&folder) {
        for secret in ["alice", "bob", "192.0.2", "127.0.0.1", "2001:db8", "\u{c0}\0\u{2}M"] {
            assert!(!String::from_utf8_lossy(&file).contains(secret), "{secret}");
        }
    }
    assert_eq!(meta(&folder)["redacted"], true);
    let (_, frames) = decoded(&folder, 0);
    let data: Vec<&Json> = frames.iter().filter(|frame| frame["envelope"]["type"] == "data").collect();
    assert_eq!(data[0]["envelope"]["topic"], "/topic-stays");
    let found = &data[0]["envelope"]["value"]["data"][2]["data"];
    assert_eq!(found[0], string("name_stays"));
    let found = found[1]["data"].as_array().unwrap();
    let text = |at: usize| found[at]["data"].as_str().unwrap();
    assert!(text(0).starts_with("s-") && text(0).len() == 18, "{found:?}");
    assert!(found[5]["data"].as_array().unwrap().contains(&found[0]), "{found:?}");
    assert_eq!(data[1]["envelope"]["value"], found[0]);
    let network = text(3).strip_suffix(".0/24").unwrap();
    assert!(text(1).starts_with(network) && text(2).starts_with(network) && text(1) != text(2), "{found:?}");
    assert_eq!(found[6..], args.as_array().unwrap()[6..]);
    // IPv6 addresses are replaced, too.
    assert_ne!(text(4), "2001:db8::77");
    assert_eq!(recorder.stop().code, Some(0));
}

#[test]
fn wrong_options_are_reported() {
    let out = tempfile::tempdir().unwrap();
    let run = |options: &str| Program::run(&Recorder::args(&out, "127.0.0.1:1", options), "");
    run("").fails(2, &["--tls off", "--tls anonymous"]);
    run("--listen-tls off").fails(2, &["--tls off", "--tls anonymous"]);
    run("--tls off --listen-cafile x").fails(
        2,
        &["on the side of --listen", "--listen-cafile (or --listen-capath)", "--listen-keyfile are missing"],
    );
    run("--tls off --connect-tls off --connect-keyfile x")
        .fails(2, &["--connect-tls off and --connect-keyfile exclude each other"]);
    run("--tls off --rotate 0").fails(2, &["--rotate", "64MiB"]);
    for bad in ["0", "-1", "x", "1.5"] {
        run(&format!("--tls off --keep {bad}")).fails(2, &["--keep", "a whole number from 1"]);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let run = |rest: &str| Program::run(&format!("record {rest} --tls off"), "");
    let name = file.path().display();
    run(&format!("--listen 127.0.0.1:0 --connect a:1 --out {name}/x"))
        .fails(1, &["cannot write to", "--out"]);
    run(&format!("--listen 127.0.0.1:0 --connect a:1 --out {name}")).fails(1, &["cannot write to", "--out"]);
    let out = out.path().display();
    run(&format!("--listen 192.0.2.1:1 --connect a:1 --out {out}"))
        .fails(3, &["cannot listen on 192.0.2.1:1"]);
    run(&format!("--listen 127.0.0.1:0 --out {out}")).fails(2, &["--connect"]);
    run("--listen 127.0.0.1:0 --connect a:1").fails(2, &["--out"]);
}
