//! Reads the complete file, and checks its tables against each other.

use std::collections::BTreeMap;

use super::References;
use super::address::collide;
use super::link::{self, LinkDraft};
use super::operation;
use super::reader::{Entry, Table};
use super::rule::{self, RuleDraft};
use super::schema::{BridgeConfig, LinkAddress, LinkTls, Operation, PeerRole};
use super::suggest::suggestion;

/// The parts of a file that could be read.
pub(super) struct Draft {
    /// Valid only if the report has no errors. `None` if the TLS of a link is invalid, because the placeholder for its
    /// TLS must never be used.
    pub(super) config: Option<BridgeConfig>,
    pub(super) references: References,
}

/// Reads the file, and reports the errors in it.
pub(super) fn read(mut document: Table<'_>) -> Draft {
    let table = document.take("bridge").and_then(|entry| entry.table("write [bridge] above its keys"));
    let (operation, metrics) = table.map_or_else(Default::default, operation::read);
    let links: Vec<LinkDraft<'_>> = links(&mut document);
    let rules = document.take("rule");
    let default_rules = rules.is_none();
    let rules = rules.map(|entry| read_rules(&entry)).unwrap_or_default();
    check_listeners(&links, &operation, metrics.as_ref());
    let by_name = links.iter().map(|link| (link.entry.key, link)).collect();
    for rule in &rules {
        check_rule(rule, &by_name);
    }
    rule::check_names(&rules);
    let configs: Vec<_> = links.iter().map(|link| &link.config).collect();
    let rule_configs = if default_rules {
        check_default_rules(&document, &links);
        rule::default_rules(&configs)
    } else {
        rules.into_iter().map(RuleDraft::finish).collect()
    };
    let name = |link: &LinkDraft<'_>| link.config.name.clone();
    let valid_tls = links.iter().filter(|link| link.is_tls_valid);
    let valid_addresses = links.iter().filter(|link| link.is_address_valid);
    let references = References {
        tls: valid_tls.map(|link| (name(link), link.config.tls.clone())).collect(),
        addresses: valid_addresses.map(|link| (name(link), link.config.address.clone())).collect(),
        metrics: operation.metrics,
        status_socket: operation.status_socket.clone(),
    };
    let config = links.iter().all(|link| link.is_tls_valid).then(|| BridgeConfig {
        operation,
        links: configs.into_iter().cloned().collect(),
        rules: rule_configs,
    });
    document.finish();
    Draft { config, references }
}

fn links<'r>(document: &mut Table<'r>) -> Vec<LinkDraft<'r>> {
    let (no_link, hint) = ("there is no link", "write a table [link.NAME] for each link");
    let Some(entry) = document.take("link") else {
        document.missing("link", no_link, hint);
        return Vec::new();
    };
    let Some(mut table) = entry.table("write [link.NAME] above the keys of each link") else {
        return Vec::new();
    };
    let entries = table.take_all();
    if entries.is_empty() {
        table.missing("NAME", no_link, hint);
    }
    entries.into_iter().filter_map(link::read).collect()
}

fn read_rules<'r>(entry: &Entry<'r>) -> Vec<RuleDraft<'r>> {
    let Some(elements) = entry.elements() else {
        entry.error(
            "expected a list of tables",
            "write [[rule]], in double brackets, above the keys of each rule",
        );
        return Vec::new();
    };
    if elements.is_empty() {
        entry.error("the list is empty, so no message is forwarded", "remove it to use the default rules");
    }
    (1..).zip(&elements).filter_map(|(number, element)| rule::read(element, number)).collect()
}

impl LinkDraft<'_> {
    fn listens(&self) -> &[String] {
        match &self.config.address {
            LinkAddress::Listen(addresses) => addresses,
            LinkAddress::Connect(_) => &[],
        }
    }
}

