//! `LogCreate` messages, which a Zeek with log streams sends to each new peer by itself, whatever that subscribes to.

use crate::data::EndpointId;
use crate::wire::{Envelope, EnvelopeType, Limits, ValueRef};

/// The prefix of the topics of log messages: `Broker::default_log_topic_prefix`, followed by the stream.
const LOG_TOPICS: &[u8] = b"zeek/logs/";

/// The kind of message in Zeek's envelope (`[version, kind, content]`).
const LOG_CREATE: u64 = 2;

/// The reason under which they are counted where no rule is for them. That is no sign of a missing rule: Zeek asks nobody
/// before it sends them.
pub(in crate::bridge) const REASON: &str = "log_create";

/// Whether this is a `LogCreate` that was addressed to the endpoint `own`. The bridge is the peer that it was meant for,
/// in the place of whoever is behind it.
pub(in crate::bridge) fn is_addressed_to(own: EndpointId, envelope: &Envelope, limits: &Limits) -> bool {
    envelope.receiver == own
        && envelope.kind == EnvelopeType::Data
        && envelope.topic.as_bytes().starts_with(LOG_TOPICS)
        && is_log_create(&envelope.payload, limits)
}

fn is_log_create(payload: &[u8], limits: &Limits) -> bool {
    let Ok(ValueRef::Vector(mut elements)) = ValueRef::decode(payload, limits) else { return false };
    matches!(elements.nth(1), Some(ValueRef::Count(LOG_CREATE)))
}
