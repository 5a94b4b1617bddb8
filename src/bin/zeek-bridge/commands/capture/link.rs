//! Finds the TCP segment in a captured packet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
    /// The number of bytes at the end of the payload that were not captured.
    pub(super) cut: usize,
}

/// The content of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Segment(Segment<'a>),
    /// A fragment of an IP packet.
    Fragment,
    /// A packet with an incomplete TCP header.
    Truncated,
    /// Not TCP.
    Other(Encapsulation),
    /// A packet of an unsupported link type.
    UnknownLink,
}

/// The kind of a packet that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Encapsulation {
    /// A protocol over IP, by its number.
    Ip(u8),
    /// A tunnel over UDP, by its port.
    Udp(u16),
    /// A protocol other than IP, by its EtherType.
    Ether(u16),
    /// A packet of an unsupported link type.
    Link(i32),
    /// A packet with incomplete headers.
    Damaged,
}

/// The ports of tunnels over UDP.
const TUNNELS: [(u16, &str); 5] =
    [(2152, "GTP-U"), (4754, "GRE in UDP"), (4789, "VXLAN"), (6081, "Geneve"), (8472, "VXLAN")];

impl Encapsulation {
    /// Returns whether the packet may contain TCP in a tunnel.
    pub(super) fn is_tunnel(self) -> bool {
        match self {
            Encapsulation::Ip(number) => matches!(number, 4 | 41 | 47 | 50 | 115 | 137),
            Encapsulation::Udp(_) => true,
            Encapsulation::Ether(kind) => {
                matches!(kind, 0x8847 | 0x8848 | 0x8863 | 0x8864 | 0x88e5 | 0x88e7 | 0x894f)
            }
            Encapsulation::Link(_) | Encapsulation::Damaged => false,
        }
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encapsulation::Ip(1) => "ICMP",
            Encapsulation::Ip(2) => "IGMP",
            Encapsulation::Ip(4) => "IP in IP",
            Encapsulation::Ip(17) => "UDP",
            Encapsulation::Ip(41) => "IPv6 in IP",
            Encapsulation::Ip(47) => "GRE",
            Encapsulation::Ip(50) => "ESP",
            Encapsulation::Ip(51) => "AH",
            Encapsulation::Ip(58) => "ICMPv6",
            Encapsulation::Ip(89) => "OSPF",
            Encapsulation::Ip(132) => "SCTP",
            Encapsulation::Ip(number) => return write!(f, "IP protocol {number}"),
            Encapsulation::Udp(port) => {
                TUNNELS.iter().find(|(tunnel, _)| tunnel == port).map_or("UDP", |(_, name)| name)
            }
            Encapsulation::Ether(0x0806) => "ARP",
            Encapsulation::Ether(0x8035) => "RARP",
            Encapsulation::Ether(0x8847 | 0x8848) => "MPLS",
            Encapsulation::Ether(0x8863 | 0x8864) => "PPPoE",
            Encapsulation::Ether(0x888e) => "EAPOL",
            Encapsulation::Ether(0x88cc) => "LLDP",
            Encapsulation::Ether(0x88e5) => "MACsec",
            Encapsulation::Ether(0x88e7) => "PBB",
            Encapsulation::Ether(0x894f) => "NSH",
            // The field is a length, not an EtherType.
            Encapsulation::Ether(0..=0x05ff) => "LLC",
            Encapsulation::Ether(kind) => return write!(f, "EtherType 0x{kind:04x}"),
            Encapsulation::Link(link) => return write!(f, "of link type {link}"),
            Encapsulation::Damaged => "without complete headers",
        })
    }
}

/// Reads a packet of a link type.
pub(super) fn segment(link: i32, data: &[u8]) -> Found<'_> {
    let at = |skip: usize| data.get(skip..).unwrap_or_default();
    // Packets that begin with an IP header.
    let ip = |data| LaxSlicedPacket::from_ip(data).ok();
    let ether = |kind: usize, skip| {
        let number = data.get(kind..).and_then(|rest| rest.first_chunk().copied());
        Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(number?)), at(skip)))
    };
    let packet = match link {
        // BSD loopback in either byte order. The address family is not needed: the IP header contains the version.
        0 | 108 => ip(at(4)),
        1 => LaxSlicedPacket::from_ethernet(data).ok(),
        // Raw IP, with its numbers on various systems.
        12 | 14 | 101 | 228 | 229 => ip(data),
        // Linux cooked capture, versions 1 and 2.
        113 => ether(14, 16),
        276 => ether(0, 20),
        _ => return Found::UnknownLink,
    };
    packet.map_or(Found::Other(Encapsulation::Damaged), |packet| tcp(&packet))
}

/// Returns the warning about an unsupported link type.
pub(super) fn unknown(link: i32) -> String {
    format!(
        "packets of link type {link} are skipped; capture on Ethernet, loopback or IP, for example with tcpdump -i any"
    )
}

fn not_ip(packet: &LaxSlicedPacket<'_>) -> Encapsulation {
    let kind = packet.ether_payload().map(|payload| payload.ether_type);
    match kind {
        // The IP header is incomplete or missing.
        Some(EtherType::IPV4 | EtherType::IPV6) | None => Encapsulation::Damaged,
        Some(kind) => Encapsulation::Ether(kind.0),
    }
}

fn not_tcp(packet: &LaxSlicedPacket<'_>, number: u8) -> Encapsulation {
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { return Encapsulation::Ip(number) };
    // The source port of a tunnel is arbitrary.
    let port = udp.destination_port();
    if TUNNELS.iter().any(|(tunnel, _)| *tunnel == port) {
        Encapsulation::Udp(port)
    } else {
        Encapsulation::Ip(number)
    }
}

fn tcp<'a>(packet: &LaxSlicedPacket<'a>) -> Found<'a> {
    let (from, to, payload, claimed): (IpAddr, IpAddr, _, usize) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            // The length without options. It is 0 for a segment that the network card will divide.
            let claimed = usize::from(header.payload_len().unwrap_or(0));
            (header.source_addr().into(), header.destination_addr().into(), ip.payload(), claimed)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let extensions = ip.extensions().slice().len();
            let claimed = usize::from(header.payload_length()).saturating_sub(extensions);
            (header.source_addr().into(), header.destination_addr().into(), ip.payload(), claimed)
        }
        Some(LaxNetSlice::Arp(_)) => return Found::Other(Encapsulation::Ether(EtherType::ARP.0)),
        None => return Found::Other(not_ip(packet)),
    };
    if payload.fragmented {
        return Found::Fragment;
    }
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        let is_truncated = payload.incomplete && payload.ip_number == etherparse::IpNumber::TCP;
        return if is_truncated {
            Found::Truncated
        } else {
            Found::Other(not_tcp(packet, payload.ip_number.0))
        };
    };
    let cut = if payload.incomplete { claimed.saturating_sub(payload.payload.len()) } else { 0 };
    Found::Segment(Segment {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        cut,
    })
}
