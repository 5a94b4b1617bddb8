//! Reads the tables `[link.NAME]`.

use std::time::Duration;

use super::reader::{Entry, Table};
use super::schema::{
    Chaos, IdentityPattern, LinkAddress, LinkConfig, LinkLimits, LinkTls, PeerRole, WebSocketLink, ZeroMqLink,
};
use super::websocket::{self, Kind};
use super::{link_tls, values, zeromq};
use crate::data::MAX_DEPTH;
use crate::endpoint::{EndpointConfig, QueueLimits, Retry, WhenFull};
use crate::net::{AddressError, Url};
use crate::wire::{INITIAL_TTL, Limits};

/// A link, with the parts that could be read.
pub(super) struct LinkDraft<'r> {
    pub(super) config: LinkConfig,
    pub(super) entry: Entry<'r>,
    /// The entry `connect` or `listen`, unless both are present.
    pub(super) address: Option<Entry<'r>>,
    /// Whether the addresses are valid. If not, `config.address` is a placeholder.
    pub(super) is_address_valid: bool,
    /// Whether `faces` is valid or absent.
    pub(super) is_faces_valid: bool,
    /// Whether the TLS keys are valid. If not, `config.tls` is a placeholder.
    pub(super) is_tls_valid: bool,
}

/// The default of `ttl`: how many bridges forward a message. It is enough for four bridges in a row: those of a site, a
/// region, a center and an analyst. It is small, because relays other than this program can return a message to a
/// bridge. Each time a message returns, the number of its copies may grow.
pub(super) const DEFAULT_TTL: u16 = 4;

/// The maximum of `ttl`. The sender of a message writes [`INITIAL_TTL`], and the first bridge decrements it.
const MAX_TTL: u16 = INITIAL_TTL - 1;

const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The maximum of counts. Memory never holds that many items, and sums of such counts do not overflow.
const MAX_COUNT: u64 = 1 << 32;

/// The range of `limits.frame`. The minimum is enough for a request; the maximum is that of Broker's C++
/// implementation.
const FRAME_SIZES: std::ops::RangeInclusive<u64> = 1024..=(1 << 31) - 5;

