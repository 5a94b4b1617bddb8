//! Subscriptions to the messages of peers.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::command::{Command, HubHandle};
use super::id::SubscriberId;
use super::message::Message;
use super::queue::{Queue, QueueLimits};
use crate::data::{Filter, Topic};

/// Receives the data messages of all peers whose topic begins with one of the subscriber's prefixes. If its queue is full,
/// further messages are dropped and counted. Dropping the subscriber unsubscribes it.
///
/// With the feature `stream`, it is a `futures_core::Stream` of messages.
#[derive(Debug)]
pub struct Subscriber {
    id: SubscriberId,
    topics: BTreeSet<Topic>,
    pub(super) queue: Arc<Queue<Message>>,
    hub: HubHandle,
    #[cfg(feature = "stream")]
    pub(super) wait: Option<Wait>,
}

/// The pending `pop` of the `Stream` implementation ([`super::stream`]).
#[cfg(feature = "stream")]
pub(super) struct Wait(pub(super) std::pin::Pin<Box<dyn Future<Output = Option<Message>> + Send + Sync>>);

#[cfg(feature = "stream")]
impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wait")
    }
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
        hub.send(Command::Subscribe { id, filter, queue: queue.clone(), answer }).await;
        let _ = done.await;
        Subscriber {
            id,
            topics,
            queue,
            hub,
            #[cfg(feature = "stream")]
            wait: None,
        }
    }

    /// Waits for the next message. Returns `None` when the endpoint has shut down and all messages were received.
    ///
    /// Cancel-safe: no message is lost if the future is dropped while it waits.
    pub async fn recv(&mut self) -> Option<Message> {
        // Ends the wait of a stream, which would otherwise receive the notification of the next message.
        #[cfg(feature = "stream")]
        {
            self.wait = None;
        }
        self.queue.pop().await
    }

    /// Returns the number of messages that can be received without waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Subscribes to an additional prefix, and announces it to the peers.
    pub async fn subscribe(&mut self, topic: impl Into<Topic>) {
        let mut topics = self.topics.clone();
        if topics.insert(topic.into()) {
            self.resubscribe(topics).await;
        }
    }

    /// Unsubscribes from a prefix, and announces the change to the peers. Messages that match one of the
    /// remaining prefixes are still received. Only a subscribed prefix can be removed: if `/a` is subscribed,
    /// `unsubscribe("/a/b")` has no effect.
    pub async fn unsubscribe(&mut self, topic: impl Into<Topic>) {
        let mut topics = self.topics.clone();
        if topics.remove(&topic.into()) {
            self.resubscribe(topics).await;
        }
    }

    /// If the call is cancelled, `topics` is unchanged, and the call can be repeated.
    async fn resubscribe(&mut self, topics: BTreeSet<Topic>) {
        let (answer, done) = oneshot::channel();
        let filter: Filter = topics.iter().cloned().collect();
        self.hub.send(Command::Resubscribe { id: self.id, filter, answer }).await;
        let _ = done.await;
        self.topics = topics;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.hub.unsubscribe.send(self.id);
    }
}
