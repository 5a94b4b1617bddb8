//! `tap --logs`: this program as a logger of a ZeroMQ cluster.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use bytes::BytesMut;
use zeek_bridge::data::EndpointId;
use zeek_bridge::peering::{self, Event, Side};
use zeek_bridge::zeromq::curve::KeyPair;
use zeek_bridge::zeromq::{
    Config, EventFormat, LogField, LogHeader, LogValue, Mechanism, SocketType, TypeTag, ZeroMq,
};

use crate::program::{Program, write_secret};
use crate::zeromq_client::Client;

/// Returns a batch with a row for each of these numbers.
fn batch(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let header = LogHeader {
        stream: b"Conn::LOG",
        writer: b"Log::WRITER_ASCII",
        filter: b"default",
        path: b"conn",
        fields: vec![LogField::new("ts", TypeTag::Time), LogField::new("id.orig_p", TypeTag::Count)],
    };
    let rows: Vec<_> = numbers.map(|number| vec![LogValue::Time(1.5), LogValue::Count(number)]).collect();
    let mut bytes = Vec::new();
    header.encode(&rows, &mut bytes).unwrap();
    bytes
}

fn push(node: &mut Client, batch: &[u8]) {
    node.send(&[b"log-write", b"zeromq_worker-1_h_1_N", b"zeek-bin-serializer", batch]);
}

/// Starts `tap --logs`, and connects a node to it.
fn tap(options: &str) -> (Program, Client) {
    let mut tap = Program::start(&format!("tap --logs --listen zeromq://127.0.0.1:0 {options}"));
    let address = tap.address();
    let address = address.strip_prefix("zeromq://").unwrap().parse().unwrap();
    (tap, Client::connect(address, "PUSH"))
}

#[test]
fn each_row_is_a_line() {
    let (tap, mut node) = tap("--count 5");
    push(&mut node, &batch(0..3));
    push(&mut node, b"not a batch");
    push(&mut node, &batch(3..9));
    let end = tap.end_by_itself();
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["dropped a malformed log batch", "zeromq_worker-1_h_1_N"]);
    let expected: Vec<String> = (0..5)
        .map(|number| {
            format!(
                r#"{{"stream":"Conn::LOG","path":"conn","writer":"Log::WRITER_ASCII","filter":"default","row":{{"ts":1.5,"id.orig_p":{number}}}}}"#
            )
        })
        .collect();
    assert_eq!(end.stdout, expected);
}

#[test]
fn the_text_form_has_the_path_and_the_row() {
    let (mut tap, mut node) = tap("--format text --timeout 60s --count 2");
    push(&mut node, &batch(7..8));
    assert_eq!(tap.text(), r#"conn {"ts":1.5,"id.orig_p":7}"#);
    tap.signal("INT");
    tap.end_by_itself().fails(1, &["interrupted: received 1 of 2 rows"]);
    let (tap, _node) = self::tap("--timeout 100ms --count 1");
    tap.end_by_itself().fails(5, &["timeout: received 0 of 1 rows"]);
}

#[test]
fn with_curve_only_clients_with_the_key_are_accepted() {
    let [server, client] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("server_secretkey");
    write_secret(&secret, server.secret().expose_z85().as_bytes());
    let keys = format!("--curve-public-key {} --curve-secret-key {}", client.public(), secret.display());
    let mut tap = Program::start(&format!("tap --logs --listen zeromq://127.0.0.1:0 {keys}"));
    let address: SocketAddr = tap.address().strip_prefix("zeromq://").unwrap().parse().unwrap();
    let established = |keys| {
        let client = Mechanism::CurveClient { server: *server.public(), keys };
        is_established(TcpStream::connect(address).unwrap(), client)
    };
    assert!(established(client));
    assert!(!established(KeyPair::generate().unwrap()));
    assert!(!is_established(TcpStream::connect(address).unwrap(), Mechanism::Null));
}

/// Returns whether the session of a node that sends logs is established.
fn is_established(mut stream: TcpStream, mechanism: Mechanism) -> bool {
    let id = |number| EndpointId::from_bytes([number; 16]);
    let mut session = ZeroMq::new(
        Config {
            common: peering::Config::new(id(1), Side::Connector),
            socket: SocketType::Push,
            own_id: id(1),
            peer_id: id(2),
            mechanism,
            format: EventFormat::Binary,
            reports_subscriptions: false,
        },
        Instant::now(),
    );
    let mut input = BytesMut::new();
    loop {
        while let Some(event) = session.poll_event() {
            match event {
                Event::Introduced { .. } => session.admit(),
                Event::Established { .. } => return true,
                Event::Closed(_) => return false,
                other => panic!("{other:?}"),
            }
        }
        while let Some(bytes) = session.poll_transmit() {
            // Fails if the other side has closed the connection.
            let _ = stream.write_all(&bytes);
        }
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => session.handle_eof(),
            Ok(length) => {
                input.extend_from_slice(&bytes[..length]);
                session.handle_input(Instant::now(), &mut input);
            }
        }
    }
}

#[test]
fn options_without_a_meaning_for_logs_are_refused() {
    for (args, words) in [
        ("--logs --connect zeromq://127.0.0.1:5555", ["--listen", "required"]),
        ("--logs --listen zeromq://127.0.0.1:0 --topic /t", ["--logs", "--topic"]),
        ("--logs --listen zeromq://127.0.0.1:0 --stats", ["--logs", "--stats"]),
        ("--logs --listen zeromq://127.0.0.1:0 --event x", ["--logs", "--event"]),
        ("--logs --listen 127.0.0.1:0 --tls off", ["at one port", "zeromq://HOST:PORT"]),
        ("--logs --listen ws://127.0.0.1:0", ["at one port", "zeromq://HOST:PORT"]),
        ("--logs --listen zeromq://127.0.0.1:1,3", ["at one port", "zeromq://HOST:PORT"]),
        ("--logs --listen zeromq://127.0.0.1:0 --tls off", ["--tls", "ZeroMQ has no TLS"]),
        ("--logs --listen zeromq://127.0.0.1:0 --token-file x", ["--token-file", "remove it"]),
        (
            "--logs --listen zeromq://127.0.0.1:0 --curve-server-key x",
            ["CURVE requires the secret key of the server", "public key of the clients"],
        ),
    ] {
        Program::run(&format!("tap {args}"), "").fails(2, &words);
    }
}
