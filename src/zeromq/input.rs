//! The input of a session.

use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::command::Command;
use super::config::{Config, SocketType};
use super::error::{Error, Stage};
use super::frame::{self, Frame, FrameKind};
use super::greeting::{GREETING, check_greeting, has_version, put_rest};
use super::multipart::Message;
use super::received::{Received, is_incomplete};
use super::security::{Progress, Security, reported};
use super::subscriptions::Change;
use super::{State, ZeroMq};
use crate::data::Filter;
use crate::peering::{CloseReason, Event, Role, Side};
use crate::wire::PartsError;

/// The maximum number of queued events. More frames stay in the input.
const MAX_QUEUED_EVENTS: usize = 1024;

/// If this many bytes are unsent, pings are not answered. A peer that sends pings and does not read cannot use more memory.
const MAX_UNSENT_FOR_PONG: usize = 64 * 1024;

impl ZeroMq {
    /// Consumes the greeting, or the complete frames, at the start of `input`. Binary payloads and topics of messages are
    /// slices of its memory. The remaining bytes are an incomplete frame or event, or everything after an [`Event::Introduced`].
    /// Pass them again in the next call.
    ///
    /// Returns `true` if it stopped early because many events or changes of subscriptions are queued. In that case, poll both, and
    /// call this method again.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        self.liveness.handle_input(now, input.len());
        self.subscriptions.set_now(now);
        let more = match self.consume(input) {
            Ok(more) => more,
            Err(error) => {
                self.close(error);
                false
            }
        };
        if self.is_closed() {
            input.clear();
            return false;
        }
        self.liveness.set_left(input.len());
        more
    }

    fn consume(&mut self, input: &mut BytesMut) -> Result<bool, CloseReason> {
        loop {
            if self.pending_events() >= MAX_QUEUED_EVENTS || self.subscriptions.is_full() {
                return Ok(true);
            }
            let limits = &self.config.common.limits;
            let limit = match self.state {
                State::Handshake { stage: Stage::Greeting, deadline } => {
                    let Config { socket, mechanism, common, .. } = &self.config;
                    if common.side == Side::Connector && !self.is_greeted && has_version(input)? {
                        put_rest(mechanism.name(), self.out.buffer());
                        self.is_greeted = true;
                    }
                    let Some(version) = check_greeting(input, mechanism)? else { return Ok(false) };
                    self.liveness.set_version(version);
                    input.advance(GREETING);
                    if common.side == Side::Listener {
                        put_rest(mechanism.name(), self.out.buffer());
                    }
                    let (security, awaited) = Security::begin(mechanism, *socket, self.out.buffer())?;
                    self.security = security;
                    self.state = State::Handshake { stage: Stage::Command(awaited), deadline };
                    continue;
                }
                State::Handshake { stage: Stage::Command(_), .. } => limits.max_handshake_frame,
                State::Handshake { stage: Stage::Admission, .. } => return Ok(false),
                State::Established { .. } => limits.max_frame.saturating_add(self.security.overhead()),
                State::Closed => return Ok(false),
            };
            if self.receives_plain_events() && self.parts.is_empty() {
                // The queued events are polled after the received ones.
                if self.pending_events() == 0 {
                    self.received = Received::take(input, limit, MAX_QUEUED_EVENTS);
                    if self.received.pending() == MAX_QUEUED_EVENTS {
                        return Ok(true);
                    }
                }
                // The message stays in the input, so that it can be received with those after it.
                if is_incomplete(input, limit) {
                    return Ok(false);
                }
            }
            match frame::cut(input, limit).map_err(Error::from)? {
                Some(frame) => self.handle_frame(frame)?,
                None => return Ok(false),
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), Error> {
        if let State::Handshake { deadline, .. } = self.state {
            return self.handle_handshake(&frame, deadline);
        }
        let frame = self.security.open(frame)?;
        if frame.is_command {
            return self.handle_command(&frame);
        }
        let socket = self.config.socket;
        if socket == SocketType::XPub
            && self.parts.is_empty()
            && !frame.more
            && let Some(change) = Change::from_message(&frame.body)
        {
            return self.subscriptions.apply(change, &self.config.common.limits);
        }
        let (limit, body) = (self.config.common.limits.max_frame, frame.body.freeze());
        if let Some(message) = self.parts.add(frame.more, frame.length, body, limit)? {
            self.handle_message(message);
        }
        Ok(())
    }

    fn handle_handshake(&mut self, frame: &Frame, deadline: Instant) -> Result<(), Error> {
        let stage = match self.security.handle_handshake(frame, self.config.socket, self.out.buffer())? {
            #[cfg(feature = "curve")]
            Progress::Awaiting(command) => Stage::Command(command),
            Progress::Complete { socket } => {
                self.peer_socket = Some(socket);
                self.events.push_back(Event::Introduced { peer: self.config.peer_id, role: Role::Responder });
                Stage::Admission
            }
        };
        self.state = State::Handshake { stage, deadline };
        Ok(())
    }

    /// Handles a command, which may also be between the parts of a message: libzmq sends its pings there.
    fn handle_command(&mut self, frame: &Frame) -> Result<(), Error> {
        let change = match Command::read(&frame.body)? {
            Command::Error { reason } => return Err(reported(reason)),
            Command::Ping { context } => {
                if self.out.len() < MAX_UNSENT_FOR_PONG {
                    let pong = Buf::chain(&b"\x04PONG"[..], context);
                    self.security.send(FrameKind::Command, pong, &mut self.out)?;
                }
                return Ok(());
            }
            Command::Subscribe { topic } => Change::Subscribe(topic),
            Command::Cancel { topic } => Change::Cancel(topic),
            Command::Pong { .. } | Command::Ready { .. } | Command::Unknown { .. } => return Ok(()),
        };
        if self.config.socket == SocketType::XPub {
            self.subscriptions.apply(change, &self.config.common.limits)?;
        }
        Ok(())
    }

    /// Returns whether the messages of this session are events without encryption.
    fn receives_plain_events(&self) -> bool {
        self.config.socket == SocketType::XSub
            && matches!(self.state, State::Established { .. })
            && matches!(self.security, Security::Null)
    }

    fn handle_message(&mut self, message: Message) {
        let event = match self.config.socket {
            SocketType::XSub => {
                let (own_id, limits) = (self.config.own_id, self.config.common.limits);
                self.reader.event(message, own_id, &limits).map(|event| {
                    let (envelope, format) = event?;
                    self.formats.push(format);
                    Some(Event::Message(envelope))
                })
            }
            SocketType::Pull => self.reader.logs(message).map(Some),
            SocketType::XPub | SocketType::Push => Err(PartsError::WrongDirection.into()),
        };
        match event {
            Ok(event) => self.events.extend(event),
            Err(error) => self.events.push_back(Event::Malformed(error)),
        }
    }

    /// Continues after [`Event::Introduced`]. Then call [`ZeroMq::handle_input`] with the rest of the input. An XSUB sends its
    /// subscriptions now.
    pub fn admit(&mut self) {
        if let State::Handshake { stage: Stage::Admission, .. } = self.state {
            self.state = State::Established { leaving: None };
            let (peer, filter) = (self.config.peer_id, Filter::new());
            self.events.push_back(Event::Established { peer, filter });
            self.announce_filter();
        }
    }
}
