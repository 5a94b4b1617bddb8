//! Messages as lines of JSON.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value as Json, json};
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::Message;
use zeek_bridge::zeek::{Event, ZeekMessage};

use super::message::{Content, peer};
use crate::output::{identity_json, to_line};

/// Returns a message as a line: a Zeek event with its parts, anything else as a value.
pub(super) fn line(message: &Message, content: &Content, identity: bool) -> Vec<u8> {
    let decoded;
    let content = match content {
        Content::Zeek(ZeekMessage::Event(event)) => Document::Event(EventDocument::new(event, |value| value)),
        Content::Value(value) => Document::Value { value },
        Content::Zeek(_) => {
            decoded = message.value();
            Document::Value { value: &decoded }
        }
    };
    to_line(&Line::new(message, identity, content))
}

/// A line: the origin of a message and its content.
#[derive(Serialize)]
pub(super) struct Line<'a, C> {
    time: String,
    peer: String,
    /// `Some(None)` if the identity is requested and the peer has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Option<Json>>,
    topic: &'a Topic,
    #[serde(flatten)]
    content: C,
}

impl<'a, C> Line<'a, C> {
    pub(super) fn new(message: &'a Message, identity: bool, content: C) -> Self {
        Line {
            time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            peer: peer(message),
            identity: identity.then(|| identity_of(message)),
            topic: message.topic(),
            content,
        }
    }
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

#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Event(EventDocument<'a, &'a Value>),
    Value { value: &'a Value },
}

/// An event with values of the type `V`.
#[derive(Serialize)]
pub(super) struct EventDocument<'a, V> {
    event: &'a str,
    args: Vec<V>,
    metadata: Option<Vec<Metadata<V>>>,
}

#[derive(Serialize)]
struct Metadata<V> {
    id: u64,
    value: V,
}

impl<'a, V> EventDocument<'a, V> {
    pub(super) fn new(event: &'a Event, convert: impl Fn(&'a Value) -> V) -> Self {
        let entry = |(id, value): &'a (u64, Value)| Metadata { id: *id, value: convert(value) };
        EventDocument {
            event: &event.name,
            args: event.args.iter().map(&convert).collect(),
            metadata: event.metadata.as_ref().map(|metadata| metadata.iter().map(entry).collect()),
        }
    }
}
