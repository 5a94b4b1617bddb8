//! What was read from a stream and is not taken yet.

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, ReadHalf};

use super::Stream;
use super::memory::{self, PIECE};

/// A read brings no more than this.
pub(super) const LARGEST_READ: usize = PIECE;

/// A part of a frame that is no longer than this is copied out of the memory that it was read into, rather than keep all
/// of that until the rest is there.
const COPIED: usize = 4 * 1024;

/// Bytes in the order of the stream. While there is nothing to be read, they take no more memory than they need.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: BytesMut,
    /// Whether they stand in a [piece](memory), which others can use when they do not any more.
    in_piece: bool,
    /// The most that waited since the memory was taken.
    most: usize,
}

impl Input {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Reads some.
    pub(super) async fn read(&mut self, reader: &mut ReadHalf<Stream>) -> io::Result<usize> {
        poll_fn(|cx| {
            self.make_room();
            let read = pin!(reader.read_buf(&mut (&mut self.bytes).limit(LARGEST_READ))).poll(cx);
            if read.is_pending() {
                self.make_small();
            }
            read
        })
        .await
    }

    /// Lets something be taken off the front.
    pub(super) fn take<T>(&mut self, take: impl FnOnce(&mut BytesMut) -> T) -> T {
        self.most = self.most.max(self.bytes.len());
        let taken = take(&mut self.bytes);
        if self.bytes.len() <= LARGEST_READ && self.most > 2 * LARGEST_READ {
            // Let go of the memory that a large frame took, so that small ones do not share it: see for_keeping.
            self.begin_with(BytesMut::new(), false);
        }
        taken
    }

    fn make_room(&mut self) {
        if self.bytes.len() > COPIED {
            self.bytes.reserve(LARGEST_READ);
        } else if !self.bytes.try_reclaim(LARGEST_READ.saturating_sub(COPIED)) {
            self.begin_with(memory::take(), true);
        }
    }

    fn make_small(&mut self) {
        if self.in_piece && self.bytes.len() <= COPIED {
            self.begin_with(BytesMut::new(), false);
        }
    }

    /// Goes on in other memory.
    fn begin_with(&mut self, mut memory: BytesMut, is_piece: bool) {
        memory.put_slice(&self.bytes);
        let before = std::mem::replace(&mut self.bytes, memory);
        if std::mem::replace(&mut self.in_piece, is_piece) {
            memory::give_back(before);
        }
        self.most = self.bytes.len();
    }
}
