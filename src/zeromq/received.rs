//! Complete events at the front of the input of an XSUB. They are read when they are polled, so they do not pass through a queue.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::config::EventFormat;
use super::event::envelope;
use super::frame::read_header;
use super::multipart::PARTS;
use super::senders::{MAX_SENDER, Senders};
use crate::data::{EndpointId, Topic};
use crate::wire::Envelope;
use crate::zeek::events::{EVENT, kind};

/// The length of a header with a size of one byte.
const SHORT_HEADER: usize = 2;

/// Received events without encryption, in the usual form: binary, with four parts and without a command between them, and with a
/// format whose size has one byte.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The frames of the events.
    frames: Bytes,
    /// The start of the next event in `frames`.
    next: usize,
    /// The event that was polled last.
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only connections forward frames"))]
    last: Range<usize>,
    /// The number of events that were not polled.
    pending: usize,
}

/// The positions of the parts of a message.
struct Parts {
    topic: Range<usize>,
    sender: Range<usize>,
    format: Range<usize>,
    payload: Range<usize>,
}

/// Why a message has no [`Parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoParts {
    /// The end of the message has not arrived, and what has arrived is in the usual form.
    Incomplete,
    /// The message is not in the usual form, or it is longer than the limit.
    Unusual,
}

/// Returns whether the message at the start of `input` may become an event in the usual form when the rest of it arrives.
pub(super) fn is_incomplete(input: &[u8], limit: usize) -> bool {
    Parts::find(input, 0, limit).err() == Some(NoParts::Incomplete)
}

impl Received {
    /// Removes events from the front of `input`, at most `count`, up to the first message that is incomplete, longer than `limit`,
    /// not in the usual form, or not a valid event. Copies nothing.
    pub(super) fn take(input: &mut BytesMut, limit: usize, count: usize) -> Self {
        let (mut end, mut pending) = (0usize, 0usize);
        while pending < count
            && let Ok(parts) = Parts::find(input, end, limit)
            && parts.are_usual(input)
        {
            end = parts.payload.end;
            pending = pending.saturating_add(1);
        }
        if pending == 0 {
            return Self::default();
        }
        Received { frames: input.split_to(end).freeze(), pending, ..Self::default() }
    }

    /// Returns the next event whose sender is not `own_id`. Frees the memory after the last event.
    pub(super) fn poll(&mut self, senders: &mut Senders, own_id: EndpointId) -> Option<Envelope> {
        while let Ok(parts) = Parts::find(&self.frames, self.next, usize::MAX) {
            self.last = self.next..parts.payload.end;
            self.next = parts.payload.end;
            self.pending = self.pending.saturating_sub(1);
            let sender = senders.id(self.frames.get(parts.sender)?);
            if sender != own_id {
                let topic = Topic::part_of(&self.frames, parts.topic).ok()?;
                return Some(envelope(sender, topic, self.frames.slice(parts.payload)));
            }
        }
        if !self.frames.is_empty() {
            *self = Self::default();
        }
        None
    }

    /// Returns the number of events that were not polled. Includes those of this endpoint.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Returns the memory of the event that was polled last, and the position of its frames there. `None` if [`Received::poll`] has
    /// returned `None`.
    #[cfg(feature = "net")]
    pub(super) fn last(&self) -> Option<(&Bytes, Range<usize>)> {
        (!self.last.is_empty()).then(|| (&self.frames, self.last.clone()))
    }
}

impl Parts {
    /// Finds the parts of the message that begins at `start`. In the usual form, a message has [`PARTS`] parts, and no command between
    /// them.
    fn find(frames: &[u8], start: usize, limit: usize) -> Result<Self, NoParts> {
        let mut parts = [const { 0..0 }; PARTS];
        let mut end = start;
        let mut more = true;
        for part in &mut parts {
            if !more {
                return Err(NoParts::Unusual);
            }
            let rest = frames.get(end..).ok_or(NoParts::Incomplete)?;
            let header =
                read_header(rest, limit).map_err(|_| NoParts::Unusual)?.ok_or(NoParts::Incomplete)?;
            if header.is_command {
                return Err(NoParts::Unusual);
            }
            more = header.more;
            let body = end.saturating_add(header.length);
            end = body.saturating_add(header.body);
            if end.saturating_sub(start) > limit {
                return Err(NoParts::Unusual);
            }
            *part = body..end;
        }
        let [topic, sender, format, payload] = parts;
        match () {
            () if more => Err(NoParts::Unusual),
            () if end > frames.len() => Err(NoParts::Incomplete),
            () => Ok(Parts { topic, sender, format, payload }),
        }
    }

    /// Returns whether the message is a valid event in the usual form. `first_length` expects that form, too.
    fn are_usual(&self, frames: &[u8]) -> bool {
        let part = |range: &Range<usize>| frames.get(range.clone()).unwrap_or_default();
        self.topic.len() <= Topic::MAX_LEN
            && self.sender.len() <= MAX_SENDER
            && self.format.start.saturating_sub(self.sender.end) == SHORT_HEADER
            && part(&self.format) == EventFormat::Binary.name().as_bytes()
            && kind(part(&self.payload)) == Some(EVENT)
    }
}
