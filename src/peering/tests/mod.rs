//! Tests with two peerings that are connected in memory, and with a hostile peer. The clock is simulated.

mod handshake;
mod peered;

use std::collections::VecDeque;

use super::*;
use crate::data::Topic;
use crate::wire::{ErrorCode, Limits};

const SMALL: EndpointId = EndpointId::from_bytes([1; 16]);
const LARGE: EndpointId = EndpointId::from_bytes([2; 16]);

fn filter(topic: &'static str) -> Filter {
    [Topic::from_static(topic)].into_iter().collect()
}

fn peering(id: EndpointId, side: Side, now: Instant) -> Peering {
    let topic = if id == SMALL { "/small" } else { "/large" };
    Peering::new(Config { filter: filter(topic), ..Config::new(id, side) }, now)
}

/// A peering, with the bytes in transit to it and its past events.
#[derive(Clone)]
struct End {
    peering: Peering,
    /// Frames in transit to this end, as the peer wrote them.
    wire: VecDeque<Vec<u8>>,
    input: BytesMut,
    seen: Vec<Event>,
}

impl End {
    fn new(peering: Peering) -> Self {
        End { peering, wire: VecDeque::new(), input: BytesMut::new(), seen: Vec::new() }
    }

    fn arrive(&mut self, now: Instant, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.peering.handle_input(now, &mut self.input);
        self.poll_events();
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.peering.poll_event() {
            self.seen.push(event);
        }
    }

    /// Returns the pending output, one element for each frame.
    fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.peering.poll_transmit() {
            bytes.extend_from_slice(&piece);
        }
        let mut frames = Vec::new();
        while bytes.len() >= 4 {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            frames.push(bytes.split_to(4 + usize::try_from(length).unwrap()).to_vec());
        }
        assert!(bytes.is_empty(), "only complete frames are sent");
        frames
    }

    fn sent_handshakes(&mut self) -> Vec<Handshake> {
        self.frames().iter().map(|f| Handshake::decode(&f[4..], &Limits::DEFAULT).unwrap()).collect()
    }

    fn sent_envelopes(&mut self) -> Vec<Envelope> {
        self.frames().iter().map(|f| Envelope::decode(&Bytes::copy_from_slice(&f[4..])).unwrap()).collect()
    }

    fn established(&self) -> Option<(EndpointId, Filter)> {
        self.seen.iter().find_map(|e| match e {
            Event::Established { peer, filter } => Some((*peer, filter.clone())),
            _ => None,
        })
    }

    fn closed(&self) -> Option<&CloseReason> {
        match self.seen.last() {
            Some(Event::Closed(reason)) => Some(reason),
            _ => None,
        }
    }
}

fn bytes(message: &Handshake) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out.to_vec()
}

fn framed(envelope: &Envelope) -> Vec<u8> {
    let mut out = BytesMut::new();
    envelope.encode(&mut out).unwrap();
    out.to_vec()
}

/// Moves the output of each end into the transit queue of the other end.
fn exchange(ends: &mut [End; 2]) {
    let [a, b] = ends;
    b.wire.extend(a.frames());
    a.wire.extend(b.frames());
}

fn established_pair(now: Instant) -> [End; 2] {
    let mut ends =
        [End::new(peering(SMALL, Side::Connector, now)), End::new(peering(LARGE, Side::Listener, now))];
    deliver_all(now, &mut ends);
    assert!(ends.iter().all(|end| end.established().is_some()));
    ends.iter_mut().for_each(|end| end.seen.clear());
    ends
}

/// Delivers everything in transit, byte by byte.
fn deliver_all(now: Instant, ends: &mut [End; 2]) {
    loop {
        exchange(ends);
        if ends.iter().all(|end| end.wire.is_empty()) {
            return;
        }
        for end in ends.iter_mut() {
            for byte in std::mem::take(&mut end.wire).into_iter().flatten() {
                end.arrive(now, &[byte]);
                if matches!(end.seen.last(), Some(Event::Introduced { .. })) {
                    end.peering.admit();
                    end.arrive(now, &[]);
                }
            }
        }
    }
}

fn hello_from(sender: EndpointId) -> Handshake {
    super::handshake::hello(sender)
}

/// Returns one peering for each step of the handshake, and the name of the message that it expects.
fn handshake_steps(now: Instant) -> Vec<(End, &'static str)> {
    let select = |sender| bytes(&Handshake::VersionSelect { sender, version: 1 });
    let syn = bytes(&Handshake::OriginatorSyn(Filter::new()));
    let small = |side| End::new(peering(SMALL, side, now));
    let large = |side| End::new(peering(LARGE, side, now));
    let mut handshake_steps =
        vec![(small(Side::Connector), "hello or version_select"), (small(Side::Listener), "hello")];
    let mut end = large(Side::Listener);
    end.arrive(now, &bytes(&hello_from(SMALL)));
    handshake_steps.push((end.clone(), "version_select"));
    end.arrive(now, &select(SMALL));
    end.peering.admit();
    handshake_steps.push((end.clone(), "originator_syn"));
    end.arrive(now, &syn);
    handshake_steps.push((end, "originator_ack"));
    let mut end = small(Side::Listener);
    end.arrive(now, &bytes(&hello_from(LARGE)));
    end.peering.admit();
    handshake_steps.push((end, "responder_syn_ack"));
    for (end, _) in &mut handshake_steps {
        end.frames();
        end.seen.clear();
    }
    handshake_steps
}
