//! `decode` of captures and recordings: packets of every link layer, files of every format.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::common::{Fixture, Side, same_json};
use crate::program::child::{Running, within};
use crate::program::{Program, command};
use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, VlanId};
use serde_json::{Value as Json, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn capture(name: &str) -> String {
    fixtures().join("captures").join(name).display().to_string()
}

/// Returns the lines of `frames.jsonl`.
fn lines(fixture: &str) -> Vec<Json> {
    let text = fs::read_to_string(fixtures().join(fixture).join("frames.jsonl")).unwrap();
    text.lines().map(|line| zeek_bridge::data::parse_json(line.as_bytes()).unwrap()).collect()
}

/// Asserts that the frames are those of the fixture.
#[track_caller]
fn assert_frames(found: &[Json], fixture: &str) {
    let expected = lines(fixture);
    let frames: Vec<&Json> = found.iter().filter(|line| line.get("index").is_some()).collect();
    assert_eq!(frames.len(), expected.len());
    for (found, expected) in frames.into_iter().zip(expected) {
        let mut found = found.clone();
        assert!(found.as_object_mut().unwrap().remove("connection").is_some());
        assert!(same_json(&found, &expected), "{found} for {expected}");
    }
}

/// A TCP segment and its sender.
struct Sent {
    from: Side,
    tcp: TcpHeader,
    t_us: u64,
    payload: Vec<u8>,
}

/// Returns a captured peering as segments: SYN, SYN-ACK, each frame in segments of at most `most` bytes, and FINs.
fn segments(fixture: &str, most: usize) -> Vec<Sent> {
    let truth = Fixture::load(fixture);
    let isn = [u32::MAX - 50, 1000];
    let mut next = isn.map(|isn| isn.wrapping_add(1));
    let header = |from: Side, seq: u32, ack: u32| {
        let (to_port, from_port) = (9999, 40_000);
        let mut tcp = match from {
            Side::Connector => TcpHeader::new(from_port, to_port, seq, 0xffff),
            Side::Listener => TcpHeader::new(to_port, from_port, seq, 0xffff),
        };
        (tcp.ack, tcp.acknowledgment_number) = (true, ack);
        tcp
    };
    let mut sent = Vec::new();
    let mut syn = TcpHeader { syn: true, ..header(Side::Connector, isn[0], 0) };
    syn.ack = false;
    sent.push(Sent { from: Side::Connector, tcp: syn, t_us: 0, payload: Vec::new() });
    let answer = TcpHeader { syn: true, ..header(Side::Listener, isn[1], next[0]) };
    sent.push(Sent { from: Side::Listener, tcp: answer, t_us: 1, payload: Vec::new() });
    let mut last = 0;
    for (frame, line) in truth.frames.iter().zip(lines(fixture)) {
        last = line["t_us"].as_u64().unwrap();
        for piece in frame.bytes.chunks(most) {
            let (mine, other) = (frame.from as usize, frame.from.other() as usize);
            let tcp = header(frame.from, next[mine], next[other]);
            next[mine] = next[mine].wrapping_add(piece.len() as u32);
            sent.push(Sent { from: frame.from, tcp, t_us: last, payload: piece.to_vec() });
        }
    }
    for from in Side::BOTH {
        let tcp = TcpHeader { fin: true, ..header(from, next[from as usize], next[from.other() as usize]) };
        sent.push(Sent { from, tcp, t_us: last, payload: Vec::new() });
    }
    sent
}

/// Returns the headers of a segment.
fn ip(sent: &Sent, six: bool) -> IpHeaders {
    let (from, to) = if sent.from == Side::Connector { (1, 2) } else { (2, 1) };
    let length = sent.tcp.header_len() + sent.payload.len();
    if six {
        let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let header = Ipv6Header {
            next_header: IpNumber::TCP,
            hop_limit: 64,
            payload_length: length.try_into().unwrap(),
            source: address(from),
            destination: address(to),
            ..Ipv6Header::default()
        };
        return IpHeaders::Ipv6(header, Default::default());
    }
    let header =
        Ipv4Header::new(length.try_into().unwrap(), 64, IpNumber::TCP, [192, 0, 2, from], [192, 0, 2, to]);
    IpHeaders::Ipv4(header.unwrap(), Default::default())
}

fn raw(sent: &Sent, six: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ip(ip(sent, six)).tcp_header(sent.tcp.clone()).write(&mut bytes, &sent.payload).unwrap();
    bytes
}

/// Returns an IPv6 packet with a hop-by-hop header, a routing header and destination options before TCP.
fn extended(sent: &Sent) -> Vec<u8> {
    let mut bytes = raw(sent, true);
    let tcp = bytes.split_off(40);
    let next = [43, 60, 6];
    bytes[6] = 0;
    for next in next {
        // Each header has one unit of eight bytes, including padding. The routing header has no segments left.
        bytes.extend([next, 0, if next == 60 { 4 } else { 1 }, if next == 60 { 0 } else { 4 }, 0, 0, 0, 0]);
    }
    bytes.extend(tcp);
    let length = u16::try_from(bytes.len() - 40).unwrap();
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn pcap(link: u32, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(u32::to_le_bytes(word));
    }
    for (t_us, packet) in packets {
        let length = packet.len() as u32;
        let words = [1_700_000_000 + (t_us / 1_000_000) as u32, (t_us % 1_000_000) as u32, length, length];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(packet);
    }
    file
}

/// Returns a capture file of a fixture with this link type.
fn captured(fixture: &str, link: u32, frame: impl Fn(&Sent) -> Vec<u8>) -> Vec<u8> {
    let packets: Vec<_> = segments(fixture, 1400).iter().map(|sent| (sent.t_us, frame(sent))).collect();
    pcap(link, &packets)
}

fn after(header: &[u8], packet: Vec<u8>) -> Vec<u8> {
    [header, &packet].concat()
}

#[test]
fn every_link_layer_is_read() {
    let ether = |kind: u16| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes()].concat();
    let vlan = |sent: &Sent| {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .double_vlan(VlanId::try_new(7).unwrap(), VlanId::try_new(8).unwrap())
            .ip(ip(sent, false))
            .tcp_header(sent.tcp.clone())
            .write(&mut bytes, &sent.payload)
            .unwrap();
        bytes
    };
    let sll = |kind: u16| [&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0][..], &kind.to_be_bytes()].concat();
    let sll2 = |kind: u16| [&kind.to_be_bytes()[..], &[0; 18]].concat();
    // The minimum size of an Ethernet frame.
    let padded = |mut packet: Vec<u8>| {
        packet.resize(packet.len().max(60), 0);
        packet
    };
    type Link<'a> = (&'a str, u32, Box<dyn Fn(&Sent) -> Vec<u8>>);
    let links: Vec<Link<'_>> = vec![
        ("Ethernet", 1, Box::new(move |sent| padded(after(&ether(0x0800), raw(sent, false))))),
        ("Ethernet, IPv6", 1, Box::new(move |sent| after(&ether(0x86dd), raw(sent, true)))),
        (
            "Ethernet, IPv6 with extension headers",
            1,
            Box::new(move |sent| after(&ether(0x86dd), extended(sent))),
        ),
        ("Ethernet, two VLAN tags", 1, Box::new(vlan)),
        ("BSD loopback", 0, Box::new(|sent| after(&[2, 0, 0, 0], raw(sent, false)))),
        ("BSD loopback, IPv6", 0, Box::new(|sent| after(&[0, 0, 0, 30], raw(sent, true)))),
        ("OpenBSD loopback", 108, Box::new(|sent| after(&[0, 0, 0, 2], raw(sent, false)))),
        ("IP", 101, Box::new(|sent| raw(sent, true))),
        ("IPv4", 228, Box::new(|sent| raw(sent, false))),
        ("IPv6", 229, Box::new(|sent| raw(sent, true))),
        ("Linux cooked", 113, Box::new(move |sent| after(&sll(0x0800), raw(sent, false)))),
        ("Linux cooked 2", 276, Box::new(move |sent| after(&sll2(0x86dd), raw(sent, true)))),
    ];
    for (name, link, frame) in links {
        let decoded = Program::run("decode -", captured("node-worker", link, frame));
        assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""), "{name}: {decoded:?}");
        assert_frames(&decoded.json(), "node-worker");
    }
}

