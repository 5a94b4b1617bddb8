//! Reads the keys of links that use the WebSocket API, and checks them against the addresses.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{Entry, Table};
use super::schema::{LinkAddress, LinkTls, TokenConfig, TokenSource, WebSocketLink};
use crate::net::{Scheme, Url};
use crate::websocket::BinaryText;

/// The protocol of a link's addresses, and whether the link listens on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) scheme: Scheme,
    pub(super) listens: bool,
}

impl Kind {
    /// Returns the kind of a link with this entry `connect` or `listen`. Only the scheme of the first address must be valid.
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        let first = match entry.value {
            DeValue::Array(list) => list.first().map(Spanned::get_ref),
            value => Some(value),
        };
        let scheme = match first {
            Some(DeValue::String(text)) => Scheme::of(text),
            _ => Scheme::Broker,
        };
        Kind { scheme, listens: entry.key == "listen" }
    }
}

/// The entries of a link that are for the WebSocket API. `anonymous` and `loop` are also for ZeroMQ.
pub(super) struct Keys<'r> {
    token: Option<Entry<'r>>,
    token_file: Option<Entry<'r>>,
    origins: Option<Entry<'r>>,
    pub(super) anonymous: Option<Entry<'r>>,
    binary: Option<Entry<'r>>,
    all_topics: Option<Entry<'r>>,
    pub(super) loops: Option<Entry<'r>>,
}

impl<'r> Keys<'r> {
    pub(super) fn take(table: &mut Table<'r>) -> Self {
        Keys {
            token: table.take("token"),
            token_file: table.take("token_file"),
            origins: table.take("origins"),
            anonymous: table.take("anonymous"),
            binary: table.take("binary"),
            all_topics: table.take("all_topics"),
            loops: table.take("loop"),
        }
    }

