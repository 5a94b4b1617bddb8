//! Moves bytes between a stream and the session on it. All decisions are made by the session and by the caller.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::Stream;
use super::frames::Frames;
use super::input::{Input, LARGEST_READ};
use super::session::{Format, Session};
use super::tls::TlsError;
use crate::data::Filter;
use crate::peering::{CloseReason, ErrorKind, Event, Peering, PeeringError, SendError};
use crate::wire::{EncodeError, Envelope};

/// The maximum capacity that an empty queue of a connection keeps.
const MAX_IDLE_CAPACITY: usize = 8;

/// The number of unwritten bytes from which [`Connection::is_backlogged`] returns `true`.
const BACKLOG: usize = 256 * 1024;

/// The maximum number of unwritten bytes that a peer may cause by sending pings without reading the pongs, in addition to
/// [`BACKLOG`] and one frame of the maximum length.
const MAX_UNREAD_ANSWERS: usize = 1024 * 1024;

/// The maximum time to write the last bytes before a connection is closed.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream and the session on it.
#[derive(Debug)]
pub struct Connection<S = Peering> {
    session: S,
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    input: Input,
    /// The session stopped before the end of the input, because its event queue is full.
    more_input: bool,
    output: VecDeque<Bytes>,
    unwritten: usize,
    /// The total number of bytes that the session has returned.
    collected: u64,
    /// The end of the last message, as a position in the collected bytes.
    messages_end: u64,
    flush_pending: bool,
    max_unwritten: usize,
    /// While `true`, nothing is read and no event is returned.
    paused: bool,
    /// The messages whose latency is measured: where each ends in the collected bytes, and when it was received.
    measured: VecDeque<(u64, Instant)>,
    /// The latencies of the measured messages that were written.
    latencies: Vec<Duration>,
    /// The error of the stream that ended the session, if there was one.
    fault: Option<ConnectionFault>,
}

/// The result of moving bytes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress {
    /// The session reports an event.
    Event(Event),
    /// The connection is not [backlogged](Connection::is_backlogged) any more, or everything is written.
    CaughtUp,
}

/// An error of the stream under a session.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The peer refused the TLS handshake, or TLS failed later.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stream failed.
    #[error("{0}")]
    Io(#[source] std::sync::Arc<io::Error>),
    /// The peer sends requests and does not read the answers.
    #[error("the peer sends pings and does not read the pongs")]
    DoesNotRead,
}

impl Connection<Peering> {
    /// Queues a message.
    ///
    /// # Errors
    /// Fails like [`Peering::send`].
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        self.session.send(envelope)?;
        self.messages_end = self.collected.saturating_add(to_u64(self.session.unsent()));
        Ok(())
    }

    /// Returns the peering, for calls in response to its events. Instead of [`Peering::admit`], call [`Connection::admit`], which
    /// also handles the input that was buffered in the meantime.
    pub fn peering(&mut self) -> &mut Peering {
        &mut self.session
    }
}

