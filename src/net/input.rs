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

/// A part of a frame that is no longer than this is copied out of the piece of memory that it was read into, rather than
/// keep all of that until the rest is there.
const COPIED: usize = PIECE / 4;

/// Bytes in the order of the stream. While there is nothing to be read, they take not much more memory than they need.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: BytesMut,
    place: Place,
    /// The most that waited since the memory was taken.
    most: usize,
}

/// Where the bytes stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In memory that was made for them.
    #[default]
    Fitting,
    /// In a [piece](memory), which others can use when they do not any more.
    Piece,
    /// In memory that grows with a frame which is too long for a piece.
    Growing,
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
            self.begin_in(BytesMut::new(), Place::Fitting);
        }
        taken
    }

    fn make_room(&mut self) {
        let length = self.bytes.len();
        if self.place == Place::Piece && self.bytes.try_reclaim(LARGEST_READ.saturating_sub(COPIED)) {
            return;
        }
        if length <= COPIED {
            self.begin_in(memory::take(), Place::Piece);
            return;
        }
        if self.place != Place::Growing {
            self.begin_in(BytesMut::with_capacity(length.saturating_mul(2)), Place::Growing);
        }
        // No more than is there already: a peer has to send what it wants memory for.
        self.bytes.reserve(length.min(LARGEST_READ));
    }

    fn make_small(&mut self) {
        if self.place != Place::Fitting && self.bytes.len() <= COPIED {
            self.begin_in(BytesMut::new(), Place::Fitting);
        }
    }

    /// Goes on in other memory.
    fn begin_in(&mut self, mut memory: BytesMut, place: Place) {
        memory.put_slice(&self.bytes);
        let before = std::mem::replace(&mut self.bytes, memory);
        if std::mem::replace(&mut self.place, place) == Place::Piece {
            memory::give_back(before);
        }
        self.most = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A peer, and what is read of it.
    async fn connected() -> (TcpStream, ReadHalf<Stream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::from(listener.accept().await.unwrap().0);
        (peer, tokio::io::split(stream).0)
    }

    /// Reads where there is nothing to be read.
    async fn finds_nothing(input: &mut Input, reader: &mut ReadHalf<Stream>) {
        tokio::select! {
            biased;
            _ = input.read(reader) => panic!("there is more"),
            () = std::future::ready(()) => {}
        }
    }

    /// Reads until so much is there.
    async fn until(input: &mut Input, reader: &mut ReadHalf<Stream>, length: usize) {
        while input.len() < length {
            assert!(input.read(reader).await.unwrap() > 0);
        }
    }

    #[tokio::test]
    async fn what_a_frame_took_is_not_kept_whatever_its_length() {
        let (mut peer, mut reader) = connected().await;
        let mut input = Input::default();
        let lengths =
            [1, COPIED, COPIED + 1, 3 * COPIED, PIECE - 1, PIECE, 2 * PIECE, 2 * PIECE + 1, 20 * PIECE];
        for length in lengths {
            let frame: Vec<u8> = (0..=250).cycle().take(length).collect();
            // With a part of the next frame behind it.
            let (sent, ()) = tokio::join!(peer.write_all(&frame), until(&mut input, &mut reader, length));
            sent.unwrap();
            peer.write_all(b"part").await.unwrap();
            until(&mut input, &mut reader, length.saturating_add(4)).await;
            assert!(input.take(|bytes| bytes.split_to(length)) == frame, "{length}");
            finds_nothing(&mut input, &mut reader).await;
            assert_eq!((&*input.bytes, input.place), (&b"part"[..], Place::Fitting));
            assert!(input.bytes.capacity() <= 64, "{length}: {}", input.bytes.capacity());
            let pieces: Vec<BytesMut> = (0..20).map(|_| memory::take()).collect();
            assert!(pieces.iter().all(|piece| piece.capacity() == PIECE), "{length}");
            pieces.into_iter().for_each(memory::give_back);
            input.clear();
        }
    }

    #[tokio::test]
    async fn a_frame_that_comes_bit_by_bit_takes_little_more_than_it_is_long() {
        let (mut peer, mut reader) = connected().await;
        let mut input = Input::default();
        let mut sent = 0;
        while sent < 5 * PIECE {
            let some = [7; 4099];
            peer.write_all(&some).await.unwrap();
            sent += some.len();
            until(&mut input, &mut reader, sent).await;
            finds_nothing(&mut input, &mut reader).await;
            let most = sent.max(COPIED).saturating_mul(4);
            assert!(input.bytes.capacity() <= most, "{sent}: {}", input.bytes.capacity());
        }
    }
}