pub(super) fn read(entry: Entry<'_>) -> Option<LinkDraft<'_>> {
    let mut table = entry.table("write [link.NAME] above its keys")?;
    if !values::is_name(entry.key) {
        entry.error(values::INVALID_NAME, values::NAME_HINT);
    }
    let faces = table.take("faces");
    let faces_read = faces
        .as_ref()
        .and_then(|entry| entry.choice(&[("agents", PeerRole::Agents), ("nodes", PeerRole::Nodes)]));
    let (address_entry, address) = address(&mut table);
    let is_address_valid = address.is_some();
    let before = entry.report.count();
    let kind = address_entry.as_ref().map(Kind::of);
    let tls = link_tls::read(&mut table, kind);
    let is_tls_valid = tls.is_some() && entry.report.count() == before;
    let (websocket_keys, zeromq_keys) = (websocket::Keys::take(&mut table), zeromq::Keys::take(&mut table));
    let (hub, group) = (table.take("hub"), table.take("group"));
    let hub_read = hub.as_ref().and_then(Entry::flag);
    let shared = zeromq::Shared {
        websocket: &websocket_keys,
        faces: faces.as_ref(),
        hub: hub.as_ref().zip(hub_read),
        group: group.as_ref(),
    };
    let address_read = address_entry.as_ref().zip(address.as_ref());
    let zeromq = zeromq_keys.read(kind, address_read, &shared);
    let websocket = websocket_keys.read(kind, address_read, tls.as_ref());
    let is_proxy = zeromq.is_some() && kind.is_some_and(|kind| kind.listens);
    let when_full = table.take("when_full").and_then(|entry| {
        let when_full = when_full(&entry)?;
        zeromq::check_when_full(kind, &entry, when_full);
        Some(when_full)
    });
    let config = LinkConfig {
        name: entry.key.to_owned(),
        faces: faces_read,
        address: address.unwrap_or_else(|| LinkAddress::Connect(Vec::new())),
        retry: table.take("retry").and_then(|entry| retry(&entry)).unwrap_or_default(),
        // An invalid value counts as true, so that it causes no second error about a link that is not a hub.
        hub: is_proxy || hub.is_some() && hub_read.unwrap_or(true),
        group: group.as_ref().and_then(Entry::name).map(str::to_owned),
        ttl: table
            .take("ttl")
            .and_then(|entry| u16::try_from(entry.whole(1..=u64::from(MAX_TTL))?).ok())
            .unwrap_or(DEFAULT_TTL),
        allow: allow(&mut table, tls.as_ref(), websocket.as_ref(), zeromq.as_ref()),
        limits: table.take("limits").map_or_else(LinkLimits::default, |entry| limits(&entry)),
        when_full: when_full.unwrap_or_else(|| zeromq::default_when_full(kind)),
        chaos: table.take("chaos").and_then(|entry| chaos(&entry)),
        // The placeholder never runs: `validate::read` builds no configuration from a link without valid TLS.
        tls: tls.filter(|_| is_tls_valid).unwrap_or(LinkTls::Off),
        websocket,
        zeromq,
    };
    if let (LinkAddress::Connect(targets), Some(entry)) = (&config.address, &address_entry)
        && targets.len() > config.limits.peers
    {
        let (count, limit) = (targets.len(), config.limits.peers);
        entry.error(
            format!("{count} addresses, but limits.peers is {limit}"),
            "remove addresses, or raise the limit",
        );
    }
    if config.hub && config.group.is_some() && !is_proxy {
        table.error(
            "hub and group contradict each other: the peers of a hub receive each other's messages, and those of a group \
             do not",
            "remove one of them",
        );
    }
    table.finish();
    Some(LinkDraft {
        is_faces_valid: faces.is_none() || faces_read.is_some(),
        is_tls_valid,
        address: address_entry,
        is_address_valid,
        config,
        entry,
    })
}

fn address<'r>(table: &mut Table<'r>) -> (Option<Entry<'r>>, Option<LinkAddress>) {
    match (table.take("connect"), table.take("listen")) {
        (None, None) => {
            table.missing(
                "connect",
                "the link has neither connect nor listen",
                "set connect = \"HOST:PORT\" for a Zeek that listens, or listen = \"ADDR:PORT\" for peers that connect",
            );
            (None, None)
        }
        (Some(_), Some(listen)) => {
            listen.error(
                "the link has both connect and listen",
                "remove one of them, or split the link in two",
            );
            (None, None)
        }
        (Some(connect), None) => {
            let targets = addresses(&connect, "\"HOST:PORT\", such as \"10.0.0.5:2151\"", Url::to_connect);
            (Some(connect), targets.map(LinkAddress::Connect))
        }
        (None, Some(listen)) => {
            let addresses = addresses(&listen, "\"ADDR:PORT\", such as \"0.0.0.0:2151\"", str::parse);
            (Some(listen), addresses.map(LinkAddress::Listen))
        }
    }
}

fn addresses(
    entry: &Entry<'_>,
    expected: &str,
    parse: impl Fn(&str) -> Result<Url, AddressError>,
) -> Option<Vec<String>> {
    let Kind { scheme, .. } = Kind::of(entry);
    entry.list(expected, |entry| {
        let text = entry.text(expected)?;
        match parse(text) {
            Ok(url) if url.scheme() != scheme => {
                let name = url.scheme().name();
                entry.error(
                    format!(
                        "{text:?}: the scheme, {name}, differs from that of the first address, {}",
                        scheme.name()
                    ),
                    "use the same scheme for all addresses of a link, or split the link in two",
                );
                None
            }
            Ok(_) => Some(text.to_owned()),
            Err(error) => {
                entry.error(format!("{text:?}: {error}"), "");
                None
            }
        }
    })
}

/// Reads the allowed identities. `tls` is `None` if the TLS keys are invalid.
fn allow(
    table: &mut Table<'_>,
    tls: Option<&LinkTls>,
    websocket: Option<&WebSocketLink>,
    zeromq: Option<&ZeroMqLink>,
) -> Vec<IdentityPattern> {
    let Some(entry) = table.take("allow") else { return Vec::new() };
    let has_tokens = websocket.is_some_and(|websocket| !websocket.tokens.is_empty());
    // Servers present a certificate.
    let connects = tls
        .is_some_and(|tls| tls.files().is_some_and(|files| files.cafile.is_some() || files.capath.is_some()));
    let patterns = identities(&entry).unwrap_or_default();
    if matches!(tls, Some(LinkTls::Off | LinkTls::Anonymous | LinkTls::Server(_)))
        && !has_tokens
        && !zeromq.is_some_and(ZeroMqLink::has_client_names)
        && !connects
        && !patterns.iter().any(IdentityPattern::is_for_every_peer)
    {
        let (message, hint) = if zeromq.is_some() {
            (
                "the peers of this link have no CURVE key with a name, so no peer can match",
                "use \"address:IP/BITS\", or set curve in a link that listens",
            )
        } else {
            (
                "the peers of this link present no certificate and no token, so no peer can match",
                "set cafile, certificate and keyfile, or remove allow",
            )
        };
        entry.error(message, hint);
    }
    patterns
}

