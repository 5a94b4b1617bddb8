//! The frames of one side.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Content, Frame};
use super::json::put_member;
use super::resync::{Next, next_frame};
use super::session::{Cut, Opening, PartFault, SessionReader, opening};
use super::{LIMITS, Protocol, Side, to_u64};
use crate::data::{EndpointId, excerpt};
use crate::wire::{FrameError, Handshake, cut_frame};
use crate::zeromq;

/// Maximum number of candidates that are rejected in the search for the next frame.
const MAX_TRIES: u32 = 256;

/// The offset at which the bytes of a side cannot be read as frames, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct StreamError {
    /// The offset in the bytes that the side sent.
    pub offset: u64,
    /// The reason.
    pub fault: StreamFault,
}

/// The reason why the bytes of a side cannot be read as frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// There is no frame where one should begin. The remaining bytes of the side are discarded.
    #[error("{0}; the remaining bytes of this side cannot be decoded")]
    Frame(FrameError),
    /// No frame was found after missing bytes. The remaining bytes of the side are discarded.
    #[error("no further frame was found; the remaining bytes of this side cannot be decoded")]
    NoFrame,
    /// Bytes are missing. Reading continues at the next frame that can be recognized.
    #[error("{count} bytes are missing: {cause}; reading continues at the next complete frame")]
    Missing {
        /// The number of missing bytes.
        count: u64,
        /// The cause.
        cause: Cow<'static, str>,
    },
    /// Bytes of a session of the WebSocket API or of ZeroMQ are missing. The next frame cannot be recognized, so the remaining
    /// bytes of the side are discarded.
    #[error("{count} bytes are missing: {cause}; the remaining bytes of this side cannot be decoded")]
    MissingInSession {
        /// The number of missing bytes.
        count: u64,
        /// The cause.
        cause: Cow<'static, str>,
    },
    /// There is no WebSocket frame where one should begin. The remaining bytes of the side are discarded.
    #[error("{0}; the remaining bytes of this side cannot be decoded")]
    WebSocket(String),
    /// There is no ZeroMQ frame where one should begin. The remaining bytes of the side are discarded.
    #[error("{0}; the remaining bytes of this side cannot be decoded")]
    ZeroMq(String),
    /// The input ends inside the head of an HTTP request or response.
    #[error("the stream ends inside an HTTP head, after {count} bytes of it; its first line: {line}")]
    TruncatedHead {
        /// The number of bytes of the incomplete head.
        count: usize,
        /// The first line, of at most 128 characters.
        line: String,
    },
    /// The input ends inside a frame or a message.
    #[error("the stream ends inside a frame or a message, after {count} bytes of it")]
    Truncated {
        /// The number of bytes of the incomplete frame or message.
        count: usize,
    },
    /// A reason that the caller found.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

impl StreamError {
    /// Appends the members `offset` and `error` of a JSON object, as [`Frame::write_members`] does.
    pub fn write_members(&self, to: &mut Vec<u8>) {
        put_member(to, "offset", self.offset);
        put_member(to, "error", self.to_string());
    }
}

impl From<PartFault> for StreamFault {
    fn from(fault: PartFault) -> Self {
        match fault {
            PartFault::WebSocket(text) => StreamFault::WebSocket(text),
            PartFault::ZeroMq(text) => StreamFault::ZeroMq(text),
        }
    }
}

/// Divides the bytes of one side into frames. The bytes are read as a WebSocket session if they begin with the HTTP request or
/// response of such a session, and as a session of ZeroMQ if they begin with its greeting. Otherwise, they are read as Broker's
/// protocol.
///
/// The reader buffers the input that was appended and not yet returned in a frame. After each input, call
/// [`next_frame`](Self::next_frame) until it returns `None`. Then the buffer never exceeds one frame of the maximum
/// size plus the last input. In a WebSocket session, the reader also buffers the fragments of one message, up to the same size.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
    /// The offset of the buffer in the stream.
    offset: u64,
    /// Whether this side has finished its handshake, so that its next frames are envelopes.
    peered: bool,
    /// The endpoint id of this side, from its handshake.
    sender: Option<EndpointId>,
    /// The reader of a session; `None` if the protocol is unknown or Broker's.
    session: Option<SessionReader>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The buffer begins with the first bytes of the side, whose protocol is unknown.
    #[default]
    First,
    /// The buffer begins with a frame.
    InSync,
    /// The next frame begins at an unknown position of the buffer.
    Searching { tries: u32 },
    /// No more frames can be found. All later input is discarded.
    Failed,
}

