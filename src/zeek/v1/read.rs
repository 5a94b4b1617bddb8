//! Reading of Zeek's messages as v1 JSON.

use crate::data::{JsonLimits, Value};
use crate::wire::Limits;
use crate::zeek::ZeekMessage;

/// The version of Zeek's messages (`PROTOCOL.md`, section 6).
const FORMAT_VERSION: u64 = 1;

/// The number of elements of a Zeek message, and the maximum number of elements in the content of an event. Zeek ignores
/// additional elements.
const MESSAGE_ELEMENTS: usize = 3;
const EVENT_ELEMENTS: usize = 3;

/// The number of JSON values and keys that are allowed for each value of a message. It limits the memory for reading a message.
const NODES_PER_VALUE: usize = 5;

/// The error for a message of Zeek that is not a valid event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnEvent;

/// Returns the limits for reading a message as JSON.
pub(crate) fn json_limits(limits: &Limits) -> JsonLimits {
    let max_nodes = limits.max_elements.saturating_mul(NODES_PER_VALUE).min(JsonLimits::DEFAULT.max_nodes);
    JsonLimits { max_depth: limits.max_depth, max_nodes }
}

/// Checks that a Zeek message is an event, and returns it in Zeek's form. Ignores the version and additional elements,
/// as Zeek does. Values that are not Zeek messages are unchanged.
pub(crate) fn checked_event(value: Value) -> Result<Value, NotAnEvent> {
    let Value::Vector(mut elements) = value else { return Ok(value) };
    let [Value::Count(version), Value::Count(_), ..] = elements.as_mut_slice() else {
        return Ok(Value::Vector(elements));
    };
    *version = FORMAT_VERSION;
    elements.truncate(MESSAGE_ELEMENTS);
    if let Some(Value::Vector(content)) = elements.last_mut() {
        content.truncate(EVENT_ELEMENTS);
    }
    let message = ZeekMessage::from_value(Value::Vector(elements)).map_err(|_| NotAnEvent)?;
    let event = message.into_event().map_err(|_| NotAnEvent)?;
    Ok(ZeekMessage::Event(event).into_value())
}
