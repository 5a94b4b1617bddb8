//! The role of an agent: it learns of nodes from their hellos, sends requests to them, and collects the responses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_core::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::claims::Claims;
use super::node::events;
use super::{
    ALL_NODES, AnswerError, DispatchRequest, GET_ID_VALUE, ManagementResult, NODE_TOPIC, NodeMessage,
    Outcome, REQUEST_TIMEOUT,
};
use crate::data::{EndpointId, excerpt};
use crate::endpoint::{Endpoint, Message, Peer, PublishError, Subscriber, Throttle, TopicInterest};
use crate::net::spawn;

/// Maximum number of hellos that an agent stores. It stores one for each pair of a name and a peering. Hellos beyond
/// the maximum are ignored, so that a peer cannot use more and more memory by sending hellos with new names.
pub const MAX_NODES: usize = 16_384;

/// Maximum length of a node's name, in bytes. Hellos with longer names are ignored.
pub const MAX_NODE_NAME: usize = 1024;

/// An agent on an endpoint. It stops when it is dropped. The endpoint keeps running.
///
/// A node's name belongs to the peering that sent a hello with it, until that peering ends. Responses with the name are
/// accepted only from this peering. A second peering with the same certificate can take over the name. Without
/// certificates, a second peering from the same host can do so. When the second peering ends, the name belongs to the
/// first one again.
///
/// ```
/// use zeek_bridge::endpoint::Endpoint;
/// use zeek_bridge::management::{Agent, REQUEST_TIMEOUT};
/// use zeek_bridge::net::tls::Tls;
/// # use zeek_bridge::management::{Node, Values};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::new()?;
/// let agent = Agent::start(endpoint.clone()).await;
/// // Port 0 selects a free port. Zeek's nodes connect to `DEFAULT_AGENT_PORT`.
/// let address = endpoint.listen("127.0.0.1:0", Tls::Off).await?.local_addr();
/// # let values = Values::from_json_text(r#"{"Cluster::node": "worker-01"}"#)?;
/// # let there = Endpoint::new()?;
/// # let node = Node::start(there.clone(), "worker-01", values).await;
/// # there.connect(address, Tls::Off);
/// agent.wait_for_nodes(|nodes| nodes.contains("worker-01")).await;
///
/// // The value of a global variable of each connected node:
/// for (node, value) in agent.get_id_value::<String>("Cluster::node").await? {
///     match value {
///         Ok(name) => println!("{node} is {name}"),
///         Err(error) => println!("{node} failed: {error}"),
///     }
/// }
///
/// // Any action, to some nodes:
/// let outcome = agent.dispatch(["get_id_value", "Cluster::node"], ["worker-01"], REQUEST_TIMEOUT).await?;
/// assert_eq!(outcome.answers["worker-01"].value(), Ok("worker-01".to_owned()));
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

/// The connected nodes.
#[derive(Debug, Default)]
struct Nodes {
    names: BTreeSet<String>,
    claims: Claims,
}

#[derive(Debug)]
struct Pending {
    /// The nodes that have not responded yet.
    expected: BTreeSet<String>,
    /// The channel for the results of these nodes. Only one result of each node is sent to it, so the number of nodes
    /// bounds its length.
    answers: mpsc::UnboundedSender<(String, ManagementResult)>,
}

impl Agent {
    /// Starts an agent. Peers of the endpoint may connect before or after this.
    pub async fn start(endpoint: Endpoint) -> Agent {
        let subscriber = endpoint.subscribe(&NODE_TOPIC).await;
        let interest = endpoint.watch_interest(&NODE_TOPIC);
        let state = Arc::new(State {
            nodes: watch::Sender::default(),
            ignored: Throttle::default(),
            pending: Mutex::default(),
        });
        let task = spawn(state.clone().run(subscriber, interest));
        Agent { endpoint, state, task }
    }

