//! Classes of events for which the rules for a peer make the same decision, so that the rules are evaluated once for each class.

use bytes::Bytes;
use nom::bytes::complete::{tag, take};
use nom::{IResult, Parser};

use super::payload::is_metadata;
use crate::data::Topic;
use crate::wire::{Envelope, EnvelopeType, Limits, RemainingValues, ValueRef};

/// The first bytes of each event: a vector of the version, the kind and the content (`PROTOCOL.md`, sections 5 and 6).
const START: [u8; 21] = [14, 3, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 14];

/// The number of values up to the name: the message, its three elements, and the name.
const VALUES: usize = 5;

/// The number of vectors that contain the arguments.
const DEPTH: usize = 2;

/// The valid events with the same topic and name. The rules make the same decision for all of them, except for events of the node API and
/// for the events with which the nodes of a ZeroMQ cluster find each other.
#[derive(Debug)]
pub(crate) struct EventClass {
    topic: Topic,
    /// The payload up to the end of the name.
    head: Bytes,
    has_metadata: bool,
}

impl EventClass {
    /// Returns the class of an event. Returns `None` for events whose name is not UTF-8 or has 64 bytes or more, and for other messages.
    pub(crate) fn of(envelope: &Envelope) -> Option<Self> {
        let (rest, has_metadata) = head(&envelope.payload).ok()?;
        let head = envelope.payload.len().checked_sub(rest.len())?;
        let (topic, head) = (envelope.topic.clone(), envelope.payload.slice(..head));
        Some(EventClass { topic, head, has_metadata })
    }

    /// Returns whether a message is of this class if it is valid.
    pub(crate) fn may_contain(&self, envelope: &Envelope) -> bool {
        envelope.kind == EnvelopeType::Data
            && envelope.payload.starts_with(&self.head)
            && envelope.topic == self.topic
    }

    /// If a message for which [`EventClass::may_contain`] is true is valid, returns the name of the event.
    pub(crate) fn name_of<'a>(&self, envelope: &'a Envelope, limits: &Limits) -> Option<&'a [u8]> {
        let (head, rest) = envelope.payload.split_at_checked(self.head.len())?;
        let mut rest = RemainingValues::new(rest, VALUES, DEPTH, limits)?;
        let is_valid = rest.skip_vector()
            && (!self.has_metadata
                || rest.take_value().is_some_and(|bytes| is_valid_metadata(bytes, limits)));
        (is_valid && rest.is_empty()).then(|| head.get(START.len().saturating_add(3)..))?
    }
}

fn is_valid_metadata(bytes: &[u8], limits: &Limits) -> bool {
    ValueRef::decode(bytes, limits).is_ok_and(|metadata| is_metadata(&metadata))
}

/// Reads an event up to the end of its name. Returns whether it has metadata.
fn head(payload: &[u8]) -> IResult<&[u8], bool> {
    /// The tag of a string.
    const STRING: u8 = 5;
    let (input, _) = tag(&START[..]).parse(payload)?;
    let (input, fixed) = take(3usize).parse(input)?;
    match *fixed {
        [elements @ (2 | 3), STRING, length @ ..64] => {
            let (rest, name) = take(length).parse(input)?;
            if std::str::from_utf8(name).is_ok() { Ok((rest, elements == 3)) } else { Err(no_event(input)) }
        }
        _ => Err(no_event(input)),
    }
}

fn no_event(input: &[u8]) -> nom::Err<nom::error::Error<&[u8]>> {
    nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Tag))
}
