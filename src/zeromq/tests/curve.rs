//! Sessions with CURVE.

use super::*;
use crate::wire::{Limits, PartsError};
use crate::zeromq::curve::{AllowedClients, Channel, Client, ClientStep, Flags, KeyPair, SecretKey};

const SERVER: u8 = 1;
const CLIENT: u8 = 2;
/// A key that neither side expects.
const OTHER: u8 = 3;

fn keys(seed: u8) -> KeyPair {
    SecretKey::from_bytes([seed; 32]).into()
}

fn client_with(server: u8, client: u8) -> Mechanism {
    Mechanism::CurveClient { server: *keys(server).public(), keys: keys(client) }
}

fn client() -> Mechanism {
    client_with(SERVER, CLIENT)
}

fn server() -> Mechanism {
    let clients: AllowedClients = (*keys(CLIENT).public(), "worker-1").into();
    Mechanism::CurveServer { keys: keys(SERVER), clients: Arc::new(clients) }
}

fn end(socket: SocketType, mechanism: Mechanism) -> End {
    End::new(socket, |config| config.mechanism = mechanism)
}

/// Returns two sides that are connected. The first one sends messages.
fn pair(socket: SocketType, mechanisms: [Mechanism; 2]) -> [End; 2] {
    let [first, second] = mechanisms;
    let peer = if socket == SocketType::XPub { SocketType::XSub } else { SocketType::Pull };
    let mut sender = end(socket, first);
    let mut receiver = End::new(peer, |config| {
        (config.own_id, config.peer_id) = (id(3), id(4));
        (config.mechanism, config.common.filter) = (second, filter(&["/t"]));
    });
    exchange(&mut sender, &mut receiver);
    for end in [&mut sender, &mut receiver] {
        assert!(end.session.is_established(), "{:?}", end.events);
        let opening = end.events.drain(..2).collect::<Vec<_>>();
        assert!(matches!(opening[..], [Event::Introduced { .. }, Event::Established { .. }]));
    }
    [sender, receiver]
}

/// The role in CURVE does not depend on the socket.
fn both_roles() -> [[Mechanism; 2]; 2] {
    [[client(), server()], [server(), client()]]
}

#[test]
fn a_publisher_and_a_subscriber_exchange_encrypted_events() {
    for mechanisms in both_roles() {
        let [mut publisher, mut subscriber] = pair(SocketType::XPub, mechanisms);
        assert_eq!(publisher.take_events(), [Event::FilterChanged(filter(&["/t"]))]);
        for topics in [&["/t", "/u"][..], &["/u"], &[]] {
            subscriber.session.set_filter(filter(topics));
            subscriber.poll();
            exchange(&mut publisher, &mut subscriber);
            assert_eq!(publisher.take_events(), [Event::FilterChanged(filter(topics))]);
        }
        // Short and long messages are queued differently, and remain in order.
        let mut sent = Vec::new();
        for (topic, length) in [("/t", 1), ("\x01/t", 5000), ("\0", 220), ("/t", 100_000), ("/u", 2)] {
            let message = envelope(topic, &event("x".repeat(length)));
            publisher.session.send(&message).unwrap();
            sent.push(Event::Message(Envelope { sender: id(1), ..message }));
        }
        publisher.poll();
        let is_visible = publisher.output.windows(10).any(|window| window == b"xxxxxxxxxx");
        assert!(!is_visible, "the events are encrypted");
        exchange(&mut publisher, &mut subscriber);
        assert_eq!(subscriber.take_events(), sent);
    }
}

#[test]
fn log_batches_are_encrypted_part_by_part_wherever_the_pieces_begin() {
    for mechanisms in both_roles() {
        let [mut push, mut pull] = pair(SocketType::Push, mechanisms);
        let mut frames = message(&[b"log-write", SENDER, b"zeek-bin-serializer"]);
        // The header of the third part, which is not the last one.
        let at = frames.len() - 21;
        frames[at] = 1;
        frames.extend([&[2][..], &5000_u64.to_be_bytes(), &[7; 5000]].concat());
        for split in (0..100).chain([frames.len() - 1, frames.len()]) {
            let (first, second) = frames.split_at(split);
            push.session.send_encoded([first, second].map(Bytes::copy_from_slice)).unwrap();
            push.poll();
            exchange(&mut push, &mut pull);
            let events = pull.take_events();
            let [Event::Logs { batch, .. }] = &events[..] else { panic!("{split}: {events:?}") };
            assert_eq!(*batch, vec![7; 5000]);
        }
        let incomplete = push.session.send_encoded([Bytes::from_static(b"\x00\x05abc"), Bytes::new()]);
        assert_eq!(incomplete, Err(SendError::NotEstablished));
        push.poll();
        assert_eq!(push.closed_text(), "this side queued an incomplete frame");
    }
}

