//! This endpoint as a node of a ZeroMQ cluster.

use std::sync::Arc;

use parking_lot::Mutex;

use super::format::ClusterFormat;
use crate::data::{EndpointId, Topic};
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
    /// The queue of the proxy's XSUB, and the format of its messages. `None` while there is no connection to it.
    outbox: Option<(Arc<Queue>, &'static Format)>,
}

impl Node {
    /// Returns a node that knows no other node. `id` is the id of the endpoint.
    pub(in crate::endpoint) fn new(name: &str, id: EndpointId, format: Arc<ClusterFormat>) -> Arc<Self> {
        let discovery = Discovery::new(name, id.to_string());
        let topics = discovery.subscriptions();
        Arc::new(Node { id, topics, format, state: Mutex::new(State { discovery, outbox: None }) })
    }

    /// Returns the topics to which the XSUB subscribes, in addition to the filter of the endpoint.
    pub(in crate::endpoint) fn subscriptions(&self) -> [Topic; 2] {
        self.topics.clone()
    }

    /// Handles a message that the XSUB has received. Returns whether it is for the node itself, and for nobody else.
    pub(in crate::endpoint) fn receive(&self, envelope: &Envelope) -> bool {
        let [topic_of_id, _] = &self.topics;
        if envelope.topic != *topic_of_id {
            return false;
        }
        let mut state = self.state.lock();
        if let Some(hello) = state.discovery.handle_message(envelope) {
            self.publish(&state, vec![hello]);
        }
        true
    }

    /// Queues events for the proxy. Without a connection, they are dropped: the next connection starts discovery again.
    fn publish(&self, state: &State, events: Vec<(Topic, Event)>) {
        let Some((queue, format)) = &state.outbox else { return };
        let sender = Sender::from(self.id).or_format(self.format.learned());
        for (topic, event) in events {
            let Ok(envelope) = Envelope::data(self.id, topic, &event.into_payload()) else { continue };
            let (batch, mut encoder) = (Batch::of(envelope, None), Encoder::default());
            if let (Ok(frames), _) = encoder.frames(format, &batch, &|_| sender) {
                // Fails only if the connection ends.
                let _ = queue.evict_and_push(&mut frames.clone());
            }
        }
    }
}

/// The connection of a node to the XSUB of the proxy. The node publishes over it until this is dropped.
#[derive(Debug)]
pub(in crate::endpoint) struct NodePublisher(Arc<Node>);

impl NodePublisher {
    pub(in crate::endpoint) fn new(node: &Arc<Node>, queue: &Arc<Queue>, format: &'static Format) -> Self {
        node.state.lock().outbox = Some((queue.clone(), format));
        NodePublisher(node.clone())
    }

    /// Handles changes of subscriptions that the XPUB has received.
    pub(in crate::endpoint) fn apply(&self, changes: impl Iterator<Item = SubscriptionChange>) {
        let mut state = self.0.state.lock();
        for change in changes {
            let events = state.discovery.handle_subscription(&change);
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