impl FrameReader {
    /// Returns a reader that reads all bytes as Broker's protocol.
    #[must_use]
    pub fn broker() -> Self {
        FrameReader { state: State::InSync, ..FrameReader::default() }
    }

    /// Returns a reader that reads all bytes as this side of a WebSocket session.
    #[must_use]
    pub fn websocket(side: Side) -> Self {
        Self::of(Protocol::WebSocket, side)
    }

    /// Returns a reader that reads all bytes as this side of a session with this protocol.
    pub(super) fn of(protocol: Protocol, side: Side) -> Self {
        let session = SessionReader::new(protocol, side);
        FrameReader { session, state: State::InSync, ..FrameReader::default() }
    }

    /// Returns a reader for the bytes of a side, without the first bytes.
    #[must_use]
    pub fn from_the_middle() -> Self {
        FrameReader { state: State::Searching { tries: 0 }, ..FrameReader::default() }
    }

    /// Returns a reader for a side that has already finished its handshake.
    #[must_use]
    pub fn continued(protocol: Protocol, side: Side) -> Self {
        let session = SessionReader::continued(protocol, side);
        FrameReader { peered: true, session, state: State::InSync, ..FrameReader::default() }
    }

    /// Reads all input as this side of a session with this protocol, if the protocol of this side is still unknown.
    pub(super) fn expect(&mut self, protocol: Protocol, side: Side) {
        if let State::First = self.state {
            let buffer = std::mem::take(&mut self.buffer);
            *self = FrameReader { buffer, ..FrameReader::of(protocol, side) };
        }
    }

