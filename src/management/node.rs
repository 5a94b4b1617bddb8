//! The role of a cluster node: says hello, and answers dispatches.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::hellos::Hellos;
use super::{
    DispatchRequest, DispatchResponse, JsonText, ManagementResult, NODE_TOPIC, NodeMessage, NotifyNodeHello,
    REQUEST_TIMEOUT, Values, failure,
};
use crate::data::{ByteString, EndpointId};
use crate::endpoint::{Endpoint, Message, Subscriber, Throttle, TopicInterest};
use crate::zeek::{self, Event};

/// How many dispatches a node works on at once. Further ones are answered with a failure.
pub const MAX_DISPATCHES: usize = 1024;

/// One request to a node, as an agent made it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatch {
    /// The peer that it came from.
    pub peer: EndpointId,
    /// The agent's name for it.
    pub reqid: String,
    /// What to run.
    pub action: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What a node does with a dispatch: any `async fn(action, args) -> Result<data, failure text>` will do.
pub trait Handler: Send + Sync + 'static {
    /// Runs one action. The answer is data, or the text of a failure;
    /// [`failure::unknown_dispatch`] is Zeek's text for an action that is not known.
    ///
    /// A handler that panics is answered for with a failure. One that takes longer than
    /// the node's budget ([`REQUEST_TIMEOUT`], if nothing else was said) is stopped and not answered for: the agent has forgotten the request.
    fn dispatch(&self, dispatch: Dispatch) -> impl Future<Output = Result<Option<JsonText>, String>> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(String, Vec<String>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Option<JsonText>, String>> + Send,
{
    fn dispatch(&self, dispatch: Dispatch) -> impl Future<Output = Result<Option<JsonText>, String>> + Send {
        self(dispatch.action, dispatch.args)
    }
}

/// Answers `get_id_value` as a Zeek node with these variables.
impl Handler for Values {
    async fn dispatch(&self, dispatch: Dispatch) -> Result<Option<JsonText>, String> {
        Values::dispatch(self, &dispatch.action, &dispatch.args)
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The node has said hello to a peer for the first time. That it repeats the hello is not reported.
    Hello {
        /// The peer.
        peer: EndpointId,
    },
    /// An agent asks this node.
    Request {
        /// The peer that the request came from.
        peer: EndpointId,
        /// The request.
        request: DispatchRequest,
    },
    /// The node has answered.
    Answered {
        /// The peer that the answer went to.
        peer: EndpointId,
        /// The answer.
        result: ManagementResult,
    },
    /// An answer was not sent: it was not ready in time, or the peer is gone.
    Unanswered {
        /// The request.
        reqid: String,
        /// Why.
        reason: &'static str,
    },
}

/// What a node does, as it does it.
#[derive(Debug)]
pub struct NodeEvents(broadcast::Receiver<NodeEvent>);

impl NodeEvents {
    /// The next event; `None` once the node has stopped. A receiver that is more than 1024 behind misses
    /// the oldest.
    pub async fn recv(&mut self) -> Option<NodeEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a receiver of node events was too slow and missed some");
                }
            }
        }
    }
}

/// A node of a cluster, on an endpoint of its own.
///
/// It says hello over every new peering whose other side wants [`NODE_TOPIC`], ignores requests that are
/// not for it, and answers the others the way they came. The hello is repeated every 4 s until the other side has asked for
/// something, and 30 s after its last request: an agent whose configuration was deployed since then, or whose nodes
/// were restarted, has forgotten the first one.
///
/// The handler may also be [`Values`], the variables of a node, or any other type with [`Handler`]:
///
/// ```
/// use zeek_bridge::endpoint::Endpoint;
/// use zeek_bridge::management::{Node, Values};
/// # use zeek_bridge::management::{Agent, GET_ID_VALUE, REQUEST_TIMEOUT};
/// # use zeek_bridge::net::tls::Tls;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let values = Values::from_json_text(r#"{"Cluster::node": "worker-01"}"#)?;
/// let endpoint = Endpoint::new()?;
/// let node = Node::start(endpoint.clone(), "worker-01", values).await;
/// # let there = Endpoint::new()?;
/// # let agent = Agent::start(there.clone()).await;
/// # let address = there.listen("127.0.0.1:0", Tls::Off).await?.local_addr();
/// # endpoint.connect(&address.to_string(), Tls::Off, None).first_attempt().await?;
/// # agent.wait_for_nodes(|nodes| nodes.contains("worker-01")).await;
/// # let action = vec![GET_ID_VALUE.to_owned(), "Cluster::node".to_owned()];
/// # let outcome = agent.dispatch(action, Default::default(), REQUEST_TIMEOUT).await?;
/// # assert_eq!(outcome.answers["worker-01"].json(), Some(Ok("worker-01".into())));
/// node.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// A whole program is [at the front](crate).
#[derive(Debug)]
pub struct Node {
    events: broadcast::Sender<NodeEvent>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Shared<H> {
    endpoint: Endpoint,
    name: String,
    handler: H,
    events: broadcast::Sender<NodeEvent>,
    budget: Duration,
    malformed: Throttle,
}

impl Node {
    /// Starts the node `name`. The endpoint's peers may be there already or come later.
    pub async fn start(endpoint: Endpoint, name: impl Into<String>, handler: impl Handler) -> Node {
        Self::start_with_budget(endpoint, name, handler, REQUEST_TIMEOUT).await
    }

