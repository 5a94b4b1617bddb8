//! The content of a message and its parts.

use std::borrow::Cow;

use zeek_bridge::data::{ByteString, Value};
use zeek_bridge::endpoint::Message;
use zeek_bridge::zeek::{Event, IdentifierUpdate, LogCreate, LogWrite, ZeekMessage};

/// The decoded content of a message.
pub(super) enum Content {
    Zeek(ZeekMessage),
    Value(Value),
}

/// Returns the name of the peer of a message: the sender in a message of a ZeroMQ cluster, the endpoint that a server of the
/// WebSocket API has sent, otherwise the endpoint id.
pub(super) fn peer(message: &Message) -> String {
    if let Some(sender) = message.sender_name() {
        return sender.to_owned();
    }
    let server = message.websocket().filter(|peer| peer.is_server);
    match server.and_then(|server| server.name.as_deref()) {
        Some(name) => name.to_owned(),
        None => message.peer().to_string(),
    }
}

/// A part of a message. Only a batch has several.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Event(&'a Event),
    LogCreate(&'a LogCreate),
    LogWrite(&'a LogWrite),
    Identifier(&'a IdentifierUpdate),
    Value(&'a Value),
    /// An empty batch.
    Nothing,
}

impl Content {
    pub(super) fn read(message: &Message) -> Self {
        let value = message.value();
        if !matches!(value, Value::Vector(_)) {
            return Content::Value(value);
        }
        match ZeekMessage::from_value(value) {
            Ok(message) => Content::Zeek(message),
            // Decode again: `zeek_message` has consumed the value, and a copy of every value would cost more.
            Err(_) => Content::Value(message.value()),
        }
    }

    /// Returns the parts; there is at least one.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        match self {
            Content::Zeek(message) => add(message, &mut parts),
            Content::Value(value) => parts.push(Part::Value(value)),
        }
        if parts.is_empty() {
            parts.push(Part::Nothing);
        }
        parts
    }
}

/// The recursion is bounded: batches are not deeper than `zeek::MAX_BATCH_DEPTH`.
fn add<'a>(message: &'a ZeekMessage, to: &mut Vec<Part<'a>>) {
    match message {
        ZeekMessage::Event(event) => to.push(Part::Event(event)),
        ZeekMessage::LogCreate(create) => to.push(Part::LogCreate(create)),
        ZeekMessage::LogWrite(write) => to.push(Part::LogWrite(write)),
        ZeekMessage::IdentifierUpdate(update) => to.push(Part::Identifier(update)),
        ZeekMessage::Batch(messages) => messages.iter().for_each(|message| add(message, to)),
    }
}

impl<'a> Part<'a> {
    /// Returns the name under which the part is counted. White space and backslashes in the name of an event are escaped, so
    /// that it differs from the names of all other kinds of parts.
    pub(super) fn name(self) -> Cow<'a, str> {
        let named = |kind, name: &ByteString| format!("({kind} {name})").into();
        match self {
            Part::Event(event)
                if event.name.contains(|letter: char| letter.is_whitespace() || letter == '\\') =>
            {
                let mut name = String::new();
                for letter in event.name.chars() {
                    match letter {
                        '\\' => name.push_str(r"\\"),
                        letter if letter.is_whitespace() => name.extend(letter.escape_unicode()),
                        letter => name.push(letter),
                    }
                }
                name.into()
            }
            Part::Event(event) => event.name.as_str().into(),
            Part::LogCreate(create) => named("log create", &create.stream),
            Part::LogWrite(write) => named("log write", &write.stream),
            Part::Identifier(update) => named("identifier", &update.id),
            Part::Value(_) => "(a value)".into(),
            Part::Nothing => "(empty batch)".into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn log_write() -> LogWrite {
        LogWrite {
            stream: "Conn::LOG".into(),
            writer: "Log::WRITER_ASCII".into(),
            path: "conn".into(),
            rows: "12345".into(),
        }
    }

    #[test]
    fn the_parts_of_a_batch_are_its_messages() {
        let event = |name: &str| ZeekMessage::Event(Event::new(name, ()));
        let inner = ZeekMessage::Batch(vec![event("b"), log_write().into()]);
        let content = Content::Zeek(ZeekMessage::Batch(vec![event("a"), inner, event("( c)")]));
        let names: Vec<_> = content.parts().into_iter().map(Part::name).collect();
        assert_eq!(names, ["a", "b", "(log write Conn::LOG)", r"(\u{20}c)"]);
        let (event, of_backslash) = (Event::new(r"\u{20}", ()), r"\\u{20}");
        assert_eq!(Part::Event(&event).name(), of_backslash);
        let empty = Content::Zeek(ZeekMessage::Batch(vec![ZeekMessage::Batch(Vec::new())]));
        assert!(matches!(empty.parts()[..], [Part::Nothing]));
        let value = Content::Value(Value::Count(1));
        assert!(matches!(value.parts()[..], [Part::Value(Value::Count(1))]));
    }
}
