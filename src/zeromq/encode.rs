//! Writing of events (`PROTOCOL.md`, section 11).

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::HEXLOWER;

use super::config::EventFormat;
#[cfg(any(feature = "net", test))]
use super::frame::end_of_first;
use super::frame::{
    put_last_part_header, put_long_part_header, put_part_header, set_last_size, shorten_part_header,
};
#[cfg(any(feature = "net", test))]
use super::multipart::PARTS;
use super::topics::crosses;
use crate::data::EndpointId;
use crate::wire::{EncodeError, Envelope, EnvelopeType, Limits, check_value};
use crate::zeek::events::{BATCH, Changes, Content, EVENT, LeftOut, event_name, kind};
use crate::zeek::v1::{Dialect, MAX_LENGTH, Text, put_value};

/// The length of a sender in bytes: an endpoint id as text.
const SENDER: usize = 36;

/// The minimum length of an event in bytes, without its topic, sender and payload: the headers of four frames, and the format.
#[cfg(feature = "net")]
pub(crate) const OVERHEAD: usize = PARTS * 2 + "broker-bin-v1".len();

/// The first three parts of the messages of an envelope.
struct Head<'a> {
    topic: &'a [u8],
    sender: &'a [u8],
    format: EventFormat,
}

/// Appends an event, with the text `sender` instead of the sender that the envelope contains. A batch becomes one message for each of
/// its events. The following messages of a batch are omitted, and counted in the result:
///
/// - messages that are not events;
/// - the events of discovery, which do not leave their cluster (see [`crosses`]);
/// - events that cannot be encoded, and events that exceed the maximum length of a batch.
///
/// If the event is not part of a batch, is binary, and is longer than `max_copied` bytes, its payload is returned instead of
/// appended. It must be written after the appended bytes. Binary events are not checked, except for those of a batch.
///
/// # Errors
/// Fails if the back end cannot carry the message: a data-store command, a log or an identifier update, a value that is not a
/// message of Zeek, or an event that cannot be encoded. For a batch, fails if no event can be encoded. Nothing is appended in
/// these cases.
pub(crate) fn encode(
    envelope: &Envelope,
    sender: &[u8],
    format: EventFormat,
    max_copied: usize,
    out: &mut BytesMut,
) -> Result<(Changes, Option<Bytes>), LeftOut> {
    if envelope.kind != EnvelopeType::Data {
        return Err(EncodeError::NotCarried { what: "a data-store command" }.into());
    }
    let head = Head { topic: envelope.topic.as_bytes(), sender, format };
    let payload = &envelope.payload;
    match kind(payload) {
        Some(EVENT) if format == EventFormat::Binary && payload.len() > max_copied => {
            head.put(false, payload.len(), out);
            Ok((Changes::default(), Some(payload.clone())))
        }
        Some(EVENT) => {
            let is_valid = || check_value(payload, &Limits::DEFAULT).is_ok();
            if format == EventFormat::Json && !is_valid() {
                return Err(CANNOT_BE_DECODED.into());
            }
            let max = match format {
                EventFormat::Binary => usize::MAX,
                EventFormat::Json => out.len().saturating_add(MAX_LENGTH),
            };
            head.put_event(payload, false, max, out)?;
            Ok((Changes::default(), None))
        }
        Some(BATCH) => {
            if check_value(payload, &Limits::DEFAULT).is_err() {
                return Err(CANNOT_BE_DECODED.into());
            }
            let mut max = out.len().saturating_add(MAX_LENGTH);
            if format == EventFormat::Binary {
                // The topic, the sender and the format are repeated for each event.
                max = max.saturating_add(payload.len());
            }
            let mut content = Content::of(payload);
            let crosses = |event: &&[u8]| crosses(&envelope.topic, event_name(event).unwrap_or_default());
            let before = content.events.len();
            content.events.retain(crosses);
            content.others = content.others.saturating_add(before.saturating_sub(content.events.len()));
            let changes = head.put_events(&content, max, out)?;
            Ok((changes, None))
        }
        Some(_) => Err(LeftOut::NOT_AN_EVENT.into()),
        None => Err(EncodeError::NotCarried { what: "a value that is not a message of Zeek" }.into()),
    }
}

const CANNOT_BE_DECODED: EncodeError = EncodeError::NotCarried { what: "a value that cannot be decoded" };