    /// As [`Node::start`], for agents that forget a request after another time than Zeek's.
    pub async fn start_with_budget(
        endpoint: Endpoint,
        name: impl Into<String>,
        handler: impl Handler,
        budget: Duration,
    ) -> Node {
        let (events, _) = broadcast::channel(1024);
        let (stop, stopped) = watch::channel(false);
        let subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
        let wanted = endpoint.watch_interest(&NODE_TOPIC);
        let shared = Shared {
            endpoint,
            name: name.into(),
            handler,
            events: events.clone(),
            budget,
            malformed: Throttle::default(),
        };
        let task = tokio::spawn(Arc::new(shared).run(subscriber, wanted, stopped));
        Node { events, stop, task }
    }

    /// What the node does from now on.
    #[must_use]
    pub fn events(&self) -> NodeEvents {
        NodeEvents(self.events.subscribe())
    }

    /// Takes no more requests, finishes those that it works on, and returns. The endpoint goes on.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

impl<H: Handler> Shared<H> {
    async fn run(
        self: Arc<Self>,
        mut subscriber: Subscriber,
        mut wanted: TopicInterest,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut hellos = Hellos::default();
        let mut dispatches = JoinSet::new();
        self.greet(&mut wanted, &mut hellos).await;
        loop {
            tokio::select! {
                message = subscriber.recv() => match message {
                    Some(message) => {
                        // Before any answer, so that the agent knows who answers.
                        if wanted.has_changed() {
                            self.greet(&mut wanted, &mut hellos).await;
                        }
                        self.take(&message, &mut hellos, &mut dispatches).await;
                    }
                    None => break,
                },
                Some(_) = dispatches.join_next() => {}
                () = wanted.changed() => self.greet(&mut wanted, &mut hellos).await,
                () = until(hellos.next()) => {
                    for peer in hellos.due(Instant::now()) {
                        if self.hello(peer).await {
                            tracing::debug!(node = self.name, %peer, "said hello again");
                        }
                    }
                }
                _ = stopped.changed() => break,
            }
        }
        while dispatches.join_next().await.is_some() {}
    }

    /// Says hello over each peering that is new, or newly subscribed to hellos.
    async fn greet(&self, wanted: &mut TopicInterest, hellos: &mut Hellos) {
        for peer in hellos.peerings(wanted.now(), Instant::now()) {
            if self.hello(peer).await {
                tracing::info!(node = self.name, %peer, "said hello");
                let _ = self.events.send(NodeEvent::Hello { peer });
            }
        }
    }

    async fn hello(&self, peer: EndpointId) -> bool {
        self.send(peer, NotifyNodeHello { node: self.name.clone() }.into()).await
    }

    async fn take(self: &Arc<Self>, message: &Message, hellos: &mut Hellos, dispatches: &mut JoinSet<()>) {
        let peer = message.peer();
        for event in events(message) {
            let Some(Request { request, is_text }) = self.request(peer, &event) else { continue };
            let now = Instant::now();
            if let Some(from) = message.from() {
                hellos.asked(from.peering, now);
            }
            let _ = self.events.send(NodeEvent::Request { peer, request: request.clone() });
            let refusal = if !is_text {
                Some(failure::NOT_UTF8)
            } else if dispatches.len() >= MAX_DISPATCHES {
                Some("the node is busy: too many dispatches at once")
            } else {
                None
            };
            match refusal {
                Some(text) => {
                    self.answer(peer, ManagementResult::failure(request.reqid, &self.name, text)).await;
                }
                None => {
                    let deadline = now.checked_add(self.budget);
                    dispatches.spawn(self.clone().dispatch(peer, request, deadline));
                }
            }
        }
    }

    /// The request to this node that an event is.
    fn request(&self, peer: EndpointId, event: &Event) -> Option<Request> {
        let error = match NodeMessage::parse(event) {
            Ok(Some(NodeMessage::Request(request))) => {
                return request.is_for(&self.name).then_some(Request { request, is_text: true });
            }
            // Hellos, answers, and other events.
            Ok(_) => return None,
            Err(error) => error,
        };
        if let Ok(request) = RequestOfBytes::try_from(event) {
            return request.is_for(&self.name).then(|| request.into_text());
        }
        if let Some(suppressed) = self.malformed.pass() {
            tracing::warn!(%peer, suppressed, "dropped a malformed message: {error}");
        }
        None
    }

