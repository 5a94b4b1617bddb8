//! Comparison of messages by value, not by bytes.

use serde::Serialize;
use wildmatch::WildMatch;
use zeek_bridge::data::{ByteString, EndpointId, Value, parse_json};
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake, Limits};
use zeek_bridge::zeek::{Event, METADATA_NETWORK_TIMESTAMP, ZeekMessage};

use super::names::Names;

/// One difference between a recorded and a received message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The path in the message, such as `EVENT.args[0][2]`.
    pub(super) at: String,
    pub(super) recorded: Seen,
    pub(super) received: Seen,
}

/// The recorded or received content at that path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Seen {
    Nothing,
    Value(Value),
    /// Text for content that is not a value.
    Words(String),
}

/// The comparison of two messages, and the names that are ignored.
pub(super) struct Comparison<'a> {
    pub(super) names: &'a mut Names,
    pub(super) ignore: &'a [WildMatch],
    pub(super) found: Vec<Difference>,
}

/// Returns the label of a message: the name of an event, or an empty string.
pub(super) fn label(envelope: &Envelope) -> String {
    match envelope.kind {
        EnvelopeType::Data => match envelope.value(&Limits::DEFAULT).map(ZeekMessage::from_value) {
            Ok(Ok(message)) => message_label(&message),
            _ => "value".into(),
        },
        EnvelopeType::Command => match envelope.command(&Limits::DEFAULT) {
            Ok(command) => format!("command {}", command.content.name()),
            Err(_) => "command".into(),
        },
        other => other.to_string(),
    }
}

fn message_label(message: &ZeekMessage) -> String {
    match message {
        ZeekMessage::Event(event) => event.name.clone(),
        ZeekMessage::LogCreate(create) => format!("log_create {}", create.stream),
        ZeekMessage::LogWrite(write) => format!("log_write {}", write.stream),
        ZeekMessage::IdentifierUpdate(update) => format!("identifier_update {}", update.id),
        ZeekMessage::Batch(_) => "batch".into(),
    }
}

