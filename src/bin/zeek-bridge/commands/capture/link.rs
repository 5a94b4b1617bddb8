//! From a captured packet to the TCP segment in it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// One TCP segment.
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
    /// How many bytes of payload it had behind these, which were not captured.
    pub(super) cut: usize,
}

/// What a packet holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Segment(Segment<'a>),
    /// A piece of an IP packet that was sent in pieces.
    Fragment,
    /// A packet of which not even the TCP header is whole.
    Stump,
    /// Something else than TCP.
    Other(Encapsulation),
    /// How the packet begins is not known here.
    UnknownLink,
}

/// What a packet that is not read consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Encapsulation {
    /// A protocol over IP, by its number.
    Ip(u8),
    /// A tunnel over UDP, by its port.
    Udp(u16),
    /// A protocol in the place of IP, by its EtherType.
    Ether(u16),
    /// A packet of a link type that is not known.
    Link(i32),
    /// A packet of which the headers are not all there.
    Damaged,
}

/// The ports of tunnels over UDP.
const TUNNELS: [(u16, &str); 5] =
    [(2152, "GTP-U"), (4754, "GRE in UDP"), (4789, "VXLAN"), (6081, "Geneve"), (8472, "VXLAN")];

impl Encapsulation {
    /// Whether there may be TCP inside.
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
            // A length in the place of the EtherType.
            Encapsulation::Ether(0..=0x05ff) => "LLC",
            Encapsulation::Ether(kind) => return write!(f, "EtherType 0x{kind:04x}"),
            Encapsulation::Link(link) => return write!(f, "of link type {link}"),
            Encapsulation::Damaged => "without complete headers",
        })
    }
}

/// Looks into a packet that begins as its link type says.
pub(super) fn segment(link: i32, data: &[u8]) -> Found<'_> {
    let at = |skip: usize| data.get(skip..).unwrap_or_default();
    // Where the header of IP begins; an empty packet has none.
    let ip = |data| LaxSlicedPacket::from_ip(data).ok();
    let ether = |kind: usize, skip| {
        let number = data.get(kind..).and_then(|rest| rest.first_chunk().copied());
        Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(number?)), at(skip)))
    };
    let packet = match link {
        // BSD's loopback, either order of bytes: the version of IP says what the address family would.
        0 | 108 => ip(at(4)),
        1 => LaxSlicedPacket::from_ethernet(data).ok(),
        // Raw IP, under its numbers on various systems.
        12 | 14 | 101 | 228 | 229 => ip(data),
        // Linux's cooked capture, version 1 and 2.
        113 => ether(14, 16),
        276 => ether(0, 20),
        _ => return Found::UnknownLink,
    };
    packet.map_or(Found::Other(Encapsulation::Damaged), |packet| tcp(&packet))
}

/// What to do about a link type that is not known.
pub(super) fn unknown(link: i32) -> String {
    format!(
        "packets of link type {link} are passed over; capture where they are Ethernet, loopback or IP, such as with \
         tcpdump -i any"
    )
}

fn not_ip(packet: &LaxSlicedPacket<'_>) -> Encapsulation {
    let kind = packet.ether_payload().map(|payload| payload.ether_type);
    match kind {
        // The header of IP is not all there, or none.
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
            // Without the options; a length of 0 is that of a segment which the network card is still to cut.
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
        let stump = payload.incomplete && payload.ip_number == etherparse::IpNumber::TCP;
        return if stump { Found::Stump } else { Found::Other(not_tcp(packet, payload.ip_number.0)) };
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
