//! A captured TCP connection: both directions are reassembled and read.

use std::net::SocketAddr;

use super::link::Segment;
use super::protocol::ProtocolReader;
use super::report::{About, Protocol, Report};
use super::tcp::{Piece, Stream};
use crate::output::Failure;
use zeek_bridge::trace::Side;

pub(super) struct Connection {
    about: About,
    connector_at: SocketAddr,
    /// The sequence number of the connector's SYN, if it was seen.
    syn: Option<u32>,
    connector: Stream,
    listener: Stream,
    protocol: ProtocolReader,
    start_ns: u64,
    /// The time of the last packet, in microseconds since the start.
    t_us: u64,
    /// The number of the last packet.
    pub(super) last: u64,
    pub(super) closed: bool,
    /// The number of earlier connections between the same two addresses.
    pub(super) reuse: u64,
}

impl Connection {
    /// Returns a connection that begins with this segment. `reuse` is the number of earlier connections between the same two
    /// addresses.
    pub(super) fn new(segment: &Segment<'_>, t_ns: u64, number: u64, reuse: u64) -> Self {
        let from_listener = match (segment.syn, segment.ack) {
            (true, ack) => ack.is_some(),
            // Without a SYN, guess the connector by the ports: servers usually have the lower port.
            (false, _) => segment.from.port() < segment.to.port(),
        };
        let (connector_at, listener_at) =
            if from_listener { (segment.to, segment.from) } else { (segment.from, segment.to) };
        let again = if reuse > 0 { format!(" #{}", reuse.saturating_add(1)) } else { String::new() };
        let middle = "the capture begins in the middle of this connection: the connector is guessed from the ports, \
                      offsets count from the first captured byte, and reading begins at the first complete frame";
        Connection {
            about: About {
                number,
                name: format!("{connector_at} -> {listener_at}{again}"),
                start_ns: Some(t_ns),
                protocol: Protocol::Broker,
                note: (!segment.syn).then(|| middle.to_owned()),
            },
            connector_at,
            syn: None,
            connector: Stream::default(),
            listener: Stream::default(),
            protocol: ProtocolReader::new(segment.syn),
            start_ns: t_ns,
            t_us: 0,
            last: 0,
            closed: false,
            reuse,
        }
    }

    /// Returns whether the segment opens a new connection between the same two addresses.
    pub(super) fn is_replaced_by(&self, segment: &Segment<'_>) -> bool {
        let (connector, syn) = match segment.ack {
            None => (segment.from, segment.seq),
            Some(ack) => (segment.to, ack.wrapping_sub(1)),
        };
        segment.syn && (connector != self.connector_at || self.syn != Some(syn))
    }

    pub(super) fn number(&self) -> u64 {
        self.about.number
    }

    /// Returns whether its frames are decoded.
    pub(super) fn is_known(&self) -> bool {
        self.protocol.is_known
    }

    pub(super) fn errors(&self) -> u64 {
        self.protocol.errors
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.connector.memory().saturating_add(self.listener.memory()).saturating_add(self.protocol.memory())
    }

    /// Adds a segment.
    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        t_ns: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        self.t_us = self.t_us.max(t_ns.saturating_sub(self.start_ns) / 1000);
        let from = if segment.from == self.connector_at { Side::Connector } else { Side::Listener };
        let first = segment.seq.wrapping_add(segment.syn.into());
        if segment.syn {
            self.syn = Some(segment.ack.map_or(segment.seq, |ack| ack.wrapping_sub(1)));
            self.stream(from).starts_at(first);
        }
        if let Some(ack) = segment.ack
            && !segment.rst
        {
            self.stream(from.other()).acknowledged(ack);
        }
        if !segment.payload.is_empty() || segment.cut > 0 || segment.fin {
            self.read(from, report, |stream, sink| {
                stream.segment(first, segment.payload, segment.cut, segment.fin, &mut |piece| sink(piece));
            })?;
        }
        for side in Side::BOTH {
            self.read(side, report, |stream, sink| stream.tick(&mut |piece| sink(piece)))?;
        }
        if segment.rst || self.connector.is_finished() && self.listener.is_finished() {
            self.end(report)?;
        }
        Ok(())
    }

    /// Ends the connection: no more segments follow.
    pub(super) fn end(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        for side in Side::BOTH {
            self.read(side, report, |stream, sink| stream.finish(&mut |piece| sink(piece)))?;
        }
        self.protocol.end(&mut self.about, self.t_us, report)
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        }
    }

    /// Calls `step` on the stream of the side `from`, and reads the bytes that the stream returns.
    fn read(
        &mut self,
        side: Side,
        report: &mut dyn Report,
        step: impl FnOnce(&mut Stream, &mut dyn FnMut(Piece<'_>)),
    ) -> Result<(), Failure> {
        let Connection { about, connector, listener, protocol, t_us, .. } = self;
        let stream = if side == Side::Connector { connector } else { listener };
        let mut result = Ok(());
        step(stream, &mut |piece| {
            if result.is_ok() {
                result = match piece {
                    Piece::Bytes(bytes) => protocol.input(about, side, *t_us, bytes, report),
                    Piece::Lost(count) => {
                        protocol.lose(about, side, *t_us, count, "they are not in the capture", report)
                    }
                    Piece::Cut(count) => {
                        let why =
                            "the capture has truncated packets; capture complete packets with tcpdump -s 0";
                        protocol.lose(about, side, *t_us, count, why, report)
                    }
                };
            }
        });
        result
    }
}
