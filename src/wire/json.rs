//! Messages as JSON, in the format of `fixtures/*/frames.jsonl`.
//!
//! Topics and the description of a `drop_conn` are JSON strings. If the bytes are not UTF-8, the object `{"hex": ..}` is
//! written instead, so nothing is lost.

use std::io::{self, Write};

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};

use super::envelope::{Envelope, EnvelopeType};
use super::error::DecodeError;
use super::handshake::Handshake;
use super::limits::Limits;
use crate::data::AsJson;

impl Handshake {
    /// Returns the message's `type` and fields: `{"type": "hello", "sender": .., "min_version": 1,
    /// "max_version": 1}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let name = self.name();
        match self {
            Handshake::Hello { sender, min_version, max_version } => json!({
                "type": name,
                "sender": sender.to_string(),
                "min_version": min_version,
                "max_version": max_version,
            }),
            Handshake::VersionSelect { sender, version } => json!({
                "type": name,
                "sender": sender.to_string(),
                "selected_version": version,
            }),
            Handshake::DropConn { sender, code, description } => json!({
                "type": name,
                "sender": sender.to_string(),
                "code": code.0,
                "description": AsJson(description.as_bytes()),
            }),
            Handshake::OriginatorSyn(filter) | Handshake::ResponderSynAck(filter) => json!({
                "type": name,
                "filter": AsJson(filter),
            }),
            Handshake::Probe | Handshake::OriginatorAck => json!({ "type": name }),
        }
    }
}

impl Envelope {
    /// Returns the fields of the header, and one field for the payload:
    ///
    /// - `value`, in Broker's JSON, for a data message;
    /// - `filter`, for a routing update;
    /// - `text`, in the notation of Broker's logs, for a command, ping or pong.
    ///
    /// # Errors
    /// Fails if the payload is not valid for [`Envelope::kind`]; see [`Envelope::check`].
    pub fn to_json(&self, limits: &Limits) -> Result<Json, DecodeError> {
        let (part, payload) = match self.kind {
            EnvelopeType::Data => ("value", self.value(limits)?.to_json()),
            EnvelopeType::Command => {
                ("text", format!("command({}, {})", self.topic, self.command(limits)?).into())
            }
            EnvelopeType::RoutingUpdate => ("filter", json!(AsJson(&self.filter(limits)?))),
            EnvelopeType::Ping | EnvelopeType::Pong => {
                ("text", format!("{}({})", self.kind, HEXLOWER.encode(&self.payload)).into())
            }
        };
        Ok(json!({
            "sender": self.sender.to_string(),
            "receiver": self.receiver.to_string(),
            "type": self.kind.to_string(),
            "ttl": self.ttl,
            "topic": AsJson(self.topic.as_bytes()),
            part: payload,
        }))
    }
}

impl Envelope {
    /// Writes the same JSON as [`Envelope::to_json`], with the payload last. A large payload is streamed, without
    /// building a `serde_json::Value` in memory.
    ///
    /// # Errors
    /// Returns the outer error if [`Envelope::to_json`] would fail; nothing has been written in that case. The inner error
    /// is an error of the writer.
    pub fn write_json<W: Write + ?Sized>(
        &self,
        limits: &Limits,
        to: &mut W,
    ) -> Result<io::Result<()>, DecodeError> {
        if self.kind != EnvelopeType::Data {
            return Ok(write!(to, "{}", self.to_json(limits)?));
        }
        let value = self.value(limits)?;
        let header = format!(
            "{{\"sender\":\"{}\",\"receiver\":\"{}\",\"type\":\"{}\",\"ttl\":{},\"topic\":{},\"value\":",
            self.sender,
            self.receiver,
            self.kind,
            self.ttl,
            json!(AsJson(self.topic.as_bytes())),
        );
        let mut write = || {
            to.write_all(header.as_bytes())?;
            value.write_json(to)?;
            to.write_all(b"}")
        };
        Ok(write())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::data::{EndpointId, Filter, Topic};
    use crate::wire::ErrorCode;

    #[test]
    fn bytes_that_are_not_utf8_are_written_as_hex() {
        let filter: Filter =
            [Topic::new(&b"\xff/a"[..]).unwrap(), Topic::from_static("/b")].into_iter().collect();
        assert_eq!(
            Handshake::OriginatorSyn(filter).to_json(),
            json!({ "type": "originator_syn", "filter": ["/b", { "hex": "ff2f61" }] }),
        );
        let drop = Handshake::DropConn {
            sender: EndpointId::NIL,
            code: ErrorCode::LOGIC_ERROR,
            description: b"\x80"[..].into(),
        };
        assert_eq!(drop.to_json()["description"], json!({ "hex": "80" }));
    }

    #[test]
    fn a_payload_that_does_not_match_its_type_is_an_error() {
        for (kind, reads) in [
            (EnvelopeType::Data, false),
            (EnvelopeType::Command, false),
            (EnvelopeType::RoutingUpdate, false),
            (EnvelopeType::Ping, true),
            (EnvelopeType::Pong, true),
        ] {
            let ping = Envelope::ping(EndpointId::NIL, EndpointId::NIL, Bytes::from_static(b"\xff"));
            let envelope = Envelope { kind, ..ping };
            assert_eq!(envelope.to_json(&Limits::DEFAULT).is_ok(), reads, "{kind}");
            assert_eq!(envelope.check(&Limits::DEFAULT).is_ok(), reads, "{kind}");
        }
    }
}
