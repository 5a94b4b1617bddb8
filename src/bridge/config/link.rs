//! The tables `[link.NAME]`.

use std::time::Duration;

use super::reader::{Entry, Table};
use super::schema::{Chaos, Faces, IdentityPattern, LinkConfig, LinkLimits, LinkTls, Place};
use super::{link_tls, values};
use crate::data::MAX_DEPTH;
use crate::endpoint::{EndpointConfig, QueueLimits, Retry, WhenFull};
use crate::net::{AddressError, HostPort};
use crate::wire::{INITIAL_TTL, Limits};

/// A link as far as it could be read.
pub(super) struct LinkDraft<'r> {
    pub(super) config: LinkConfig,
    /// Where it stands.
    pub(super) entry: Entry<'r>,
    /// Where it says where it is.
    pub(super) place: Option<Entry<'r>>,
    /// Whether what it faces can be told.
    pub(super) knows_faces: bool,
    /// Whether its TLS can be told.
    pub(super) knows_tls: bool,
}

/// How many bridges a message may pass unless the link says otherwise. Few, because relays that are no bridges of this
/// program can return a message to a bridge, which multiplies it with each round. Enough for a site, a region, a center and
/// an analyst's bridge in a row.
pub(super) const DEFAULT_TTL: u16 = 4;

/// The most bridges that a message may pass: the first one counts down from what an origin writes.
const MOST_TTL: u16 = INITIAL_TTL - 1;

const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// More than any address space, and less than what overflows.
const MANY: u64 = 1 << 32;

/// The smallest frame has room for a request, and the largest is what the reference takes.
const FRAMES: std::ops::RangeInclusive<u64> = 1024..=(1 << 31) - 5;

pub(super) fn read(entry: Entry<'_>) -> Option<LinkDraft<'_>> {
    let mut table = entry.table("a table: write [link.NAME] above its keys")?;
    if !values::is_name(entry.key) {
        entry.wrong(values::NAME);
    }
    let faces = table.take("faces");
    let faces_read =
        faces.as_ref().and_then(|entry| entry.choice(&[("agents", Faces::Agents), ("nodes", Faces::Nodes)]));
    let (place_entry, place) = place(&mut table);
    let before = entry.report.count();
    let tls = link_tls::read(&mut table);
    let knows_tls = tls.is_some() && entry.report.count() == before;
    let config = LinkConfig {
        name: entry.key.to_owned(),
        faces: faces_read,
        place: place.unwrap_or_else(|| Place::Connect(Vec::new())),
        retry: table.take("retry").and_then(|entry| retry(&entry)).unwrap_or_default(),
        // Where it cannot be told, nothing is made of it.
        hub: table.take("hub").is_some_and(|entry| entry.flag().unwrap_or(true)),
        group: table.take("group").and_then(|entry| entry.name().map(str::to_owned)),
        ttl: table
            .take("ttl")
            .and_then(|entry| u16::try_from(entry.whole(1..=u64::from(MOST_TTL))?).ok())
            .unwrap_or(DEFAULT_TTL),
        allow: allow(&mut table, tls.as_ref()),
        limits: table.take("limits").map_or_else(LinkLimits::default, |entry| limits(&entry)),
        when_full: table.take("when_full").and_then(|entry| when_full(&entry)).unwrap_or_default(),
        chaos: table.take("chaos").and_then(|entry| chaos(&entry)),
        // Where it is not known, `together::read` makes no configuration of the file.
        tls: tls.filter(|_| knows_tls).unwrap_or(LinkTls::Off),
    };
    if let (Place::Connect(targets), Some(place)) = (&config.place, &place_entry)
        && targets.len() > config.limits.peers
    {
        let (many, most) = (targets.len(), config.limits.peers);
        place.wrong(format!(
            "it connects to {many}, and limits.peers is {most}: leave some out, or raise the limit"
        ));
    }
    if config.hub && config.group.is_some() {
        table.wrong(
            "hub and group contradict each other: the peers of a hub receive each other's messages, and those of a group \
             do not; keep one of them",
        );
    }
    table.finish();
    Some(LinkDraft {
        knows_faces: faces.is_none() || faces_read.is_some(),
        knows_tls,
        place: place_entry,
        config,
        entry,
    })
}

fn place<'r>(table: &mut Table<'r>) -> (Option<Entry<'r>>, Option<Place>) {
    match (table.take("connect"), table.take("listen")) {
        (None, None) => {
            table.missing(
                "connect",
                "neither connect nor listen is here: say where the link is, with connect = \"HOST:PORT\" for a Zeek that \
                 listens, or listen = \"ADDR:PORT\" for those that connect",
            );
            (None, None)
        }
        (Some(_), Some(listen)) => {
            listen.wrong("connect is here as well: keep one of them, or make two links of this one");
            (None, None)
        }
        (Some(connect), None) => {
            let targets =
                addresses(&connect, "\"HOST:PORT\", such as \"10.0.0.5:2151\"", HostPort::to_connect);
            (Some(connect), targets.map(Place::Connect))
        }
        (None, Some(listen)) => {
            let addresses = addresses(&listen, "\"ADDR:PORT\", such as \"0.0.0.0:2151\"", str::parse);
            (Some(listen), addresses.map(Place::Listen))
        }
    }
}

