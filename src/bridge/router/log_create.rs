//! `LogCreate` messages, which a Zeek with log streams sends to each new peer, regardless of its subscriptions.

use crate::data::EndpointId;
use crate::wire::{Envelope, EnvelopeType, Limits, ValueRef};

/// The prefix of the topics of log messages: `Broker::default_log_topic_prefix`, followed by the stream.
const LOG_TOPICS: &[u8] = b"zeek/logs/";

/// The kind of message in Zeek's envelope (`[version, kind, content]`).
const LOG_CREATE: u64 = 2;

/// The reason under which `LogCreate` messages that no rule allows are counted. They do not indicate a missing rule,
/// because Zeek sends them even if the bridge does not subscribe to the logs.
pub(in crate::bridge) const REASON: &str = "log_create";

/// Returns whether this is a `LogCreate` that is addressed to the endpoint `own`. The bridge receives the message on
/// behalf of the subscribers on its other links.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Topic, Value};

    #[test]
    fn a_log_create_is_recognized_by_receiver_type_topic_and_kind() {
        let own = EndpointId::from_bytes([1; 16]);
        let message = |kind: u64| Value::Vector(vec![1u64.into(), kind.into(), Value::Vector(Vec::new())]);
        let envelope = |topic: &'static str, value: &Value| Envelope {
            receiver: own,
            ..Envelope::data(EndpointId::NIL, Topic::from_static(topic), value).unwrap()
        };
        let log_create = envelope("zeek/logs/conn", &message(2));
        let is_one = |envelope: &Envelope| is_addressed_to(own, envelope, &Limits::DEFAULT);
        assert!(is_one(&log_create));
        assert!(!is_one(&Envelope { receiver: EndpointId::NIL, ..log_create.clone() }));
        assert!(!is_one(&Envelope { kind: EnvelopeType::Command, ..log_create }));
        assert!(!is_one(&envelope("zeek/log", &message(2))));
        assert!(!is_one(&envelope("zeek/logs/conn", &message(3))), "a LogWrite");
        assert!(!is_one(&envelope("zeek/logs/conn", &Value::Count(2))));
    }
}
