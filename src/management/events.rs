//! The events between agents and nodes, as Rust types.

use std::collections::BTreeSet;

use super::ManagementResult;

crate::zeek_event! {
    /// Sent by a node to an agent as soon as their peering is established.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NotifyNodeHello("Management::Node::API::notify_node_hello") {
        /// The node's name in the cluster.
        pub node: String,
    }
}

crate::zeek_event! {
    /// Sent by an agent to nodes: run an action, and answer with a [`DispatchResponse`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DispatchRequest("Management::Node::API::node_dispatch_request") {
        /// The id of the request. Responses repeat it.
        pub reqid: String,
        /// The command and its arguments.
        pub action: Vec<String>,
        /// The nodes that must run it. If empty, all nodes must run it.
        pub nodes: BTreeSet<String>,
    }
}

impl DispatchRequest {
    /// Returns whether the request is addressed to the node of this name.
    #[must_use]
    pub fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }

    /// Returns the command and its arguments, or `None` if the action is empty
    /// ([`DispatchError::NoAction`](super::DispatchError::NoAction)).
    #[must_use]
    pub fn command(&self) -> Option<(&str, &[String])> {
        self.action.split_first().map(|(command, arguments)| (command.as_str(), arguments))
    }
}

crate::zeek_event! {
    /// Sent by a node to an agent: the answer to a [`DispatchRequest`].
    ///
    /// A response is created from a [`ManagementResult`], and has the same request id as this result.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DispatchResponse("Management::Node::API::node_dispatch_response") {
        reqid: String,
        result: ManagementResult,
    }
}

impl DispatchResponse {
    /// Returns the id of the request that this response answers. Zeek's agent uses this id, and not the id inside the
    /// result.
    #[must_use]
    pub fn reqid(&self) -> &str {
        &self.reqid
    }

    /// Returns the result.
    #[must_use]
    pub fn result(&self) -> &ManagementResult {
        &self.result
    }

    /// Converts the response to its result.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;
    use crate::management::NodeMessage;
    use crate::zeek::Event;

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
    fn a_request_is_addressed_to_the_nodes_it_names_or_to_all() {
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
    fn a_response_repeats_the_request_id_of_its_result() {
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
    fn errors_name_the_wrong_argument() {
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
    fn a_node_name_that_is_not_utf8_is_an_error() {
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
