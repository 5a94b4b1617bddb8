//! Reads the tables `[[rule]]`, and provides the default rules.

use std::collections::BTreeMap;

use super::link;
use super::reader::{Entry, Table};
use super::schema::{Arguments, Glob, LinkConfig, PeerRole, RuleConfig};
use super::values;
use crate::data::Topic;
use crate::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NodeMessage, NotifyNodeHello};

/// A rule, with the parts that could be read.
pub(super) struct RuleDraft<'r> {
    pub(super) config: RuleConfig,
    pub(super) table: Table<'r>,
    pub(super) name: Option<Entry<'r>>,
    /// The names of links, each with its entry; `None` if the list is missing or invalid.
    pub(super) from: Option<Vec<(&'r str, Entry<'r>)>>,
    pub(super) to: Option<Vec<(&'r str, Entry<'r>)>>,
    pub(super) topics: Option<Entry<'r>>,
    pub(super) identities: Option<Entry<'r>>,
}

/// Reads a rule. `number` is its position in the file, counted from 1.
pub(super) fn read<'r>(entry: &Entry<'r>, number: usize) -> Option<RuleDraft<'r>> {
    let mut table = entry.table("write [[rule]] above its keys")?;
    table.rename(format!("rule.{number}"));
    let name = table.take("name");
    let name_read = name.as_ref().and_then(Entry::name);
    if let Some(name) = name_read {
        table.rename(format!("rule.{name}"));
    } else if name.is_none() {
        table.missing(
            "name",
            "the rule has no name",
            "set one: logs and metrics identify a rule by its name",
        );
    }
    let from = ends(&mut table, "from");
    let to = ends(&mut table, "to");
    let topics = table.take("topics");
    if topics.is_none() {
        table.missing(
            "topics",
            "the rule has no topics",
            "set the prefixes of its topics, such as [\"zeek/management/node\"]",
        );
    }
    let events = table.take("events");
    let nodes = table.take("nodes");
    let actions = table.take("actions");
    let identities = table.take("identities");
    let names = |ends: &Option<Vec<(&str, Entry<'_>)>>| {
        ends.iter().flatten().map(|(name, _)| (*name).to_owned()).collect()
    };
    let globs = |entry: &Option<Entry<'_>>, expected| entry.as_ref().and_then(|entry| entry.globs(expected));
    let config = RuleConfig {
        name: name_read.unwrap_or_default().to_owned(),
        from: names(&from),
        to: names(&to),
        topics: topics.as_ref().and_then(read_topics).unwrap_or_default(),
        events: globs(&events, "the name of an event, or a pattern such as \"Management::Node::API::*\"")
            .unwrap_or_default(),
        nodes: globs(&nodes, "the name of a node, or a pattern such as \"worker-*\"").unwrap_or_default(),
        actions: actions.as_ref().and_then(read_actions),
        identities: identities.as_ref().and_then(link::identities).unwrap_or_default(),
        commands: table.take("commands").and_then(|entry| entry.flag()).unwrap_or(false),
        passthrough: table.take("passthrough").and_then(|entry| entry.flag()).unwrap_or(false),
    };
    if config.commands {
        for entry in [&events, &nodes, &actions].into_iter().flatten() {
            entry.error(
                "data-store commands (commands = true) have no events, nodes or actions",
                "remove it, or split the rule in two",
            );
        }
    } else {
        check_conditions(&config, nodes.as_ref(), actions.as_ref());
    }
    Some(RuleDraft { config, table, name, from, to, topics, identities })
}

impl RuleDraft<'_> {
    /// Reports unknown keys, and returns the rule.
    pub(super) fn finish(self) -> RuleConfig {
        self.table.finish();
        self.config
    }
}

/// Reports conditions that can never match, because the rule does not allow the events that they are about.
fn check_conditions(config: &RuleConfig, nodes: Option<&Entry<'_>>, actions: Option<&Entry<'_>>) {
    let allows =
        |event: &str| config.events.is_empty() || config.events.iter().any(|glob| glob.matches(event));
    if let Some(entry) = nodes.filter(|_| !NodeMessage::NAMES.iter().copied().any(allows)) {
        entry.error(
            "only the events of Management::Node::API name nodes, and this rule allows none of them",
            "remove nodes, or add these events",
        );
    }
    if let Some(entry) = actions.filter(|_| !allows(DispatchRequest::NAME)) {
        entry.error(
            "only dispatch requests have an action, and this rule does not allow them",
            format!("remove actions, or add \"{}\" to events", DispatchRequest::NAME),
        );
    }
}

