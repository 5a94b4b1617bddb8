//! The role of an agent: knows its nodes by their hellos, asks them, and gathers the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::claims::Claims;
use super::node::events;
use super::{DispatchRequest, ManagementResult, NODE_TOPIC, NodeMessage};
use crate::data::EndpointId;
use crate::endpoint::{Endpoint, Message, Peer, PublishError, Subscriber, Throttle, TopicInterest};
use crate::zeek::{self, Event};

/// How many hellos an agent remembers: one for each name and peering. A peer that says hello under ever new names gets
/// no further.
pub const MAX_NODES: usize = 16_384;

/// How long a node's name may be in bytes. A hello under a longer one is ignored.
pub const MAX_NODE_NAME: usize = 1024;

/// How a dispatch went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// What the nodes answered, by name.
    pub answers: BTreeMap<String, ManagementResult>,
    /// The nodes that did not answer in time.
    pub missing: BTreeSet<String>,
}

/// An agent, on an endpoint of its own. When it is dropped it stops; the endpoint goes on.
///
/// A node's name belongs to the peering that said hello under it, as long as that peering lives, and answers in the name
/// count only if they come over it. Another peering may take the name over with the same certificate or, where peers show none,
/// from the same host. When it ends, the peering before it has the name again.
///
/// ```
/// use zeek_bridge::endpoint::Endpoint;
/// use zeek_bridge::management::{Agent, GET_ID_VALUE, REQUEST_TIMEOUT};
/// use zeek_bridge::net::tls::Tls;
/// # use zeek_bridge::management::{Node, Values};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::new()?;
/// let agent = Agent::start(endpoint.clone()).await;
/// // Port 0 is any; the nodes of a Zeek look for their agent at `DEFAULT_AGENT_PORT`.
/// let address = endpoint.listen("127.0.0.1:0", Tls::Off).await?.local_addr();
/// # let values = Values::from_json_text(r#"{"Cluster::node": "worker-01"}"#)?;
/// # let there = Endpoint::new()?;
/// # let node = Node::start(there.clone(), "worker-01", values).await;
/// # there.connect(&address.to_string(), Tls::Off, None);
/// agent.wait_for_nodes(|nodes| nodes.contains("worker-01")).await;
/// let action = vec![GET_ID_VALUE.to_owned(), "Cluster::node".to_owned()];
/// let outcome = agent.dispatch(action, ["worker-01".to_owned()].into(), REQUEST_TIMEOUT).await?;
/// for (node, result) in &outcome.answers {
///     match result.error() {
///         None => println!("{node}: {:?}", result.json()),
///         Some(error) => println!("{node} failed: {error}"),
///     }
/// }
/// assert_eq!(outcome.answers["worker-01"].json(), Some(Ok("worker-01".into())));
/// assert!(outcome.missing.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Agent {
    endpoint: Endpoint,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    nodes: watch::Sender<Nodes>,
    ignored: Throttle,
    pending: Mutex<HashMap<String, Pending>>,
}

/// The nodes that are there.
#[derive(Debug, Default)]
struct Nodes {
    names: BTreeSet<String>,
    claims: Claims,
}

#[derive(Debug)]
struct Pending {
    /// Who has not answered yet.
    expected: BTreeSet<String>,
    /// Takes one answer from each of them, and no more.
    answers: mpsc::UnboundedSender<(String, ManagementResult)>,
}

impl Agent {
    /// Starts an agent. The endpoint's peers may be there already or come later.
    pub async fn start(endpoint: Endpoint) -> Agent {
        let subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
        let wanted = endpoint.watch_interest(&NODE_TOPIC);
        let state = Arc::new(State {
            nodes: watch::Sender::default(),
            ignored: Throttle::default(),
            pending: Mutex::default(),
        });
        let task = tokio::spawn(state.clone().run(subscriber, wanted));
        Agent { endpoint, state, task }
    }

