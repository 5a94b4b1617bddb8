//! Classification of data payloads, without decoding more than the rules need.
//!
//! The classification answers two questions. Which messages could any receiver find in the payload? Is the payload
//! exactly as Zeek writes it? If it is, `flaw` is `None`.

use super::denial::Fault;
use super::node_events::{NodeApiEvent, is_node_api};
use crate::data::Value;
use crate::wire::{Elements, Envelope, Limits, ValueRef};
use crate::zeek::{MAX_BATCH_DEPTH, METADATA_NETWORK_TIMESTAMP};

const EVENT: u64 = 1;
const BATCH: u64 = 5;

/// The kind of a data payload.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a temporary value; a box would allocate memory for each message"
)]
pub(super) enum PayloadKind<'a> {
    Event {
        name: &'a [u8],
        args: Option<ValueRef<'a>>,
        flaw: Option<&'static str>,
        node_api: Option<NodeApiEvent>,
    },
    /// A batch without events of the node API.
    Batch(Batch<'a>),
    /// A batch that contains an event of the node API with this name.
    BatchedNodeApi(&'a [u8]),
    /// A message that is neither an event nor a batch.
    OtherMessage,
    /// A value that is not a Zeek message.
    NotMessage(&'static str),
    /// A payload that cannot be decoded.
    Undecodable(Fault),
}

/// The elements of a batch whose nesting depth is within the limit.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    elements: Elements<'a>,
    flaw: Option<&'static str>,
}

impl<'a> PayloadKind<'a> {
    pub(super) fn of(envelope: &'a Envelope, limits: &Limits) -> Self {
        let value = match ValueRef::decode(&envelope.payload, limits) {
            Ok(value) => value,
            Err(error) => {
                return PayloadKind::Undecodable(Fault::Decode(error.shifted(envelope.payload_offset())));
            }
        };
        match MessageKind::of(&value) {
            MessageKind::Event { name, args, flaw } => {
                let payload = || value.to_value();
                let values = || args.as_ref().map_or(Value::None, ValueRef::to_value);
                let node_api = is_node_api(name).then(|| NodeApiEvent::decode(name, payload, values));
                PayloadKind::Event { name, args, flaw, node_api }
            }
            MessageKind::Batch(batch) => match batch.search(MAX_BATCH_DEPTH) {
                Search::Nothing => PayloadKind::Batch(batch),
                Search::NodeApi(name) => PayloadKind::BatchedNodeApi(name),
                Search::TooDeep => PayloadKind::Undecodable(Fault::Text("batches are nested too deep")),
            },
            MessageKind::Other => PayloadKind::OtherMessage,
            MessageKind::Invalid(flaw) => PayloadKind::NotMessage(flaw),
        }
    }
}

/// The kind of a message, which may be an element of a batch.
enum MessageKind<'a> {
    Event { name: &'a [u8], args: Option<ValueRef<'a>>, flaw: Option<&'static str> },
    Batch(Batch<'a>),
    Other,
    Invalid(&'static str),
}

impl<'a> MessageKind<'a> {
    /// Classifies `[version, kind, content]`, and possibly more elements, which some receivers ignore.
    fn of(value: &ValueRef<'a>) -> Self {
        let ValueRef::Vector(elements) = value else { return MessageKind::Invalid("not a vector") };
        let mut elements = elements.clone();
        let length = elements.len();
        let (Some(version), Some(kind), Some(content)) = (elements.next(), elements.next(), elements.next())
        else {
            return MessageKind::Invalid("fewer than three elements (version, kind, content)");
        };
        let (number, is_count) = match kind {
            ValueRef::Count(number) => (number, true),
            ValueRef::Integer(number) => (u64::try_from(number).unwrap_or_default(), false),
            _ => return MessageKind::Invalid("the kind is not a count"),
        };
        let flaw = if length != 3 {
            Some("more than three elements (version, kind, content)")
        } else if version != ValueRef::Count(1) {
            Some("the version is not 1")
        } else if !is_count {
            Some("the kind is not a count")
        } else {
            None
        };
        match (number, content, flaw) {
            (EVENT, ValueRef::Vector(content), flaw) => Self::event(content, flaw),
            (EVENT, ..) => MessageKind::Invalid("the event is not a vector"),
            (BATCH, ValueRef::Vector(elements), flaw) => MessageKind::Batch(Batch { elements, flaw }),
            (BATCH, ..) => MessageKind::Invalid("the batch is not a vector"),
            (_, _, Some(flaw)) => MessageKind::Invalid(flaw),
            (2..=4, ..) => MessageKind::Other,
            _ => MessageKind::Invalid("the kind is unknown"),
        }
    }

    /// Classifies `[name, args]` or `[name, args, metadata]`, and possibly more elements, which some receivers ignore.
    fn event(mut content: Elements<'a>, flaw: Option<&'static str>) -> Self {
        let length = content.len();
        let name = content.next();
        let (name, is_string) = match &name {
            Some(ValueRef::String(name)) => (*name, true),
            Some(ValueRef::EnumValue(name)) => (*name, false),
            _ => return MessageKind::Invalid("the name of the event is not a string"),
        };
        let args = content.next();
        let flaw = flaw.or_else(|| {
            if !is_string || std::str::from_utf8(name).is_err() {
                Some("the name of the event is not a UTF-8 string")
            } else if !(2..=3).contains(&length) {
                Some("the event does not have two or three elements (name, arguments, metadata)")
            } else if !matches!(args, Some(ValueRef::Vector(_))) {
                Some("the arguments of the event are not a vector")
            } else {
                let invalid = content.next().filter(|metadata| !is_metadata(metadata));
                invalid.map(|_| "the metadata of the event is invalid")
            }
        });
        MessageKind::Event { name, args, flaw }
    }
}

pub(super) fn is_metadata(value: &ValueRef<'_>) -> bool {
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

/// The result of a search for events of the node API in a batch.
enum Search<'a> {
    Nothing,
    NodeApi(&'a [u8]),
    TooDeep,
}

impl<'a> Batch<'a> {
    /// Searches at most `depth` levels of batches.
    fn search(&self, depth: usize) -> Search<'a> {
        let Some(depth) = depth.checked_sub(1) else { return Search::TooDeep };
        for element in self.elements.clone() {
            match MessageKind::of(&element) {
                MessageKind::Event { name, .. } if is_node_api(name) => return Search::NodeApi(name),
                MessageKind::Batch(inner) => match inner.search(depth) {
                    Search::Nothing => {}
                    found => return found,
                },
                MessageKind::Event { .. } | MessageKind::Other | MessageKind::Invalid(_) => {}
            }
        }
        Search::Nothing
    }

    /// Returns whether the batch is not empty and contains only events for which `matches` returns true. Unless `lenient`,
    /// the events and batches also have to be exactly as Zeek writes them.
    ///
    /// The recursion is bounded, because [`Batch::search`] has checked the depth before.
    pub(super) fn contains_only(&self, lenient: bool, matches: &impl Fn(&[u8]) -> bool) -> bool {
        (lenient || self.flaw.is_none())
            && self.elements.len() > 0
            && self.elements.clone().all(|element| match MessageKind::of(&element) {
                MessageKind::Event { name, flaw, .. } => (lenient || flaw.is_none()) && matches(name),
                MessageKind::Batch(inner) => inner.contains_only(lenient, matches),
                MessageKind::Other | MessageKind::Invalid(_) => false,
            })
    }
}
