//! What was captured between the Management agent of Zeek 8.0.9 and one of its nodes.

use bytes::Bytes;
use serde_json::Value as Json;
use zeek_bridge::data::EndpointId;
use zeek_bridge::management::{
    DispatchRequest, GET_ID_VALUE, JsonText, ManagementResult, NODE_TOPIC, NodeMessage, Values, failure,
};
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake, LENGTH_FIELD, Limits};
use zeek_bridge::zeek::{Event, Message};

/// The three files of a fixture.
macro_rules! fixture {
    ($name:literal) => {
        Recording::new(
            include_str!(concat!("../../../../fixtures/", $name, "/frames.jsonl")),
            include_bytes!(concat!("../../../../fixtures/", $name, "/connector.bin")),
            include_bytes!(concat!("../../../../fixtures/", $name, "/listener.bin")),
        )
        .map_err(|error| format!(concat!("fixtures/", $name, ": {}"), error))
    };
}

/// One captured connection: the agent listened, the node connected.
pub(super) struct Recording {
    /// The node's name.
    pub(super) node: String,
    /// The node's endpoint.
    pub(super) node_id: EndpointId,
    /// What both sides sent, in the order in which it came.
    pub(super) frames: Vec<Frame>,
}

/// One frame of a recording.
pub(super) struct Frame {
    pub(super) from_agent: bool,
    /// All of it, its length included.
    pub(super) bytes: Bytes,
    pub(super) content: Content,
}

/// What a frame says, as far as it matters here.
#[derive(Debug)]
pub(super) enum Content {
    Handshake(Handshake),
    /// An event, with what it means in the node API.
    Event(Event, Option<NodeMessage>),
    Pong(Bytes),
    /// Logs, filters, and a ping.
    Other,
}

/// One dispatch, and what the node of the recording answered to it, if it did.
pub(super) struct Dispatch {
    pub(super) request: DispatchRequest,
    pub(super) answer: Option<ManagementResult>,
}

impl Recording {
    /// A worker's connection, the whole of what the demonstration plays back.
    pub(super) fn worker() -> Result<Self, String> {
        fixture!("node-worker")
    }

    /// The manager's connection to the same agent at the same time.
    pub(super) fn manager() -> Result<Self, String> {
        fixture!("node-manager")
    }

    fn new(index: &str, connector: &'static [u8], listener: &'static [u8]) -> Result<Self, String> {
        let (mut node, mut node_id, mut frames) = (None, None, Vec::new());
        for line in index.lines() {
            let line: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let field = |name: &str| line.get(name).ok_or_else(|| format!("{line}: no {name}"));
            let number = |name: &str| {
                let number = field(name)?.as_u64().and_then(|number| usize::try_from(number).ok());
                number.ok_or_else(|| format!("{line}: {name} is no number"))
            };
            let from_agent = field("from")? == "listener";
            let start = number("offset")?;
            let side = if from_agent { listener } else { connector };
            let bytes = side.get(start..start.saturating_add(number("length")?));
            let bytes = Bytes::from_static(bytes.ok_or_else(|| format!("{line}: no such bytes"))?);
            let content =
                Content::read(&bytes.slice(LENGTH_FIELD.min(bytes.len())..), field("phase")? == "peered")?;
            match &content {
                Content::Handshake(Handshake::Hello { sender, .. }) => node_id = Some(*sender),
                Content::Event(_, Some(NodeMessage::Hello(hello))) => node = Some(hello.node.clone()),
                _ => {}
            }
            frames.push(Frame { from_agent, bytes, content });
        }
        let (node, node_id) = node.zip(node_id).ok_or("nobody says hello")?;
        Ok(Recording { node, node_id, frames })
    }

    /// The dispatches in their order.
    pub(super) fn dispatches(&self) -> Vec<Dispatch> {
        let messages = || self.frames.iter().filter_map(|frame| frame.content.node_message());
        let answer = |reqid: &str| {
            messages().find_map(|message| match message {
                NodeMessage::Response(response) if response.reqid() == reqid => {
                    Some(response.result().clone())
                }
                _ => None,
            })
        };
        messages()
            .filter_map(|message| match message {
                NodeMessage::Request(request) => {
                    Some(Dispatch { answer: answer(&request.reqid), request: request.clone() })
                }
                _ => None,
            })
            .collect()
    }

    /// The global variables of the captured node, as far as its answers tell: for a node that is to stand
    /// in for it.
    pub(super) fn values(&self) -> Result<Values, String> {
        let mut values = Values::default();
        for Dispatch { request, answer } in self.dispatches() {
            let (Some((GET_ID_VALUE, [id])), Some(answer)) = (request.command(), answer) else { continue };
            if let Some(data) = answer.data() {
                let text = data.as_str().ok_or_else(|| format!("the value of {id} is no text"))?;
                values.insert(id, JsonText::new(text).map_err(|error| format!("{id}: {error}"))?);
            } else if answer.error().as_deref() == Some(failure::NO_VALUE) {
                values.insert_without_value(id);
            }
        }
        Ok(values)
    }
}

impl Content {
    /// Reads a frame's bytes behind its length field.
    pub(super) fn read(frame: &Bytes, peered: bool) -> Result<Self, String> {
        let limits = Limits::DEFAULT;
        if !peered {
            return Handshake::decode(frame, &limits)
                .map(Content::Handshake)
                .map_err(|error| error.to_string());
        }
        let envelope = Envelope::decode(frame).map_err(|error| error.to_string())?;
        match envelope.kind {
            EnvelopeType::Data => {}
            EnvelopeType::Pong => return Ok(Content::Pong(envelope.payload)),
            _ => return Ok(Content::Other),
        }
        let value = envelope.value(&limits).map_err(|error| error.to_string())?;
        match Message::from_value(value).map_err(|error| error.to_string())? {
            Message::Event(event) if envelope.topic == NODE_TOPIC => {
                let message = NodeMessage::parse(&event).map_err(|error| error.to_string())?;
                Ok(Content::Event(event, message))
            }
            Message::Event(event) => Ok(Content::Event(event, None)),
            _ => Ok(Content::Other),
        }
    }

    fn node_message(&self) -> Option<&NodeMessage> {
        match self {
            Content::Event(_, message) => message.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recordings_hold_the_same_twelve_dispatches() {
        let (worker, manager) = (Recording::worker().unwrap(), Recording::manager().unwrap());
        assert_eq!((worker.node.as_str(), manager.node.as_str()), ("worker-01", "manager"));
        let requests = |recording: &Recording| -> Vec<DispatchRequest> {
            recording.dispatches().into_iter().map(|dispatch| dispatch.request).collect()
        };
        assert_eq!(requests(&worker), requests(&manager));
        let answers = |recording: &Recording| {
            recording.dispatches().iter().filter(|dispatch| dispatch.answer.is_some()).count()
        };
        assert_eq!((answers(&worker), answers(&manager)), (12, 11));
    }

    #[test]
    fn the_values_are_those_that_zeek_gave() {
        let values = Recording::worker().unwrap().values().unwrap();
        let ask = |id: &str| {
            values.dispatch(GET_ID_VALUE, &[id.to_owned()]).map(|data| data.unwrap().into_string())
        };
        assert_eq!(ask("Cluster::node"), Ok("\"worker-01\"".into()));
        assert_eq!(ask("Management::Agent::default_port"), Ok(r#"{"port":2151,"proto":"tcp"}"#.into()));
        assert_eq!(ask("Supervisor::NodeConfig"), Err("no ID value".into()));
        assert_eq!(ask("no_such_thing"), Err("unknown id".into()));
    }
}
