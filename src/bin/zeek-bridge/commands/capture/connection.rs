//! One captured TCP connection: both directions, put in order and read.

use std::net::SocketAddr;

use super::link::Segment;
use super::report::{About, Report, Speaks};
use super::speech::Speech;
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
    speech: Speech,
    start_ns: u64,
    /// Of the last packet, in microseconds since the start.
    t_us: u64,
    /// The number of the last packet.
    pub(super) last: u64,
    pub(super) closed: bool,
    /// How many connections there were between the same two before.
    pub(super) reuse: u64,
}

impl Connection {
    /// One that begins with this segment. `reuse` counts the connections between the same two before it.
    pub(super) fn new(segment: &Segment<'_>, t_ns: u64, number: u64, reuse: u64) -> Self {
        let from_listener = match (segment.syn, segment.ack) {
            (true, ack) => ack.is_some(),
            // By the ports, which is a guess: servers have the lower ones.
            (false, _) => segment.from.port() < segment.to.port(),
        };
        let (connector_at, listener_at) =
            if from_listener { (segment.to, segment.from) } else { (segment.from, segment.to) };
        let again = if reuse > 0 { format!(" #{}", reuse.saturating_add(1)) } else { String::new() };
        let middle = "the capture begins in the middle of this connection: who connected is guessed by the ports, \
                      offsets count from the first byte seen, and frames are read from the first whole one on";
        Connection {
            about: About {
                number,
                name: format!("{connector_at} -> {listener_at}{again}"),
                start_ns: Some(t_ns),
                speaks: Speaks::Broker,
                note: (!segment.syn).then(|| middle.to_owned()),
            },
            connector_at,
            syn: None,
            connector: Stream::default(),
            listener: Stream::default(),
            speech: Speech::new(segment.syn),
            start_ns: t_ns,
            t_us: 0,
            last: 0,
            closed: false,
            reuse,
        }
    }

    /// Whether the segment opens another connection between the same two.
    pub(super) fn is_over_with(&self, segment: &Segment<'_>) -> bool {
        let (connector, syn) = match segment.ack {
            None => (segment.from, segment.seq),
            Some(ack) => (segment.to, ack.wrapping_sub(1)),
        };
        segment.syn && (connector != self.connector_at || self.syn != Some(syn))
    }

    pub(super) fn number(&self) -> u64 {
        self.about.number
    }

    pub(super) fn is_broker(&self) -> bool {
        self.speech.broker
    }

    pub(super) fn errors(&self) -> u64 {
        self.speech.errors
    }

    /// Bytes of memory that are held.
    pub(super) fn cost(&self) -> usize {
        self.connector.cost().saturating_add(self.listener.cost()).saturating_add(self.speech.cost())
    }

    /// Takes a segment.
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
            self.stream(other(from)).acknowledged(ack);
        }
        if !segment.payload.is_empty() || segment.cut > 0 || segment.fin {
            self.read(from, report, |stream, give| {
                stream.segment(first, segment.payload, segment.cut, segment.fin, &mut |piece| give(piece));
            })?;
        }
        for side in Side::BOTH {
            self.read(side, report, |stream, give| stream.tick(&mut |piece| give(piece)))?;
        }
        if segment.rst || self.connector.is_finished() && self.listener.is_finished() {
            self.end(report)?;
        }
        Ok(())
    }

    /// Takes that nothing more comes.
    pub(super) fn end(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        for side in Side::BOTH {
            self.read(side, report, |stream, give| stream.finish(&mut |piece| give(piece)))?;
        }
        self.speech.end(&mut self.about, self.t_us, report)
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        }
    }

    /// Reads what becomes of a side by `step`.
    fn read(
        &mut self,
        side: Side,
        report: &mut dyn Report,
        step: impl FnOnce(&mut Stream, &mut dyn FnMut(Piece<'_>)),
    ) -> Result<(), Failure> {
        let Connection { about, connector, listener, speech, t_us, .. } = self;
        let stream = if side == Side::Connector { connector } else { listener };
        let mut result = Ok(());
        step(stream, &mut |piece| {
            if result.is_ok() {
                result = match piece {
                    Piece::Bytes(bytes) => speech.input(about, side, *t_us, bytes, report),
                    Piece::Lost(count) => {
                        speech.lose(about, side, *t_us, count, "they are not in the capture", report)
                    }
                    Piece::Cut(count) => {
                        let why = "the capture has cut packets off; capture them whole with tcpdump -s 0";
                        speech.lose(about, side, *t_us, count, why, report)
                    }
                };
            }
        });
        result
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Connector => Side::Listener,
        Side::Listener => Side::Connector,
    }
}
