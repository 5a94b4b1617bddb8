//! Matches the frames of the live side with the frames of the recording.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use wildmatch::WildMatch;
use zeek_bridge::data::{Filter, Topic};
use zeek_bridge::trace::{Content, Entry, Frame};
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake, Limits};

use super::compare::{Comparison, Difference, Seen, label};
use super::names::Names;
use super::report::{DifferenceKind, Finding, Report};
use crate::output::Failure;

/// Maximum size of received frames that have no recorded counterpart yet, in bytes.
const MAX_EARLY: usize = 256 * 1024 * 1024;

/// The first bytes of a BYE and of its answer (`PROTOCOL.md`, section 4).
pub(super) const BYE: &[u8] = b"BYE";

/// Selects the messages that are compared.
pub(super) struct Scope {
    /// Topic prefixes; empty selects all topics.
    pub(super) topics: Vec<Topic>,
    /// Patterns of messages and parts of messages that are not compared.
    pub(super) ignore: Vec<WildMatch>,
}

impl Scope {
    fn topic(&self, topic: &Topic) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|prefix| prefix.is_prefix_of(topic))
    }

    /// Returns whether a subscription to this prefix can match a compared topic.
    fn subscription(&self, entry: &Topic) -> bool {
        self.topic(entry) || self.topics.iter().any(|prefix| entry.is_prefix_of(prefix))
    }

    fn message(&self, topic: &Topic, label: &str) -> bool {
        self.topic(topic) && !self.ignore.iter().any(|pattern| pattern.matches(label))
    }
}

/// Frames with the same key are matched with each other, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Handshake,
    Message(Topic, String),
    /// A pong, by its bytes.
    Pong(Bytes),
    Malformed,
}

pub(super) struct Matcher {
    pub(super) names: Names,
    scope: Scope,
    pub(super) report: Report,
    /// Recorded frames that have not been received yet.
    expected: HashMap<Key, VecDeque<(u64, Frame)>>,
    outstanding: usize,
    /// Received frames without a recorded counterpart so far, in order.
    early: HashMap<Key, VecDeque<(u64, Frame)>>,
    early_bytes: usize,
    received: u64,
    /// For each topic, the last recorded frame for which the live frame was received.
    last: HashMap<Topic, u64>,
    /// The recorded frame with the filter of the live side.
    recorded_filter: Option<(u64, Frame)>,
    live_filter: Filter,
    /// The live handshake differs from the recorded one, so nothing more can be compared.
    pub(super) derailed: bool,
}

impl Matcher {
    pub(super) fn new(names: Names, scope: Scope, report: Report) -> Self {
        Matcher {
            names,
            scope,
            report,
            expected: HashMap::new(),
            outstanding: 0,
            early: HashMap::new(),
            early_bytes: 0,
            received: 0,
            last: HashMap::new(),
            recorded_filter: None,
            live_filter: Filter::new(),
            derailed: false,
        }
    }

    /// Returns whether a counterpart was received for every recorded frame that was added so far.
    pub(super) fn is_settled(&self) -> bool {
        self.outstanding == 0 || self.derailed
    }

    /// Returns whether the live side subscribes to a recorded topic. Also returns `true` if the recorded side did not subscribe
    /// to it.
    pub(super) fn is_subscribed_to(&self, topic: &Topic) -> bool {
        let recorded_filter = || self.recorded_filter.as_ref().and_then(|(_, frame)| filter(frame));
        !self.scope.topic(topic)
            || self.live_filter.matches(&self.names.live_topic(topic))
            || !recorded_filter().is_some_and(|filter| filter.matches(topic))
    }

    fn translated(&self, frame: &Frame) -> Frame {
        Frame::decode(frame.offset, frame.peered, self.names.translate(frame))
    }

    /// Adds the next recorded frame of the live side.
    pub(super) fn expect(&mut self, entry: Entry) -> Result<(), Failure> {
        // A malformed recorded frame does not end the replay.
        let Ok(frame) = entry.frame else { return Ok(()) };
        if filter(&frame).is_some() {
            self.recorded_filter = Some((entry.index, frame.clone()));
        }
        let Some(key) = self.key(&frame, Topic::clone) else { return Ok(()) };
        if let Some((_, received)) = pop(&mut self.early, &key) {
            self.early_bytes = self.early_bytes.saturating_sub(received.body.len());
            return self.pair(&key, entry.index, &frame, &received);
        }
        self.outstanding = self.outstanding.saturating_add(1);
        self.expected.entry(key).or_default().push_back((entry.index, frame));
        Ok(())
    }

