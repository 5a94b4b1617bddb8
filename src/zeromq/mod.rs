//! One connection of Zeek's ZeroMQ cluster back end, from the first byte to the last (`PROTOCOL.md`, section 11).
//!
//! Each node of such a cluster has an XPUB and an XSUB socket that are connected to a proxy. The proxy has the opposite sockets
//! and passes on events and subscriptions. A node also has a PUSH socket that is connected to the PULL socket of each logger.
//!
//! This module does no I/O and reads no clock. The caller passes bytes and the time, and receives bytes and events.
//! [`ZeroMq`] documents the order of calls.

mod announced;
mod closing;
mod command;
mod config;
#[cfg(feature = "curve")]
pub mod curve;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only endpoints are nodes"))]
pub(crate) mod discovery;
mod encode;
mod error;
mod event;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only connections read the formats"))]
mod formats;
mod frame;
mod greeting;
mod input;
mod liveness;
mod log;
mod multipart;
mod received;
mod recorded;
mod security;
mod senders;
mod subscriptions;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
#[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "the bridge uses the rest"))]
pub(crate) mod topics;

pub use config::{Config, EventFormat, Mechanism, SocketType};
#[cfg(feature = "net")]
pub(crate) use encode::{OVERHEAD, first_length};
pub(crate) use encode::{encode, id_text};
pub use log::{LogBatch, LogField, LogHeader, LogRow, LogRows, LogValue, TypeTag};
pub use recorded::Part;
pub(crate) use recorded::{Cut, PartReader, is_signature};
pub use subscriptions::SubscriptionChange;

use std::collections::VecDeque;
#[cfg(feature = "net")]
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::data::{EndpointId, Filter, Topic};
use crate::peering::{COPIED, Event, Output, SendError, after};
use crate::wire::{EncodeError, Envelope};
use closing::Leaving;
use error::Stage;
use event::MessageReader;
use formats::Formats;
use greeting::put_signature;
use liveness::Liveness;
use multipart::Multipart;
use received::Received;
use security::Security;
use subscriptions::Subscriptions;

/// The state machine of one connection. The order of calls is that of [`Peering`](crate::peering::Peering).
///
/// The two sides send their mechanisms at different times:
///
/// - The side that listens sends its mechanism only to a peer with the same one, and otherwise closes the connection. A node of
///   Zeek 8.2 or later that received a different mechanism would terminate instead of connecting again.
/// - The side that connects sends its mechanism after it has received the version of the peer. libzmq sends its version and its
///   mechanism together, but never after it has received a different mechanism. So this side can report both mechanisms.
///
/// The events are those of a peering:
///
/// - The protocol has no endpoint ids, so the peer has the id in the configuration.
/// - The filter of [`Event::Established`] is empty. The peer of an XPUB sends its subscriptions afterwards, and each change is
///   reported with [`Event::FilterChanged`], after the other queued events. If the filter changes again before this event is
///   polled, the event contains the newest filter. If a peer with many subscriptions changes them often, its changes are combined
///   for up to 0.1 s, and [`ZeroMq::poll_timeout`] returns the end of this time. [`ZeroMq::poll_subscription`] returns each change
///   as it was received. The peers of the other sockets do not subscribe.
/// - An XSUB reports events with [`Event::Message`]. The sender of the envelope is the node that has published the event, and not
///   the peer; see [`ZeroMq::sender_name`]. The payload is an event of Zeek, whose content is not checked. Messages that this
///   endpoint has published are not reported.
/// - A PULL reports log batches with [`Event::Logs`].
/// - A message with a wrong number of parts, an unknown format, a payload that is not an event, or a sender or topic that is too
///   long is reported with [`Event::Malformed`], and the session continues, as in Zeek.
///
/// An established peer that is silent for half of [`idle_timeout`](crate::peering::Config::idle_timeout) receives a PING. If nothing
/// arrives in the other half, the session ends. A peer with version 3.0 of the protocol has no pings, so its silence is not limited.
///
/// The protocol has no message for the end of a session; see [`ZeroMq::leave`].
#[derive(Debug)]
pub struct ZeroMq {
    config: Config,
    state: State,
    security: Security,
    out: Output,
    /// Whether this side connects and has queued its complete greeting.
    is_greeted: bool,
    /// The number of bytes that [`ZeroMq::poll_transmit`] has returned and that are not written yet.
    unwritten: usize,
    /// The events that are polled before those in `events`.
    received: Received,
    events: VecDeque<Event>,
    /// The formats of the messages in `events`.
    formats: Formats,
    parts: Multipart,
    reader: MessageReader,
    /// The subscriptions of the peer of an XPUB.
    subscriptions: Subscriptions,
    /// The subscriptions that an XSUB has sent.
    announced: Filter,
    peer_socket: Option<&'static str>,
    liveness: Liveness,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Handshake {
        stage: Stage,
        deadline: Instant,
    },
    /// Messages are exchanged.
    Established {
        leaving: Option<Leaving>,
    },
    /// The session has ended.
    Closed,
}

impl ZeroMq {
    /// Encoded messages up to this length in bytes are copied into the output buffer.
    #[cfg(feature = "net")]
    pub(crate) const COPIED: usize = COPIED;

