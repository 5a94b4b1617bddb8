//! Handshake messages (`PROTOCOL.md`, section 2).

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::combinator::map;
use nom::sequence::preceded;

use super::error::{DecodeError, DecodeReason, EncodeError, Parsed, fail, finish, within};
use super::error_code::ErrorCode;
use super::frame::put_frame;
use super::limits::Limits;
use super::prim::{array, blob, endpoint_id, filter, put_blob, put_filter, u8};
use crate::data::{ByteString, EndpointId, Filter, Step};

/// The magic number after the tag of each version-negotiation message.
pub const MAGIC: [u8; 4] = *b"ZEEK";

/// The only protocol version.
pub const PROTOCOL_VERSION: u8 = 1;

/// A handshake message. The body of its frame is a type tag and these fields:
///
/// | tag | message | body |
/// | --- | --- | --- |
/// | 6 | hello | magic u32, sender id 16 bytes, min version u8, max version u8 |
/// | 7 | probe | magic u32 |
/// | 8 | version_select | magic u32, sender id 16 bytes, selected version u8 |
/// | 9 | drop_conn | magic u32, sender id 16 bytes, error code u8, description (varbyte length + bytes) |
/// | 10 | originator_syn | filter |
/// | 11 | responder_syn_ack | filter |
/// | 12 | originator_ack | nothing |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Announces the sender's id and the versions it supports.
    Hello {
        /// The sender's endpoint id.
        sender: EndpointId,
        /// The lowest version the sender supports.
        min_version: u8,
        /// The highest version the sender supports.
        max_version: u8,
    },
    /// The first message of a listener. Identifies the port as a Broker endpoint.
    Probe,
    /// Selects the protocol version; sent by the originator.
    VersionSelect {
        /// The sender's endpoint id.
        sender: EndpointId,
        /// The selected version.
        version: u8,
    },
    /// Ends the handshake. The sender closes the connection after it.
    DropConn {
        /// The sender's endpoint id.
        sender: EndpointId,
        /// The reason as Broker's error code.
        code: ErrorCode,
        /// The reason as text, for logs.
        description: ByteString,
    },
    /// The originator's filter.
    OriginatorSyn(Filter),
    /// The responder's filter.
    ResponderSynAck(Filter),
    /// The last message of the handshake: the peering is established.
    OriginatorAck,
}

impl Handshake {
    /// Returns the message's name in Broker's source code, for example `hello`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Handshake::Hello { .. } => "hello",
            Handshake::Probe => "probe",
            Handshake::VersionSelect { .. } => "version_select",
            Handshake::DropConn { .. } => "drop_conn",
            Handshake::OriginatorSyn(_) => "originator_syn",
            Handshake::ResponderSynAck(_) => "responder_syn_ack",
            Handshake::OriginatorAck => "originator_ack",
        }
    }

    /// Decodes the body of one frame.
    ///
    /// # Errors
    /// Fails if the body is not exactly one handshake message.
    pub fn decode(frame: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        finish(frame, handshake(frame, limits))
    }

    /// Appends the message to `out` as a complete frame, including the length field.
    ///
    /// # Errors
    /// Fails if the filter or the description is too long to be encoded. `out` is unchanged in that case.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_frame(out, |out| {
            out.put_u8(self.tag());
            if self.tag() < 10 {
                out.put_slice(&MAGIC);
            }
            match self {
                Handshake::Hello { sender, min_version, max_version } => {
                    out.put_slice(sender.as_bytes());
                    out.put_u8(*min_version);
                    out.put_u8(*max_version);
                }
                Handshake::VersionSelect { sender, version } => {
                    out.put_slice(sender.as_bytes());
                    out.put_u8(*version);
                }
                Handshake::DropConn { sender, code, description } => {
                    out.put_slice(sender.as_bytes());
                    out.put_u8(code.0);
                    put_blob(out, "description", description.as_bytes())?;
                }
                Handshake::OriginatorSyn(filter) | Handshake::ResponderSynAck(filter) => {
                    put_filter(out, filter)?;
                }
                Handshake::Probe | Handshake::OriginatorAck => {}
            }
            Ok(())
        })
    }

    const fn tag(&self) -> u8 {
        match self {
            Handshake::Hello { .. } => 6,
            Handshake::Probe => 7,
            Handshake::VersionSelect { .. } => 8,
            Handshake::DropConn { .. } => 9,
            Handshake::OriginatorSyn(_) => 10,
            Handshake::ResponderSynAck(_) => 11,
            Handshake::OriginatorAck => 12,
        }
    }
}

