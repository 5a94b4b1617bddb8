//! The reasons for denying a message: their names in metrics, and their description in logs.

use std::fmt::{self, Write as _};

use crate::bridge::RuleId;
use crate::data::Topic;
use crate::management::{NamedNodes, NodeMessage};
use crate::wire::DecodeError;
use crate::zeek::{EventError, MessageError};

/// The reason for denying a message. The variants are ordered: the later the variant, the more conditions of a rule
/// matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub(crate) enum Reason {
    /// Messages with this topic never leave an endpoint.
    LocalTopic,
    /// The message has reached its maximum number of hops.
    Ttl,
    /// No rule for the link over which the message was received has a matching topic.
    NoRule,
    /// The message is a hello between nodes of a ZeroMQ cluster that needs a rule, because it is too long, or its topic or arguments are
    /// invalid.
    InvalidHello,
    /// The message is a data-store command, and the rules for its topic allow only data.
    CommandNotAllowed,
    /// The message is data, and the rules for its topic allow only data-store commands.
    DataNotAllowed,
    /// The rules apply only to other senders.
    IdentityNotAllowed,
    /// The rules do not allow events with the name of this event.
    EventNotAllowed,
    /// The payload is invalid for the kind of the message.
    Malformed,
    /// The rules do not allow the nodes that the event names, or do not allow requests to all nodes.
    NodeNotAllowed,
    /// The rules do not allow the action of the request, or the arguments of the action.
    ActionNotAllowed,
    /// The event, or the topic of a node id, is only for the nodes of one ZeroMQ cluster.
    ClusterOnly,
    /// Another bridge has sent the message to the ZeroMQ cluster, so this bridge forwards it to Broker links only.
    OtherBridge,
    /// The message is a batch that contains an event of the node API.
    BatchedNodeApi,
    /// The message is an invalid event of the node API.
    InvalidNodeApi,
}

impl Reason {
    #[cfg(test)]
    pub(super) const ALL: [Reason; 15] = [
        Reason::LocalTopic,
        Reason::Ttl,
        Reason::NoRule,
        Reason::InvalidHello,
        Reason::CommandNotAllowed,
        Reason::DataNotAllowed,
        Reason::IdentityNotAllowed,
        Reason::EventNotAllowed,
        Reason::Malformed,
        Reason::NodeNotAllowed,
        Reason::ActionNotAllowed,
        Reason::ClusterOnly,
        Reason::OtherBridge,
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
            Reason::InvalidHello => "invalid_hello",
            Reason::CommandNotAllowed => "command_not_allowed",
            Reason::DataNotAllowed => "data_not_allowed",
            Reason::IdentityNotAllowed => "identity_not_allowed",
            Reason::EventNotAllowed => "event_not_allowed",
            Reason::Malformed => "malformed",
            Reason::NodeNotAllowed => "node_not_allowed",
            Reason::ActionNotAllowed => "action_not_allowed",
            Reason::ClusterOnly => "cluster_only",
            Reason::OtherBridge => "other_bridge",
            Reason::BatchedNodeApi => "batched_node_api",
            Reason::InvalidNodeApi => "invalid_node_api",
        }
    }
}

impl Reason {
    /// Returns the cause in a log line.
    const fn text(self) -> &'static str {
        match self {
            Reason::LocalTopic => "messages under this topic never leave an endpoint",
            Reason::Ttl => "the message has passed too many bridges",
            Reason::NoRule => "no rule for messages from this link has a matching topic",
            Reason::InvalidHello => {
                "the hello is too long, or its topic or its arguments (a name and the id of its sender) are invalid, and no rule allows it"
            }
            Reason::CommandNotAllowed => {
                "the message is a data-store command, and the rules for its topic allow only data"
            }
            Reason::DataNotAllowed => {
                "the message is data, and the rules for its topic allow only data-store commands"
            }
            Reason::IdentityNotAllowed => {
                "the rules for its topic apply only to senders with other identities"
            }
            Reason::EventNotAllowed => "the rules allow only other events",
            Reason::Malformed => "the payload is invalid",
            Reason::NodeNotAllowed => "the rules do not allow these nodes, or requests to all nodes",
            Reason::ActionNotAllowed => "the rules do not allow the action or its arguments",
            Reason::ClusterOnly => {
                "the event or its topic is only for the nodes of one cluster, and no rule forwards it to another link"
            }
            Reason::OtherBridge => {
                "another bridge has sent the message to this cluster, and a second bridge forwards it to Broker links only; connect \
                 two clusters by one bridge"
            }
            Reason::BatchedNodeApi => "the message is a batch that contains an event of the node API",
            Reason::InvalidNodeApi => "the message is an invalid event of the node API",
        }
    }
}

