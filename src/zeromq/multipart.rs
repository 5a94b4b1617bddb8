//! Messages of several parts.

use bytes::Bytes;

use super::error::Error;

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
