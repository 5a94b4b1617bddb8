//! The three events between agents and nodes.

use std::collections::BTreeSet;

use super::ManagementResult;
use crate::zeek::{Event, EventError};

crate::zeek_event! {
    /// Node to agent, as soon as their peering stands: here I am.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NotifyNodeHello("Management::Node::API::notify_node_hello") {
        /// The node's name in the cluster.
        pub node: String,
    }
}

crate::zeek_event! {
    /// Agent to nodes: run an action and answer with a [`DispatchResponse`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DispatchRequest("Management::Node::API::node_dispatch_request") {
        /// Names the request; the answers repeat it.
        pub reqid: String,
        /// The command and its arguments.
        pub action: Vec<String>,
        /// The nodes that shall answer; empty for all.
        pub nodes: BTreeSet<String>,
    }
}

impl DispatchRequest {
    /// Whether the node of this name shall answer.
    #[must_use]
    pub fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }

    /// The command and its arguments; `None` if the action is empty (see
    /// [`failure::NO_ACTION`](super::failure::NO_ACTION)).
    #[must_use]
    pub fn command(&self) -> Option<(&str, &[String])> {
        self.action.split_first().map(|(command, arguments)| (command.as_str(), arguments))
    }
}

crate::zeek_event! {
    /// Node to agent: the answer to a [`DispatchRequest`].
    ///
    /// Made from a [`ManagementResult`], whose request id it repeats.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DispatchResponse("Management::Node::API::node_dispatch_response") {
        reqid: String,
        result: ManagementResult,
    }
}

impl DispatchResponse {
    /// The request that this answers. It is this one that Zeek's agent goes by, not the one inside the result.
    #[must_use]
    pub fn reqid(&self) -> &str {
        &self.reqid
    }

    /// The answer.
    #[must_use]
    pub fn result(&self) -> &ManagementResult {
        &self.result
    }

    /// Takes the answer out.
    #[must_use]
    pub fn into_result(self) -> ManagementResult {
        self.result
    }
}

impl From<ManagementResult> for DispatchResponse {
    fn from(result: ManagementResult) -> Self {
        DispatchResponse { reqid: result.reqid().into(), result }
    }
}

/// One of the three events.
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
    /// A node is there.
    Hello(NotifyNodeHello),
    /// An agent asks.
    Request(DispatchRequest),
    /// A node answers.
    Response(DispatchResponse),
}

impl NodeMessage {
    /// Which of the three an event is; `None` if it is another event.
    ///
    /// # Errors
    /// When it is one of the three by its name, but its arguments are wrong.
    pub fn parse(event: &Event) -> Result<Option<Self>, EventError> {
        Ok(Some(match event.name.as_str() {
            NotifyNodeHello::NAME => NodeMessage::Hello(event.try_into()?),
            DispatchRequest::NAME => NodeMessage::Request(event.try_into()?),
            DispatchResponse::NAME => NodeMessage::Response(event.try_into()?),
            _ => return Ok(None),
        }))
    }
}

impl From<NodeMessage> for Event {
    fn from(message: NodeMessage) -> Self {
        match message {
            NodeMessage::Hello(hello) => hello.into(),
            NodeMessage::Request(request) => request.into(),
            NodeMessage::Response(response) => response.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;

    fn request(nodes: &[&str]) -> DispatchRequest {
        DispatchRequest {
            reqid: "r".into(),
            action: vec!["get_id_value".into(), "Cluster::node".into()],
            nodes: nodes.iter().map(|node| node.to_string()).collect(),
        }
    }

    fn error(event: Event) -> String {
        NodeMessage::parse(&event).unwrap_err().to_string()
    }

    #[test]
    fn a_request_without_nodes_is_for_all_and_one_with_nodes_for_those() {
        assert!(request(&[]).is_for("worker-01"));
        assert!(request(&["manager", "worker-01"]).is_for("worker-01"));
        assert!(!request(&["manager", "worker-1"]).is_for("worker-01"));
    }

    #[test]
    fn an_action_is_a_command_and_its_arguments() {
        let mut request = request(&[]);
        assert_eq!(request.command(), Some(("get_id_value", &["Cluster::node".to_string()][..])));
        request.action.clear();
        assert_eq!(request.command(), None);
    }

    #[test]
    fn a_response_repeats_the_request_of_its_result() {
        let result = ManagementResult::failure("id", "worker-01", "no");
        let event = Event::from(DispatchResponse::from(result.clone()));
        assert_eq!(event, Event::new(DispatchResponse::NAME, ("id", result.clone())));
        let Ok(Some(NodeMessage::Response(response))) = NodeMessage::parse(&event) else { panic!() };
        assert_eq!((response.reqid(), response.result()), ("id", &result));
        assert_eq!(response.into_result(), result);
    }

    #[test]
    fn a_response_whose_two_request_ids_differ_keeps_both() {
        let inner = ManagementResult::success("inner", "worker-01", None);
        let event = Event::new(DispatchResponse::NAME, ("outer", inner));
        let message = NodeMessage::parse(&event).unwrap().unwrap();
        let NodeMessage::Response(response) = &message else { panic!("{message:?}") };
        assert_eq!((response.reqid(), response.result().reqid()), ("outer", "inner"));
        assert_eq!(Event::from(message), event);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (event, expected) in [
            (
                Event::new(DispatchRequest::NAME, ("r", "get_id_value", Value::None)),
                "Management::Node::API::node_dispatch_request: argument 2 (action): expected vector, found string",
            ),
            (
                Event::new(DispatchRequest::NAME, ("r", vec!["a"])),
                "Management::Node::API::node_dispatch_request: expected 3 arguments, found 2",
            ),
            (
                Event::new(DispatchRequest::NAME, ("r", vec!["a"], vec!["b"])),
                "Management::Node::API::node_dispatch_request: argument 3 (nodes): expected set, found vector",
            ),
            (
                Event::new(DispatchResponse::NAME, ("r", vec!["a"])),
                "Management::Node::API::node_dispatch_response: argument 2 (result): expected 6 fields, found 1",
            ),
            (
                Event::new(NotifyNodeHello::NAME, (Value::None,)),
                "Management::Node::API::notify_node_hello: argument 1 (node): expected string, found none",
            ),
        ] {
            assert_eq!(error(event), expected);
        }
    }

    #[test]
    fn a_node_name_that_is_not_text_is_refused() {
        let name = || Value::String(vec![b'w', 0xff].into());
        for event in [
            Event::new(NotifyNodeHello::NAME, (name(),)),
            Event::new(DispatchRequest::NAME, ("r", vec!["a"], Value::Set([name()].into_iter().collect()))),
        ] {
            let error = error(event);
            assert!(error.contains("(node") && error.contains("UTF-8"), "{error}");
        }
    }
}
