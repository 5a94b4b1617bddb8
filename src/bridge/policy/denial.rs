//! The reasons for denying a message: their names in metrics, and their description in logs.

use std::fmt::{self, Write as _};

use crate::bridge::RuleId;
use crate::data::Topic;
use crate::management::{NamedNodes, NodeMessage};
use crate::wire::DecodeError;
use crate::zeek::{EventError, MessageError};

/// The reason for denying a message. Variants are ordered: with a later one, more conditions of a rule matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub(crate) enum Reason {
    /// Messages under its topic never leave an endpoint.
    LocalTopic,
    /// Its ttl is used up.
    Ttl,
    /// No rule from its link has its topic.
    NoRule,
    /// It is a data-store command, and the rules for its topic allow only data.
    CommandNotAllowed,
    /// It is data, and the rules for its topic allow only data-store commands.
    DataNotAllowed,
    /// The rules apply only to senders with other certificates.
    IdentityNotAllowed,
    /// The rules allow only other events.
    EventNotAllowed,
    /// Its payload is invalid for its kind.
    Malformed,
    /// The rules allow only events with other nodes.
    NodeNotAllowed,
    /// The rules do not allow its action or the arguments of the action.
    ActionNotAllowed,
    /// It is a batch that contains an event of the node API.
    BatchedNodeApi,
    /// It is an invalid event of the node API.
    InvalidNodeApi,
}

impl Reason {
    #[cfg(test)]
    pub(super) const ALL: [Reason; 12] = [
        Reason::LocalTopic,
        Reason::Ttl,
        Reason::NoRule,
        Reason::CommandNotAllowed,
        Reason::DataNotAllowed,
        Reason::IdentityNotAllowed,
        Reason::EventNotAllowed,
        Reason::Malformed,
        Reason::NodeNotAllowed,
        Reason::ActionNotAllowed,
        Reason::BatchedNodeApi,
        Reason::InvalidNodeApi,
    ];

    /// Returns the name in metrics and logs.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Reason::LocalTopic => "local_topic",
            Reason::Ttl => "ttl",
            Reason::NoRule => "no_rule",
            Reason::CommandNotAllowed => "command_not_allowed",
            Reason::DataNotAllowed => "data_not_allowed",
            Reason::IdentityNotAllowed => "identity_not_allowed",
            Reason::EventNotAllowed => "event_not_allowed",
            Reason::Malformed => "malformed",
            Reason::NodeNotAllowed => "node_not_allowed",
            Reason::ActionNotAllowed => "action_not_allowed",
            Reason::BatchedNodeApi => "batched_node_api",
            Reason::InvalidNodeApi => "invalid_node_api",
        }
    }
}

/// Writes [`Reason::name`].
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The denial of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// The reason of the rule that came closest to allowing it.
    pub(crate) reason: Reason,
    /// The rule; `None` for reasons that do not depend on a rule.
    pub(crate) rule: Option<RuleId>,
    /// True if the rule matches, and would have allowed the message if it were valid.
    pub(crate) invalid: bool,
}

/// The fault of an invalid message.
#[derive(Debug)]
pub(super) enum Fault {
    Decode(DecodeError),
    Message(MessageError),
    Event(EventError),
    Text(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Decode(error) => fmt::Display::fmt(error, f),
            Fault::Message(error) => fmt::Display::fmt(error, f),
            Fault::Event(error) => fmt::Display::fmt(error, f),
            Fault::Text(text) => f.write_str(text),
        }
    }
}

/// Describes a message in one log line: its topic, event, node, action, sender's identity and fault, as far as they are known.
/// Text from the peer is quoted, escaped and truncated.
#[derive(Debug)]
pub(crate) struct Detail<'a> {
    pub(super) topic: &'a Topic,
    pub(super) event: Option<&'a [u8]>,
    pub(super) node: Option<&'a NodeMessage>,
    pub(super) identity: Option<&'a str>,
    pub(super) fault: Option<&'a Fault>,
}

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {}", quoted(self.topic.as_bytes()))?;
        if let Some(event) = self.event {
            write!(f, ", event {}", quoted(event))?;
        }
        if let Some(NodeMessage::Request(request)) = self.node {
            list(f, ", action", request.action.iter())?;
        }
        match self.node.map(NodeMessage::nodes) {
            Some(NamedNodes::Sender(Some(node))) => write!(f, ", node {}", quoted(node.as_bytes()))?,
            Some(NamedNodes::Receivers(nodes)) => list(f, ", nodes", nodes.iter())?,
            Some(NamedNodes::Sender(None)) | None => {}
        }
        if let Some(reqid) = self.node.and_then(NodeMessage::reqid) {
            write!(f, ", request {}", quoted(reqid.as_bytes()))?;
        }
        if let Some(identity) = self.identity {
            write!(f, ", from {}", quoted(identity.as_bytes()))?;
        }
        if let Some(fault) = self.fault {
            f.write_str(": ")?;
            write!(Escaping { f, left: MAX_FAULT }, "{fault}")?;
        }
        Ok(())
    }
}

/// Maximum number of list elements that are shown.
const MAX_ELEMENTS: usize = 4;
/// Maximum length of a name that is shown, in bytes.
const MAX_NAME: usize = 128;
/// Maximum length of a fault that is shown, in bytes.
const MAX_FAULT: usize = 512;

fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    elements: impl ExactSizeIterator<Item = &'a String>,
) -> fmt::Result {
    f.write_str(label)?;
    let more = elements.len().saturating_sub(MAX_ELEMENTS);
    if elements.len() == 0 {
        return f.write_str(" none");
    }
    for element in elements.take(MAX_ELEMENTS) {
        write!(f, " {}", quoted(element.as_bytes()))?;
    }
    if more > 0 {
        write!(f, " and {more} more")?;
    }
    Ok(())
}

/// Formats text from the wire for a log: quoted, with control characters escaped and long text truncated.
pub(in super::super) fn quoted(bytes: &[u8]) -> impl fmt::Display + '_ {
    struct Quoted<'a>(&'a [u8]);
    impl fmt::Display for Quoted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let shown = self.0.get(..MAX_NAME).unwrap_or(self.0);
            f.write_char('"')?;
            for chunk in shown.utf8_chunks() {
                for letter in chunk.valid().chars() {
                    write!(f, "{}", letter.escape_debug())?;
                }
                for byte in chunk.invalid() {
                    write!(f, "\\x{byte:02x}")?;
                }
            }
            f.write_char('"')?;
            if shown.len() < self.0.len() {
                write!(f, "... ({} bytes)", self.0.len())?;
            }
            Ok(())
        }
    }
    Quoted(bytes)
}

/// Writes text with control characters escaped, up to a maximum length.
struct Escaping<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    /// The bytes that remain until the maximum.
    left: usize,
}

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let Some(left) = self.left.checked_sub(letter.len_utf8()) else {
                self.left = 0;
                return Ok(());
            };
            self.left = left;
            // Error messages contain quotes of their own, which need no escape.
            if matches!(letter, '"' | '\'' | '\\') {
                self.f.write_char(letter)?;
            } else {
                write!(self.f, "{}", letter.escape_debug())?;
            }
        }
        Ok(())
    }
}
