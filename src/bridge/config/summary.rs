//! Summaries of a configuration: one line for each table.

use std::fmt::{self, Display};

use super::link::DEFAULT_TTL;
use super::schema::{
    CurveKeys, Http, LinkAddress, LinkConfig, LinkTls, LogFormat, Operation, PeerRole, RuleConfig,
    TokenConfig, WebSocketLink, ZeroMqLink,
};
use crate::endpoint::WhenFull;
use crate::net::tls::Backend;
use crate::websocket::BinaryText;
use crate::zeromq::EventFormat;

/// `bridge: page and metrics on http://127.0.0.1:9747, status on ..`.
impl Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.http {
            Some(http) => write!(f, "bridge: {http}")?,
            None => f.write_str("bridge: no page and metrics")?,
        }
        match &self.status_socket {
            Some(path) => write!(f, ", status on {}", path.display())?,
            None => f.write_str(", no status")?,
        }
        match self.log {
            LogFormat::Text => f.write_str(", log as text")?,
            LogFormat::Json => f.write_str(", log as JSON")?,
        }
        write!(f, ", drains for up to {}", humantime::format_duration(self.drain))?;
        let answered = if self.answer_in_flight { "" } else { " not" };
        write!(f, ", requests in flight to a lost or unresponsive node are{answered} answered")?;
        let answered = if self.answer_denied { "" } else { " not" };
        write!(f, ", denied requests are{answered} answered")
    }
}

/// `page and metrics on https://192.0.2.1:9747, requires token admin`.
impl Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = if self.has_page() { "page and " } else { "" };
        let scheme = if matches!(self.tls, LinkTls::Off) { "http" } else { "https" };
        write!(f, "{page}metrics on {scheme}://{}", self.address)?;
        if matches!(self.tls, LinkTls::Mutual(_)) {
            f.write_str(", requires a certificate")?;
        }
        write_tokens(&self.tokens, f)
    }
}

/// Writes `, requires token soar`, or nothing without tokens.
fn write_tokens(tokens: &[TokenConfig], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    names.dedup();
    match names.as_slice() {
        [] => Ok(()),
        [name] => write!(f, ", requires token {name}"),
        names => write!(f, ", requires one of the tokens {}", joined(names, ", ")),
    }
}

/// `link agents: connects to 10.0.0.5:2151, mutual TLS, faces agents, ..`. Settings with their default value are left out.
impl Display for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}: ", self.name)?;
        match &self.address {
            LinkAddress::Connect(targets) => write!(f, "connects to {}", targets.join(" and "))?,
            LinkAddress::Listen(addresses) => write!(f, "listens on {}", addresses.join(" and "))?,
        }
        match &self.tls {
            LinkTls::Off if self.zeromq.is_some() => {}
            LinkTls::Off => f.write_str(", no TLS")?,
            LinkTls::Anonymous => f.write_str(", anonymous TLS")?,
            LinkTls::Mutual(files) | LinkTls::Server(files) => {
                let is_mutual = matches!(self.tls, LinkTls::Mutual(_));
                f.write_str(if is_mutual {
                    ", mutual TLS"
                } else {
                    ", TLS with a certificate of the server"
                })?;
                match files.backend {
                    Backend::Auto => {}
                    Backend::Rustls => f.write_str(" (rustls)")?,
                    Backend::OpenSsl => f.write_str(" (OpenSSL)")?,
                }
                if let Some(name) = &files.verify_name {
                    write!(f, " with name {name}")?;
                }
            }
        }
        if !self.allow.is_empty() {
            write!(f, ", allows {}", joined(&self.allow, " or "))?;
        }
        match self.faces {
            Some(PeerRole::Agents) => f.write_str(", faces agents")?,
            Some(PeerRole::Nodes) => f.write_str(", faces nodes")?,
            None => {}
        }
        if self.hub {
            f.write_str(", a hub")?;
        }
        if let Some(group) = &self.group {
            write!(f, ", in group {group}")?;
        }
        if self.ttl != DEFAULT_TTL {
            write!(f, ", ttl {}", self.ttl)?;
        }
        match self.when_full {
            WhenFull::DropOldest => f.write_str(", when full: drop-oldest")?,
            WhenFull::DropNewest => f.write_str(", when full: drop-newest")?,
            WhenFull::Disconnect => {}
            WhenFull::Block => f.write_str(", when full: block")?,
        }
        if let Some(websocket) = &self.websocket {
            websocket.fmt(f)?;
        }
        if let Some(zeromq) = &self.zeromq {
            zeromq.fmt(f)?;
        }
        if let Some(chaos) = &self.chaos {
            let delay = humantime::format_duration(chaos.delay);
            let (drop, duplicate, corrupt) = (chaos.drop, chaos.duplicate, chaos.corrupt);
            write!(f, ", CHAOS: delay {delay}, drop {drop}, duplicate {duplicate}, corrupt {corrupt}")?;
        }
        Ok(())
    }
}