fn handshake<'a>(start: &'a [u8], limits: &Limits) -> Parsed<'a, Handshake> {
    let (input, tag) = u8(start)?;
    let filter = |input| filter(input, limits);
    match tag {
        6 => map(preceded(magic, (endpoint_id, u8, u8)), |(sender, min_version, max_version)| {
            Handshake::Hello { sender, min_version, max_version }
        })
        .parse(input),
        7 => map(magic, |()| Handshake::Probe).parse(input),
        8 => map(preceded(magic, (endpoint_id, u8)), |(sender, version)| Handshake::VersionSelect {
            sender,
            version,
        })
        .parse(input),
        9 => map(preceded(magic, (endpoint_id, u8, description)), |(sender, code, description)| {
            Handshake::DropConn { sender, code: ErrorCode(code), description: description.into() }
        })
        .parse(input),
        10 => map(filter, Handshake::OriginatorSyn).parse(input),
        11 => map(filter, Handshake::ResponderSynAck).parse(input),
        12 => Ok((input, Handshake::OriginatorAck)),
        _ => fail(start, DecodeReason::UnknownHandshakeType(tag)),
    }
}

fn magic(input: &[u8]) -> Parsed<'_, ()> {
    let (rest, bytes) = array(input)?;
    if bytes == MAGIC { Ok((rest, ())) } else { fail(input, DecodeReason::WrongMagic(bytes)) }
}

fn description(input: &[u8]) -> Parsed<'_, &[u8]> {
    blob(input).map_err(within(Step::Field("description")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Topic;

    fn filter_of(count: u8) -> Vec<u8> {
        let topics = (0..count).flat_map(|n| [2, b'/', n]);
        [10, count].into_iter().chain(topics).collect()
    }

    #[test]
    fn decode_errors_have_an_offset_and_a_reason() {
        use DecodeReason as R;
        let path = [Step::FilterTopic(1)];
        let description = [Step::Field("description")];
        let drop_conn = [&[9][..], b"ZEEK", &[0; 16], &[40, 3, b'n']].concat();
        let cases: [(&[u8], usize, &[Step], R); 9] = [
            (&[], 0, &[], R::Truncated),
            (&[5], 0, &[], R::UnknownHandshakeType(5)),
            (&[13], 0, &[], R::UnknownHandshakeType(13)),
            (b"\x07ZEEL", 1, &[], R::WrongMagic(*b"ZEEL")),
            (b"\x07ZEEK\0", 5, &[], R::Trailing(1)),
            (&[12, 0, 0], 1, &[], R::Trailing(2)),
            (&[10, 2, 1, b'/', 1], 5, &path, R::Truncated),
            (&[11, 0xff, 0xff, 0xff, 0xff, 0x7f], 1, &[], R::VarbyteOverflow),
            (&drop_conn, 23, &description, R::Truncated),
        ];
        for (bytes, offset, path, reason) in cases {
            let error = Handshake::decode(bytes, &Limits::DEFAULT).unwrap_err();
            assert_eq!(
                (error.offset(), error.path().steps().collect::<Vec<_>>(), error.reason()),
                (offset, path.to_vec(), &reason),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn the_number_of_topics_in_a_filter_is_limited() {
        let limits = Limits { max_filter_topics: 5, ..Limits::DEFAULT };
        assert!(Handshake::decode(&filter_of(5), &limits).is_ok());
        let error = Handshake::decode(&filter_of(6), &limits).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::FilterTooLarge { count: 6, limit: 5 });
    }

    #[test]
    fn a_topic_longer_than_an_envelope_allows_is_rejected() {
        let topic = vec![b'x'; Topic::MAX_LEN.saturating_add(1)];
        let mut bytes = vec![10, 2, 0];
        put_blob(&mut bytes, "topic", &topic).unwrap();
        let error = Handshake::decode(&bytes, &Limits::DEFAULT).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::TopicTooLong(topic.len()));
        assert_eq!(
            (error.offset(), error.path().steps().collect::<Vec<_>>()),
            (3, vec![Step::FilterTopic(1)])
        );
    }

    #[test]
    fn a_redundant_filter_is_accepted_and_written_in_minimal_form() {
        let bytes = [10, 4, 2, b'/', b'b', 1, b'a', 2, b'a', b'x', 1, b'a'];
        let message = Handshake::decode(&bytes, &Limits::DEFAULT).unwrap();
        let mut out = BytesMut::new();
        message.encode(&mut out).unwrap();
        assert_eq!(out[..], [0, 0, 0, 7, 10, 2, 2, b'/', b'b', 1, b'a']);
    }

    #[test]
    fn a_filter_is_limited_in_bytes_and_topics() {
        let limits = Limits { max_filter_bytes: 20, max_filter_topics: 3, ..Limits::DEFAULT };
        let read = |topics: &[&[u8]]| {
            let mut bytes = vec![10, u8::try_from(topics.len()).unwrap()];
            for topic in topics {
                bytes.push(u8::try_from(topic.len()).unwrap());
                bytes.extend_from_slice(topic);
            }
            Handshake::decode(&bytes, &limits).map_err(|error| error.reason().clone())
        };
        assert!(read(&[b"a", b"b", b"c"]).is_ok());
        assert_eq!(read(&[b"a", b"b", b"c", b"d"]), Err(DecodeReason::FilterTooLarge { count: 4, limit: 3 }));
        assert!(read(&[&[b'x'; 18]]).is_ok());
        assert_eq!(read(&[&[b'x'; 19]]), Err(DecodeReason::FilterTooLong { limit: 20 }));
    }
}
