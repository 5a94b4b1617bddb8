//! The JSON of events in sessions of the WebSocket API and of the ZeroMQ back end.

use serde_json::{Value as Json, json};

use super::LIMITS;
use super::json::{put_member, put_name};
use crate::data::{AsJson, Value};
use crate::wire::Envelope;
use crate::zeek::{Event, ZeekMessage};

/// Appends the members of a message: for an event, as `tap` prints them; for any other value, `kind`, `topic` and `value`.
pub(super) fn write_message(envelope: &Envelope, to: &mut Vec<u8>) {
    // Cannot fail: the value was encoded when the message was read.
    let value = envelope.value(LIMITS).unwrap_or_default();
    let event = match ZeekMessage::from_value(value.clone()) {
        Ok(ZeekMessage::Event(event)) => Some(event),
        _ => None,
    };
    put_member(to, "kind", if event.is_some() { "event" } else { "value" });
    put_member(to, "topic", json!(AsJson(envelope.topic.as_bytes())));
    match event {
        Some(event) => write_event(&event, to),
        None => put_value(to, "value", &value),
    }
}

fn write_event(event: &Event, to: &mut Vec<u8>) {
    put_member(to, "event", event.name.as_str());
    put_list(to, "args", &event.args, |to, value| {
        // Cannot fail: it writes to memory.
        let _ = value.write_json(to);
    });
    let Some(metadata) = &event.metadata else { return put_member(to, "metadata", Json::Null) };
    put_list(to, "metadata", metadata, |to, (id, value)| {
        to.push(b'{');
        put_member(to, "id", *id);
        put_value(to, "value", value);
        to.push(b'}');
    });
}

fn put_value(to: &mut Vec<u8>, name: &str, value: &Value) {
    put_name(to, name);
    // Cannot fail: it writes to memory.
    let _ = value.write_json(to);
}

fn put_list<T>(to: &mut Vec<u8>, name: &str, elements: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_name(to, name);
    to.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            to.push(b',');
        }
        put(to, element);
    }
    to.push(b']');
}
