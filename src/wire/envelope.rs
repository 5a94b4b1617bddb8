//! Envelopes (`PROTOCOL.md`, section 4): the messages of an established peering.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::command::Command;
use super::error::{DecodeError, DecodeReason, EncodeError, Parsed, fail, finish};
use super::frame::{LENGTH_FIELD, frame_length};
use super::limits::Limits;
use super::prim::{bytes, endpoint_id, filter, put_filter, u8, u16};
use super::value::{decode_value, encode_value};
use crate::data::{EndpointId, Filter, Topic, Value};

/// The ttl of a message at its origin.
pub const INITIAL_TTL: u16 = 16;

/// The topic of routing updates, pings and pongs.
pub const RESERVED_TOPIC: Topic = Topic::from_static("<$>");

/// The offset of the type in the body of an envelope's frame, after the ids of the sender and the receiver
/// (`PROTOCOL.md`, section 4).
pub const TYPE_OFFSET: usize = 2 * 16;

/// The offset of the topic's length in the body of an envelope's frame, after the type and the ttl.
pub const TOPIC_OFFSET: usize = TYPE_OFFSET + 1 + 2;

/// The size of the header without the topic.
const FIXED_HEADER: usize = TOPIC_OFFSET + 2;

/// The type of an envelope's payload. The discriminants are the numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EnvelopeType {
    /// One value (`PROTOCOL.md`, section 5).
    Data = 1,
    /// A data-store command (`PROTOCOL.md`, section 7).
    Command = 2,
    /// The sender's complete new filter, which replaces the previous one.
    RoutingUpdate = 3,
    /// Opaque bytes that the receiver must return in a pong.
    Ping = 4,
    /// The answer to a ping, with the same bytes.
    Pong = 5,
}

impl EnvelopeType {
    /// Returns the number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            EnvelopeType::Data => 1,
            EnvelopeType::Command => 2,
            EnvelopeType::RoutingUpdate => 3,
            EnvelopeType::Ping => 4,
            EnvelopeType::Pong => 5,
        }
    }

    /// Returns the type for a number on the wire, or `None` if no type has this number.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => EnvelopeType::Data,
            2 => EnvelopeType::Command,
            3 => EnvelopeType::RoutingUpdate,
            4 => EnvelopeType::Ping,
            5 => EnvelopeType::Pong,
            _ => return None,
        })
    }
}

/// Writes Broker's own name of the type, as in the fixtures.
impl fmt::Display for EnvelopeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EnvelopeType::Data => "data",
            EnvelopeType::Command => "command",
            EnvelopeType::RoutingUpdate => "routing_update",
            EnvelopeType::Ping => "ping",
            EnvelopeType::Pong => "pong",
        })
    }
}

/// One message between peers. Only the header is decoded. The payload keeps the bytes that were received. To forward
/// a message, the payload is sent unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The endpoint that sent the message over the last hop.
    pub sender: EndpointId,
    /// The addressee. [`EndpointId::NIL`] addresses every peer whose filter matches the topic.
    pub receiver: EndpointId,
    /// The type of the payload.
    pub kind: EnvelopeType,
    /// The number of hops that remain.
    pub ttl: u16,
    /// The topic, by which the message is routed.
    pub topic: Topic,
    /// The undecoded payload; see [`EnvelopeType`].
    pub payload: Bytes,
}

struct Header {
    sender: EndpointId,
    receiver: EndpointId,
    kind: EnvelopeType,
    ttl: u16,
    topic_length: usize,
}

/// `sender id 16` · `receiver id 16` · `type u8` · `ttl u16` · `topic length u16` · `topic` · `payload`
fn header(input: &[u8]) -> Parsed<'_, Header> {
    let (input, sender) = endpoint_id(input)?;
    let (at_type, receiver) = endpoint_id(input)?;
    let (input, number) = u8(at_type)?;
    let Some(kind) = EnvelopeType::from_wire(number) else {
        return fail(at_type, DecodeReason::UnknownEnvelopeType(number));
    };
    let (input, ttl) = u16(input)?;
    let (input, topic_length) = u16(input)?;
    let topic_length = usize::from(topic_length);
    let (input, _) = bytes(input, topic_length)?;
    Ok((input, Header { sender, receiver, kind, ttl, topic_length }))
}

