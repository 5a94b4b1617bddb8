//! Reads the packets of a pcap or pcapng file, one at a time.

use bytes::{Buf, BytesMut};
use pcap_parser::nom::{Err as NomError, IResult};
use pcap_parser::pcapng::{Block, InterfaceDescriptionBlock, parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    LegacyPcapBlock, PcapError, PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};

use crate::input::Input;
use crate::output::Failure;

/// Maximum size of a block in bytes. The largest packet that tcpdump writes has 256 KiB.
const MAX_BLOCK: usize = 16 * 1024 * 1024;

/// Maximum number of interfaces in a section.
const MAX_INTERFACES: usize = 4096;

/// A packet.
pub(super) struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub(super) t_ns: u64,
    /// The link type, as tcpdump numbers it.
    pub(super) link: i32,
    pub(super) data: &'a [u8],
}

/// Returns whether a file with these first bytes is a capture.
pub(crate) fn is_capture(first: &[u8]) -> bool {
    let magic = first.first_chunk().copied().map(u32::from_be_bytes);
    magic.is_some_and(|magic| {
        // In both byte orders: pcap with microseconds, with nanoseconds, and Kuznetzov's format; and pcapng.
        [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34]
            .iter()
            .any(|known| [*known, u32::swap_bytes(*known)].contains(&magic))
            || magic == 0x0a0d_0d0a
    })
}

/// The packets of a file.
pub(super) struct Packets {
    input: Input,
    buffer: BytesMut,
    /// The offset of the buffer in the file.
    offset: u64,
    format: Format,
    packet: Vec<u8>,
}

enum Format {
    Unknown,
    Pcap { link: i32, nanoseconds: bool, parse: PacketParser },
    PcapNg { big_endian: bool, interfaces: Vec<Interface>, t_ns: u64 },
}

type PacketParser = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

struct Interface {
    link: i32,
    units_per_second: u64,
    offset_seconds: i64,
}

/// The reason why no block can be read.
enum Stop {
    More,
    Damaged(&'static str),
}

impl<E> From<NomError<E>> for Stop {
    fn from(error: NomError<E>) -> Self {
        match error {
            NomError::Incomplete(_) => Stop::More,
            _ => Stop::Damaged("a packet header is missing or damaged"),
        }
    }
}

impl Packets {
    /// Returns a reader. `first` are the bytes that were read already.
    pub(super) fn new(input: Input, first: BytesMut) -> Self {
        Packets { input, buffer: first, offset: 0, format: Format::Unknown, packet: Vec::new() }
    }

    /// Returns the next packet, or `None` at the end. Calls `pause` before it may have to wait.
    pub(super) fn next(
        &mut self,
        pause: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<Option<Packet<'_>>, Failure> {
        loop {
            match self.block() {
                Ok(Some((link, t_ns))) => return Ok(Some(Packet { t_ns, link, data: &self.packet })),
                Ok(None) => {}
                Err(Stop::More) if self.buffer.len() > MAX_BLOCK => {
                    return Err(self.damaged("a packet of more than 16 MiB"));
                }
                Err(Stop::More) => {
                    pause()?;
                    if self.input.read_some(&mut self.buffer)? > 0 {
                        continue;
                    }
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    return Err(Failure::failed(format!(
                        "the capture ends inside a packet, at byte {}: it is truncated or still being written; everything \
                         before this packet was read",
                        self.offset
                    )));
                }
                Err(Stop::Damaged(what)) => return Err(self.damaged(what)),
            }
        }
    }

    fn damaged(&self, what: &str) -> Failure {
        Failure::failed(format!(
            "the capture is damaged at byte {}: {what}; everything before this byte was read",
            self.offset
        ))
    }

