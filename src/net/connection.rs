//! Moves bytes between a stream and the session on it. The session and the caller make all decisions.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::Stream;
use super::connection_fault::{ConnectionFault, fault};
use super::frames::Frames;
use super::input::{Input, LARGEST_READ};
use super::original::Original;
use super::output::Output;
use super::session::{Format, Session};
use super::timer::{after, sleep_until};
use super::tls::TlsError;
use crate::data::Filter;
use crate::peering::{Event, Peering, SendError};
use crate::wire::{EncodeError, Envelope};
use crate::zeromq::SubscriptionChange;

/// The number of unwritten bytes from which [`Connection::is_backlogged`] returns `true`.
const BACKLOG: usize = 256 * 1024;

/// A peer that sends pings without reading the pongs causes unwritten bytes after the last message. This is their maximum
/// number, in addition to one frame of the maximum length. The bytes up to the end of the last message do not
/// count. [`Connection::is_backlogged`] limits them.
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
    output: Output,
    max_answers: usize,
    /// While `true`, nothing is read and no event is returned.
    paused: bool,
    /// Whether the peer's stream has ended, and the session has not handled all input before the end.
    eof_pending: bool,
    /// A write failed, and this side reads the reason that the peer may have sent. The session ends after that.
    write_failure: Option<WriteFailure>,
    /// The error of the stream that ended the session, if there was one.
    fault: Option<ConnectionFault>,
}

#[derive(Debug)]
struct WriteFailure {
    error: io::Error,
    /// When to stop reading.
    deadline: tokio::time::Instant,
}

/// The result of moving bytes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress {
    /// The session reports an event.
    Event(Event),
    /// The peer has changed a subscription. Only sessions of ZeroMQ report this, after the new filter.
    Subscription(SubscriptionChange),
    /// The connection is no longer [backlogged](Connection::is_backlogged), or everything is written.
    CaughtUp,
}