/// `, tokens soar and backup, ..`. Settings with their default value are left out.
impl Display for WebSocketLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tokens(&self.tokens, f)?;
        if let Some(path) = &self.token_file {
            write!(f, ", with the token in {}", path.display())?;
        }
        if !self.origins.is_empty() {
            write!(f, ", origins {}", joined(&self.origins, " or "))?;
        }
        if self.anonymous {
            f.write_str(", anonymous")?;
        }
        match self.binary {
            BinaryText::Escape => {}
            BinaryText::Replace => f.write_str(", binary: replace")?,
            BinaryText::Drop => f.write_str(", binary: drop")?,
        }
        if self.all_topics {
            f.write_str(", all topics")?;
        }
        if self.accepts_loops {
            f.write_str(", loop: accepted")?;
        }
        Ok(())
    }
}

/// `, CURVE with clients sensor and worker, ..`. Settings with their default value are left out, except for the encryption.
impl Display for ZeroMqLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.curve {
            None => f.write_str(", no CURVE")?,
            Some(CurveKeys::Client { .. }) => f.write_str(", CURVE")?,
            Some(CurveKeys::Server { clients, .. }) => {
                let mut names: Vec<&str> = clients.iter().map(|client| client.name.as_str()).collect();
                names.dedup();
                let noun = if names.len() == 1 { "client" } else { "clients" };
                write!(f, ", CURVE with {noun} {}", joined(&names, " and "))?;
            }
        }
        if self.anonymous {
            f.write_str(", anonymous")?;
        }
        match self.event_format {
            None => {}
            Some(EventFormat::Binary) => f.write_str(", events as bin")?,
            Some(EventFormat::Json) => f.write_str(", events as JSON")?,
        }
        if let Some(node) = &self.node {
            write!(f, ", is node {node}")?;
        }
        if !self.map_topics {
            f.write_str(", topics are not translated")?;
        }
        if self.accepts_loops {
            f.write_str(", loop: accepted")?;
        }
        Ok(())
    }
}

/// `rule hellos: from nodes to agents: events .. on zeek/management/node`.
impl Display for RuleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleConfig { name, from, to, .. } = self;
        write!(f, "rule {name}: from {} to {}: ", from.join(" or "), to.join(" and "))?;
        if self.commands {
            f.write_str("data-store commands")?;
        } else if self.events.is_empty() && (!self.nodes.is_empty() || self.actions.is_some()) {
            // Only events of the node API have nodes or an action.
            f.write_str("events of the node API")?;
        } else if self.events.is_empty() {
            f.write_str("all data")?;
        } else {
            write!(f, "event {}", joined(&self.events, " or "))?;
        }
        let topics: Vec<String> =
            self.topics.iter().map(|topic| format!("{}*", topic.to_str_lossy().escape_debug())).collect();
        write!(f, " on {}", topics.join(" or "))?;
        if !self.nodes.is_empty() {
            write!(f, ", nodes {}", joined(&self.nodes, " or "))?;
        }
        if let Some(actions) = &self.actions {
            // Write each alternative like a function call, so that it is clear where its arguments end.
            let calls = actions.iter().flat_map(|(command, alternatives)| {
                alternatives.iter().map(move |arguments| format!("{command}({arguments})"))
            });
            write!(f, ", actions {}", joined(&calls.collect::<Vec<_>>(), " or "))?;
        }
        if !self.identities.is_empty() {
            write!(f, ", from identities {}", joined(&self.identities, " or "))?;
        }
        if self.passthrough {
            f.write_str(", UNCHECKED")?;
        }
        Ok(())
    }
}

fn joined<T: Display>(parts: &[T], between: &str) -> String {
    let parts: Vec<String> = parts.iter().map(|part| part.to_string().escape_debug().to_string()).collect();
    parts.join(between)
}