fn ends<'r>(table: &mut Table<'r>, key: &'static str) -> Option<Vec<(&'r str, Entry<'r>)>> {
    let Some(entry) = table.take(key) else {
        table.missing(key, format!("the rule has no {key}"), "set the name of a link, or a list of names");
        return None;
    };
    let expected = "the name of a link";
    let mut entries = Vec::new();
    let names = entry.list(expected, |entry| {
        let name = entry.text(expected)?;
        entries.push((name, entry.clone()));
        Some(name)
    });
    names.map(|_| entries)
}

fn read_topics(entry: &Entry<'_>) -> Option<Vec<Topic>> {
    let expected = "a prefix of topics, such as \"zeek/management/node\"";
    entry.list(expected, |entry| {
        let text = entry.any_text(expected)?;
        let topic = match Topic::new(text.to_owned()) {
            Ok(topic) => topic,
            Err(error) => {
                entry.error(error.to_string(), "use a shorter prefix");
                return None;
            }
        };
        if topic.is_local() {
            entry.error(
                format!(
                    "topics that begin with {} never leave an endpoint, so nothing can match",
                    Topic::LOCAL_PREFIX
                ),
                "remove it",
            );
            return None;
        }
        Some(topic)
    })
}

/// The syntax of one alternative for the arguments of an action.
const ARGUMENTS: &str = "a pattern for the only argument, such as \"Site::*\" or \"*\", or a list with a pattern for each \
                         argument, such as [\"Site::*\", \"...\"], where \"...\" allows any further ones";

fn read_actions(entry: &Entry<'_>) -> Option<BTreeMap<String, Vec<Arguments>>> {
    let hint = "write each action with a list of its allowed arguments, such as \
                { get_id_value = [\"Site::*\"] }";
    let commands = entry.table(hint)?.take_all();
    if commands.is_empty() {
        entry.error("the table is empty, so nothing can match", hint);
    }
    let read = |entry: &Entry<'_>| Some((entry.key.to_owned(), entry.list(ARGUMENTS, read_arguments)?));
    Some(commands.iter().filter_map(read).collect())
}

/// Reads one alternative: a pattern, or a list of patterns by position.
fn read_arguments(entry: &Entry<'_>) -> Option<Arguments> {
    let elements = entry.elements().unwrap_or_else(|| vec![entry.clone()]);
    let mut arguments = Arguments::default();
    let mut good = true;
    for (index, element) in elements.iter().enumerate() {
        let text = element.text(ARGUMENTS);
        if text == Some(Arguments::REST) {
            arguments.rest = true;
            if index.saturating_add(1) != elements.len() {
                element.error("\"...\" is for all further arguments", "move it to the end of its list");
                good = false;
            }
        } else {
            let pattern = text.and_then(|_| element.globs(ARGUMENTS)).and_then(|mut one| one.pop());
            good &= pattern.is_some();
            arguments.patterns.extend(pattern);
        }
    }
    good.then_some(arguments)
}

/// Returns the rules of a file without `[[rule]]`: nodes announce themselves and answer, agents send requests, and nothing else is
/// allowed.
pub(super) fn default_rules(links: &[&LinkConfig]) -> Vec<RuleConfig> {
    let links_to = |role| -> Vec<String> {
        let links = links.iter().filter(|link| link.faces == Some(role));
        links.map(|link| link.name.clone()).collect()
    };
    let (agents, nodes) = (links_to(PeerRole::Agents), links_to(PeerRole::Nodes));
    let rule = |name: &str, from: &[String], to: &[String], event| RuleConfig {
        name: name.to_owned(),
        from: from.to_vec(),
        to: to.to_vec(),
        topics: vec![NODE_TOPIC.clone()],
        events: vec![Glob::new(event)],
        nodes: Vec::new(),
        actions: None,
        identities: Vec::new(),
        commands: false,
        passthrough: false,
    };
    vec![
        rule("hellos", &nodes, &agents, NotifyNodeHello::NAME),
        rule("responses", &nodes, &agents, DispatchResponse::NAME),
        rule("requests", &agents, &nodes, DispatchRequest::NAME),
    ]
}

/// Reports rules with the name of an earlier rule.
pub(super) fn check_names(rules: &[RuleDraft<'_>]) {
    let mut seen: Vec<&str> = Vec::new();
    for rule in rules {
        let name = rule.config.name.as_str();
        if let Some(entry) = rule.name.as_ref().filter(|_| values::is_name(name)) {
            if seen.contains(&name) {
                entry.error("an earlier rule has the same name", "use another name");
            }
            seen.push(name);
        }
    }
}