    /// Returns the settings. `None` for a link with addresses of another protocol, or without a single entry `connect` or
    /// `listen`.
    pub(super) fn read(
        self,
        kind: Option<Kind>,
        address: Option<(&Entry<'_>, &LinkAddress)>,
        tls: Option<&LinkTls>,
    ) -> Option<WebSocketLink> {
        let kind = kind?;
        let of_listener = [&self.anonymous, &self.token, &self.origins, &self.binary];
        let of_connector = [&self.loops, &self.token_file, &self.all_topics];
        let misplaced = |entries: &[&Option<Entry<'_>>], message: &str| {
            entries
                .iter()
                .filter_map(|entry| entry.as_ref())
                .for_each(|entry| entry.error(message, "remove it"));
        };
        if !kind.scheme.is_websocket() {
            let ([shared, of_listener @ ..], [other_shared, of_connector @ ..]) = (of_listener, of_connector);
            let message = "the key is only for a link with ws:// or wss:// addresses";
            misplaced(&of_listener, message);
            misplaced(&of_connector, message);
            if kind.scheme != Scheme::ZeroMq {
                let message = "the key is only for a link with ws://, wss:// or zeromq:// addresses";
                misplaced(&[shared, other_shared], message);
            }
            return None;
        }
        if kind.listens {
            misplaced(&of_connector, "the key is only for a link that connects");
        } else {
            misplaced(&of_listener, "the key is only for a link that listens");
        }
        let link = WebSocketLink {
            tokens: self.token.as_ref().map(|entry| tokens(entry, "link.NAME.token")).unwrap_or_default(),
            token_file: self.token_file.as_ref().and_then(Entry::path),
            origins: self.origins.as_ref().and_then(origins).unwrap_or_default(),
            anonymous: self.anonymous.as_ref().and_then(Entry::flag).unwrap_or_default(),
            binary: self.binary.as_ref().and_then(binary).unwrap_or_default(),
            all_topics: self.all_topics.as_ref().and_then(Entry::flag).unwrap_or_default(),
            accepts_loops: self.accepts_loops(),
        };
        if let Some((entry, address)) = address {
            self.check_exposure(kind, entry, address, tls, link.anonymous);
        }
        Some(link)
    }

    pub(super) fn accepts_loops(&self) -> bool {
        self.loops.as_ref().is_some_and(|entry| entry.choice(&[("accepted", ())]).is_some())
    }

    /// Reports tokens that would be sent unencrypted over a network, and a listener that everybody can use.
    fn check_exposure(
        &self,
        kind: Kind,
        entry: &Entry<'_>,
        address: &LinkAddress,
        tls: Option<&LinkTls>,
        is_anonymous: bool,
    ) {
        let (LinkAddress::Connect(addresses) | LinkAddress::Listen(addresses)) = address;
        let is_loopback =
            |address: &str| address.parse::<Url>().is_ok_and(|url| url.host_port().is_loopback());
        let Some(exposed) = addresses.iter().find(|address| !is_loopback(address)) else { return };
        let token = if kind.listens { &self.token } else { &self.token_file };
        match (kind.scheme, token) {
            (Scheme::WebSocket, Some(token)) => token.error(
                format!("tokens are not used with {exposed}: ws:// is not encrypted, and the address is not on this host"),
                "use wss://",
            ),
            (_, None) if kind.listens => {
                let has_certificates = matches!(tls, None | Some(LinkTls::Mutual(_)));
                if !has_certificates && !is_anonymous {
                    entry.error(
                        format!("every host that can reach {exposed} can use this link"),
                        "add tokens as [[link.NAME.token]] or a cafile for client certificates, or set anonymous = true",
                    );
                }
            }
            _ => {}
        }
    }
}

/// Reads tables with tokens, which are called `[[name]]` in errors.
pub(super) fn tokens(entry: &Entry<'_>, name: &str) -> Vec<TokenConfig> {
    let Some(elements) = entry.elements() else {
        entry.error(
            "expected a list of tables",
            format!("write [[{name}]], in double brackets, above its keys"),
        );
        return Vec::new();
    };
    if elements.is_empty() {
        entry.error("the list is empty", "add a token, or remove the key");
    }
    elements.iter().filter_map(|entry| token(entry, name)).collect()
}

fn token(entry: &Entry<'_>, table_name: &str) -> Option<TokenConfig> {
    let mut table = entry.table(&format!("write [[{table_name}]] above its keys"))?;
    let name = table.take("name");
    if name.is_none() {
        table.missing(
            "name",
            "the token has no name",
            "set one: logs and rules refer to it as \"token:NAME\"",
        );
    }
    let name = name.and_then(|entry| entry.name().map(str::to_owned));
    let (file, env) = (table.take("file"), table.take("env"));
    let source = match (&file, &env) {
        (Some(file), None) => file.path().map(TokenSource::File),
        (None, Some(env)) => env
            .text("the name of an environment variable")
            .map(|name| TokenSource::Environment(name.to_owned())),
        (Some(_), Some(env)) => {
            env.error("the token has both file and env", "remove one of them");
            None
        }
        (None, None) => {
            table.missing(
                "file",
                "the token has neither file nor env",
                "set file to the path of a file with the token, or env to the name of an environment variable",
            );
            None
        }
    };
    table.finish();
    Some(TokenConfig { name: name?, source: source? })
}

fn origins(entry: &Entry<'_>) -> Option<Vec<String>> {
    let expected = "an origin, such as \"https://soar.example:8443\"";
    entry.list(expected, |entry| {
        let text = entry.text(expected)?;
        let host = text.split_once("://").map(|(_, host)| host.trim_end_matches('/'));
        if host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@'])) {
            return Some(text.to_owned());
        }
        entry.error(format!("{text:?} is not an origin"), format!("use {expected}, without a path"));
        None
    })
}

fn binary(entry: &Entry<'_>) -> Option<BinaryText> {
    entry.choice(&[
        ("escape", BinaryText::Escape),
        ("replace", BinaryText::Replace),
        ("drop", BinaryText::Drop),
    ])
}