impl<S: Session> Connection<S> {
    /// Returns a connection on which nothing was sent or received. `max_frame` is the session's limit for a message from the
    /// peer, in bytes.
    #[must_use]
    pub fn new(stream: Stream, session: S, max_frame: usize) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Connection {
            session,
            reader,
            writer,
            input: Input::default(),
            more_input: false,
            output: VecDeque::new(),
            unwritten: 0,
            collected: 0,
            messages_end: 0,
            flush_pending: false,
            max_unwritten: max_frame.saturating_add(BACKLOG).saturating_add(MAX_UNREAD_ANSWERS),
            paused: false,
            measured: VecDeque::new(),
            latencies: Vec::new(),
            fault: None,
        }
    }

    /// Moves bytes until the session reports an event, or a backlog is written.
    ///
    /// Cancel-safe: it can be dropped at any await and called again; nothing is lost.
    pub async fn progress(&mut self) -> Progress {
        loop {
            // After the session has ended, the caller needs the remaining events even if it is not ready for more messages.
            let paused = self.paused && !self.session.is_closed();
            if !paused {
                if let Some(event) = self.session.poll_event() {
                    return Progress::Event(event);
                }
                if self.more_input {
                    self.handle_input();
                    continue;
                }
            }
            let backlogged = self.is_backlogged();
            self.collect();
            if self.unwritten > self.max_unwritten {
                self.end(ConnectionFault::DoesNotRead);
                continue;
            }
            if self.session.is_closed() {
                // `Event::Closed` was returned before, and there are no events after it.
                std::future::pending::<()>().await;
            }
            let deadline = self.session.poll_timeout().map(tokio::time::Instant::from_std);
            let writing = !self.is_written();
            // A session that waits for admission consumes no input. Only one read is buffered in that time, so that the end of
            // the stream is noticed.
            let reading = !paused && (self.session.takes_input() || self.input.len() < LARGEST_READ);
            tokio::select! {
                read = self.input.read(&mut self.reader), if reading => self.handle_read(read),
                written = push(&mut self.writer, &mut self.output), if writing => match written {
                    Ok(count) => {
                        self.unwritten = self.unwritten.saturating_sub(count);
                        self.flush_pending = count > 0;
                        self.measure_latencies();
                    }
                    Err(error) => self.write_failed(error).await,
                },
                () = sleep_until(deadline) => self.session.handle_timeout(Instant::now()),
            }
            let written = writing && self.is_written();
            if written {
                self.shrink_buffers();
            }
            if written || (backlogged && !self.is_backlogged()) {
                return Progress::CaughtUp;
            }
        }
    }

    fn handle_read(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => self.session.handle_eof(),
            Ok(_) => self.handle_input(),
            Err(error) => self.end(fault(error)),
        }
    }

    fn handle_input(&mut self) {
        self.more_input = self.input.take(|input| self.session.handle_input(Instant::now(), input));
    }

    /// Frees memory after everything was written. The next message may be hours away, and there may be thousands of idle
    /// peers.
    fn shrink_buffers(&mut self) {
        if self.output.capacity() > MAX_IDLE_CAPACITY {
            self.output = VecDeque::new();
        }
        if self.measured.is_empty() && self.measured.capacity() > MAX_IDLE_CAPACITY {
            self.measured = VecDeque::new();
        }
        self.session.shrink_buffers();
    }

    /// Ends the session after a write error. A peer that closes the connection may have sent the reason before. That reason is
    /// read first, because it is more specific than a broken pipe.
    async fn write_failed(&mut self, error: io::Error) {
        self.output.clear();
        self.unwritten = 0;
        self.flush_pending = false;
        let reason = tokio::time::timeout(FINISH_TIMEOUT, async {
            loop {
                match self.input.read(&mut self.reader).await {
                    Ok(0) => return None,
                    Ok(_) if self.input.len() > LARGEST_READ => return None,
                    Ok(_) => {
                        self.handle_input();
                        if self.session.is_closed() {
                            return None;
                        }
                    }
                    Err(error) => return Some(error),
                }
            }
        })
        .await;
        match reason {
            Ok(Some(reason)) if TlsError::from_io(&reason).is_some() => self.end(fault(reason)),
            _ => self.end(fault(error)),
        }
    }

    fn end(&mut self, fault: ConnectionFault) {
        self.fault.get_or_insert(fault);
        self.session.handle_eof();
        // The queued bytes cannot be written any more.
        while self.session.poll_transmit().is_some() {}
        self.output.clear();
        self.unwritten = 0;
        self.flush_pending = false;
    }

    fn collect(&mut self) {
        while let Some(bytes) = self.session.poll_transmit() {
            self.unwritten = self.unwritten.saturating_add(bytes.len());
            self.collected = self.collected.saturating_add(to_u64(bytes.len()));
            self.output.push_back(bytes);
        }
    }

    /// Returns the encoding of messages on this connection.
    pub(crate) fn format(&self) -> &'static Format {
        self.session.format()
    }

    /// Queues messages that are encoded in this connection's [format](Connection::format).
    pub(crate) fn send_frames(&mut self, frames: Frames) -> Result<(), SendError> {
        let received = frames.received;
        // Without this, a queued message could keep a large shared buffer allocated. The session copies short messages anyway.
        let frames = if frames.length() > S::COPIED { frames.detached() } else { frames };
        self.session.send_encoded(frames.pieces())?;
        self.messages_end = self.collected.saturating_add(to_u64(self.session.unsent()));
        if let Some(received) = received {
            self.measured.push_back((self.messages_end, received));
        }
        Ok(())
    }

    /// Returns the next event if it is a message that was read already.
    pub(crate) fn next_message(&mut self) -> Option<Envelope> {
        self.session.poll_message()
    }

    /// Returns the number of queued events, most of which are messages.
    pub(crate) fn pending_events(&self) -> usize {
        self.session.pending_events()
    }

    /// Returns whether any message is unwritten, including messages that cannot be written any more. Other bytes of the
    /// session, such as the answer to a BYE, do not count.
    pub async fn owes_messages(&mut self) -> bool {
        if self.flush_pending && self.output.is_empty() {
            let flushed = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.writer).poll_flush(cx))).await;
            self.flush_pending = !matches!(flushed, Poll::Ready(Ok(())));
        }
        self.fault.is_some() || self.flush_pending || self.written() < self.messages_end
    }

    /// Returns how many of the collected bytes are written.
    fn written(&self) -> u64 {
        self.collected.saturating_sub(to_u64(self.unwritten))
    }

    fn measure_latencies(&mut self) {
        let written = self.written();
        while let Some((_, received)) = self.measured.front().filter(|(end, _)| *end <= written) {
            self.latencies.push(received.elapsed());
            self.measured.pop_front();
        }
    }

    /// Returns the latencies of the measured messages that were written since the last call.
    pub(crate) fn take_latencies(&mut self) -> impl Iterator<Item = Duration> {
        self.latencies.drain(..)
    }

    /// Stops or resumes reading and returning events. Writing continues in the meantime, and the session sends pings so that
    /// the peer does not consider this side dead. After the end of the session, the remaining events are returned even
    /// while paused.
    pub(crate) fn pause(&mut self, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            self.session.pause(Instant::now(), paused);
        }
    }

    /// Returns whether so many bytes are unwritten that further messages should wait in their queue.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        self.unwritten.saturating_add(self.session.unsent()) >= BACKLOG
    }

    /// Returns whether all bytes are written, that is, accepted by the operating system.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !self.flush_pending && self.output.is_empty() && self.session.unsent() == 0
    }

    /// Returns whether the session is established.
    pub(crate) fn is_established(&self) -> bool {
        self.session.is_established()
    }

    /// Like [`Peering::admit`]; then handles the input that was buffered in the meantime.
    pub fn admit(&mut self) {
        self.session.admit();
        self.handle_input();
    }

    /// Calls [`Peering::refuse_redundant`].
    pub(crate) fn refuse_redundant(&mut self) {
        self.session.refuse_redundant();
    }

    /// Calls [`Peering::leave`].
    pub(crate) fn leave(&mut self) {
        self.session.leave(Instant::now());
    }

    /// Calls [`Peering::set_filter`].
    pub(crate) fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        self.session.set_filter(filter)
    }

    /// Returns the error of the stream that ended the session, if there was one. The [`CloseReason`] of the session may only be
    /// that the stream ended.
    #[must_use]
    pub fn fault(&self) -> Option<&ConnectionFault> {
        self.fault.as_ref()
    }

    /// Writes the remaining bytes (such as a `drop_conn`) and closes the connection, within a second. Call it after
    /// [`Event::Closed`].
    pub async fn finish(mut self) {
        let _ = tokio::time::timeout(FINISH_TIMEOUT, self.write_and_shut_down()).await;
    }

    async fn write_and_shut_down(&mut self) -> io::Result<()> {
        self.collect();
        while !self.output.is_empty() {
            push(&mut self.writer, &mut self.output).await?;
        }
        self.writer.shutdown().await
    }

    /// Calls [`Peering::refuse`] and closes the connection, within a second.
    pub(crate) async fn refuse(mut self) {
        self.session.refuse();
        let _ = tokio::time::timeout(FINISH_TIMEOUT, async {
            self.write_and_shut_down().await?;
            // A socket that is closed with unread input sends a reset, and the peer may lose the refusal.
            loop {
                self.input.clear();
                if self.input.read(&mut self.reader).await? == 0 {
                    return Ok::<_, io::Error>(());
                }
            }
        })
        .await;
    }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn fault(error: io::Error) -> ConnectionFault {
    match TlsError::from_io(&error) {
        Some(error) => error.into(),
        None => ConnectionFault::Io(std::sync::Arc::new(error)),
    }
}

