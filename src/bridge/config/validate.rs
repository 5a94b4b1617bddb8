//! Reads the complete file, and checks its tables against each other.

use std::collections::BTreeMap;

use super::References;
use super::address::collide;
use super::link::{self, LinkDraft};
use super::operation;
use super::reader::{Entry, Table};
use super::rule::{self, RuleDraft};
use super::schema::{BridgeConfig, IdentityPattern, LinkAddress, Operation, PeerRole};
use super::suggest::suggestion;
use super::zeromq;
use crate::endpoint::WhenFull;

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
    let (operation, http) = table.map_or_else(Default::default, operation::read);
    let links: Vec<LinkDraft<'_>> = links(&mut document);
    let rules = document.take("rule");
    let default_rules = rules.is_none();
    let rules = rules.map(|entry| read_rules(&entry)).unwrap_or_default();
    check_listeners(&links, &operation, http.as_ref());
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
        websocket: links
            .iter()
            .filter_map(|link| Some((name(link), link.config.websocket.clone()?)))
            .collect(),
        zeromq: links.iter().filter_map(|link| Some((name(link), link.config.zeromq.clone()?))).collect(),
        addresses: valid_addresses.map(|link| (name(link), link.config.address.clone())).collect(),
        http: operation.http.clone(),
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
    fn connects(&self) -> bool {
        self.is_address_valid && matches!(self.config.address, LinkAddress::Connect(_))
    }

    fn listens(&self) -> &[String] {
        match &self.config.address {
            LinkAddress::Listen(addresses) => addresses,
            LinkAddress::Connect(_) => &[],
        }
    }
}

/// Reports addresses that more than one listener would use.
fn check_listeners(links: &[LinkDraft<'_>], operation: &Operation, http: Option<&Entry<'_>>) {
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
    let address = operation.http.as_ref().map(|http| http.address.to_string()).unwrap_or_default();
    let Some((other, name)) = taken.iter().find(|(other, _)| collide(&address, other)) else { return };
    let message = format!("the address {address} of http conflicts with {other}, on which {name} listens");
    // If the file does not set the address, there is no entry to report. Report the link instead.
    let link = || links.iter().find(|link| link.entry.key == *name).and_then(|link| link.address.as_ref());
    match (http, link()) {
        (Some(entry), _) => entry.error(message, "use another port, or \"off\""),
        (None, Some(entry)) => entry.error(message, "use another port here, or for http in [bridge]"),
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
        let hint = if link(name).is_some_and(|link| link.config.zeromq.is_some()) {
            "use another link: the proxy of the cluster forwards these messages".to_owned()
        } else {
            format!(
                "set hub = true in [link.{name}] to forward messages between its peers, or use another link"
            )
        };
        rule.table
            .error(format!("nothing can match: the rule is from {name} to {name}, which is not a hub"), hint);
    }
    check_subscriptions(rule, from, &link);
    check_loops(from, to, &link, &forwards);
    check_blocking(from, to, &link, &forwards);
    let has_none =
        |name: &str| link(name).is_some_and(|link| link.is_tls_valid && !link.config.has_identities());
    let is_for_some = rule.config.identities.iter().any(IdentityPattern::is_for_every_peer);
    let no_peer = !is_for_some && from.iter().all(|(name, _)| has_none(name));
    if let Some(entry) = rule.identities.as_ref().filter(|_| no_peer) {
        entry.error(
            "nothing can match: the peers of the links in from present no certificate, no token and no CURVE key",
            "remove identities, use \"address:IP\", or set in the link: cafile, certificate and keyfile; a token, if it listens on ws:// or \
             wss://; or curve, if it listens on zeromq://",
        );
    }
}

/// Reports rules that subscribe to all topics of a server of the WebSocket API.
fn check_subscriptions<'d, 'r: 'd>(
    rule: &RuleDraft<'_>,
    from: &[(&str, Entry<'_>)],
    link: &impl Fn(&str) -> Option<&'d LinkDraft<'r>>,
) {
    let Some(topics) = rule.topics.as_ref() else { return };
    if !rule.config.topics.iter().any(|topic| topic.as_bytes().is_empty()) {
        return;
    }
    let mut names = from.iter().map(|(name, _)| *name);
    let refused = names.find(|name| {
        link(name).is_some_and(|link| {
            let websocket = link.config.websocket.as_ref();
            link.connects() && websocket.is_some_and(|websocket| !websocket.all_topics)
        })
    });
    if let Some(name) = refused {
        topics.error(
            format!(
                "the topic \"\" subscribes to all topics of {name}, where Zeek before 8.0.7, and Zeek 8.1, terminates \
                 when it writes a log, if its cluster back end is Broker"
            ),
            format!("use prefixes of topics, or set all_topics = true in [link.{name}] if it is a different Zeek"),
        );
    }
}

/// Reports rules by which an event may return to its cluster without end: from one server of the WebSocket API to another, and
/// between such a server and the proxy of a ZeroMQ cluster. If both belong to the same cluster, the event arrives again on the
/// first link. The WebSocket API has neither a ttl nor the id of a sender, by which a bridge would recognize it.
fn check_loops<'d, 'r: 'd>(
    from: &[(&str, Entry<'_>)],
    to: &[(&str, Entry<'_>)],
    link: &impl Fn(&str) -> Option<&'d LinkDraft<'r>>,
    forwards: &impl Fn(&str, &str) -> bool,
) {
    let server = |name: &str| {
        link(name).filter(|link| {
            link.connects() && (link.config.websocket.is_some() || link.config.zeromq.is_some())
        })
    };
    for (name, _) in from {
        let Some(one) = server(name) else { continue };
        for (other_name, entry) in to {
            let Some(other) = server(other_name) else { continue };
            let is_single = matches!(&one.config.address, LinkAddress::Connect(targets) if targets.len() < 2);
            if !forwards(name, other_name)
                || (one.config.websocket.is_none() && other.config.websocket.is_none())
                || one.config.accepts_loops()
                || other.config.accepts_loops()
                || (name == other_name && is_single)
            {
                continue;
            }
            entry.error(
                format!(
                    "events from {name} are sent to {other_name}; if both lead to the same cluster, they arrive from {name} again, \
                     without end, because the WebSocket API has no ttl"
                ),
                format!(
                    "if they lead to different clusters, set loop = \"accepted\" in [link.{name}]; otherwise, remove one of them"
                ),
            );
            return;
        }
    }
}

/// Reports a target whose full queue would stop the reading from a ZeroMQ link.
fn check_blocking<'d, 'r: 'd>(
    from: &[(&str, Entry<'_>)],
    to: &[(&str, Entry<'_>)],
    link: &impl Fn(&str) -> Option<&'d LinkDraft<'r>>,
    forwards: &impl Fn(&str, &str) -> bool,
) {
    let blocks = |name: &str| {
        link(name)
            .is_some_and(|link| link.config.zeromq.is_none() && link.config.when_full == WhenFull::Block)
    };
    for (target, entry) in to.iter().filter(|(target, _)| blocks(target)) {
        let is_zeromq = |name: &str| link(name).is_some_and(|link| link.config.zeromq.is_some());
        let stopped = from.iter().find(|(name, _)| is_zeromq(name) && forwards(name, target));
        if let Some((name, _)) = stopped {
            entry.error(
                format!(
                    "{target} has when_full = \"block\", which stops the reading from {name}, but {}",
                    zeromq::CANNOT_BLOCK
                ),
                format!("use another value for when_full in [link.{target}], or split the link in two"),
            );
        }
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
