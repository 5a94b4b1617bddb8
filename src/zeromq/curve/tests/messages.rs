//! Messages of an established connection.

use super::*;

#[test]
fn a_message_has_the_layout_of_the_rfc() {
    let mut client = established().client;
    let sealed = client.seal(Flags::default(), b"data").unwrap();
    assert_eq!(sealed.len(), 4 + Channel::OVERHEAD);
    assert_eq!(&sealed[..8], b"\x07MESSAGE");
    // HELLO and INITIATE had the nonces 1 and 2.
    assert_eq!(sealed[8..16], 3_u64.to_be_bytes());
    let mut server = established().server;
    // READY had the nonce 1.
    assert_eq!(server.seal(Flags::default(), b"").unwrap()[8..16], 2_u64.to_be_bytes());
}

#[test]
fn flags_and_data_of_every_size_are_carried() {
    let mut ends = established();
    for length in [0, 1, 15, 16, 17, 63, 64, 65, 70_000] {
        for (more, command) in [(false, false), (true, false), (false, true), (true, true)] {
            let (flags, data) = (Flags { more, command }, vec![0xa5; length]);
            let sealed = ends.client.seal(flags, &data).unwrap();
            let (opened_flags, opened) = open(&mut ends.server, &sealed).unwrap();
            assert_eq!((opened_flags, &opened[..]), (flags, &data[..]));
        }
    }
}

#[test]
fn a_change_of_any_bit_of_a_message_is_refused() {
    let sealed = established().client.seal(Flags::default(), b"data").unwrap();
    for at in 0..sealed.len() {
        for bit in [0, 7] {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1 << bit;
            assert!(open(&mut established().server, &changed).is_err(), "byte {at}, bit {bit}");
        }
    }
    for length in 0..sealed.len() {
        assert!(open(&mut established().server, &sealed[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(
        open(&mut established().server, &sealed[..Channel::OVERHEAD - 1]),
        Err(Error::Length { command: "MESSAGE", length: Channel::OVERHEAD - 1 })
    );
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(open(&mut established().server, &longer), Err(Error::NotAuthentic { command: "MESSAGE" }));
}

#[test]
fn messages_are_refused_if_they_are_replayed_or_reordered() {
    let mut ends = established();
    let mut seal = |data: &[u8]| ends.client.seal(Flags::default(), data).unwrap();
    let (one, two, three) = (seal(b"1"), seal(b"2"), seal(b"3"));
    open(&mut ends.server, &one).unwrap();
    assert_eq!(open(&mut ends.server, &one), Err(Error::Replayed { nonce: 3, last: 3 }));
    // A gap is valid.
    open(&mut ends.server, &three).unwrap();
    assert_eq!(open(&mut ends.server, &two), Err(Error::Replayed { nonce: 4, last: 5 }));
}

#[test]
fn a_message_does_not_open_at_its_sender_or_on_another_connection() {
    let mut ends = established();
    let sealed = ends.client.seal(Flags::default(), b"x").unwrap();
    assert_eq!(open(&mut ends.client, &sealed), Err(Error::NotAuthentic { command: "MESSAGE" }));

    let mut server = Server::new(keys(SERVER), allowed(), Bytes::new());
    let (mut client, hello) = client();
    let welcome = welcome_of(server.receive(&hello));
    let initiate = initiate_of(client.receive(&welcome));
    let Ok(ServerStep::Established { mut channel, .. }) = server.receive(&initiate) else { panic!() };
    assert_eq!(open(&mut channel, &sealed), Err(Error::NotAuthentic { command: "MESSAGE" }));
}

#[test]
fn a_message_that_is_not_authentic_does_not_change_the_expected_nonce() {
    let mut ends = established();
    let sealed = ends.client.seal(Flags::default(), b"x").unwrap();
    let mut forged = sealed.to_vec();
    forged[8] = 0xff;
    assert_eq!(open(&mut ends.server, &forged), Err(Error::NotAuthentic { command: "MESSAGE" }));
    open(&mut ends.server, &sealed).unwrap();
}

#[test]
fn nonces_are_never_used_twice() {
    let mut ends = established();
    ends.client.skip_to(u64::MAX - 1);
    let last = ends.client.seal(Flags::default(), b"last").unwrap();
    assert_eq!(ends.client.seal(Flags::default(), b"x"), Err(Error::Exhausted));
    assert_eq!(ends.client.seal(Flags::default(), b"x"), Err(Error::Exhausted));
    open(&mut ends.server, &last).unwrap();
    let next = ends.server.seal(Flags::default(), b"x").unwrap();
    open(&mut ends.client, &next).unwrap();
}

#[test]
fn commands_other_than_messages_are_refused() {
    let Initiated { ready, mut channel, .. } = initiated();
    let error = Error::Unexpected { received: "READY", expected: "MESSAGE" };
    assert_eq!(open(&mut channel, &ready), Err(error));
    let error = Error::Unexpected { received: "an unknown command", expected: "MESSAGE" };
    assert_eq!(open(&mut channel, b""), Err(error));
}