/// Reports addresses that more than one listener would use.
fn check_listeners(links: &[LinkDraft<'_>], operation: &Operation, metrics: Option<&Entry<'_>>) {
    // Address and link.
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for link in links {
        for address in link.listens() {
            let other = taken.iter().find(|(other, _)| collide(address, other));
            if let (Some((other, name)), Some(entry)) = (other, &link.address) {
                let user = if *name == link.entry.key { "this link" } else { name };
                entry.error(
                    format!("{address} conflicts with {other}, on which {user} listens"),
                    "use another port, or merge the two",
                );
            }
            taken.push((address, link.entry.key));
        }
    }
    let address = operation.metrics.map(|address| address.to_string()).unwrap_or_default();
    let Some((other, name)) = taken.iter().find(|(other, _)| collide(&address, other)) else { return };
    let message =
        format!("the address {address} of the metrics conflicts with {other}, on which {name} listens");
    // If the file does not set the address of the metrics, there is no entry to report. Report the link instead.
    let link = || links.iter().find(|link| link.entry.key == *name).and_then(|link| link.address.as_ref());
    match (metrics, link()) {
        (Some(entry), _) => entry.error(message, "use another port, or \"off\""),
        (None, Some(entry)) => entry.error(message, "use another port here, or for metrics in [bridge]"),
        (None, None) => {}
    }
}

fn check_rule(rule: &RuleDraft<'_>, links: &BTreeMap<&str, &LinkDraft<'_>>) {
    let mut all_known = true;
    for (name, entry) in [&rule.from, &rule.to].into_iter().flatten().flatten() {
        if !links.contains_key(name) {
            all_known = false;
            if !entry.report.is_broken() {
                entry.error(format!("there is no link {name:?}"), suggestion(name, links.keys().copied()));
            }
        }
    }
    let (Some(from), Some(to), true) = (&rule.from, &rule.to, all_known) else { return };
    let link = |name: &str| links.get(name).copied();
    let group = |name: &str| link(name).and_then(|link| link.config.group.as_deref());
    let share_group = |from: &str, to: &str| group(from).is_some() && group(from) == group(to);
    let forwards = |from: &str, to: &str| {
        if from == to { link(from).is_none_or(|link| link.config.hub) } else { !share_group(from, to) }
    };
    if !from.iter().any(|(from, _)| to.iter().any(|(to, _)| forwards(from, to))) {
        let name = from.first().map(|(name, _)| *name).unwrap_or_default();
        if let Some((other, _)) = to.iter().find(|(to, _)| *to != name) {
            let group = group(name).unwrap_or_default();
            rule.table.error(
                format!("nothing can match: {name} and {other} are in group {group}, whose links forward nothing to each other"),
                "use other links, or remove group from one of them",
            );
            return;
        }
        rule.table.error(
            format!("nothing can match: the rule is from {name} to {name}, which is not a hub"),
            format!(
                "set hub = true in [link.{name}] to forward messages between its peers, or use another link"
            ),
        );
    }
    let has_none = |name: &str| {
        link(name).is_some_and(|link| link.is_tls_valid && !matches!(link.config.tls, LinkTls::Mutual(_)))
    };
    if let Some(entry) = rule.identities.as_ref().filter(|_| from.iter().all(|(name, _)| has_none(name))) {
        entry.error(
            "nothing can match: peers present certificates only in mutual TLS, which no link in from uses",
            "remove identities, or set cafile, certificate and keyfile in the link",
        );
    }
}

fn check_default_rules(document: &Table<'_>, links: &[LinkDraft<'_>]) {
    if links.is_empty() {
        return;
    }
    for (faces, word) in [(PeerRole::Agents, "agents"), (PeerRole::Nodes, "nodes")] {
        if links.iter().all(|link| link.is_faces_valid && link.config.faces != Some(faces)) {
            document.missing(
                "rule",
                format!("there is no rule, and the default rules require a link with faces = \"{word}\""),
                format!("set faces = \"{word}\" in the link to them, or write rules as [[rule]]"),
            );
        }
    }
}