#[test]
fn a_capture_and_a_recording_of_a_connection_have_the_same_frames() {
    let folder = tempfile::tempdir().unwrap();
    for name in Fixture::names() {
        if name == "drop-magic" {
            continue;
        }
        let file = folder.path().join("capture");
        fs::write(&file, captured(&name, 101, |sent| raw(sent, false))).unwrap();
        let captured = Program::run(&format!("decode {}", file.display()), "");
        let recorded = Program::run(&format!("decode {}", fixtures().join(&name).display()), "");
        for decoded in [&captured, &recorded] {
            assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""), "{name}");
            assert_frames(&decoded.json(), &name);
        }
        let without_name = |lines: &[String]| -> Vec<String> {
            lines.iter().skip(1).map(|line| line.split_once(",\"index\"").unwrap().1.to_owned()).collect()
        };
        assert_eq!(without_name(&captured.stdout), without_name(&recorded.stdout), "{name}");
        assert_eq!(recorded.stdout[0], format!(r#"{{"connection":"{name}","protocol":"broker"}}"#));
        let start = format!(r#"{{"connection":"{name}","index":0,"from":""#);
        assert!(recorded.stdout[1].starts_with(&start), "{recorded:?}");
    }
}

#[test]
fn captures_of_tcpdump_are_read() {
    for (file, who) in [
        ("dispatch.pcap", "127.0.0.1:37178 -> 127.0.0.1:21501"),
        ("dispatch-any.pcap", "127.0.0.1:57944 -> 127.0.0.1:21502"),
        ("dispatch-any-v1.pcap", "127.0.0.1:40882 -> 127.0.0.1:21503"),
        ("dispatch-ipv6.pcapng", "[::1]:49204 -> [::1]:21504"),
    ] {
        let decoded = Program::run(&format!("decode {}", capture(file)), "");
        assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""), "{file}");
        let lines = decoded.json();
        assert_eq!((&lines[0]["connection"], &lines[0]["protocol"]), (&json!(who), &json!("broker")));
        assert!(lines[0]["start"].as_str().unwrap().starts_with("2026-11-23T03:21:1"), "{}", lines[0]);
        assert!(lines.iter().all(|line| line["connection"] == who && line.get("error").is_none()));
        let text = decoded.stdout.join("\n");
        assert!(text.contains("Management::Node::API::node_dispatch_response"), "{text}");

        let objects = Program::run(&format!("decode --summary --format json {}", capture(file)), "");
        assert_eq!((objects.code, objects.stdout.len()), (Some(0), 1));
        let object = &objects.json()[0];
        let sent = |side: &str, event: &str| {
            object[side]["events"][format!("Management::Node::API::{event}")].as_u64().unwrap_or(0)
        };
        assert_eq!(sent("connector", "notify_node_hello"), 1, "{object}");
        assert_eq!(
            (sent("listener", "node_dispatch_request"), sent("connector", "node_dispatch_response")),
            (1, 1)
        );
        assert_eq!(object["listener"]["filter"], json!(["zeek/management/node"]));
        let frames =
            object["connector"]["frames"].as_u64().unwrap() + object["listener"]["frames"].as_u64().unwrap();
        assert_eq!(frames as usize, lines.len() - 1);
        let table = Program::run(&format!("decode --summary {}", capture(file)), "");
        assert!(table.stdout[0].starts_with(who), "{table:?}");
        assert!(table.stdout.iter().any(|line| line.contains("notify_node_hello")), "{table:?}");
    }
}