    /// Adds the next received frame of the live side.
    pub(super) fn receive(&mut self, frame: Frame) -> Result<(), Failure> {
        if let Some(filter) = filter(&frame) {
            self.live_filter = filter;
        }
        let Some(key) = self.key(&frame, |topic| self.names.recorded_topic(topic)) else { return Ok(()) };
        if let Some((index, recorded)) = pop(&mut self.expected, &key) {
            self.outstanding = self.outstanding.saturating_sub(1);
            return self.pair(&key, index, &recorded, &frame);
        }
        self.early_bytes = self.early_bytes.saturating_add(frame.body.len());
        if self.early_bytes > MAX_EARLY {
            return Err(Failure::failed(format!(
                "received more than {MAX_EARLY} bytes that the recording does not contain up to this point; check that this is \
                 the right recording"
            )));
        }
        self.received = self.received.saturating_add(1);
        self.early.entry(key).or_default().push_back((self.received, frame));
        Ok(())
    }

    /// Returns the key of a frame, with its topic as recorded, or `None` if it is not compared.
    fn key(&self, frame: &Frame, recorded: impl Fn(&Topic) -> Topic) -> Option<Key> {
        match &frame.content {
            Ok(Content::Handshake(Handshake::Probe)) => None,
            Ok(Content::Handshake(_)) => Some(Key::Handshake),
            Ok(Content::Envelope(envelope)) => match envelope.kind {
                EnvelopeType::Data | EnvelopeType::Command => {
                    let label = label(envelope);
                    let topic = recorded(&envelope.topic);
                    let is_compared = self.scope.message(&topic, &label);
                    is_compared.then_some(Key::Message(topic, label))
                }
                // The answer to BYE is not compared: if the live side leaves first, it does not answer.
                EnvelopeType::Pong if envelope.payload.starts_with(BYE) => None,
                EnvelopeType::Pong => Some(Key::Pong(envelope.payload.clone())),
                EnvelopeType::Ping | EnvelopeType::RoutingUpdate => None,
            },
            Ok(Content::WebSocket(_) | Content::ZeroMq(_)) | Err(_) => Some(Key::Malformed),
        }
    }

    fn pair(&mut self, key: &Key, index: u64, recorded: &Frame, received: &Frame) -> Result<(), Failure> {
        self.report.counts.compared = self.report.counts.compared.saturating_add(1);
        if let (Some(recorded), Some(received)) = (sender(recorded), sender(received)) {
            self.names.endpoint(recorded, received);
        }
        let recorded = self.translated(recorded);
        let mut comparison =
            Comparison { names: &mut self.names, ignore: &self.scope.ignore, found: Vec::new() };
        match (&recorded.content, &received.content) {
            (Ok(Content::Handshake(recorded)), Ok(Content::Handshake(received))) => {
                comparison.handshakes(recorded, received);
                self.derailed = recorded.name() != received.name();
            }
            (Ok(Content::Envelope(recorded)), Ok(Content::Envelope(received))) => {
                if let Key::Message(_, label) = key {
                    comparison.envelopes(label, recorded, received);
                }
            }
            _ => {
                if recorded.body != received.body {
                    comparison.found.push(Difference {
                        at: "malformed".into(),
                        recorded: summary(&recorded),
                        received: summary(received),
                    });
                }
            }
        }
        let found = comparison.found;
        let topic = match key {
            Key::Message(topic, _) => Some(topic.clone()),
            _ => None,
        };
        for Difference { at, recorded, received } in found {
            let topic = topic.clone();
            self.report.finding(&Finding {
                frame: Some(index),
                topic,
                kind: DifferenceKind::Differs,
                at,
                recorded,
                received,
            })?;
        }
        match (topic, key) {
            (Some(topic), Key::Message(_, label)) => self.in_order(topic, label, index, received),
            _ => Ok(()),
        }
    }

    fn in_order(&mut self, topic: Topic, label: &str, index: u64, received: &Frame) -> Result<(), Failure> {
        let last = self.last.entry(topic.clone()).or_insert(index);
        if *last <= index {
            *last = index;
            return Ok(());
        }
        let at = format!("{label}, after frame {last}");
        self.report.finding(&Finding {
            frame: Some(index),
            topic: Some(topic),
            kind: DifferenceKind::Order,
            at,
            recorded: Seen::Nothing,
            received: summary(received),
        })
    }