    /// The nodes that have said hello and whose peering stands.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<String> {
        self.state.nodes.borrow().names.clone()
    }

    /// Waits until `enough` says so of the nodes that are there, and gives them.
    pub async fn wait_for_nodes(&self, enough: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
        let mut changes = self.state.nodes.subscribe();
        loop {
            // In a block of its own, so that the future can go to another thread.
            {
                let nodes = changes.borrow_and_update();
                if enough(&nodes.names) {
                    return nodes.names.clone();
                }
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks these nodes, or all that are there if none is named, and waits for their answers at most
    /// `timeout` (Zeek's agent: [`super::REQUEST_TIMEOUT`]).
    ///
    /// # Errors
    /// When the request is too large for the wire.
    pub async fn dispatch(
        &self,
        action: Vec<String>,
        nodes: BTreeSet<String>,
        timeout: Duration,
    ) -> Result<Outcome, PublishError> {
        let expected = if nodes.is_empty() { self.nodes() } else { nodes.clone() };
        let mut outcome = Outcome { missing: expected.clone(), ..Outcome::default() };
        let reqid = EndpointId::random().unwrap_or_default().to_string();
        let (sender, mut answers) = mpsc::unbounded_channel();
        let _forgotten = Forget { state: &self.state, reqid: &reqid };
        self.state.pending().insert(reqid.clone(), Pending { expected, answers: sender });
        let request = Event::from(DispatchRequest { reqid: reqid.clone(), action, nodes });
        let value = zeek::Message::from(request).into_value();
        if self.endpoint.publish(NODE_TOPIC.clone(), &value).await? == 0 {
            return Ok(outcome);
        }
        // The sender is gone when everybody has answered.
        let _ = tokio::time::timeout(timeout, async {
            while let Some((node, result)) = answers.recv().await {
                outcome.missing.remove(&node);
                outcome.answers.insert(node, result);
            }
        })
        .await;
        Ok(outcome)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forgets a request when nobody waits for its answers any more.
struct Forget<'a> {
    state: &'a State,
    reqid: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.state.pending().remove(self.reqid);
    }
}

impl State {
    fn pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        // No code panics while it holds the lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, mut subscriber: Subscriber, mut wanted: TopicInterest) {
        loop {
            tokio::select! {
                // In this order, so that what a peer said before it went counts as said before.
                biased;
                message = subscriber.recv() => match message {
                    Some(message) => {
                        self.take(&message);
                    }
                    None => return,
                },
                () = wanted.changed() => {
                    let there = wanted.peers().into_iter().map(|(peering, _)| peering).collect();
                    self.nodes.send_if_modified(|Nodes { names, claims }| {
                        let before = names.len();
                        claims.retain(&there);
                        names.retain(|name| claims.contains(name));
                        names.len() != before
                    });
                }
            }
        }
    }

    fn take(&self, message: &Message) {
        // Every message comes over a peering.
        let Some(peer) = message.from() else { return };
        for event in events(message) {
            match NodeMessage::parse(&event) {
                Ok(Some(NodeMessage::Hello(hello))) => self.add(peer, &hello.node),
                Ok(Some(NodeMessage::Response(response))) => {
                    let reqid = response.reqid().to_owned();
                    self.answered(peer, &reqid, response.into_result());
                }
                // Other agents' requests, and other events.
                Ok(_) => {}
                Err(error) => self.ignored(peer, format_args!("a malformed message: {error}")),
            }
        }
    }

    fn add(&self, peer: &Peer, node: &str) {
        let mut refused = None;
        self.nodes.send_if_modified(|Nodes { names, claims }| match claims.hello(node, peer) {
            Ok(is_new) => is_new && names.insert(node.to_owned()),
            Err(error) => {
                refused = Some(error);
                false
            }
        });
        if let Some(error) = refused {
            self.ignored(peer, format_args!("{error}"));
        }
    }

    fn ignored(&self, peer: &Peer, what: std::fmt::Arguments<'_>) {
        if let Some(suppressed) = self.ignored.pass() {
            tracing::warn!(peer = %peer.id, address = %peer.address, suppressed, "ignored: {what}");
        }
    }

    fn answered(&self, peer: &Peer, reqid: &str, result: ManagementResult) {
        let Some(node) = result.node().map(str::to_owned) else {
            return self.ignored(peer, format_args!("an answer that does not say which node it is from"));
        };
        if self.nodes.borrow().claims.holder(&node) != Some(peer.peering) {
            return self
                .ignored(peer, format_args!("an answer in the name of a node that did not say hello there"));
        }
        let mut pending = self.pending();
        let Some(request) = pending.get_mut(reqid) else {
            tracing::debug!(peer = %peer.id, reqid, node, "an answer to no request of ours, or too late, was ignored");
            return;
        };
        if !request.expected.remove(&node) {
            drop(pending);
            return self
                .ignored(peer, format_args!("an answer of {node:?} that was not expected (any more)"));
        }
        // Nobody may be waiting any more.
        let _ = request.answers.send((node, result));
        if request.expected.is_empty() {
            pending.remove(reqid);
        }
    }
}