#[test]
fn a_server_reports_the_name_of_the_client_when_it_is_introduced() {
    let (mut connector, mut listener) = (end(SocketType::XPub, client()), end(SocketType::XSub, server()));
    while listener.session.takes_input() {
        assert_eq!(listener.session.curve_client(), None);
        let output = connector.take_output();
        listener.input.extend_from_slice(&output);
        listener.session.handle_input(listener.now, &mut listener.input);
        listener.poll();
        connector.receive(&listener.take_output());
    }
    assert!(!listener.session.is_established());
    assert_eq!(listener.session.curve_client().as_deref(), Some("worker-1"));
    assert_eq!(connector.session.curve_client(), None);
    assert_eq!(connector.session.peer_socket(), Some("XSUB"));
    assert_eq!(End::established(SocketType::XPub, |_| {}).session.curve_client(), None);
}

/// Returns how the sessions of the two sides end.
fn failures(one: Mechanism, other: Mechanism) -> [(String, ErrorKind, &'static str); 2] {
    let (mut one, mut other) = (end(SocketType::XPub, one), end(SocketType::XSub, other));
    exchange(&mut one, &mut other);
    assert!(one.session.is_closed() || other.session.is_closed());
    [one, other].map(|mut end| {
        end.session.handle_eof();
        end.poll();
        let (kind, cause) = end.failure();
        (end.closed_text(), kind, cause)
    })
}

#[test]
fn wrong_keys_and_roles_are_reported_with_the_cause() {
    use ErrorKind::{Closed, Denied, Incompatible, Misbehaved, Refused};
    let other = *keys(OTHER).public();
    let server_key = *keys(SERVER).public();
    assert_eq!(
        failures(client_with(SERVER, OTHER), server()),
        [
            (
                format!(
                    "the peer closed the connection before the server's READY; possible causes: it does not allow the CURVE key \
                     {other}, its socket is of a type that cannot be connected to this one, or it is shutting down"
                ),
                Closed,
                "curve"
            ),
            (
                format!(
                    "the key {other} of the client is not allowed; if it belongs to the cluster, add it to the allowed clients"
                ),
                Denied,
                "denied"
            ),
        ]
    );
    // libzmq also sends an ERROR.
    let (mut connector, mut listener) =
        (end(SocketType::XPub, client_with(SERVER, OTHER)), end(SocketType::XSub, server()));
    for _ in 0..2 {
        let output = connector.take_output();
        listener.receive(&output);
        connector.receive(&listener.take_output());
    }
    assert!(!connector.take_output().is_empty(), "INITIATE");
    connector.receive(&command("ERROR", b"\x03400"));
    assert_eq!(
        connector.closed_text(),
        format!(
            "the server refused the CURVE key {other}: 400; the server does not allow this key: add it to the client keys of the \
             server"
        )
    );
    assert_eq!(connector.failure(), (Refused, "refused"));
    assert_eq!(
        failures(client_with(OTHER, CLIENT), server()),
        [
            (
                format!(
                    "the peer closed the connection before the server's WELCOME; it may have a CURVE key other than {other}, or be \
                     shutting down"
                ),
                Closed,
                "curve"
            ),
            (
                format!(
                    "cannot open HELLO; the client may use a server key other than {server_key}, the public key of this server"
                ),
                Denied,
                "curve"
            ),
        ]
    );
    let [(null, ..), (curve, kind, cause)] = failures(Mechanism::Null, server());
    assert_eq!(
        null,
        "the peer uses the security mechanism CURVE, and this side NULL; both sides must use the same mechanism, and CURVE requires keys"
    );
    assert_eq!(
        curve,
        "the peer uses the security mechanism NULL, and this side CURVE; both sides must use the same mechanism"
    );
    let [(curve, ..), _] = failures(client(), Mechanism::Null);
    assert_eq!(
        curve,
        format!(
            "the peer uses the security mechanism NULL, and this side CURVE with the server key {server_key}; both sides must use \
             the same mechanism"
        )
    );
    assert_eq!((kind, cause), (Incompatible, "mechanism"));
    for (text, kind, cause) in failures(client(), client()) {
        assert_eq!(
            text,
            "the peer sent HELLO instead of WELCOME; both sides may be configured as clients of CURVE: the side that listens is \
             usually the server"
        );
        assert_eq!((kind, cause), (Misbehaved, "curve"));
    }
    let (mut one, mut other) = (end(SocketType::XPub, server()), end(SocketType::XSub, server()));
    exchange(&mut one, &mut other);
    one.time_out();
    assert_eq!(
        one.closed_text(),
        "timed out while waiting for the client's HELLO; both sides may be configured as servers of CURVE: the side that \
         connects is usually the client"
    );
}

#[test]
fn the_socket_type_is_checked_before_the_server_sends_ready() {
    let (mut connector, mut listener) = (end(SocketType::XPub, client()), end(SocketType::Pull, server()));
    exchange(&mut connector, &mut listener);
    assert!(listener.closed_text().contains("socket type \"XPUB\" cannot be connected to PULL"));
    assert_eq!(connector.session.peer_socket(), None);
    connector.session.handle_eof();
    connector.poll();
    assert_eq!(
        connector.closed_text(),
        format!(
            "the peer closed the connection before the server's READY; possible causes: it does not allow the CURVE key {}, its \
             socket is of a type that cannot be connected to this one, or it is shutting down",
            keys(CLIENT).public()
        )
    );
}

/// Returns a server with an XPUB or a PULL that is established, and the keys of its client.
fn server_and_channel(socket: SocketType, limits: Limits) -> (End, Channel) {
    let mut end = End::new(socket, |config| {
        (config.mechanism, config.common.limits) = (server(), limits);
    });
    end.receive(&greeting("CURVE"));
    end.take_output();
    let peer = socket.peers()[0].as_bytes();
    let mut metadata = b"\x0bSocket-Type\0\0\0".to_vec();
    metadata.push(peer.len().try_into().unwrap());
    metadata.extend(peer);
    let (mut client, hello) = Client::start(*keys(SERVER).public(), keys(CLIENT), metadata.into()).unwrap();
    end.receive(&frame(4, &hello));
    let ClientStep::Initiate(initiate) = client.receive(&end.take_output()[2..]).unwrap() else { panic!() };
    let mut long = vec![6];
    long.extend(u64::try_from(initiate.len()).unwrap().to_be_bytes());
    end.receive(&[&long, &initiate[..]].concat());
    let step = client.receive(&end.take_output()[2..]).unwrap();
    let ClientStep::Established { channel, .. } = step else { panic!("{step:?}") };
    assert!(end.session.is_established());
    end.take_events();
    (end, channel)
}

const PART: Flags = Flags { more: true, command: false };
const LAST: Flags = Flags { more: false, command: false };
const COMMAND: Flags = Flags { more: false, command: true };

/// Returns an encrypted frame with the shortest size.
fn sealed(channel: &mut Channel, flags: Flags, data: &[u8]) -> Vec<u8> {
    let body = channel.seal(flags, data).unwrap();
    match u8::try_from(body.len()) {
        Ok(_) => frame(0, &body),
        Err(_) => [&[2][..], &u64::try_from(body.len()).unwrap().to_be_bytes(), &body].concat(),
    }
}

#[test]
fn subscriptions_are_messages_or_commands_and_pings_are_answered() {
    let (mut end, mut channel) = server_and_channel(SocketType::XPub, Limits::DEFAULT);
    let frames = [
        sealed(&mut channel, COMMAND, b"\x09SUBSCRIBE/a"),
        sealed(&mut channel, LAST, b"\x01/b"),
        sealed(&mut channel, COMMAND, b"\x06CANCEL/b"),
        sealed(&mut channel, LAST, b"\x01/c"),
        sealed(&mut channel, COMMAND, b"\x04PONG"),
    ];
    end.receive(&frames.concat());
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&["/a", "/c"]))]);
    end.receive(&sealed(&mut channel, COMMAND, b"\x04PING\0\x0acontext"));
    let output = end.take_output();
    assert_eq!(output[0], 0, "a message frame");
    let opened = channel.open(BytesMut::from(&output[2..])).unwrap();
    assert_eq!(opened, (COMMAND, Bytes::from_static(b"\x04PONGcontext")));
}

