//! The role of a cluster node: it announces itself with hellos, and responds to dispatches.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::hellos::Hellos;
use super::{
    DispatchError, DispatchRequest, DispatchResponse, JsonText, ManagementResult, NODE_TOPIC, NodeMessage,
    NotifyNodeHello, REQUEST_TIMEOUT, Values,
};
use crate::data::{ByteString, EndpointId, excerpt};
use crate::endpoint::{Endpoint, Message, Subscriber, Throttle, TopicInterest};
use crate::net::{boxed, sleep_until, spawn};
use crate::zeek::{Event, ZeekMessage};

/// Maximum number of dispatches that a node runs at once. While this number of dispatches is running, the node responds
/// to new ones with a failure.
pub const MAX_DISPATCHES: usize = 1024;

/// A request to run an action on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatch {
    /// The peer that sent it.
    pub peer: EndpointId,
    /// The request id of the agent.
    pub reqid: String,
    /// The action to run.
    pub action: String,
    /// The arguments of the action.
    pub args: Vec<String>,
}

/// Runs the dispatches of a node. Implemented for every `async fn(action, args) -> Result<Option<JsonText>, DispatchError>`.
pub trait Handler: Send + Sync + 'static {
    /// Runs one action, and returns its data.
    ///
    /// If the handler panics, the node responds with a failure. If it takes longer than the node's time limit
    /// ([`REQUEST_TIMEOUT`] by default), the future is dropped and no response is sent, because the agent has forgotten the
    /// request.
    ///
    /// # Errors
    /// The node responds with the text of the error.
    fn dispatch(
        &self,
        dispatch: Dispatch,
    ) -> impl Future<Output = Result<Option<JsonText>, DispatchError>> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(String, Vec<String>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Option<JsonText>, DispatchError>> + Send,
{
    fn dispatch(
        &self,
        dispatch: Dispatch,
    ) -> impl Future<Output = Result<Option<JsonText>, DispatchError>> + Send {
        self(dispatch.action, dispatch.args)
    }
}

/// Responds to `get_id_value` in the same way as a Zeek node with these variables.
impl Handler for Values {
    async fn dispatch(&self, dispatch: Dispatch) -> Result<Option<JsonText>, DispatchError> {
        Values::dispatch(self, &dispatch.action, &dispatch.args)
    }
}

/// An event of a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The node sent a peer its first hello. Repeated hellos are not reported.
    Hello {
        /// The peer.
        peer: EndpointId,
    },
    /// The node received a request.
    Request {
        /// The peer that sent the request.
        peer: EndpointId,
        /// The request.
        request: DispatchRequest,
    },
    /// The node sent a response.
    Answered {
        /// The peer that the response was sent to.
        peer: EndpointId,
        /// The result in the response.
        result: ManagementResult,
    },
    /// The node could not send a response, because it was late or too large, or because the peer has disconnected.
    Unanswered {
        /// The id of the request.
        reqid: String,
        /// The cause.
        reason: &'static str,
    },
}

/// A receiver of the events of a node.
#[derive(Debug)]
pub struct NodeEvents(broadcast::Receiver<NodeEvent>);

impl NodeEvents {
    /// Waits for the next event. Returns `None` once the node has stopped, also when its endpoint has shut down. If more
    /// than 1024 events are pending, the oldest are dropped. Cancel safe.
    pub async fn recv(&mut self) -> Option<NodeEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "dropped node events because their receiver is too slow");
                }
            }
        }
    }
}

/// A node of a cluster, on an endpoint.
///
/// The node sends a hello to each new peer that subscribes to [`NODE_TOPIC`]. It ignores requests that are addressed to
/// other nodes. It sends each response only to the peer from which it received the request.
///
/// The hello is repeated every 4 s until the peer sends its first request, and then every 30 s. Each request restarts
/// the interval. The repetition is needed because an agent forgets hellos when its configuration is deployed or its
/// nodes are restarted.
///
/// The handler is a function, [`Values`] (the variables of a node), or any type that implements [`Handler`]:
///
/// ```
/// use zeek_bridge::endpoint::Endpoint;
/// use zeek_bridge::management::{Node, Values};
/// # use zeek_bridge::management::Agent;
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
/// # endpoint.connect(address, Tls::Off).await?;
/// # agent.wait_for_nodes(|nodes| nodes.contains("worker-01")).await;
/// # assert_eq!(agent.get_id_value::<String>("Cluster::node").await?["worker-01"], Ok("worker-01".into()));
/// node.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// The [documentation of the crate](crate) shows a complete program.
#[derive(Debug)]
pub struct Node {
    /// Only the task and its dispatches have a [`broadcast::Sender`], so that receivers are closed when the task ends.
    events: broadcast::WeakSender<NodeEvent>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The task that runs one dispatch.
type RunningDispatch = JoinHandle<Result<Option<JsonText>, DispatchError>>;

struct Shared {
    endpoint: Endpoint,
    name: String,
    /// Starts the handler. The rest of the node does not depend on its type, so it is compiled only once.
    start: Box<dyn Fn(Dispatch) -> RunningDispatch + Send + Sync>,
    events: broadcast::Sender<NodeEvent>,
    time_limit: Duration,
    malformed: Throttle,
}

impl Node {
    /// Starts the node `name`. Peers of the endpoint may connect before or after this.
    pub async fn start(endpoint: Endpoint, name: impl Into<String>, handler: impl Handler) -> Node {
        Self::start_with_time_limit(endpoint, name, handler, REQUEST_TIMEOUT).await
    }

