//! Envelopes (protocol section 4): what peers say to each other once the peering stands.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::command::Command;
use super::error::{DecodeError, DecodeReason, EncodeError, Parsed, fail, finish};
use super::frame::{LENGTH_FIELD, frame_length, put_frame};
use super::limits::Limits;
use super::prim::{bytes, endpoint_id, filter, put_filter, u8, u16};
use super::value::{decode_value, encode_value};
use crate::data::{EndpointId, Filter, Topic, Value};

/// The ttl of a message that has not been forwarded yet.
pub const INITIAL_TTL: u16 = 16;

/// The topic of routing updates, pings and pongs.
pub const RESERVED_TOPIC: Topic = Topic::from_static("<$>");

/// The bytes of a header without its topic.
const FIXED_HEADER: usize = 37;

/// What an envelope holds; the discriminants are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EnvelopeType {
    /// One value (section 5).
    Data = 1,
    /// A data-store command (section 7).
    Command = 2,
    /// The sender's complete new filter.
    RoutingUpdate = 3,
    /// Opaque bytes that want an answer.
    Ping = 4,
    /// The answer: a ping's bytes.
    Pong = 5,
}

impl EnvelopeType {
    /// The wire number.
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

    /// The type of a wire number.
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

/// Broker's names, as in the fixtures.
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

/// One message between peers. Only the header is read; the payload stays as it came, so that what is
/// passed on is never decoded and encoded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The endpoint that sent it over the last hop.
    pub sender: EndpointId,
    /// The endpoint it is for; [`EndpointId::NIL`]: all whose filter matches the topic.
    pub receiver: EndpointId,
    /// What the payload is.
    pub kind: EnvelopeType,
    /// How many hops it may still go.
    pub ttl: u16,
    /// What it is about.
    pub topic: Topic,
    /// What it says; see [`EnvelopeType`].
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
    /// The bytes of a frame without topic and payload.
    #[cfg(feature = "net")]
    pub(crate) const BARE_FRAME: usize = LENGTH_FIELD + FIXED_HEADER;

    /// A data message that has not been forwarded yet, for whoever is subscribed.
    ///
    /// # Errors
    /// When the wire cannot carry the value.
    pub fn data(sender: EndpointId, topic: Topic, value: &Value) -> Result<Self, EncodeError> {
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

    /// A routing update for one peer.
    ///
    /// # Errors
    /// When the wire cannot carry the filter.
    pub fn routing_update(
        sender: EndpointId,
        receiver: EndpointId,
        filter: &Filter,
    ) -> Result<Self, EncodeError> {
        let mut payload = BytesMut::new();
        put_filter(&mut payload, filter)?;
        Ok(Self::between(sender, receiver, EnvelopeType::RoutingUpdate, payload.freeze()))
    }

    /// A ping for one peer.
    #[must_use]
    pub fn ping(sender: EndpointId, receiver: EndpointId, payload: Bytes) -> Self {
        Self::between(sender, receiver, EnvelopeType::Ping, payload)
    }

    /// The answer to a ping.
    #[must_use]
    pub fn pong(sender: EndpointId, receiver: EndpointId, payload: Bytes) -> Self {
        Self::between(sender, receiver, EnvelopeType::Pong, payload)
    }

    fn between(sender: EndpointId, receiver: EndpointId, kind: EnvelopeType, payload: Bytes) -> Self {
        Envelope { sender, receiver, kind, ttl: INITIAL_TTL, topic: RESERVED_TOPIC, payload }
    }

    /// Reads the header of one frame's bytes; topic and payload are parts of the frame, uncopied.
    ///
    /// # Errors
    /// When the header is not one. The payload is not looked at.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        // finish() wants everything consumed; the payload is whatever follows the header.
        let parsed = header(frame).map(|(payload, header)| {
            (payload.get(payload.len()..).unwrap_or_default(), (payload.len(), header))
        });
        let (payload_length, header) = finish(frame, parsed)?;
        let payload_start = frame.len().saturating_sub(payload_length);
        let topic = frame.slice(payload_start.saturating_sub(header.topic_length)..payload_start);
        let topic = Topic::new(topic).unwrap_or_default();
        Ok(Envelope {
            sender: header.sender,
            receiver: header.receiver,
            kind: header.kind,
            ttl: header.ttl,
            topic,
            payload: frame.slice(payload_start..),
        })
    }

