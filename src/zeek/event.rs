//! Events: `[name string, args vector]` or `[name, args, metadata]`.

use std::convert::Infallible;

use super::{ArgsError, FromArgs, IntoArgs, MessageError, extract};
use crate::data::{Timestamp, Value};

/// Metadata id 1: the network timestamp, a [`Timestamp`]. Ids below [`METADATA_USER_START`] are reserved for Zeek.
pub const METADATA_NETWORK_TIMESTAMP: u64 = 1;

/// The first metadata id that is reserved for users.
pub const METADATA_USER_START: u64 = 200;

/// A Zeek event: a name, arguments, and optional metadata.
///
/// ```
/// use zeek_bridge::data::{Timestamp, Value};
/// use zeek_bridge::zeek::Event;
///
/// let ping = Event::new("ping", ("hello", 7u64));
/// assert_eq!(ping.args, [Value::from("hello"), Value::count(7)]);
/// assert_eq!(ping.to_string(), "ping(hello, 7)");
/// assert_eq!(ping.network_timestamp(), None);
///
/// let (text, number): (String, u64) = ping.args_as()?;
/// assert_eq!((text.as_str(), number), ("hello", 7));
/// let wrong = ping.args_as::<(String, bool)>().unwrap_err();
/// assert_eq!(wrong.to_string(), "ping: argument 2: expected boolean, found count");
///
/// let late = ping.with_network_timestamp(Timestamp::from_nanos(1));
/// assert_eq!(late.network_timestamp(), Some(Timestamp::from_nanos(1)));
/// # Ok::<(), zeek_bridge::zeek::EventError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The name of the event, with its module: `Management::Node::API::notify_node_hello`.
    pub name: String,
    /// The arguments, in the order of the event's declaration.
    pub args: Vec<Value>,
    /// Pairs of id and value, in the order of the message. `None` means that the event has two elements, without a list
    /// of metadata. An empty list means that the event has three elements, and that its list of metadata is empty. Zeek
    /// treats both in the same way.
    pub metadata: Option<Vec<(u64, Value)>>,
}

impl Event {
    /// Returns an event without metadata. The arguments are a tuple, an array or a vector. For no arguments, pass `()`.
    pub fn new(name: impl Into<String>, args: impl IntoArgs) -> Self {
        Event { name: name.into(), args: args.into_args(), metadata: None }
    }

    /// Returns the event with this metadata, which replaces its previous metadata.
    #[must_use]
    pub fn with_metadata<V: Into<Value>>(mut self, metadata: impl IntoIterator<Item = (u64, V)>) -> Self {
        self.metadata = Some(metadata.into_iter().map(|(id, value)| (id, value.into())).collect());
        self
    }

    /// Returns the event with this network timestamp. Other metadata is kept.
    #[must_use]
    pub fn with_network_timestamp(mut self, time: Timestamp) -> Self {
        let metadata = self.metadata.get_or_insert_default();
        metadata.retain(|(id, _)| *id != METADATA_NETWORK_TIMESTAMP);
        metadata.push((METADATA_NETWORK_TIMESTAMP, Value::Timestamp(time)));
        self
    }