    /// Returns the protocol, which is unknown before the first bytes.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        match (&self.session, &self.state) {
            (Some(session), _) => Some(session.protocol()),
            (None, State::First) => None,
            (None, _) => Some(Protocol::Broker),
        }
    }

    /// Returns whether the handshake is done and the stream is in sync.
    pub(super) fn is_in_sync(&self) -> bool {
        let is_complete = self.session.as_ref().map_or(self.peered, SessionReader::is_between_messages);
        is_complete && matches!(self.state, State::InSync)
    }

    /// Returns the number of buffered bytes.
    pub(super) fn buffered(&self) -> usize {
        self.session.as_ref().map_or(0, SessionReader::buffered).saturating_add(self.buffer.len())
    }

    /// Returns the buffer, to which input is appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Returns the bytes of an incomplete frame.
    #[must_use]
    pub fn partial_frame(&self) -> &[u8] {
        &self.buffer
    }

    /// Returns the next frame, or `None` if it is incomplete.
    ///
    /// # Errors
    /// Fails once if there is no frame where one should begin. All input after that is discarded.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, StreamError> {
        match self.state {
            State::First => match opening(&self.buffer) {
                Opening::Incomplete => return Ok(None),
                Opening::Session(session) => {
                    self.session = Some(session);
                    self.state = State::InSync;
                }
                Opening::Broker => self.state = State::InSync,
            },
            State::Searching { .. } => self.search()?,
            State::InSync | State::Failed => {}
        }
        match self.state {
            State::First | State::InSync => {}
            State::Searching { .. } => return Ok(None),
            State::Failed => {
                self.buffer.clear();
                return Ok(None);
            }
        }
        let next = match &mut self.session {
            Some(session) => match session.next(&mut self.buffer) {
                Ok(cut) => cut.map(|cut| self.part(cut)),
                Err(fault) => return Err(self.fail(fault.into())),
            },
            None => match cut_frame(&mut self.buffer, LIMITS.max_frame) {
                Ok(body) => body.map(|body| self.decode(body)),
                Err(error) => return Err(self.fail(StreamFault::Frame(error))),
            },
        };
        if next.is_none() && self.buffer.is_empty() {
            // Free the memory of a large frame, because a program may have many readers.
            self.buffer = BytesMut::new();
        }
        Ok(next)
    }

    /// Records that `count` bytes are missing after the input so far, and searches for the next frame. Returns the
    /// error to report, or `None` if the reader is already searching for a frame or has failed.
    pub fn lose(&mut self, count: u64, cause: impl Into<Cow<'static, str>>) -> Option<StreamError> {
        let offset = self.offset.saturating_add(to_u64(self.buffer.len()));
        let was_in_sync = matches!(self.state, State::First | State::InSync);
        self.offset = offset.saturating_add(count);
        self.buffer.clear();
        if !was_in_sync {
            return None;
        }
        let cause = cause.into();
        let fault = if let Some(session) = &mut self.session {
            session.stop();
            self.state = State::Failed;
            StreamFault::MissingInSession { count, cause }
        } else {
            self.state = State::Searching { tries: 0 };
            StreamFault::Missing { count, cause }
        };
        Some(StreamError { offset, fault })
    }

    /// Ends the input. Returns the error of an incomplete frame, or the HTTP response of a server that has refused a WebSocket
    /// session without the end of its head, as Zeek does.
    pub fn end(&mut self) -> Option<Result<Frame, StreamError>> {
        let count = self.buffered();
        if count == 0 || !matches!(self.state, State::First | State::InSync) {
            return None;
        }
        if let Some(cut) = self.session.as_mut().and_then(|session| session.refusal(&mut self.buffer)) {
            return Some(Ok(self.part(cut)));
        }
        if let State::First = self.state
            && zeromq::is_signature(&self.buffer).is_none()
        {
            // Not a complete greeting of ZeroMQ, so these are the first bytes of a frame of Broker's protocol.
            self.state = State::InSync;
            if let Err(error) = self.next_frame() {
                return Some(Err(error));
            }
        }
        let fault = if self.is_in_head() {
            let text = String::from_utf8_lossy(&self.buffer);
            StreamFault::TruncatedHead {
                count,
                line: excerpt(text.lines().next().unwrap_or_default()).into(),
            }
        } else {
            StreamFault::Truncated { count }
        };
        Some(Err(StreamError { offset: self.offset, fault }))
    }

    fn is_in_head(&self) -> bool {
        match &self.session {
            Some(session) => session.is_in_head(),
            None => matches!(self.state, State::First),
        }
    }

    /// Returns a part of a session as a frame.
    fn part(&mut self, cut: Cut) -> Frame {
        let Cut { header, body, peered, content } = cut;
        let frame = Frame { offset: self.offset, header, peered, body, content };
        self.offset = self.offset.saturating_add(frame.length());
        frame
    }

    fn decode(&mut self, body: Bytes) -> Frame {
        let frame = Frame::decode(self.offset, self.peered, body);
        self.offset = self.offset.saturating_add(frame.length());
        if let Ok(Content::Handshake(message)) = &frame.content {
            match message {
                Handshake::Hello { sender, .. } | Handshake::VersionSelect { sender, .. } => {
                    self.sender = Some(*sender);
                }
                // The last handshake messages of the originator and of the responder.
                Handshake::OriginatorAck | Handshake::ResponderSynAck(_) => self.peered = true,
                _ => {}
            }
        }
        frame
    }

    fn search(&mut self) -> Result<(), StreamError> {
        let State::Searching { tries } = &mut self.state else { return Ok(()) };
        let next = next_frame(&self.buffer, self.sender, LIMITS, tries);
        if *tries > MAX_TRIES {
            return Err(self.fail(StreamFault::NoFrame));
        }
        let (Next::Frame { at, .. } | Next::Maybe { at }) = next;
        self.offset = self.offset.saturating_add(to_u64(at));
        self.buffer.advance(at);
        if let Next::Frame { peered, .. } = next {
            self.peered = peered;
            self.state = State::InSync;
        }
        Ok(())
    }

    fn fail(&mut self, fault: StreamFault) -> StreamError {
        if let Some(session) = &mut self.session {
            session.stop();
        }
        self.state = State::Failed;
        StreamError { offset: self.offset, fault }
    }
}