    /// Returns the nodes that have sent a hello and are still connected.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<String> {
        self.state.nodes.borrow().names.clone()
    }

    /// Waits until `enough` returns true for the connected nodes, and returns them. Cancel safe.
    pub async fn wait_for_nodes(&self, enough: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
        let mut changes = self.state.nodes.subscribe();
        loop {
            // The guard of `borrow_and_update` is not `Send`, and must not live across the `await`.
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

    /// Asks all connected nodes for the value of a global variable. Returns the answer of each node, converted from
    /// JSON to a `T`. Use [`serde_json::Value`] to accept any value. Waits for at most [`REQUEST_TIMEOUT`].
    ///
    /// # Errors
    /// Fails if the request is too large for a frame.
    pub async fn get_id_value<T: DeserializeOwned>(
        &self,
        id: impl Into<String>,
    ) -> Result<BTreeMap<String, Result<T, AnswerError>>, PublishError> {
        let outcome = self.dispatch([GET_ID_VALUE.to_owned(), id.into()], ALL_NODES, REQUEST_TIMEOUT).await?;
        Ok(outcome.into_values())
    }

    /// Sends an action and its arguments to these nodes. If no nodes are named ([`ALL_NODES`]), sends it to all
    /// connected nodes. Waits for the responses for at most `timeout`; Zeek's agent waits for [`REQUEST_TIMEOUT`].
    ///
    /// If the future is dropped, responses that arrive afterwards are ignored.
    ///
    /// # Errors
    /// Fails if the request is too large for a frame.
    pub async fn dispatch(
        &self,
        action: impl IntoIterator<Item = impl Into<String>>,
        nodes: impl IntoIterator<Item = impl Into<String>>,
        timeout: Duration,
    ) -> Result<Outcome, PublishError> {
        let action = action.into_iter().map(Into::into).collect();
        let nodes = nodes.into_iter().map(Into::into).collect();
        self.send_request(action, nodes, timeout).await
    }

    async fn send_request(
        &self,
        action: Vec<String>,
        nodes: BTreeSet<String>,
        timeout: Duration,
    ) -> Result<Outcome, PublishError> {
        let expected = if nodes.is_empty() { self.nodes() } else { nodes.clone() };
        let mut outcome = Outcome { missing: expected.clone(), ..Outcome::default() };
        let reqid = EndpointId::random().unwrap_or_default().to_string();
        let (sender, mut answers) = mpsc::unbounded_channel();
        let _guard = PendingGuard { state: &self.state, reqid: &reqid };
        self.state.pending.lock().insert(reqid.clone(), Pending { expected, answers: sender });
        let request = DispatchRequest { reqid: reqid.clone(), action, nodes };
        if self.endpoint.publish(&NODE_TOPIC, request).await? == 0 {
            return Ok(outcome);
        }
        // The sender is dropped once all nodes have responded.
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

/// Removes a request when its caller stops waiting for the results.
struct PendingGuard<'a> {
    state: &'a State,
    reqid: &'a str,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.state.pending.lock().remove(self.reqid);
    }
}

impl State {
    async fn run(self: Arc<Self>, mut subscriber: Subscriber, mut interest: TopicInterest) {
        loop {
            tokio::select! {
                // Handle messages first. If a peer sent a response and then disconnected, the response is still
                // accepted.
                biased;
                message = subscriber.recv() => match message {
                    Some(message) => {
                        self.on_message(&message);
                    }
                    None => return,
                },
                () = interest.changed() => {
                    let established = interest.peers().into_iter().map(|(peering, _)| peering).collect();
                    self.nodes.send_if_modified(|Nodes { names, claims }| {
                        let before = names.len();
                        claims.retain(&established);
                        names.retain(|name| claims.contains(name));
                        names.len() != before
                    });
                }
            }
        }
    }

    fn on_message(&self, message: &Message) {
        // Messages that were received from peers always have a sender.
        let Some(peer) = message.from() else { return };
        for event in events(message) {
            match NodeMessage::parse(&event) {
                Ok(Some(NodeMessage::Hello(hello))) => self.on_hello(peer, &hello.node),
                Ok(Some(NodeMessage::Response(response))) => {
                    let reqid = response.reqid().to_owned();
                    self.on_response(peer, &reqid, response.into_result());
                }
                // Requests of other agents, and events that are not part of the node API.
                Ok(_) => {}
                Err(error) => self.ignored(peer, None, format_args!("a malformed event: {error}")),
            }
        }
    }

    fn on_hello(&self, peer: &Peer, node: &str) {
        let mut rejected = None;
        self.nodes.send_if_modified(|Nodes { names, claims }| match claims.hello(node, peer) {
            Ok(is_new) => is_new && names.insert(node.to_owned()),
            Err(error) => {
                rejected = Some(error);
                false
            }
        });
        if let Some(error) = rejected {
            self.ignored(peer, Some(node), format_args!("{error}"));
        }
    }

    /// Logs that an event was ignored. At most one such line per second is logged, for all peers together. `reason`
    /// contains no text that the peer has sent.
    fn ignored(&self, peer: &Peer, node: Option<&str>, reason: fmt::Arguments<'_>) {
        if let Some(suppressed) = self.ignored.pass() {
            let node = node.map(excerpt);
            tracing::warn!(peer = %peer.id, address = %peer.address, node, suppressed, "ignored {reason}");
        }
    }

    fn on_response(&self, peer: &Peer, reqid: &str, result: ManagementResult) {
        let Some(node) = result.node().map(str::to_owned) else {
            return self.ignored(peer, None, format_args!("a response without the name of its node"));
        };
        if self.nodes.borrow().claims.holder(&node) != Some(peer.peering) {
            let reason = format_args!("a response of a node whose name does not belong to this peer");
            return self.ignored(peer, Some(&node), reason);
        }
        let mut pending = self.pending.lock();
        let Some(request) = pending.get_mut(reqid) else {
            tracing::debug!(
                peer = %peer.id, reqid = excerpt(reqid), node = excerpt(&node),
                "ignored a response to an unknown or expired request"
            );
            return;
        };
        if !request.expected.remove(&node) {
            drop(pending);
            return self.ignored(
                peer,
                Some(&node),
                format_args!("an unexpected or second response of a node"),
            );
        }
        // Fails if the caller has stopped waiting.
        let _ = request.answers.send((node, result));
        if request.expected.is_empty() {
            pending.remove(reqid);
        }
    }
}