    /// Returns the value of a metadata id. If the event has several values with this id, returns the first, as Broker's
    /// C++ implementation does.
    #[must_use]
    pub fn metadata_value(&self, id: u64) -> Option<&Value> {
        let mut entries = self.metadata.iter().flatten();
        entries.find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// Returns the network time of the event, if the sender included it.
    #[must_use]
    pub fn network_timestamp(&self) -> Option<Timestamp> {
        match self.metadata_value(METADATA_NETWORK_TIMESTAMP) {
            Some(Value::Timestamp(time)) => Some(*time),
            _ => None,
        }
    }

    /// Converts a copy of the arguments to Rust types: a tuple, or `Vec<Value>`.
    ///
    /// # Errors
    /// Fails if the number of arguments is wrong, or if an argument has the wrong type. The error names the event and
    /// the argument.
    pub fn args_as<A: FromArgs>(&self) -> Result<A, EventError> {
        A::from_args(self.args.clone()).map_err(|error| EventError::Args { event: self.name.clone(), error })
    }

    /// Converts the event to a type that [`zeek_event!`](crate::zeek_event) declares. Only that macro uses this method.
    #[doc(hidden)]
    pub fn to_typed<A: FromArgs>(&self, name: &'static str) -> Result<A, EventError> {
        self.must_be(name)?;
        self.args_as()
    }

    /// Like [`Event::to_typed`], without a copy.
    #[doc(hidden)]
    pub fn into_typed<A: FromArgs>(self, name: &'static str) -> Result<A, EventError> {
        self.must_be(name)?;
        A::from_args(self.args).map_err(|error| EventError::Args { event: self.name, error })
    }

    fn must_be(&self, expected: &'static str) -> Result<(), EventError> {
        if self.name == expected {
            return Ok(());
        }
        Err(EventError::WrongName { expected, found: self.name.clone() })
    }

    pub(super) fn from_content(content: Value) -> Result<Self, MessageError> {
        let mut elements = extract::vector("event", content)?.into_iter();
        let found = elements.len();
        let (name, args, metadata) =
            match (elements.next(), elements.next(), elements.next(), elements.next()) {
                (Some(name), Some(args), metadata, None) => (name, args, metadata),
                _ => return Err(MessageError::EventShape(found)),
            };
        let name = String::from_utf8(extract::string("event name", name)?.into_bytes())
            .map_err(|_| MessageError::NameNotText)?;
        let args = extract::vector("event arguments", args)?;
        let metadata = metadata.map(metadata_from_value).transpose()?;
        Ok(Event { name, args, metadata })
    }

    pub(super) fn into_content(self) -> Value {
        let mut elements = vec![Value::String(self.name.into()), Value::Vector(self.args)];
        if let Some(metadata) = self.metadata {
            let entry = |(id, value)| Value::Vector(vec![Value::Count(id), value]);
            elements.push(Value::Vector(metadata.into_iter().map(entry).collect()));
        }
        Value::Vector(elements)
    }
}

fn metadata_from_value(value: Value) -> Result<Vec<(u64, Value)>, MessageError> {
    let entry = |entry| {
        let [id, value] = extract::elements("event metadata entry", entry)?;
        let id = extract::count("event metadata id", &id)?;
        if id == METADATA_NETWORK_TIMESTAMP {
            extract::timestamp("event network timestamp", &value)?;
        }
        Ok((id, value))
    };
    extract::vector("event metadata", value)?.into_iter().map(entry).collect()
}

/// The reason why a message cannot be converted to an event of the requested type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The value is not a Zeek message.
    #[error("not a Zeek message: {0}")]
    Message(#[from] MessageError),
    /// The message is not an event but, for example, a log write. For a batch, use [`ZeekMessage::into_events`].
    ///
    /// [`ZeekMessage::into_events`]: super::ZeekMessage::into_events
    #[error("expected an event, found {0}")]
    NotAnEvent(&'static str),
    /// The event has a different name.
    #[error("expected event {expected}, found {found}")]
    WrongName {
        /// The expected name.
        expected: &'static str,
        /// The actual name.
        found: String,
    },
    /// The arguments do not match the declaration.
    #[error("{event}: {error}")]
    Args {
        /// The event's name.
        event: String,
        /// The error of the arguments.
        error: ArgsError,
    },
}

/// Lets [`Event`] itself be a requested type. The conversion to `Event` cannot fail, so its error type is
/// [`Infallible`].
impl From<Infallible> for EventError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeek::ZeekMessage;

    fn elements(event: Event) -> usize {
        match event.into_content() {
            Value::Vector(elements) => elements.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_third_element_is_written_only_if_metadata_is_given() {
        let event = Event::new("e", ());
        assert_eq!(elements(event.clone()), 2);
        assert_eq!(elements(event.clone().with_metadata::<Value>([])), 3);
        assert_eq!(elements(event.with_network_timestamp(Timestamp::from_nanos(3))), 3);
    }

    #[test]
    fn a_network_timestamp_replaces_only_the_previous_one() {
        let (early, late) = (Timestamp::from_nanos(1), Timestamp::from_nanos(2));
        let user = (METADATA_USER_START, Value::Count(7));
        let event = Event::new("e", ())
            .with_metadata([user.clone()])
            .with_network_timestamp(early)
            .with_network_timestamp(late);
        assert_eq!(event.network_timestamp(), Some(late));
        assert_eq!(event.metadata_value(METADATA_USER_START), Some(&Value::Count(7)));
        assert_eq!(event.metadata_value(METADATA_USER_START + 1), None);
        assert_eq!(event.metadata, Some(vec![user, (METADATA_NETWORK_TIMESTAMP, Value::Timestamp(late))]));
    }

    #[test]
    fn the_first_of_two_network_timestamps_is_used_and_both_are_kept() {
        let stamp = |n| (METADATA_NETWORK_TIMESTAMP, Value::Timestamp(Timestamp::from_nanos(n)));
        let event = Event::new("e", ()).with_metadata([stamp(1), stamp(2)]);
        let value = ZeekMessage::from(event.clone()).into_value();
        assert_eq!(ZeekMessage::from_value(value), Ok(ZeekMessage::Event(event.clone())));
        assert_eq!(event.network_timestamp(), Some(Timestamp::from_nanos(1)));
    }

    #[test]
    fn metadata_of_another_type_is_not_a_timestamp() {
        assert_eq!(Event::new("e", ()).network_timestamp(), None);
        let odd = Event::new("e", ()).with_metadata([(METADATA_NETWORK_TIMESTAMP, Value::Count(1))]);
        assert_eq!(odd.network_timestamp(), None);
    }
}
