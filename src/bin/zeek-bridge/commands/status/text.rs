//! The state of a bridge as text.

use std::time::Duration;

use bytesize::ByteSize;
use zeek_bridge::bridge::{LinkSnapshot, PeerSnapshot, Snapshot};

use super::COLUMNS;
use super::table::{Kind, Table, cut};
use crate::latency::{samples, summary};

/// Returns the lines, each with at most `width` columns.
pub(super) fn lines(snapshot: &Snapshot, width: usize) -> Vec<String> {
    let mut lines = vec![state(snapshot), requests(snapshot)];
    let missing = snapshot.unanswered.saturating_add(snapshot.forgotten);
    if missing > 0 {
        lines.push(format!(
            "responses that did not arrive in time, or whose requests were dropped: {missing}"
        ));
    }
    if let Some(summary) = summary(&snapshot.latency) {
        lines.push(format!("relay latency: {summary} (samples: {})", samples(&snapshot.latency)));
    }
    let mut lines: Vec<String> = lines.iter().map(|line| cut(line, width)).collect();
    let mut add = |table: Vec<String>| {
        if !table.is_empty() {
            lines.push(String::new());
            lines.extend(table);
        }
    };
    // At the default width, the layout does not depend on the content.
    let is_wide = width > COLUMNS;
    let links = links(snapshot, true);
    if is_wide && links.fits(width) {
        add(links.lines(width));
    } else {
        add(self::links(snapshot, false).lines(width));
        add(addresses(snapshot).lines(width));
    }
    add(problems(snapshot).lines(width));
    let peers = peers(snapshot, true);
    add(if is_wide && peers.fits(width) { peers } else { self::peers(snapshot, false) }.lines(width));
    add(nodes(snapshot).lines(width));
    rules(snapshot).iter().for_each(|table| add(table.lines(width)));
    lines
}

/// Returns the time since the start, and the numbers of links, peers and nodes.
pub(super) fn state(snapshot: &Snapshot) -> String {
    let Snapshot { uptime, links, nodes, .. } = snapshot;
    let uptime = humantime::format_duration(Duration::from_secs(*uptime));
    let ready = links.iter().filter(|link| link.ready).count();
    let peers = links.iter().map(|link| link.peers.len()).fold(0, usize::saturating_add);
    format!("up {uptime}; links ready: {ready} of {}; peers: {peers}; nodes: {}", links.len(), nodes.len())
}

fn requests(snapshot: &Snapshot) -> String {
    let Snapshot { in_flight, answered_for, .. } = snapshot;
    format!("requests in flight: {in_flight}; answered on behalf of nodes: {}", answered_for.total())
}

fn links(snapshot: &Snapshot, with_addresses: bool) -> Table {
    let where_ = with_addresses.then_some(("WHERE", Kind::Text, 0));
    let text = [("LINK", Kind::Text, 0), ("TLS", Kind::Text, 0)].into_iter().chain(where_);
    let numbers =
        ["PEERS", "READY", "IN", "OUT", "BYTES-IN", "BYTES-OUT"].map(|name| (name, Kind::Number, 0));
    let mut table = Table::new(text.chain(numbers));
    for link in &snapshot.links {
        let LinkSnapshot { name, tls, peers, messages_in, messages_out, bytes_in, bytes_out, .. } = link;
        let addresses = with_addresses.then(|| where_is(link).collect::<Vec<_>>().join(", "));
        let ready = if link.ready { "yes" } else { "no" }.to_owned();
        let numbers = [peers.len().to_string(), ready, messages_in.to_string(), messages_out.to_string()];
        let bytes = [bytes(*bytes_in), bytes(*bytes_out)];
        table.row([name.clone(), tls.clone()].into_iter().chain(addresses).chain(numbers).chain(bytes));
    }
    table
}

fn addresses(snapshot: &Snapshot) -> Table {
    let mut table = Table::new([("LINK", Kind::Text, 0), ("WHERE", Kind::Text, 0)]);
    for link in &snapshot.links {
        where_is(link).for_each(|address| table.row([&link.name, &address]));
    }
    table
}

/// Returns the addresses of a link.
fn where_is(link: &LinkSnapshot) -> impl Iterator<Item = String> {
    let connecting = link.connecting.iter().map(|address| format!("to {address}"));
    connecting.chain(link.listening.iter().map(|address| format!("on {address}")))
}

/// Returns the drops, disconnects and failures of the links, by reason.
fn problems(snapshot: &Snapshot) -> Table {
    let columns =
        [("LINK", Kind::Text, 0), ("DROPS AND FAILURES", Kind::Text, 0), ("COUNT", Kind::Number, 0)];
    let mut table = Table::new(columns);
    for link in &snapshot.links {
        for (reason, count) in link_problems(link).into_iter().filter(|(_, count)| *count > 0) {
            table.row([&link.name, &reason, &count.to_string()]);
        }
    }
    table
}