impl Envelope {
    /// The size of a frame without topic and payload.
    #[cfg(feature = "net")]
    pub(crate) const BARE_FRAME: usize = LENGTH_FIELD + FIXED_HEADER;

    /// Returns a new data message for all subscribers of `topic`.
    ///
    /// # Errors
    /// Fails if the value or the topic cannot be encoded; see [`EncodeError`].
    pub fn data(sender: EndpointId, topic: Topic, value: &Value) -> Result<Self, EncodeError> {
        topic_length(&topic)?;
        let mut payload = BytesMut::new();
        encode_value(value, &mut payload)?;
        Ok(Envelope {
            sender,
            receiver: EndpointId::NIL,
            kind: EnvelopeType::Data,
            ttl: INITIAL_TTL,
            topic,
            payload: payload.freeze(),
        })
    }

    /// Returns a routing update for one peer.
    ///
    /// # Errors
    /// Fails if the filter is too long to be encoded.
    pub fn routing_update(
        sender: EndpointId,
        receiver: EndpointId,
        filter: &Filter,
    ) -> Result<Self, EncodeError> {
        let mut payload = BytesMut::new();
        put_filter(&mut payload, filter)?;
        Ok(Self::between(sender, receiver, EnvelopeType::RoutingUpdate, payload.freeze()))
    }

    /// Returns a ping for one peer.
    #[must_use]
    pub fn ping(sender: EndpointId, receiver: EndpointId, payload: Bytes) -> Self {
        Self::between(sender, receiver, EnvelopeType::Ping, payload)
    }

    /// Returns the answer to a ping.
    #[must_use]
    pub fn pong(sender: EndpointId, receiver: EndpointId, payload: Bytes) -> Self {
        Self::between(sender, receiver, EnvelopeType::Pong, payload)
    }

    fn between(sender: EndpointId, receiver: EndpointId, kind: EnvelopeType, payload: Bytes) -> Self {
        Envelope { sender, receiver, kind, ttl: INITIAL_TTL, topic: RESERVED_TOPIC, payload }
    }