    /// Appends the envelope as a frame, its length in front.
    ///
    /// # Errors
    /// When the whole is too long for the wire. `out` is then as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_frame(out, |out| {
            self.put_header(self.sender, out)?;
            out.put_slice(&self.payload);
            Ok(())
        })
    }

    /// Appends the frame's length and the header only, with `sender` in the place of the
    /// envelope's; the payload's bytes have to follow as they are. For sending one payload to
    /// many without copying it.
    ///
    /// # Errors
    /// When the whole is too long for the wire. `out` is then as it was.
    pub fn encode_header_as(&self, sender: EndpointId, out: &mut BytesMut) -> Result<(), EncodeError> {
        let length =
            FIXED_HEADER.saturating_add(self.topic.as_bytes().len()).saturating_add(self.payload.len());
        let length = frame_length(length)?;
        out.reserve(LENGTH_FIELD.saturating_add(FIXED_HEADER).saturating_add(self.topic.as_bytes().len()));
        out.put_u32(length);
        self.put_header(sender, out)
    }

    fn put_header(&self, sender: EndpointId, out: &mut BytesMut) -> Result<(), EncodeError> {
        let topic = self.topic.as_bytes();
        let Ok(topic_length) = u16::try_from(topic.len()) else {
            return Err(EncodeError::TooLong { what: "topic", length: topic.len(), max: Topic::MAX_LEN });
        };
        out.put_slice(sender.as_bytes());
        out.put_slice(self.receiver.as_bytes());
        out.put_u8(self.kind.to_wire());
        out.put_u16(self.ttl);
        out.put_u16(topic_length);
        out.put_slice(topic);
        Ok(())
    }

    /// The value of a data message.
    ///
    /// # Errors
    /// When the payload is not exactly one value; offsets count from the start of the frame.
    pub fn value(&self, limits: &Limits) -> Result<Value, DecodeError> {
        decode_value(&self.payload, limits).map_err(|e| e.shifted(self.payload_offset()))
    }

    /// The filter of a routing update.
    ///
    /// # Errors
    /// When the payload is not exactly one filter; offsets count from the start of the frame.
    pub fn filter(&self, limits: &Limits) -> Result<Filter, DecodeError> {
        finish(&self.payload, filter(&self.payload, limits)).map_err(|e| e.shifted(self.payload_offset()))
    }

    /// The command of a command message.
    ///
    /// # Errors
    /// When the payload is not exactly one command; offsets count from the start of the frame.
    pub fn command(&self, limits: &Limits) -> Result<Command, DecodeError> {
        Command::decode(&self.payload, limits).map_err(|e| e.shifted(self.payload_offset()))
    }

    /// Checks the payload against what [`Envelope::kind`] says it is, and keeps nothing of it.
    ///
    /// # Errors
    /// When it is not that; offsets count from the start of the frame.
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

    /// The length of the frame that this makes, its length field included.
    #[must_use]
    pub fn frame_length(&self) -> usize {
        LENGTH_FIELD.saturating_add(self.payload_offset()).saturating_add(self.payload.len())
    }

    /// The same message, without holding on to the much larger memory that it may have been read
    /// into. For keeping: a large frame and those that come with it share one piece of memory.
    #[must_use]
    pub fn detached(&self) -> Self {
        let topic = self.topic.as_bytes();
        let mut bytes = BytesMut::with_capacity(topic.len().saturating_add(self.payload.len()));
        bytes.put_slice(topic);
        bytes.put_slice(&self.payload);
        let payload = bytes.split_off(topic.len()).freeze();
        let topic = Topic::new(bytes.freeze()).unwrap_or_default();
        Envelope { topic, payload, ..self.clone() }
    }

    /// How many bytes of the frame stand before the payload.
    pub(crate) fn payload_offset(&self) -> usize {
        FIXED_HEADER.saturating_add(self.topic.as_bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Step;

    fn frame_of(kind: u8, payload: &[u8]) -> Bytes {
        [&[1; 16][..], &[2; 16], &[kind, 0, 16, 0, 2, b'/', b't'], payload].concat().into()
    }

    #[test]
    fn a_type_that_is_unknown_is_named() {
        for kind in [0, 6] {
            let error = Envelope::decode(&frame_of(kind, &[])).unwrap_err();
            assert_eq!((error.offset(), error.reason()), (32, &DecodeReason::UnknownEnvelopeType(kind)));
        }
    }

    #[test]
    fn a_fault_in_the_payload_is_counted_from_the_start_of_the_frame() {
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
    fn a_topic_of_any_length_and_bytes_is_read_back() {
        for topic in [Vec::new(), vec![0xff, 0], vec![b'x'; Topic::MAX_LEN]] {
            let topic = Topic::new(topic).unwrap();
            let envelope = Envelope::data(EndpointId::NIL, topic, &Value::None).unwrap();
            let mut out = BytesMut::new();
            envelope.encode(&mut out).unwrap();
            assert_eq!(Envelope::decode(&out.freeze().slice(LENGTH_FIELD..)), Ok(envelope));
        }
    }

    #[test]
    fn what_is_detached_holds_on_to_no_frame() {
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