    /// Removes a block from the buffer. If it is a packet, stores it in `packet` and returns its link type and time.
    fn block(&mut self) -> Result<Option<(i32, u64)>, Stop> {
        if self.buffer.is_empty() {
            return Err(Stop::More);
        }
        let data = &self.buffer[..];
        let (rest, found) = match &mut self.format {
            Format::Unknown if data.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) => {
                self.format = Format::PcapNg { big_endian: false, interfaces: Vec::new(), t_ns: 0 };
                (data, None)
            }
            Format::Unknown => {
                let (rest, header) = parse_pcap_header(data)?;
                self.format = Format::Pcap {
                    // The upper bits are flags and the length of the frame check sequence.
                    link: header.network.0 & 0xffff,
                    nanoseconds: header.is_nanosecond_precision(),
                    parse: parser_of(&header),
                };
                (rest, None)
            }
            Format::Pcap { link, nanoseconds, parse } => {
                let (rest, block) = parse(data)?;
                self.packet.clear();
                self.packet.extend_from_slice(block.data);
                let fraction = u64::from(block.ts_usec).saturating_mul(if *nanoseconds { 1 } else { 1000 });
                let t_ns = u64::from(block.ts_sec).saturating_mul(1_000_000_000).saturating_add(fraction);
                (rest, Some((*link, t_ns)))
            }
            Format::PcapNg { big_endian, interfaces, t_ns } => {
                let (rest, block) = if *big_endian { parse_block_be(data)? } else { parse_block_le(data)? };
                let mut time = None;
                let packet = match &block {
                    Block::SectionHeader(section) => {
                        *big_endian = section.big_endian();
                        interfaces.clear();
                        None
                    }
                    Block::InterfaceDescription(_) if interfaces.len() >= MAX_INTERFACES => {
                        return Err(Stop::Damaged("more than 4096 interfaces"));
                    }
                    Block::InterfaceDescription(described) => {
                        interfaces.push(interface(described));
                        None
                    }
                    Block::EnhancedPacket(packet) => {
                        time = Some((packet.ts_high, packet.ts_low));
                        Some((packet.if_id, packet.packet_data()))
                    }
                    Block::Unknown(block) if block_type(block.block_type, *big_endian) == PACKET_BLOCK => {
                        let packet = packet_block(block.data, *big_endian)
                            .ok_or(Stop::Damaged("a Packet Block of which the lengths do not match"))?;
                        time = Some(packet.time);
                        Some((packet.interface.into(), packet.data))
                    }
                    Block::SimplePacket(packet) => Some((0, packet.packet_data())),
                    _ => None,
                };
                let found = match packet {
                    None => None,
                    Some((number, data)) => {
                        let interface =
                            usize::try_from(number).ok().and_then(|number| interfaces.get(number));
                        let interface = interface
                            .ok_or(Stop::Damaged("a packet of an interface that is not described"))?;
                        if let Some((high, low)) = time {
                            *t_ns = interface.time(high, low);
                        }
                        self.packet.clear();
                        self.packet.extend_from_slice(data);
                        Some((interface.link, *t_ns))
                    }
                };
                (rest, found)
            }
        };
        let used = data.len().saturating_sub(rest.len());
        self.offset = self.offset.saturating_add(used.try_into().unwrap_or(u64::MAX));
        self.buffer.advance(used);
        Ok(found)
    }
}

/// The type of the Packet Block, which the Enhanced Packet Block has replaced. The parser does not know it.
const PACKET_BLOCK: u32 = 2;

/// The type of an unknown block, which the parser reads as little-endian in every file.
fn block_type(read: u32, big_endian: bool) -> u32 {
    if big_endian { read.swap_bytes() } else { read }
}

struct PacketBlock<'a> {
    interface: u16,
    time: (u32, u32),
    data: &'a [u8],
}

/// Reads the body of a Packet Block (draft-ietf-opsawg-pcapng, appendix A):
///
/// ```text
/// u16 interface | u16 drops | u32 high and u32 low timestamp | u32 captured length | u32 original length | data
/// ```
fn packet_block(body: &[u8], big_endian: bool) -> Option<PacketBlock<'_>> {
    let u16_at = |at: usize| {
        let bytes = body.get(at..)?.first_chunk().copied()?;
        Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = body.get(at..)?.first_chunk().copied()?;
        Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let captured = usize::try_from(u32_at(12)?).ok()?;
    Some(PacketBlock {
        interface: u16_at(0)?,
        time: (u32_at(4)?, u32_at(8)?),
        data: body.get(20..)?.get(..captured)?,
    })
}

fn parser_of(header: &PcapHeader) -> PacketParser {
    if header.is_modified_format() {
        parse_pcap_frame_modified
    } else if header.is_bigendian() {
        parse_pcap_frame_be
    } else {
        parse_pcap_frame
    }
}

fn interface(described: &InterfaceDescriptionBlock<'_>) -> Interface {
    let exponent = u32::from(described.if_tsresol & 0x7f);
    let base: u64 = if described.if_tsresol & 0x80 == 0 { 10 } else { 2 };
    Interface {
        link: described.linktype.0,
        units_per_second: base.checked_pow(exponent).unwrap_or(u64::MAX),
        offset_seconds: described.if_tsoffset,
    }
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> u64 {
        let units = i128::from((u64::from(high) << 32) | u64::from(low));
        let nanoseconds =
            units.saturating_mul(1_000_000_000).checked_div(self.units_per_second.into()).unwrap_or(0);
        let offset = i128::from(self.offset_seconds).saturating_mul(1_000_000_000);
        u64::try_from(nanoseconds.saturating_add(offset)).unwrap_or(0)
    }
}
