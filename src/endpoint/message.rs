//! A message as subscribers receive it.

use super::peer::Peer;
use super::queue::Item;
use crate::data::{EndpointId, Topic, Value};
use crate::net::tls::PeerIdentity;
use crate::wire::{DecodeError, Envelope, Limits, ValueRef};

/// A data message from a peer. It has been checked: decoding it does not fail.
#[derive(Clone, Debug)]
pub struct Message {
    pub(super) envelope: Envelope,
    pub(super) limits: Limits,
    /// The other side of the peering over which it came.
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
    /// The peer it came from (the last hop, not necessarily who said it first).
    #[must_use]
    pub fn peer(&self) -> EndpointId {
        self.envelope.sender
    }

    /// Who that peer is by its certificate: that of the connection over which the message came. `None` without
    /// TLS, and in anonymous TLS.
    #[must_use]
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.from.as_ref()?.identity.as_deref()
    }

    /// The other side of the peering over which the message came.
    pub(crate) fn from(&self) -> Option<&Peer> {
        self.from.as_ref()
    }

    /// What it is about.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.envelope.topic
    }

    /// What it says.
    ///
    /// # Errors
    /// None in practice: see [`Message`].
    pub fn value(&self) -> Result<Value, DecodeError> {
        self.envelope.value(&self.limits)
    }

    /// What it says, where it stands.
    ///
    /// # Errors
    /// None in practice: see [`Message`].
    pub fn value_ref(&self) -> Result<ValueRef<'_>, DecodeError> {
        ValueRef::decode(&self.envelope.payload, &self.limits)
    }

    /// The whole message as it came.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}