    /// Decodes the header of one frame body. The payload and a long topic are slices of `frame`; they are not copied.
    ///
    /// # Errors
    /// Fails if the header is malformed. The payload is not checked; see [`Envelope::check`].
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        Self::after(0, frame.clone())
    }

    /// Like [`Envelope::decode`], for a frame with its length field. Takes the frame, and so changes its reference count less often.
    #[inline]
    pub(crate) fn from_whole_frame(frame: Bytes) -> Result<Self, DecodeError> {
        Self::after(LENGTH_FIELD, frame)
    }

    /// Decodes the frame body after the first `skipped` bytes.
    #[inline]
    fn after(skipped: usize, mut frame: Bytes) -> Result<Self, DecodeError> {
        let body = frame.get(skipped..).unwrap_or_default();
        let (payload_length, header) = match header(body) {
            Ok((payload, header)) => (payload.len(), header),
            Err(error) => return finish(body, Err(error)),
        };
        let start = frame.len().saturating_sub(payload_length);
        let topic = start.saturating_sub(header.topic_length)..start;
        let (topic, payload) = match frame.get(topic.clone()).and_then(Topic::in_place) {
            Some(topic) => {
                frame.advance(start);
                (topic, frame)
            }
            None => {
                let payload = frame.split_off(start);
                frame.advance(topic.start);
                (Topic::new(frame).unwrap_or_default(), payload)
            }
        };
        let Header { sender, receiver, kind, ttl, .. } = header;
        Ok(Envelope { sender, receiver, kind, ttl, topic, payload })
    }

    /// Appends the envelope to `out` as a complete frame, including the length field.
    ///
    /// # Errors
    /// Fails if the topic or the frame is too long. `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_header_as(self.sender, out)?;
        out.put_slice(&self.payload);
        Ok(())
    }

    /// Appends the length field and the header to `out`, with `sender` instead of the sender that the envelope contains.
    /// The caller must append the payload bytes. This makes it possible to send one payload to many peers without copying
    /// it.
    ///
    /// # Errors
    /// Fails if the topic or the frame is too long. `out` is then unchanged.
    #[inline]
    pub fn encode_header_as(&self, sender: EndpointId, out: &mut BytesMut) -> Result<(), EncodeError> {
        let length =
            FIXED_HEADER.saturating_add(self.topic.as_bytes().len()).saturating_add(self.payload.len());
        let length = frame_length(length)?;
        let topic = self.topic.as_bytes();
        let topic_length = topic_length(&self.topic)?;
        // The header is built on the stack, so that the capacity of `out` is checked twice and not for each field.
        let mut header = [0; LENGTH_FIELD + FIXED_HEADER];
        let mut fields = header.as_mut_slice();
        fields.put_u32(length);
        fields.put_slice(sender.as_bytes());
        fields.put_slice(self.receiver.as_bytes());
        fields.put_u8(self.kind.to_wire());
        fields.put_u16(self.ttl);
        fields.put_u16(topic_length);
        out.reserve(header.len().saturating_add(topic.len()));
        out.put_slice(&header);
        out.put_slice(topic);
        Ok(())
    }

    /// Decodes the value of a data message.
    ///
    /// # Errors
    /// Fails if the payload is not exactly one value. Offsets count from the start of the frame body,
    /// after the length field.
    pub fn value(&self, limits: &Limits) -> Result<Value, DecodeError> {
        decode_value(&self.payload, limits).map_err(|e| e.shifted(self.payload_offset()))
    }

    /// Decodes the filter of a routing update.
    ///
    /// # Errors
    /// Fails if the payload is not exactly one filter. Offsets count from the start of the frame body,
    /// after the length field.
    pub fn filter(&self, limits: &Limits) -> Result<Filter, DecodeError> {
        finish(&self.payload, filter(&self.payload, limits)).map_err(|e| e.shifted(self.payload_offset()))
    }

    /// Decodes the command of a command message.
    ///
    /// # Errors
    /// Fails if the payload is not exactly one command. Offsets count from the start of the frame body,
    /// after the length field.
    pub fn command(&self, limits: &Limits) -> Result<Command, DecodeError> {
        Command::decode(&self.payload, limits).map_err(|e| e.shifted(self.payload_offset()))
    }

    /// Checks that the payload is valid for the type in [`Envelope::kind`], without building a value.
    ///
    /// # Errors
    /// Fails if the payload is not valid. Offsets count from the start of the frame body,
    /// after the length field.
    pub fn check(&self, limits: &Limits) -> Result<(), DecodeError> {
        match self.kind {
            EnvelopeType::Data => {
                super::value::check_value(&self.payload, limits).map_err(|e| e.shifted(self.payload_offset()))
            }
            EnvelopeType::Command => self.command(limits).map(drop),
            EnvelopeType::RoutingUpdate => self.filter(limits).map(drop),
            EnvelopeType::Ping | EnvelopeType::Pong => Ok(()),
        }
    }

    /// Returns the size of the encoded frame in bytes, including the length field.
    #[must_use]
    pub fn frame_length(&self) -> usize {
        LENGTH_FIELD.saturating_add(self.payload_offset()).saturating_add(self.payload.len())
    }

    /// Returns a copy that does not share memory with the receive buffer. Call this before you store a message.
    /// All frames of one read share one buffer, which stays allocated as long as any of these frames exists.
    #[must_use]
    pub fn detached(&self) -> Self {
        let (topic, payload) = (self.topic.detached(), Bytes::copy_from_slice(&self.payload));
        Envelope { topic, payload, ..self.clone() }
    }

    /// Returns the offset of the payload in the frame body.
    pub(crate) fn payload_offset(&self) -> usize {
        FIXED_HEADER.saturating_add(self.topic.as_bytes().len())
    }
}

