//! The interface between a connection and the protocol on it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::data::{EndpointId, Filter, Topic};
use crate::peering::{Event, SendError};
use crate::wire::{EncodeError, Envelope};
use crate::zeek::events::LeftOut;
use crate::zeromq::{EventFormat, SubscriptionChange};

/// The protocol on one connection, without I/O and without a clock. Its inputs are bytes and the time; its outputs are
/// bytes and events.
///
/// [`Peering`](crate::peering::Peering) is the reference implementation and documents the order of calls. The layers above
/// the connection (routing, queues, limits, counters) only handle envelopes, filters and endpoint ids. They are the same
/// for every session.
///
/// A session reports these events, in order:
///
/// - [`Event::Introduced`], when the peer's endpoint id is known. The session continues when [`Session::admit`] or
///   [`Session::refuse_redundant`] is called. If the protocol has no endpoint ids, the session assigns an id to the peer,
///   and reports [`Role::Responder`](crate::peering::Role::Responder).
/// - [`Event::Established`], with the peer's filter.
/// - Messages, changes of the filter, and errors that the peer reports.
/// - [`Event::Closed`], last.
///
/// The trait is sealed, because the encoding, queueing and splitting of messages is internal to this crate and may change.
/// [`Peering`](crate::peering::Peering), [`WebSocket`](crate::websocket::WebSocket) and [`ZeroMq`](crate::zeromq::ZeroMq)
/// implement it. The trait is public because it is the bound of [`Connection`](super::Connection).
///
/// If the protocol cannot carry a message, the [`Format`] of the session returns an encoding error. The message is then not
/// sent, the error is logged at debug level, and the message is counted for each peer.
pub trait Session: sealed::Sealed + fmt::Debug + Send {
    /// Encoded messages up to this length in bytes are copied into the session's own buffer. Longer ones are queued without
    /// a copy.
    const COPIED: usize;

    /// Returns the encoding of messages in this session. Messages for several peers are encoded once for each format.
    fn format(&self) -> &'static Format;

    /// Consumes the complete messages at the front of `input`. Returns `true` if it stopped early because many events are
    /// queued.
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool;

    /// Handles the end of the peer's stream.
    fn handle_eof(&mut self);

    /// Handles the passing of time.
    fn handle_timeout(&mut self, now: Instant);

    /// Returns the time at which [`Session::handle_timeout`] must be called, unless other input arrives first.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Returns the next event.
    fn poll_event(&mut self) -> Option<Event>;

    /// Removes and returns the messages before the first other event. If the protocol is ZeroMQ, use
    /// [`Session::poll_message`] instead.
    fn take_messages(&mut self) -> VecDeque<Envelope> {
        VecDeque::new()
    }

    /// Returns the next event if it is a message and the protocol is ZeroMQ. [`Session::received_format`] and other methods
    /// then describe this message. If the event is not a message, leaves it in the queue and returns `None`.
    fn poll_message(&mut self) -> Option<Envelope> {
        None
    }

    /// Returns the number of queued events, if the protocol is ZeroMQ.
    fn pending_events(&self) -> usize {
        0
    }

    /// Returns the next bytes to write to the peer.
    fn poll_transmit(&mut self) -> Option<Bytes>;

    /// Returns the number of bytes that [`Session::poll_transmit`] has not returned yet.
    fn unsent(&self) -> usize;

    /// Records how many of the bytes that [`Session::poll_transmit`] has returned are not written yet.
    fn note_unwritten(&mut self, _unwritten: usize) {}

    /// Queues messages that were encoded in this session's [format](Session::format). The pieces are written in order.
    ///
    /// # Errors
    /// Fails if the session is not established, or this side is leaving.
    fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError>;

    /// Replaces this endpoint's filter, and notifies the peer.
    ///
    /// # Errors
    /// Fails if the filter cannot be encoded. It is unchanged in that case.
    fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError>;

    /// Continues after [`Event::Introduced`].
    fn admit(&mut self);

    /// Ends the session after [`Event::Introduced`], because a peering with the same peer exists already.
    fn refuse_redundant(&mut self);

    /// Refuses the peer before anything was received from it.
    fn refuse(&mut self);

    /// Leaves the peer after all queued messages are sent.
    fn leave(&mut self, now: Instant);

    /// Records that the caller stops or resumes reading from the peer. While reading is stopped, the peer's silence is not
    /// an error.
    fn pause(&mut self, now: Instant, paused: bool);

    /// Returns whether [`Session::handle_input`] consumes input.
    fn takes_input(&self) -> bool;

    /// Returns whether the session has ended.
    fn is_closed(&self) -> bool;

    /// Returns whether the session is established. This is still so after [`Session::leave`], until the session has ended.
    fn is_established(&self) -> bool;

    /// Frees the memory that an idle session does not need.
    fn shrink_buffers(&mut self);

