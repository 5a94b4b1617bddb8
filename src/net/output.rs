//! The bytes that a session has returned and that are not written yet.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};

use super::Stream;
use super::session::Session;

/// The maximum capacity that an empty queue of a connection keeps: the smallest one that is allocated. If this
/// capacity were freed too, each message to an idle peer would need an allocation.
const MAX_IDLE_CAPACITY: usize = 4;

/// The maximum number of pieces that are written with one call.
const MAX_PIECES: usize = 32;

/// The output of a connection. A position in it is the number of bytes that the session returned before it.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Bytes>,
    unwritten: usize,
    /// The total number of bytes that the session has returned.
    collected: u64,
    /// The end of the last message, as a position in the collected bytes.
    messages_end: u64,
    flush_pending: bool,
    /// The messages whose latency is measured: the position of the end of each message, and the time at which it was
    /// received.
    measured: VecDeque<(u64, Instant)>,
    /// The latencies of the measured messages that were written.
    latencies: Vec<Duration>,
}

impl Output {
    /// Collects all bytes that the session returns.
    pub(super) fn collect(&mut self, session: &mut impl Session) {
        while let Some(bytes) = session.poll_transmit() {
            self.unwritten = self.unwritten.saturating_add(bytes.len());
            self.collected = self.collected.saturating_add(to_u64(bytes.len()));
            self.pieces.push_back(bytes);
        }
    }

    /// Records that messages were queued in the session. `unsent` is the number of bytes that the session has not returned
    /// yet. If `received` is set, the latency of the messages is measured.
    pub(super) fn end_message(&mut self, unsent: usize, received: Option<Instant>) {
        self.messages_end = self.collected.saturating_add(to_u64(unsent));
        if let Some(received) = received {
            self.measured.push_back((self.messages_end, received));
        }
    }

    /// Writes some bytes from the front, and removes them. If there are no bytes, flushes. Cancel-safe.
    pub(super) async fn write(&mut self, writer: &mut WriteHalf<Stream>) -> io::Result<()> {
        if self.pieces.is_empty() {
            writer.flush().await?;
            self.flush_pending = false;
            return Ok(());
        }
        let written = poll_fn(|cx| self.poll_write(cx, writer)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.remove(written);
        self.flush_pending = true;
        self.measure_latencies();
        Ok(())
    }

    /// Writes the first pieces. The list of pieces is on the stack, so that idle peers do not reserve memory for it.
    fn poll_write(&self, cx: &mut Context<'_>, writer: &mut WriteHalf<Stream>) -> Poll<io::Result<usize>> {
        let mut slices = [io::IoSlice::new(&[]); MAX_PIECES];
        let mut used = 0usize;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = io::IoSlice::new(piece);
            used = used.saturating_add(1);
        }
        Pin::new(writer).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn remove(&mut self, written: usize) {
        self.unwritten = self.unwritten.saturating_sub(written);
        let mut left = written;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > left {
                piece.advance(left);
                break;
            }
            left = left.saturating_sub(piece.len());
            self.pieces.pop_front();
        }
    }

    fn measure_latencies(&mut self) {
        let written = self.written();
        while let Some((_, received)) = self.measured.front().filter(|(end, _)| *end <= written) {
            self.latencies.push(received.elapsed());
            self.measured.pop_front();
        }
    }

    /// Returns the latencies of the measured messages that were written since the last call.
    pub(super) fn take_latencies(&mut self) -> impl Iterator<Item = Duration> {
        self.latencies.drain(..)
    }

    /// Returns whether [`Output::take_latencies`] returns any.
    pub(super) fn has_latencies(&self) -> bool {
        !self.latencies.is_empty()
    }

    /// Returns whether any message is unwritten. Bytes that are not part of a message do not count. If only a flush is
    /// pending, tries to flush first, without waiting.
    pub(super) async fn owes_messages(&mut self, writer: &mut WriteHalf<Stream>) -> bool {
        if self.flush_pending && self.pieces.is_empty() {
            let flushed = poll_fn(|cx| Poll::Ready(Pin::new(&mut *writer).poll_flush(cx))).await;
            self.flush_pending = !matches!(flushed, Poll::Ready(Ok(())));
        }
        self.flush_pending || self.written() < self.messages_end
    }

    /// Returns how many of the collected bytes are written.
    fn written(&self) -> u64 {
        self.collected.saturating_sub(to_u64(self.unwritten))
    }

    /// Returns the number of bytes that are not written.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Returns the number of unwritten bytes after the last message. They are not part of a message, such as a pong.
    pub(super) fn unwritten_answers(&self) -> usize {
        let answers = self.collected.saturating_sub(self.messages_end);
        usize::try_from(answers).map_or(self.unwritten, |answers| answers.min(self.unwritten))
    }

    /// Returns whether no bytes are queued. They may not be flushed yet.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Returns whether all bytes are written and flushed.
    pub(super) fn is_written(&self) -> bool {
        !self.flush_pending && self.pieces.is_empty()
    }

    /// Discards the unwritten bytes after the stream has failed.
    pub(super) fn discard(&mut self) {
        self.pieces.clear();
        self.unwritten = 0;
        self.flush_pending = false;
    }

    /// Frees memory after everything was written. The next message may be hours away, and there may be thousands of idle
    /// peers.
    pub(super) fn shrink(&mut self) {
        if self.pieces.capacity() > MAX_IDLE_CAPACITY {
            self.pieces = VecDeque::new();
        }
        if self.measured.is_empty() && self.measured.capacity() > MAX_IDLE_CAPACITY {
            self.measured = VecDeque::new();
        }
    }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
