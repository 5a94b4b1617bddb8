//! Reads the keys of links with `zeromq://` addresses, and checks them against the addresses.

use super::reader::{Entry, Table};
use super::schema::{
    CurveClientConfig, CurveKeys, LinkAddress, PublicKeySource, SecretKeySource, ZeroMqLink,
};
use super::websocket::{self, Kind};
use crate::endpoint::WhenFull;
use crate::net::{Scheme, Url};
use crate::zeromq::EventFormat;
use crate::zeromq::curve::{PublicKey, SecretKey};

/// The entries of a link that are for ZeroMQ only.
pub(super) struct Keys<'r> {
    map_topics: Option<Entry<'r>>,
    event_format: Option<Entry<'r>>,
    node: Option<Entry<'r>>,
    curve: Option<Entry<'r>>,
}

/// The entries that ZeroMQ shares with other protocols.
pub(super) struct Shared<'e, 'r> {
    pub(super) websocket: &'e websocket::Keys<'r>,
    pub(super) faces: Option<&'e Entry<'r>>,
    pub(super) hub: Option<(&'e Entry<'r>, bool)>,
    pub(super) group: Option<&'e Entry<'r>>,
}

impl<'r> Keys<'r> {
    pub(super) fn take(table: &mut Table<'r>) -> Self {
        Keys {
            map_topics: table.take("map_topics"),
            event_format: table.take("event_format"),
            node: table.take("node"),
            curve: table.take("curve"),
        }
    }