impl Connection<Peering> {
    /// Queues a message. The length of the queue is not limited, so call this only while the connection is not
    /// [backlogged](Connection::is_backlogged).
    ///
    /// # Errors
    /// Fails like [`Peering::send`].
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        self.session.send(envelope)?;
        self.output.end_message(self.session.unsent(), None);
        Ok(())
    }

    /// Returns the peering, for calls in response to its events. Do not call [`Peering::admit`] on it. Call
    /// [`Connection::admit`], which also handles the input that was buffered in the meantime.
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
            output: Output::default(),
            max_answers: max_frame.saturating_add(MAX_UNREAD_ANSWERS),
            paused: false,
            eof_pending: false,
            write_failure: None,
            fault: None,
        }
    }

    /// Moves bytes until the session reports an event, the connection is no longer backlogged, or all bytes are written.
    /// After `Event::Closed`, never returns.
    ///
    /// Cancel-safe: if the future is dropped and this is called again, nothing is lost.
    pub async fn progress(&mut self) -> Progress {
        self.progress_until(true).await
    }

    /// Like [`Connection::progress`]. If `written` is false, does not return because all bytes are written, unless there are
    /// [latencies](Connection::take_latencies) to take. Returning after each message takes longer than to write it.
    pub(crate) async fn progress_until(&mut self, written: bool) -> Progress {
        loop {
            if self.write_failure.is_some() {
                self.read_reason().await;
            }
            // After the session has ended, the caller needs the remaining events even if it is not ready for more messages.
            let paused = self.paused && !self.session.is_closed();
            if !paused {
                if let Some(event) = self.session.poll_event() {
                    return Progress::Event(event);
                }
                if !self.session.is_filter_due()
                    && let Some(change) = self.session.poll_subscription()
                {
                    return Progress::Subscription(change);
                }
                if self.more_input && !self.session.is_filter_due() {
                    self.handle_input();
                    continue;
                }
                if self.eof_pending && self.session.takes_input() {
                    self.eof_pending = false;
                    self.session.handle_eof();
                    continue;
                }
            }
            let backlogged = self.is_backlogged();
            self.output.collect(&mut self.session);
            self.session.note_unwritten(self.output.unwritten());
            if self.output.unwritten_answers() > self.max_answers {
                self.end(ConnectionFault::DoesNotRead);
                continue;
            }
            if self.session.is_closed() {
                // `Event::Closed` was returned before, and there are no events after it.
                std::future::pending::<()>().await;
            }
            let deadline = self.session.poll_timeout().map(tokio::time::Instant::from_std);
            let writing = !self.is_written();
            // A session that waits for admission consumes no input. During that time, the connection buffers less than
            // `2 * LARGEST_READ` bytes. It still reads, so that it notices the end of the stream.
            // If a filter is due, it is reported before more input is handled.
            let reading = !paused
                && !self.eof_pending
                && !self.session.is_filter_due()
                && (self.session.takes_input() || self.input.len() < LARGEST_READ);
            tokio::select! {
                read = self.input.read(&mut self.reader), if reading => self.handle_read(read),
                written = self.output.write(&mut self.writer), if writing => if let Err(error) = written {
                    self.write_failed(error);
                    continue;
                },
                () = sleep_until(deadline) => self.session.handle_timeout(Instant::now()),
            }
            let all_written = writing && self.is_written();
            if all_written {
                self.output.shrink();
                self.session.shrink_buffers();
            }
            let report = all_written && (written || self.output.has_latencies());
            if report || (backlogged && !self.is_backlogged()) {
                return Progress::CaughtUp;
            }
        }
    }

    fn handle_read(&mut self, read: io::Result<usize>) {
        match read {
            // A peer may send everything and close the connection before the session is admitted.
            Ok(0) if !self.session.takes_input() && !self.input.is_empty() => self.eof_pending = true,
            Ok(0) => self.session.handle_eof(),
            Ok(_) => self.handle_input(),
            Err(error) => self.end(fault(error)),
        }
    }

    fn handle_input(&mut self) {
        self.more_input = self.input.take(|input| self.session.handle_input(Instant::now(), input));
    }

    /// Begins to end the session after a write error. A peer that closes the connection may have sent its reason before.
    /// This reason is read before the session ends, because it is more specific than a broken pipe.
    fn write_failed(&mut self, error: io::Error) {
        self.output.discard();
        self.write_failure = Some(WriteFailure { error, deadline: after(FINISH_TIMEOUT) });
    }

    /// Reads the reason of a write failure, and ends the session. Cancel-safe.
    async fn read_reason(&mut self) {
        let Some(WriteFailure { deadline, .. }) = self.write_failure else { return };
        let reason = tokio::time::timeout_at(deadline, async {
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
        let Some(WriteFailure { error, .. }) = self.write_failure.take() else { return };
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
        self.output.discard();
    }

    /// Returns the session.
    pub(crate) fn session(&self) -> &S {
        &self.session
    }

    /// Returns the encoding of messages on this connection.
    pub(crate) fn format(&self) -> &'static Format {
        self.session.format()
    }

    /// Queues messages that are encoded in this connection's [format](Connection::format).
    pub(crate) fn send_frames(&mut self, frames: Frames) -> Result<(), SendError> {
        let received = frames.received;
        // Without this copy, a queued message could keep a large shared buffer allocated. Short messages are not copied
        // here, because the session copies them anyway.
        let frames = if frames.length() > S::COPIED { frames.detached() } else { frames };
        self.session.send_encoded(frames.pieces())?;
        self.output.end_message(self.session.unsent(), received);
        Ok(())
    }

    /// Calls [`Session::take_messages`]. Does not read from the stream.
    pub(crate) fn take_messages(&mut self) -> VecDeque<Envelope> {
        self.session.take_messages()
    }

    /// Calls [`Session::poll_message`]. Does not read from the stream.
    pub(crate) fn next_message(&mut self) -> Option<Envelope> {
        self.session.poll_message()
    }

    /// Returns the frames of the message that was returned last, if they can be forwarded as they are, and are in a buffer that many
    /// messages share. A long message has memory of its own, and is forwarded without a copy of its payload.
    pub(crate) fn original(&self) -> Option<Original<'_>> {
        let (memory, range) = self.session.last_frames()?;
        let allocation = self.input.buffer_of(memory)?;
        Some(Original { memory, range, allocation })
    }

    /// Returns the next change of the peer's subscriptions. Does not read from the stream.
    pub(crate) fn next_subscription(&mut self) -> Option<SubscriptionChange> {
        self.session.poll_subscription()
    }

    /// Calls [`Session::send_subscription`].
    pub(crate) fn send_subscription(&mut self, change: &SubscriptionChange) -> Result<(), SendError> {
        self.session.send_subscription(change)
    }

    /// Calls [`Session::pending_events`].
    pub(crate) fn pending_events(&self) -> usize {
        self.session.pending_events()
    }

    /// Returns whether a message may be unwritten. Always `true` after an error of the stream, because it is then unknown.
    /// Bytes that are not part of a message, such as the answer to a BYE, do not count.
    pub async fn owes_messages(&mut self) -> bool {
        let owes = self.output.owes_messages(&mut self.writer).await;
        owes || self.write_failure.is_some() || self.fault.is_some()
    }

    /// Returns the latencies of the measured messages that were written since the last call.
    pub(crate) fn take_latencies(&mut self) -> impl Iterator<Item = Duration> {
        self.output.take_latencies()
    }

    /// Stops or resumes reading and returning events. Writing continues in the meantime, and the session still
    /// sends keep-alives. After the end of the session, the remaining events are returned even
    /// while paused.
    pub(crate) fn pause(&mut self, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            self.session.pause(Instant::now(), paused);
        }
    }

    /// Returns whether new messages should stay in their queue: many bytes are unwritten, or a write has failed.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        let unwritten = self.output.unwritten().saturating_add(self.session.unsent());
        unwritten >= BACKLOG || self.write_failure.is_some()
    }

    /// Returns whether all bytes are written, that is, accepted by the operating system.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.output.is_written() && self.write_failure.is_none() && self.session.unsent() == 0
    }

    /// Returns whether the session is established.
    pub(crate) fn is_established(&self) -> bool {
        self.session.is_established()
    }

    /// Calls [`Session::admit`], then handles the input that was buffered in the meantime.
    pub fn admit(&mut self) {
        self.session.admit();
        self.handle_input();
    }

    /// Calls [`Session::refuse_redundant`].
    pub(crate) fn refuse_redundant(&mut self) {
        self.session.refuse_redundant();
    }

    /// Calls [`Session::leave`].
    pub(crate) fn leave(&mut self) {
        self.session.leave(Instant::now());
    }

    /// Calls [`Session::set_filter`].
    pub(crate) fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        self.session.set_filter(filter)
    }

    /// Returns the error of the stream that ended the session, if there was one. It can be more specific than
    /// [`Event::Closed`], which may only report that the stream ended.
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
        self.output.collect(&mut self.session);
        while !self.output.is_empty() {
            self.output.write(&mut self.writer).await?;
        }
        self.writer.shutdown().await
    }

    /// Calls [`Session::refuse`] and closes the connection, within a second.
    pub(crate) async fn refuse(mut self) {
        self.session.refuse();
        let _ = tokio::time::timeout(FINISH_TIMEOUT, async {
            self.write_and_shut_down().await?;
            self.discard_input().await
        })
        .await;
    }

    /// Like [`Connection::finish`], but then waits until the peer closes its side, too. Takes at most `timeout`. Returns whether
    /// the peer has closed its side: it has then received everything.
    pub(crate) async fn finish_reading(mut self, timeout: Duration) -> bool {
        let finished = tokio::time::timeout(timeout, async {
            self.write_and_shut_down().await?;
            self.discard_input().await
        });
        matches!(finished.await, Ok(Ok(())))
    }

    /// Reads to the end of the peer's stream. If a socket is closed while it has unread input, it sends a reset, and the peer may
    /// not receive the last bytes of this side.
    async fn discard_input(&mut self) -> io::Result<()> {
        loop {
            self.input.clear();
            if self.input.read(&mut self.reader).await? == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
