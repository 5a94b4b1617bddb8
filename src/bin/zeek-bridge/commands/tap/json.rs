//! Messages as lines of JSON.

use std::time::SystemTime;

use serde_json::{Value as Json, json};
use zeek_bridge::data::Value;
use zeek_bridge::endpoint::Message;
use zeek_bridge::zeek::{Event, ZeekMessage};

use super::message::{Content, peer};
use crate::output::{Object, identity_json, text};

/// Returns a message as an object: a Zeek event with its parts, anything else as a value.
pub(super) fn object(message: &Message, content: &Content, identity: bool) -> Object {
    let object = header(message, identity);
    match content {
        Content::Value(value) => object.with_value("value", value),
        Content::Zeek(ZeekMessage::Event(event)) => parts(object, event),
        Content::Zeek(_) => object.with_value("value", &message.value()),
    }
}

/// Returns an object with the time of the message, its peer, the peer's identity if requested, and its topic.
pub(super) fn header(message: &Message, identity: bool) -> Object {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let object = Object::new().with("time", time).with("peer", peer(message));
    let object = match identity {
        true => object.with("identity", identity_of(message)),
        false => object,
    };
    object.with("topic", text(message.topic().as_bytes()))
}

/// Returns the identity in the certificate of a message's peer, with the name of its token.
fn identity_of(message: &Message) -> Option<Json> {
    let certificate = message.identity().map(identity_json);
    let Some(token) = message.websocket().and_then(|peer| peer.token.as_deref()) else { return certificate };
    let mut identity = certificate.unwrap_or_else(|| json!({}));
    if let Some(object) = identity.as_object_mut() {
        object.insert("token".to_owned(), token.into());
    }
    Some(identity)
}

fn parts(object: Object, event: &Event) -> Object {
    let object = object.with("event", event.name.as_str()).with_values("args", &event.args);
    let Some(metadata) = &event.metadata else { return object.with("metadata", None::<u64>) };
    let entry =
        |(id, value): &(u64, Value)| Object::new().with("id", *id).with_value("value", value).into_line();
    let entries = metadata.iter().map(entry).collect::<Vec<_>>().join(&b',');
    object.with_bytes("metadata", &[b"[", entries.as_slice(), b"]"].concat())
}
