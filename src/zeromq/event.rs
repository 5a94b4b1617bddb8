//! Reading of events and log batches (`PROTOCOL.md`, section 11).

use bytes::{Bytes, BytesMut};

use super::config::EventFormat;
use super::multipart::{Message, PARTS};
use super::senders::{MAX_SENDER, Senders};
use crate::data::{EndpointId, JsonDocument, JsonError, Topic, WrongType, one_line};
use crate::peering::Event;
use crate::wire::{
    DecodeError, DecodeReason, Envelope, EnvelopeType, INITIAL_TTL, Limits, PartsError, encode_value,
};
use crate::zeek::events::{EVENT, kind};
use crate::zeek::v1::{NotAnEvent, checked_event, json_limits};

/// The format of log batches. It is the third part of their messages. Zeek checks this part, but not the first one.
pub(super) const LOG_FORMAT: &str = "zeek-bin-serializer";

/// Reads the messages of one session.
#[derive(Debug, Default)]
pub(super) struct MessageReader {
    pub(super) senders: Senders,
}

impl MessageReader {
    /// Reads an event, and returns it with its format. Returns `None` if `own_id` is its sender. Checks that the payload is an event,
    /// but not that the content of a binary event is valid. Binary payloads are not copied.
    pub(super) fn event(
        &mut self,
        message: Message,
        own_id: EndpointId,
        limits: &Limits,
    ) -> Result<Option<(Envelope, EventFormat)>, DecodeError> {
        let [topic, sender, format, payload] = parts(message)?;
        let sender = self.sender(&sender)?;
        let Some(format) = EventFormat::from_name(&format) else {
            return Err(unknown_format(&format, "broker-bin-v1 or broker-json-v1"));
        };
        if sender == own_id {
            return Ok(None);
        }
        let payload = match format {
            EventFormat::Binary => payload,
            EventFormat::Json => from_json(&payload, limits)?,
        };
        let envelope = envelope(sender, self::topic(topic)?, payload);
        if kind(&envelope.payload) != Some(EVENT) {
            return Err(PartsError::NotAnEvent.into());
        }
        Ok(Some((envelope, format)))
    }

    /// Reads a log batch. The first part has no meaning for a logger.
    pub(super) fn logs(&mut self, message: Message) -> Result<Event, DecodeError> {
        let [_, sender, format, batch] = parts(message)?;
        let sender = self.sender(&sender)?;
        if *format != *LOG_FORMAT.as_bytes() {
            return Err(unknown_format(&format, LOG_FORMAT));
        }
        Ok(Event::Logs { sender, batch })
    }

    fn sender(&mut self, text: &[u8]) -> Result<EndpointId, PartsError> {
        check_sender(text)?;
        Ok(self.senders.id(text))
    }
}

pub(super) fn parts(message: Message) -> Result<[Bytes; PARTS], PartsError> {
    message.map_err(PartsError::Count)
}

pub(super) fn check_sender(text: &[u8]) -> Result<(), PartsError> {
    if text.len() > MAX_SENDER {
        return Err(PartsError::SenderTooLong { length: text.len(), limit: MAX_SENDER });
    }
    Ok(())
}

/// Returns an event as an envelope.
pub(super) fn envelope(sender: EndpointId, topic: Topic, payload: Bytes) -> Envelope {
    let (receiver, kind, ttl) = (EndpointId::NIL, EnvelopeType::Data, INITIAL_TTL);
    Envelope { sender, receiver, kind, ttl, topic, payload }
}

pub(super) fn topic(topic: Bytes) -> Result<Topic, DecodeError> {
    Topic::new(topic).map_err(|error| DecodeError::at(0, DecodeReason::TopicTooLong(error.length)))
}

pub(super) fn unknown_format(format: &[u8], expected: &'static str) -> DecodeError {
    let format = one_line(&String::from_utf8_lossy(format)).into();
    PartsError::UnknownFormat { format, expected }.into()
}

/// Converts an event from JSON to Broker's binary form.
pub(super) fn from_json(text: &[u8], limits: &Limits) -> Result<Bytes, DecodeError> {
    let document = JsonDocument::parse(text, &json_limits(limits))?;
    let value = document.root().to_value()?;
    let value = checked_event(value).map_err(|NotAnEvent| PartsError::NotAnEvent)?;
    let mut payload = BytesMut::new();
    encode_value(&value, &mut payload)
        .map_err(|_| JsonError::from(WrongType::new("a value that Broker can encode", "a longer one")))?;
    Ok(payload.freeze())
}