    /// Like [`Node::start`], but with this time limit for dispatches. The default is the time limit of Zeek's agent.
    pub async fn start_with_time_limit(
        endpoint: Endpoint,
        name: impl Into<String>,
        handler: impl Handler,
        time_limit: Duration,
    ) -> Node {
        let handler = Arc::new(handler);
        let start = move |dispatch| {
            let handler = handler.clone();
            spawn(async move { handler.dispatch(dispatch).await })
        };
        Self::start_with(endpoint, name.into(), Box::new(start), time_limit).await
    }

    async fn start_with(
        endpoint: Endpoint,
        name: String,
        start: Box<dyn Fn(Dispatch) -> RunningDispatch + Send + Sync>,
        time_limit: Duration,
    ) -> Node {
        let (sender, _) = broadcast::channel(1024);
        let events = sender.downgrade();
        let (stop, stopped) = watch::channel(false);
        let subscriber = endpoint.subscribe(&NODE_TOPIC).await;
        let interest = endpoint.watch_interest(&NODE_TOPIC);
        let shared =
            Shared { endpoint, name, start, events: sender, time_limit, malformed: Throttle::default() };
        let task = spawn(Arc::new(shared).run(subscriber, interest, stopped));
        Node { events, stop, task }
    }

    /// Returns a receiver of the events from now on.
    #[must_use]
    pub fn events(&self) -> NodeEvents {
        NodeEvents(match self.events.upgrade() {
            Some(events) => events.subscribe(),
            // The node has stopped: return a receiver that is closed.
            None => broadcast::channel(1).1,
        })
    }

    /// Stops accepting requests, waits until the running dispatches have finished, and returns. The endpoint keeps running.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

impl Shared {
    async fn run(
        self: Arc<Self>,
        mut subscriber: Subscriber,
        mut interest: TopicInterest,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut hellos = Hellos::default();
        let mut dispatches = JoinSet::new();
        self.greet(&mut interest, &mut hellos).await;
        loop {
            tokio::select! {
                message = subscriber.recv() => match message {
                    Some(message) => {
                        // Send the hello before a response, because an agent ignores responses of nodes whose hello it
                        // has not received.
                        if interest.has_changed() {
                            self.greet(&mut interest, &mut hellos).await;
                        }
                        self.on_message(&message, &mut hellos, &mut dispatches).await;
                    }
                    None => break,
                },
                Some(_) = dispatches.join_next() => {}
                () = interest.changed() => self.greet(&mut interest, &mut hellos).await,
                () = sleep_until(hellos.next()) => {
                    for peer in hellos.due(Instant::now()) {
                        if self.hello(peer).await {
                            tracing::debug!(node = self.name, %peer, "repeated the hello");
                        }
                    }
                }
                _ = stopped.changed() => break,
            }
        }
        while dispatches.join_next().await.is_some() {}
    }

    /// Sends a hello to each peer that has connected or subscribed to hellos since the last call.
    async fn greet(&self, interest: &mut TopicInterest, hellos: &mut Hellos) {
        for peer in hellos.set_peerings(interest.now(), Instant::now()) {
            if self.hello(peer).await {
                tracing::info!(node = self.name, %peer, "sent hello");
                let _ = self.events.send(NodeEvent::Hello { peer });
            }
        }
    }

    async fn hello(&self, peer: EndpointId) -> bool {
        self.send(peer, NotifyNodeHello { node: self.name.clone() }.into()).await
    }

    async fn on_message(
        self: &Arc<Self>,
        message: &Message,
        hellos: &mut Hellos,
        dispatches: &mut JoinSet<()>,
    ) {
        let peer = message.peer();
        for event in events(message) {
            let Some(Request { request, is_text }) = self.request(peer, &event) else { continue };
            let now = Instant::now();
            if let Some(from) = message.from() {
                hellos.request(from.peering, now);
            }
            let _ = self.events.send(NodeEvent::Request { peer, request: request.clone() });
            let error = if !is_text {
                DispatchError::NotUtf8
            } else if dispatches.len() >= MAX_DISPATCHES {
                "the node is busy: too many dispatches at once".into()
            } else {
                let deadline = now.checked_add(self.time_limit);
                dispatches.spawn(boxed(self.clone().dispatch(peer, request, deadline)));
                continue;
            };
            self.respond(peer, ManagementResult::failure(request.reqid, &self.name, error)).await;
        }
    }

