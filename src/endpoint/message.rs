//! A message as subscribers receive it.

use super::peer::Peer;
use super::queue::Item;
use crate::data::{EndpointId, Topic, Value};
use crate::net::tls::PeerIdentity;
use crate::wire::{DecodeError, Envelope, Limits, ValueRef};

/// A data message from a peer. It has been checked: decoding its value does not fail.
#[derive(Clone, Debug)]
pub struct Message {
    pub(super) envelope: Envelope,
    pub(super) limits: Limits,
    /// The peer from which it was received.
    pub(super) from: Option<Peer>,
}

impl Item for Message {
    fn messages(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        self.envelope.topic.as_bytes().len().saturating_add(self.envelope.payload.len())
    }
}

impl Message {
    /// Returns the peer that it was received from: the last hop, not necessarily its origin.
    #[must_use]
    pub fn peer(&self) -> EndpointId {
        self.envelope.sender
    }

    /// Returns the identity in the certificate of the connection that it was received over. `None` without TLS and in
    /// anonymous TLS.
    #[must_use]
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.from.as_ref()?.identity.as_deref()
    }

    /// Returns the peer that it was received from.
    pub(crate) fn from(&self) -> Option<&Peer> {
        self.from.as_ref()
    }

    /// Returns the topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.envelope.topic
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// Does not fail: see [`Message`].
    pub fn value(&self) -> Result<Value, DecodeError> {
        self.envelope.value(&self.limits)
    }

    /// Decodes the value without copying its strings.
    ///
    /// # Errors
    /// Does not fail: see [`Message`].
    pub fn value_ref(&self) -> Result<ValueRef<'_>, DecodeError> {
        ValueRef::decode(&self.envelope.payload, &self.limits)
    }

    /// Returns the complete message as it was received.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}