#[test]
fn frames_that_violate_the_protocol_end_the_session() {
    use ErrorKind::{Malformed, Misbehaved};
    type Frames = fn(&mut Channel) -> Vec<u8>;
    let cases: [(Frames, ErrorKind, &str); 8] = [
        (
            |channel| frame(1, &channel.seal(PART, b"x").unwrap()),
            Misbehaved,
            "a frame that is not an encrypted message",
        ),
        (
            |channel| frame(4, &channel.seal(COMMAND, b"\x04PONG").unwrap()),
            Misbehaved,
            "a frame that is not an encrypted message",
        ),
        (|_| message(&[b"\x01/t"]), Misbehaved, "the peer sent an unknown command instead of MESSAGE"),
        (|_| ready("XSUB"), Misbehaved, "a frame that is not an encrypted message"),
        (
            |channel| sealed(channel, Flags { more: true, command: true }, b"\x04PONG"),
            Malformed,
            "a command with the flag MORE",
        ),
        (|channel| sealed(channel, LAST, b"x").repeat(2), Misbehaved, "a command was replayed or reordered"),
        (|_| frame(0, b"\x07MESSAGE12345678"), Malformed, "MESSAGE with an invalid length of 16 bytes"),
        (|channel| sealed(channel, COMMAND, b""), Malformed, "invalid command: its name is incomplete"),
    ];
    for (frames, kind, text) in cases {
        let (mut end, mut channel) = server_and_channel(SocketType::Pull, Limits::DEFAULT);
        end.receive(&frames(&mut channel));
        assert!(end.closed_text().contains(text), "{}", end.closed_text());
        assert_eq!(end.failure().0, kind, "{text}");
    }
    let mut end = end(SocketType::XPub, server());
    end.receive(&[greeting("CURVE"), message(&[b"\x01/t"])].concat());
    assert_eq!(end.closed_text(), "the peer sent a message before the end of the handshake");
    assert_eq!(end.failure(), (Misbehaved, "curve"));
}