/// Returns the length of a topic as its field in the header.
fn topic_length(topic: &Topic) -> Result<u16, EncodeError> {
    let length = topic.as_bytes().len();
    u16::try_from(length).map_err(|_| EncodeError::TooLong { what: "topic", length, max: Topic::MAX_LEN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Step;

    fn frame_of(kind: u8, payload: &[u8]) -> Bytes {
        [&[1; 16][..], &[2; 16], &[kind, 0, 16, 0, 2, b'/', b't'], payload].concat().into()
    }

    #[test]
    fn an_unknown_type_is_reported_with_its_number() {
        for kind in [0, 6] {
            let error = Envelope::decode(&frame_of(kind, &[])).unwrap_err();
            assert_eq!((error.offset(), error.reason()), (32, &DecodeReason::UnknownEnvelopeType(kind)));
        }
    }

    #[test]
    fn payload_errors_have_offsets_from_the_start_of_the_frame_body() {
        let limits = &Limits::DEFAULT;
        let data = Envelope::decode(&frame_of(1, &[14, 1, 15])).unwrap();
        let error = data.value(limits).unwrap_err();
        assert_eq!(error.to_string(), "byte 41, vector element 0: unknown value tag 15");
        assert_eq!(data.check(limits), Err(error));

        let command = Envelope::decode(&frame_of(2, &[0; 7])).unwrap();
        assert_eq!(command.command(limits).unwrap_err().offset(), 39);

        let update = Envelope::decode(&frame_of(3, &[1, 9])).unwrap();
        let error = update.filter(limits).unwrap_err();
        assert_eq!(
            (error.offset(), error.path().steps().collect::<Vec<_>>()),
            (41, vec![Step::FilterTopic(0)])
        );
    }

    #[test]
    fn topics_of_any_length_and_bytes_round_trip() {
        for topic in [Vec::new(), vec![0xff, 0], vec![b'x'; Topic::MAX_LEN]] {
            let topic = Topic::new(topic).unwrap();
            let envelope = Envelope::data(EndpointId::NIL, topic, &Value::None).unwrap();
            let mut out = BytesMut::new();
            envelope.encode(&mut out).unwrap();
            assert_eq!(Envelope::decode(&out.freeze().slice(LENGTH_FIELD..)), Ok(envelope));
        }
        let (length, max) = (Topic::MAX_LEN + 1, Topic::MAX_LEN);
        let too_long = Envelope::data(EndpointId::NIL, "x".repeat(length).into(), &Value::None);
        assert_eq!(too_long, Err(EncodeError::TooLong { what: "topic", length, max }));
        // Nothing is left in the output by an envelope that cannot be encoded.
        let topic = Topic::from("x".repeat(length));
        let envelope = Envelope { topic, ..Envelope::decode(&frame_of(1, &[0])).unwrap() };
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(envelope.encode(&mut out).is_err());
        assert!(envelope.encode_header_as(EndpointId::NIL, &mut out).is_err());
        assert_eq!(out, &b"before"[..]);
    }

    #[cfg(feature = "net")]
    #[test]
    fn a_frame_without_topic_and_payload_has_the_bare_size() {
        let envelope = Envelope::ping(EndpointId::NIL, EndpointId::NIL, Bytes::new());
        let mut out = BytesMut::new();
        Envelope { topic: Topic::default(), ..envelope }.encode(&mut out).unwrap();
        assert_eq!(out.len(), Envelope::BARE_FRAME);
    }

    #[test]
    fn a_detached_envelope_keeps_a_topic_that_is_too_long() {
        let topic = Topic::from("x".repeat(Topic::MAX_LEN + 1));
        let envelope = Envelope { topic, ..Envelope::decode(&frame_of(1, &[0])).unwrap() };
        assert_eq!(envelope.detached(), envelope);
    }

    #[test]
    fn a_detached_envelope_does_not_keep_the_receive_buffer() {
        for payload in [&[0][..], &[0; 1_000_000]] {
            let frame = frame_of(1, payload);
            let envelope = Envelope::decode(&frame).unwrap();
            let kept = envelope.detached();
            assert_eq!(kept, envelope);
            drop(envelope);
            assert!(frame.is_unique());
        }
    }
}
