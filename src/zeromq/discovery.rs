//! The discovery of the nodes of a ZeroMQ cluster: each node notifies the others that it is up (`PROTOCOL.md`, section 11).
//!
//! Each node subscribes to the topic of its id, and receives the subscriptions of all nodes at its own XPUB. It sends a
//! `Cluster::Backend::ZeroMQ::hello` to each of them. When it has also received the same event from a node, it sends a
//! `Cluster::hello` to this node.

use std::collections::{HashMap, VecDeque};

use super::subscriptions::SubscriptionChange;
use super::topics::NODE_ID_TOPICS;
use crate::data::{ByteString, Topic};
use crate::wire::{Envelope, Limits};
use crate::zeek::{Event, ZeekMessage};

/// The topic of a name is this prefix, the name and a dot.
const NODES: &str = "zeek.cluster.node.";

const BACKEND_HELLO: &str = "Cluster::Backend::ZeroMQ::hello";
const CLUSTER_HELLO: &str = "Cluster::hello";

/// The maximum number of nodes that are known, and of nodes that have sent a hello without a subscription.
const MAX_NODES: usize = 1024;
/// The maximum length of an id in bytes.
const MAX_ID: usize = 1024;

/// The state of the other nodes. It does no I/O: the methods return the events to publish, in their order.
///
/// The other nodes accept this node only if their `Cluster::nodes` contains its name.
#[derive(Debug)]
pub(crate) struct Discovery {
    name: String,
    id: String,
    topic: Topic,
    /// The nodes that are subscribed to the topic of their id.
    nodes: HashMap<Box<[u8]>, Node>,
    /// The ids of the nodes that have sent a hello, and whose subscription has not arrived yet. The oldest are forgotten.
    early: VecDeque<Box<[u8]>>,
    /// The number of subscriptions of new nodes.
    subscriptions: u64,
}

/// The state of another node. "This node" is the node of the [`Discovery`].
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Whether this node has sent its first hello to the other one since it last subscribed.
    greeted: bool,
    /// Whether this node sends its first hello only after the other node has sent one.
    awaits_hello: bool,
    hello: Hello,
    /// The position of the subscription in the order of all subscriptions.
    number: u64,
}

/// The hello of the other node, which it sends for each subscription of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hello {
    #[default]
    Missing,
    Received,
    /// Received twice. If this node has cancelled its subscription and subscribed again, the second hello is for the new
    /// subscription. It may arrive before this node receives its own cancellation from the proxy.
    Repeated,
}

impl Discovery {
    /// Returns the state of a node that has subscribed to nothing. `id` is the sender of the messages that it publishes, and must
    /// not be used by another node or process.
    pub(crate) fn new(name: impl Into<String>, id: impl Into<String>) -> Self {
        let (name, id) = (name.into(), id.into());
        let topic = Topic::from(format!("{NODE_ID_TOPICS}{id}."));
        Discovery { name, id, topic, nodes: HashMap::new(), early: VecDeque::new(), subscriptions: 0 }
    }

    /// Returns the prefixes to which this node must subscribe: the topics of its id and its name. A shorter prefix that
    /// covers them does not suffice, because the other nodes recognize a node by exactly these prefixes.
    pub(crate) fn subscriptions(&self) -> [Topic; 2] {
        [self.topic.clone(), Topic::from(format!("{NODES}{}.", self.name))]
    }

    /// Handles a change that the XPUB of this node has received.
    ///
    /// At most 1024 nodes with ids of at most 1024 bytes are known. A further node replaces the oldest node that has not sent a
    /// hello. If all have sent one, the further node is ignored.
    #[must_use]
    pub(crate) fn handle_subscription(&mut self, change: &SubscriptionChange) -> Vec<(Topic, Event)> {
        self.handle_change(change, true)
    }

    /// Like [`Discovery::handle_subscription`], but sends no hello to a new node before it has sent one. This limits the hellos to
    /// nodes that do not exist: every client can subscribe to their topics. A real node sends a hello even if it has
    /// received none.
    #[must_use]
    pub(crate) fn handle_subscription_quietly(&mut self, change: &SubscriptionChange) -> Vec<(Topic, Event)> {
        self.handle_change(change, false)
    }

    fn handle_change(&mut self, change: &SubscriptionChange, greets: bool) -> Vec<(Topic, Event)> {
        match change {
            SubscriptionChange::Subscribed(topic) if *topic == self.topic => self.greet_again(),
            SubscriptionChange::Subscribed(topic) => self.subscribed(topic, greets),
            SubscriptionChange::Cancelled(topic) if *topic == self.topic => {
                self.forget_hellos();
                Vec::new()
            }
            SubscriptionChange::Cancelled(topic) => {
                if let Some(id) = node_id(topic) {
                    self.nodes.remove(id);
                    self.early.retain(|early| **early != *id);
                }
                Vec::new()
            }
        }
    }

    /// Handles a message that the XSUB of this node has received. Messages that are not a hello to this node are ignored.
    #[must_use]
    pub(crate) fn handle_message(&mut self, envelope: &Envelope) -> Vec<(Topic, Event)> {
        self.sender_of_hello(envelope).map_or_else(Vec::new, |id| self.handle_hello(id.as_bytes()))
    }

