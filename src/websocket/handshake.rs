//! The beginning of a session: the HTTP upgrade, and the first message of each side (`PROTOCOL.md`, section 10).

use std::time::Instant;

use bytes::{BufMut, BytesMut};
use serde_json::Value as Json;

use super::dialect::{mask, opcode};
use super::error::Error;
use super::frame::{NORMAL, Opcode, POLICY, PROTOCOL, put_message};
use super::http::{self, Head, Refusal};
use super::liveness::Liveness;
use super::read::{self, Answer};
use super::{Role, State, WebSocket};
use crate::data::{Filter, Topic, one_line};
use crate::peering::{Event, Role as PeeringRole, Side};
use crate::zeek::v1::{Text, put_string};

/// The code of Zeek's errors for messages that it cannot read.
pub(super) const DESERIALIZATION_FAILED: &str = "deserialization_failed";

impl WebSocket {
    /// Sends the request of a client.
    pub(super) fn send_request(&mut self) {
        let Role::Client(config) = &self.role else { return };
        match http::request(config) {
            Ok(request) => self.put(request.as_bytes()),
            Err(error) => self.close(error),
        }
    }

    /// Handles the head of the peer's request or response. Returns whether it is complete.
    pub(super) fn handle_head(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let from = if self.is_server() { Side::Connector } else { Side::Listener };
        match self.head.take(input, from) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                if self.is_server() {
                    let response = match error {
                        Error::NotHttp { .. } => Refusal::Syntax.response(),
                        _ => http::head_too_large(),
                    };
                    self.put(response.as_bytes());
                }
                self.close(error);
                return true;
            }
        }
        let head = std::mem::take(&mut self.head);
        if self.is_server() {
            self.handle_request(now, &head);
        } else {
            self.handle_response(&head);
        }
        true
    }

    fn handle_request(&mut self, now: Instant, head: &Head) {
        let Role::Server(config) = &self.role else { return };
        let (access, tls) = (config.access.clone(), config.common.tls);
        http::with_request(head, tls, |request| {
            let request = match request {
                Ok(request) => request,
                Err(refusal) => {
                    self.put(refusal.response().as_bytes());
                    return self
                        .close(Error::Http { what: "request", reason: one_line(&refusal.to_string()) });
                }
            };
            match access.check(&request.credentials) {
                Ok(token) => self.token = token,
                Err(denied) => {
                    let response =
                        if denied.needs_token() { http::unauthorized() } else { http::forbidden() };
                    self.put(response.as_bytes());
                    return self.close(Error::from(denied));
                }
            }
            self.put(request.upgrade().as_bytes());
            self.begin_messages();
            match request.application() {
                Ok(name) => self.peer_name = name.map(|name| one_line(name).into()),
                Err(error) => {
                    self.send_error(error.code, error.context);
                    self.end(now, POLICY, error.context, Error::Unfit(error.context).into());
                }
            }
        });
    }

    fn handle_response(&mut self, head: &Head) {
        let Role::Client(config) = &self.role else { return };
        if let Err(error) = http::check_response(head, config) {
            return self.close(error);
        }
        self.announced = config.common.filter.clone();
        let dialect = self.dialect();
        // Cannot fail: a server accepts all strings, and the length of a filter is not limited.
        let _ = put_message(self.out.buffer(), mask(dialect), |out| {
            let mut text = Text::default();
            out.put_u8(b'[');
            for (index, topic) in self.announced.topics().iter().enumerate() {
                if index > 0 {
                    out.put_u8(b',');
                }
                put_string(topic.as_bytes(), usize::MAX, dialect, out, &mut text)?;
            }
            out.put_u8(b']');
            Ok(opcode(text))
        });
        self.begin_messages();
    }

    fn begin_messages(&mut self) {
        if let State::Head { deadline } = self.state {
            self.state = State::First { deadline };
        }
    }

    /// Handles the first message of the peer: the subscriptions or the answer to them.
    pub(super) fn handle_first_message(&mut self, now: Instant, deadline: Instant, text: &[u8]) {
        let limits = self.common().limits;
        let mut filter = Filter::new();
        if self.is_server() {
            match read::subscriptions(text, &limits) {
                Ok(subscriptions) => filter = subscriptions,
                Err(context) => {
                    self.send_error(DESERIALIZATION_FAILED, context);
                    return self.end(now, POLICY, context, Error::Subscriptions(context).into());
                }
            }
        } else {
            // Zeek accepts every topic.
            filter.insert(Topic::default());
            match read::answer(text, &limits) {
                Answer::Ack { endpoint, version } => {
                    self.peer_name = Some(one_line(&endpoint).into());
                    self.peer_version = Some(one_line(&version).into());
                }
                Answer::Error(error) => {
                    let reason = Error::Refused { notice: error };
                    return self.end(now, NORMAL, "", reason.into());
                }
                Answer::Other => {
                    let reason = Error::NoAck { received: "a different message" };
                    return self.end(now, PROTOCOL, "expected an ack", reason.into());
                }
            }
        }
        self.state = State::Introduced { filter, deadline, since: now };
        self.events.push_back(Event::Introduced { peer: self.peer_id(), role: PeeringRole::Responder });
    }

    /// Continues after [`Event::Introduced`]. Then call [`WebSocket::handle_input`] with the rest of the input. A server sends
    /// the `ack` now.
    pub fn admit(&mut self) {
        let State::Introduced { filter, since, .. } = &mut self.state else { return };
        let (filter, since) = (std::mem::take(filter), *since);
        if let Role::Server(config) = &self.role {
            let ack = format!(
                "{{\"type\":\"ack\",\"endpoint\":{},\"version\":{}}}",
                Json::from(&*config.endpoint),
                Json::from(&*config.version)
            );
            self.put_frame(Opcode::Text, ack.as_bytes());
        }
        self.state = State::Established { liveness: Liveness::new(since), leaving: None };
        self.events.push_back(Event::Established { peer: self.peer_id(), filter });
        self.announce_filter();
    }

    /// Sends an error to a client.
    pub(super) fn send_error(&mut self, code: &str, context: &str) {
        let error = format!(
            "{{\"type\":\"error\",\"code\":{},\"context\":{}}}",
            Json::from(code),
            Json::from(context)
        );
        self.put_frame(Opcode::Text, error.as_bytes());
    }
}