fn addresses(
    entry: &Entry<'_>,
    wanted: &str,
    parse: impl Fn(&str) -> Result<HostPort, AddressError>,
) -> Option<Vec<String>> {
    entry.list(wanted, |entry| {
        let text = entry.text(wanted)?;
        match parse(text) {
            Ok(_) => Some(text.to_owned()),
            Err(error) => {
                entry.wrong(format!("{text:?}: {error}"));
                None
            }
        }
    })
}

/// Whose certificates: `None` for the TLS says that it is not known.
fn allow(table: &mut Table<'_>, tls: Option<&LinkTls>) -> Vec<IdentityPattern> {
    let Some(entry) = table.take("allow") else { return Vec::new() };
    if matches!(tls, Some(LinkTls::Off | LinkTls::Anonymous)) {
        entry.wrong(
            "peers show certificates only in mutual TLS, so that nobody could ever peer here: give cafile, certificate \
             and keyfile, or take allow away",
        );
    }
    identities(&entry).unwrap_or_default()
}

pub(super) fn identities(entry: &Entry<'_>) -> Option<Vec<IdentityPattern>> {
    let wanted = "a certificate, such as \"subject:CN=worker-*\" or \"DNS:node*.example\"";
    entry.list(wanted, |entry| match entry.text(wanted)?.parse::<IdentityPattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            entry.wrong(error.to_string());
            None
        }
    })
}

fn retry(entry: &Entry<'_>) -> Option<Retry> {
    let mut table = entry.table("a table, such as { first = \"1s\", cap = \"10s\" }")?;
    let mut time =
        |key| table.take(key).map(|entry| (entry.time(MILLISECOND..=HOUR.saturating_mul(24)), entry));
    let (first, cap) = (time("first"), time("cap"));
    table.finish();
    let default = Retry::default();
    let given = |time: &Option<(Option<Duration>, Entry<'_>)>| time.as_ref().and_then(|(time, _)| *time);
    let first_time = given(&first).unwrap_or(default.first);
    // A longer first wait than the usual longest one is no contradiction if nothing is said of the latter.
    let cap_time = given(&cap).unwrap_or(default.cap.max(first_time));
    if let Some((Some(_), entry)) = cap
        && cap_time < first_time
    {
        let shown = humantime::format_duration(first_time);
        entry.wrong(format!("the longest wait is shorter than the first, {shown}; give at least that"));
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
    let Some(mut table) = entry.table("a table: write [link.NAME.limits] above its keys") else {
        return default;
    };
    let limits = LinkLimits {
        peers: whole(&mut table, "peers", 1..=MANY).unwrap_or(default.peers),
        connects_per_second: table
            .take("connects_per_second")
            .and_then(|entry| u32::try_from(entry.whole(1..=u64::from(u32::MAX))?).ok())
            .or(default.connects_per_second),
        frame: table.take("frame").and_then(|entry| entry.size(FRAMES)).unwrap_or(default.frame),
        depth: whole(&mut table, "depth", 1..=u64::try_from(MAX_DEPTH).unwrap_or(u64::MAX))
            .unwrap_or(default.depth),
        queue: QueueLimits {
            messages: whole(&mut table, "queue", 1..=MANY).unwrap_or(default.queue.messages),
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

/// Faults; `None` if there is nothing in them.
fn chaos(entry: &Entry<'_>) -> Option<Chaos> {
    let mut table = entry.table("a table: write [link.NAME.chaos] above its keys")?;
    let delay = table.take("delay").and_then(|entry| entry.time(Duration::ZERO..=HOUR)).unwrap_or_default();
    let mut share = |key| table.take(key).and_then(|entry| entry.share()).unwrap_or(0.0);
    let chaos =
        Chaos { delay, drop: share("drop"), duplicate: share("duplicate"), corrupt: share("corrupt") };
    table.finish();
    let nothing = Chaos { delay: Duration::ZERO, drop: 0.0, duplicate: 0.0, corrupt: 0.0 };
    (chaos != nothing).then_some(chaos)
}
