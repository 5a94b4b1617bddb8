//! First part of the demo: the captured agent sends requests to a node of this library.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zeek_bridge::endpoint::{Endpoint, EndpointConfig};
use zeek_bridge::management::{DispatchRequest, NODE_TOPIC, Node, NodeMessage, Values};
use zeek_bridge::net::Stream;
use zeek_bridge::net::tls::{EphemeralAuthority, Tls};
use zeek_bridge::trace::FrameReader;
use zeek_bridge::wire::{Handshake, put_frame};

use super::recording::{Content, Frame, Recording};
use super::report::Report;
use super::{failed, mutual};
use crate::output::Failure;

/// Plays the frames of the recorded agent to a live node.
pub(super) async fn run(
    recording: &Recording,
    values: Values,
    authority: &EphemeralAuthority,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let (agent_tls, node_tls) = (mutual(authority, "agent")?, mutual(authority, &recording.node)?);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();

    // The recorded frames are addressed to the endpoint of the recorded node.
    let config = EndpointConfig { id: Some(recording.node_id), ..EndpointConfig::default() };
    let endpoint = Endpoint::with_config(config).map_err(failed)?;
    let node = Node::start(endpoint.clone(), recording.node.as_str(), values).await;
    let connecting = endpoint.connect(&address, node_tls);
    let connect = async { connecting.await.map_err(|error| Failure::connect(&address, &error)) };
    let play = async { Agent::accept(&listener, &agent_tls).await?.play(recording, report).await };
    let played = tokio::try_join!(connect, play);
    node.stop().await;
    endpoint.shutdown().await;
    played.map(drop)
}

/// The agent's end of the connection, which only follows the recording.
struct Agent {
    stream: Stream,
    input: FrameReader,
}

impl Agent {
    async fn accept(listener: &TcpListener, tls: &Tls) -> Result<Self, Failure> {
        let (tcp, _) = listener.accept().await.map_err(failed)?;
        let stream = tls.accept(tcp).await.map_err(failed)?;
        Ok(Agent { stream, input: FrameReader::default() })
    }

    /// Sends each frame of the agent after the live node has sent the frames that the captured node had sent before it.
    async fn play(mut self, recording: &Recording, report: &mut Report<'_>) -> Result<(), Failure> {
        let mut asked = None;
        for frame in &recording.frames {
            if frame.from_agent {
                self.send(frame, &recording.node, report, &mut asked).await?;
            } else if awaited(&frame.content) {
                let live = self.receive().await?;
                compare(&frame.content, &live, &recording.node, report, asked.as_ref())?;
            }
        }
        self.stream.shutdown().await.map_err(failed)
    }

    async fn send(
        &mut self,
        frame: &Frame,
        node: &str,
        report: &mut Report<'_>,
        asked: &mut Option<DispatchRequest>,
    ) -> Result<(), Failure> {
        if let Content::Event(event, message) = &frame.content {
            report.event("agent", node, event)?;
            if let Some(NodeMessage::Request(request)) = message {
                *asked = Some(request.clone());
            }
        }
        let mut bytes = BytesMut::new();
        put_frame(&mut bytes, |to| {
            to.put_slice(&frame.body);
            Ok(())
        })
        .map_err(failed)?;
        self.stream.write_all(&bytes).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)
    }

    /// Reads the next frame of the live node.
    async fn receive(&mut self) -> Result<Content, Failure> {
        loop {
            if let Some(frame) = self.input.next_frame().map_err(failed)? {
                return Content::of(&frame).map_err(failed);
            }
            if self.stream.read_buf(self.input.buffer()).await.map_err(failed)? == 0 {
                return Err(failed("the node closed the connection; the captured node did not"));
            }
        }
    }
}

/// Returns whether the live node also sends this frame. It announces neither logs nor stores.
fn awaited(content: &Content) -> bool {
    match content {
        Content::Handshake(_) | Content::Event(_, Some(_)) | Content::Pong(_) => true,
        Content::Event(_, None) | Content::Other => false,
    }
}

/// Compares a frame of the live node with a frame of the captured node.
fn compare(
    captured: &Content,
    live: &Content,
    node: &str,
    report: &mut Report<'_>,
    asked: Option<&DispatchRequest>,
) -> Result<(), Failure> {
    if let Content::Event(event, _) = live {
        report.event(node, "agent", event)?;
    }
    let same = match (captured, live) {
        // The subscriptions may differ, as long as the agent can reach the node.
        (
            Content::Handshake(Handshake::ResponderSynAck(_)),
            Content::Handshake(Handshake::ResponderSynAck(filter)),
        ) => filter.matches(&NODE_TOPIC),
        (Content::Handshake(captured), Content::Handshake(live)) => captured == live,
        (Content::Pong(captured), Content::Pong(live)) => captured == live,
        (
            Content::Event(_, Some(NodeMessage::Hello(captured))),
            Content::Event(_, Some(NodeMessage::Hello(live))),
        ) => captured == live,
        (
            Content::Event(_, Some(NodeMessage::Response(captured))),
            Content::Event(_, Some(NodeMessage::Response(live))),
        ) if captured.reqid() == live.reqid() => {
            let asked = asked.ok_or_else(|| failed("an answer without a request"))?;
            report.verdict(node, asked, Some(captured.result()), Some(live.result()))?;
            live.reqid() == live.result().reqid()
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(failed(format!("the node sent {live:?}, the captured node {captured:?}"))) }
}
