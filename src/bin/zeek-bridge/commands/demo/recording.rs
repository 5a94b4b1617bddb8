//! The captured connections of two nodes to the Management agent of Zeek 8.0.9.

use bytes::Bytes;
use zeek_bridge::data::EndpointId;
use zeek_bridge::management::{
    DispatchError, DispatchRequest, GET_ID_VALUE, JsonText, ManagementResult, NODE_TOPIC, NodeMessage, Values,
};
use zeek_bridge::trace::{self, Meta, Reader, Side};
use zeek_bridge::wire::{EnvelopeType, Handshake, Limits};
use zeek_bridge::zeek::{Event, ZeekMessage};

/// Reads a recording from the files of a fixture, which are part of the program.
macro_rules! fixture {
    ($name:literal) => {
        Recording::new(
            include_bytes!(concat!("../../../../../fixtures/", $name, "/frames.jsonl")),
            [
                include_bytes!(concat!("../../../../../fixtures/", $name, "/connector.bin")),
                include_bytes!(concat!("../../../../../fixtures/", $name, "/listener.bin")),
            ],
        )
        .map_err(|error| format!(concat!("fixtures/", $name, ": {}"), error))
    };
}

/// A captured connection: the agent listened, the node connected.
pub(super) struct Recording {
    /// The node's name.
    pub(super) node: String,
    /// The node's endpoint id.
    pub(super) node_id: EndpointId,
    /// The frames of both sides, in order.
    pub(super) frames: Vec<Frame>,
}

/// A frame of a recording.
pub(super) struct Frame {
    pub(super) from_agent: bool,
    /// The body of the frame, after the length field.
    pub(super) body: Bytes,
    pub(super) content: Content,
}

/// The content of a frame, as far as the demo uses it.
#[derive(Debug)]
pub(super) enum Content {
    Handshake(Handshake),
    /// An event, and its content if it is an event of the node API.
    Event(Event, Option<NodeMessage>),
    Pong(Bytes),
    /// Logs, filters, and a ping.
    Other,
}

/// A request, and the answer of the recorded node, if it answered.
pub(super) struct Dispatch {
    pub(super) request: DispatchRequest,
    pub(super) answer: Option<ManagementResult>,
}

impl Recording {
    /// The connection of a worker, which the demo replays.
    pub(super) fn worker() -> Result<Self, String> {
        fixture!("node-worker")
    }

    /// The connection of the manager to the same agent at the same time.
    pub(super) fn manager() -> Result<Self, String> {
        fixture!("node-manager")
    }

    fn new(index: &'static [u8], streams: [&'static [u8]; 2]) -> Result<Self, String> {
        let (mut node, mut node_id, mut frames) = (None, None, Vec::new());
        for entry in Reader::new(index, streams, &Meta::default()) {
            let entry = entry.map_err(|error| error.to_string())?;
            let frame = entry.frame.map_err(|error| error.to_string())?;
            let content = Content::of(&frame)?;
            match &content {
                Content::Handshake(Handshake::Hello { sender, .. }) => node_id = Some(*sender),
                Content::Event(_, Some(NodeMessage::Hello(hello))) => node = Some(hello.node.clone()),
                _ => {}
            }
            frames.push(Frame { from_agent: entry.from == Side::Listener, body: frame.body, content });
        }
        let (node, node_id) = node.zip(node_id).ok_or("no hello in the recording")?;
        Ok(Recording { node, node_id, frames })
    }

    /// Returns the requests in order.
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

    /// Returns the global variables of the captured node, as far as its answers contain them.
    pub(super) fn values(&self) -> Result<Values, String> {
        let mut values = Values::default();
        for Dispatch { request, answer } in self.dispatches() {
            let (Some((GET_ID_VALUE, [id])), Some(answer)) = (request.command(), answer) else { continue };
            if let Some(data) = answer.data() {
                let text = data.as_str().ok_or_else(|| format!("the value of {id} is not a string"))?;
                values.insert(id, JsonText::new(text).map_err(|error| format!("{id}: {error}"))?);
            } else if answer.error().is_some_and(|error| error == DispatchError::NoValue.to_string()) {
                values.insert_without_value(id);
            }
        }
        Ok(values)
    }
}

impl Content {
    /// Returns the content of a decoded frame.
    pub(super) fn of(frame: &trace::Frame) -> Result<Self, String> {
        let envelope = match &frame.content {
            Ok(trace::Content::Handshake(message)) => return Ok(Content::Handshake(message.clone())),
            Ok(trace::Content::Envelope(envelope)) => envelope,
            Ok(trace::Content::WebSocket(_) | trace::Content::ZeroMq(_)) => return Ok(Content::Other),
            Err(error) => return Err(error.to_string()),
        };
        match envelope.kind {
            EnvelopeType::Data => {}
            EnvelopeType::Pong => return Ok(Content::Pong(envelope.payload.clone())),
            _ => return Ok(Content::Other),
        }
        let value = envelope.value(&Limits::DEFAULT).map_err(|error| error.to_string())?;
        match ZeekMessage::from_value(value).map_err(|error| error.to_string())? {
            ZeekMessage::Event(event) if envelope.topic == NODE_TOPIC => {
                let message = NodeMessage::parse(&event).map_err(|error| error.to_string())?;
                Ok(Content::Event(event, message))
            }
            ZeekMessage::Event(event) => Ok(Content::Event(event, None)),
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
    use zeek_bridge::management::DispatchError;

    use super::*;

    #[test]
    fn both_recordings_contain_the_same_twelve_requests() {
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
    fn the_values_match_the_answers_of_zeek() {
        let values = Recording::worker().unwrap().values().unwrap();
        let ask = |id: &str| {
            values.dispatch(GET_ID_VALUE, &[id.to_owned()]).map(|data| data.unwrap().into_string())
        };
        assert_eq!(ask("Cluster::node"), Ok("\"worker-01\"".into()));
        assert_eq!(ask("Management::Agent::default_port"), Ok(r#"{"port":2151,"proto":"tcp"}"#.into()));
        assert_eq!(ask("Supervisor::NodeConfig"), Err(DispatchError::NoValue));
        assert_eq!(ask("no_such_thing"), Err(DispatchError::UnknownId));
    }
}
