//! The whole file: its tables, and what they make of one another.

use std::collections::BTreeMap;

use super::References;
use super::address::collide;
use super::link::{self, LinkDraft};
use super::operation;
use super::reader::{Entry, Table};
use super::rule::{self, RuleDraft};
use super::schema::{BridgeConfig, Faces, LinkTls, Operation, Place};
use super::suggest::instead;

/// What could be read of a file.
pub(super) struct Draft {
    /// The configuration. It is good only if nothing was reported; where the TLS of a link cannot be read, there is none.
    pub(super) config: Option<BridgeConfig>,
    pub(super) references: References,
}

/// Reads the file; mistakes go to its report.
pub(super) fn read(mut document: Table<'_>) -> Draft {
    let mut metrics = None;
    let operation = document.take("bridge").map_or_else(Operation::default, |entry| {
        let Some(table) = entry.table("a table: write [bridge] above its keys") else {
            return Operation::default();
        };
        let read = operation::read(table);
        // Whatever is wrong with the address was told.
        metrics = entry.table("").and_then(|mut table| table.take("metrics"));
        read
    });
    let links: Vec<LinkDraft<'_>> = links(&mut document);
    let rules = document.take("rule");
    let default_rules = rules.is_none();
    let rules = rules.map(|entry| read_rules(&entry)).unwrap_or_default();
    tell_collisions(&links, &operation, metrics.as_ref());
    let by_name = links.iter().map(|link| (link.entry.key, link)).collect();
    for rule in &rules {
        check_rule(rule, &by_name);
    }
    rule::tell_duplicates(&rules);
    let configs: Vec<_> = links.iter().map(|link| &link.config).collect();
    let rule_configs = if default_rules {
        tell_impossible_default_rules(&document, &links);
        rule::default_rules(&configs)
    } else {
        rules.into_iter().map(RuleDraft::finish).collect()
    };
    let name = |link: &LinkDraft<'_>| link.config.name.clone();
    let known_tls = links.iter().filter(|link| link.knows_tls);
    let known_places = links.iter().filter(|link| link.place.is_some());
    let references = References {
        tls: known_tls.map(|link| (name(link), link.config.tls.clone())).collect(),
        places: known_places.map(|link| (name(link), link.config.place.clone())).collect(),
        metrics: operation.metrics,
        status_socket: operation.status_socket.clone(),
    };
    let config = links.iter().all(|link| link.knows_tls).then(|| BridgeConfig {
        operation,
        links: configs.into_iter().cloned().collect(),
        rules: rule_configs,
    });
    document.finish();
    Draft { config, references }
}

fn links<'r>(document: &mut Table<'r>) -> Vec<LinkDraft<'r>> {
    let no_link = "there is no link, so that nothing could ever pass; write a table [link.NAME] for each";
    let Some(entry) = document.take("link") else {
        document.missing("link", no_link);
        return Vec::new();
    };
    let Some(mut table) = entry.table("a table for each link: write [link.NAME] above its keys") else {
        return Vec::new();
    };
    let entries = table.take_all();
    if entries.is_empty() {
        table.missing("NAME", no_link);
    }
    entries.into_iter().filter_map(link::read).collect()
}

fn read_rules<'r>(entry: &Entry<'r>) -> Vec<RuleDraft<'r>> {
    let Some(elements) = entry.elements() else {
        entry
            .wrong_type::<()>("tables in a list: write [[rule]], in double brackets, above the keys of each");
        return Vec::new();
    };
    if elements.is_empty() {
        entry
            .wrong("this list is empty, so that nothing could ever pass; leave it out for the default rules");
    }
    (1..).zip(&elements).filter_map(|(number, element)| rule::read(element, number)).collect()
}

impl LinkDraft<'_> {
    fn listens(&self) -> &[String] {
        match &self.config.place {
            Place::Listen(addresses) => addresses,
            Place::Connect(_) => &[],
        }
    }
}