#[test]
fn other_protocols_are_reported_with_a_hint() {
    for (file, protocol, words) in [
        ("dispatch-tls.pcap", "tls", &["TLS 1.3", "zeek-bridge record", "disable_ssl=T"][..]),
        ("http.pcap", "other", &["HTTP"][..]),
    ] {
        let decoded = Program::run(&format!("decode {}", capture(file)), "");
        assert_eq!((decoded.code, decoded.stdout.len()), (Some(1), 1), "{decoded:?}");
        let line = &decoded.json()[0];
        assert_eq!(line["protocol"], protocol);
        for word in words {
            assert!(line["note"].as_str().unwrap().contains(word), "{line}");
        }
        decoded.has_said(&["no connection with Broker's protocol"]);
    }
}

/// Returns a pcapng file with one section and one interface (raw IP). Each packet is in a Packet Block.
fn packet_blocks(packets: &[(u64, Vec<u8>)], big_endian: bool) -> Vec<u8> {
    let u16 = |number: u16| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let u32 = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut file = Vec::new();
    let mut block = |kind: u32, mut body: Vec<u8>| {
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32(body.len() as u32 + 12);
        file.extend([&u32(kind)[..], &length, &body, &length].concat());
    };
    block(0x0a0d_0d0a, [&u32(0x1a2b_3c4d)[..], &u16(1), &u16(0), &[0xff; 8]].concat());
    block(1, [&u16(101)[..], &u16(0), &u32(262_144)].concat());
    for (t_us, packet) in packets {
        let t_us = 1_700_000_000_000_000 + t_us;
        let length = u32(packet.len() as u32);
        let head = [&u16(0)[..], &u16(3), &u32((t_us >> 32) as u32), &u32(t_us as u32), &length, &length];
        block(2, [&head.concat()[..], packet].concat());
    }
    file
}