    /// Returns the name that the peer has given itself, if the protocol has such names. It is safe to log, and is not an
    /// identity: nothing proves it.
    fn peer_name(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns the name of the token with which the peer has authenticated itself, if there is one.
    fn token(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns the type of the peer's socket, such as `XPUB`, if the protocol is ZeroMQ.
    fn peer_socket(&self) -> Option<&'static str> {
        None
    }

    /// Returns the name of the key that the peer has proved to own, if the protocol is ZeroMQ and this side is the server of CURVE.
    fn curve_client(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns the long-term keys of this side and of the peer, under the conditions of [`Session::curve_client`].
    #[cfg(feature = "curve")]
    fn curve_keys(&self) -> Option<[crate::zeromq::curve::PublicKey; 2]> {
        None
    }

    /// Returns the text of the sender of recent messages, if the protocol has such texts. It is safe to log, and is not an
    /// identity: nothing proves it.
    fn sender_name(&self, _sender: EndpointId) -> Option<Arc<str>> {
        None
    }

    /// Returns whether the peer subscribes to exactly this prefix, if the protocol is ZeroMQ. The filter of the peer does not tell
    /// this, because it does not contain a prefix that a shorter prefix covers.
    fn is_subscribed(&self, _prefix: &Topic) -> bool {
        false
    }

    /// Returns the exact text of the sender of recent messages, if the protocol has such texts.
    fn sender_text(&self, _sender: EndpointId) -> Option<Bytes> {
        None
    }

    /// Returns the format of the last message that was polled, if the protocol is ZeroMQ.
    fn received_format(&self) -> Option<EventFormat> {
        None
    }

    /// Returns the frames of the last message that was polled, as a position in the memory that contains them. `None` if they may
    /// differ from those that this session would write.
    fn last_frames(&self) -> Option<(&Bytes, Range<usize>)> {
        None
    }

    /// Returns whether the peer has changed its filter, and the session reports the new filter a moment later.
    fn is_filter_due(&self) -> bool {
        false
    }

    /// Returns the next change of the peer's subscriptions, in the order in which the peer has sent them, if the protocol is ZeroMQ
    /// and the session reports them. Unless [`Session::is_filter_due`], the filter in the events is already up to date.
    fn poll_subscription(&mut self) -> Option<SubscriptionChange> {
        None
    }

    /// Sends a change of subscriptions to a publisher, if the protocol is ZeroMQ.
    ///
    /// # Errors
    /// Fails if the session is not established, or if the peer is not a publisher.
    fn send_subscription(&mut self, _change: &SubscriptionChange) -> Result<(), SendError> {
        Err(SendError::NotEstablished)
    }

    /// Returns the version of the peer's software, if the peer has sent it. It is safe to log.
    fn peer_version(&self) -> Option<Arc<str>> {
        None
    }
}

/// Prevents implementations of [`Session`] outside of this crate.
pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "so that it cannot be implemented elsewhere")]
    pub trait Sealed {}
}

/// The encoding of messages in one kind of [`Session`]. There is one static value for each format, and all of these values
/// are in this crate.
#[derive(Debug)]
#[non_exhaustive]
pub struct Format {
    /// The length of an encoded message in bytes, without the parts whose length varies: its topic, its payload and, in ZeroMQ, the
    /// text of its sender. It is subtracted from the length of a message in a queue, because queues are limited in bytes of these.
    pub(crate) overhead: usize,
    /// The maximum number of bytes by which a message is longer than as a Broker frame. It is exceeded by JSON, and by events whose sender
    /// is a long text: the buffer is then reallocated.
    pub(crate) margin: usize,
    /// Appends a message, with the given sender instead of the sender that it contains. A large payload may be returned
    /// instead of appended. It must then be written after the appended bytes. Increases the losses if
    /// messages are omitted or strings are changed. If it fails, the caller adds the messages in the error to the losses.
    pub(crate) encode: EncodeMessage,
    /// Returns the length of the first of several encoded messages. The length includes a payload that was not appended.
    pub(crate) first_length: fn(&[u8]) -> Option<usize>,
}

type EncodeMessage = fn(&Envelope, Sender<'_>, &mut BytesMut, &mut Losses) -> Result<Option<Bytes>, LeftOut>;

/// The sender in an encoded message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) id: EndpointId,
    /// The exact text of the sender in messages of ZeroMQ, if they return to the cluster of their publisher. `None`: the text of the id.
    pub(crate) text: Option<&'a [u8]>,
    /// The format of messages of ZeroMQ. `None`: the one in the configuration of the session.
    pub(crate) format: Option<EventFormat>,
}

impl From<EndpointId> for Sender<'_> {
    fn from(id: EndpointId) -> Self {
        Sender { id, text: None, format: None }
    }
}

impl Sender<'_> {
    /// Sets the format, if there is none.
    pub(crate) fn or_format(self, format: Option<EventFormat>) -> Self {
        Sender { format: self.format.or(format), ..self }
    }
}

/// The losses from encoding messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// The number of messages that the format cannot carry. Each message of a batch of Zeek's messages counts.
    pub(crate) not_carried: usize,
    /// The number of strings that are not UTF-8 and were changed.
    pub(crate) altered_strings: usize,
}

impl Format {
    /// Returns whether both are the same format.
    pub(crate) fn is(&'static self, other: &'static Format) -> bool {
        std::ptr::eq(self, other)
    }
}
