//! Segments in any order must yield the frames of the captured peerings in `fixtures/`.

mod zeromq;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value as Json;
use zeek_bridge::data::parse_json;
use zeek_bridge::trace::Entry;

use super::link::{Segment, segment};
use super::report::{About, Report};
use super::table::{Table, Tally};
use super::*;
use crate::output::to_line;

/// Collects the reports.
#[derive(Default)]
struct Collected {
    begun: Vec<Json>,
    lines: Vec<Json>,
    ended: usize,
}

impl Report for Collected {
    fn begin(&mut self, about: &About) -> Result<(), Failure> {
        self.begun.push(parse_json(to_line(&about.document())).unwrap());
        Ok(())
    }
    fn entry(&mut self, about: &About, entry: &Entry) -> Result<(), Failure> {
        self.lines.push(parse_json(about.line(entry)).unwrap());
        Ok(())
    }
    fn end(&mut self, _: &About) -> Result<(), Failure> {
        self.ended += 1;
        Ok(())
    }
    fn pause(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Collected {
    /// Returns the entries with this side as the sender.
    fn from(&self, side: &str) -> Vec<(u64, String)> {
        frames(self.lines.iter(), side)
    }
}

fn frames<'a>(lines: impl Iterator<Item = &'a Json>, side: &str) -> Vec<(u64, String)> {
    lines
        .filter(|line| line["from"] == side)
        .map(|line| (line["offset"].as_u64().unwrap(), content(line)))
        .collect()
}

/// Returns the content of an entry. Reals are normalized: Broker writes 1.0 as 1.
fn content(line: &Json) -> String {
    let content = line.get("envelope").or(line.get("message")).or(line.get("error")).unwrap();
    content.to_string().replace(".0", "")
}

/// The bytes and lines of a fixture.
struct Truth {
    streams: [Vec<u8>; 2],
    lines: Vec<Json>,
}

const SIDES: [&str; 2] = ["connector", "listener"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn truth(name: &str) -> Truth {
    let folder = folder(name);
    let index = fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    Truth {
        streams: SIDES.map(|side| fs::read(folder.join(format!("{side}.bin"))).unwrap()),
        lines: index.lines().map(|line| parse_json(line.as_bytes()).unwrap()).collect(),
    }
}

const ADDRESSES: [&str; 2] = ["192.0.2.1:40000", "192.0.2.2:9999"];

fn at(side: usize) -> SocketAddr {
    ADDRESSES[side].parse().unwrap()
}

fn seg(side: usize, seq: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        from: at(side),
        to: at(1 - side),
        seq,
        ack: None,
        syn: false,
        fin: false,
        rst: false,
        payload,
        cut: 0,
    }
}

fn syns(isn: [u32; 2]) -> [Segment<'static>; 2] {
    let syn = Segment { syn: true, ..seg(0, isn[0], &[]) };
    [syn, Segment { syn: true, ack: Some(isn[0].wrapping_add(1)), ..seg(1, isn[1], &[]) }]
}

fn read(segments: &[Segment<'_>]) -> (Collected, Tally) {
    let (mut collected, mut table) = (Collected::default(), Table::default());
    for (time, segment) in segments.iter().enumerate() {
        table.segment(segment, time as u64 * 1000, &mut collected).unwrap();
    }
    table.finish(&mut collected).unwrap();
    (collected, table.tally)
}

/// Returns the complete conversation in segments of at most `most` bytes.
fn pieces(truth: &Truth, isn: [u32; 2], most: usize) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    for line in &truth.lines {
        let side = usize::from(line["from"] == "listener");
        let offset = line["offset"].as_u64().unwrap() as usize;
        let bytes = &truth.streams[side][offset..][..line["length"].as_u64().unwrap() as usize];
        for (number, piece) in bytes.chunks(most).enumerate() {
            let start = (offset + number * most) as u32;
            segments.push(seg(side, isn[side].wrapping_add(1).wrapping_add(start), piece));
        }
    }
    segments
}

fn same_as(collected: &Collected, truth: &Truth) {
    for side in SIDES {
        let (found, expected) = (collected.from(side), frames(truth.lines.iter(), side));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected);
        }
        assert_eq!(found.len(), expected.len(), "{side}");
    }
}