    /// Returns the request, if the event is a request to this node.
    fn request(&self, peer: EndpointId, event: &Event) -> Option<Request> {
        let error = match NodeMessage::parse(event) {
            Ok(Some(NodeMessage::Request(request))) => {
                return request.is_for(&self.name).then_some(Request { request, is_text: true });
            }
            // Hellos, responses, and all other events that are not requests.
            Ok(_) => return None,
            Err(error) => error,
        };
        if let Ok(request) = RequestOfBytes::try_from(event) {
            return request.is_for(&self.name).then(|| request.into_text());
        }
        if let Some(suppressed) = self.malformed.pass() {
            tracing::warn!(%peer, suppressed, "dropped a malformed event: {error}");
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
        let mut action_and_args = request.action.into_iter();
        let Some(action) = action_and_args.next() else {
            let result = ManagementResult::failure(reqid, &self.name, DispatchError::NoAction);
            return self.respond(peer, result).await;
        };
        // Run the handler in a separate task, so that a panic in it does not end this task.
        let dispatch = Dispatch { peer, reqid: reqid.clone(), action, args: action_and_args.collect() };
        let mut running = (self.start)(dispatch);
        let done = tokio::select! {
            // Check the deadline first: a response after the deadline is late, even if it is ready now.
            biased;
            () = sleep_until(deadline) => {
                running.abort();
                tracing::warn!(node = self.name, reqid = excerpt(&reqid), "a dispatch took too long; no response is sent");
                let reason = "the dispatch took too long";
                let _ = self.events.send(NodeEvent::Unanswered { reqid, reason });
                return;
            }
            done = &mut running => done,
        };
        let result = match done {
            Ok(Ok(data)) => ManagementResult::success(reqid, &self.name, data),
            Ok(Err(error)) => ManagementResult::failure(reqid, &self.name, error),
            Err(error) => {
                tracing::error!(
                    node = self.name,
                    reqid = excerpt(&reqid),
                    "a dispatch handler failed: {error}"
                );
                ManagementResult::failure(reqid, &self.name, "the node's handler failed")
            }
        };
        self.respond(peer, result).await;
    }

    async fn respond(&self, peer: EndpointId, result: ManagementResult) {
        let reqid = result.reqid().to_owned();
        if self.send(peer, DispatchResponse::from(result.clone()).into()).await {
            let _ = self.events.send(NodeEvent::Answered { peer, result });
        } else {
            let reason = "the agent has disconnected, or the response is too large";
            tracing::warn!(node = self.name, reqid = excerpt(&reqid), "no response sent: {reason}");
            let _ = self.events.send(NodeEvent::Unanswered { reqid, reason });
        }
    }

    async fn send(&self, peer: EndpointId, event: Event) -> bool {
        match self.endpoint.publish_via(peer, &NODE_TOPIC, event).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::error!(node = self.name, "cannot send an event: {error}");
                false
            }
        }
    }
}

struct Request {
    request: DispatchRequest,
    /// Whether the action is UTF-8. If not, invalid bytes are replaced by U+FFFD.
    is_text: bool,
}

crate::zeek_event! {
    /// A [`DispatchRequest`] whose strings may contain any bytes, as in Zeek. Only the request id must be text, because
    /// the response repeats it.
    struct RequestOfBytes(DispatchRequest::NAME) {
        reqid: String,
        action: Vec<ByteString>,
        nodes: BTreeSet<ByteString>,
    }
}

impl RequestOfBytes {
    /// Like [`DispatchRequest::is_for`].
    fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|name| name.as_bytes() == node.as_bytes())
    }

    /// Converts the strings to text. Node names that are not UTF-8 are left out, because this node's name is UTF-8.
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

/// Returns the events in a message, including those in batches.
pub(super) fn events(message: &Message) -> Vec<Event> {
    message.zeek_message().map(ZeekMessage::into_events).unwrap_or_else(|error| {
        tracing::debug!(peer = %message.peer(), "ignored a message that is not a Zeek message: {error}");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn assert_closed(events: &mut NodeEvents) {
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
        assert_eq!(event.expect("the receiver is closed"), None);
    }

    #[tokio::test]
    async fn the_events_end_when_the_node_stops() {
        let node = Node::start(Endpoint::new().unwrap(), "worker-01", Values::default()).await;
        let mut events = node.events();
        node.stop().await;
        assert_closed(&mut events).await;
    }

    #[tokio::test]
    async fn the_events_end_when_the_endpoint_shuts_down() {
        let endpoint = Endpoint::new().unwrap();
        let node = Node::start(endpoint.clone(), "worker-01", Values::default()).await;
        let mut events = node.events();
        endpoint.shutdown().await;
        assert_closed(&mut events).await;
        assert_closed(&mut node.events()).await;
        node.stop().await;
    }
}
