//! Warnings about configurations that are valid, but dangerous or probably not intended.

use std::path::Path;

use super::address::reaches;
use super::diagnostic::{Diagnostic, Warn};
use super::schema::{
    CurveKeys, IdentityPattern, LinkAddress, LinkConfig, LinkTls, PublicKeySource, RuleConfig,
    SecretKeySource,
};
use super::{ConfigFile, cycles, identity_warnings};
use crate::net::Exposure;
use crate::websocket::receives_logs;

impl ConfigFile {
    /// Returns warnings about settings that are valid, but dangerous or probably not intended, in the order of the file.
    #[must_use]
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let mut warnings = Vec::new();
        let mut warn = |key: String, message: String, hint: &str| {
            warnings.push(self.source.locate(Diagnostic::new(key, message).with_hint(hint)));
        };
        for link in &self.config.links {
            self.check_link(link, &mut |key, message, hint| {
                warn(format!("link.{}.{key}", link.name), message, hint)
            });
        }
        let rules = &self.config.rules;
        for (index, rule) in rules.iter().enumerate() {
            let mut warn =
                |key: &str, message, hint: &str| warn(format!("rule.{}.{key}", rule.name), message, hint);
            self.check_rule(rule, &mut warn);
            let earlier = rules.iter().take(index);
            if let Some(same) = earlier.into_iter().find(|earlier| is_same(earlier, rule)) {
                warn(
                    "name",
                    format!("rule {} above is the same, so this one never matches", same.name),
                    "remove it",
                );
            }
        }
        for (rule, message, hint) in cycles::find(&self.config) {
            warn(format!("rule.{rule}.to"), message, &hint);
        }
        if let Some(http) = &self.config.operation.http
            && !http.is_loopback()
            && !matches!(http.tls, LinkTls::Mutual(_))
        {
            let mut message = format!("every host that can reach {} can read the metrics", http.address);
            let mut hint = "set cafile in http_tls, or use 127.0.0.1 to keep them on this host";
            if !http.has_page() {
                message.push_str(", and the page is not served there");
                hint = "use 127.0.0.1 to keep them on this host; for the page, set http_tls with http_token or a cafile";
            }
            warn("bridge.http".to_owned(), message, hint);
        }
        warnings.sort_by_key(Diagnostic::position);
        warnings
    }

    fn check_link(&self, link: &LinkConfig, warn: &mut Warn<'_>) {
        let name = &link.name;
        let (address_key, addresses) = match &link.address {
            LinkAddress::Connect(targets) => ("connect", targets),
            LinkAddress::Listen(addresses) => ("listen", addresses),
        };
        let addresses = addresses.iter().map(String::as_str);
        let exposure = match &link.tls {
            LinkTls::Off => Exposure::of_plain(addresses),
            LinkTls::Anonymous => Exposure::of_anonymous(addresses),
            LinkTls::Mutual(_) | LinkTls::Server(_) => None,
        };
        // A listener with ws:// or zeromq:// addresses that every host can use is an error, unless the file sets anonymous = true.
        let is_listener = matches!(link.address, LinkAddress::Listen(_));
        let needs_setting = is_listener && (link.websocket.is_some() || link.zeromq.is_some());
        let is_encrypted = link.zeromq.as_ref().is_some_and(|zeromq| zeromq.curve.is_some());
        let exposure = exposure.filter(|_| !needs_setting && !is_encrypted);
        if let Some(exposure) = exposure {
            match (&exposure, &link.zeromq, &link.websocket) {
                (Exposure::Plain(address), Some(_), _) => {
                    let message = format!(
                        "no CURVE at {address}: a host between the two ends can read and change everything"
                    );
                    warn(address_key, message, "set curve across a network; Zeek 8.2 and later support it");
                }
                (_, _, None) => warn("tls", exposure.to_string(), "use certificates across a network"),
                (_, _, Some(_)) => warn(address_key, exposure.to_string(), "use wss:// across a network"),
            }
        }
        if let (Some(group), LinkAddress::Connect(targets)) = (&link.group, &link.address)
            && targets.len() == 1
            && !self
                .config
                .links
                .iter()
                .any(|other| other.name != *name && other.group.as_ref() == Some(group))
        {
            warn("group", format!("no other link is in group {group}"), "check its name, or remove it");
        }
        if link.chaos.is_some() {
            warn(
                "chaos",
                "faults are injected into this link".to_owned(),
                "remove it, unless this is a test",
            );
        }
        identity_warnings::check_link(link, warn);
        if let Some(curve) = link.zeromq.as_ref().and_then(|zeromq| zeromq.curve.as_ref()) {
            check_key_files(curve, warn);
        }
        self.check_ttl(link, warn);
        self.check_address(link, warn);
        let rules = &self.config.rules;
        if !rules.iter().any(|rule| rule.from.contains(name) || rule.to.contains(name)) {
            warn(
                address_key,
                "no rule uses this link, so it forwards nothing".to_owned(),
                "add it to from or to of a rule",
            );
        } else if link.hub && !rules.iter().any(|rule| rule.from.contains(name) && rule.to.contains(name)) {
            // A proxy is a hub without the key.
            let key = if link.zeromq.is_some() { address_key } else { "hub" };
            let message =
                "no rule is from this link to itself, so its peers do not receive each other's messages";
            warn(key, message.to_owned(), "add such a rule");
        }
    }

    /// Warns of a ttl if all messages of the link are forwarded to links whose protocols have no ttl.
    fn check_ttl(&self, link: &LinkConfig, warn: &mut Warn<'_>) {
        let rules = self.config.rules.iter().filter(|rule| rule.from.contains(&link.name));
        let targets: Vec<&String> = rules.flat_map(|rule| &rule.to).collect();
        let has_ttl = |link: &LinkConfig| link.websocket.is_none() && link.zeromq.is_none();
        let mut links = self.config.links.iter().filter(|other| targets.contains(&&other.name));
        if self.source.contains(&format!("link.{}.ttl", link.name))
            && !targets.is_empty()
            && !links.any(has_ttl)
        {
            let message = "the messages of this link are forwarded only over ZeroMQ and the WebSocket API, which have no ttl";
            warn("ttl", message.to_owned(), "remove it");
        }
    }

    /// Warns of settings that have no effect, and of a link that connects to a listener of this same bridge.
    fn check_address(&self, link: &LinkConfig, warn: &mut Warn<'_>) {
        let is_set = |key: &str| self.source.contains(&format!("link.{}.{key}", link.name));
        match &link.address {
            LinkAddress::Listen(_) if is_set("retry") => {
                warn("retry", "a link that listens never connects".to_owned(), "remove it");
            }
            LinkAddress::Listen(_) => {}
            LinkAddress::Connect(targets) => {
                if is_set("limits.connects_per_second") {
                    let message = "a link that connects accepts no connections";
                    warn("limits.connects_per_second", message.to_owned(), "remove it");
                }
                for target in targets {
                    if let Some(other) = self.listener(target) {
                        let message = format!("link {other} of this bridge listens on {target}");
                        warn("connect", message, "check the address");
                    }
                }
            }
        }
    }

    fn check_rule(&self, rule: &RuleConfig, warn: &mut Warn<'_>) {
        if rule.passthrough {
            let message = "messages are forwarded unchecked, so an invalid one may reach a Zeek and stop it";
            warn("passthrough", message.to_owned(), "remove it unless you need it");
        }
        if let Some(topic) = rule.topics.iter().find(|topic| topic.as_bytes().ends_with(b"*")) {
            let message = format!("topics are prefixes, and `*` in {topic} is an ordinary character");
            warn("topics", message, "remove the `*`");
        }
        if rule.commands
            && let Some(link) = self.config.links.iter().find(|link| {
                link.zeromq.is_some() && (rule.from.contains(&link.name) || rule.to.contains(&link.name))
            })
        {
            let message = format!(
                "ZeroMQ carries no data-store commands, so none are forwarded from or to {}",
                link.name
            );
            warn("commands", message, "remove the link from from and to of this rule");
        }
        self.check_logs(rule, warn);
        let links = self.config.links.iter().filter(|link| rule.from.contains(&link.name));
        identity_warnings::check_rule(&rule.identities, &links.collect::<Vec<_>>(), warn);
        self.check_copies(rule, warn);
        self.check_loops(rule, warn);
        if !rule.identities.is_empty() && !rule.identities.iter().any(IdentityPattern::is_for_every_peer) {
            let links = self.config.links.iter();
            for link in links.filter(|link| rule.from.contains(&link.name)) {
                if !link.has_identities() {
                    let (proof, hint) = match (&link.websocket, &link.zeromq) {
                        (None, None) => ("certificate", "set cafile, certificate and keyfile in that link"),
                        (Some(_), _) => (
                            "certificate and no token",
                            "add [[link.NAME.token]], or cafile with wss://, to that link",
                        ),
                        (None, Some(_)) => (
                            "CURVE key with a name",
                            "use \"address:IP\", or set curve in a link that listens",
                        ),
                    };
                    let message =
                        format!("the peers of {} present no {proof}, so none of them matches", link.name);
                    warn("identities", message, hint);
                }
            }
        }
    }

    /// Warns of a rule between a server of the WebSocket API and a Broker endpoint, which may belong to the same cluster. A rule
    /// between two servers is an error instead.
    fn check_loops(&self, rule: &RuleConfig, warn: &mut Warn<'_>) {
        let links = self.config.links.iter();
        let connecting: Vec<_> =
            links.filter(|link| matches!(link.address, LinkAddress::Connect(_))).collect();
        for from in connecting.iter().filter(|link| rule.from.contains(&link.name)) {
            let loops = connecting.iter().find(|to| {
                rule.to.contains(&to.name)
                    && from.websocket.is_some() != to.websocket.is_some()
                    && !from.accepts_loops()
                    && !to.accepts_loops()
                    && (from.group.is_none() || from.group != to.group)
            });
            if let Some(to) = loops {
                let server = if from.websocket.is_some() { from } else { to };
                let message = format!(
                    "if {} and {} lead to the same cluster, events are forwarded again and again, because the WebSocket API has no ttl",
                    from.name, to.name
                );
                let hint = format!(
                    "if they lead to different clusters, set loop = \"accepted\" in [link.{}]",
                    server.name
                );
                warn("to", message, &hint);
                return;
            }
        }
    }

    /// Warns of a subscription that includes the logs of a server of the WebSocket API. A subscription to all topics is an error
    /// instead.
    fn check_logs(&self, rule: &RuleConfig, warn: &mut Warn<'_>) {
        let Some(topic) = rule.topics.iter().find(|topic| receives_logs(topic)) else { return };
        let server = self.config.links.iter().find(|link| {
            rule.from.contains(&link.name)
                && matches!(link.address, LinkAddress::Connect(_))
                && link.websocket.as_ref().is_some_and(|websocket| !websocket.all_topics)
        });
        if let Some(LinkConfig { name, .. }) = server {
            let message = format!(
                "the topic {:?} includes the logs of {name}; Zeek before 8.0.7 and Zeek 8.1 with the cluster back end Broker \
                 terminate when they write a log",
                topic.to_str_lossy()
            );
            let hint = format!(
                "use topics outside zeek/logs/, or set all_topics = true in [link.{name}] if it is a different Zeek"
            );
            warn("topics", message, &hint);
        }
    }

    /// Warns of a rule between two ZeroMQ links, which may belong to the same cluster. Events are not forwarded again and again,
    /// because the bridge recognizes its own sender.
    fn check_copies(&self, rule: &RuleConfig, warn: &mut Warn<'_>) {
        let connects = |link: &&LinkConfig| {
            link.zeromq.is_some() && matches!(link.address, LinkAddress::Connect(_)) && !link.accepts_loops()
        };
        let links: Vec<_> = self.config.links.iter().filter(connects).collect();
        for from in links.iter().filter(|link| rule.from.contains(&link.name)) {
            let to = links.iter().find(|to| {
                rule.to.contains(&to.name)
                    && from.name != to.name
                    && (from.group.is_none() || from.group != to.group)
            });
            if let Some(to) = to {
                let message = format!(
                    "if {} and {} lead to the same cluster, its nodes receive each event twice",
                    from.name, to.name
                );
                let hint = format!(
                    "if they lead to different clusters, set loop = \"accepted\" in [link.{}]; otherwise, remove one of them",
                    from.name
                );
                warn("to", message, &hint);
                return;
            }
        }
    }

    /// Returns the link of this bridge that listens on this address.
    fn listener(&self, target: &str) -> Option<&str> {
        let links = self.config.links.iter();
        let mut listening = links.filter(|link| match &link.address {
            LinkAddress::Listen(addresses) => addresses.iter().any(|address| reaches(target, address)),
            LinkAddress::Connect(_) => false,
        });
        listening.next().map(|link| link.name.as_str())
    }
}

