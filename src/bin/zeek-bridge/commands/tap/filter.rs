//! Selects messages by event and node.

use zeek_bridge::bridge::config::Glob;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::management::NodeMessage;
use zeek_bridge::zeek::Event;

use super::message::Part;

/// Matches a message that matches one of the event patterns and one of the nodes. An empty list matches every message.
#[derive(Debug, Default)]
pub(super) struct Filter {
    events: Vec<Glob>,
    nodes: Vec<String>,
}

impl Filter {
    pub(super) fn new(events: &[String], nodes: Vec<String>) -> Self {
        Filter { events: events.iter().map(|pattern| Glob::new(pattern)).collect(), nodes }
    }

    pub(super) fn matches(&self, topic: &Topic, part: Part<'_>) -> bool {
        self.matches_events(part)
            && (self.nodes.is_empty() || self.nodes.iter().any(|node| is_about(topic, part, node)))
    }

    fn matches_events(&self, part: Part<'_>) -> bool {
        self.events.is_empty()
            || matches!(part, Part::Event(event) if self.events.iter().any(|glob| glob.matches(&event.name)))
    }
}

/// Returns whether the message is from this node, for it, or contains its name.
fn is_about(topic: &Topic, part: Part<'_>, node: &str) -> bool {
    let named = |value: &Value| names(value, node);
    if topic.as_bytes().split(|byte| *byte == b'/').any(|step| step == node.as_bytes()) {
        return true;
    }
    match part {
        Part::Event(event) => event_is_about(event, node),
        Part::LogCreate(create) => named(&create.writer_info) || named(&create.fields),
        Part::LogWrite(write) => write.path.as_bytes() == node.as_bytes(),
        Part::Identifier(update) => update.id.as_bytes() == node.as_bytes() || named(&update.value),
        Part::Value(value) => named(value),
        Part::Nothing => false,
    }
}

fn event_is_about(event: &Event, node: &str) -> bool {
    match NodeMessage::parse(event) {
        Ok(Some(message)) => message.concerns(node),
        Ok(None) | Err(_) => event.args.iter().any(|value| names(value, node)),
    }
}

/// Returns whether a string in the value equals this name. The recursion is bounded, because the decoder limits the depth.
fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(string) => string.as_bytes() == name.as_bytes(),
        Value::Set(set) => set.iter().any(|value| names(value, name)),
        Value::Table(table) => table.iter().any(|(key, value)| names(key, name) || names(value, name)),
        Value::Vector(elements) => elements.iter().any(|value| names(value, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zeek_bridge::data::Table;
    use zeek_bridge::management::{DispatchRequest, DispatchResponse, ManagementResult, NotifyNodeHello};
    use zeek_bridge::zeek::IdentifierUpdate;

    use super::*;

    const TOPIC: Topic = Topic::from_static("zeek/management/node");

    fn filter(events: &[&str], nodes: &[&str]) -> Filter {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        Filter::new(&owned(events), owned(nodes))
    }

    fn hello(node: &str) -> Event {
        NotifyNodeHello { node: node.into() }.into()
    }

    fn request(nodes: &[&str]) -> Event {
        let nodes: BTreeSet<String> = nodes.iter().map(ToString::to_string).collect();
        DispatchRequest { reqid: "w1".into(), action: vec!["w1".into()], nodes }.into()
    }

    fn response(node: &str) -> Event {
        DispatchResponse::from(ManagementResult::failure("w1", node, "w1")).into()
    }

    #[test]
    fn an_empty_filter_matches_everything() {
        let all = Filter::default();
        for part in [Part::Nothing, Part::Value(&Value::None), Part::Event(&hello("w1"))] {
            assert!(all.matches(&TOPIC, part));
        }
    }

    #[test]
    fn events_are_matched_by_name_and_other_messages_never() {
        let filter = filter(&["*::notify_node_hello", "ping?"], &[]);
        for (name, fits) in [
            (NotifyNodeHello::NAME, true),
            ("ping1", true),
            ("ping", false),
            ("Ping1", false),
            ("notify_node_hello", false),
        ] {
            assert_eq!(filter.matches(&TOPIC, Part::Event(&Event::new(name, ()))), fits, "{name}");
        }
        assert!(!filter.matches(&TOPIC, Part::Value(&"ping1".into())));
        assert!(!filter.matches(&TOPIC, Part::Nothing));
    }

    #[test]
    fn node_api_events_are_matched_by_their_node_only() {
        let filter = filter(&[], &["w1", "w2"]);
        for (event, fits) in [
            (hello("w1"), true),
            (hello("w2"), true),
            (hello("w3"), false),
            (request(&[]), true),
            (request(&["w3", "w2"]), true),
            (request(&["w3"]), false),
            (response("w1"), true),
            (response("w3"), false),
        ] {
            assert_eq!(filter.matches(&TOPIC, Part::Event(&event)), fits, "{event:?}");
        }
    }

    #[test]
    fn other_messages_match_if_they_contain_the_name_of_the_node() {
        let filter = filter(&[], &["w1"]);
        let table: Table = [("k", Value::from(["w1"]))].into_iter().collect();
        for (value, fits) in [
            (Value::from("w1"), true),
            (Value::from("w10"), false),
            (Value::from(["w0", "w1"]), true),
            (Value::Table(table), true),
            (Value::Set(["w1"].into_iter().collect()), true),
            (Value::None, false),
        ] {
            assert_eq!(filter.matches(&TOPIC, Part::Value(&value)), fits, "{value}");
            let event = Event::new("e", [value.clone()]);
            assert_eq!(filter.matches(&TOPIC, Part::Event(&event)), fits, "{value}");
            let update = IdentifierUpdate { id: "X".into(), value };
            assert_eq!(filter.matches(&TOPIC, Part::Identifier(&update)), fits);
        }
        // An event with wrong arguments is not an event of the node API.
        assert!(filter.matches(&TOPIC, Part::Event(&Event::new(NotifyNodeHello::NAME, ("a", "w1")))));
        let topic = Topic::from_static("zeek/cluster/node/w1/");
        assert!(filter.matches(&topic, Part::Value(&Value::None)));
        assert!(!filter.matches(&Topic::from_static("zeek/w10"), Part::Value(&Value::None)));
    }

    #[test]
    fn events_and_nodes_must_both_match() {
        let filter = filter(&["*hello"], &["w1"]);
        assert!(filter.matches(&TOPIC, Part::Event(&hello("w1"))));
        assert!(!filter.matches(&TOPIC, Part::Event(&hello("w2"))));
        assert!(!filter.matches(&TOPIC, Part::Event(&response("w1"))));
    }
}
