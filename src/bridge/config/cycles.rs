//! Finds rules by which a topic can return to the link that it was received on.

use super::schema::{BridgeConfig, Glob, LinkConfig, RuleConfig};
use crate::data::Topic;
use crate::zeromq::topics::covering;

/// The path of a message that returns to the link that it was received on:
///
/// - The message is received on `source`, and `rule` allows it to be sent over `out`.
/// - It returns over `back`, if the remote sides of `out` and `back` are connected.
/// - The rule `returning` allows it to be sent to `source`.
struct Cycle<'c> {
    source: &'c LinkConfig,
    out: &'c LinkConfig,
    back: &'c LinkConfig,
    rule: &'c RuleConfig,
    returning: &'c RuleConfig,
    topic: &'c Topic,
}

/// Returns the first cycle that each rule makes possible, as the name of the rule, and the message and the hint of the
/// warning.
///
/// Only cycles over three different links are reported. A cycle over two links is possible with every rule: the target may return
/// the message, or may be connected to the source directly. A warning for every rule would be useless.
///
/// A source with `ttl = 1` cannot be part of a cycle: no bridge after this one forwards its messages.
pub(super) fn find(config: &BridgeConfig) -> Vec<(&str, String, String)> {
    config
        .rules
        .iter()
        .filter_map(|rule| {
            let cycle = first(config, rule)?;
            Some((rule.name.as_str(), cycle.message(), cycle.hint()))
        })
        .collect()
}

fn first<'c>(config: &'c BridgeConfig, rule: &'c RuleConfig) -> Option<Cycle<'c>> {
    let links = |names: &'c [String]| config.links.iter().filter(|link| names.contains(&link.name));
    let maps_topics =
        config.links.iter().any(|link| link.zeromq.as_ref().is_some_and(|zeromq| zeromq.map_topics));
    let overlaps = || {
        let rules = config.rules.iter();
        rules.filter_map(|returning| Some((returning, shared_topic(rule, returning, maps_topics)?)))
    };
    for source in links(&rule.from).filter(|source| source.ttl > 1) {
        for out in links(&rule.to).filter(|out| forwards(source, out)) {
            for (returning, topic) in overlaps().filter(|(returning, _)| returning.to.contains(&source.name))
            {
                let mut backs = links(&returning.from);
                if let Some(back) = backs.find(|back| forwards(back, out) && forwards(back, source)) {
                    return Some(Cycle { source, out, back, rule, returning, topic });
                }
            }
        }
    }
    None
}

/// Returns whether rules can forward messages from one of these links to the other.
fn forwards(one: &LinkConfig, other: &LinkConfig) -> bool {
    one.name != other.name && (one.group.is_none() || one.group != other.group)
}

/// Returns a topic on which the same message may match both rules. With `maps_topics`, a link may translate the topic between the
/// two rules.
fn shared_topic<'c>(one: &'c RuleConfig, other: &'c RuleConfig, maps_topics: bool) -> Option<&'c Topic> {
    let globs_overlap = |one: &[Glob], other: &[Glob]| {
        let mut pairs = one.iter().flat_map(|glob| other.iter().map(move |other| (glob, other)));
        one.is_empty() || other.is_empty() || pairs.any(|(one, other)| overlap(one, other))
    };
    if one.commands != other.commands
        || !globs_overlap(&one.events, &other.events)
        || !globs_overlap(&one.nodes, &other.nodes)
    {
        return None;
    }
    let mut pairs = one.topics.iter().flat_map(|topic| other.topics.iter().map(move |other| (topic, other)));
    pairs.find_map(|(one, other)| match (one.is_prefix_of(other), other.is_prefix_of(one)) {
        (true, _) => Some(other),
        (_, true) => Some(one),
        _ => {
            let meets = |form: &Topic| form.is_prefix_of(other) || other.is_prefix_of(form);
            (maps_topics && covering(one).iter().any(meets)).then_some(one)
        }
    })
}

/// Returns whether a name may match both patterns. Two patterns with wildcards are assumed to overlap if one begins
/// like the other, up to the first wildcard of either.
fn overlap(one: &Glob, other: &Glob) -> bool {
    let (one_text, other_text) = (one.to_string(), other.to_string());
    if one.matches(&other_text) || other.matches(&one_text) {
        return true;
    }
    let start = |text: &str| text.split(['*', '?']).next().unwrap_or_default().to_owned();
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let (one_start, other_start) = (start(&one_text), start(&other_text));
    is_pattern(&one_text)
        && is_pattern(&other_text)
        && (one_start.starts_with(&other_start) || other_start.starts_with(&one_start))
}

impl Cycle<'_> {
    fn message(&self) -> String {
        let [source, out, back] = [self.source, self.out, self.back].map(|link| &link.name);
        let subject = match self.rule.events.first() {
            None if self.rule.commands => "a data-store command".to_owned(),
            None => "a message".to_owned(),
            Some(event) => format!("event {}", event.to_string().escape_debug()),
        };
        let topic = self.topic.to_str_lossy();
        let topic =
            if topic.is_empty() { "any topic".to_owned() } else { format!("topic {}", topic.escape_debug()) };
        let by = if self.rule.name == self.returning.name {
            "this rule".to_owned()
        } else {
            format!("rule {}", self.returning.name)
        };
        format!(
            "{subject} on {topic} from {source} is sent to {out}; if the other side of {out} is connected to that of {back}, it \
             returns over {back} and is sent to {source} by {by}: {source} -> {out} -> {back} -> {source}"
        )
    }

    fn hint(&self) -> String {
        let [source, out, back] = [self.source, self.out, self.back].map(|link| &link.name);
        let group = format!(
            "other bridges drop such copies, but other relays do not; if {out} and {back} lead to the same peers, or to bridges \
             that are all connected directly, set the same group in both"
        );
        // The protocols of the other links have no ttl.
        if self.out.websocket.is_some() || self.out.zeromq.is_some() {
            return group;
        }
        format!(
            "{group}; if no other bridge is connected to the other side of {out}, set ttl = 1 in {source}"
        )
    }
}