/// Warns of key files whose names indicate that the public and the secret key are exchanged. `zeekctl` and `zeek-bridge curve
/// keygen` use these names. The content does not show this mistake, because all keys have the same form.
fn check_key_files(curve: &CurveKeys, warn: &mut Warn<'_>) {
    let (secret, public): (_, Vec<(&str, &PublicKeySource)>) = match curve {
        CurveKeys::Client { server, public, secret } => {
            let own = public.iter().map(|public| ("curve.public_key", public));
            (secret, own.chain([("curve.server_key", server)]).collect())
        }
        CurveKeys::Server { secret, clients } => {
            (secret, clients.iter().map(|client| ("curve.client", &client.public_key)).collect())
        }
    };
    let mut check = |key: &str, path: &Path, kind: &str, other: &str| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if name.ends_with(&format!("_{other}key")) {
            let message = format!("the name of the file {name} indicates a {other} key");
            warn(key, message, &format!("use the file with the {kind} key, whose name ends with _{kind}key"));
        }
    };
    if let SecretKeySource::File(path) = secret {
        check("curve.secret_key", path, "secret", "public");
    }
    for (key, source) in public {
        if let PublicKeySource::File(path) = source {
            check(key, path, "public", "secret");
        }
    }
}

/// Returns whether two rules match the same messages. The order of their lists does not matter.
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