    /// Returns the state of a new connection on which nothing has been sent or received.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let deadline = after(now, config.common.handshake_timeout);
        let subscriptions = Subscriptions::new(config.reports_subscriptions, now);
        let mut session = ZeroMq {
            config,
            state: State::Handshake { stage: Stage::Greeting, deadline },
            security: Security::Null,
            out: Output::default(),
            is_greeted: false,
            unwritten: 0,
            received: Received::default(),
            events: VecDeque::new(),
            formats: Formats::default(),
            parts: Multipart::default(),
            reader: MessageReader::default(),
            subscriptions,
            announced: Filter::new(),
            peer_socket: None,
            liveness: Liveness::new(now),
        };
        put_signature(session.out.buffer());
        session
    }

    /// Returns the format in which this side publishes events.
    #[cfg(feature = "net")]
    pub(crate) fn event_format(&self) -> EventFormat {
        self.config.format
    }

    /// Returns the format of the last message that [`ZeroMq::poll_event`] or [`ZeroMq::poll_message`] has returned.
    #[cfg(feature = "net")]
    pub(crate) fn received_format(&self) -> Option<EventFormat> {
        self.formats.last()
    }

    /// Returns the next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(envelope) = self.poll_received() {
            return Some(Event::Message(envelope));
        }
        if let Some(event) = self.events.pop_front() {
            if let Event::Message(_) = event {
                self.formats.pop();
            }
            return Some(event);
        }
        if self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        // The filter is built only here, so that the peer cannot fill the queue with filters.
        if self.is_closed() {
            return None;
        }
        self.subscriptions.take_change().map(Event::FilterChanged)
    }

    /// Returns the next change of the subscriptions of an XPUB's peer, if [`Config::reports_subscriptions`] is set. The changes are
    /// those that the peer has sent, in their order, including repeated subscriptions and cancellations without a subscription.
    ///
    /// Poll all changes after each call of [`ZeroMq::handle_input`]. That method stops and returns `true` when 1024 changes or
    /// 64 KiB of prefixes are queued. So the queue exceeds this limit by at most one prefix. The end of the session discards the
    /// queue, and cancels all subscriptions.
    #[must_use]
    pub fn poll_subscription(&mut self) -> Option<SubscriptionChange> {
        if self.is_closed() {
            return None;
        }
        self.subscriptions.next_change()
    }

    /// Returns whether the peer has changed its subscriptions and the new filter was not reported yet. If
    /// [`ZeroMq::poll_event`] returns no event in the meantime, the filter is reported at the time of [`ZeroMq::poll_timeout`].
    #[cfg(feature = "net")]
    pub(crate) fn is_filter_due(&self) -> bool {
        !self.is_closed() && self.subscriptions.is_changed()
    }

    /// Returns the next event if it is a message. If it is not, leaves it in the queue and returns `None`.
    #[cfg(feature = "net")]
    pub(crate) fn poll_message(&mut self) -> Option<Envelope> {
        if let Some(envelope) = self.poll_received() {
            return Some(envelope);
        }
        if !matches!(self.events.front(), Some(Event::Message(_))) {
            return None;
        }
        match self.events.pop_front() {
            Some(Event::Message(envelope)) => {
                self.formats.pop();
                Some(envelope)
            }
            _ => None,
        }
    }

    fn poll_received(&mut self) -> Option<Envelope> {
        let envelope = self.received.poll(&mut self.reader.senders, self.config.own_id)?;
        self.formats.set_last(EventFormat::Binary);
        Some(envelope)
    }

    /// Returns the frames of the event that was polled last, as a position in the memory that contains them. `None` if they do not
    /// have the form in which this crate encodes events.
    #[cfg(feature = "net")]
    pub(crate) fn last_frames(&self) -> Option<(&Bytes, Range<usize>)> {
        self.received.last()
    }

    /// Returns the number of queued events.
    pub(crate) fn pending_events(&self) -> usize {
        self.received.pending().saturating_add(self.events.len())
    }

    /// Returns the next bytes to write to the peer.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop()
    }

    /// Records how many of the bytes that [`ZeroMq::poll_transmit`] has returned are not written to the peer yet. Call it before
    /// [`ZeroMq::poll_timeout`]: a side that leaves waits until everything is written. Without these calls, bytes count as written
    /// when [`ZeroMq::poll_transmit`] returns them.
    pub fn handle_written(&mut self, unwritten: usize) {
        self.unwritten = unwritten;
    }

    /// Returns whether everything that was queued is written.
    fn is_written(&self) -> bool {
        self.unwritten == 0 && self.out.len() == 0
    }

    /// Returns the number of bytes that [`ZeroMq::poll_transmit`] has not returned yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Queues an event for the peer of an XPUB. The sender is replaced by this endpoint's id; the ttl and the receiver are lost,
    /// because the protocol has none. A batch of Zeek's messages is sent as its events, without its other messages. This method
    /// does not check the peer's filter; the caller must do that.
    ///
    /// # Errors
    /// Fails if the session is not established, if this side's socket is not an XPUB, or if the back end cannot carry the message:
    /// a data-store command, a log, an identifier update, a batch of such messages only, or a value that is not a message of Zeek.
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        self.check_sending()?;
        if self.config.socket != SocketType::XPub {
            return Err(EVENT_TO_LOGGER.into());
        }
        let Config { own_id, format, .. } = self.config;
        let mut frames = BytesMut::new();
        let (_, payload) = encode(envelope, &id_text(own_id), format, COPIED, &mut frames)
            .map_err(|left_out| left_out.error)?;
        self.send_encoded([frames.freeze(), payload.unwrap_or_default()])
    }

    /// Queues messages that are already encoded: events for the peer of an XPUB, or log batches for the peer of a PUSH. They are
    /// encrypted here if the mechanism does that, so that the connections to several peers can share the encoded messages.
    ///
    /// # Errors
    /// Fails if the session is not established, or if this side's socket only receives messages.
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only connections send encoded messages"))]
    pub(crate) fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError> {
        self.check_sending()?;
        self.security.send_encoded(pieces, &mut self.out).map_err(|error| {
            self.close(error);
            SendError::NotEstablished
        })
    }

    /// Checks that messages can be sent. An XSUB never sends messages: the peer would read a message whose topic begins with the
    /// byte 0 or 1 as a change of subscriptions.
    fn check_sending(&self) -> Result<(), SendError> {
        if !matches!(self.state, State::Established { leaving: None }) {
            return Err(SendError::NotEstablished);
        }
        match self.config.socket {
            SocketType::XPub | SocketType::Push => Ok(()),
            SocketType::XSub | SocketType::Pull => Err(MESSAGE_TO_SENDER.into()),
        }
    }

    /// Records that the caller stops or resumes reading from the peer. In the meantime, the peer's silence is ignored, and its pings
    /// are not answered. A subscriber that stops reading stalls the proxy of the cluster, so do not pause an XSUB for long.
    pub fn pause(&mut self, now: Instant, paused: bool) {
        self.liveness.pause(now, paused);
    }

    /// Returns whether [`ZeroMq::handle_input`] consumes input: always, except between [`Event::Introduced`] and the call of
    /// [`ZeroMq::admit`] or [`ZeroMq::refuse_redundant`]. Read only a bounded amount from the connection during that time.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        !matches!(self.state, State::Handshake { stage: Stage::Admission, .. })
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns whether the session is established. This is still so after [`ZeroMq::leave`], until the session has ended.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// Frees the memory of the output queue if it is empty, except for a small buffer.
    #[cfg(feature = "net")]
    pub(crate) fn shrink_buffers(&mut self) {
        self.out.shrink();
    }

    /// Returns the sender of recent messages as the messages contain it, such as `zeromq_worker-1_host_5311_N`. Ids are derived
    /// from this text: a UUID in lower case is the id itself, and any other text is hashed to a UUID of version 8. NIL and UUIDs of
    /// version 8 are hashed, too. The text has no control characters, and an ellipsis replaces what follows the first 256
    /// characters. It is not an identity: nothing proves it.
    #[must_use]
    pub fn sender_name(&self, sender: EndpointId) -> Option<Arc<str>> {
        self.reader.senders.name(sender)
    }

    /// Returns the exact bytes of the sender of recent messages. See [`ZeroMq::sender_name`] for a text that is safe to log.
    #[must_use]
    pub fn sender_text(&self, sender: EndpointId) -> Option<Bytes> {
        self.reader.senders.text(sender)
    }

    /// Returns whether the peer of an XPUB subscribes to exactly this prefix. This does not follow from the filter in
    /// [`Event::FilterChanged`], because it does not contain a prefix that a shorter prefix covers.
    #[must_use]
    pub fn is_subscribed(&self, prefix: &Topic) -> bool {
        self.subscriptions.contains(prefix.as_bytes())
    }

    /// Returns the name of the client in [`AllowedClients`](curve::AllowedClients), if this side is a server of CURVE. Returns
    /// `None` before [`Event::Introduced`], because the client has not yet proved that it owns the key with this name.
    #[cfg(feature = "curve")]
    #[must_use]
    pub fn curve_client(&self) -> Option<Arc<str>> {
        match &self.security {
            Security::Null => None,
            Security::Curve(curve) => curve.client_name().cloned(),
        }
    }

    /// Returns the long-term keys of the server and the client. Returns `None` in the same cases as [`ZeroMq::curve_client`].
    #[cfg(feature = "curve")]
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only endpoints compare the keys"))]
    pub(crate) fn curve_keys(&self) -> Option<[curve::PublicKey; 2]> {
        match &self.security {
            Security::Null => None,
            Security::Curve(curve) => curve.proved_keys(),
        }
    }

    /// Returns the type of the peer's socket, such as `SUB`, once the peer has sent it.
    #[must_use]
    pub fn peer_socket(&self) -> Option<&'static str> {
        self.peer_socket
    }
}

const MESSAGE_TO_SENDER: EncodeError =
    EncodeError::NotCarried { what: "a message to a peer that only sends messages" };
const EVENT_TO_LOGGER: EncodeError = EncodeError::NotCarried { what: "an event to a logger" };
