//! Connections between libzmq and a Python implementation, whose short-term keys are known (`fixtures/zeromq/curve-open`).

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use super::*;
use crate::zeromq::curve::boxes::{SharedKey, nonce};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq/curve-open")
}

fn hex(value: &Json) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn lines(name: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A command as it was captured, and its text as libsodium opened it.
struct Command {
    name: String,
    from_client: bool,
    body: Vec<u8>,
    text: Vec<u8>,
    flags: Flags,
}

/// A connection on which the short-term secret key of one side is known.
struct Capture {
    server: KeyPair,
    client: KeyPair,
    known: KeyPair,
    known_is_server: bool,
    other: PublicKey,
    commands: Vec<Command>,
}

fn captures() -> Vec<Capture> {
    let meta: Json = serde_json::from_slice(&fs::read(folder().join("meta.json")).unwrap()).unwrap();
    let pair = |name: &str| {
        let secret: SecretKey = meta["curve"][format!("{name}_secret")].as_str().unwrap().parse().unwrap();
        assert_eq!(secret.public_key().to_string(), meta["curve"][format!("{name}_public")]);
        KeyPair::from(secret)
    };
    let plain = lines("plaintext.jsonl");
    let mut captures = Vec::new();
    for opened in meta["opened"].as_array().unwrap() {
        let known = SecretKey::from_bytes(hex(&opened["transient_secret"]).try_into().unwrap());
        let known_is_server = opened["role"] == "server";
        let client = if known_is_server { "peer_transient_public" } else { "transient_public" };
        let hello = plain.iter().find(|line| line["client_transient_public"] == opened[client]).unwrap();
        let number = &hello["connection"];
        let commands = plain.iter().filter(|line| line["connection"] == *number).map(command).collect();
        let other = hex(&opened["peer_transient_public"]).try_into().unwrap();
        captures.push(Capture {
            server: pair("server"),
            client: pair("client"),
            known: known.into(),
            known_is_server,
            other: PublicKey::from_bytes(other).unwrap(),
            commands,
        });
    }
    assert_eq!(captures.len(), 3);
    captures
}

fn command(line: &Json) -> Command {
    let side = line["from"].as_str().unwrap();
    let stream =
        fs::read(folder().join(format!("{}-{side}.bin", line["connection"].as_str().unwrap()))).unwrap();
    let number = |name: &str| usize::try_from(line[name].as_u64().unwrap()).unwrap();
    let frame = &stream[number("offset")..][..number("length")];
    let header = if frame[0] & 2 == 0 { 2 } else { 9 };
    let flags = line["message_flags"].as_u64().unwrap_or_default();
    Command {
        name: line["command"].as_str().unwrap().to_owned(),
        from_client: side == "connector",
        body: frame[header..].to_vec(),
        text: hex(&line["plaintext"]),
        flags: Flags { more: flags & 1 != 0, command: flags & 2 != 0 },
    }
}

impl Capture {
    /// The key of the boxes between the two short-term keys.
    fn short_term_key(&self) -> SharedKey {
        SharedKey::new(&self.other, self.known.secret())
    }

    fn short_term_of(&self, server: bool) -> PublicKey {
        if self.known_is_server == server { *self.known.public() } else { self.other }
    }

    /// Opens one command with the keys that are known.
    fn open(&self, command: &Command) -> Vec<u8> {
        // Before INITIATE, boxes are between the short-term key of the client and the long-term key of the server.
        let first = if self.known_is_server {
            SharedKey::new(&self.other, self.server.secret())
        } else {
            SharedKey::new(self.server.public(), self.known.secret())
        };
        let body = &command.body;
        let (key, prefix, rest, start): (_, &[u8], _, _) = match (&*command.name, command.from_client) {
            ("HELLO", true) => (first, b"CurveZMQHELLO---", 112, 120),
            ("WELCOME", false) => (first, b"WELCOME-", 8, 24),
            ("INITIATE", true) => (self.short_term_key(), b"CurveZMQINITIATE", 105, 113),
            ("READY", false) => (self.short_term_key(), b"CurveZMQREADY---", 6, 14),
            ("MESSAGE", true) => (self.short_term_key(), b"CurveZMQMESSAGEC", 8, 16),
            ("MESSAGE", false) => (self.short_term_key(), b"CurveZMQMESSAGES", 8, 16),
            (name, _) => panic!("{name}"),
        };
        let mut sealed = body[start..].to_vec();
        let nonce = [prefix, &body[rest..start]].concat().try_into().unwrap();
        key.open(&nonce, &mut sealed).unwrap().to_vec()
    }

    fn command(&self, name: &str) -> &Command {
        self.commands.iter().find(|command| command.name == name).unwrap()
    }

    fn text(&self, name: &str) -> Vec<u8> {
        self.command(name).text.clone()
    }

    fn body(&self, name: &str) -> &[u8] {
        &self.command(name).body
    }

    /// Checks that a channel opens the messages of its peer, and seals its own messages to the captured bytes.
    fn check_messages(&self, mut channel: Channel) {
        for command in self.commands.iter().filter(|command| command.name == "MESSAGE") {
            if command.from_client == self.known_is_server {
                let (flags, data) = open(&mut channel, &command.body).unwrap();
                assert_eq!((flags, &data[..]), (command.flags, &command.text[..]));
            } else {
                assert_eq!(channel.seal(command.flags, &command.text).unwrap(), command.body);
            }
        }
    }
}

#[test]
fn every_command_opens_to_the_text_that_libsodium_has_opened() {
    let mut messages = 0;
    for capture in captures() {
        for command in &capture.commands {
            let mut text = capture.open(command);
            if command.name == "MESSAGE" {
                messages += 1;
                let flags = text.remove(0);
                assert_eq!(flags, u8::from(command.flags.more) | u8::from(command.flags.command) << 1);
            }
            assert_eq!(text, command.text, "{}", command.name);
        }
    }
    assert_eq!(messages, lines("plaintext.jsonl").len() - 3 * 4);
}

#[test]
fn every_vouch_contains_the_short_term_key_of_the_client_and_the_key_of_the_server() {
    for capture in captures() {
        let text = capture.text("INITIATE");
        assert_eq!(text[..32], *capture.client.public().as_bytes());
        let mut vouch = text[48..128].to_vec();
        let key = SharedKey::new(&capture.short_term_of(true), capture.client.secret());
        let opened =
            key.open(&nonce::<8, 16>(b"VOUCH---", text[32..48].try_into().unwrap()), &mut vouch).unwrap();
        assert_eq!(opened[..32], *capture.short_term_of(false).as_bytes());
        assert_eq!(opened[32..], *capture.server.public().as_bytes());
    }
}

/// The clients are libzmq 4.3.5 and 4.3.4.
#[test]
fn a_server_accepts_the_captured_clients_and_sends_the_captured_bytes() {
    let mut count = 0;
    for capture in captures().into_iter().filter(|capture| capture.known_is_server) {
        count += 1;
        let clients = Arc::new((*capture.client.public(), "zeek").into());
        let random = ServerRandom {
            short_term: capture.known.clone(),
            welcome_nonce: capture.body("WELCOME")[8..24].try_into().unwrap(),
            cookie: capture.text("WELCOME")[32..].try_into().unwrap(),
        };
        let metadata = capture.text("READY").into();
        let mut server = Server::with(capture.server.clone(), clients, metadata, random);
        assert_eq!(welcome_of(server.receive(capture.body("HELLO"))), capture.body("WELCOME"));
        let step = server.receive(capture.body("INITIATE"));
        let Ok(ServerStep::Established { ready, client, metadata, channel }) = step else {
            panic!("{step:?}")
        };
        assert_eq!(ready, capture.body("READY"));
        assert_eq!(&*client, "zeek");
        assert_eq!(metadata, capture.text("INITIATE")[128..]);
        capture.check_messages(channel);
    }
    assert_eq!(count, 2);
}

/// The server is the proxy of a Zeek 9.0.0-rc1 with libzmq 4.3.4.
#[test]
fn a_client_accepts_the_captured_server_and_sends_the_captured_bytes() {
    let mut count = 0;
    for capture in captures().into_iter().filter(|capture| !capture.known_is_server) {
        count += 1;
        let initiate = capture.text("INITIATE");
        let random = ClientRandom {
            short_term: capture.known.clone(),
            vouch_nonce: initiate[32..48].try_into().unwrap(),
        };
        let metadata = Bytes::copy_from_slice(&initiate[128..]);
        let (mut client, hello) =
            Client::start_with(*capture.server.public(), capture.client.clone(), metadata, random).unwrap();
        assert_eq!(hello, capture.body("HELLO"));
        assert_eq!(initiate_of(client.receive(capture.body("WELCOME"))), capture.body("INITIATE"));
        let step = client.receive(capture.body("READY"));
        let Ok(ClientStep::Established { metadata, channel }) = step else { panic!("{step:?}") };
        assert_eq!(metadata, capture.text("READY"));
        capture.check_messages(channel);
    }
    assert_eq!(count, 1);
}
