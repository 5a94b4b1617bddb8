//! Reading of v1 JSON (`PROTOCOL.md`, section 10).

use crate::data::{
    EndpointId, Filter, JsonDocument, JsonError, JsonLimits, JsonNode, Topic, WrongType, one_line,
};
use crate::peering::Notice;
use crate::wire::{Envelope, Limits};
use crate::zeek::v1::{NotAnEvent, checked_event, json_limits};

/// The message with which a server answers the subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ack { endpoint: String, version: String },
    Error(Notice),
    Other,
}

/// A message of an established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Data(Envelope),
    Error(Notice),
}

/// Why a message is not a data message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Json(JsonError),
    NoTopic,
    NotAnEvent,
}

impl Fault {
    /// Returns the context of Zeek's error. The code is `deserialization_failed`.
    pub(super) fn context(&self) -> &'static str {
        match self {
            Fault::Json(_) => "failed to decode JSON object",
            Fault::NoTopic => "no topic in top-level JSON object",
            Fault::NotAnEvent => "failed to create Zeek event",
        }
    }

    /// Returns the error for the log.
    pub(super) fn into_error(self) -> JsonError {
        match self {
            Fault::Json(error) => error,
            Fault::NoTopic => {
                WrongType::new("a message with a topic of at most 65535 bytes", "no such topic").into()
            }
            Fault::NotAnEvent => WrongType::new("a Zeek message that is an event", "something else").into(),
        }
    }
}

/// Reads a message of an established session. Only a server sends errors.
pub(super) fn message(
    text: &[u8],
    sender: EndpointId,
    from_server: bool,
    limits: &Limits,
) -> Result<Message, Fault> {
    let document = JsonDocument::parse(text, &json_limits(limits)).map_err(Fault::Json)?;
    let root = document.root();
    if from_server && let Some(error) = error(root) {
        return Ok(Message::Error(error));
    }
    // The checks are in the same order as in Zeek, so that the errors are the same.
    let value = root.to_value().map_err(Fault::Json)?;
    let topic = root.get("topic").and_then(JsonNode::as_bytes).ok_or(Fault::NoTopic)?;
    let topic = Topic::new(topic.into_owned()).map_err(|_| Fault::NoTopic)?;
    let value = checked_event(value).map_err(|NotAnEvent| Fault::NotAnEvent)?;
    Envelope::data(sender, topic, &value).map(Message::Data).map_err(|_| Fault::NotAnEvent)
}

/// Reads an error. Zeek 7.2 calls the context `message`.
fn error(root: JsonNode<'_>) -> Option<Notice> {
    if text(root, "type")? != "error" {
        return None;
    }
    let context = text(root, "context").or_else(|| text(root, "message")).unwrap_or_default();
    let code = text(root, "code").unwrap_or_default();
    Some(Notice { code: one_line(&code).into(), context: one_line(&context).into() })
}

fn text(root: JsonNode<'_>, name: &str) -> Option<String> {
    let bytes = root.get(name)?.as_bytes()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the answer to the subscriptions.
pub(super) fn answer(text: &[u8], limits: &Limits) -> Answer {
    let Ok(document) = JsonDocument::parse(text, &json_limits(limits)) else { return Answer::Other };
    let root = document.root();
    if let Some(error) = error(root) {
        return Answer::Error(error);
    }
    let member = |name| self::text(root, name);
    match (member("type").as_deref(), member("endpoint"), member("version")) {
        (Some("ack"), Some(endpoint), Some(version)) => Answer::Ack { endpoint, version },
        _ => Answer::Other,
    }
}

/// Reads the subscriptions of a client. Fails with the context of Zeek's error, whose code is `deserialization_failed`.
pub(super) fn subscriptions(text: &[u8], limits: &Limits) -> Result<Filter, &'static str> {
    const NOT_AN_ARRAY: &str = "subscriptions not an array";
    // The array and its topics.
    let max_nodes = limits.max_filter_topics.saturating_add(1);
    let document = JsonDocument::parse(text, &JsonLimits { max_nodes, ..json_limits(limits) });
    let document = match document {
        Err(JsonError::TooManyNodes { .. }) => return Err("too many subscriptions"),
        Err(_) => return Err(NOT_AN_ARRAY),
        Ok(document) => document,
    };
    let mut length = 0usize;
    document
        .root()
        .elements()
        .ok_or(NOT_AN_ARRAY)?
        .map(|element| {
            let topic = element.as_bytes().ok_or("individual subscription not a string")?;
            length = length.saturating_add(topic.len());
            if length > limits.max_filter_bytes {
                return Err("subscriptions too long");
            }
            Topic::new(topic.into_owned()).map_err(|_| "individual subscription too long")
        })
        .collect()
}
