//! `LogCreate` messages, which a Zeek with log streams sends to each new peer, regardless of its subscriptions.

use crate::data::EndpointId;
use crate::wire::{Envelope, EnvelopeType, Limits, ValueRef};

/// The prefix of the topics of log messages: `Broker::default_log_topic_prefix`, followed by the stream.
const LOG_TOPICS: &[u8] = b"zeek/logs/";

/// The kind of message in Zeek's envelope (`[version, kind, content]`).
const LOG_CREATE: u64 = 2;

/// The reason under which they are counted if no rule allows them. That does not indicate a missing rule, because Zeek sends them
/// without a subscription.
pub(in crate::bridge) const REASON: &str = "log_create";

/// Returns whether this is a `LogCreate` addressed to the endpoint `own`. The bridge receives it on behalf of the subscribers
/// on its other links.
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
