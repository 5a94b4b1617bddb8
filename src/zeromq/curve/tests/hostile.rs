//! Commands that are changed, cut, replayed or out of order.

use super::*;
use crate::zeromq::curve::boxes::{SharedKey, TAG, nonce};

/// The commands of a complete handshake.
fn commands() -> [Bytes; 4] {
    let ((mut client, hello), mut server) = (client(), server());
    let welcome = welcome_of(server.receive(&hello));
    let initiate = initiate_of(client.receive(&welcome));
    let ready = initiated().ready;
    [hello, welcome, initiate, ready]
}

/// A server that has received HELLO.
fn welcomed() -> Server {
    let mut server = server();
    welcome_of(server.receive(&client().1));
    server
}

/// Passes a command to the side that receives it, in the state in which it is expected.
fn receive(index: usize, body: &[u8]) -> Result<(), Error> {
    match index {
        0 => server().receive(body).map(drop),
        1 => client().0.receive(body).map(drop),
        2 => welcomed().receive(body).map(drop),
        _ => initiated().client.receive(body).map(drop),
    }
}

#[test]
fn a_change_of_any_bit_of_a_handshake_is_refused() {
    for (index, command) in commands().iter().enumerate() {
        assert_eq!(receive(index, command), Ok(()));
        for at in 0..command.len() {
            for bit in [0, 7] {
                let mut changed = command.to_vec();
                changed[at] ^= 1 << bit;
                assert!(receive(index, &changed).is_err(), "command {index}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn commands_of_a_different_length_are_refused() {
    for (index, command) in commands().iter().enumerate() {
        for length in 0..command.len() {
            assert!(receive(index, &command[..length]).is_err(), "command {index}, {length} bytes");
        }
        let longer = [command, &[0][..]].concat();
        assert!(receive(index, &longer).is_err(), "command {index}");
    }
    let [hello, welcome, initiate, ready] = commands();
    let length = |command, length| Err(Error::Length { command, length });
    assert_eq!(receive(0, &hello[..199]), length("HELLO", 199));
    assert_eq!(receive(1, &welcome[..167]), length("WELCOME", 167));
    assert_eq!(receive(2, &initiate[..256]), length("INITIATE", 256));
    assert_eq!(receive(3, &ready[..29]), length("READY", 29));
}

#[test]
fn every_command_is_refused_in_every_other_state() {
    let names = ["HELLO", "WELCOME", "INITIATE", "READY"];
    let message = established().client.seal(Flags::default(), b"x").unwrap();
    for (state, expected) in names.iter().enumerate() {
        for (index, command) in commands().iter().enumerate().filter(|(index, _)| *index != state) {
            let error = Error::Unexpected { received: names[index], expected };
            assert_eq!(receive(state, command), Err(error));
        }
        assert_eq!(receive(state, &message), Err(Error::Unexpected { received: "MESSAGE", expected }));
        for body in [&b""[..], b"\x04PING\0\0", b"\xff", &[0; 300]] {
            assert_eq!(
                receive(state, body),
                Err(Error::Unexpected { received: "an unknown command", expected })
            );
        }
    }
}

#[test]
fn a_handshake_that_failed_or_succeeded_accepts_nothing_more() {
    let [hello, welcome, initiate, ready] = commands();
    let ended = |received| Error::Unexpected { received, expected: "the end of the connection" };
    let mut failed = server();
    failed.receive(b"").unwrap_err();
    assert_eq!(failed.receive(&hello).unwrap_err(), ended("HELLO"));
    let mut done = welcomed();
    done.receive(&initiate).unwrap();
    assert_eq!(done.receive(&initiate).unwrap_err(), ended("INITIATE"));

    let (mut failed, _) = client();
    failed.receive(b"").unwrap_err();
    assert_eq!(failed.receive(&welcome).unwrap_err(), ended("WELCOME"));
    let mut done = initiated().client;
    done.receive(&ready).unwrap();
    assert_eq!(done.receive(&ready).unwrap_err(), ended("READY"));
    assert_eq!(done.receive(b"\x05ERROR\x03400").unwrap_err(), ended("ERROR"));
}

#[test]
fn other_versions_are_refused() {
    let [hello, ..] = commands();
    for [major, minor] in [[2, 0], [1, 1], [0, 0]] {
        let mut changed = hello.to_vec();
        changed[6..8].copy_from_slice(&[major, minor]);
        assert_eq!(receive(0, &changed), Err(Error::Version { major, minor }));
    }
}

/// Returns a HELLO with this text in its box, and with this padding.
fn hello(text: &[u8; 64], padding: u8) -> Vec<u8> {
    let mut sealed = [&[0; TAG][..], text].concat();
    let key = SharedKey::new(keys(SERVER).public(), keys(CLIENT_SHORT_TERM).secret());
    let short = 1_u64.to_be_bytes();
    key.seal(&nonce(b"CurveZMQHELLO---", &short), &mut sealed).unwrap();
    let public = keys(CLIENT_SHORT_TERM);
    [b"\x05HELLO\x01\0", &[padding; 72][..], public.public().as_bytes(), &short, &sealed].concat()
}

#[test]
fn a_hello_must_be_padded_with_zeros() {
    assert_eq!(receive(0, &hello(&[0; 64], 0)), Ok(()));
    assert_eq!(receive(0, &hello(&[0; 64], 1)), Err(Error::Padding));
    assert_eq!(receive(0, &hello(&[1; 64], 0)), Err(Error::Padding));
}

#[test]
fn a_hello_with_a_point_of_a_low_order_is_refused_although_anybody_can_encrypt_it() {
    let zero = crypto_box::PublicKey::from_bytes([0; 32]);
    let key = crypto_box::SalsaBox::new(&zero, &crypto_box::SecretKey::from_bytes([9; 32]));
    let mut text = [0; 64];
    let full = nonce(b"CurveZMQHELLO---", &1_u64.to_be_bytes());
    let tag =
        crypto_box::aead::AeadInPlace::encrypt_in_place_detached(&key, &full.into(), b"", &mut text).unwrap();
    let body = [b"\x05HELLO\x01\0", &[0; 72 + 32][..], &1_u64.to_be_bytes(), &tag, &text].concat();
    assert_eq!(body.len(), 200);
    assert_eq!(receive(0, &body), Err(Error::InvalidKey { command: "HELLO" }));
}

/// The parts of an INITIATE that a hostile client can choose.
struct Initiate {
    long_term: [u8; 32],
    /// The secret key that encrypts the vouch.
    voucher: u8,
    /// The short-term and the server key in the vouch.
    vouch: [u8; 2],
    short_nonce: u64,
    cookie: [u8; COOKIE],
}

impl Initiate {
    fn valid() -> Self {
        Initiate {
            long_term: *keys(CLIENT).public().as_bytes(),
            voucher: CLIENT,
            vouch: [CLIENT_SHORT_TERM, SERVER],
            short_nonce: 2,
            cookie: [6; COOKIE],
        }
    }

    fn receive(&self) -> Result<(), Error> {
        let server = keys(SERVER_SHORT_TERM);
        let [short_term, long_term] = self.vouch.map(|seed| *keys(seed).public().as_bytes());
        let mut vouch = [&[0; TAG][..], &short_term, &long_term].concat();
        let key = SharedKey::new(server.public(), keys(self.voucher).secret());
        key.seal(&nonce(b"VOUCH---", &[8; 16]), &mut vouch).unwrap();
        let mut sealed = [&[0; TAG][..], &self.long_term, &[8; 16], &vouch].concat();
        let short = self.short_nonce.to_be_bytes();
        let key = SharedKey::new(server.public(), keys(CLIENT_SHORT_TERM).secret());
        key.seal(&nonce(b"CurveZMQINITIATE", &short), &mut sealed).unwrap();
        receive(2, &[b"\x08INITIATE", &self.cookie[..], &short, &sealed].concat())
    }
}

#[test]
fn a_vouch_must_be_from_the_long_term_key_for_this_connection_and_this_server() {
    assert_eq!(Initiate::valid().receive(), Ok(()));
    let key = *keys(CLIENT).public();
    let vouch = Err(Error::Vouch { key });
    // An attacker who knows only the public key of an allowed client.
    assert_eq!(Initiate { voucher: 9, ..Initiate::valid() }.receive(), vouch);
    // A vouch of another connection of the client.
    assert_eq!(Initiate { vouch: [9, SERVER], ..Initiate::valid() }.receive(), vouch);
    // A vouch for another server. libzmq does not check this.
    assert_eq!(Initiate { vouch: [CLIENT_SHORT_TERM, 9], ..Initiate::valid() }.receive(), vouch);
    assert_eq!(
        Initiate { long_term: [0; 32], ..Initiate::valid() }.receive(),
        Err(Error::InvalidKey { command: "INITIATE" })
    );
}

#[test]
fn an_initiate_must_have_the_cookie_of_its_connection_and_a_new_nonce() {
    assert_eq!(Initiate { cookie: [7; COOKIE], ..Initiate::valid() }.receive(), Err(Error::Cookie));
    for nonce in [0, 1] {
        let replayed = Err(Error::Replayed { nonce, last: 1 });
        assert_eq!(Initiate { short_nonce: nonce, ..Initiate::valid() }.receive(), replayed);
    }
    assert_eq!(Initiate { short_nonce: u64::MAX, ..Initiate::valid() }.receive(), Ok(()));
}

#[test]
fn a_handshake_that_is_replayed_to_a_new_connection_is_refused() {
    let [hello, _, initiate, _] = commands();
    // The HELLO is accepted, because a server keeps nothing about other connections.
    let mut other = Server::new(keys(SERVER), allowed(), Bytes::new());
    welcome_of(other.receive(&hello));
    assert_eq!(other.receive(&initiate).unwrap_err(), Error::Cookie);
}

#[test]
fn a_welcome_with_a_point_of_a_low_order_is_refused() {
    let mut sealed = [&[0; TAG][..], &[0; 32], &[6; COOKIE]].concat();
    let key = SharedKey::new(keys(CLIENT_SHORT_TERM).public(), keys(SERVER).secret());
    key.seal(&nonce(b"WELCOME-", &[5; 16]), &mut sealed).unwrap();
    let body = [b"\x07WELCOME", &[5; 16][..], &sealed].concat();
    assert_eq!(receive(1, &body), Err(Error::InvalidKey { command: "WELCOME" }));
}
