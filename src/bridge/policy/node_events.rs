//! Decodes events of the node API twice: strictly, and as leniently as any version of Zeek does.

use super::denial::Fault;
use crate::data::Value;
use crate::management::{DispatchRequest, DispatchResponse, NamedNodes, NodeMessage, NotifyNodeHello};
use crate::zeek::{Event, ZeekMessage};

/// The number of elements of a `Management::Result`.
const RESULT_FIELDS: usize = 6;

/// Returns whether a receiver could interpret an event of this name as an event of the node API. Zeek compares the
/// complete name; other receivers may ignore everything after a NUL.
pub(super) fn is_node_api(name: &[u8]) -> bool {
    // Without a check whether the name is UTF-8, because this is called for each event.
    let name = before_nul(name);
    NodeMessage::NAMES.iter().any(|known| known.as_bytes() == name)
}

fn until_nul(name: &[u8]) -> &str {
    std::str::from_utf8(before_nul(name)).unwrap_or_default()
}

fn before_nul(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns whether bytes that cannot be decoded contain the name of an event of the node API.
pub(super) fn contains_name(bytes: &[u8]) -> bool {
    NodeMessage::NAMES.iter().any(|name| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
}

/// An event of the node API.
#[derive(Debug)]
pub(super) enum NodeApiEvent {
    /// The event is exactly as Zeek writes it.
    Valid(NodeMessage),
    /// The event differs from what Zeek writes. Contains the cause, and how a lenient receiver interprets the event.
    Invalid(Fault, Interpretation),
}

/// How Zeek interprets an invalid event. The parts of a result that rules do not use are left out.
#[derive(Debug)]
pub(super) enum Interpretation {
    /// Zeek accepts it as this message. If it is a response, only the request id and the node of its result are set.
    Accepted(NodeMessage),
    /// Zeek drops it.
    Dropped,
    /// A name or id in it is not UTF-8, so that rules cannot match it.
    NotText,
}

impl NodeApiEvent {
    /// Decodes an event with this name. `payload` returns the complete payload, and `args` returns the arguments of the
    /// event.
    pub(super) fn decode(name: &[u8], payload: impl FnOnce() -> Value, args: impl FnOnce() -> Value) -> Self {
        match decode_strictly(payload()) {
            Ok(message) => match flaw(&message) {
                None => NodeApiEvent::Valid(message),
                Some(flaw) => NodeApiEvent::Invalid(Fault::Text(flaw), Interpretation::Accepted(message)),
            },
            Err(fault) => NodeApiEvent::Invalid(fault, Interpretation::of(until_nul(name), args())),
        }
    }

    /// Returns the message in the form that Zeek would accept.
    pub(super) fn message(&self) -> Option<&NodeMessage> {
        match self {
            NodeApiEvent::Valid(message) | NodeApiEvent::Invalid(_, Interpretation::Accepted(message)) => {
                Some(message)
            }
            NodeApiEvent::Invalid(..) => None,
        }
    }

    /// Returns the message in the form that Zeek would accept, and the fault.
    pub(super) fn into_parts(self) -> (Option<NodeMessage>, Option<Fault>) {
        match self {
            NodeApiEvent::Valid(message) => (Some(message), None),
            NodeApiEvent::Invalid(fault, Interpretation::Accepted(message)) => (Some(message), Some(fault)),
            NodeApiEvent::Invalid(fault, _) => (None, Some(fault)),
        }
    }
}

fn decode_strictly(payload: Value) -> Result<NodeMessage, Fault> {
    let ZeekMessage::Event(event) = ZeekMessage::from_value(payload).map_err(Fault::Message)? else {
        return Err(Fault::Text("not an event"));
    };
    let message = NodeMessage::parse(&event).map_err(Fault::Event)?;
    message.ok_or(Fault::Text("the name of the event continues after a NUL"))
}

/// Returns the fault of a message whose arguments have the right types; `None` if it is valid.
fn flaw(message: &NodeMessage) -> Option<&'static str> {
    if message.nodes() == NamedNodes::Sender(None) {
        return Some("the response does not name its node, so the agent would ignore it");
    }
    let NodeMessage::Response(response) = message else { return None };
    // No node sends two different ids. A receiver that uses the id inside the result would assign the response to a
    // different request.
    (response.result().reqid() != response.reqid()).then_some("the response has two different request ids")
}

impl Interpretation {
    /// Decodes the arguments as leniently as Zeek: it ignores superfluous fields of a record, and accepts anything as a
    /// result's data and any bytes as a string.
    fn of(name: &str, args: Value) -> Self {
        let Value::Vector(args) = args else { return Interpretation::Dropped };
        let args = match (name, args.as_slice()) {
            (NotifyNodeHello::NAME, [Value::String(_)]) => args,
            (DispatchResponse::NAME, [Value::String(reqid), Value::Vector(result)])
                if result.len() >= RESULT_FIELDS =>
            {
                let (reqid, none) = (Value::String(reqid.clone()), Value::None);
                let node = result.get(5).cloned().unwrap_or_default();
                if !matches!(node, Value::String(_) | Value::None) {
                    return Interpretation::Dropped;
                }
                let result =
                    vec![reqid.clone(), Value::Boolean(false), none.clone(), none.clone(), none, node];
                vec![reqid, Value::Vector(result)]
            }
            (DispatchRequest::NAME, _) => {
                let request = NodeMessage::parse(&Event::new(name, args));
                return request.ok().flatten().map_or(Interpretation::Dropped, Interpretation::Accepted);
            }
            _ => return Interpretation::Dropped,
        };
        // All arguments have the right types at this point, so parsing fails only for strings that are not UTF-8.
        let message = NodeMessage::parse(&Event::new(name, args)).ok().flatten();
        message.map_or(Interpretation::NotText, Interpretation::Accepted)
    }
}