/// Writes some of the bytes at the front and removes them from `output`; flushes if there are none. Returns the number of bytes.
async fn push(writer: &mut WriteHalf<Stream>, output: &mut VecDeque<Bytes>) -> io::Result<usize> {
    const MAX_PIECES: usize = 32;
    if output.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    let mut slices = [io::IoSlice::new(&[]); MAX_PIECES];
    let mut used = 0usize;
    for (slice, piece) in slices.iter_mut().zip(output.iter()) {
        *slice = io::IoSlice::new(piece);
        used = used.saturating_add(1);
    }
    let written = writer.write_vectored(slices.get(..used).unwrap_or_default()).await?;
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut left = written;
    while let Some(piece) = output.front_mut() {
        if piece.len() > left {
            piece.advance(left);
            break;
        }
        left = left.saturating_sub(piece.len());
        output.pop_front();
    }
    Ok(written)
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl ConnectionFault {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConnectionFault::Tls(error) => error.kind(),
            ConnectionFault::Io(_) => ErrorKind::Io,
            ConnectionFault::DoesNotRead => ErrorKind::Misbehaved,
        }
    }

    /// Returns whether this fault is more specific than `reason`, which may only be that the stream ended.
    #[must_use]
    pub fn explains(&self, reason: &CloseReason) -> bool {
        match reason {
            CloseReason::Lost | CloseReason::LeftUnconfirmed => true,
            // A peer that expects TLS resets the connection when it receives plain bytes. `ClosedInHandshake` is more specific
            // than that reset.
            CloseReason::Failed(PeeringError::ClosedInHandshake { .. }) => {
                !matches!(self, ConnectionFault::Io(_))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::data::{EndpointId, Topic, Value};
    use crate::net::for_keeping;
    use crate::peering::{Config, Side};
    use crate::wire::Limits;

    /// Returns the two ends of an established peering.
    async fn peers() -> [Connection; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let connection = |stream: TcpStream, n, side| {
            let peering = Peering::new(Config::new(EndpointId::from_bytes([n; 16]), side), Instant::now());
            Connection::new(stream.into(), peering, Limits::DEFAULT.max_frame)
        };
        let mut peers = [connection(connecting, 1, Side::Connector), connection(accepted, 2, Side::Listener)];
        while !peers.iter().all(|peer| peer.is_established() && peer.is_written()) {
            let [a, b] = &mut peers;
            let (progress, peer) = tokio::select! {
                progress = a.progress() => (progress, a),
                progress = b.progress() => (progress, b),
            };
            if matches!(progress, Progress::Event(Event::Introduced { .. })) {
                peer.admit();
            }
        }
        peers
    }

    async fn next_message(from: &mut Connection, to: &mut Connection) -> Envelope {
        loop {
            let progress = tokio::select! {
                _ = from.progress() => continue,
                progress = to.progress() => progress,
            };
            if let Progress::Event(Event::Message(envelope)) = progress {
                return envelope;
            }
        }
    }

    #[tokio::test]
    async fn for_keeping_does_not_retain_the_memory_of_other_messages() {
        let [mut from, mut to] = peers().await;
        let message = |length: usize| {
            let value = Value::String("x".repeat(length).into());
            Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap()
        };
        for length in [10_000_000, 100, LARGEST_READ, 100] {
            from.send(&message(length)).unwrap();
        }
        let large = next_message(&mut from, &mut to).await;
        let small = next_message(&mut from, &mut to).await;
        let kept = for_keeping(small.clone());
        assert_eq!(kept, small);
        assert_ne!(kept.payload.as_ptr(), small.payload.as_ptr(), "the small message is copied");
        let middle = next_message(&mut from, &mut to).await;
        assert_eq!(
            for_keeping(middle.clone()).payload.as_ptr(),
            middle.payload.as_ptr(),
            "the long message is not copied"
        );
        // In the memory of the large message, it would start shortly after that message, as in the stream.
        let distance = middle.payload.as_ptr().addr().wrapping_sub(large.payload.as_ptr_range().end.addr());
        assert!(distance > 1000, "{distance}");
    }
}
