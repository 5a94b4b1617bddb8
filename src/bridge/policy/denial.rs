//! Why a message does not pass, in a word for metrics and a line for logs.

use std::fmt::{self, Write as _};

use crate::bridge::RuleId;
use crate::data::Topic;
use crate::management::{NamedNodes, NodeMessage};
use crate::wire::DecodeError;
use crate::zeek::{EventError, MessageError};

/// Why a message does not pass. In their order: the further down, the closer it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub(crate) enum Reason {
    /// Its topic never leaves an endpoint.
    LocalTopic,
    /// It has gone as many hops as it may.
    Ttl,
    /// No rule leads from its link anywhere with its topic.
    NoRule,
    /// It is a data-store command; there are rules for data only.
    CommandNotAllowed,
    /// It is data; there are rules for data-store commands only.
    DataNotAllowed,
    /// Nobody with its sender's certificate, or without one, may say it.
    IdentityNotAllowed,
    /// It is another event, or none.
    EventNotAllowed,
    /// It is not what it should be by its kind.
    Malformed,
    /// It speaks for, or to, another node, or to all.
    NodeNotAllowed,
    /// It asks for another action, or for one with arguments that the rule does not allow.
    ActionNotAllowed,
    /// It is a batch with an event of the node API in it.
    BatchedNodeApi,
    /// It is an event of the node API, and not as it should be.
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

    /// Its name in metrics and logs.
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

/// [`Reason::name`].
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// That, and by which rule, a message does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// Why. If several rules refuse it, of the one that it came closest to pass by.
    pub(crate) reason: Reason,
    /// That rule; none for the reasons that are not of a rule.
    pub(crate) rule: Option<RuleId>,
    /// Whether it fits the rule, and would have passed had it been valid.
    pub(crate) invalid: bool,
}

/// What is wrong with a message, in words.
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

/// A message in one line for a log: its topic, event, node, action and sender's identity, and what is wrong with it, as far as
/// that is known. What comes from the peer stands in quotes, its control characters escaped and the rest cut off.
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
            write!(Escaping { f, left: MOST_OF_A_FAULT }, "{fault}")?;
        }
        Ok(())
    }
}

/// So many of a list are shown.
const MOST_ELEMENTS: usize = 4;
/// So many bytes of a name are shown.
const MOST_OF_A_NAME: usize = 128;
/// So many of what is wrong.
const MOST_OF_A_FAULT: usize = 512;

fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    elements: impl ExactSizeIterator<Item = &'a String>,
) -> fmt::Result {
    f.write_str(what)?;
    let more = elements.len().saturating_sub(MOST_ELEMENTS);
    if elements.len() == 0 {
        return f.write_str(" none");
    }
    for element in elements.take(MOST_ELEMENTS) {
        write!(f, " {}", quoted(element.as_bytes()))?;
    }
    if more > 0 {
        write!(f, " and {more} more")?;
    }
    Ok(())
}

/// Text from the wire, fit for a log: its control characters escaped, and no more than the beginning of what is long.
pub(in super::super) fn quoted(bytes: &[u8]) -> impl fmt::Display + '_ {
    struct Quoted<'a>(&'a [u8]);
    impl fmt::Display for Quoted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let shown = self.0.get(..MOST_OF_A_NAME).unwrap_or(self.0);
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

/// Passes text on, its control characters escaped, up to so many bytes.
struct Escaping<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
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
            // Its own words have quotes, which are to stay.
            if matches!(letter, '"' | '\'' | '\\') {
                self.f.write_char(letter)?;
            } else {
                write!(self.f, "{}", letter.escape_debug())?;
            }
        }
        Ok(())
    }
}