#[test]
fn every_fixture_is_read_from_packets() {
    for entry in fs::read_dir(folder(".")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !folder(&name).join("listener.bin").is_file() || name == "drop-magic" {
            continue;
        }
        let truth = truth(&name);
        let isn = [u32::MAX - 10, u32::MAX - 100];
        let mut segments = syns(isn).to_vec();
        segments.extend(pieces(&truth, isn, 1448));
        let (collected, tally) = read(&segments);
        assert_eq!(tally, Tally { connections: 1, decoded: 1, ..Tally::default() }, "{name}");
        // The frames are also in the order of the packets.
        for (found, expected) in collected.lines.iter().zip(&truth.lines) {
            for field in ["index", "from", "offset", "length", "phase"] {
                assert_eq!(found[field], expected[field], "{name}: {found}");
            }
        }
        same_as(&collected, &truth);
        assert_eq!(collected.begun.len(), 1);
        assert_eq!(collected.begun[0]["connection"], "192.0.2.1:40000 -> 192.0.2.2:9999");
    }
}

#[derive(Debug, Clone)]
struct Disorder {
    isn: [u32; 2],
    most: usize,
    /// For each segment, its position and a number. If the number is below 60, the segment is also retransmitted, with
    /// up to this number of additional bytes at both ends.
    shuffle: Vec<(u32, u8)>,
}

