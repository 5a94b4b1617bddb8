//! `tap` and `publish`, and what all network commands share, as a user drives them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::program::child::{Running, rest, soon, within};
use crate::program::{Files, Program, command};
use crate::raw;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, LinkError, Status};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};
use zeek_bridge::peering::CloseReason;

const PUBLISH: &str = "publish --tls off --topic /t --connect";

#[test]
fn tls_has_to_be_chosen() {
    for command in ["tap --topic x", "publish --topic x", "node --name n", "dispatch get_id_value x"] {
        let run = |options: &str| Program::run(&format!("{command} --connect 127.0.0.1:1 {options}"), "");
        run("").fails(
            2,
            &[
                "--tls anonymous",
                "--tls off",
                "Broker::disable_ssl=T",
                "--cafile",
                "--certificate",
                "--keyfile",
                "zeek-bridge probe",
                "--help",
            ],
        );
        run("--tls mutual").fails(2, &["--cafile, --certificate and --keyfile are missing"]);
        run("--cafile a").fails(2, &["--certificate and --keyfile are missing"]);
        run("--certificate a --keyfile b").fails(2, &["--cafile is missing"]);
        run("--cafile a --keyfile b").fails(2, &["--certificate is missing"]);
        run("--tls off --cafile a").fails(2, &["--tls off", "remove one of them"]);
        run("--tls maybe").fails(2, &["maybe"]);
    }
}

#[test]
fn wrong_options_are_named() {
    let run = |args: &str| Program::run(args, "");
    run("tap --topic x --tls off").fails(2, &["--connect", "--listen"]);
    run("tap --topic x --tls off --connect a:1 --listen b:1").fails(2, &["--connect", "cannot be used with"]);
    run("tap --tls off --connect a:1").fails(2, &["--topic"]);
    run("tap --topic x --tls off --connect a").fails(2, &["no port", "127.0.0.1:9999"]);
    run("tap --topic x --tls off --connect ::1:1").fails(2, &["brackets"]);
    run("tap --topic x --tls off --connect a:99999").fails(2, &["too large", "0 to 65535"]);
    run("tap --topic x --tls off --connect a:0").fails(2, &["port 0"]);
    run("tap --topic x --tls off --connect tcp://a:1").fails(2, &["scheme", "tcp://"]);
    run("tap --topic x --tls off --listen 0.0.0.0:9999/tcp").fails(2, &["ends with", "/tcp"]);
    run("tap --topic x --tls off --listen [fe80::1]:9").fails(2, &["needs a zone", "[fe80::1%eth0]:9999"]);
    run("tap --topic x --tls off --listen [fe80::1%nowhere]:9").fails(3, &["unknown zone", "nowhere"]);
    run("tap --topic x --tls off --connect [fe80::1%nowhere]:9").fails(3, &["unknown zone", "nowhere"]);
    let probed = run("probe [fe80::1%nowhere]:9");
    assert!(probed.code == Some(3) && probed.stdout[0].contains("unknown zone \"nowhere\""), "{probed:?}");
    run("tap --topic x --tls off --connect a:1 --count 0").fails(2, &["--count"]);
    run("tap --topic x --tls off --connect a:1 --timeout 0").fails(2, &["--timeout", "above 0"]);
    run("tap --topic x --tls off --connect a:1 --count -3").fails(2, &["--count", "from 1 to"]);
    run("tap --topic x --tls off --connect a:1 --timeout -1").fails(2, &["--timeout", "above 0"]);
    run("publish --topic x --tls off --connect a:1 --timeout -0.5").fails(2, &["--timeout", "above 0"]);
    run("dispatch --tls off --connect a:1 --timeout -1 x").fails(2, &["--timeout", "above 0"]);
    run("probe a:1 --timeout -1").fails(2, &["--timeout", "above 0"]);
    run("dispatch --tls off --connect a:1 --expect -1 x").fails(2, &["--expect", "1..=65535"]);
    run("tap --topic x --tls off --connect 127.0.0.1:+9").fails(2, &["0 to 65535"]);
    run("tap --topic x --tls off --connect []:9").fails(2, &["brackets"]);
    for command in ["publish", "tap"] {
        run(&format!("{command} --topic <$>/local/x --tls off --connect a:1"))
            .fails(2, &["<$>/local/", "never leave an endpoint"]);
    }
    run("publish --tls off --connect a:1").fails(2, &["--topic"]);
    run("node --tls off --connect a:1").fails(2, &["--name"]);
    run("dispatch --tls off --connect a:1").fails(2, &["ACTION"]);
    run("dispatch --tls off --connect a:1 --expect 0 x").fails(2, &["--expect"]);
    run("dispatch --tls off --connect a:1 --nodes a,,b x").fails(2, &["--nodes"]);
    let long = "x".repeat(70_000);
    run(&format!("publish --topic {long} --tls off --connect a:1")).fails(2, &["65535"]);
}