    async fn dispatch(
        self: Arc<Self>,
        peer: EndpointId,
        request: DispatchRequest,
        deadline: Option<Instant>,
    ) {
        let reqid = request.reqid;
        let mut words = request.action.into_iter();
        let Some(action) = words.next() else {
            self.answer(peer, ManagementResult::failure(reqid, &self.name, failure::NO_ACTION)).await;
            return;
        };
        // A task of its own, so that a panic ends there.
        let shared = self.clone();
        let dispatch = Dispatch { peer, reqid: reqid.clone(), action, args: words.collect() };
        let mut running = tokio::spawn(async move { shared.handler.dispatch(dispatch).await });
        let done = tokio::select! {
            // An answer that is ready at the last moment is late.
            biased;
            () = until(deadline) => {
                running.abort();
                tracing::warn!(node = self.name, reqid, "a dispatch took too long; its answer is not sent");
                let reason = "the dispatch took too long";
                let _ = self.events.send(NodeEvent::Unanswered { reqid, reason });
                return;
            }
            done = &mut running => done,
        };
        let result = match done {
            Ok(Ok(data)) => ManagementResult::success(reqid, &self.name, data),
            Ok(Err(text)) => ManagementResult::failure(reqid, &self.name, text),
            Err(error) => {
                tracing::error!(node = self.name, reqid, "a dispatch handler failed: {error}");
                ManagementResult::failure(reqid, &self.name, "the node's handler failed")
            }
        };
        self.answer(peer, result).await;
    }

    async fn answer(&self, peer: EndpointId, result: ManagementResult) {
        let reqid = result.reqid().to_owned();
        if self.send(peer, DispatchResponse::from(result.clone()).into()).await {
            let _ = self.events.send(NodeEvent::Answered { peer, result });
        } else {
            let reason = "the peer that asked is gone, or the answer is too large";
            tracing::warn!(node = self.name, reqid, "not answered: {reason}");
            let _ = self.events.send(NodeEvent::Unanswered { reqid, reason });
        }
    }

    async fn send(&self, peer: EndpointId, event: Event) -> bool {
        let value = zeek::Message::from(event).into_value();
        match self.endpoint.publish_via(peer, NODE_TOPIC.clone(), &value).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::error!(node = self.name, "cannot be sent: {error}");
                false
            }
        }
    }
}

/// A request, and whether its action is what the agent sent: an action that is not UTF-8 has U+FFFD in it.
struct Request {
    request: DispatchRequest,
    is_text: bool,
}

crate::zeek_event! {
    /// A [`DispatchRequest`] with strings as Zeek has them, of any bytes. The request id remains text: an answer
    /// repeats it.
    struct RequestOfBytes(DispatchRequest::NAME) {
        reqid: String,
        action: Vec<ByteString>,
        nodes: BTreeSet<ByteString>,
    }
}

impl RequestOfBytes {
    /// As [`DispatchRequest::is_for`].
    fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|name| name.as_bytes() == node.as_bytes())
    }

    /// Names of nodes that are not UTF-8 are left out: they are those of others.
    fn into_text(self) -> Request {
        let is_text = self.action.iter().all(|word| std::str::from_utf8(word.as_bytes()).is_ok());
        let text = |bytes: &ByteString| bytes.to_str_lossy().into_owned();
        let nodes = self.nodes.iter().filter_map(|name| std::str::from_utf8(name.as_bytes()).ok());
        let request = DispatchRequest {
            reqid: self.reqid,
            action: self.action.iter().map(text).collect(),
            nodes: nodes.map(str::to_owned).collect(),
        };
        Request { request, is_text }
    }
}

/// The events in a message, those in batches included.
pub(super) fn events(message: &Message) -> Vec<Event> {
    let read = message.value().map_err(|e| e.to_string());
    match read.and_then(|value| zeek::Message::from_value(value).map_err(|e| e.to_string())) {
        Ok(message) => flatten(message),
        Err(error) => {
            tracing::debug!(peer = %message.peer(), "not a Zeek message: {error}");
            Vec::new()
        }
    }
}

/// Batches nest no deeper than [`zeek::MAX_BATCH_DEPTH`].
fn flatten(message: zeek::Message) -> Vec<Event> {
    match message {
        zeek::Message::Event(event) => vec![event],
        zeek::Message::Batch(messages) => messages.into_iter().flat_map(flatten).collect(),
        _ => Vec::new(),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
