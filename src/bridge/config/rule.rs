//! The tables `[[rule]]`, and the rules where there are none.

use std::collections::BTreeMap;

use super::link;
use super::reader::{Entry, Table};
use super::schema::{Arguments, Faces, Glob, LinkConfig, RuleConfig};
use super::values;
use crate::data::Topic;
use crate::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NotifyNodeHello};

/// A rule as far as it could be read.
pub(super) struct RuleDraft<'r> {
    pub(super) config: RuleConfig,
    pub(super) table: Table<'r>,
    pub(super) name: Option<Entry<'r>>,
    /// The names of links, each with where it stands; `None` where that could not be read.
    pub(super) from: Option<Vec<(&'r str, Entry<'r>)>>,
    pub(super) to: Option<Vec<(&'r str, Entry<'r>)>>,
    pub(super) identities: Option<Entry<'r>>,
}

/// Reads the rule with this number, counted from 1.
pub(super) fn read<'r>(entry: &Entry<'r>, number: usize) -> Option<RuleDraft<'r>> {
    let mut table = entry.table("a table: write [[rule]] above its keys")?;
    table.rename(format!("rule.{number}"));
    let name = table.take("name");
    let name_read = name.as_ref().and_then(Entry::name);
    if let Some(name) = name_read {
        table.rename(format!("rule.{name}"));
    } else if name.is_none() {
        table.missing("name", "a rule has a name, which logs and metrics go by; give it one");
    }
    let from = ends(&mut table, "from", "come from");
    let to = ends(&mut table, "to", "go to");
    let topics = table.take("topics");
    if topics.is_none() {
        table.missing(
            "topics",
            "the prefixes of topics are missing that this rule is for; give them, such as [\"zeek/management/node\"]",
        );
    }
    let events = table.take("events");
    let nodes = table.take("nodes");
    let actions = table.take("actions");
    let identities = table.take("identities");
    let names = |ends: &Option<Vec<(&str, Entry<'_>)>>| {
        ends.iter().flatten().map(|(name, _)| (*name).to_owned()).collect()
    };
    let globs = |entry: &Option<Entry<'_>>, wanted| entry.as_ref().and_then(|entry| entry.globs(wanted));
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
            entry.wrong(
                "with commands = true a rule is for data-store commands, which have no such thing: leave this out, or \
                 make two rules of it",
            );
        }
    } else {
        without_effect(&config, nodes.as_ref(), actions.as_ref());
    }
    Some(RuleDraft { config, table, name, from, to, identities })
}

impl RuleDraft<'_> {
    /// The rule, once nothing more is to be said about it.
    pub(super) fn finish(self) -> RuleConfig {
        self.table.finish();
        self.config
    }
}

/// Conditions on events that the rule does not let pass.
fn without_effect(config: &RuleConfig, nodes: Option<&Entry<'_>>, actions: Option<&Entry<'_>>) {
    let lets = |event: &str| config.events.is_empty() || config.events.iter().any(|glob| glob.matches(event));
    let node_api = [NotifyNodeHello::NAME, DispatchRequest::NAME, DispatchResponse::NAME];
    if let Some(entry) = nodes.filter(|_| !node_api.into_iter().any(lets)) {
        entry.wrong(
            "only the events of Management::Node::API speak of nodes, and this rule lets none of them pass: leave nodes \
             out, or add them to events",
        );
    }
    if let Some(entry) = actions.filter(|_| !lets(DispatchRequest::NAME)) {
        entry.wrong(format!(
            "only dispatch requests have an action, and this rule lets none pass: leave actions out, or add \"{}\" to \
             events",
            DispatchRequest::NAME
        ));
    }
}

fn ends<'r>(table: &mut Table<'r>, key: &'static str, verb: &str) -> Option<Vec<(&'r str, Entry<'r>)>> {
    let Some(entry) = table.take(key) else {
        table.missing(
            key,
            format!("the links are missing that messages may {verb}; give a name or a list of names"),
        );
        return None;
    };
    let wanted = "the name of a link";
    let mut entries = Vec::new();
    let names = entry.list(wanted, |entry| {
        let name = entry.text(wanted)?;
        entries.push((name, entry.clone()));
        Some(name)
    });
    names.map(|_| entries)
}

fn read_topics(entry: &Entry<'_>) -> Option<Vec<Topic>> {
    let wanted = "a prefix of topics, such as \"zeek/management/node\"";
    entry.list(wanted, |entry| {
        let text = entry.any_text(wanted)?;
        let topic = match Topic::try_from(text) {
            Ok(topic) => topic,
            Err(error) => {
                entry.wrong(format!("{error}; give a shorter prefix"));
                return None;
            }
        };
        if topic.is_local() {
            entry.wrong(format!(
                "topics with {} in front never leave an endpoint, so that nothing could ever match; leave this out",
                Topic::LOCAL_PREFIX
            ));
            return None;
        }
        Some(topic)
    })
}

/// What an alternative for the arguments of a command may be.
const ARGUMENTS: &str = "a pattern for the only argument, such as \"Site::*\" or \"*\", or a list with a pattern for each \
                         argument, such as [\"Site::*\", \"...\"], where \"...\" allows any further ones";

fn read_actions(entry: &Entry<'_>) -> Option<BTreeMap<String, Vec<Arguments>>> {
    let wanted = "a table of the commands, with the alternatives for the arguments of each, such as \
                  { get_id_value = [\"Site::*\"] }";
    let commands = entry.table(wanted)?.take_all();
    if commands.is_empty() {
        entry.wrong(format!("this table is empty, so that nothing could ever match; give {wanted}"));
    }
    let read = |entry: &Entry<'_>| Some((entry.key.to_owned(), entry.list(ARGUMENTS, read_arguments)?));
    Some(commands.iter().filter_map(read).collect())
}

/// One alternative: a pattern, or a list of patterns by position.
fn read_arguments(entry: &Entry<'_>) -> Option<Arguments> {
    let elements = entry.elements().unwrap_or_else(|| vec![entry.clone()]);
    let mut arguments = Arguments::default();
    let mut good = true;
    for (index, element) in elements.iter().enumerate() {
        let text = element.text(ARGUMENTS);
        if text == Some(Arguments::REST) {
            arguments.rest = true;
            if index.saturating_add(1) != elements.len() {
                element.wrong("\"...\" stands for all further arguments; put it last in its list");
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

/// The mission: nodes say hello and answer, agents ask, and nothing else passes.
pub(super) fn default_rules(links: &[&LinkConfig]) -> Vec<RuleConfig> {
    let facing = |faces| -> Vec<String> {
        let facing = links.iter().filter(|link| link.faces == Some(faces));
        facing.map(|link| link.name.clone()).collect()
    };
    let (agents, nodes) = (facing(Faces::Agents), facing(Faces::Nodes));
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

/// Says of rules that have a name already.
pub(super) fn tell_duplicates(rules: &[RuleDraft<'_>]) {
    let mut seen: Vec<&str> = Vec::new();
    for rule in rules {
        let name = rule.config.name.as_str();
        if let Some(entry) = rule.name.as_ref().filter(|_| values::is_name(name)) {
            if seen.contains(&name) {
                entry.wrong("another rule above has this name already; choose another");
            }
            seen.push(name);
        }
    }
}
