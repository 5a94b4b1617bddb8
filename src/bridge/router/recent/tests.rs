use std::time::Duration;

use super::*;
use crate::data::EndpointId;
use crate::endpoint::PeerProtocol;

fn owner(number: u32) -> Owner {
    Owner::Host(std::net::Ipv4Addr::from(number).into())
}

fn peer(number: u8) -> Peer {
    Peer::of_host(EndpointId::from_bytes([number; 16]), [192, 0, 2, number], number.into())
}

fn deny(recent: &Recent, link: &str, from: u8, text: &str) {
    recent.denied(link, &peer(from), RecentEntry { text: text.to_owned(), ..RecentEntry::default() });
}

fn error() -> ConnectError {
    ConnectError::TlsTimeout(Duration::from_secs(10))
}

fn texts(recent: &Recent) -> Vec<String> {
    recent.entries().into_iter().map(|entry| entry.text).collect()
}

/// Checks the number of entries and that no group is empty.
fn check(recent: &Recent) {
    let state = recent.0.lock();
    assert_eq!(state.groups.values().map(VecDeque::len).sum::<usize>(), state.total);
    assert!(state.total <= MAX_ENTRIES && state.groups.values().all(|group| !group.is_empty()));
}

#[test]
fn each_kind_is_described_newest_first() {
    let (recent, peer) = (Recent::default(), peer(1));
    recent.connected("in", &peer);
    recent.disconnected("in", &peer, None);
    let lost =
        |unsent| Status::PeerLost { peer: peer.id, address: peer.address.clone(), error: error(), unsent };
    recent.disconnected("in", &peer, Some(&lost(0)));
    recent.disconnected("in", &peer, Some(&lost(3)));
    recent.failed("out", "websocket", "wss://192.0.2.9:1", &error(), &owner(9));
    let entries = recent.entries();
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| (entry.kind.as_str(), entry.link.as_str(), entry.reason.as_deref(), entry.text.as_str()))
        .collect();
    let (cause, text) = ("tls_timeout", error().to_string());
    assert_eq!(
        shown,
        [
            ("failed", "out", Some(cause), text.as_str()),
            ("disconnected", "in", Some(cause), &format!("{text}; 3 messages for it were not sent")),
            ("disconnected", "in", Some(cause), &text),
            ("disconnected", "in", Some("left"), "this side ended the peering"),
            ("connected", "in", None, "peering established: Broker"),
        ]
    );
    assert_eq!((entries[0].peer.as_deref(), entries[0].protocol.as_str()), (None, "websocket"));
    assert_eq!(entries[4].peer, Some(peer.id.to_string()));
    assert_eq!((entries[4].address.as_str(), entries[4].protocol.as_str()), ("peer:1", "broker"));
    assert!(entries.iter().all(|entry| entry.time > 1_700_000_000.0), "{entries:?}");
}

#[test]
fn the_identity_includes_the_curve_key() {
    let recent = Recent::default();
    let curve = Some("sensor".into());
    let protocol =
        PeerProtocol::ZeroMq(crate::endpoint::ZeroMqPeer { socket: "SUB", curve, is_proxy: false });
    recent.connected("in", &Peer { protocol, ..peer(1) });
    let entry = recent.entries().remove(0);
    assert_eq!((entry.identity.as_deref(), entry.protocol.as_str()), (Some("curve:sensor"), "zeromq"));
}

#[test]
fn a_repeated_failure_has_one_entry_with_the_newest_time_and_address() {
    let recent = Recent::default();
    let fail = |address: &str, error: &ConnectError, host| {
        recent.failed("in", "broker", address, error, &owner(host));
    };
    fail("192.0.2.1:4000", &error(), 1);
    let first = recent.entries()[0].time;
    fail("192.0.2.2:4000", &error(), 2);
    fail("192.0.2.1:4001", &ConnectError::GaveWay, 1);
    (1..=5).for_each(|port| fail(&format!("192.0.2.1:500{port}"), &error(), 1));
    recent.failed("out", "broker", "192.0.2.1:4000", &error(), &owner(1));
    let entries = recent.entries();
    let shown: Vec<_> =
        entries.iter().map(|entry| (entry.link.as_str(), entry.address.as_str(), entry.suppressed)).collect();
    assert_eq!(
        shown,
        [
            ("out", "192.0.2.1:4000", 0),
            ("in", "192.0.2.1:5005", 5),
            ("in", "192.0.2.1:4001", 0),
            ("in", "192.0.2.2:4000", 0),
        ]
    );
    assert!(entries[1].time >= first);
    check(&recent);
}

#[test]
fn an_owner_displaces_only_its_own_entries() {
    let recent = Recent::default();
    deny(&recent, "in", 1, "of another peer");
    recent.connected("in", &peer(2));
    (0..1000).for_each(|number| deny(&recent, "in", 2, &number.to_string()));
    let mut expected: Vec<_> = (990..1000).rev().map(|number| number.to_string()).collect();
    expected.extend(["peering established: Broker".to_owned(), "of another peer".to_owned()]);
    assert_eq!(texts(&recent), expected);
    check(&recent);
}

#[test]
fn many_owners_displace_neither_other_links_nor_other_kinds() {
    let recent = Recent::default();
    deny(&recent, "in", 1, "denied");
    deny(&recent, "out", 1, "other link");
    for number in 0..2000 {
        recent.failed("in", "broker", &format!("{number}"), &error(), &owner(number));
        check(&recent);
    }
    let entries = recent.entries();
    assert_eq!(entries.len(), MAX_ENTRIES);
    assert_eq!((entries[0].address.as_str(), entries[253].address.as_str()), ("1999", "1746"));
    assert_eq!((entries[254].text.as_str(), entries[255].text.as_str()), ("other link", "denied"));
    // Of groups with equally many entries, that with the oldest entry loses one.
    let recent = Recent::default();
    (0..300).for_each(|link| deny(&recent, &link.to_string(), 1, &link.to_string()));
    let expected: Vec<_> = (44..300).rev().map(|link| link.to_string()).collect();
    assert_eq!(texts(&recent), expected);
    check(&recent);
}

#[test]
fn long_text_is_truncated() {
    let recent = Recent::default();
    let long = Some("\u{e4}".repeat(1000));
    let entry = RecentEntry {
        reason: long.clone(),
        text: "\u{20ac}".repeat(1000),
        rule: long.clone(),
        topic: long.clone(),
        event: long.clone(),
        node: long,
        ..RecentEntry::default()
    };
    recent.denied(&"l".repeat(1000), &peer(1), entry);
    let entry = recent.entries().remove(0);
    assert_eq!(entry.text, format!("{}…", "\u{20ac}".repeat(MAX_TEXT / 3)));
    assert_eq!(entry.topic, Some(format!("{}…", "\u{e4}".repeat(MAX_FIELD / 2))));
    let length = serde_json::to_vec(&entry).unwrap().len();
    assert!(length < 4096, "{length}");
}