/// Returns the counts of drops, disconnects and failures of a link, by reason.
pub(super) fn link_problems(link: &LinkSnapshot) -> Vec<(String, u64)> {
    let LinkSnapshot { dropped, not_carried, lost_to_chaos, malformed, overflows, failures, .. } = link;
    let fixed = [
        ("dropped: queue full", dropped),
        ("dropped: not carried", not_carried),
        ("dropped: fault injection", lost_to_chaos),
        ("dropped: malformed", malformed),
        ("peer disconnected: queue full", overflows),
    ];
    let fixed = fixed.into_iter().map(|(reason, count)| (reason.to_owned(), *count));
    let failures = failures.iter().map(|(cause, count)| (format!("connection failed: {cause}"), *count));
    fixed.chain(failures).collect()
}

fn peers(snapshot: &Snapshot, with_identities: bool) -> Table {
    let identity = with_identities.then_some(("IDENTITY", Kind::Text, 0));
    let text = [("LINK", Kind::Text, 0), ("PEER", Kind::Id, 0), ("ADDRESS", Kind::Text, 0)];
    let counters = ["QUEUED", "BYTES", "DROPPED"].map(|name| (name, Kind::Counter, 0));
    let mut table = Table::new(text.into_iter().chain(identity).chain(counters));
    for (link, peer) in snapshot.links.iter().flat_map(|link| link.peers.iter().map(move |peer| (link, peer)))
    {
        let PeerSnapshot { id, address, queued, queued_bytes, dropped, not_carried, .. } = peer;
        let dropped = dropped.saturating_add(*not_carried);
        let identity = described(peer);
        let text = [link.name.clone(), id.clone(), address.clone()];
        let counters = [queued.to_string(), bytes(*queued_bytes), dropped.to_string()];
        let column = with_identities.then(|| identity.clone().unwrap_or_else(|| "-".into()));
        let note = identity.as_deref().filter(|_| !with_identities);
        table.row_with_note(text.into_iter().chain(column).chain(counters), note);
    }
    table
}

