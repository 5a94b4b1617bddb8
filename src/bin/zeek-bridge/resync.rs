//! Finding the next frame of a side after a part of it was lost, or when its beginning was not seen.
//!
//! A frame shows itself by its header: a handshake message by its magic number, an envelope by its fields and, if the
//! side has told its endpoint id, by that. It is believed once it is all there and every byte of it makes sense.

use bytes::Bytes;
use zeek_bridge::data::EndpointId;
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake, INITIAL_TTL, LENGTH_FIELD, Limits, MAGIC};

/// An envelope's header without its topic: ids, type, ttl, and the topic's length.
const HEADER: usize = 37;

/// How far is looked ahead for a header.
const LOOK: usize = LENGTH_FIELD + HEADER;

/// A length field, and the magic number that a handshake message has: its tag may follow.
const SHORTEST: usize = LENGTH_FIELD + MAGIC.len();

/// Where the next frame is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame, which is an envelope or else a handshake message, begins there.
    Frame { at: usize, peered: bool },
    /// One may begin there, if more comes; none does before.
    Maybe { at: usize },
}

/// Looks for a frame of an endpoint. `tries` counts what looked like one and was none.
pub(crate) fn next_frame(bytes: &[u8], sender: Option<EndpointId>, limits: &Limits, tries: &mut u32) -> Next {
    let mut at = 0usize;
    // The first place where an envelope could begin, if more comes.
    let mut open = None;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > SHORTEST) {
        if let Some((length, peered)) = header(rest, sender, limits) {
            let Some(body) = rest.get(LENGTH_FIELD..LENGTH_FIELD.saturating_add(length)) else { break };
            if makes_sense(body, peered, limits) {
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

/// The length of the frame that seems to begin here, and whether it is an envelope.
fn header(rest: &[u8], sender: Option<EndpointId>, limits: &Limits) -> Option<(usize, bool)> {
    let (length, body) = rest.split_first_chunk::<LENGTH_FIELD>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    // The messages that carry the magic number: hello, probe, version_select, drop_conn.
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

fn makes_sense(body: &[u8], peered: bool, limits: &Limits) -> bool {
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
    use bytes::BytesMut;
    use zeek_bridge::data::{Topic, Value};

    use super::*;

    fn frame(id: EndpointId) -> BytesMut {
        let mut frame = BytesMut::new();
        let value = Value::Vector(vec![Value::Count(1), "text".into()]);
        Envelope::data(id, Topic::from_static("/topic"), &value).unwrap().encode(&mut frame).unwrap();
        frame
    }

    #[test]
    fn a_frame_is_believed_when_all_of_it_makes_sense() {
        let (id, other) = (EndpointId::from_bytes([7; 16]), EndpointId::from_bytes([8; 16]));
        let good = frame(id);
        let mut decoy = good.clone();
        // Of its vector, a byte is wrong: the header is as good as any.
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
        // Not before it is all there, and not if it is somebody else's.
        let short = &bytes[..at + good.len() - 1];
        assert_eq!(next_frame(short, None, &Limits::DEFAULT, &mut tries), Next::Maybe { at });
        let Next::Maybe { at } = next_frame(&bytes, Some(other), &Limits::DEFAULT, &mut tries) else {
            panic!("of somebody else")
        };
        assert!(bytes.len() - at < LOOK);
    }

    #[test]
    fn a_hello_shows_itself_by_its_magic_number() {
        let mut bytes = BytesMut::from(&[0, 0, 0, 5, 7, b'Z'][..]);
        Handshake::Probe.encode(&mut bytes).unwrap();
        let found = next_frame(&bytes, None, &Limits::DEFAULT, &mut 0);
        assert_eq!(found, Next::Frame { at: 6, peered: false });
    }
}