#[test]
fn wrong_certificate_files_are_named() {
    let authority = ephemeral_authority().unwrap();
    let (good, other) = (Files::issue(&authority, "a"), Files::issue(&authority, "b"));
    let option = |files: &Files, name: &str| {
        let mut words = files.options.split_whitespace();
        words.find(|word| *word == name).unwrap();
        words.next().unwrap().to_owned()
    };
    let run = |cafile: &str, certificate: &str, keyfile: &str| {
        let files = format!("--cafile {cafile} --certificate {certificate} --keyfile {keyfile}");
        Program::run(&format!("tap --topic x --listen 127.0.0.1:0 {files}"), "")
    };
    let [ca, certificate, key] = ["--cafile", "--certificate", "--keyfile"].map(|name| option(&good, name));
    run("/nowhere/ca", &certificate, &key).fails(4, &["cafile /nowhere/ca", "cannot be read"]);
    run(&ca, "/nowhere/cert", &key).fails(4, &["certificate /nowhere/cert", "cannot be read"]);
    run(&ca, &certificate, "/nowhere/key").fails(4, &["keyfile /nowhere/key", "cannot be read"]);
    run(&ca, &key, &certificate).fails(4, &["are swapped"]);
    run(&ca, &certificate, &option(&other, "--keyfile")).fails(4, &["not the key of the certificate"]);
    run("Cargo.toml", &certificate, &key).fails(4, &["Cargo.toml", "not PEM"]);
}

#[test]
fn nothing_listening_is_exit_code_3_and_told_once() {
    // Nobody else gets the port while it is bound here, and nobody listens on it.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = bound.local_addr().unwrap().port();
    for command in ["tap --topic x", "publish --topic x", "dispatch get_id_value x"] {
        let end = Program::run(&format!("{command} --tls off --connect 127.0.0.1:{port}"), "");
        end.fails(
            3,
            &[&format!("127.0.0.1:{port}"), "cannot connect", "is a Zeek or zeek-bridge listening there?"],
        );
        assert_eq!(end.stderr.lines().count(), 1, "{end:?}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for command in ["tap --topic x", "node --name n"] {
        let end = Program::run(&format!("{command} --tls off --listen {address}"), "");
        end.fails(3, &[&format!("cannot listen on {address}"), "port 0"]);
    }
}

/// Answers every connection with these bytes and closes it.
fn server(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(words).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

#[test]
fn a_peer_that_is_no_broker_is_exit_code_6_and_one_that_hangs_up_4() {
    let run = |address: &str| Program::run(&format!("tap --topic x --tls off --connect {address}"), "");
    run(&server(b"HTTP/1.1 400 Bad Request\r\n\r\n")).fails(6, &["HTTP"]);
    run(&server(b"SSH-2.0-OpenSSH_9.9\r\n")).fails(6, &["SSH"]);
    run(&server(b"\0\0\0\x01\x63")).fails(6, &["unknown handshake message type 99"]);
    run(&server(b"")).fails(4, &["closed the connection during the handshake", "TLS"]);
    run(&server(b"\x15\x03\x03\x00\x02\x02\x46")).fails(4, &["TLS"]);
}

#[test]
fn plain_and_tls_do_not_talk_and_the_error_says_so() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "a");
    let mut plain = Program::start("tap --topic x --tls off --listen 127.0.0.1:0");
    let mut mutual = Program::start(&format!("tap --topic x --listen 127.0.0.1:0 {}", files.options));
    let (plain, mutual) = (plain.address(), mutual.address());
    let tap = |address: &str, options: &str| {
        Program::run(&format!("tap --topic x --connect {address} {options}"), "")
    };
    tap(&plain, &files.options).fails(4, &["does not speak TLS", "Broker::disable_ssl=T"]);
    tap(&mutual, "--tls off").fails(4, &["TLS"]);
}

