//! The input of a session.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::frame::{FrameError, Header, Opcode};
use super::handshake::DESERIALIZATION_FAILED;
use super::read::{self, Message};
use super::{State, WebSocket};
use crate::peering::Event;
use crate::wire::DecodeError;

/// The maximum number of queued events. More frames stay in the input.
const MAX_QUEUED_EVENTS: usize = 1024;

/// If this many bytes are unsent, pings are not answered. A peer that sends pings and does not read cannot use more memory.
const MAX_UNSENT_FOR_PONG: usize = 64 * 1024;

impl WebSocket {
    /// Consumes the HTTP head, or the complete frames, at the front of `input`. Pass the remaining bytes again at the next call:
    /// an incomplete frame, or everything after an [`Event::Introduced`].
    ///
    /// Returns `true` if it stopped early because many events are queued. In that case, poll the events and call it again.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let written = self.written();
        if let State::Established { liveness, .. } = &mut self.state
            && !input.is_empty()
        {
            liveness.received(now, &self.role, written);
        }
        loop {
            if self.events.len() >= MAX_QUEUED_EVENTS {
                return true;
            }
            let limits = &self.common().limits;
            let limit = match &self.state {
                State::Head { .. } => {
                    if self.handle_head(now, input) {
                        continue;
                    }
                    return false;
                }
                State::First { .. } => limits.max_handshake_frame,
                State::Established { .. } | State::Closing { in_sync: true, .. } => limits.max_frame,
                State::Introduced { .. } => return false,
                State::Closing { in_sync: false, .. } | State::Closed => {
                    input.clear();
                    return false;
                }
            };
            match self.fragments.cut(input, limit) {
                Ok(Some((header, payload))) => self.handle_frame(now, &header, payload),
                Ok(None) => break,
                Err(error) => self.refuse_frame(now, error),
            }
        }
        if let State::Established { liveness, .. } = &mut self.state
            && input.is_empty()
        {
            liveness.between_frames();
        }
        false
    }

    fn handle_frame(&mut self, now: Instant, header: &Header, payload: Bytes) {
        if header.mask.is_some() && !self.is_server() {
            return self.refuse_frame(now, FrameError::Masked);
        }
        match header.opcode {
            Opcode::Ping => {
                if self.out.len() < MAX_UNSENT_FOR_PONG && !matches!(self.state, State::Closing { .. }) {
                    self.put_frame(Opcode::Pong, &payload);
                }
            }
            Opcode::Pong => {
                let timeout = self.common().leave_timeout;
                // A client may wait until a slow server has read everything. A server that ends does not wait for slow clients.
                let may_extend = !self.is_server();
                if let State::Established { liveness, leaving } = &mut self.state
                    && liveness.received_pong(&payload)
                    && may_extend
                    && let Some(leaving) = leaving
                {
                    leaving.extend(now, timeout);
                }
            }
            Opcode::Close => self.handle_close(now, &payload),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                if let Some((opcode, message)) = self.fragments.add(header, payload) {
                    self.handle_message(now, opcode, &message);
                }
            }
        }
    }

    fn handle_message(&mut self, now: Instant, opcode: Opcode, text: &[u8]) {
        // Zeek's server sends text frames that are not UTF-8, and refuses them from clients.
        if self.is_server() && opcode == Opcode::Text && std::str::from_utf8(text).is_err() {
            let (code, reason) = FrameError::Utf8.close();
            return self.end(now, code, reason, super::Error::Frame(FrameError::Utf8).into());
        }
        match self.state {
            State::First { deadline } => self.handle_first_message(now, deadline, text),
            State::Established { .. } => self.handle_data(text),
            State::Head { .. } | State::Introduced { .. } | State::Closing { .. } | State::Closed => {}
        }
    }

    fn handle_data(&mut self, text: &[u8]) {
        let limits = self.common().limits;
        match read::message(text, self.peer_id(), !self.is_server(), &limits) {
            Ok(Message::Data(envelope)) => self.events.push_back(Event::Message(envelope)),
            Ok(Message::Error(notice)) => self.events.push_back(Event::Notice(notice)),
            Err(fault) => {
                // Nothing may follow this side's close frame.
                if self.is_server() && self.is_sending() {
                    self.send_error(DESERIALIZATION_FAILED, fault.context());
                }
                self.events.push_back(Event::Malformed(DecodeError::from(fault.into_error())));
            }
        }
    }
}