fn disorder() -> impl Strategy<Value = Disorder> {
    let shuffle = prop::collection::vec((any::<u32>(), any::<u8>()), 2000);
    let isn = prop_oneof![any::<u32>(), (u32::MAX - 3000)..=u32::MAX];
    ([isn.clone(), isn], 1usize..3000, shuffle).prop_map(|(isn, most, shuffle)| Disorder {
        isn,
        most,
        shuffle,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_any_repetition_yields_the_same_conversation(
        name in prop::sample::select(vec!["plain-peering", "node-worker", "all-types", "ping-pong-2.3.8", "drop-version"]),
        disorder in disorder(),
    ) {
        let truth = truth(name);
        let isn = disorder.isn;
        // Small fixtures are divided into single bytes; the number of segments is limited.
        let longest = truth.streams.iter().map(Vec::len).max().unwrap();
        let cut = pieces(&truth, isn, disorder.most.max(longest / 400 + 1));
        let mut sent = Vec::new();
        for (number, segment) in cut.iter().enumerate() {
            let (place, again) = disorder.shuffle[number % disorder.shuffle.len()];
            sent.push((place, *segment));
            if again < 60 {
                // A retransmission that begins earlier and ends later.
                let side = usize::from(segment.from == at(1));
                let start = segment.seq.wrapping_sub(isn[side].wrapping_add(1)) as usize;
                let from = start.saturating_sub(usize::from(again));
                let until = (start + segment.payload.len() + usize::from(again)).min(truth.streams[side].len());
                let seq = isn[side].wrapping_add(1).wrapping_add(from as u32);
                sent.push((place.rotate_left(11), seg(side, seq, &truth.streams[side][from..until])));
            }
        }
        sent.sort_by_key(|(place, _)| *place);
        let mut segments = syns(isn).to_vec();
        segments.extend(sent.into_iter().map(|(_, segment)| segment));
        let (collected, tally) = read(&segments);
        prop_assert_eq!(tally, Tally { connections: 1, decoded: 1, ..Tally::default() });
        same_as(&collected, &truth);
    }

    #[test]
    fn lost_bytes_are_reported_and_frames_are_never_invented(
        name in prop::sample::select(vec!["node-worker", "all-types", "cluster-logs"]),
        most in 100usize..3000,
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        middle in any::<bool>(),
    ) {
        let truth = truth(name);
        let isn = [7, 8];
        let mut segments = pieces(&truth, isn, most);
        for lost in &lost {
            segments.remove(lost.index(segments.len()));
        }
        let opening = syns(isn);
        segments.splice(..0, if middle { &[][..] } else { &opening[..] }.iter().copied());
        let (collected, _) = read(&segments);
        let known: Vec<String> = truth.lines.iter().map(super::tests::content).collect();
        let mut found = 0;
        for line in &collected.lines {
            if line.get("error").is_none() {
                prop_assert!(known.contains(&super::tests::content(line)), "{line}");
                found += 1;
            }
        }
        prop_assert!(found <= known.len());
        // Some frames after a gap are lost, but not all frames.
        let sent: usize = segments.iter().map(|segment| segment.payload.len()).sum();
        prop_assert!(sent < 20_000 || found * 4 > known.len(), "{found} of {}", known.len());
    }

    #[test]
    fn no_bytes_of_a_packet_cause_a_panic(link in prop::sample::select(vec![0, 1, 12, 101, 108, 113, 228, 229, 276, 9]),
                                          bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut table = Table::default();
        if let Found::Segment(segment) = segment(link, &bytes) {
            table.segment(&segment, 0, &mut Collected::default()).unwrap();
        }
        table.finish(&mut Collected::default()).unwrap();
    }

    #[test]
    fn no_bytes_of_a_file_cause_a_panic(
        file in prop::sample::select(vec!["dispatch.pcap", "dispatch-any.pcap", "dispatch-ipv6.pcapng"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..30),
        until in any::<prop::sample::Index>(),
        random in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        let mut bytes = fs::read(folder("captures").join(file)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match random {
            // Replace the bytes after the magic number.
            Some(random) => bytes.splice(4.., random).for_each(drop),
            None => bytes.truncate(until.index(bytes.len() + 1)),
        }
        let mut collected = Collected::default();
        let _ = capture(Input::of(bytes), BytesMut::new(), &[], &mut collected);
        prop_assert_eq!(collected.begun.len(), collected.ended);
    }

    #[test]
    fn no_segments_cause_a_panic(
        segments in prop::collection::vec(
            (0usize..2, prop_oneof![any::<u32>(), 0u32..200], prop::option::of(0u32..300), 0u8..64,
             prop::collection::vec(prop_oneof![any::<u8>(), Just(0)], 0..40), 0usize..50),
            0..100),
    ) {
        let segments: Vec<Segment<'_>> = segments
            .iter()
            .map(|(side, seq, ack, flags, payload, cut)| Segment {
                ack: *ack,
                syn: flags % 16 == 1,
                fin: flags % 16 == 2,
                rst: flags % 32 == 3,
                cut: if flags % 4 == 0 { *cut } else { 0 },
                ..seg(*side, *seq, payload)
            })
            .collect();
        let (collected, _) = read(&segments);
        prop_assert_eq!(collected.begun.len(), collected.ended);
    }
}

#[test]
fn a_new_syn_starts_a_new_connection() {
    let truth = truth("plain-peering");
    let mut segments = Vec::new();
    for isn in [[1, 2], [5_000_000, 77]] {
        segments.extend(syns(isn));
        segments.push(syns(isn)[0]);
        segments.extend(pieces(&truth, isn, 5));
    }
    let (collected, tally) = read(&segments);
    assert_eq!(tally, Tally { connections: 2, decoded: 2, ..Tally::default() });
    assert_eq!(collected.begun[1]["connection"], "192.0.2.1:40000 -> 192.0.2.2:9999 #2");
    assert_eq!(collected.lines.len(), 2 * truth.lines.len());
    assert_eq!((collected.begun.len(), collected.ended), (2, 2));
}

#[test]
fn interleaved_connections_are_kept_apart() {
    let truth = truth("node-worker");
    let isn = [100, 200];
    let mut segments = Vec::new();
    let one: Vec<_> = syns(isn).into_iter().chain(pieces(&truth, isn, 500)).collect();
    for segment in one {
        for port in 1..=3 {
            let to = |address: SocketAddr| match address.port() {
                40_000 => SocketAddr::new(address.ip(), 40_000 + port),
                _ => address,
            };
            segments.push(Segment { from: to(segment.from), to: to(segment.to), ..segment });
        }
    }
    let (collected, tally) = read(&segments);
    assert_eq!(tally, Tally { connections: 3, decoded: 3, ..Tally::default() });
    for port in 1..=3 {
        let name = format!("192.0.2.1:{} -> 192.0.2.2:9999", 40_000 + port);
        let lines =
            collected.lines.iter().filter(|line| line["connection"] == name.as_str()).cloned().collect();
        same_as(&Collected { lines, ..Collected::default() }, &truth);
    }
}

#[test]
fn an_acknowledged_gap_is_reported_with_its_offset() {
    let truth = truth("all-types");
    let isn = [10, 20];
    let segments = pieces(&truth, isn, 700);
    let lost = segments.iter().filter(|segment| segment.from == at(0)).nth(9).copied().unwrap();
    let offset = lost.seq - 11;
    let mut sent = syns(isn).to_vec();
    for segment in segments.iter().filter(|segment| **segment != lost) {
        sent.push(*segment);
        let end = segment.seq.wrapping_add(segment.payload.len() as u32);
        sent.push(Segment { ack: Some(end), ..seg(usize::from(segment.from == at(0)), 0, &[]) });
    }
    let (collected, tally) = read(&sent);
    assert_eq!(tally.errors, 1, "{:?}", collected.lines);
    let error = collected.lines.iter().find(|line| line.get("error").is_some()).unwrap();
    assert_eq!((&error["from"], error["offset"].as_u64()), (&Json::from("connector"), Some(offset.into())));
    let words = format!("{} bytes are missing: they are not in the capture", lost.payload.len());
    assert!(error["error"].as_str().unwrap().starts_with(&words), "{error}");
    // The loss is reported as soon as it is certain, not at the end.
    let (mut early, mut table) = (Collected::default(), Table::default());
    for segment in &sent {
        table.segment(segment, 0, &mut early).unwrap();
    }
    assert!(early.lines.iter().any(|line| line["error"] == error["error"]));
}

#[test]
fn truncated_packets_are_reported_with_a_hint() {
    let truth = truth("all-types");
    let isn = [10, 20];
    let mut sent = syns(isn).to_vec();
    sent.extend(pieces(&truth, isn, 1400).into_iter().map(
        |segment| match segment.payload.split_at_checked(60) {
            Some((payload, rest)) => Segment { payload, cut: rest.len(), ..segment },
            None => segment,
        },
    ));
    let (collected, tally) = read(&sent);
    assert!(tally.errors > 0);
    let error = collected.lines.iter().find(|line| line.get("error").is_some()).unwrap();
    assert!(error["error"].as_str().unwrap().contains("tcpdump -s 0"), "{error}");
}

#[test]
fn a_connection_whose_beginning_was_not_captured_has_a_note() {
    let truth = truth("node-worker");
    let segments = pieces(&truth, [10, 20], 300);
    let (collected, tally) = read(&segments[segments.len() / 2..]);
    assert_eq!((tally.decoded, tally.errors), (1, 0), "{:?}", collected.lines);
    assert!(collected.begun[0]["note"].as_str().unwrap().contains("in the middle"), "{:?}", collected.begun);
    assert_eq!(collected.begun[0]["connection"], "192.0.2.1:40000 -> 192.0.2.2:9999");
    let known: Vec<String> = truth.lines.iter().map(super::tests::content).collect();
    assert!(
        collected.lines.len() > truth.lines.len() / 4,
        "{} of {}",
        collected.lines.len(),
        truth.lines.len()
    );
    assert!(collected.lines.iter().all(|line| known.contains(&super::tests::content(line))));
}

#[test]
fn tls_and_other_protocols_are_reported_once() {
    let hello = fs::read(folder("tls/anonymous-client-hello-tls12.bin")).unwrap();
    for (bytes, protocol, word) in [
        (&hello[..], "tls", "disable_ssl"),
        (b"GET / HTTP/1.1\r\n\r\n", "other", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "other", "SSH"),
        (b"\x00\x00\x00\x09\x63abcdefgh", "other", "0000000963"),
        (b"ab", "other", "6162"),
    ] {
        let [syn, answer] = syns([0, 0]);
        let (collected, tally) =
            read(&[syn, answer, seg(0, 1, bytes), seg(0, 1 + bytes.len() as u32, bytes)]);
        assert_eq!((tally.decoded, tally.errors, collected.lines.len()), (0, 0, 0));
        assert_eq!(collected.begun.len(), 1);
        assert_eq!(collected.begun[0]["protocol"], protocol);
        assert!(collected.begun[0]["note"].as_str().unwrap().contains(word), "{:?}", collected.begun);
    }
    // One side uses TLS, the other does not.
    let [syn, answer] = syns([0, 0]);
    let (collected, tally) = read(&[syn, answer, seg(1, 1, b"\0\0\0\x05\x07ZEEK"), seg(0, 1, &hello)]);
    assert_eq!((tally.decoded, tally.errors), (1, 1));
    let error = collected.lines[1]["error"].as_str().unwrap();
    assert!(error.starts_with("this side uses TLS and the other does not"), "{error}");
    assert_eq!(tls::hello(&hello), Some(tls::Hello::Offers(0x0303)));
}

#[test]
fn the_version_of_tls_is_read_from_complete_hellos_only() {
    /// Returns a handshake message of type 2 (ServerHello) in one record.
    fn server_hello(extensions: &[u8]) -> Vec<u8> {
        let body = [&[3, 3][..], &[0; 32], &[0, 0x13, 0x01, 0], extensions].concat();
        let length = u8::try_from(body.len()).unwrap();
        [&[0x16, 3, 3, 0, length + 4, 2, 0, 0, length], &body[..]].concat()
    }
    let client = fs::read(folder("tls/anonymous-client-hello-tls12.bin")).unwrap();
    let supported_versions = [0, 6, 0, 43, 0, 2, 3, 4];
    let server = server_hello(&supported_versions);
    for (hello, version) in [
        (&client, tls::Hello::Offers(0x0303)),
        (&server, tls::Hello::Selected(0x0304)),
        (&server_hello(&[]), tls::Hello::Selected(0x0303)),
    ] {
        assert_eq!(tls::hello(hello), Some(version));
        assert_eq!(tls::hello(&[&hello[..], &[0x17, 3, 3, 0, 1, 0]].concat()), Some(version));
        for end in 0..hello.len() {
            assert_eq!(tls::hello(&hello[..end]), None, "{end} of {} bytes", hello.len());
        }
    }
    // The same message in two records, the first of which ends before the extensions.
    let (first, second) = server[5..].split_at(server.len() - 5 - supported_versions.len());
    let record = |part: &[u8]| [&[0x16, 3, 3, 0, u8::try_from(part.len()).unwrap()], part].concat();
    assert_eq!(tls::hello(&[record(first), record(second)].concat()), None);
}

#[test]
fn connections_and_their_memory_are_bounded() {
    let truth = truth("node-worker");
    let sent: Vec<_> = syns([0, 0]).into_iter().chain(pieces(&truth, [0, 0], 1000)).collect();
    let from_port = |segment: &Segment<'_>, port: u16| {
        let to = |address: SocketAddr| match address.port() {
            40_000 => SocketAddr::new(address.ip(), port),
            _ => address,
        };
        (to(segment.from), to(segment.to))
    };
    // The oldest connections are ended and reported.
    let (mut collected, mut table) = (Collected::default(), Table::with_limits(10, usize::MAX));
    for port in 1..=35 {
        for segment in &sent {
            let (from, to) = from_port(segment, port);
            table.segment(&Segment { from, to, ..*segment }, 0, &mut collected).unwrap();
        }
    }
    assert!(collected.ended >= 25, "{}", collected.ended);
    table.finish(&mut collected).unwrap();
    assert_eq!((table.tally.connections, table.tally.decoded, table.tally.errors), (35, 35, 0));
    assert!((25..35).contains(&table.tally.evicted), "{:?}", table.tally);
    assert_eq!(collected.lines.len(), 35 * truth.lines.len());

    // The first byte of each connection is missing. The bytes after this gap are buffered, and exceed the memory limit.
    let (mut collected, mut table) = (Collected::default(), Table::with_limits(1000, 50_000));
    for port in 1..=100 {
        for segment in sent.iter().filter(|segment| segment.syn || segment.seq != 1) {
            let (from, to) = from_port(segment, port);
            table.segment(&Segment { from, to, ..*segment }, 0, &mut collected).unwrap();
        }
    }
    assert!(table.tally.evicted > 10, "{:?}", table.tally);
}
