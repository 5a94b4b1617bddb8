//! What a data payload is, read where it stands.
//!
//! Two questions are asked at once: what might anybody take this for, and is it exactly what Zeek writes.

use super::denial::Fault;
use super::node_events::{NodeApiEvent, is_node_api};
use crate::data::Value;
use crate::wire::{Elements, Envelope, Limits, ValueRef};
use crate::zeek::{MAX_BATCH_DEPTH, METADATA_NETWORK_TIMESTAMP};

const EVENT: u64 = 1;
const BATCH: u64 = 5;

/// A data payload.
#[derive(Debug)]
pub(super) enum PayloadKind<'a> {
    /// An event, and what is wrong with its form.
    Event { name: &'a [u8], flaw: Option<&'static str>, api: Option<NodeApiEvent> },
    /// A batch that holds no event of the node API.
    Batch(Batch<'a>),
    /// A batch that holds one, of this name.
    BatchedNodeApi(&'a [u8]),
    /// A message of another kind.
    NoEvent,
    /// A value that is no message of Zeek's.
    NoMessage(&'static str),
    /// What cannot be read.
    Opaque(Fault),
}

/// The elements of a batch that is not too deep.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    elements: Elements<'a>,
    flaw: Option<&'static str>,
}

impl<'a> PayloadKind<'a> {
    pub(super) fn at(envelope: &'a Envelope, limits: &Limits) -> Self {
        let value = match ValueRef::decode(&envelope.payload, limits) {
            Ok(value) => value,
            Err(error) => {
                return PayloadKind::Opaque(Fault::Decode(error.shifted(envelope.payload_offset())));
            }
        };
        match part(&value) {
            Part::Event { name, args, flaw } => {
                let whole = || value.to_value();
                let args = || args.map_or(Value::None, |args| args.to_value());
                let api = is_node_api(name).then(|| NodeApiEvent::read(name, whole, args));
                PayloadKind::Event { name, flaw, api }
            }
            Part::Batch(batch) => match batch.search(MAX_BATCH_DEPTH) {
                Search::Nothing => PayloadKind::Batch(batch),
                Search::NodeApiEvent(name) => PayloadKind::BatchedNodeApi(name),
                Search::TooDeep => {
                    PayloadKind::Opaque(Fault::Text("batches stand too deep inside each other"))
                }
            },
            Part::NoEvent => PayloadKind::NoEvent,
            Part::NoMessage(flaw) => PayloadKind::NoMessage(flaw),
        }
    }
}

/// A message as it may also stand in a batch.
enum Part<'a> {
    Event { name: &'a [u8], args: Option<ValueRef<'a>>, flaw: Option<&'static str> },
    Batch(Batch<'a>),
    NoEvent,
    NoMessage(&'static str),
}

/// `[version, kind, content]` and perhaps more, which some readers ignore.
fn part<'a>(value: &ValueRef<'a>) -> Part<'a> {
    let ValueRef::Vector(elements) = value else { return Part::NoMessage("not a vector") };
    let mut elements = elements.clone();
    let length = elements.len();
    let (Some(version), Some(kind), Some(content)) = (elements.next(), elements.next(), elements.next())
    else {
        return Part::NoMessage("not version, kind and content");
    };
    let (number, is_count) = match kind {
        ValueRef::Count(number) => (number, true),
        ValueRef::Integer(number) => (u64::try_from(number).unwrap_or_default(), false),
        _ => return Part::NoMessage("the kind is no count"),
    };
    let flaw = if length != 3 {
        Some("more than version, kind and content")
    } else if version != ValueRef::Count(1) {
        Some("the version is not 1")
    } else if !is_count {
        Some("the kind is no count")
    } else {
        None
    };
    match (number, content, flaw) {
        (EVENT, ValueRef::Vector(content), flaw) => event(content, flaw),
        (EVENT, ..) => Part::NoMessage("the event is no vector"),
        (BATCH, ValueRef::Vector(elements), flaw) => Part::Batch(Batch { elements, flaw }),
        (BATCH, ..) => Part::NoMessage("the batch is no vector"),
        (_, _, Some(flaw)) => Part::NoMessage(flaw),
        (2..=4, ..) => Part::NoEvent,
        _ => Part::NoMessage("an unknown kind"),
    }
}

/// `[name, args]` or `[name, args, metadata]` and perhaps more, which some readers ignore.
fn event<'a>(mut content: Elements<'a>, flaw: Option<&'static str>) -> Part<'a> {
    let length = content.len();
    let name = content.next();
    let (name, is_string) = match &name {
        Some(ValueRef::String(name)) => (*name, true),
        Some(ValueRef::EnumValue(name)) => (*name, false),
        _ => return Part::NoMessage("the event's name is no string"),
    };
    let args = content.next();
    let flaw = flaw.or_else(|| {
        if !is_string || std::str::from_utf8(name).is_err() {
            Some("the event's name is no text")
        } else if !(2..=3).contains(&length) {
            Some("the event is not name, arguments and perhaps metadata")
        } else if !matches!(args, Some(ValueRef::Vector(_))) {
            Some("the event's arguments are no vector")
        } else {
            content.next().filter(|metadata| !is_metadata(metadata)).map(|_| "the event's metadata is none")
        }
    });
    Part::Event { name, args, flaw }
}

fn is_metadata(value: &ValueRef<'_>) -> bool {
    let ValueRef::Vector(entries) = value else { return false };
    entries.clone().all(|entry| {
        let ValueRef::Vector(mut entry) = entry else { return false };
        match (entry.len(), entry.next(), entry.next()) {
            (2, Some(ValueRef::Count(METADATA_NETWORK_TIMESTAMP)), value) => {
                matches!(value, Some(ValueRef::Timestamp(_)))
            }
            (2, Some(ValueRef::Count(_)), _) => true,
            _ => false,
        }
    })
}

/// What is looked for in a batch.
enum Search<'a> {
    Nothing,
    NodeApiEvent(&'a [u8]),
    TooDeep,
}

impl<'a> Batch<'a> {
    /// Goes at most `depth` batches deep.
    fn search(&self, depth: usize) -> Search<'a> {
        let Some(depth) = depth.checked_sub(1) else { return Search::TooDeep };
        for element in self.elements.clone() {
            match part(&element) {
                Part::Event { name, .. } if is_node_api(name) => return Search::NodeApiEvent(name),
                Part::Batch(inner) => match inner.search(depth) {
                    Search::Nothing => {}
                    found => return found,
                },
                Part::Event { .. } | Part::NoEvent | Part::NoMessage(_) => {}
            }
        }
        Search::Nothing
    }

    /// Whether it holds something, and nothing but events that `fits` is true of. Unless `loose`, they and the
    /// batches have to be exactly as Zeek writes them.
    ///
    /// Recurses as deep as the search that found it not too deep.
    pub(super) fn holds_only(&self, loose: bool, fits: &impl Fn(&[u8]) -> bool) -> bool {
        (loose || self.flaw.is_none())
            && self.elements.len() > 0
            && self.elements.clone().all(|element| match part(&element) {
                Part::Event { name, flaw, .. } => (loose || flaw.is_none()) && fits(name),
                Part::Batch(inner) => inner.holds_only(loose, fits),
                Part::NoEvent | Part::NoMessage(_) => false,
            })
    }
}
