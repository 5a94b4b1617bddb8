//! A fuzz target with a CURVE client, server or established connection, whose peer sends any bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::zeromq::curve::boxes::{SharedKey, TAG};
use crate::zeromq::curve::{
    AllowedClients, Channel, Client, ClientRandom, ClientStep, Flags, KeyPair, PublicKey, SecretKey, Server,
    ServerRandom, ServerStep,
};

/// The expected command, in the lowest three bits of the settings, and the side that receives it.
const HELLO: u8 = 0;
const WELCOME: u8 = 1;
const INITIATE: u8 = 2;
const READY: u8 = 3;
const MESSAGE_OF_CLIENT: u8 = 4;

/// The rest of the input is the text of a box that is encrypted with the correct keys.
const SEALED: u8 = 8;
/// The rest of the input changes the valid command: two bytes of a position, and a byte that is combined by exclusive or.
const CHANGED: u8 = 16;

/// The side that receives a command.
enum Receiver {
    Server(Server),
    Client(Client),
    Channel(Channel),
}

fn keys(seed: u8) -> KeyPair {
    SecretKey::from_bytes([seed; 32]).into()
}

/// The long-term keys of server and client, and their short-term keys.
const KEYS: [u8; 4] = [1, 2, 3, 4];

/// Passes one command to a side that waits for it. The input consists of the settings and the command, its text, or changes.
pub fn curve(input: &[u8]) {
    let Some((&settings, rest)) = input.split_first() else { return };
    let stage = (settings & 7) % 6;
    let (mut receiver, valid) = receiver(stage);
    let body = if settings & SEALED != 0 {
        sealed(stage, &valid, rest)
    } else if settings & CHANGED != 0 {
        changed(&valid, rest)
    } else {
        rest.to_vec()
    };
    let received = receive(&mut receiver, &body);
    if settings & SEALED == 0 {
        assert_eq!(received.is_some(), body == valid, "only the command of the peer is accepted");
    } else {
        assert_eq!(received, expected(stage, &valid, rest), "a text is received as it was sealed");
    }
    if received.is_none() && !matches!(receiver, Receiver::Channel(_)) {
        assert_eq!(receive(&mut receiver, &valid), None, "a failed handshake does not continue");
    }
}

/// Returns the side that waits for a command, and the command that its peer sends.
fn receiver(stage: u8) -> (Receiver, Bytes) {
    let [server_keys, client_keys, server_short_term, client_short_term] = KEYS.map(keys);
    let clients: AllowedClients = (*client_keys.public(), "client").into();
    let random = ServerRandom { short_term: server_short_term, welcome_nonce: [5; 16], cookie: [6; 96] };
    let metadata = Bytes::from_static(b"server");
    let mut server = Server::with(server_keys.clone(), Arc::new(clients), metadata, random);
    let random = ClientRandom { short_term: client_short_term, vouch_nonce: [7; 16] };
    let metadata = Bytes::from_static(b"client");
    let started = Client::start_with(*server_keys.public(), client_keys, metadata, random);
    let (mut client, hello) = started.expect("a HELLO can be encrypted");
    if stage == HELLO {
        return (Receiver::Server(server), hello);
    }
    let Ok(ServerStep::Welcome(welcome)) = server.receive(&hello) else { panic!("a valid HELLO") };
    if stage == WELCOME {
        return (Receiver::Client(client), welcome);
    }
    let Ok(ClientStep::Initiate(initiate)) = client.receive(&welcome) else { panic!("a valid WELCOME") };
    if stage == INITIATE {
        return (Receiver::Server(server), initiate);
    }
    let step = server.receive(&initiate);
    let Ok(ServerStep::Established { ready, channel: mut at_server, .. }) = step else {
        panic!("a valid INITIATE")
    };
    if stage == READY {
        return (Receiver::Client(client), ready);
    }
    let Ok(ClientStep::Established { channel: mut at_client, .. }) = client.receive(&ready) else {
        panic!("a valid READY")
    };
    let (from, to) =
        if stage == MESSAGE_OF_CLIENT { (&mut at_client, at_server) } else { (&mut at_server, at_client) };
    let message = from.seal(Flags { more: true, command: false }, b"data").expect("nonces are left");
    (Receiver::Channel(to), message)
}

/// Returns what a command contains, or `None` if it is refused.
fn receive(receiver: &mut Receiver, body: &[u8]) -> Option<Vec<u8>> {
    match receiver {
        Receiver::Server(server) => match server.receive(body).ok()? {
            ServerStep::Welcome(welcome) => {
                assert!(welcome.len() < body.len(), "a server does not amplify traffic");
                Some(Vec::new())
            }
            ServerStep::Established { metadata, .. } => Some(metadata.to_vec()),
            ServerStep::Denied { .. } => panic!("the other clients have no keys"),
        },
        Receiver::Client(client) => match client.receive(body).ok()? {
            ClientStep::Initiate(_) => Some(Vec::new()),
            ClientStep::Established { metadata, .. } => Some(metadata.to_vec()),
        },
        Receiver::Channel(channel) => {
            let (flags, data) = channel.open(BytesMut::from(body)).ok()?;
            assert_eq!(data.len() + Channel::OVERHEAD, body.len());
            let flags = u8::from(flags.more) | u8::from(flags.command) << 1;
            Some([&[flags], &data[..]].concat())
        }
    }
}

/// Replaces the text in the box of a valid command.
fn sealed(stage: u8, valid: &[u8], text: &[u8]) -> Vec<u8> {
    let [server, _, server_short_term, client_short_term] = KEYS.map(keys);
    let server = if matches!(stage, HELLO | WELCOME) { server } else { server_short_term };
    let (prefix, header): (&[u8], _) = match stage {
        HELLO => (b"CurveZMQHELLO---", 112..120),
        WELCOME => (b"WELCOME-", 8..24),
        INITIATE => (b"CurveZMQINITIATE", 105..113),
        READY => (b"CurveZMQREADY---", 6..14),
        MESSAGE_OF_CLIENT => (b"CurveZMQMESSAGEC", 8..16),
        _ => (b"CurveZMQMESSAGES", 8..16),
    };
    let mut sealed = [&[0; TAG][..], text].concat();
    let key = SharedKey::new(server.public(), client_short_term.secret());
    let nonce = [prefix, &valid[header.clone()]].concat().try_into().expect("24 bytes");
    key.seal(&nonce, &mut sealed).expect("a short text");
    [&valid[..header.end], &sealed].concat()
}

/// Returns what [`receive`] must return for a command with this text.
fn expected(stage: u8, valid: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    match stage {
        HELLO => (*text == [0; 64]).then(Vec::new),
        WELCOME => {
            let key = text.first_chunk().filter(|_| text.len() == 128)?;
            PublicKey::from_bytes(*key).ok().map(|_| Vec::new())
        }
        INITIATE => {
            // Only the client can create its vouch.
            let (proof, metadata) = text.split_at_checked(128)?;
            (sealed(INITIATE, valid, &[proof, b"client"].concat()) == valid).then(|| metadata.to_vec())
        }
        READY => Some(text.to_vec()),
        _ => text.split_first().map(|(flags, data)| [&[flags & 3], data].concat()),
    }
}

fn changed(valid: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut body = valid.to_vec();
    for [high, low, difference] in changes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % body.len();
        body[at] ^= difference;
    }
    body
}