/// Says of addresses that two would listen on.
fn tell_collisions(links: &[LinkDraft<'_>], operation: &Operation, metrics: Option<&Entry<'_>>) {
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for link in links {
        for address in link.listens() {
            let other = taken.iter().find(|(other, _)| collide(address, other));
            if let (Some((other, name)), Some(place)) = (other, &link.place) {
                let who = if *name == link.entry.key { "this link" } else { name };
                let what = format!("{address} cannot be listened on, as {who} listens on {other} already");
                place.wrong(format!("{what}; choose another port, or make one link of both"));
            }
            taken.push((address, link.entry.key));
        }
    }
    let address = operation.metrics.map(|address| address.to_string()).unwrap_or_default();
    let Some((other, name)) = taken.iter().find(|(other, _)| collide(&address, other)) else { return };
    let what = format!("the metrics' address {address} cannot be listened on, as {name} listens on {other}");
    match metrics {
        Some(entry) => entry.wrong(format!("{what}; choose another port, or \"off\"")),
        // The metrics are where they are without being told.
        None => {
            if let Some(place) =
                links.iter().find(|link| link.entry.key == *name).and_then(|link| link.place.as_ref())
            {
                place.wrong(format!("{what}; choose another port here, or for metrics in [bridge]"));
            }
        }
    }
}

fn check_rule(rule: &RuleDraft<'_>, links: &BTreeMap<&str, &LinkDraft<'_>>) {
    let mut known = true;
    for (name, entry) in [&rule.from, &rule.to].into_iter().flatten().flatten() {
        if !links.contains_key(name) {
            known = false;
            if !entry.report.is_broken() {
                let mend = instead(name, links.keys().copied());
                entry.wrong(format!("there is no link {name:?}; {mend}"));
            }
        }
    }
    let (Some(from), Some(to), true) = (&rule.from, &rule.to, known) else { return };
    let link = |name: &str| links.get(name).copied();
    let group = |name: &str| link(name).and_then(|link| link.config.group.as_deref());
    let share_group = |from: &str, to: &str| group(from).is_some() && group(from) == group(to);
    let passes = |from: &str, to: &str| {
        if from == to { link(from).is_none_or(|link| link.config.hub) } else { !share_group(from, to) }
    };
    if !from.iter().any(|(from, _)| to.iter().any(|(to, _)| passes(from, to))) {
        let name = from.first().map(|(name, _)| *name).unwrap_or_default();
        if let Some((other, _)) = to.iter().find(|(to, _)| *to != name) {
            let group = group(name).unwrap_or_default();
            rule.table.wrong(format!(
                "nothing could ever match: {name} and {other} are in the group {group}, and nothing passes between links \
                 of a group; name other links, or take group away from one of them"
            ));
            return;
        }
        rule.table.wrong(format!(
            "nothing could ever match: it goes from {name} to {name}, which is no hub; write hub = true in \
             [link.{name}] if its peers shall hear each other, or name another link"
        ));
    }
    let has_none = |name: &str| {
        link(name).is_some_and(|link| link.knows_tls && !matches!(link.config.tls, LinkTls::Mutual(_)))
    };
    if let Some(entry) = rule.identities.as_ref().filter(|_| from.iter().all(|(name, _)| has_none(name))) {
        entry.wrong(
            "nothing could ever match: peers show certificates only in mutual TLS, which no link in from has; leave \
             identities out, or give the link cafile, certificate and keyfile",
        );
    }
}

fn tell_impossible_default_rules(document: &Table<'_>, links: &[LinkDraft<'_>]) {
    if links.is_empty() {
        return;
    }
    for (faces, word) in [(Faces::Agents, "agents"), (Faces::Nodes, "nodes")] {
        if links.iter().all(|link| link.knows_faces && link.config.faces != Some(faces)) {
            document.missing(
                "rule",
                format!(
                    "there is no rule, and the default rules take a link that faces {word}, which none does: write \
                     faces = \"{word}\" in the link that leads to them, or rules of your own as [[rule]]"
                ),
            );
        }
    }
}
