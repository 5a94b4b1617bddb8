//! The types that can be published.

use std::borrow::Borrow;

use super::ZeekMessage;
use crate::data::Value;

/// Types that can be published:
///
/// - [`Event`](super::Event), and the types that [`zeek_event!`](crate::zeek_event) declares;
/// - all Zeek messages;
/// - values.
///
/// A [`Value`] is published unchanged. Zeek ignores it unless it has the format of a [`ZeekMessage`].
///
/// ```
/// use zeek_bridge::data::Value;
/// use zeek_bridge::zeek::{Event, IntoPayload, ZeekMessage};
///
/// let ping = Event::new("ping", ("hello", 7u64));
/// assert_eq!(ping.clone().into_payload(), ZeekMessage::Event(ping).into_value());
/// assert_eq!(Value::count(7).into_payload(), Value::count(7));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be published",
    note = "publish an `Event`, a type that `zeek_event!` declares, a `ZeekMessage`, or a `Value` or reference to one"
)]
pub trait IntoPayload {
    /// The type of the payload: an owned or a borrowed [`Value`].
    type Payload: Borrow<Value>;

    /// Converts to the value of a data payload.
    fn into_payload(self) -> Self::Payload;
}

impl<M: Into<ZeekMessage>> IntoPayload for M {
    type Payload = Value;

    fn into_payload(self) -> Value {
        self.into().into_value()
    }
}

impl IntoPayload for Value {
    type Payload = Value;

    fn into_payload(self) -> Value {
        self
    }
}

impl<'a> IntoPayload for &'a Value {
    type Payload = &'a Value;

    fn into_payload(self) -> &'a Value {
        self
    }
}