    /// Returns the settings. `None` for a link with addresses of another protocol, or if the link does not have exactly one of
    /// `connect` and `listen`.
    pub(super) fn read(
        self,
        kind: Option<Kind>,
        address: Option<(&Entry<'_>, &LinkAddress)>,
        shared: &Shared<'_, '_>,
    ) -> Option<ZeroMqLink> {
        let Kind { scheme, listens } = kind?;
        if scheme != Scheme::ZeroMq {
            for entry in [&self.map_topics, &self.event_format, &self.node, &self.curve].into_iter().flatten()
            {
                entry.error("the key is only for a link with zeromq:// addresses", "remove it");
            }
            return None;
        }
        if let Some(entry) = shared.faces {
            entry.error(
                "the Management framework does not support ZeroMQ, so the peers are neither agents nor its nodes",
                "remove it, and write rules as [[rule]]",
            );
        }
        check_hub(listens, shared);
        let (misplaced, role) = if listens {
            ([&self.node, &shared.websocket.loops], "connects")
        } else {
            ([&shared.websocket.anonymous, &None], "listens")
        };
        for entry in misplaced.into_iter().flatten() {
            entry.error(format!("the key is only for a link that {role}"), "remove it");
        }
        let link = ZeroMqLink {
            map_topics: self.map_topics.as_ref().and_then(Entry::flag).unwrap_or(true),
            event_format: self.event_format.as_ref().and_then(event_format),
            node: self.node.as_ref().and_then(Entry::name).map(str::to_owned),
            curve: self.curve.as_ref().and_then(|entry| curve(entry, listens)),
            anonymous: shared.websocket.anonymous.as_ref().and_then(Entry::flag).unwrap_or_default(),
            accepts_loops: shared.websocket.accepts_loops(),
        };
        if let Some((entry, address)) = address {
            self.check_address(entry, address, link.anonymous);
        }
        Some(link)
    }

    /// Reports a listener that every host can use, and a link that is a node of several clusters.
    fn check_address(&self, entry: &Entry<'_>, address: &LinkAddress, is_anonymous: bool) {
        let is_loopback =
            |address: &str| address.parse::<Url>().is_ok_and(|url| url.host_port().is_loopback());
        match address {
            LinkAddress::Listen(addresses) => {
                let exposed = addresses.iter().find(|address| !is_loopback(address));
                if let Some(exposed) = exposed.filter(|_| self.curve.is_none() && !is_anonymous) {
                    entry.error(
                        format!("every host that can reach {exposed} can use this link"),
                        "set curve = { secret_key, client = [{ name, public_key }] }, or anonymous = true",
                    );
                }
            }
            LinkAddress::Connect(targets) => {
                if let Some(node) = self.node.as_ref().filter(|_| targets.len() > 1) {
                    node.error("a node belongs to one cluster", "use a link for each cluster");
                }
            }
        }
    }
}

/// Reports `hub = false` for a proxy, which is always a hub, and `hub = true` for a client of a proxy.
fn check_hub(listens: bool, shared: &Shared<'_, '_>) {
    match (listens, shared.hub) {
        (true, Some((entry, false))) => entry.error(
            "the link is the proxy of a cluster, which is always a hub",
            "remove it, or set it to true",
        ),
        (false, Some((entry, true))) => entry.error(
            "the proxy of the cluster forwards the messages of its nodes to each other",
            "remove it, and use a link for each cluster",
        ),
        _ => {}
    }
    if let Some(entry) = shared.group.filter(|_| listens) {
        entry.error(
            "the link is the proxy of a cluster, so no other link can lead to the same peers",
            "remove it",
        );
    }
}

/// Returns the default of `when_full`. A proxy drops messages for a node that does not read them in time.
pub(super) fn default_when_full(kind: Option<Kind>) -> WhenFull {
    match kind {
        Some(Kind { scheme: Scheme::ZeroMq, listens: true }) => WhenFull::DropOldest,
        _ => WhenFull::default(),
    }
}

/// The reason why `when_full = "block"` is an error.
pub(super) const CANNOT_BLOCK: &str =
    "the proxy of a ZeroMQ cluster stops for all nodes if one of its subscribers stops reading";

/// Reports a ZeroMQ link with `when_full = "block"`.
pub(super) fn check_when_full(kind: Option<Kind>, entry: &Entry<'_>, when_full: WhenFull) {
    if kind.is_some_and(|kind| kind.scheme == Scheme::ZeroMq) && when_full == WhenFull::Block {
        entry.error(CANNOT_BLOCK, "use \"drop-oldest\", \"drop-newest\" or \"disconnect\"");
    }
}

fn event_format(entry: &Entry<'_>) -> Option<EventFormat> {
    entry.choice(&[("bin", EventFormat::Binary), ("json", EventFormat::Json)])
}

fn curve(entry: &Entry<'_>, listens: bool) -> Option<CurveKeys> {
    let hint = if listens {
        "write curve = { secret_key = \"FILE\", client = [{ name = \"NAME\", public_key = \"KEY\" }] }"
    } else {
        "write curve = { server_key = \"KEY\", public_key = \"KEY\", secret_key = \"FILE\" }"
    };
    let mut table = entry.table(hint)?;
    let secret = table.take("secret_key");
    let [server, public, client] = ["server_key", "public_key", "client"].map(|key| table.take(key));
    let (misplaced, role) =
        if listens { ([&server, &public], "connects") } else { ([&client, &None], "listens") };
    for entry in misplaced.into_iter().flatten() {
        entry.error(format!("the key is only for a link that {role}"), "remove it");
    }
    let needed = if listens { ("client", client.is_some()) } else { ("server_key", server.is_some()) };
    for (key, is_set) in [("secret_key", secret.is_some()), needed] {
        if !is_set {
            table.missing(key, "the key is missing", hint);
        }
    }
    table.finish();
    let secret = secret.and_then(|entry| secret_key(&entry));
    if listens {
        let clients = clients(&client?, hint)?;
        return Some(CurveKeys::Server { secret: secret?, clients });
    }
    let server = server.and_then(|entry| public_key(&entry));
    // An invalid public key has been reported.
    let public = public.map_or(Some(None), |entry| public_key(&entry).map(Some))?;
    Some(CurveKeys::Client { server: server?, public, secret: secret? })
}

fn clients(entry: &Entry<'_>, hint: &str) -> Option<Vec<CurveClientConfig>> {
    let Some(elements) = entry.elements() else {
        entry.error("expected a list of tables", hint);
        return None;
    };
    if elements.is_empty() {
        entry.error("the list is empty, so no peer could connect", hint);
        return None;
    }
    Some(elements.iter().filter_map(curve_client).collect())
}

fn curve_client(entry: &Entry<'_>) -> Option<CurveClientConfig> {
    let mut table = entry.table("write { name = \"NAME\", public_key = \"KEY\" }")?;
    let (name, key) = (table.take("name"), table.take("public_key"));
    if name.is_none() {
        table.missing("name", "the client has no name", "set one: rules refer to it as \"curve:NAME\"");
    }
    if key.is_none() {
        table.missing(
            "public_key",
            "the client has no public key",
            "set it to the key or to the path of its file",
        );
    }
    let name = name.and_then(|entry| entry.name().map(str::to_owned));
    let key = key.and_then(|entry| public_key(&entry));
    table.finish();
    Some(CurveClientConfig { name: name?, public_key: key? })
}

/// Reads a public key: its text, the path of a file, or `{ env = "NAME" }`. A text that is not a key is a path.
fn public_key(entry: &Entry<'_>) -> Option<PublicKeySource> {
    if let Some(name) = environment(entry)? {
        return Some(PublicKeySource::Environment(name));
    }
    let text = entry.text("a public key of 40 characters, or the path of a file with one")?;
    match text.parse::<PublicKey>() {
        Ok(key) => Some(PublicKeySource::Key(key)),
        Err(_) => Some(PublicKeySource::File(entry.in_directory(text))),
    }
}

/// Reads the source of a secret key: the path of a file, or `{ env = "NAME" }`.
fn secret_key(entry: &Entry<'_>) -> Option<SecretKeySource> {
    if let Some(name) = environment(entry)? {
        return Some(SecretKeySource::Environment(name));
    }
    let text = entry.text("the path of a file with a secret key, or { env = \"NAME\" }")?;
    if text.parse::<SecretKey>().is_ok() {
        entry.error(
            "a key in the configuration is not secret",
            "write the key to a file and set secret_key to its path, or use { env = \"NAME\" }",
        );
        return None;
    }
    Some(SecretKeySource::File(entry.in_directory(text)))
}

/// Returns the name in `{ env = "NAME" }`; `Some(None)` if the value is not a table, and `None` if the table is invalid.
fn environment(entry: &Entry<'_>) -> Option<Option<String>> {
    if !entry.is_table() {
        return Some(None);
    }
    let hint = "write { env = \"NAME\" }, or the path of a file";
    let mut table = entry.table(hint)?;
    let name = table.take("env");
    if name.is_none() {
        table.missing("env", "the key is missing", hint);
    }
    let name = name.and_then(|entry| entry.text("the name of an environment variable").map(str::to_owned));
    table.finish();
    name.map(Some)
}
