//! A message as subscribers receive it.

use std::fmt;
use std::sync::Arc;

use super::peer::Peer;
use super::queue::Item;
use super::websocket::WebSocketPeer;
use crate::data::{EndpointId, Topic, Value};
use crate::net::tls::PeerIdentity;
use crate::wire::{DecodeError, Envelope, Limits, ValueRef};
use crate::zeek::{Event, EventError, MessageError, ZeekMessage};

/// A data message from a peer: a topic and a value. The value is normally an event.
///
/// Its value was decoded once, to check it, before the message was queued. A message that cannot be decoded never reaches a
/// subscriber.
#[derive(Clone, Debug)]
pub struct Message {
    pub(super) envelope: Envelope,
    pub(super) limits: Limits,
    /// The peer from which it was received.
    pub(super) from: Option<Arc<Peer>>,
    /// The sender that the message contains, in a protocol in which a peer passes on the messages of others.
    pub(super) sender: Option<Arc<str>>,
}

impl Item for Message {
    fn messages(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        self.envelope.topic.as_bytes().len().saturating_add(self.envelope.payload.len())
    }
}

/// Writes the topic and the content, such as `/demo/ping: Example::ping(hello, 7)`. The peer chooses the text: escape it
/// ([`steers_terminal`](crate::data::steers_terminal)) before it is printed to a terminal.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.topic())?;
        match self.zeek_message() {
            Ok(message) => write!(f, "{message}"),
            // Decode again: `zeek_message` has consumed the value, and a copy of every value would cost more.
            Err(_) => write!(f, "{}", self.value()),
        }
    }
}

impl Message {
    /// Returns the peer that the message was received from. This is the last hop, and not necessarily the origin of the
    /// message. For a message from a ZeroMQ cluster, returns an id of the publisher instead: see
    /// [`Message::sender_name`].
    #[must_use]
    pub fn peer(&self) -> EndpointId {
        self.envelope.sender
    }

    /// Returns the sender of a message from the proxy of a ZeroMQ cluster, such as `zeromq_worker-1_host_5311_N`. `None` in other
    /// protocols. The text has at most 256 characters, then an ellipsis, and no control characters. It is not an identity: nothing
    /// proves it.
    #[must_use]
    pub fn sender_name(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// Returns the identity in the certificate of the peer that sent the message. `None` without TLS and in anonymous
    /// TLS.
    #[must_use]
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.from.as_ref()?.identity.as_deref()
    }

    /// Returns the name, version and token of the peer that sent the message. `None` if the peer speaks Broker's protocol
    /// or ZeroMQ instead of the WebSocket API.
    #[must_use]
    pub fn websocket(&self) -> Option<&WebSocketPeer> {
        self.from.as_ref()?.protocol.websocket().map(|peer| &**peer)
    }

    /// Returns the peer that sent the message.
    pub(crate) fn from(&self) -> Option<&Peer> {
        self.from.as_deref()
    }

    /// Returns the topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.envelope.topic
    }

    /// Converts the message to an event: an [`Event`], or a type that [`zeek_event!`](crate::zeek_event) declares.
    ///
    /// ```no_run
    /// # async fn example(mut messages: zeek_bridge::endpoint::Subscriber) {
    /// use zeek_bridge::zeek_event;
    ///
    /// zeek_event! {
    ///     pub struct Ping("Example::ping") { pub text: String, pub times: u64 }
    /// }
    ///
    /// while let Some(message) = messages.recv().await {
    ///     match message.event::<Ping>() {
    ///         // `{:?}` escapes characters that control a terminal. The peer chooses the text.
    ///         Ok(ping) => println!("{} times {:?}", ping.times, ping.text),
    ///         Err(error) => eprintln!("{:?}", error.to_string()),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the message is not an event, if the event has a different name than `E`, or if an argument has the wrong type.
    /// For a batch, which Zeek sends for logs, use [`Message::events`].
    pub fn event<E>(&self) -> Result<E, EventError>
    where
        E: TryFrom<Event>,
        EventError: From<E::Error>,
    {
        Ok(self.zeek_message()?.into_event()?.try_into()?)
    }

    /// Returns all events in the message, in their order. A batch can contain several events. Returns none if the message is not a
    /// Zeek message; [`Message::zeek_message`] returns that error.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.zeek_message().map(ZeekMessage::into_events).unwrap_or_default()
    }

    /// Converts the message to a Zeek message, for example an event or a log write.
    ///
    /// # Errors
    /// Fails if the value does not have the format of Zeek's messages.
    pub fn zeek_message(&self) -> Result<ZeekMessage, MessageError> {
        ZeekMessage::from_value(self.value())
    }

    /// Decodes the value.
    #[must_use]
    pub fn value(&self) -> Value {
        self.envelope.value(&self.limits).unwrap_or_else(|error| self.unreadable(&error))
    }

    /// Decodes the value without copying its strings.
    #[must_use]
    pub fn value_ref(&self) -> ValueRef<'_> {
        ValueRef::decode(&self.envelope.payload, &self.limits).unwrap_or_else(|error| self.unreadable(&error))
    }

    /// Unreachable: the value was checked with the same limits before the message was queued.
    fn unreadable<V: Default>(&self, error: &DecodeError) -> V {
        debug_assert!(false, "{}: a message was delivered unchecked: {error}", self.topic());
        tracing::error!(
            topic = crate::data::excerpt(&self.topic().to_str_lossy()),
            "a checked message cannot be decoded: {error}"
        );
        V::default()
    }

    /// Returns the complete message as it was received.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a message was delivered unchecked")]
    fn in_debug_builds_a_message_that_was_not_checked_is_a_panic() {
        let mut envelope =
            Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::Boolean(true)).unwrap();
        envelope.payload = Default::default();
        let _ = Message { envelope, limits: Limits::DEFAULT, from: None, sender: None }.value();
    }
}
