//! This endpoint as a node of a ZeroMQ cluster.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::format::ClusterFormat;
use crate::data::{EndpointId, Topic};
use crate::endpoint::counters::Counters;
use crate::endpoint::queue::Queue;
use crate::net::{Batch, Encoder, Format, Sender};
use crate::wire::Envelope;
use crate::zeek::{Event, IntoPayload as _};
use crate::zeromq::SubscriptionChange;
use crate::zeromq::discovery::Discovery;

/// A node of a cluster: it sends and answers the hellos by which the nodes find each other (`PROTOCOL.md`, section 11).
///
/// Its XPUB receives the subscriptions of the other nodes, and publishes hellos. Its XSUB receives the hellos of the others.
#[derive(Debug)]
pub(in crate::endpoint) struct Node {
    id: EndpointId,
    /// The topics of the id and of the name of the node.
    topics: [Topic; 2],
    format: Arc<ClusterFormat>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    discovery: Discovery,
    greetings: Greetings,
    /// `None` if the proxy's XSUB is not connected.
    outbox: Option<Outbox>,
}

/// The queue of the proxy's XSUB, the format of its messages, and the counters of dropped messages.
#[derive(Debug)]
struct Outbox {
    queue: Arc<Queue>,
    format: &'static Format,
    stats: Arc<Counters>,
}

/// Limits the rate of hellos to new nodes that have not sent a hello. Without this limit, a client that subscribes to the topics of
/// many nodes that do not exist could fill the queue to the proxy.
#[derive(Debug)]
struct Greetings {
    left: u32,
    /// The time up to which `left` was increased.
    since: Instant,
}

impl Greetings {
    /// Enough for all nodes of a large cluster.
    const MAX: u32 = 1024;
    const INTERVAL: Duration = Duration::from_millis(20);

    fn new() -> Self {
        Greetings { left: Self::MAX, since: Instant::now() }
    }

    /// Returns whether a node may be greeted.
    fn is_allowed(&mut self) -> bool {
        let intervals = self.since.elapsed().as_millis().checked_div(Self::INTERVAL.as_millis());
        let intervals = intervals.and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
        if intervals > 0 {
            *self =
                Greetings { left: self.left.saturating_add(intervals).min(Self::MAX), since: Instant::now() };
        }
        self.left > 0
    }

    fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

impl Node {
    /// Returns a node that knows no other node. `id` is the id of the endpoint.
    pub(in crate::endpoint) fn new(name: &str, id: EndpointId, format: Arc<ClusterFormat>) -> Arc<Self> {
        let discovery = Discovery::new(name, id.to_string());
        let topics = discovery.subscriptions();
        Arc::new(Node {
            id,
            topics,
            format,
            state: Mutex::new(State { discovery, greetings: Greetings::new(), outbox: None }),
        })
    }

    /// Returns the topics to which the XSUB subscribes, in addition to the filter of the endpoint.
    pub(in crate::endpoint) fn subscriptions(&self) -> [Topic; 2] {
        self.topics.clone()
    }

    /// Handles a message that the XSUB has received. Returns whether it is addressed to the node itself, and so not to a subscriber
    /// of the endpoint.
    pub(in crate::endpoint) fn receive(&self, envelope: &Envelope) -> bool {
        let [topic_of_id, _] = &self.topics;
        if envelope.topic != *topic_of_id {
            return false;
        }
        let mut state = self.state.lock();
        let hellos = state.discovery.handle_message(envelope);
        self.publish(&state, hellos);
        true
    }

    /// Queues events for the proxy. Without a connection, they are dropped: the next connection starts discovery again.
    fn publish(&self, state: &State, events: Vec<(Topic, Event)>) {
        let Some(Outbox { queue, format, stats }) = &state.outbox else { return };
        let sender = Sender::from(self.id).or_format(self.format.learned());
        for (topic, event) in events {
            let Ok(envelope) = Envelope::data(self.id, topic, &event.into_payload()) else { continue };
            let (batch, mut encoder) = (Batch::of(envelope, None), Encoder::default());
            if let (Ok(frames), _) = encoder.frames(format, &batch, &|_| sender) {
                // Hellos are not repeated, so a hello replaces older messages in a full queue. Fails only if the connection ends.
                let dropped = queue.evict_and_push(&mut frames.clone());
                stats.dropped_for_peers.add(dropped.unwrap_or_default());
            }
        }
    }
}

/// The connection of a node to the XSUB of the proxy. The node publishes over it until this is dropped.
#[derive(Debug)]
pub(in crate::endpoint) struct NodePublisher(Arc<Node>);

impl NodePublisher {
    pub(in crate::endpoint) fn new(
        node: &Arc<Node>,
        queue: &Arc<Queue>,
        format: &'static Format,
        stats: &Arc<Counters>,
    ) -> Self {
        let (queue, stats) = (queue.clone(), stats.clone());
        node.state.lock().outbox = Some(Outbox { queue, format, stats });
        NodePublisher(node.clone())
    }