/// Returns the identity of a peer. For a peer that does not speak Broker's protocol, adds the protocol, and the name that it has
/// sent or its socket.
fn described(peer: &PeerSnapshot) -> Option<String> {
    let protocol = match peer.protocol.as_str() {
        "websocket" => Some(("WebSocket", &peer.name)),
        "zeromq" => Some(("ZeroMQ", &peer.socket)),
        _ => None,
    };
    let protocol = protocol.map(|(protocol, name)| match name.as_deref() {
        None | Some("") => protocol.to_owned(),
        Some(name) => format!("{protocol} {name}"),
    });
    let parts: Vec<String> = peer.identity.clone().into_iter().chain(protocol).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn nodes(snapshot: &Snapshot) -> Table {
    let mut table = Table::new([("NODE", Kind::Text, 0), ("LINK", Kind::Text, 0), ("PEER", Kind::Id, 0)]);
    snapshot.nodes.iter().for_each(|node| table.row([&node.name, &node.link, &node.peer]));
    table
}

/// Returns the counts of rules, and the denials by rule and in total.
fn rules(snapshot: &Snapshot) -> [Table; 3] {
    let mut rules =
        Table::new([("RULE", Kind::Text, 0), ("PASSED", Kind::Number, 0), ("INVALID", Kind::Counter, 0)]);
    let mut denied_by_rule =
        Table::new([("RULE", Kind::Text, 0), ("DENIED", Kind::Text, 0), ("MESSAGES", Kind::Number, 0)]);
    for rule in &snapshot.rules {
        rules.row([&rule.name, &rule.passed.to_string(), &rule.invalid.to_string()]);
        for (reason, count) in &rule.refused {
            denied_by_rule.row([&rule.name, reason, &count.to_string()]);
        }
    }
    let mut denied = Table::new([("DENIED", Kind::Text, 0), ("MESSAGES", Kind::Number, 0)]);
    snapshot.refused.iter().for_each(|(reason, count)| denied.row([reason, &count.to_string()]));
    [rules, denied_by_rule, denied]
}

pub(super) fn bytes(count: u64) -> String {
    ByteSize::b(count).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::commands::run::tests::snapshot;

    fn words(lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_snapshot_is_printed_as_tables() {
        let text = lines(&snapshot(), 200);
        for line in [
            "up 1h 2m 5s; links ready: 1 of 2; peers: 2; nodes: 1",
            "requests in flight: 6; answered on behalf of nodes: 8",
            "responses that did not arrive in time, or whose requests were dropped: 29",
            "relay latency: p50 ≤ 1ms, p99 > 10ms (samples: 6)",
            "LINK TLS WHERE PEERS READY IN OUT BYTES-IN BYTES-OUT",
            "agents off on 127.0.0.1:2151 2 yes 10 20 1000 B 2.0 KiB",
            "nodes mutual to 192.0.2.1:2150, to 192.0.2.2:2150 0 no 0 0 0 B 0 B",
            "agents dropped: queue full 5",
            "agents dropped: not carried 8",
            "agents dropped: fault injection 12",
            "agents dropped: malformed 3",
            "agents peer disconnected: queue full 1",
            "nodes connection failed: connect 4",
            "agents id-1 127.0.0.1:40001 - 9 64 B 0",
            "agents id-2 127.0.0.1:40002 CN=agent 2 4.0 KiB 13",
            r"worker\u{1b}[2J-01 agents id-1",
            "hellos 11 2",
            "hellos invalid_node_api 2",
            "no-rule 7",
        ] {
            assert!(words(&text).iter().any(|found| found == line), "{line}\n{}", text.join("\n"));
        }
        assert!(!text.concat().contains('\u{1b}'));
    }

    #[test]
    fn long_names_and_ipv6_addresses_fit_80_columns() {
        let mut long = snapshot();
        let address = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        for (index, link) in long.links.iter_mut().enumerate() {
            link.name = format!("link-with-a-very-long-name-{index}-{}", "x".repeat(60));
            link.tls = "anonymous".into();
            link.listening = vec![address.into(), "[::]:2151".into()];
            for counter in
                [&mut link.messages_in, &mut link.messages_out, &mut link.bytes_in, &mut link.bytes_out]
            {
                *counter = u64::MAX / 1000;
            }
            for peer in &mut link.peers {
                peer.id = "07657223-56e9-4cb8-8f63-b5e7dbda2f17".into();
                peer.address = address.into();
                peer.identity = Some(format!("CN=worker\u{1b}[2J {}", "東".repeat(100)));
            }
        }
        long.nodes[0].name = "n".repeat(300);
        long.nodes[0].peer = "07657223-56e9-4cb8-8f63-b5e7dbda2f17".into();
        long.rules[0].name = "r".repeat(100);
        let lines = lines(&long, 80);
        let text = lines.join("\n");
        assert!(lines.iter().all(|line| line.width() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        // Counts are not shortened. Shortened texts show their beginning and their end.
        assert!(text.contains(&(u64::MAX / 1000).to_string()), "{text}");
        assert!(text.contains("  on [::]:2151\n"), "{text}");
        assert!(text.contains("076572…da2f17  [2001") && text.contains("65535"), "{text}");
        assert!(text.contains("\n  CN=worker"), "{text}");
    }

    #[test]
    fn peers_of_other_protocols_are_shown_with_their_names() {
        let peer = |identity: Option<&str>, name: Option<&str>| PeerSnapshot {
            identity: identity.map(str::to_owned),
            name: name.map(str::to_owned),
            protocol: "websocket".into(),
            ..PeerSnapshot::default()
        };
        let text = |identity, name| described(&peer(identity, name)).unwrap();
        assert_eq!(text(Some("token:soar"), Some("soar/1.0")), "token:soar, WebSocket soar/1.0");
        assert_eq!(text(None, None), "WebSocket");
        let (protocol, socket) = ("zeromq".into(), Some("XPUB".into()));
        let zeromq = PeerSnapshot { protocol, socket, ..peer(Some("curve:sensor"), None) };
        assert_eq!(described(&zeromq).unwrap(), "curve:sensor, ZeroMQ XPUB");
        let broker = PeerSnapshot { protocol: "broker".into(), ..peer(None, None) };
        assert_eq!(described(&broker), None);
    }

    #[test]
    fn on_80_columns_addresses_have_a_table_of_their_own() {
        let mut narrow = snapshot();
        narrow.links[0].listening[0] = "[2001:db8::1]:2151".into();
        let text = words(&lines(&narrow, 80));
        for line in [
            "LINK WHERE",
            "agents on [2001:db8::1]:2151",
            "nodes to 192.0.2.1:2150",
            "nodes to 192.0.2.2:2150",
        ] {
            assert!(text.iter().any(|found| found == line), "{line}\n{}", text.join("\n"));
        }
    }

    #[test]
    fn empty_tables_and_columns_that_are_zero_everywhere_are_not_printed() {
        let text = lines(&Snapshot::default(), 80);
        let expected = [
            "up 0s; links ready: 0 of 0; peers: 0; nodes: 0",
            "requests in flight: 0; answered on behalf of nodes: 0",
        ];
        assert_eq!(text, expected);
        let mut quiet = snapshot();
        for peer in &mut quiet.links[0].peers {
            (peer.queued, peer.queued_bytes) = (0, 0);
        }
        let text = words(&lines(&quiet, 80));
        assert!(text.iter().any(|line| line == "LINK PEER ADDRESS DROPPED"), "{text:?}");
    }
}
