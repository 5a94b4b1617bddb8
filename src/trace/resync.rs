//! Finds the next frame of a side if earlier bytes of this side are missing.
//!
//! A handshake message is recognized by its magic number. An envelope is recognized by the fields of its header, and by
//! the endpoint id of the side if that is known. A candidate is accepted when it is complete and can be decoded without
//! an error.

use crate::data::EndpointId;
use crate::wire::{
    Envelope, EnvelopeType, Handshake, INITIAL_TTL, LENGTH_FIELD, Limits, MAGIC, TOPIC_OFFSET,
};
use bytes::Bytes;

/// The size of an envelope's header without its topic: ids, type, ttl and topic length.
const HEADER: usize = TOPIC_OFFSET + 2;

/// The number of bytes that are needed to recognize the header of an envelope.
const LOOK: usize = LENGTH_FIELD + HEADER;

/// The size of a length field, tag and magic number of a handshake message.
const SHORTEST: usize = LENGTH_FIELD + MAGIC.len();

/// The position of the next frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame begins at `at`. If `peered`, it is an envelope; otherwise, it is a handshake message.
    Frame { at: usize, peered: bool },
    /// A frame may begin at `at`, which depends on the next input. No frame begins before `at`.
    Maybe { at: usize },
}

/// Searches for a frame of an endpoint. `tries` counts candidates that were rejected.
pub(super) fn next_frame(bytes: &[u8], sender: Option<EndpointId>, limits: &Limits, tries: &mut u32) -> Next {
    let mut at = 0usize;
    // The first position at which an incomplete envelope could begin.
    let mut open = None;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > SHORTEST) {
        if let Some((length, peered)) = header(rest, sender, limits) {
            let Some(body) = rest.get(LENGTH_FIELD..LENGTH_FIELD.saturating_add(length)) else { break };
            if is_valid(body, peered, limits) {
                return Next::Frame { at, peered };
            }
            *tries = tries.saturating_add(1);
        } else if rest.len() < LOOK {
            open = open.or(Some(at));
        }
        at = at.saturating_add(1);
    }
    Next::Maybe { at: open.unwrap_or(at) }
}

/// Returns the length of the frame that seems to begin here, and whether it is an envelope.
fn header(rest: &[u8], sender: Option<EndpointId>, limits: &Limits) -> Option<(usize, bool)> {
    let (length, body) = rest.split_first_chunk::<LENGTH_FIELD>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    // The messages with a magic number: hello, probe, version_select, drop_conn.
    if length <= limits.max_handshake_frame
        && matches!(body, [6..=9, magic @ ..] if magic.starts_with(&MAGIC))
    {
        return Some((length, false));
    }
    let (id, body) = body.split_first_chunk::<16>()?;
    let (_, body) = body.split_first_chunk::<16>()?;
    let [kind, ttl @ .., high, low] = body.first_chunk::<5>()?;
    let topic = usize::from(u16::from_be_bytes([*high, *low]));
    let plausible = (HEADER..=limits.max_frame).contains(&length)
        && topic <= length.saturating_sub(HEADER)
        && sender.is_none_or(|sender| sender.as_bytes() == id)
        && EnvelopeType::from_wire(*kind).is_some()
        && u16::from_be_bytes(*ttl) <= INITIAL_TTL;
    plausible.then_some((length, true))
}

fn is_valid(body: &[u8], peered: bool, limits: &Limits) -> bool {
    if !peered {
        return Handshake::decode(body, limits).is_ok();
    }
    let envelope = Envelope::decode(&Bytes::copy_from_slice(body));
    envelope.is_ok_and(|envelope| {
        envelope.topic.as_bytes().iter().all(|byte| byte.is_ascii_graphic()) && envelope.check(limits).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use crate::data::{Topic, Value};
    use bytes::BytesMut;

    use super::*;

    fn frame(id: EndpointId) -> BytesMut {
        let mut frame = BytesMut::new();
        let value = Value::Vector(vec![Value::Count(1), "text".into()]);
        Envelope::data(id, Topic::from_static("/topic"), &value).unwrap().encode(&mut frame).unwrap();
        frame
    }

    #[test]
    fn a_frame_is_accepted_if_it_decodes_completely() {
        let (id, other) = (EndpointId::from_bytes([7; 16]), EndpointId::from_bytes([8; 16]));
        let good = frame(id);
        let mut decoy = good.clone();
        // One byte of the payload is wrong; the header is valid.
        let tag = decoy.len() - 16;
        decoy[tag..].fill(0xff);
        let bytes = [&[9; 50][..], &decoy, &good, &good].concat();
        let at = 50 + decoy.len();
        let mut tries = 0;
        assert_eq!(
            next_frame(&bytes, Some(id), &Limits::DEFAULT, &mut tries),
            Next::Frame { at, peered: true }
        );
        assert_eq!(tries, 1);
        // The frame is not found before it is complete, or if it has the id of a different endpoint.
        let short = &bytes[..at + good.len() - 1];
        assert_eq!(next_frame(short, None, &Limits::DEFAULT, &mut tries), Next::Maybe { at });
        let Next::Maybe { at } = next_frame(&bytes, Some(other), &Limits::DEFAULT, &mut tries) else {
            panic!("found a frame of another endpoint")
        };
        assert!(bytes.len() - at < LOOK);
    }

    #[test]
    fn a_handshake_message_is_found_by_its_magic_number() {
        let mut bytes = BytesMut::from(&[0, 0, 0, 5, 7, b'Z'][..]);
        Handshake::Probe.encode(&mut bytes).unwrap();
        let found = next_frame(&bytes, None, &Limits::DEFAULT, &mut 0);
        assert_eq!(found, Next::Frame { at: 6, peered: false });
    }
}
