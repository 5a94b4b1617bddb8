//! The pump: moves bytes between a stream and a [`Peering`], and decides nothing.

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
use super::tls::TlsError;
use crate::peering::{COPIED, CloseReason, ErrorKind, Event, Peering, PeeringError, SendError};
use crate::wire::Envelope;

/// For how much is to be told or written the memory is kept when there is nothing.
const KEPT: usize = 8;
/// With this much unwritten, [`Connection::is_backlogged`].
const BACKLOG: usize = 256 * 1024;
/// With this much unwritten beyond one largest frame, the peer asks for answers (pongs) that it does
/// not read.
const UNREAD_ANSWERS: usize = 1024 * 1024;
/// How long the last words of a connection may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A stream and the peering on it.
#[derive(Debug)]
pub struct Connection {
    peering: Peering,
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    input: Input,
    /// The input may hold more frames than the peering wanted at once.
    more: bool,
    output: VecDeque<Bytes>,
    unwritten: usize,
    /// How much was ever collected from the peering, and how much of it until the last message's end.
    collected: u64,
    messages_end: u64,
    to_flush: bool,
    most_unwritten: usize,
    /// Nothing is read and nothing told.
    paused: bool,
    /// Messages that are timed: where each ends in what was collected, and since when.
    timed: VecDeque<(u64, Instant)>,
    /// How long those took that are written.
    took: Vec<Duration>,
    /// The stream's own reason for its end, if it had one.
    fault: Option<ConnectionFault>,
}

/// What has come of moving bytes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress {
    /// The peering has something to tell.
    Event(Event),
    /// What was [backlogged](Connection::is_backlogged) is not any more, or everything is written.
    CaughtUp,
}

/// Why a stream broke under a peering.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The peer refused us, or TLS failed later.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stream failed.
    #[error("{0}")]
    Io(#[source] std::sync::Arc<io::Error>),
    /// The peer sends pings and does not read the pongs.
    #[error("the peer sends pings and does not read the pongs")]
    DoesNotRead,
}

