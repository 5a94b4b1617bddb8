//! The latest connects, disconnects, failures and denials of a bridge.
//!
//! The memory is bounded: there are at most [`MAX_ENTRIES`], and each string in them is truncated, so that an entry needs less
//! than 4 KiB and all entries need less than 1 MiB.
//!
//! A peer that causes many entries must not displace those of others:
//!
//! - Each owner has at most [`MAX_PER_OWNER`] entries of each kind on each link. A further one displaces the owner's oldest.
//! - A failure that is repeated has one entry, which counts the repetitions.
//! - If there are too many entries, the oldest of the link and kind with the most entries is displaced. So many hosts that fail to
//!   connect displace neither the entries of other links nor the denials.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::bridge::peer_text::identity;
use crate::endpoint::{ConnectError, Owner, Peer, Status};

/// The maximum number of entries.
const MAX_ENTRIES: usize = 256;

/// The maximum number of entries of one kind and owner on one link.
const MAX_PER_OWNER: usize = 10;

/// The maximum length of [`RecentEntry::text`] in bytes.
const MAX_TEXT: usize = 512;

/// The maximum length of the other fields in bytes.
const MAX_FIELD: usize = 256;

/// Something that happened on a link recently. All text from a peer is truncated, and may contain any characters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentEntry {
    /// When it happened, in seconds since 1970. For a repeated failure, the last time.
    pub time: f64,
    /// `connected`, `disconnected`, `failed` (a connection that did not become a peering) or `denied` (a message).
    pub kind: String,
    /// The name of the link.
    pub link: String,
    /// The endpoint id of the peer. `None` for failures.
    pub peer: Option<String>,
    /// The address of the peer: `host:port`, or the URL that the link connects to.
    pub address: String,
    /// The identity in its certificate, the name of its token or CURVE key, or several of these.
    pub identity: Option<String>,
    /// `broker`, `websocket` or `zeromq`.
    pub protocol: String,
    /// The reason of a denial, as in [`LinkSnapshot::refused`](crate::bridge::LinkSnapshot::refused). For disconnects and failures, the
    /// cause, as in [`LinkSnapshot::failures`](crate::bridge::LinkSnapshot::failures). `None` for connects.
    pub reason: Option<String>,
    /// What happened, for users.
    pub text: String,
    /// The rule that denied the message, if the reason depends on a rule.
    pub rule: Option<String>,
    /// The topic of a denied message.
    pub topic: Option<String>,
    /// The name of the event in a denied message, if it was read.
    pub event: Option<String>,
    /// The nodes that a denied event of the node API names.
    pub node: Option<String>,
    /// The number of similar denials before this one, or repetitions of this failure, that have no entry.
    pub suppressed: u64,
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Connected,
    Disconnected,
    Failed,
    Denied,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Connected => "connected",
            Kind::Disconnected => "disconnected",
            Kind::Failed => "failed",
            Kind::Denied => "denied",
        }
    }
}

/// The recent entries of all links.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The entries by name of the link and kind, oldest first. No group is empty.
    groups: BTreeMap<(Arc<str>, Kind), VecDeque<Kept>>,
    /// The number of entries.
    total: usize,
    /// The number of the next entry.
    next: u64,
}

#[derive(Debug)]
struct Kept {
    /// Orders the entries of different groups. The clock of the system may be set back.
    number: u64,
    owner: Owner,
    /// Shared, so that the lock is held only briefly while a snapshot is taken.
    entry: Arc<RecentEntry>,
}

impl Recent {
    /// Adds that a peering is established.
    pub(in crate::bridge) fn connected(&self, link: &str, peer: &Peer) {
        let text = format!("peering established: {}", peer.protocol);
        self.add_of_peer(Kind::Connected, link, peer, RecentEntry { text, ..RecentEntry::default() });
    }

    /// Adds that a peering has ended.
    pub(in crate::bridge) fn disconnected(&self, link: &str, peer: &Peer, status: Option<&Status>) {
        let (reason, text) = match status {
            Some(
                Status::PeerLost { error, unsent: 0, .. } | Status::PeerRemoved { error: Some(error), .. },
            ) => (error.cause(), error.to_string()),
            Some(Status::PeerLost { error, unsent, .. }) => {
                (error.cause(), format!("{error}; {unsent} messages for it were not sent"))
            }
            _ => ("left", "this side ended the peering".to_owned()),
        };
        let entry = RecentEntry { reason: Some(reason.to_owned()), text, ..RecentEntry::default() };
        self.add_of_peer(Kind::Disconnected, link, peer, entry);
    }

