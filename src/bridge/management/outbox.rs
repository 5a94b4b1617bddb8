//! Stores messages that the bridge generated for peers whose queues have no room. Examples are the hellos of many
//! nodes, which an agent receives when it reconnects, and the failures for a lost node with many pending responses.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::data::EndpointId;
use crate::endpoint::Blocked;
use crate::net::spawn;

/// The memory overhead of a pending message, in bytes, in addition to its length.
const PENDING_COST: usize = 256;

/// The pending messages of each peer. For each peer with pending messages, one task pushes them into the peer's queue.
#[derive(Clone, Debug, Default)]
pub(in crate::bridge) struct Outbox(Arc<Mutex<HashMap<EndpointId, Pending>>>);

#[derive(Debug, Default)]
struct Pending {
    messages: VecDeque<Blocked>,
    bytes: usize,
}

impl Pending {
    /// Stores messages up to `max_bytes` in total. Messages beyond this limit are dropped, and the endpoint counts them
    /// as dropped.
    fn extend(&mut self, messages: Vec<Blocked>, max_bytes: usize) {
        for message in messages {
            let bytes = self.bytes.saturating_add(cost(&message));
            if bytes <= max_bytes {
                self.bytes = bytes;
                self.messages.push_back(message);
            }
        }
    }
}

fn cost(message: &Blocked) -> usize {
    message.bytes().saturating_add(PENDING_COST)
}

impl Outbox {
    /// Stores messages until the peer's queue has room for them. At most `max_bytes` are stored for each peer.
    pub(in crate::bridge) fn store(&self, peer: EndpointId, messages: Vec<Blocked>, max_bytes: usize) {
        if messages.is_empty() {
            return;
        }
        match self.0.lock().entry(peer) {
            Entry::Occupied(mut pending) => pending.get_mut().extend(messages, max_bytes),
            Entry::Vacant(pending) => {
                pending.insert(Pending::default()).extend(messages, max_bytes);
                spawn(self.clone().push_all(peer));
            }
        }
    }

    /// Returns whether messages are pending for a peer.
    pub(in crate::bridge) fn has(&self, peer: EndpointId) -> bool {
        self.0.lock().contains_key(&peer)
    }

    async fn push_all(self, peer: EndpointId) {
        while let Some(message) = self.next(peer) {
            message.flush().await;
        }
    }

    /// Returns the next message for a peer. If there is none, removes the peer, so that the next [`Outbox::store`]
    /// starts a new task. The check and the removal happen under one lock. Otherwise, a message could be stored between
    /// them, and no task would send it.
    fn next(&self, peer: EndpointId) -> Option<Blocked> {
        let mut peers = self.0.lock();
        let pending = peers.get_mut(&peer)?;
        let next = pending.messages.pop_front();
        match &next {
            Some(next) => pending.bytes = pending.bytes.saturating_sub(cost(next)),
            None => {
                peers.remove(&peer);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::data::{Topic, Value};
    use crate::endpoint::{Endpoint, EndpointConfig, QueueLimits, Subscriber};
    use crate::net::Batch;
    use crate::net::tls::Tls;
    use crate::wire::Envelope;

    const TOPIC: Topic = Topic::from_static("/t");

    /// Queues a message for all peers, or returns it if a queue has no room.
    fn send(endpoint: &Endpoint, number: u64) -> Vec<Blocked> {
        let envelope = Envelope::data(endpoint.id(), TOPIC, &Value::Count(number)).unwrap();
        endpoint.forward_sparingly(&Batch::of(envelope, None), |_| endpoint.id(), |_| true)
    }

    async fn next(received: &mut Subscriber) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(60), received.recv());
        next.await.expect("no message").expect("the endpoint has ended").value()
    }

    #[tokio::test]
    async fn messages_up_to_the_limit_are_stored_and_sent_in_order() {
        let peer_queue = QueueLimits { messages: 8, bytes: 1_000_000 };
        let sender =
            Endpoint::with_config(EndpointConfig { peer_queue, ..EndpointConfig::default() }).unwrap();
        let receiver = Endpoint::new().unwrap();
        let mut received = receiver.subscribe([TOPIC]).await;
        let listener = sender.listen("127.0.0.1:0", Tls::Off).await.unwrap();
        receiver.connect(listener.local_addr(), Tls::Off).await.unwrap();
        sender.wait_for_subscribers(&TOPIC, 1).await;
        // Without an `.await`, no other task runs, so that nothing is sent. Three quarters of the queue are filled.
        let blocked: Vec<_> = (0..10).flat_map(|number| send(&sender, number)).collect();
        assert_eq!(blocked.len(), 4);
        let length = blocked[0].bytes();
        assert!(length > TOPIC.as_bytes().len(), "{length}");
        let outbox = Outbox::default();
        outbox.store(receiver.id(), blocked, 2 * (length + PENDING_COST) + PENDING_COST);
        assert!(outbox.has(receiver.id()) && !outbox.has(sender.id()));
        for number in 0..8 {
            assert_eq!(next(&mut received).await, Value::Count(number));
        }
        while outbox.has(receiver.id()) {
            tokio::task::yield_now().await;
        }
        assert!(send(&sender, 10).is_empty());
        assert_eq!(next(&mut received).await, Value::Count(10), "the messages above the limit are dropped");
        assert_eq!(sender.stats().dropped_for_peers, 2);
    }
}
