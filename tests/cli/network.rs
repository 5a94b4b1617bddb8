//! Options, errors and reconnects that all network commands share.

use std::io::Write;
use std::net::TcpListener;

use crate::program::child::soon;
use crate::program::{Files, Program};
use crate::raw;
use tokio::io::AsyncWriteExt;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, Status};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};

#[test]
fn the_tls_mode_is_required() {
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
fn invalid_options_are_reported() {
    let run = |args: &str| Program::run(args, "");
    run("tap --topic x --tls off").fails(2, &["--connect", "--listen"]);
    run("tap --topic x --tls off --connect a:1 --listen b:1").fails(2, &["--connect", "cannot be used with"]);
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
fn invalid_certificate_files_are_reported() {
    let authority = ephemeral_authority().unwrap();
    let (good, other) = (Files::issue(&authority, "a"), Files::issue(&authority, "b"));
    let option = |files: &Files, name: &str| {
        let mut options = files.options.split_whitespace();
        options.find(|option| *option == name).unwrap();
        options.next().unwrap().to_owned()
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
fn a_refused_connection_and_an_address_in_use_end_with_exit_code_3() {
    // The port is bound but has no listener, so no other process can listen on it.
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

/// Starts a server that sends these bytes on every connection and closes it.
fn server(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(bytes).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

#[test]
fn another_protocol_ends_with_exit_code_6_and_a_closed_handshake_with_exit_code_4() {
    let run = |address: &str| Program::run(&format!("tap --topic x --tls off --connect {address}"), "");
    run(&server(b"HTTP/1.1 400 Bad Request\r\n\r\n")).fails(6, &["HTTP"]);
    run(&server(b"SSH-2.0-OpenSSH_9.9\r\n")).fails(6, &["SSH"]);
    run(&server(b"\0\0\0\x01\x63")).fails(6, &["unknown handshake message type 99"]);
    run(&server(b"")).fails(4, &["closed the connection during the handshake", "TLS"]);
    run(&server(b"\x15\x03\x03\x00\x02\x02\x46")).fails(4, &["TLS"]);
}

#[test]
fn a_mismatch_of_plain_tcp_and_tls_is_reported() {
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
fn a_certificate_of_another_authority_is_refused() {
    let [here, there] = [(); 2].map(|()| Files::issue(&ephemeral_authority().unwrap(), "a"));
    let mut listener = Program::start(&format!("tap --topic x --listen 127.0.0.1:0 {}", there.options));
    let address = listener.address();
    let end = Program::run(&format!("tap --topic x --connect {address} {}", here.options), "");
    end.fails(4, &["not signed by a CA in our cafile"]);
}

#[test]
fn a_timeout_before_the_expected_result_ends_with_exit_code_5() {
    let mut tap = Program::start("tap --topic /other --tls off --listen 127.0.0.1:0");
    let address = tap.address();
    let end = Program::run(
        &format!("publish --tls off --topic /t --connect {address} --wait 0.2"),
        "{\"event\":\"e\"}",
    );
    end.fails(5, &["no subscriber for the topic /t", "connected peers: 1", "nothing was published"]);
    let run = |options: &str| {
        Program::run(&format!("tap --topic x --tls off --listen 127.0.0.1:0 --timeout 0.2 {options}"), "")
    };
    run("--count 2").fails(5, &["received 0 of 2 messages"]);
    assert_eq!(run("").code, Some(0));
    // Without a message, publish does not wait for a subscriber.
    let end = Program::run(&format!("publish --tls off --topic /t --connect {address}"), "");
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    // A server that accepts the connection and never sends a byte.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for command in [
        "tap --topic x --timeout",
        "dispatch x --timeout",
        "publish --topic x --timeout",
        "publish --topic x --wait",
    ] {
        let end = Program::run(&format!("{command} 0.2 --tls off --connect {address}"), "");
        end.fails(5, &["no peering yet"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_peering_is_established_again() {
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

/// Returns the sum of the `suppressed` fields.
fn suppressed(lines: &[&str]) -> usize {
    let number = |line: &&str| line.split_once("suppressed=")?.1.split(' ').next()?.parse::<usize>().ok();
    lines.iter().filter_map(number).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reconnects_often_does_not_flood_the_log() {
    const TIMES: usize = 100;
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 -v");
    let address = tap.address().parse().unwrap();
    let id = zeek_bridge::data::EndpointId::from_bytes([7; 16]);
    for _ in 0..TIMES {
        let mut raw = raw::Raw::connect(id, address, &[]).await;
        // A frame of one byte, which is not an envelope.
        raw.bytes(&[0, 0, 0, 1, 0xff]).await;
        raw.settle().await;
        raw.stream.shutdown().await.unwrap();
        while raw.frame().await.is_some() {}
    }
    // Connect the same number of peers that do not speak the protocol.
    for _ in 0..TIMES {
        let mut raw = raw::Raw::open(id, address).await;
        raw.bytes(b"GET / HTTP/1.1\r\n\r\n").await;
        while raw.frame().await.is_some() {}
    }
    tap.signal("TERM");
    let end = tap.end();
    let lines: Vec<&str> = end.stderr.lines().collect();
    let matching = |parts: &[&str]| -> Vec<&str> {
        lines.iter().filter(|line| parts.iter().any(|part| line.contains(part))).copied().collect()
    };
    for (parts, times) in [
        (&["peer added", "peer lost", "kind=\"peer status\""][..], 2 * TIMES),
        (&["malformed message", "kind=\"malformed\""][..], TIMES),
        (&["no peering with", "kind=\"handshake\""][..], TIMES),
    ] {
        let lines = matching(parts);
        assert!((1..=25).contains(&lines.len()), "{}: {lines:#?}", lines.len());
        let reports = lines.iter().filter(|line| line.contains("suppressed log lines")).count();
        assert_eq!(lines.len() - reports + suppressed(&lines), times, "{lines:#?}");
    }
    assert!(!end.stderr.contains("Some("), "{}", end.stderr);
}
