//! Hearing what peers say.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::command::{Command, HubHandle};
use super::id::SubscriberId;
use super::message::Message;
use super::queue::{Queue, QueueLimits};
use crate::data::{Filter, Topic};

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
        hub.send(Command::Subscribe { id, filter, queue: queue.clone(), answer }).await;
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