impl Head<'_> {
    /// Appends the events of a batch. Omits the events that cannot be encoded, and fails if no other event remains.
    fn put_events(&self, content: &Content<'_>, max: usize, out: &mut BytesMut) -> Result<Changes, LeftOut> {
        let mut left_out = (content.others > 0)
            .then_some(LeftOut { messages: content.others, error: LeftOut::NOT_AN_EVENT });
        // The start of the last event that was appended, and whether it is marked as the end of the batch.
        let mut last: Option<(usize, bool)> = None;
        let mut events = content.events.iter().peekable();
        while let Some(event) = events.next() {
            let (start, more_follows) = (out.len(), events.peek().is_some());
            match self.put_event(event, more_follows, max, out) {
                Ok(()) => last = Some((start, !more_follows)),
                Err(error) => {
                    let before = left_out.map_or(0, |left_out| left_out.messages);
                    left_out = Some(LeftOut { messages: before.saturating_add(1), error });
                }
            }
        }
        let Some((start, ends_batch)) = last else {
            let nothing = EncodeError::NotCarried { what: "a batch without an event" };
            let LeftOut { messages, error } = left_out.unwrap_or(nothing.into());
            return Err(LeftOut { messages, error: if content.events.is_empty() { nothing } else { error } });
        };
        if !ends_batch {
            // The events after it were omitted.
            let lengths = [self.topic, self.sender].map(|part| {
                let header = if part.len() < 256 { 2 } else { 9 };
                part.len().saturating_add(header)
            });
            shorten_part_header(out, lengths.into_iter().fold(start, usize::saturating_add));
        }
        Ok(Changes { left_out, altered_strings: 0 })
    }

    /// Appends an event that ends at the position `max` or earlier. Appends nothing if this fails.
    fn put_event(
        &self,
        event: &[u8],
        more_follows: bool,
        max: usize,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        // JSON is longer than the binary form. This is checked first, so that a long topic is not copied for each event of a
        // batch that is too long.
        let end = start.saturating_add(self.topic.len()).saturating_add(event.len());
        if end > max {
            let length = end.saturating_sub(max).saturating_add(MAX_LENGTH);
            return Err(EncodeError::TooLong { what: "a batch", length, max: MAX_LENGTH });
        }
        match self.format {
            EventFormat::Binary => {
                self.put(more_follows, event.len(), out);
                out.put_slice(event);
            }
            EventFormat::Json => {
                self.put_head(more_follows, out);
                put_last_part_header(out);
                let body = out.len();
                out.put_u8(b'{');
                put_value(event, max, Dialect::Client, out, &mut Text::default())
                    .inspect_err(|_| out.truncate(start))?;
                set_last_size(out, body);
            }
        }
        Ok(())
    }

    /// Appends the first three parts, and the header of the payload.
    fn put(&self, more_follows: bool, payload: usize, out: &mut BytesMut) {
        self.put_head(more_follows, out);
        put_part_header(out, false, payload);
    }

    /// Appends the first three parts.
    fn put_head(&self, more_follows: bool, out: &mut BytesMut) {
        put_part_header(out, true, self.topic.len());
        out.put_slice(self.topic);
        put_part_header(out, true, self.sender.len());
        out.put_slice(self.sender);
        // A format with a long size marks an event that is followed by another event of the same batch, for `first_length`.
        // Readers accept both sizes.
        let format = self.format.name().as_bytes();
        if more_follows {
            put_long_part_header(out, format.len());
        } else {
            put_part_header(out, true, format.len());
        }
        out.put_slice(format);
    }
}

/// Returns the text of an id. Faster than `Display`.
pub(crate) fn id_text(id: EndpointId) -> [u8; SENDER] {
    let mut digits = [0; 32];
    HEXLOWER.encode_mut(id.as_bytes(), &mut digits);
    let mut text = [b'-'; SENDER];
    let positions = (0..SENDER).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
    for (at, digit) in positions.zip(digits) {
        if let Some(character) = text.get_mut(at) {
            *character = digit;
        }
    }
    text
}

/// Returns the length of the first message in bytes, with all events of a batch. The length includes a payload that was not
/// appended.
#[cfg(any(feature = "net", test))]
pub(crate) fn first_length(frames: &[u8]) -> Option<usize> {
    let mut end = 0usize;
    loop {
        let mut more_follows = false;
        for part in 0..PARTS {
            let (length, has_long_size) = end_of_first(frames.get(end..)?)?;
            more_follows |= part == 2 && has_long_size;
            end = end.saturating_add(length);
        }
        if !more_follows {
            return Some(end);
        }
    }
}

#[cfg(test)]
mod tests;