pub(super) fn identities(entry: &Entry<'_>) -> Option<Vec<IdentityPattern>> {
    let expected = "an identity, such as \"subject:CN=worker-*\", \"DNS:node*.example\", \"token:soar\" or \"address:192.0.2.0/24\"";
    entry.list(expected, |entry| match entry.text(expected)?.parse::<IdentityPattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            entry.error(error.to_string(), error.hint());
            None
        }
    })
}

fn retry(entry: &Entry<'_>) -> Option<Retry> {
    let mut table = entry.table("write { first = \"1s\", cap = \"10s\" }")?;
    let mut time =
        |key| table.take(key).map(|entry| (entry.time(MILLISECOND..=HOUR.saturating_mul(24)), entry));
    let (first, cap) = (time("first"), time("cap"));
    table.finish();
    let default = Retry::default();
    let given = |time: &Option<(Option<Duration>, Entry<'_>)>| time.as_ref().and_then(|(time, _)| *time);
    let first_time = given(&first).unwrap_or(default.first);
    // If the first delay is longer than the default maximum, it also becomes the maximum, unless the file sets a
    // maximum.
    let cap_time = given(&cap).unwrap_or(default.cap.max(first_time));
    if let Some((Some(_), entry)) = cap
        && cap_time < first_time
    {
        let shown = humantime::format_duration(first_time);
        entry.error(
            format!("the maximum wait is shorter than the first, {shown}"),
            format!("use {shown} or more"),
        );
    }
    Some(Retry { first: first_time, cap: cap_time })
}

fn when_full(entry: &Entry<'_>) -> Option<WhenFull> {
    entry.choice(&[
        ("drop-oldest", WhenFull::DropOldest),
        ("drop-newest", WhenFull::DropNewest),
        ("disconnect", WhenFull::Disconnect),
        ("block", WhenFull::Block),
    ])
}

impl Default for LinkLimits {
    fn default() -> Self {
        let endpoint = EndpointConfig::default();
        LinkLimits {
            peers: endpoint.max_peers,
            connects_per_second: None,
            frame: Limits::DEFAULT.max_frame,
            depth: Limits::DEFAULT.max_depth,
            queue: endpoint.peer_queue,
        }
    }
}

fn limits(entry: &Entry<'_>) -> LinkLimits {
    let default = LinkLimits::default();
    let Some(mut table) = entry.table("write [link.NAME.limits] above its keys") else {
        return default;
    };
    let limits = LinkLimits {
        peers: whole(&mut table, "peers", 1..=MAX_COUNT).unwrap_or(default.peers),
        connects_per_second: table
            .take("connects_per_second")
            .and_then(|entry| u32::try_from(entry.whole(1..=u64::from(u32::MAX))?).ok())
            .or(default.connects_per_second),
        frame: table.take("frame").and_then(|entry| entry.size(FRAME_SIZES)).unwrap_or(default.frame),
        depth: whole(&mut table, "depth", 1..=u64::try_from(MAX_DEPTH).unwrap_or(u64::MAX))
            .unwrap_or(default.depth),
        queue: QueueLimits {
            messages: whole(&mut table, "queue", 1..=MAX_COUNT).unwrap_or(default.queue.messages),
            bytes: table
                .take("queue_bytes")
                .and_then(|entry| entry.size(1..=1 << 50))
                .unwrap_or(default.queue.bytes),
        },
    };
    table.finish();
    limits
}

fn whole(table: &mut Table<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<usize> {
    usize::try_from(table.take(key)?.whole(range)?).ok()
}

/// Reads the faults to inject; `None` if all are zero.
fn chaos(entry: &Entry<'_>) -> Option<Chaos> {
    let mut table = entry.table("write [link.NAME.chaos] above its keys")?;
    let delay = table.take("delay").and_then(|entry| entry.time(Duration::ZERO..=HOUR)).unwrap_or_default();
    let mut fraction = |key| table.take(key).and_then(|entry| entry.fraction()).unwrap_or(0.0);
    let chaos = Chaos {
        delay,
        drop: fraction("drop"),
        duplicate: fraction("duplicate"),
        corrupt: fraction("corrupt"),
    };
    table.finish();
    let nothing = Chaos { delay: Duration::ZERO, drop: 0.0, duplicate: 0.0, corrupt: 0.0 };
    (chaos != nothing).then_some(chaos)
}