impl Connection {
    /// A connection on which nothing has been said yet. `max_frame` is the peering's own limit.
    #[must_use]
    pub fn new(stream: Stream, peering: Peering, max_frame: usize) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Connection {
            peering,
            reader,
            writer,
            input: Input::default(),
            more: false,
            output: VecDeque::new(),
            unwritten: 0,
            collected: 0,
            messages_end: 0,
            to_flush: false,
            most_unwritten: max_frame.saturating_add(BACKLOG).saturating_add(UNREAD_ANSWERS),
            paused: false,
            timed: VecDeque::new(),
            took: Vec::new(),
            fault: None,
        }
    }

    /// Moves bytes until the peering has something to tell, or a backlog is written. Can be dropped
    /// at any await and called again; nothing is lost.
    pub async fn progress(&mut self) -> Progress {
        loop {
            // When it is over, nothing can wait any longer.
            let paused = self.paused && !self.peering.is_closed();
            if !paused {
                if let Some(event) = self.peering.poll_event() {
                    return Progress::Event(event);
                }
                if self.more {
                    self.handle_input();
                    continue;
                }
            }
            let backlogged = self.is_backlogged();
            self.collect();
            if self.unwritten > self.most_unwritten {
                self.end(ConnectionFault::DoesNotRead);
                continue;
            }
            if self.peering.is_closed() {
                // Closed was told before; there is nothing more to come.
                std::future::pending::<()>().await;
            }
            let deadline = self.peering.poll_timeout().map(tokio::time::Instant::from_std);
            let writing = !self.is_written();
            // What a peer says before it is admitted has to wait, and not all of it here.
            let reading = !paused && (self.peering.takes_input() || self.input.len() < LARGEST_READ);
            tokio::select! {
                read = self.input.read(&mut self.reader), if reading => self.was_read(read),
                written = push(&mut self.writer, &mut self.output), if writing => match written {
                    Ok(count) => {
                        self.unwritten = self.unwritten.saturating_sub(count);
                        self.to_flush = count > 0;
                        self.stop_watches();
                    }
                    Err(error) => self.write_failed(error).await,
                },
                () = sleep_until(deadline) => self.peering.handle_timeout(Instant::now()),
            }
            let written = writing && self.is_written();
            if written {
                self.rest();
            }
            if written || (backlogged && !self.is_backlogged()) {
                return Progress::CaughtUp;
            }
        }
    }

    fn was_read(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => self.peering.handle_eof(),
            Ok(_) => self.handle_input(),
            Err(error) => self.end(fault(error)),
        }
    }

    fn handle_input(&mut self) {
        self.more = self.input.take(|input| self.peering.handle_input(Instant::now(), input));
    }

    /// Everything is written, and what comes next may take long: a peer that says nothing should cost little.
    fn rest(&mut self) {
        if self.output.capacity() > KEPT {
            self.output = VecDeque::new();
        }
        if self.timed.is_empty() && self.timed.capacity() > KEPT {
            self.timed = VecDeque::new();
        }
        self.peering.shrink_buffers();
    }

    /// The peer may have said why before it closed; that is worth more than the broken pipe.
    async fn write_failed(&mut self, error: io::Error) {
        self.output.clear();
        self.unwritten = 0;
        self.to_flush = false;
        let said = tokio::time::timeout(LAST_WORDS, async {
            loop {
                match self.input.read(&mut self.reader).await {
                    Ok(0) => return None,
                    Ok(_) if self.input.len() > LARGEST_READ => return None,
                    Ok(_) => {
                        self.handle_input();
                        if self.peering.is_closed() {
                            return None;
                        }
                    }
                    Err(error) => return Some(error),
                }
            }
        })
        .await;
        match said {
            Ok(Some(reason)) if TlsError::from_io(&reason).is_some() => self.end(fault(reason)),
            _ => self.end(fault(error)),
        }
    }

    fn end(&mut self, fault: ConnectionFault) {
        self.fault.get_or_insert(fault);
        self.peering.handle_eof();
        // What was queued has nowhere to go.
        while self.peering.poll_transmit().is_some() {}
        self.output.clear();
        self.unwritten = 0;
        self.to_flush = false;
    }

    fn collect(&mut self) {
        while let Some(bytes) = self.peering.poll_transmit() {
            self.unwritten = self.unwritten.saturating_add(bytes.len());
            self.collected = self.collected.saturating_add(size(bytes.len()));
            self.output.push_back(bytes);
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    /// As [`Peering::send`].
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        self.peering.send(envelope)?;
        self.messages_end = self.collected.saturating_add(size(self.peering.unsent()));
        Ok(())
    }

    /// Queues messages that this endpoint has written already.
    pub(crate) fn send_frames(&mut self, frames: Frames) -> Result<(), SendError> {
        let heard = frames.heard;
        // What is unwritten keeps no more than twice its memory. Small ones are copied anyway.
        let frames = if frames.length() > COPIED { frames.detached() } else { frames };
        self.peering.send_encoded(frames.pieces())?;
        self.messages_end = self.collected.saturating_add(size(self.peering.unsent()));
        if let Some(heard) = heard {
            self.timed.push_back((self.messages_end, heard));
        }
        Ok(())
    }

    /// The next message, if it was read already and is next.
    pub(crate) fn next_message(&mut self) -> Option<Envelope> {
        self.peering.poll_message()
    }

    /// About how many messages [`Connection::next_message`] has.
    pub(crate) fn messages_at_hand(&self) -> usize {
        self.peering.pending_events()
    }

    /// Whether a message is not written yet, or cannot be any more. What the peering says of its own accord, such as
    /// the answer to a BYE, does not count.
    pub async fn owes_messages(&mut self) -> bool {
        if self.to_flush && self.output.is_empty() {
            let flushed = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.writer).poll_flush(cx))).await;
            self.to_flush = !matches!(flushed, Poll::Ready(Ok(())));
        }
        self.fault.is_some() || self.to_flush || self.written() < self.messages_end
    }

    /// How much of what was collected is written.
    fn written(&self) -> u64 {
        self.collected.saturating_sub(size(self.unwritten))
    }

    fn stop_watches(&mut self) {
        let written = self.written();
        while let Some((_, since)) = self.timed.front().filter(|(end, _)| *end <= written) {
            self.took.push(since.elapsed());
            self.timed.pop_front();
        }
    }

    /// How long the timed messages took that were written since the last time.
    pub(crate) fn took(&mut self) -> impl Iterator<Item = Duration> {
        self.took.drain(..)
    }

    /// Reads nothing more, tells nothing more of what is read, and lets the peer know now and then that this
    /// side is there; or goes on reading. Writing goes on all the while. A peering that comes to its end is paused no more.
    pub(crate) fn pause(&mut self, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            self.peering.pause(Instant::now(), paused);
        }
    }

    /// Whether so much is unwritten that more messages had better wait where they are.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        self.unwritten.saturating_add(self.peering.unsent()) >= BACKLOG
    }

    /// Whether everything that was to be sent is written: the operating system has it.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !self.to_flush && self.output.is_empty() && self.peering.unsent() == 0
    }

    /// The peering, to answer its events. What is left of the input is looked at again at the next
    /// [`Connection::progress`] after [`Connection::admit`].
    pub fn peering(&mut self) -> &mut Peering {
        &mut self.peering
    }

    /// As [`Peering::admit`], and goes on with the input that waited for it.
    pub fn admit(&mut self) {
        self.peering.admit();
        self.handle_input();
    }

    /// The stream's own reason for its end, behind a [`CloseReason`] that only knows that it ended.
    #[must_use]
    pub fn fault(&self) -> Option<&ConnectionFault> {
        self.fault.as_ref()
    }

    /// Writes the last words (a `drop_conn`, say) and closes, within a second. For after
    /// [`Event::Closed`].
    pub async fn finish(mut self) {
        let _ = tokio::time::timeout(LAST_WORDS, self.write_last_words()).await;
    }

    async fn write_last_words(&mut self) -> io::Result<()> {
        self.collect();
        while !self.output.is_empty() {
            push(&mut self.writer, &mut self.output).await?;
        }
        self.writer.shutdown().await
    }

    /// As [`Peering::refuse`], and closes, within a second.
    pub(crate) async fn refuse(mut self) {
        self.peering.refuse();
        let _ = tokio::time::timeout(LAST_WORDS, async {
            self.write_last_words().await?;
            // Closed with its words unread, the connection would be reset, and ours might be lost on the way.
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

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn fault(error: io::Error) -> ConnectionFault {
    match TlsError::from_io(&error) {
        Some(error) => error.into(),
        None => ConnectionFault::Io(std::sync::Arc::new(error)),
    }
}

/// Writes some of the pieces at the front and takes them off; flushes, which is 0 bytes, when there are none.
async fn push(writer: &mut WriteHalf<Stream>, output: &mut VecDeque<Bytes>) -> io::Result<usize> {
    const MOST_PIECES: usize = 32;
    if output.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    let mut slices = [io::IoSlice::new(&[]); MOST_PIECES];
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

    /// Whether this fault says more than `reason`, which may know no more than that the stream ended.
    #[must_use]
    pub fn explains(&self, reason: &CloseReason) -> bool {
        match reason {
            CloseReason::Lost | CloseReason::LeftUnconfirmed => true,
            // A peer that expects TLS resets the connection at the first plain word: the end in the
            // handshake says more than the reset.
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

    /// Two peers; the second one's connection is read by hand.
    async fn peers() -> [Connection; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let connection = |stream: TcpStream, n, side| {
            let peering = Peering::new(Config::new(EndpointId::from_bytes([n; 16]), side), Instant::now());
            Connection::new(stream.into(), peering, Limits::DEFAULT.max_frame)
        };
        let mut peers = [connection(connecting, 1, Side::Connector), connection(accepted, 2, Side::Listener)];
        while !peers.iter().all(|peer| peer.peering.is_established() && peer.is_written()) {
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

    /// The next message.
    async fn heard(from: &mut Connection, to: &mut Connection) -> Envelope {
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
    async fn what_is_kept_holds_on_to_no_memory_of_others() {
        let [mut from, mut to] = peers().await;
        let message = |length: usize| {
            let value = Value::String("x".repeat(length).into());
            Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap()
        };
        for length in [10_000_000, 100, LARGEST_READ, 100] {
            from.send(&message(length)).unwrap();
        }
        let large = heard(&mut from, &mut to).await;
        let small = heard(&mut from, &mut to).await;
        let kept = for_keeping(small.clone());
        assert_eq!(kept, small);
        assert_ne!(kept.payload.as_ptr(), small.payload.as_ptr(), "it is copied");
        let middle = heard(&mut from, &mut to).await;
        assert_eq!(for_keeping(middle.clone()).payload.as_ptr(), middle.payload.as_ptr(), "it is not");
        // Left in the large one's memory, it would be where it was in the stream: right behind.
        let apart = middle.payload.as_ptr().addr().wrapping_sub(large.payload.as_ptr_range().end.addr());
        assert!(apart > 1000, "{apart}");
    }
}