#[test]
fn a_foreign_authority_is_refused() {
    let [here, there] = [(); 2].map(|()| Files::issue(&ephemeral_authority().unwrap(), "a"));
    let mut listener = Program::start(&format!("tap --topic x --listen 127.0.0.1:0 {}", there.options));
    let address = listener.address();
    let end = Program::run(&format!("tap --topic x --connect {address} {}", here.options), "");
    end.fails(4, &["not signed by a CA in our cafile"]);
}

#[test]
fn what_is_published_is_tapped() {
    let mut tap = Program::start("tap --topic /t/ /u --tls off --listen 127.0.0.1:0 --count 4");
    let address = tap.address();
    let lines = [
        json!({"event": "Mod::ping", "args": [{"@data-type": "count", "data": 7},
                                             {"@data-type": "string", "hex": "ff00"}]}),
        json!({"event": "none"}),
        json!({"event": "late", "args": [],
               "metadata": [{"id": 1, "value": {"@data-type": "timestamp", "ns": 5}}]}),
        json!({"@data-type": "vector", "data": [{"@data-type": "boolean", "data": true}]}),
    ];
    let input = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let end = Program::run(&format!("publish --topic /t/x --tls off --connect {address}"), input);
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    assert!(end.stdout.is_empty(), "{end:?}");

    let tapped = tap.end();
    assert_eq!(tapped.code, Some(0), "{tapped:?}");
    // As the first says, members stand in the order of the documentation.
    assert!(tapped.stdout[0].starts_with("{\"peer\":\""), "{tapped:?}");
    let peer = tapped.json()[0]["peer"].clone();
    let expected = [
        json!({"peer": peer, "topic": "/t/x", "event": "Mod::ping", "args": lines[0]["args"], "metadata": null}),
        json!({"peer": peer, "topic": "/t/x", "event": "none", "args": [], "metadata": null}),
        json!({"peer": peer, "topic": "/t/x", "event": "late", "args": [], "metadata": lines[2]["metadata"]}),
        json!({"peer": peer, "topic": "/t/x", "value": lines[3]}),
    ];
    assert_eq!(tapped.json(), expected);

    // What was tapped can be published again.
    let mut second = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 4");
    let again = format!("{PUBLISH} {}", second.address());
    assert_eq!(Program::run(&again, tapped.stdout.join("\n")).code, Some(0));
    let without_peer = |mut line: serde_json::Value| {
        line["peer"].take();
        line["topic"].take();
        line
    };
    let second: Vec<_> = second.end().json().into_iter().map(without_peer).collect();
    assert_eq!(second, tapped.json().into_iter().map(without_peer).collect::<Vec<_>>());
}

#[test]
fn what_is_published_over_mutual_tls_is_tapped() {
    let authority = ephemeral_authority().unwrap();
    let [one, other] = ["one", "other"].map(|name| Files::issue(&authority, name));
    let mut publish = Program::start(&format!("publish --topic /t --listen 127.0.0.1:0 {}", one.options));
    let address = publish.address();
    publish.give(r#"{"event":"e"}"#);
    let tap = Program::run(
        &format!("tap --topic /t --connect {address} --tls mutual --count 1 {}", other.options),
        "",
    );
    assert_eq!((tap.code, tap.json()[0]["event"].as_str()), (Some(0), Some("e")), "{tap:?}");
    let end = publish.end();
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[test]
fn a_bad_line_is_reported_with_its_number_and_the_others_are_published() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 2");
    let address = tap.address();
    let input: &[u8] = b"{\"event\":\"first\"}\n\n{\"event\":\n{\"event\":\"\xff\"}\n{\"events\":\"x\"}\n{\"event\":\"last\"}";
    let end = Program::run(&format!("{PUBLISH} {address}"), input);
    end.fails(1, &["line 3: not JSON", "line 4: not JSON", "line 5: there is no \"event\"", "skipped: 3"]);
    let names: Vec<_> = tap.end().json().iter().map(|line| line["event"].clone()).collect();
    assert_eq!(names, ["first", "last"]);
}

#[test]
fn nothing_is_lost_when_stdin_ends_at_once() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 5000");
    let address = tap.address();
    let event =
        |n: u32| format!("{{\"event\":\"e\",\"args\":[{{\"@data-type\":\"count\",\"data\":{n}}}]}}\n");
    let end = Program::run(&format!("{PUBLISH} {address}"), (0..5000).map(event).collect::<String>());
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    let tapped = tap.end();
    assert_eq!((tapped.code, tapped.stdout.len()), (Some(0), 5000), "{}", tapped.stderr);
    assert_eq!(tapped.json()[4999]["args"][0]["data"], 4999);
}

