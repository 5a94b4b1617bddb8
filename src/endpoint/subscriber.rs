//! Hearing what peers say.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::hub::{Command, HubHandle, SubscriberId};
use super::queue::{Item, Queue, QueueLimits};
use super::routes::Peer;
use crate::data::{EndpointId, Filter, Topic, Value};
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

/// Hears every data message whose topic one of its prefixes matches. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscriber {
    id: SubscriberId,
    topics: BTreeSet<Topic>,
    queue: Arc<Queue<Message>>,
    hub: HubHandle,
}

impl Subscriber {
    pub(super) async fn new(
        id: SubscriberId,
        topics: BTreeSet<Topic>,
        hub: HubHandle,
        queue: QueueLimits,
    ) -> Self {
        let (answer, done) = oneshot::channel();
        let queue = Arc::new(Queue::new(queue));
        let filter = topics.iter().cloned().collect();
        hub.tell(Command::Subscribe { id, filter, queue: queue.clone(), answer }).await;
        let _ = done.await;
        Subscriber { id, topics, queue, hub }
    }

    /// The next message; `None` once the endpoint has shut down and all messages were taken.
    /// Can be dropped while it waits; nothing is lost.
    pub async fn recv(&mut self) -> Option<Message> {
        self.queue.pop().await
    }

    /// How many messages wait to be received.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Hears this prefix too; peers are told.
    pub async fn subscribe(&mut self, topic: Topic) {
        let mut topics = self.topics.clone();
        if topics.insert(topic) {
            self.resubscribe(topics).await;
        }
    }

    /// Hears this prefix no more, unless another covers it; peers are told. Only what was
    /// subscribed can be unsubscribed: nothing can be taken out of a prefix.
    pub async fn unsubscribe(&mut self, topic: &Topic) {
        let mut topics = self.topics.clone();
        if topics.remove(topic) {
            self.resubscribe(topics).await;
        }
    }

    /// If it is dropped while it waits, the topics are as they were, and saying it again helps.
    async fn resubscribe(&mut self, topics: BTreeSet<Topic>) {
        let (answer, done) = oneshot::channel();
        let filter: Filter = topics.iter().cloned().collect();
        self.hub.tell(Command::Resubscribe { id: self.id, filter, answer }).await;
        let _ = done.await;
        self.topics = topics;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.hub.unsubscribe.send(self.id);
    }
}
