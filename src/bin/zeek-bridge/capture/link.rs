//! From a captured packet to the TCP segment in it.

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
    Nothing,
    /// How the packet begins is not known here.
    UnknownLink,
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
    packet.map_or(Found::Nothing, |packet| tcp(&packet))
}

/// What to do about a link type that is not known.
pub(super) fn unknown(link: i32) -> String {
    format!(
        "packets of link type {link} are passed over; capture where they are Ethernet, loopback or IP, such as with \
         tcpdump -i any"
    )
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
        _ => return Found::Nothing,
    };
    if payload.fragmented {
        return Found::Fragment;
    }
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        let stump = payload.incomplete && payload.ip_number == etherparse::IpNumber::TCP;
        return if stump { Found::Stump } else { Found::Nothing };
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
