//! The table of the node API: one row for each event.
//!
//! Code for all events (parsing, filters, rules, log lines) uses this table. To add an event, add one struct to
//! [`events`](super::events) and one row here.

use std::collections::BTreeSet;

use super::{DispatchRequest, DispatchResponse, NotifyNodeHello};
use crate::zeek::{Event, EventError};

/// The nodes that are named in an event of the node API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedNodes<'a> {
    /// The node that sends the event. `None` if the event does not name it. Zeek's agent ignores such a response.
    Sender(Option<&'a str>),
    /// The nodes that the event is addressed to; all nodes if the set is empty.
    Receivers(&'a BTreeSet<String>),
}

/// Declares [`NodeMessage`] and its methods from rows. Each row contains the variant, the type of the event, the nodes
/// that the event names, and the request id of the event.
macro_rules! node_api {
    ($(
        $(#[$meta:meta])*
        $variant:ident($event:ident): nodes = |$n:ident| $nodes:expr, reqid = |$r:ident| $reqid:expr;
    )*) => {
        /// An event of the node API.
        ///
        /// ```
        /// use zeek_bridge::management::{NodeMessage, NotifyNodeHello};
        /// use zeek_bridge::zeek::Event;
        ///
        /// let hello = NotifyNodeHello { node: "worker-01".to_string() };
        /// assert_eq!(NodeMessage::parse(&hello.clone().into()), Ok(Some(NodeMessage::Hello(hello))));
        ///
        /// assert_eq!(NodeMessage::parse(&Event::new("Cluster::hello", ("a", "b"))), Ok(None));
        ///
        /// let nameless = Event::new(NotifyNodeHello::NAME, ());
        /// assert_eq!(
        ///     NodeMessage::parse(&nameless).unwrap_err().to_string(),
        ///     "Management::Node::API::notify_node_hello: expected 1 argument, found 0"
        /// );
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum NodeMessage {
            $($(#[$meta])* $variant($event),)*
        }

        impl NodeMessage {
            /// The names of all events of the node API.
            pub const NAMES: &'static [&'static str] = &[$($event::NAME),*];

            /// Converts an event to an event of the node API. Returns `None` if the event has a different name.
            ///
            /// # Errors
            /// Fails if the event has a name of the node API and its arguments do not match the declaration.
            pub fn parse(event: &Event) -> Result<Option<Self>, EventError> {
                Ok(Some(match event.name.as_str() {
                    $($event::NAME => NodeMessage::$variant(event.try_into()?),)*
                    _ => return Ok(None),
                }))
            }

            /// Returns the nodes that the event names.
            #[must_use]
            pub fn nodes(&self) -> NamedNodes<'_> {
                match self {
                    $(NodeMessage::$variant($n) => $nodes,)*
                }
            }

            /// Returns the id of the request that the event belongs to.
            #[must_use]
            pub fn reqid(&self) -> Option<&str> {
                match self {
                    $(NodeMessage::$variant($r) => $reqid,)*
                }
            }
        }

        impl From<NodeMessage> for Event {
            fn from(message: NodeMessage) -> Self {
                match message {
                    $(NodeMessage::$variant(event) => event.into(),)*
                }
            }
        }
    };
}

node_api! {
    /// From a node to an agent: the node is connected.
    Hello(NotifyNodeHello):
        nodes = |hello| NamedNodes::Sender(Some(&hello.node)), reqid = |_hello| None;
    /// From an agent to nodes: run an action.
    Request(DispatchRequest):
        nodes = |request| NamedNodes::Receivers(&request.nodes), reqid = |request| Some(&request.reqid);
    /// From a node to the agent that sent the request: the result.
    Response(DispatchResponse):
        nodes = |response| NamedNodes::Sender(response.result().node()), reqid = |response| Some(response.reqid());
}

impl NodeMessage {
    /// Returns the node that sends the event, if the event names this node.
    #[must_use]
    pub fn sender_node(&self) -> Option<&str> {
        match self.nodes() {
            NamedNodes::Sender(node) => node,
            NamedNodes::Receivers(_) => None,
        }
    }

    /// Returns whether the event is sent by this node, or addressed to it.
    #[must_use]
    pub fn concerns(&self, node: &str) -> bool {
        match self.nodes() {
            NamedNodes::Sender(sender) => sender == Some(node),
            NamedNodes::Receivers(nodes) => nodes.is_empty() || nodes.contains(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::ManagementResult;

    #[test]
    fn each_event_names_its_nodes_and_its_request() {
        let hello = NodeMessage::Hello(NotifyNodeHello { node: "w1".into() });
        let response = DispatchResponse::from(ManagementResult::failure("r", "w1", "no"));
        let response = NodeMessage::Response(response);
        let request = |nodes: &[&str]| {
            let nodes = nodes.iter().map(ToString::to_string).collect();
            NodeMessage::Request(DispatchRequest { reqid: "r".into(), action: vec![], nodes })
        };
        for (message, reqid, sender) in [
            (&hello, None, Some("w1")),
            (&response, Some("r"), Some("w1")),
            (&request(&["w1"]), Some("r"), None),
            (&request(&[]), Some("r"), None),
        ] {
            assert_eq!((message.reqid(), message.sender_node()), (reqid, sender));
            assert!(message.concerns("w1"), "{message:?}");
            assert!(NodeMessage::NAMES.contains(&Event::from(message.clone()).name.as_str()));
        }
        assert!(request(&[]).concerns("w2"));
        assert!(!hello.concerns("w2") && !response.concerns("w2") && !request(&["w1"]).concerns("w2"));
    }
}
