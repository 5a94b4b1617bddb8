//! A buffer for the bytes that were read from a stream and are not consumed yet.

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, ReadHalf};

use super::Stream;
use super::memory::{self, PIECE};

/// The maximum length of one read in bytes.
pub(super) const LARGEST_READ: usize = PIECE;

/// An incomplete frame up to this length in bytes is copied out of the buffer that it was read into. Without the copy, it
/// would keep the buffer allocated until the rest of the frame arrives.
const COPIED: usize = PIECE / 4;

/// The unconsumed bytes, in the order of the stream. While nothing can be read, their memory is little larger than their
/// length.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: BytesMut,
    storage: Storage,
    /// The start of the buffer of the thread in which the bytes are stored.
    buffer: Option<usize>,
    /// The maximum number of unconsumed bytes since the storage was chosen.
    max_len: usize,
}

/// The kind of memory that the bytes are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Storage {
    /// Memory that is exactly as long as the bytes.
    #[default]
    Exact,
    /// A [buffer of the thread](memory), which is returned to it after use.
    Shared,
    /// Memory that grows, for a frame that is too long for a buffer of the thread.
    Growing,
}

impl Input {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Reads from the stream. Returns the number of bytes that were read: 0 at the end of the stream.
    pub(super) async fn read(&mut self, reader: &mut ReadHalf<Stream>) -> io::Result<usize> {
        poll_fn(|cx| {
            self.make_room();
            let read = pin!(reader.read_buf(&mut (&mut self.bytes).limit(LARGEST_READ))).poll(cx);
            if read.is_pending() {
                self.shrink();
            }
            read
        })
        .await
    }

    /// Returns the start and the length of the buffer of the thread that contains `consumed`, if these bytes were read into it and
    /// nothing was read since.
    pub(super) fn buffer_of(&self, consumed: &[u8]) -> Option<(usize, usize)> {
        let start = self.buffer?;
        let offset = consumed.as_ptr().addr().checked_sub(start)?;
        (offset < PIECE).then_some((start, PIECE))
    }

    /// Calls `consume` to remove bytes from the front.
    pub(super) fn take<T>(&mut self, consume: impl FnOnce(&mut BytesMut) -> T) -> T {
        self.max_len = self.max_len.max(self.bytes.len());
        let result = consume(&mut self.bytes);
        if self.bytes.len() <= LARGEST_READ && self.max_len > 2 * LARGEST_READ {
            // The memory contained a large frame. Continue in new memory, so that small frames do not share that of the
            // large frame: see `for_keeping`.
            self.move_to(BytesMut::new(), Storage::Exact);
        }
        result
    }

    fn make_room(&mut self) {
        let length = self.bytes.len();
        if self.storage == Storage::Shared && self.bytes.try_reclaim(LARGEST_READ.saturating_sub(COPIED)) {
            return;
        }
        if length <= COPIED {
            self.move_to(memory::take(), Storage::Shared);
            return;
        }
        if self.storage != Storage::Growing {
            self.move_to(BytesMut::with_capacity(length.saturating_mul(2)), Storage::Growing);
        }
        // This at most doubles the memory, so that a peer must send bytes before much memory is allocated for it.
        self.bytes.reserve(length.min(LARGEST_READ));
    }

    fn shrink(&mut self) {
        if self.storage != Storage::Exact && self.bytes.len() <= COPIED {
            self.move_to(BytesMut::new(), Storage::Exact);
        }
    }

    /// Moves the bytes to `memory`, which is used from now on.
    fn move_to(&mut self, mut memory: BytesMut, storage: Storage) {
        self.buffer = (storage == Storage::Shared).then(|| memory.as_ptr().addr());
        memory.put_slice(&self.bytes);
        let before = std::mem::replace(&mut self.bytes, memory);
        if std::mem::replace(&mut self.storage, storage) == Storage::Shared {
            memory::give_back(before);
        }
        self.max_len = self.bytes.len();
    }
}

/// Returns the buffer to the thread.
impl Drop for Input {
    fn drop(&mut self) {
        self.clear();
        self.move_to(BytesMut::new(), Storage::Exact);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Returns a peer, and the reading half of its connection.
    async fn connected() -> (TcpStream, ReadHalf<Stream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::from(listener.accept().await.unwrap().0);
        (peer, tokio::io::split(stream).0)
    }

    /// Calls `read` when the stream has no data.
    async fn read_nothing(input: &mut Input, reader: &mut ReadHalf<Stream>) {
        tokio::select! {
            biased;
            _ = input.read(reader) => panic!("there is more"),
            () = std::future::ready(()) => {}
        }
    }

    /// Reads until `length` bytes are unconsumed.
    async fn read_until(input: &mut Input, reader: &mut ReadHalf<Stream>, length: usize) {
        while input.len() < length {
            assert!(input.read(reader).await.unwrap() > 0);
        }
    }

    #[tokio::test]
    async fn no_memory_is_kept_after_a_frame_of_any_length() {
        let (mut peer, mut reader) = connected().await;
        let mut input = Input::default();
        let lengths =
            [1, COPIED, COPIED + 1, 3 * COPIED, PIECE - 1, PIECE, 2 * PIECE, 2 * PIECE + 1, 20 * PIECE];
        for length in lengths {
            let frame: Vec<u8> = (0..=250).cycle().take(length).collect();
            // A part of the next frame follows.
            let (sent, ()) =
                tokio::join!(peer.write_all(&frame), read_until(&mut input, &mut reader, length));
            sent.unwrap();
            peer.write_all(b"part").await.unwrap();
            read_until(&mut input, &mut reader, length.saturating_add(4)).await;
            assert!(input.take(|bytes| bytes.split_to(length)) == frame, "{length}");
            read_nothing(&mut input, &mut reader).await;
            assert_eq!((&*input.bytes, input.storage), (&b"part"[..], Storage::Exact));
            assert!(input.bytes.capacity() <= 64, "{length}: {}", input.bytes.capacity());
            let pieces: Vec<BytesMut> = (0..memory::MAX_KEPT).map(|_| memory::take()).collect();
            assert!(pieces.iter().all(|piece| piece.capacity() == PIECE), "{length}");
            pieces.into_iter().for_each(memory::give_back);
            input.clear();
        }
    }

    #[tokio::test]
    async fn a_frame_that_arrives_in_small_parts_occupies_little_more_than_its_length() {
        let (mut peer, mut reader) = connected().await;
        let mut input = Input::default();
        let mut sent = 0;
        while sent < 5 * PIECE {
            let some = [7; 4099];
            peer.write_all(&some).await.unwrap();
            sent += some.len();
            read_until(&mut input, &mut reader, sent).await;
            read_nothing(&mut input, &mut reader).await;
            let most = sent.max(COPIED).saturating_mul(4);
            assert!(input.bytes.capacity() <= most, "{sent}: {}", input.bytes.capacity());
        }
    }
}
