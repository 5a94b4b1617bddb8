//! The events of the node API, as they come and as they should be.

use super::denial::Fault;
use crate::data::Value;
use crate::management::{DispatchRequest, DispatchResponse, NodeMessage, NotifyNodeHello};
use crate::zeek::{Event, Message};

/// The number of elements of a `Management::Result`.
const RESULT_FIELDS: usize = 6;

/// Whether a receiver might take an event of this name as one of the node API: Zeek compares whole strings, others
/// might stop at a NUL.
pub(super) fn is_node_api(name: &[u8]) -> bool {
    NodeMessage::NAMES.contains(&name_of(name))
}

fn name_of(name: &[u8]) -> &str {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
}

/// Whether bytes that cannot be read hold the name of such an event.
pub(super) fn holds_a_name(bytes: &[u8]) -> bool {
    NodeMessage::NAMES.iter().any(|name| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
}

/// An event of the node API.
#[derive(Debug)]
pub(super) enum NodeApiEvent {
    /// As it should be.
    Valid(NodeMessage),
    /// Not so, and what can be made out of it.
    Invalid(Fault, Claim),
}

/// What Zeek would take from an event that is not as it should be, as far as it matters who speaks to whom.
#[derive(Debug)]
pub(super) enum Claim {
    /// This. Of a response's result, only the request and the node.
    Says(NodeMessage),
    /// Nothing: Zeek would drop it.
    Nothing,
    /// A name that is no text, so that nobody can say whose it is.
    NoText,
}

impl NodeApiEvent {
    /// Of an event of this name; `whole` is the payload, `args` the event's arguments.
    pub(super) fn read(name: &[u8], whole: impl FnOnce() -> Value, args: impl FnOnce() -> Value) -> Self {
        match strictly(whole()) {
            Ok(message) => match flaw(&message) {
                None => NodeApiEvent::Valid(message),
                Some(flaw) => NodeApiEvent::Invalid(Fault::Text(flaw), Claim::Says(message)),
            },
            Err(fault) => NodeApiEvent::Invalid(fault, Claim::of(name_of(name), args())),
        }
    }

    /// What it says, if that can be told.
    pub(super) fn message(&self) -> Option<&NodeMessage> {
        match self {
            NodeApiEvent::Valid(message) | NodeApiEvent::Invalid(_, Claim::Says(message)) => Some(message),
            NodeApiEvent::Invalid(..) => None,
        }
    }

    /// What it says, and what is wrong with it.
    pub(super) fn into_parts(self) -> (Option<NodeMessage>, Option<Fault>) {
        match self {
            NodeApiEvent::Valid(message) => (Some(message), None),
            NodeApiEvent::Invalid(fault, Claim::Says(message)) => (Some(message), Some(fault)),
            NodeApiEvent::Invalid(fault, _) => (None, Some(fault)),
        }
    }
}

fn strictly(payload: Value) -> Result<NodeMessage, Fault> {
    let Message::Event(event) = Message::from_value(payload).map_err(Fault::Message)? else {
        return Err(Fault::Text("not an event"));
    };
    let message = NodeMessage::parse(&event).map_err(Fault::Event)?;
    message.ok_or(Fault::Text("the event's name goes on behind a NUL"))
}

/// What its types do not say.
fn flaw(message: &NodeMessage) -> Option<&'static str> {
    let NodeMessage::Response(response) = message else { return None };
    if response.result().node().is_none() {
        return Some("the response names no node: the agent would wait for it in vain");
    }
    // No node sends this, and whoever goes by the inner one would take it for the answer to another request.
    (response.result().reqid() != response.reqid()).then_some("the response has two different request ids")
}

impl Claim {
    /// Zeek ignores superfluous fields of a record, takes anything as a result's data, and any bytes as a string.
    fn of(name: &str, args: Value) -> Self {
        let Value::Vector(args) = args else { return Claim::Nothing };
        let args = match (name, args.as_slice()) {
            (NotifyNodeHello::NAME, [Value::String(_)]) => args,
            (DispatchResponse::NAME, [Value::String(reqid), Value::Vector(result)])
                if result.len() >= RESULT_FIELDS =>
            {
                let (reqid, none) = (Value::String(reqid.clone()), Value::None);
                let node = result.get(5).cloned().unwrap_or_default();
                if !matches!(node, Value::String(_) | Value::None) {
                    return Claim::Nothing;
                }
                let result =
                    vec![reqid.clone(), Value::Boolean(false), none.clone(), none.clone(), none, node];
                vec![reqid, Value::Vector(result)]
            }
            (DispatchRequest::NAME, _) => {
                let request = NodeMessage::parse(&Event::new(name, args));
                return request.ok().flatten().map_or(Claim::Nothing, Claim::Says);
            }
            _ => return Claim::Nothing,
        };
        // Of the right types, so that only a string's bytes can be wrong.
        NodeMessage::parse(&Event::new(name, args)).ok().flatten().map_or(Claim::NoText, Claim::Says)
    }
}