#[test]
fn time_runs_out() {
    let mut tap = Program::start("tap --topic /other --tls off --listen 127.0.0.1:0");
    let address = tap.address();
    let end = Program::run(&format!("{PUBLISH} {address} --timeout 0.2"), "{\"event\":\"e\"}");
    end.fails(5, &["no peer wants the topic /t", "peers there: 1", "nothing was published"]);
    let run = |options: &str| {
        Program::run(&format!("tap --topic x --tls off --listen 127.0.0.1:0 --timeout 0.2 {options}"), "")
    };
    run("--count 2").fails(5, &["0 of 2 messages came"]);
    assert_eq!(run("").code, Some(0));
    // Nothing to publish is nothing to wait for.
    let end = Program::run(&format!("{PUBLISH} {address}"), "");
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    // A server that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for command in ["tap --topic x", "dispatch x", "publish --topic x"] {
        let end = Program::run(&format!("{command} --tls off --connect {address} --timeout 0.2"), "");
        end.fails(5, &["no peering yet"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_tap_with_bye() {
    for signal in ["TERM", "INT"] {
        let endpoint = Endpoint::new().unwrap();
        let mut status = endpoint.status();
        let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
        let mut tap = Program::start(&format!("tap --topic /t --tls off --connect {address}"));
        let topic = Topic::from_static("/t");
        soon("a subscription", endpoint.wanted(&topic, 1)).await;
        endpoint.publish(topic, &Value::Count(1)).await.unwrap();
        assert_eq!(tap.line()["value"]["data"], 1);
        tap.signal(signal);
        let lost = loop {
            match soon("a status", status.recv()).await.unwrap() {
                Status::PeerLost { error, .. } => break error,
                _ => continue,
            }
        };
        assert!(matches!(lost, LinkError::Closed(CloseReason::PeerLeft)), "{lost}");
        let end = tap.end();
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    }
}

#[test]
fn a_signal_before_all_messages_came_is_no_success() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 3");
    tap.address();
    tap.signal("TERM");
    tap.end().fails(1, &["interrupted", "0 of 3"]);
    // Its stdin does not keep it.
    let mut publish = Program::start("publish --topic /t --tls off --listen 127.0.0.1:0");
    publish.address();
    publish.signal("INT");
    publish.end_by_itself().fails(1, &["interrupted: nothing was published"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_peer_is_connected_to_again() {
    let endpoint = Endpoint::new().unwrap();
    let mut status = endpoint.status();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = Program::start(&format!("tap --topic /t --tls off --connect {address} --count 1"));
    let peer = loop {
        match soon("a status", status.recv()).await.unwrap() {
            Status::PeerAdded { peer, .. } => break peer,
            _ => continue,
        }
    };
    assert!(endpoint.unpeer(peer).await);
    loop {
        if let Status::PeerAdded { peer: again, .. } = soon("a status", status.recv()).await.unwrap() {
            assert_eq!(again, peer);
            break;
        }
    }
    endpoint.publish(Topic::from_static("/t"), &Value::Count(1)).await.unwrap();
    tap.line();
    assert_eq!(tap.end().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stdout_ends_a_tap_quietly() {
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = command(format!("tap --topic /t --tls off --connect {address}").split(' '));
    let mut tap = Running::spawn(tap.stdin(Stdio::null()));
    drop(tap.stdout.take());
    let topic = Topic::from_static("/t");
    soon("a subscription", endpoint.wanted(&topic, 1)).await;
    endpoint.publish(topic, &Value::Count(1)).await.unwrap();
    let end = tap.output();
    assert_eq!((end.status.code(), String::from_utf8(end.stderr).unwrap().as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_off_makes_publish_say_that_messages_may_be_lost() {
    let endpoint = Endpoint::new().unwrap();
    let mut subscriber = endpoint.subscribe([Topic::from_static("/t")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A way to the endpoint that can be cut.
    let there = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let (cut, to_cut) = std::sync::mpsc::channel::<()>();
    // From then on nothing comes back, so that the publisher cannot know whether its message was received.
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = silent.clone();
    std::thread::spawn(move || {
        let here = listener.accept().unwrap().0;
        let there = std::net::TcpStream::connect(there).unwrap();
        let clone = |stream: &std::net::TcpStream| stream.try_clone().unwrap();
        let (mut from, mut to) = (clone(&here), clone(&there));
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut from, mut to) = (clone(&there), clone(&here));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                if !is_silent.load(Ordering::SeqCst) && to.write_all(&chunk[..count]).is_err() {
                    break;
                }
            }
        });
        to_cut.recv().unwrap();
        for stream in [here, there] {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    });
    let mut publish = Program::start(&format!("{PUBLISH} {address} -v"));
    publish.says("peer added");
    silent.store(true, Ordering::SeqCst);
    publish.give("{\"event\":\"e\"}");
    soon("a message", subscriber.recv()).await.unwrap();
    cut.send(()).unwrap();
    publish.says("peer lost");
    publish.end().fails(1, &["peerings that broke: 1", "up to line 1 "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_is_not_read_does_not_keep_a_tap_from_its_end() {
    let endpoint = Endpoint::new().unwrap();
    let mut status = endpoint.status();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = command(format!("tap --topic /t --tls off --connect {address}").split(' '));
    let mut tap = Running::spawn(tap.stdin(Stdio::null()));
    let topic = Topic::from_static("/t");
    let peer = soon("a subscription", endpoint.wanted(&topic, 1)).await[0];
    // More than a pipe holds.
    let large = Value::String("x".repeat(1024 * 1024).as_str().into());
    for _ in 0..3 {
        endpoint.publish(topic.clone(), &large).await.unwrap();
    }
    // With this, it has read them all.
    endpoint.unpeer(peer).await;
    while !matches!(soon("a status", status.recv()).await.unwrap(), Status::PeerRemoved { error: None, .. }) {
    }
    let mut stdout = tap.stdout.take().unwrap();
    let stdout = within("output", move || {
        stdout.read_exact(&mut [0]).unwrap();
        stdout
    });
    tap.signal("TERM");
    let end = tap.output();
    let said = String::from_utf8(end.stderr).unwrap();
    assert_eq!(end.status.code(), Some(1), "{said}");
    assert!(said.contains("stdout is not read"), "{said}");
    drop(stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_says_what_was_not_published_when_its_peer_is_killed_or_leaves() {
    for (signal, words) in [("KILL", "peerings that broke: 1"), ("TERM", "a peer left before everything")] {
        let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0");
        let address = tap.address();
        let mut publish = Program::start(&format!("{PUBLISH} {address} --timeout 0.5 -v"));
        publish.give("{\"event\":\"one\"}");
        publish.give("{\"event\":\"two\"}");
        assert_eq!((tap.line()["event"].as_str(), tap.line()["event"].as_str()), (Some("one"), Some("two")));
        tap.signal(signal);
        publish.says("peer lost");
        publish.give("{\"event\":\"three\"}");
        let nothing = "nothing behind line 2 was published";
        publish.end().fails(1, &["no peer wants the topic", nothing, words, "up to line 2 "]);
    }
}

#[test]
fn publish_says_how_far_it_was_when_it_is_interrupted() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 1");
    let mut publish = Program::start(&format!("{PUBLISH} {}", tap.address()));
    publish.give("\n{\"event\":\"e\"}");
    assert_eq!(tap.end().code, Some(0));
    publish.signal("TERM");
    publish.end_by_itself().fails(1, &["interrupted: nothing behind line 2 was published"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_whose_stdout_is_too_slow_says_how_many_messages_it_did_not_print() {
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = command(format!("tap --topic /t --tls off --connect {address} -v").split(' '));
    let mut tap = Running::spawn(tap.stdin(Stdio::null()));
    let topic = Topic::from_static("/t");
    soon("a subscription", endpoint.wanted(&topic, 1)).await;
    // More than may wait for stdout and to be printed, 72 MiB together, and in a pipe.
    let large = Value::String("x".repeat(1024 * 1024).as_str().into());
    for _ in 0..90 {
        assert_eq!(endpoint.publish(topic.clone(), &large).await.unwrap(), 1);
    }
    // With this, it has heard them all.
    endpoint.shutdown().await;
    let mut stderr = std::io::BufReader::new(tap.stderr.take().unwrap());
    let (stderr, mut said) = within("the loss of the peer", move || {
        let mut said = String::new();
        while !said.contains("peer lost") {
            assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(), 0, "{said}");
        }
        (stderr, said)
    });
    tap.signal("TERM");
    let printed = rest(tap.stdout.take().unwrap());
    said.push_str(std::str::from_utf8(&rest(stderr)).unwrap());
    assert_eq!(tap.end().code(), Some(1), "{said}");
    let printed = printed.iter().filter(|byte| **byte == b'\n').count();
    let number = |words: &str| {
        let (before, _) = said.split_once(words)?;
        before.rsplit(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty())?.parse::<usize>().ok()
    };
    let dropped = number(" messages came and were not printed").expect("some were dropped");
    assert_eq!(printed + dropped + number(" messages came last").unwrap_or(0), 90, "{said}");
}

#[test]
fn a_burst_of_many_messages_is_printed_to_the_last() {
    const COUNT: u64 = 30_000;
    let mut tap = Program::start(&format!("tap --topic /t --tls off --listen 127.0.0.1:0 --count {COUNT}"));
    let address = tap.address();
    let lines: String = (0..COUNT).map(|n| format!("{{\"@data-type\":\"count\",\"data\":{n}}}\n")).collect();
    let end = Program::run(&format!("{PUBLISH} {address}"), lines);
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    let tapped = tap.end();
    assert_eq!(tapped.code, Some(0), "{}", tapped.stderr);
    let numbers: Vec<_> = tapped.json().iter().map(|line| line["value"]["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
}

/// The numbers behind `suppressed=`.
fn suppressed(lines: &[&str]) -> usize {
    let number = |line: &&str| line.split_once("suppressed=")?.1.split(' ').next()?.parse::<usize>().ok();
    lines.iter().filter_map(number).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_and_goes_does_not_flood_the_log() {
    const TIMES: usize = 100;
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 -v");
    let address = tap.address().parse().unwrap();
    let id = zeek_bridge::data::EndpointId::from_bytes([7; 16]);
    for _ in 0..TIMES {
        let mut raw = raw::Raw::connect(id, address, &[]).await;
        // A frame of one byte, which is no envelope.
        raw.bytes(&[0, 0, 0, 1, 0xff]).await;
        raw.settle().await;
        raw.stream.shutdown().await.unwrap();
        while raw.frame().await.is_some() {}
    }
    // And as many that do not speak the protocol.
    for _ in 0..TIMES {
        let mut raw = raw::Raw::open(id, address).await;
        raw.bytes(b"GET / HTTP/1.1\r\n\r\n").await;
        while raw.frame().await.is_some() {}
    }
    tap.signal("TERM");
    let end = tap.end();
    let lines: Vec<&str> = end.stderr.lines().collect();
    let of = |words: &[&str]| -> Vec<&str> {
        lines.iter().filter(|line| words.iter().any(|words| line.contains(words))).copied().collect()
    };
    for (words, times) in [
        (&["peer added", "peer lost", "kind=\"peer status\""][..], 2 * TIMES),
        (&["malformed message", "kind=\"malformed\""][..], TIMES),
        (&["no peering with", "kind=\"handshake\""][..], TIMES),
    ] {
        let lines = of(words);
        assert!((1..=25).contains(&lines.len()), "{}: {lines:#?}", lines.len());
        let reports = lines.iter().filter(|line| line.contains("left lines out")).count();
        assert_eq!(lines.len() - reports + suppressed(&lines), times, "{lines:#?}");
    }
    assert!(!end.stderr.contains("Some("), "{}", end.stderr);
}
