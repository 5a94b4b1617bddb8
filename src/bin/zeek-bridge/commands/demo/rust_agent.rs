//! Second part of the demo: an agent of this library sends the same requests to two nodes of this library.

use std::collections::BTreeMap;

use zeek_bridge::endpoint::{Endpoint, Message, Subscriber};
use zeek_bridge::management::{
    Agent, DispatchRequest, NODE_TOPIC, Node, NodeMessage, REQUEST_TIMEOUT, Values,
};
use zeek_bridge::net::tls::EphemeralAuthority;
use zeek_bridge::zeek::Event;

use super::recording::Recording;
use super::report::Report;
use super::{failed, mutual};
use crate::output::Failure;

/// A live node that replaces a captured node.
struct Live<'a> {
    recording: &'a Recording,
    node: Node,
    endpoint: Endpoint,
    /// Receives the same messages as the node.
    received: Subscriber,
}

/// Sends the captured requests from a live agent to live nodes.
pub(super) async fn run(
    nodes: Vec<(&Recording, Values)>,
    authority: &EphemeralAuthority,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let endpoint = Endpoint::new().map_err(failed)?;
    let mut received = endpoint.subscribe(&NODE_TOPIC).await;
    let agent = Agent::start(endpoint.clone()).await;
    let listener = endpoint.listen("127.0.0.1:0", mutual(authority, "agent")?).await.map_err(failed)?;
    let address = listener.local_addr().to_string();
    let mut live = Vec::new();
    for (recording, values) in nodes {
        live.push(Live::start(recording, values, &address, authority).await?);
    }
    agent.wait_for_nodes(|there| there.len() >= live.len()).await;
    for _ in &live {
        let event = event(&mut received).await?;
        match NodeMessage::parse(&event).map_err(failed)? {
            Some(NodeMessage::Hello(hello)) => report.event(&hello.node, "agent", &event)?,
            other => return Err(failed(format!("a node sent {other:?} before its hello"))),
        }
    }

    let mut silences = Vec::new();
    let requests = live.first().map(|live| live.recording.dispatches()).unwrap_or_default();
    for request in requests.into_iter().map(|dispatch| dispatch.request) {
        silences.extend(ask(&agent, &request, &mut live, &mut received, report).await?);
    }

    // After the nodes have ended, all of their output has been read. Only then is it certain that a node did not answer.
    for live in live {
        live.node.stop().await;
        live.endpoint.shutdown().await;
    }
    drop(agent);
    endpoint.shutdown().await;
    if let Some(message) = received.recv().await {
        return Err(failed(format!("a node answered a request that was not for it: {message}")));
    }
    for (node, request) in silences {
        report.verdict(&node, &request, None, None)?;
    }
    Ok(())
}

/// Sends one request, compares the answers, and returns the nodes that correctly did not answer.
async fn ask(
    agent: &Agent,
    request: &DispatchRequest,
    live: &mut [Live<'_>],
    received: &mut Subscriber,
    report: &mut Report<'_>,
) -> Result<Vec<(String, DispatchRequest)>, Failure> {
    let dispatch = agent.dispatch(request.action.clone(), request.nodes.clone(), REQUEST_TIMEOUT);
    let outcome = dispatch.await.map_err(failed)?;
    for live in live.iter_mut() {
        report.event("agent", &live.recording.node, &event(&mut live.received).await?)?;
    }
    let mut answered = BTreeMap::new();
    for _ in &outcome.answers {
        let event = event(received).await?;
        match NodeMessage::parse(&event).map_err(failed)? {
            Some(NodeMessage::Response(response)) => {
                let node = response.result().node().unwrap_or_default().to_owned();
                report.event(&node, "agent", &event)?;
                answered.insert(node, response.into_result());
            }
            other => return Err(failed(format!("a node sent {other:?} instead of an answer"))),
        }
    }
    if answered != outcome.answers {
        return Err(failed("the agent's answers are not those that the nodes sent to it"));
    }
    let mut silent = Vec::new();
    for live in live.iter() {
        let recording = live.recording;
        let captured = recording.dispatches().into_iter().find(|other| other.request.reqid == request.reqid);
        let captured = captured.and_then(|dispatch| dispatch.answer);
        match (&captured, outcome.answers.get(&recording.node)) {
            (None, None) => silent.push((recording.node.clone(), request.clone())),
            (zeek, here) => report.verdict(&recording.node, request, zeek.as_ref(), here)?,
        }
    }
    Ok(silent)
}

impl<'a> Live<'a> {
    async fn start(
        recording: &'a Recording,
        values: Values,
        address: &str,
        authority: &EphemeralAuthority,
    ) -> Result<Self, Failure> {
        let endpoint = Endpoint::new().map_err(failed)?;
        let received = endpoint.subscribe(&NODE_TOPIC).await;
        let node = Node::start(endpoint.clone(), recording.node.as_str(), values).await;
        let connector = endpoint.connect(address, mutual(authority, &recording.node)?);
        connector.await.map_err(|error| Failure::connect(address, &error))?;
        Ok(Live { recording, node, endpoint, received })
    }
}

async fn event(received: &mut Subscriber) -> Result<Event, Failure> {
    let message: Message = received.recv().await.ok_or_else(|| failed("the endpoint has ended"))?;
    message.event().map_err(failed)
}
