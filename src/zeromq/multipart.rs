//! Messages of several parts.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::error::Error;
use super::frame::read_header;

/// The number of parts of an event and of a log batch.
pub(super) const PARTS: usize = 4;

/// A complete message: its parts, or their number if it is not [`PARTS`].
pub(super) type Message = Result<[Bytes; PARTS], usize>;

/// Collects the parts of a message.
#[derive(Debug, Default)]
pub(super) struct Multipart {
    /// The first parts. Parts after them are counted and discarded.
    parts: [Bytes; PARTS],
    count: usize,
    /// The length of the message so far, with the headers of its frames. So a message without an end reaches the limit even
    /// if its parts are empty.
    length: usize,
}

impl Multipart {
    /// Returns whether no message is incomplete.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a part. `more`: further parts follow. `length`: the length of the frame with its header. Returns the message if it is
    /// complete.
    ///
    /// # Errors
    /// Fails if the message is longer than `limit`.
    pub(super) fn add(
        &mut self,
        more: bool,
        length: usize,
        body: Bytes,
        limit: usize,
    ) -> Result<Option<Message>, Error> {
        self.length = self.length.saturating_add(length);
        if self.length > limit {
            return Err(Error::MessageTooLarge { limit });
        }
        if let Some(part) = self.parts.get_mut(self.count) {
            *part = body;
        }
        self.count = self.count.saturating_add(1);
        if more {
            return Ok(None);
        }
        let Multipart { parts, count, .. } = std::mem::take(self);
        Ok(Some(if count == PARTS { Ok(parts) } else { Err(count) }))
    }
}

/// A complete message of [`PARTS`] parts in one piece of memory.
#[derive(Debug)]
pub(super) struct Contiguous {
    frames: Bytes,
    /// The positions of the parts in `frames`.
    parts: [Range<usize>; PARTS],
}

impl Contiguous {
    /// Removes the message at the start of `input` if all its parts have arrived. Otherwise, returns `None`: its frames must then be
    /// removed one by one, which needs more CPU time. This includes a message with a different number of parts, with a command between
    /// its parts, or longer than `limit`. Copies nothing.
    pub(super) fn cut(input: &mut BytesMut, limit: usize) -> Option<Self> {
        let mut parts = [const { 0..0 }; PARTS];
        let mut end = 0usize;
        let mut more = true;
        for part in &mut parts {
            let header = read_header(input.get(end..)?, limit).ok()??;
            if header.is_command || !more {
                return None;
            }
            more = header.more;
            let start = end.checked_add(header.length)?;
            end = start.checked_add(header.body)?;
            *part = start..end;
        }
        if more || end > input.len().min(limit) {
            return None;
        }
        Some(Contiguous { frames: input.split_to(end).freeze(), parts })
    }

    /// Returns the parts between the first and the last one.
    pub(super) fn inner(&self) -> [&[u8]; PARTS - 2] {
        let [_, inner @ .., _] = &self.parts;
        inner.each_ref().map(|part| self.frames.get(part.clone()).unwrap_or_default())
    }

    /// Returns the first and the last part.
    pub(super) fn into_ends(self) -> [Bytes; 2] {
        let Contiguous { mut frames, parts: [first, .., last] } = self;
        let first = frames.slice(first);
        // The last part ends where the frames end.
        frames.advance(last.start);
        [first, frames]
    }
}