    /// Returns the id of the node that has sent this hello.
    fn sender_of_hello(&self, envelope: &Envelope) -> Option<ByteString> {
        if envelope.topic != self.topic {
            return None;
        }
        let value = envelope.value(&Limits::DEFAULT).ok()?;
        let event = ZeekMessage::from_value(value).ok()?.into_event().ok()?;
        if event.name != BACKEND_HELLO {
            return None;
        }
        let (_, id) = event.args_as::<(ByteString, ByteString)>().ok()?;
        let is_valid = id.as_bytes().len() <= MAX_ID && id.as_bytes() != self.id.as_bytes();
        is_valid.then_some(id)
    }

    fn handle_hello(&mut self, id: &[u8]) -> Vec<(Topic, Event)> {
        let Some(node) = self.nodes.get_mut(id) else {
            if !self.early.iter().any(|early| **early == *id) {
                if self.early.len() >= MAX_NODES {
                    self.early.pop_front();
                }
                self.early.push_back(id.into());
            }
            return Vec::new();
        };
        node.hello = match node.hello {
            Hello::Missing => Hello::Received,
            Hello::Received | Hello::Repeated => Hello::Repeated,
        };
        let hello = node.hello;
        if std::mem::take(&mut node.awaits_hello) {
            node.greeted = true;
            return self.hellos(topic(id), hello);
        }
        let is_complete = node.greeted && hello == Hello::Received;
        if is_complete { vec![self.event(topic(id), CLUSTER_HELLO)] } else { Vec::new() }
    }

    /// Handles the end of the connection of the XPUB. The next connection receives all subscriptions again.
    pub(crate) fn handle_disconnected(&mut self) {
        for (id, node) in self.nodes.drain() {
            if node.hello != Hello::Missing && self.early.len() < MAX_NODES {
                self.early.push_back(id);
            }
        }
    }

    /// Handles the subscription of another node. A repeated one has no effect: proxies repeat them.
    fn subscribed(&mut self, topic: &Topic, greets: bool) -> Vec<(Topic, Event)> {
        let Some(id) = node_id(topic) else { return Vec::new() };
        if self.nodes.contains_key(id) || !self.make_room() {
            return Vec::new();
        }
        let early = self.early.iter().position(|early| **early == *id);
        let hello = early.and_then(|at| self.early.remove(at)).map_or(Hello::Missing, |_| Hello::Received);
        self.subscriptions = self.subscriptions.saturating_add(1);
        let greeted = greets || hello != Hello::Missing;
        let node = Node { greeted, awaits_hello: !greeted, hello, number: self.subscriptions };
        self.nodes.insert(id.into(), node);
        if greeted { self.hellos(topic.clone(), hello) } else { Vec::new() }
    }

    /// Makes room for a new node. Returns `false` if all nodes have sent a hello.
    fn make_room(&mut self) -> bool {
        if self.nodes.len() < MAX_NODES {
            return true;
        }
        let silent = self.nodes.iter().filter(|(_, node)| node.hello == Hello::Missing);
        let oldest = silent.min_by_key(|(_, node)| node.number).map(|(id, _)| id.clone());
        oldest.is_some_and(|id| self.nodes.remove(&id).is_some())
    }

    /// Records that the other nodes have received the cancellation of this node's subscription. They now expect new hellos.
    fn forget_hellos(&mut self) {
        for node in self.nodes.values_mut() {
            let hello = if node.hello == Hello::Repeated { Hello::Received } else { Hello::Missing };
            *node = Node { greeted: false, hello, ..*node };
        }
    }

    /// Returns the hellos to the nodes to which none was sent since this node last subscribed, except for the nodes that must send
    /// theirs first.
    fn greet_again(&mut self) -> Vec<(Topic, Event)> {
        let mut new = Vec::new();
        for (id, node) in self.nodes.iter_mut().filter(|(_, node)| !node.greeted && !node.awaits_hello) {
            node.greeted = true;
            new.push((topic(id), node.hello));
        }
        new.into_iter().flat_map(|(topic, hello)| self.hellos(topic, hello)).collect()
    }

    /// Returns the first hello to a node, and the second one if the hello of the node has arrived.
    fn hellos(&self, topic: Topic, hello: Hello) -> Vec<(Topic, Event)> {
        let mut events = vec![self.event(topic.clone(), BACKEND_HELLO)];
        if hello != Hello::Missing {
            events.push(self.event(topic, CLUSTER_HELLO));
        }
        events
    }

    fn event(&self, topic: Topic, name: &str) -> (Topic, Event) {
        (topic, Event::new(name, (self.name.as_str(), self.id.as_str())))
    }
}

/// Returns the id in the topic of a node.
fn node_id(topic: &Topic) -> Option<&[u8]> {
    let id = topic.as_bytes().strip_prefix(NODE_ID_TOPICS.as_bytes())?.strip_suffix(b".")?;
    (!id.is_empty() && id.len() <= MAX_ID).then_some(id)
}

fn topic(id: &[u8]) -> Topic {
    // The length is limited.
    Topic::new([NODE_ID_TOPICS.as_bytes(), id, b"."].concat()).unwrap_or_default()
}