    /// Adds that a connection did not become a peering. `protocol` is the name of the link's protocol.
    pub(in crate::bridge) fn failed(
        &self,
        link: &str,
        protocol: &str,
        address: &str,
        error: &ConnectError,
        owner: &Owner,
    ) {
        let entry = RecentEntry {
            address: address.to_owned(),
            protocol: protocol.to_owned(),
            reason: Some(error.cause().to_owned()),
            text: error.to_string(),
            ..RecentEntry::default()
        };
        self.add(Kind::Failed, link, owner, entry);
    }

    /// Adds a denied message. `entry` contains the reason, the text and the properties of the message.
    pub(in crate::bridge) fn denied(&self, link: &str, from: &Peer, entry: RecentEntry) {
        self.add_of_peer(Kind::Denied, link, from, entry);
    }

    /// Returns the entries, newest first.
    pub(in crate::bridge) fn entries(&self) -> Vec<RecentEntry> {
        let state = self.0.lock();
        let kept = state.groups.values().flatten();
        let mut entries: Vec<_> = kept.map(|kept| (kept.number, kept.entry.clone())).collect();
        drop(state);
        entries.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        entries.iter().map(|(_, entry)| (**entry).clone()).collect()
    }

    fn add_of_peer(&self, kind: Kind, link: &str, peer: &Peer, entry: RecentEntry) {
        let entry = RecentEntry {
            peer: Some(peer.id.to_string()),
            address: peer.address.to_string(),
            identity: identity(peer.identity.as_deref(), &peer.protocol),
            protocol: peer.protocol.name().to_owned(),
            ..entry
        };
        self.add(kind, link, &peer.owner, entry);
    }

    fn add(&self, kind: Kind, link: &str, owner: &Owner, mut entry: RecentEntry) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        entry.time = time.as_secs_f64();
        entry.kind = kind.name().to_owned();
        entry.link = link.to_owned();
        entry.truncate();
        self.0.lock().add(kind, link, owner, entry);
    }
}

impl State {
    fn add(&mut self, kind: Kind, link: &str, owner: &Owner, mut entry: RecentEntry) {
        let group = self.groups.entry((link.into(), kind)).or_default();
        let of_owner = |kept: &&Kept| kept.owner == *owner;
        let repeated =
            |kept: &Kept| kind == Kind::Failed && kept.owner == *owner && kept.entry.reason == entry.reason;
        let displaced = if let Some(at) = group.iter().position(repeated) {
            group.remove(at).inspect(|before| {
                entry.suppressed = before.entry.suppressed.saturating_add(1);
            })
        } else if group.iter().filter(of_owner).count() >= MAX_PER_OWNER {
            group.iter().position(|kept| kept.owner == *owner).and_then(|at| group.remove(at))
        } else {
            self.total = self.total.saturating_add(1);
            None
        };
        drop(displaced);
        group.push_back(Kept { number: self.next, owner: owner.clone(), entry: Arc::new(entry) });
        self.next = self.next.saturating_add(1);
        if self.total > MAX_ENTRIES {
            self.evict();
        }
    }

    /// Removes the oldest entry of the largest group. If several groups are the largest, that with the oldest entry.
    fn evict(&mut self) {
        let oldest = |group: &VecDeque<Kept>| group.front().map(|kept| std::cmp::Reverse(kept.number));
        let largest = self.groups.iter().max_by_key(|(_, group)| (group.len(), oldest(group)));
        let Some(key) = largest.map(|(key, _)| key.clone()) else { return };
        if let Some(group) = self.groups.get_mut(&key) {
            group.pop_front();
            self.total = self.total.saturating_sub(1);
            if group.is_empty() {
                self.groups.remove(&key);
            }
        }
    }
}

impl RecentEntry {
    fn truncate(&mut self) {
        let RecentEntry { peer, address, identity, reason, text, rule, topic, event, node, link, .. } = self;
        truncate(text, MAX_TEXT);
        [address, link].into_iter().for_each(|field| truncate(field, MAX_FIELD));
        let fields = [peer, identity, reason, rule, topic, event, node].into_iter().flatten();
        fields.for_each(|field| truncate(field, MAX_FIELD));
    }
}

/// Shortens text to at most `most` bytes and an ellipsis. Frees the memory of the rest.
fn truncate(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests;
