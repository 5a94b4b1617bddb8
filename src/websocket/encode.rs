//! Encoding of messages as v1 JSON in frames (`PROTOCOL.md`, section 10).

use bytes::{BufMut, BytesMut};

use super::dialect::{mask, opcode};
#[cfg(any(feature = "net", test))]
use super::frame::Header;
use super::frame::put_message;
use crate::wire::{EncodeError, Envelope, EnvelopeType, Limits, check_value};
use crate::zeek::events::{BATCH, Changes, Content, EVENT, LeftOut, kind};
use crate::zeek::v1::{Dialect, MAX_LENGTH, Text, put_string, put_value};

/// Ends each message of a batch except the last one, so that `first_length` finds the end of the batch. JSON allows white
/// space after a value.
const MORE_FOLLOWS: u8 = b' ';

/// Ends the last message of a batch if the messages after it were left out. It replaces [`MORE_FOLLOWS`].
const NOTHING_FOLLOWS: u8 = b'\n';

/// Appends a message. A batch becomes one message for each of its events. Events that cannot be encoded, and messages that
/// are not events, are omitted from a batch and counted in the result.
///
/// # Errors
/// Fails if v1 has no form for the message: for a data-store command, a log or an identifier update, a value that cannot be
/// decoded, or, with [`BinaryText::Drop`](super::BinaryText::Drop), a string that is not UTF-8. Fails if the JSON is too long.
/// For a batch, fails if no event can be encoded. Nothing is appended in these cases.
pub(crate) fn encode(envelope: &Envelope, dialect: Dialect, out: &mut BytesMut) -> Result<Changes, LeftOut> {
    if envelope.kind != EnvelopeType::Data {
        return Err(EncodeError::NotCarried { what: "a data-store command" }.into());
    }
    if check_value(&envelope.payload, &Limits::DEFAULT).is_err() {
        return Err(EncodeError::NotCarried { what: "a value that cannot be decoded" }.into());
    }
    let start = out.len();
    let topic = envelope.topic.as_bytes();
    match kind(&envelope.payload) {
        Some(BATCH) => put_events(topic, &Content::of(&envelope.payload), dialect, out),
        None | Some(EVENT) => {
            let altered_strings = put(topic, &envelope.payload, false, start, dialect, out)?;
            Ok(Changes { left_out: None, altered_strings })
        }
        Some(_) => Err(LeftOut::NOT_AN_EVENT.into()),
    }
}

/// Returns the length of the first message in bytes, with all events of a batch.
#[cfg(any(feature = "net", test))]
pub(crate) fn first_length(frames: &[u8]) -> Option<usize> {
    let mut end = 0usize;
    loop {
        let header = Header::read(frames.get(end..)?).ok()??;
        let payload = end.saturating_add(header.length);
        end = end.saturating_add(header.frame_length());
        let text = frames.get(payload..end)?;
        let mask = header.mask.unwrap_or_default();
        let last = text.len().checked_sub(1).and_then(|at| Some(text.get(at)? ^ mask.get(at & 3)?));
        if last != Some(MORE_FOLLOWS) {
            return Some(end);
        }
    }
}

/// Appends the events of a batch. Omits the events that cannot be encoded, and fails if no other event remains.
fn put_events(
    topic: &[u8],
    content: &Content<'_>,
    dialect: Dialect,
    out: &mut BytesMut,
) -> Result<Changes, LeftOut> {
    let start = out.len();
    let mut left_out =
        (content.others > 0).then_some(LeftOut { messages: content.others, error: LeftOut::NOT_AN_EVENT });
    let mut altered_strings = 0usize;
    let mut ends_batch = false;
    let mut events = content.events.iter().peekable();
    while let Some(event) = events.next() {
        let more_follows = events.peek().is_some();
        match put(topic, event, more_follows, start, dialect, out) {
            Ok(altered) => {
                ends_batch = !more_follows;
                altered_strings = altered_strings.saturating_add(altered);
            }
            Err(error) => {
                let before = left_out.map_or(0, |left_out| left_out.messages);
                left_out = Some(LeftOut { messages: before.saturating_add(1), error });
            }
        }
    }
    if out.len() == start {
        let nothing = EncodeError::NotCarried { what: "a batch without an event" };
        let LeftOut { messages, error } = left_out.unwrap_or(nothing.into());
        return Err(LeftOut { messages, error: if content.events.is_empty() { nothing } else { error } });
    }
    if !ends_batch && let Some(last) = out.last_mut() {
        // The byte may be masked. The mask is applied with xor too, so it stays correct.
        *last ^= MORE_FOLLOWS ^ NOTHING_FOLLOWS;
    }
    Ok(Changes { left_out, altered_strings })
}

/// Appends one message. `start` is the position in `out` at which its batch starts. Returns the number of strings that were
/// changed.
fn put(
    topic: &[u8],
    value: &[u8],
    more_follows: bool,
    start: usize,
    dialect: Dialect,
    out: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let max = start.saturating_add(MAX_LENGTH);
    let mut text = Text::default();
    put_message(out, mask(dialect), |out| {
        out.put_slice(br#"{"type":"data-message","topic":"#);
        put_string(topic, max, dialect, out, &mut text)?;
        out.put_u8(b',');
        put_value(value, max, dialect, out, &mut text)?;
        if more_follows {
            out.put_u8(MORE_FOLLOWS);
        }
        Ok(opcode(text))
    })?;
    Ok(text.altered)
}