    /// Handles changes of subscriptions that the XPUB has received.
    pub(in crate::endpoint) fn apply(&self, changes: impl Iterator<Item = SubscriptionChange>) {
        let mut state = self.0.state.lock();
        for change in changes {
            let events = if state.greetings.is_allowed() {
                state.discovery.handle_subscription(&change)
            } else {
                state.discovery.handle_subscription_quietly(&change)
            };
            if !events.is_empty() {
                state.greetings.take();
            }
            self.0.publish(&state, events);
        }
    }
}

impl Drop for NodePublisher {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.outbox = None;
        state.discovery.handle_disconnected();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    use super::super::ZeroMqConfig;
    use crate::data::Value;
    use crate::endpoint::queue::{Popped, QueueLimits};
    use crate::net::BROKER;

    fn topic(id: &str) -> Topic {
        Topic::from(format!("zeek.cluster.nodeid.{id}."))
    }

    fn publisher(limits: QueueLimits) -> (NodePublisher, Arc<Queue>, Arc<Counters>) {
        let (queue, stats) = (Arc::new(Queue::new(limits)), Arc::default());
        let settings = Arc::new(watch::Sender::new(ZeroMqConfig::default()));
        let node = Node::new("bridge-1", EndpointId::from_bytes([1; 16]), ClusterFormat::new(settings));
        (NodePublisher::new(&node, &queue, &BROKER, &stats), queue, stats)
    }

    /// Subscribes to the topic of a node, and cancels it.
    fn appear(publisher: &NodePublisher, id: &str) {
        let changes = [SubscriptionChange::Subscribed(topic(id)), SubscriptionChange::Cancelled(topic(id))];
        publisher.apply(changes.into_iter());
    }

    fn hello_from(publisher: &NodePublisher, id: &str) {
        let [own, _] = publisher.0.subscriptions();
        let hello = Event::new("Cluster::Backend::ZeroMQ::hello", ("worker-1", id)).into_payload();
        assert!(publisher.0.receive(&Envelope::data(EndpointId::from_bytes([2; 16]), own, &hello).unwrap()));
    }

    fn popped(queue: &Queue) -> usize {
        std::iter::from_fn(|| matches!(queue.try_pop(), Popped::Message(_)).then_some(())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_do_not_exist_are_greeted_at_a_limited_rate() {
        let (publisher, queue, _) = publisher(QueueLimits { messages: 10_000, bytes: usize::MAX });
        (0..3000).for_each(|number| appear(&publisher, &format!("x{number}")));
        assert_eq!(popped(&queue), 1024);
        // A node that exists sends a hello, and receives both.
        publisher.apply([SubscriptionChange::Subscribed(topic("real"))].into_iter());
        assert_eq!(popped(&queue), 0);
        hello_from(&publisher, "real");
        assert_eq!(popped(&queue), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        (0..3000).for_each(|number| appear(&publisher, &format!("y{number}")));
        assert_eq!(popped(&queue), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_a_hello_replaces_are_counted() {
        let (publisher, queue, stats) = publisher(QueueLimits { messages: 2, bytes: usize::MAX });
        let message =
            Envelope::data(EndpointId::from_bytes([1; 16]), Topic::from("/t"), &Value::Count(1)).unwrap();
        let frames = || {
            let (batch, mut encoder) = (Batch::of(message.clone(), None), Encoder::default());
            encoder.frames(&BROKER, &batch, &|_| EndpointId::NIL.into()).0.unwrap().clone()
        };
        queue.try_push(&frames()).unwrap();
        queue.try_push(&frames()).unwrap();
        appear(&publisher, "a");
        assert_eq!((stats.dropped_for_peers.get(), popped(&queue)), (1, 2));
    }
}