#[test]
fn a_flipped_bit_ends_the_session() {
    let length = sealed(&mut server_and_channel(SocketType::XPub, Limits::DEFAULT).1, LAST, b"\x01/t").len();
    for at in 2..length {
        let (mut end, mut channel) = server_and_channel(SocketType::XPub, Limits::DEFAULT);
        let mut bytes = sealed(&mut channel, LAST, b"\x01/t");
        bytes[at] ^= 0x10;
        end.receive(&bytes);
        assert!(end.session.is_closed() && end.events.len() == 1, "byte {at}: {:?}", end.events);
        let (kind, cause) = end.failure();
        assert!(matches!(kind, ErrorKind::Malformed | ErrorKind::Misbehaved), "byte {at}: {kind:?}");
        assert_eq!(cause, "curve");
    }
}

#[test]
fn a_changed_or_truncated_handshake_is_never_established() {
    let opening = || {
        let (mut one, mut other) = (end(SocketType::XPub, client()), end(SocketType::XSub, server()));
        let greetings = [one.take_output(), other.take_output()];
        other.receive(&greetings[0]);
        one.receive(&greetings[1]);
        (one, other)
    };
    // HELLO, WELCOME, INITIATE and READY.
    for command in 0..4 {
        for at in (2..290).step_by(7) {
            let (mut from, mut to) = opening();
            for _ in 0..command {
                let output = from.take_output();
                to.receive(&output);
                std::mem::swap(&mut from, &mut to);
            }
            let mut output = from.take_output();
            let Some(byte) = output.get_mut(at) else { continue };
            *byte ^= 1;
            to.receive(&output);
            assert!(!to.session.is_established(), "command {command}, byte {at}");
            let (mut from, mut to) = opening();
            for _ in 0..command {
                let output = from.take_output();
                to.receive(&output);
                std::mem::swap(&mut from, &mut to);
            }
            let output = from.take_output();
            to.receive(&output[..at]);
            to.session.handle_eof();
            to.poll();
            assert_eq!(to.failure().0, ErrorKind::Closed, "command {command}, byte {at}");
        }
    }
}

#[test]
fn the_limit_of_a_message_does_not_depend_on_the_mechanism() {
    let parts: [&[u8]; 4] = [b"log-write", SENDER, b"zeek-bin-serializer", &[7; 200]];
    let plain = message(&parts).len();
    for (max_frame, accepted) in [(plain, true), (plain - 1, false)] {
        let limits = Limits { max_frame, ..Limits::DEFAULT };
        let (mut end, mut channel) = server_and_channel(SocketType::Pull, limits);
        for (at, part) in parts.iter().enumerate() {
            let flags = if at < 3 { PART } else { LAST };
            end.receive(&sealed(&mut channel, flags, part));
        }
        assert_eq!(matches!(end.events[..], [Event::Logs { .. }]), accepted, "{:?}", end.events);
        if !accepted {
            assert_eq!(end.failure(), (ErrorKind::Limit, "message"));
        }
    }
    let limits = Limits { max_frame: 1000, ..Limits::DEFAULT };
    let (mut end, mut channel) = server_and_channel(SocketType::Pull, limits);
    end.receive(&sealed(&mut channel, LAST, &[7; 991]));
    let count = PartsError::Count(1).into();
    assert_eq!(end.take_events(), [Event::Malformed(count)], "the frame was accepted");
    for size in [1034, u64::MAX] {
        let (mut end, _) = server_and_channel(SocketType::Pull, limits);
        end.receive(&[&[2][..], &size.to_be_bytes()].concat());
        assert_eq!(
            end.closed_text(),
            format!("the peer sent an invalid frame: a frame of {size} bytes, more than the limit of 1033")
        );
        assert_eq!(end.failure(), (ErrorKind::Limit, "frame"));
    }
}