#[test]
fn packet_blocks_of_old_pcapng_files_are_read() {
    let packets: Vec<_> =
        segments("node-worker", 1400).iter().map(|sent| (sent.t_us, raw(sent, false))).collect();
    for big_endian in [false, true] {
        let decoded = Program::run("decode -", packet_blocks(&packets, big_endian));
        assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""), "{decoded:?}");
        assert_frames(&decoded.json(), "node-worker");
        assert!(
            decoded.json()[0]["start"].as_str().unwrap().starts_with("2023-11-14T22:13:20"),
            "{decoded:?}"
        );
    }
    // A captured length that exceeds the block.
    let mut damaged = packet_blocks(&packets[..1], false);
    let at = damaged.len() - 4 - packets[0].1.len().next_multiple_of(4) - 8;
    damaged[at..at + 4].copy_from_slice(&1_000_000u32.to_le_bytes());
    Program::run("decode -", damaged).fails(1, &["damaged at byte", "Packet Block"]);
}

#[test]
fn packets_that_are_not_read_are_counted_by_their_encapsulation() {
    let ether = |kind: u16, packet: &[u8]| {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes(), packet].concat()
    };
    let over_ip = |number: u8, payload: &[u8]| {
        let mut bytes = Vec::new();
        let length = payload.len().try_into().unwrap();
        let header = Ipv4Header::new(length, 64, IpNumber(number), [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
        header.write(&mut bytes).unwrap();
        ether(0x0800, &[&bytes, payload].concat())
    };
    let sent = segments("plain-peering", 1400);
    let inner = raw(&sent[0], false);
    let gre = over_ip(47, &[&[0, 0, 8, 0][..], &inner].concat());
    let udp = |port: u8| over_ip(17, &[0x12, 0x34, 0x12, port, 0, 12, 0, 0, 1, 2, 3, 4]);
    let mut packets = vec![gre; 120];
    packets.extend(vec![ether(0x8864, &[0x11, 0, 0, 1, 0, 42, 0, 0x21, 0x45]); 3]);
    packets.extend([udp(0xb5), udp(0x35), udp(0x35), ether(0x0806, &[0; 28]), ether(0x0800, b"")]);
    let with_time =
        |packets: &[Vec<u8>]| packets.iter().map(|packet| (0, packet.clone())).collect::<Vec<_>>();
    let decoded = Program::run("decode -", pcap(1, &with_time(&packets)));
    let kinds = "128 packets: 120 GRE, 3 PPPoE, 2 UDP, 1 VXLAN, 1 ARP, 1 without complete headers";
    decoded.fails(1, &["contains no TCP connection", kinds, "warning: ", "120 GRE, 3 PPPoE, 1 VXLAN;"]);
    // There is a warning even if some packets can be read, but only about kinds of packets that may contain TCP.
    packets.extend(sent.iter().map(|sent| ether(0x0800, &raw(sent, false))));
    let decoded = Program::run("decode -", pcap(1, &with_time(&packets)));
    assert_eq!(decoded.code, Some(0), "{decoded:?}");
    decoded.has_said(&["unsupported encapsulation: 120 GRE, 3 PPPoE, 1 VXLAN; "]);
    let plain = pcap(1, &with_time(&packets[124..]));
    let decoded = Program::run("decode -", plain);
    assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""), "{decoded:?}");
}