/// The denial of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// The reason. If several rules deny the message, that of the rule that matched the most conditions.
    pub(crate) reason: Reason,
    /// The rule; `None` for reasons that do not depend on a rule.
    pub(crate) rule: Option<RuleId>,
    /// True if the message matches the rule and is denied only because it is invalid.
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

/// The log line of a denied message. The fields may contain text from the peer. This text is truncated, and the log
/// escapes it.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    /// The cause.
    pub(crate) text: String,
    /// The name of the rule in the denial.
    pub(crate) rule: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) event: Option<String>,
    /// The action of a request of the node API, with its arguments.
    pub(crate) action: Option<String>,
    /// The nodes that an event of the node API names; none if a request is for all nodes.
    pub(crate) node: Option<String>,
    /// The id of a request or response of the node API.
    pub(crate) request: Option<String>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, topic: &Topic) -> Self {
        Refusal { text: reason.text().to_owned(), topic: Some(shown(topic.as_bytes())), ..Refusal::default() }
    }

    /// Adds the fields of an event of the node API.
    pub(crate) fn with_node_event(mut self, event: &NodeMessage) -> Self {
        if let NodeMessage::Request(request) = event {
            self.action = list(request.action.iter());
        }
        self.node = match event.nodes() {
            NamedNodes::Sender(node) => node.map(|node| shown(node.as_bytes())),
            NamedNodes::Receivers(nodes) => list(nodes.iter()),
        };
        self.request = event.reqid().map(|reqid| shown(reqid.as_bytes()));
        self
    }

    pub(super) fn with_fault(mut self, fault: &Fault) -> Self {
        self.text.push_str(": ");
        // Cannot fail: it writes to memory.
        let _ = write!(Escaping { to: &mut self.text, left: MAX_FAULT }, "{fault}");
        self
    }
}

/// Maximum number of list elements that are shown.
const MAX_ELEMENTS: usize = 4;
/// Maximum length of a name that is shown, in bytes.
const MAX_NAME: usize = 128;
/// Maximum length of a fault that is shown, in bytes.
const MAX_FAULT: usize = 512;

/// Returns the first elements of a list; `None` if it is empty.
fn list<'a>(elements: impl ExactSizeIterator<Item = &'a String>) -> Option<String> {
    let more = elements.len().saturating_sub(MAX_ELEMENTS);
    let mut parts: Vec<String> =
        elements.take(MAX_ELEMENTS).map(|element| quoted(shown(element.as_bytes()))).collect();
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    Some(parts.join(" ")).filter(|_| !parts.is_empty())
}

/// Quotes an element that is not a plain name, so that the end of each element in a list is visible.
fn quoted(element: String) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:*/".contains(&byte);
    if !element.is_empty() && element.bytes().all(is_plain) { element } else { format!("{element:?}") }
}

/// Returns text from the wire for a field of a log line: long text is truncated, and bytes that are not UTF-8 are escaped. The log
/// escapes control characters.
pub(in super::super) fn shown(bytes: &[u8]) -> String {
    let part = bytes.get(..MAX_NAME).unwrap_or(bytes);
    let mut text = String::new();
    for chunk in part.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Cannot fail: it writes to memory.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if part.len() < bytes.len() {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// Writes text with control characters escaped, up to a maximum length.
struct Escaping<'a> {
    to: &'a mut String,
    /// The number of bytes of unescaped text that may still be written.
    left: usize,
}

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let Some(left) = self.left.checked_sub(letter.len_utf8()) else {
                self.left = 0;
                return Ok(());
            };
            self.left = left;
            // Error messages contain quotes and backslashes, which are harmless and therefore not escaped.
            if matches!(letter, '"' | '\'' | '\\') {
                self.to.write_char(letter)?;
            } else {
                write!(self.to, "{}", letter.escape_debug())?;
            }
        }
        Ok(())
    }
}
