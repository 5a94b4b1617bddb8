//! What may stand in a configuration, but is likely not meant.

use super::address::{is_loopback, reaches};
use super::diagnostic::Mistake;
use super::schema::{LinkConfig, LinkTls, Place, RuleConfig};
use super::{ConfigFile, cycles};

impl ConfigFile {
    /// What is allowed, but dangerous or likely not meant, in the order of the file.
    #[must_use]
    pub fn warnings(&self) -> Vec<Mistake> {
        let mut warnings = Vec::new();
        let mut warn = |path: String, message: String| warnings.push(self.source.mistake(path, message));
        for link in &self.config.links {
            self.link(link, &mut |key, message| warn(format!("link.{}.{key}", link.name), message));
        }
        let rules = &self.config.rules;
        for (index, rule) in rules.iter().enumerate() {
            let mut warn = |key: &str, message| warn(format!("rule.{}.{key}", rule.name), message);
            self.rule(rule, &mut warn);
            let earlier = rules.iter().take(index);
            if let Some(same) = earlier.into_iter().find(|earlier| is_same(earlier, rule)) {
                let message = format!(
                    "the rule {} above says the same, so that this one never counts; leave it out",
                    same.name
                );
                warn("name", message);
            }
        }
        for (rule, message) in cycles::find(&self.config) {
            warn(format!("rule.{rule}.to"), message);
        }
        if let Some(address) = self.config.operation.metrics
            && !address.ip().is_loopback()
        {
            let message = format!(
                "whoever can reach {address} can read the metrics; 127.0.0.1 keeps them on this host"
            );
            warn("bridge.metrics".to_owned(), message);
        }
        warnings.sort_by_key(|warning| (warning.line, warning.column));
        warnings
    }

    fn link(&self, link: &LinkConfig, warn: &mut impl FnMut(&str, String)) {
        let name = &link.name;
        let (place, addresses) = match &link.place {
            Place::Connect(targets) => ("connect", targets),
            Place::Listen(addresses) => ("listen", addresses),
        };
        let says = |key: &str| self.source.says(&format!("link.{name}.{key}"));
        match &link.tls {
            LinkTls::Off => {
                if let Some(address) = addresses.iter().find(|address| !is_loopback(address)) {
                    warn(
                        "tls",
                        format!(
                            "without TLS, whoever is between the two ends at {address} can read and change everything, \
                             and whoever reaches the port is let in; use certificates where a network is between"
                        ),
                    );
                }
            }
            LinkTls::Anonymous => warn(
                "tls",
                "anonymous TLS is encrypted, but unauthenticated: whoever is between the two ends can read and change \
                 everything, and whoever reaches the port is let in; use certificates where that matters"
                    .to_owned(),
            ),
            LinkTls::Mutual(_) => {}
        }
        if let (Some(group), Place::Connect(targets)) = (&link.group, &link.place)
            && targets.len() == 1
            && !self
                .config
                .links
                .iter()
                .any(|other| other.name != *name && other.group.as_ref() == Some(group))
        {
            warn(
                "group",
                format!("no other link is in the group {group}; check its name, or leave this out"),
            );
        }
        if link.chaos.is_some() {
            warn(
                "chaos",
                "faults are put into what this link sends; take this away where that is no test".to_owned(),
            );
        }
        match &link.place {
            Place::Listen(_) if says("retry") => {
                warn(
                    "retry",
                    "a link that listens does not connect, and so never again; leave this out".to_owned(),
                );
            }
            Place::Connect(targets) => {
                if says("limits.connects_per_second") {
                    let message = "nobody connects to a link that connects itself; leave this out";
                    warn("limits.connects_per_second", message.to_owned());
                }
                for target in targets {
                    if let Some(other) = self.listener(target) {
                        let message = format!(
                            "{target} is where the link {other} of this bridge listens; is that meant?"
                        );
                        warn("connect", message);
                    }
                }
            }
            Place::Listen(_) => {}
        }
        let rules = &self.config.rules;
        if !rules.iter().any(|rule| rule.from.contains(name) || rule.to.contains(name)) {
            warn(
                place,
                "no rule is for this link, so that nothing passes over it; name it in one".to_owned(),
            );
        } else if link.hub && !rules.iter().any(|rule| rule.from.contains(name) && rule.to.contains(name)) {
            let message =
                "no rule goes from this link to itself, so that its peers do not hear each other; write one";
            warn("hub", message.to_owned());
        }
    }

    fn rule(&self, rule: &RuleConfig, warn: &mut impl FnMut(&str, String)) {
        if rule.passthrough {
            let message = "messages pass unchecked: what a Zeek chokes on may reach it; take this away unless it is needed";
            warn("passthrough", message.to_owned());
        }
        if !rule.identities.is_empty() {
            let links = self.config.links.iter();
            for link in links.filter(|link| rule.from.contains(&link.name)) {
                if !matches!(link.tls, LinkTls::Mutual(_)) {
                    let name = &link.name;
                    warn(
                        "identities",
                        format!("the peers of {name} show no certificate, so that none of them fits"),
                    );
                }
            }
        }
    }

    /// The link that listens where this would connect to.
    fn listener(&self, target: &str) -> Option<&str> {
        let links = self.config.links.iter();
        let mut listening = links.filter(|link| match &link.place {
            Place::Listen(addresses) => addresses.iter().any(|address| reaches(target, address)),
            Place::Connect(_) => false,
        });
        listening.next().map(|link| link.name.as_str())
    }
}

/// Whether two rules let the same pass, in whatever order they say it.
fn is_same(one: &RuleConfig, other: &RuleConfig) -> bool {
    fn sorted<T: ToString>(parts: &[T]) -> Vec<String> {
        let mut parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        parts.sort();
        parts
    }
    let lists = |rule: &RuleConfig| {
        let actions = rule.actions.as_ref().map(|actions| {
            let actions = actions.iter().map(|(command, arguments)| (command.clone(), sorted(arguments)));
            actions.collect::<Vec<_>>()
        });
        let parts = [
            sorted(&rule.from),
            sorted(&rule.to),
            sorted(&rule.topics),
            sorted(&rule.events),
            sorted(&rule.nodes),
            sorted(&rule.identities),
        ];
        (parts, actions, rule.commands, rule.passthrough)
    };
    lists(one) == lists(other)
}