#[test]
fn the_option_port_selects_connections() {
    let both = [segments("plain-peering", 9), segments("plain-peering", 1000)];
    let mut packets = Vec::new();
    for (number, segments) in both.into_iter().enumerate() {
        for mut sent in segments {
            for port in [&mut sent.tcp.source_port, &mut sent.tcp.destination_port] {
                *port += if *port == 9999 { number as u16 } else { 0 };
            }
            packets.push((sent.t_us, raw(&sent, false)));
        }
    }
    let file = pcap(101, &packets);
    let named = |arguments: &str, count: usize| {
        let decoded = Program::run(&format!("decode {arguments} -"), file.clone());
        assert_eq!(decoded.code, Some(0), "{decoded:?}");
        let starts = decoded.json().into_iter().filter(|line| line.get("protocol").is_some()).count();
        assert_eq!(starts, count, "{arguments}");
    };
    named("", 2);
    named("--port 10000", 1);
    named("--port 9999,10000", 2);
    Program::run("decode --port 1 -", file.clone()).fails(1, &["no TCP connection with these ports"]);
}

#[test]
fn truncated_and_damaged_files_are_read_up_to_the_fault() {
    let whole = captured("plain-peering", 101, |sent| raw(sent, false));
    let cut = Program::run("decode -", &whole[..whole.len() - 45]);
    assert_eq!(cut.code, Some(1));
    cut.has_said(&["ends inside a packet", "everything before this packet was read"]);
    assert_frames(&cut.json(), "plain-peering");

    let ng = fs::read(capture("dispatch-ipv6.pcapng")).unwrap();
    let lines = Program::run("decode -", &ng[..]).stdout.len();
    let cut = Program::run("decode -", &ng[..ng.len() - 200]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    assert!(cut.stdout.len() > 5 && cut.stdout.len() <= lines, "{cut:?}");
    let mut odd = ng.clone();
    let half = ng.len() / 2;
    odd[half..].fill(0xff);
    let odd = Program::run("decode -", odd);
    assert_eq!(odd.code, Some(1));
    odd.has_said(&["at byte"]);

    let mut huge = whole.clone();
    huge[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    huge.resize(20 * 1024 * 1024, 0);
    Program::run("decode -", huge).fails(1, &["damaged at byte 24", "16 MiB"]);
}

#[test]
fn wrong_input_is_reported_with_a_hint() {
    Program::run("decode -", "0101\n").fails(1, &["stdin", "--value", "pcapng"]);
    Program::run("decode -", [0x1f, 0x8b, 8, 0, 0]).fails(1, &["compressed", "gunzip -c"]);
    Program::run("decode -", "").fails(1, &["neither a capture"]);
    Program::run("decode", "").fails(2, &["--value", "capture"]);
    Program::run("decode /nonexistent", "").fails(1, &["cannot open /nonexistent"]);
    Program::run("decode --json x", "").fails(2, &["--summary"]);
    Program::run("decode --value --summary x", "").fails(2, &["cannot be used with"]);
    Program::run("decode --stream x --port 1", "").fails(2, &["cannot be used with"]);
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().display();
    Program::run(&format!("decode {folder}"), "").fails(1, &["not a recording", "zeek-bridge record"]);
    Program::run(&format!("decode --port 1 {folder}"), "").fails(2, &["--port is for captures"]);
    let wireless = captured("plain-peering", 127, |sent| raw(sent, false));
    Program::run("decode -", wireless).fails(1, &["link type 127", "-i any", "no TCP connection"]);
    let cut: Vec<_> = segments("all-types", 1400)
        .iter()
        .map(|sent| (sent.t_us, raw(sent, false)))
        .map(|(t, mut packet)| {
            packet.truncate(96);
            (t, packet)
        })
        .collect();
    let cut = Program::run("decode -", pcap(101, &cut));
    assert_eq!(cut.code, Some(1));
    cut.has_said(&["not everything could be read"]);
    assert!(cut.stdout.iter().any(|line| line.contains("tcpdump -s 0")), "{cut:?}");
}

#[test]
fn all_recordings_in_a_folder_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain-peering", "aborted"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        for file in ["frames.jsonl", "connector.bin", "listener.bin"] {
            fs::copy(fixtures().join(name).join(file), folder.path().join(name).join(file)).unwrap();
        }
    }
    // Simulate a recorder that was stopped before it wrote the last line.
    let index = folder.path().join("plain-peering/frames.jsonl");
    let text = fs::read_to_string(&index).unwrap();
    let all: Vec<&str> = text.lines().collect();
    fs::write(&index, all[..all.len() - 1].join("\n")).unwrap();
    let decoded = Program::run(&format!("decode {}", folder.path().display()), "");
    assert_eq!(decoded.code, Some(0), "{decoded:?}");
    let found = decoded.json();
    let of = |name: &str| found.iter().filter(|line| line["connection"] == name).count();
    assert_eq!((of("aborted"), of("plain-peering")), (2, all.len() + 1));
    let sums = Program::run(&format!("decode --summary --format json {}", folder.path().display()), "");
    assert_eq!(sums.json()[0]["connector"]["frames"], 1, "{sums:?}");

    fs::write(&index, "{\"from\": \"nobody\", \"t_us\": 0, \"offset\": 0}\n").unwrap();
    let wrong = Program::run(&format!("decode {}", index.parent().unwrap().display()), "");
    assert_eq!(wrong.code, Some(1));
    wrong.has_said(&["frames.jsonl, line 1", "neither connector nor listener"]);
}

#[test]
fn a_capture_is_read_while_it_is_written() {
    let whole = captured("plain-peering", 101, |sent| raw(sent, false));
    let mut child = Running::spawn(&mut command(["decode", "-"]));
    let mut stdin = child.stdin.take().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    // All bytes except the last one, which belongs to a FIN.
    stdin.write_all(&whole[..whole.len() - 1]).unwrap();
    stdin.flush().unwrap();
    let count = 1 + lines("plain-peering").len();
    let (lines, mut printed) = within("the lines about the bytes written so far", move || {
        let lines: Vec<String> = printed.by_ref().take(count).map(Result::unwrap).collect();
        (lines, printed)
    });
    let lines: Vec<Json> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_frames(&lines, "plain-peering");
    stdin.write_all(&whole[whole.len() - 1..]).unwrap();
    drop(stdin);
    assert!(within("the end of stdout", move || printed.next()).is_none());
    assert!(child.end().success());
}