    /// Reports missing and additional frames, and differences between the filters.
    pub(super) fn finish(&mut self, whole: bool) -> Result<(), Failure> {
        let missing = sorted(std::mem::take(&mut self.expected));
        for (key, index, frame) in missing {
            let (topic, at) = name(&key);
            let recorded = summary(&self.translated(&frame));
            let kind = DifferenceKind::Missing;
            self.report.finding(&Finding {
                frame: Some(index),
                topic,
                kind,
                at,
                recorded,
                received: Seen::Nothing,
            })?;
        }
        for (key, _, frame) in sorted(std::mem::take(&mut self.early)) {
            let (topic, at) = name(&key);
            let received = summary(&frame);
            let kind = DifferenceKind::Extra;
            self.report.finding(&Finding {
                frame: None,
                topic,
                kind,
                at,
                recorded: Seen::Nothing,
                received,
            })?;
        }
        if whole { self.compare_filters() } else { Ok(()) }
    }

    fn compare_filters(&mut self) -> Result<(), Failure> {
        let Some((frame, recorded)) = &self.recorded_filter else { return Ok(()) };
        let frame = Some(*frame);
        let recorded = filter(&self.translated(recorded)).unwrap_or_default();
        let live = std::mem::take(&mut self.live_filter);
        let both = [(&recorded, &live, true), (&live, &recorded, false)];
        for (one, other, is_recorded) in both {
            let entries = one.topics().iter().filter(|entry| !other.topics().contains(entry));
            for entry in entries.filter(|entry| self.scope.subscription(entry)) {
                let entry = Seen::Words(format!("a subscription to {}", entry.to_str_lossy()));
                let nothing = Seen::Words("none".into());
                let (recorded, received) = if is_recorded { (entry, nothing) } else { (nothing, entry) };
                let at = "filter".to_owned();
                self.report.finding(&Finding {
                    frame,
                    topic: None,
                    kind: DifferenceKind::Filter,
                    at,
                    recorded,
                    received,
                })?;
            }
        }
        Ok(())
    }
}

fn pop(queues: &mut HashMap<Key, VecDeque<(u64, Frame)>>, key: &Key) -> Option<(u64, Frame)> {
    let queue = queues.get_mut(key)?;
    let first = queue.pop_front();
    if queue.is_empty() {
        queues.remove(key);
    }
    first
}

fn sorted(queues: HashMap<Key, VecDeque<(u64, Frame)>>) -> Vec<(Key, u64, Frame)> {
    let all = queues
        .into_iter()
        .flat_map(|(key, queue)| queue.into_iter().map(move |(index, frame)| (key.clone(), index, frame)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, index, _)| *index);
    all
}

fn name(key: &Key) -> (Option<Topic>, String) {
    match key {
        Key::Handshake => (None, "handshake".into()),
        Key::Message(topic, label) => (Some(topic.clone()), label.clone()),
        Key::Pong(_) => (None, "pong".into()),
        Key::Malformed => (None, "malformed".into()),
    }
}

/// Returns the complete content of a frame as JSON.
fn summary(frame: &Frame) -> Seen {
    match &frame.content {
        Ok(Content::Handshake(message)) => Seen::Words(message.to_json().to_string()),
        Ok(Content::Envelope(envelope)) => match envelope.value(&Limits::DEFAULT) {
            Ok(value) if envelope.kind == EnvelopeType::Data => Seen::Value(value),
            _ => Seen::Words(words(envelope)),
        },
        // Cannot occur: such a recording is refused before, and the bytes of the live side are read as Broker's protocol.
        Ok(Content::WebSocket(_)) => Seen::Words(format!("{} bytes of the WebSocket API", frame.body.len())),
        Ok(Content::ZeroMq(_)) => Seen::Words(format!("{} bytes of ZeroMQ", frame.body.len())),
        Err(error) => Seen::Words(format!("{} bytes: {error}", frame.body.len())),
    }
}

fn words(envelope: &Envelope) -> String {
    match envelope.command(&Limits::DEFAULT) {
        Ok(command) if envelope.kind == EnvelopeType::Command => command.to_string(),
        _ => format!("{} of {} bytes", envelope.kind, envelope.payload.len()),
    }
}

/// Returns the filter in a frame, if it has one.
fn filter(frame: &Frame) -> Option<Filter> {
    match &frame.content {
        Ok(Content::Handshake(Handshake::OriginatorSyn(filter) | Handshake::ResponderSynAck(filter))) => {
            Some(filter.clone())
        }
        Ok(Content::Envelope(envelope)) if envelope.kind == EnvelopeType::RoutingUpdate => {
            envelope.filter(&Limits::DEFAULT).ok()
        }
        _ => None,
    }
}

/// Returns the sender of a handshake message.
pub(super) fn sender(frame: &Frame) -> Option<zeek_bridge::data::EndpointId> {
    match &frame.content {
        Ok(Content::Handshake(
            Handshake::Hello { sender, .. }
            | Handshake::VersionSelect { sender, .. }
            | Handshake::DropConn { sender, .. },
        )) => Some(*sender),
        _ => None,
    }
}