impl Comparison<'_> {
    /// Compares two messages with the same label.
    pub(super) fn envelopes(&mut self, label: &str, recorded: &Envelope, received: &Envelope) {
        if recorded.receiver.is_nil() != received.receiver.is_nil() {
            let receiver = |envelope: &Envelope| {
                Seen::Words(if envelope.receiver.is_nil() { "for all peers" } else { "for this peer" }.into())
            };
            self.add(format!("{label}.receiver"), receiver(recorded), receiver(received));
        }
        let limits = &Limits::DEFAULT;
        match recorded.kind {
            EnvelopeType::Data => {
                if let (Ok(recorded), Ok(received)) = (recorded.value(limits), received.value(limits)) {
                    self.data(label, recorded, received);
                }
            }
            EnvelopeType::Command => {
                if let (Ok(recorded), Ok(received)) = (recorded.command(limits), received.command(limits))
                    && recorded != received
                {
                    let words = |command: &dyn std::fmt::Display| Seen::Words(command.to_string());
                    self.add(label.to_owned(), words(&recorded), words(&received));
                }
            }
            // Pings, pongs and routing updates are not compared here.
            EnvelopeType::RoutingUpdate | EnvelopeType::Ping | EnvelopeType::Pong => {}
        }
    }

    fn data(&mut self, at: &str, recorded: Value, received: Value) {
        match (ZeekMessage::from_value(recorded.clone()), ZeekMessage::from_value(received.clone())) {
            (Ok(recorded), Ok(received)) => self.messages(at, recorded, received),
            _ => self.values(at, &recorded, &received),
        }
    }

    fn messages(&mut self, at: &str, recorded: ZeekMessage, received: ZeekMessage) {
        match (recorded, received) {
            (ZeekMessage::Event(recorded), ZeekMessage::Event(received))
                if recorded.name == received.name =>
            {
                self.events(at, &recorded, &received);
            }
            (ZeekMessage::Batch(recorded), ZeekMessage::Batch(received))
                if recorded.len() == received.len() =>
            {
                for (index, (recorded, received)) in recorded.into_iter().zip(received).enumerate() {
                    let label = message_label(&recorded);
                    self.messages(&format!("{at}[{index}] {label}"), recorded, received);
                }
            }
            (recorded, received) => self.values(at, &recorded.into_value(), &received.into_value()),
        }
    }

    fn events(&mut self, at: &str, recorded: &Event, received: &Event) {
        let is_request = recorded.name.ends_with("_request");
        let mut first = 0;
        if is_request
            && let (Some(Value::String(recorded)), Some(Value::String(received))) =
                (recorded.args.first(), received.args.first())
            && self.names.same(recorded, received)
        {
            first = 1;
        }
        if recorded.args.len() == received.args.len() {
            for (index, (recorded, received)) in
                recorded.args.iter().zip(&received.args).enumerate().skip(first)
            {
                self.values(&format!("{at}.args[{index}]"), recorded, received);
            }
        } else {
            self.values(
                &format!("{at}.args"),
                &Value::Vector(recorded.args.clone()),
                &Value::Vector(received.args.clone()),
            );
        }
        let metadata = |event: &Event| {
            let entries = event.metadata.iter().flatten();
            let entries = entries.filter(|(id, _)| *id != METADATA_NETWORK_TIMESTAMP);
            Value::Vector(
                entries.map(|(id, value)| Value::Vector(vec![Value::Count(*id), value.clone()])).collect(),
            )
        };
        self.values(&format!("{at}.metadata"), &metadata(recorded), &metadata(received));
    }

    /// Compares two values. Recurses as deep as values are nested, which the decoder limits.
    fn values(&mut self, at: &str, recorded: &Value, received: &Value) {
        if recorded == received || self.is_ignored(at) {
            return;
        }
        match (recorded, received) {
            (Value::Vector(recorded), Value::Vector(received)) if recorded.len() == received.len() => {
                for (index, (recorded, received)) in recorded.iter().zip(received).enumerate() {
                    self.values(&format!("{at}[{index}]"), recorded, received);
                }
            }
            (Value::Table(recorded), Value::Table(received)) => {
                for (key, value) in recorded.iter() {
                    let at = format!("{at}[{key}]");
                    match received.get(key) {
                        Some(other) => self.values(&at, value, other),
                        None => self.add(at, Seen::Value(value.clone()), Seen::Nothing),
                    }
                }
                for (key, value) in received.iter().filter(|(key, _)| recorded.get(key).is_none()) {
                    self.add(format!("{at}[{key}]"), Seen::Nothing, Seen::Value(value.clone()));
                }
            }
            (Value::Set(recorded), Value::Set(received)) => {
                for element in recorded.iter().filter(|element| !received.contains(element)) {
                    self.add(at.to_owned(), Seen::Value(element.clone()), Seen::Nothing);
                }
                for element in received.iter().filter(|element| !recorded.contains(element)) {
                    self.add(at.to_owned(), Seen::Nothing, Seen::Value(element.clone()));
                }
            }
            (Value::String(old), Value::String(new)) if is_uuid(old.as_str()) && is_uuid(new.as_str()) => {
                if !self.names.same(old, new) {
                    self.add(at.to_owned(), Seen::Value(recorded.clone()), Seen::Value(received.clone()));
                }
            }
            (Value::String(old), Value::String(new)) if is_same_json(old, new) => {}
            _ => self.add(at.to_owned(), Seen::Value(recorded.clone()), Seen::Value(received.clone())),
        }
    }

    /// Compares two handshake messages. Filters are compared at the end.
    pub(super) fn handshakes(&mut self, recorded: &Handshake, received: &Handshake) {
        use Handshake as H;
        let same = match (recorded, received) {
            (
                H::Hello { min_version: a, max_version: b, .. },
                H::Hello { min_version: c, max_version: d, .. },
            ) => (a, b) == (c, d),
            (H::VersionSelect { version: a, .. }, H::VersionSelect { version: b, .. }) => a == b,
            (H::DropConn { code: a, description: b, .. }, H::DropConn { code: c, description: d, .. }) => {
                (a, b) == (c, d)
            }
            (recorded, received) => recorded.name() == received.name(),
        };
        if !same {
            let words = |message: &H| Seen::Words(message.to_json().to_string());
            self.add(recorded.name().to_owned(), words(recorded), words(received));
        }
    }

    fn is_ignored(&self, at: &str) -> bool {
        self.ignore.iter().any(|pattern| pattern.matches(at))
    }

    fn add(&mut self, at: String, recorded: Seen, received: Seen) {
        if !self.is_ignored(&at) {
            self.found.push(Difference { at, recorded, received });
        }
    }
}

fn is_uuid(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.parse::<EndpointId>().is_ok())
}

/// Returns whether both are equal JSON objects or arrays, regardless of white space and the order of members.
fn is_same_json(one: &ByteString, other: &ByteString) -> bool {
    let parsed = |text: &ByteString| match text.as_bytes().first() {
        Some(b'{' | b'[') => parse_json(text.as_bytes()).ok(),
        _ => None,
    };
    parsed(one).is_some_and(|one| parsed(other).is_some_and(|other| one == other))
}
