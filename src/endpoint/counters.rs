//! The counters of an endpoint and of its peers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Endpoint;
use super::connect_error::ConnectError;
use super::latency::Histogram;

/// A counter that is shared between tasks.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn one(&self) {
        self.add(1);
    }

    /// Returns the previous value.
    pub(super) fn add(&self, count: usize) -> u64 {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed)
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters that all tasks of an endpoint share.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: Counter,
    pub(super) received_bytes: Counter,
    pub(super) sent: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) delivered: Counter,
    pub(super) dropped: Counter,
    pub(super) dropped_for_peers: Counter,
    pub(super) not_carried: Counter,
    pub(super) altered_strings: Counter,
    pub(super) overflows: Counter,
    pub(super) malformed: Counter,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) latency: Histogram,
}

/// The counters of an endpoint since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Data and command messages from peers.
    pub received: u64,
    /// The bytes of the frames of received messages, including the length fields.
    pub received_bytes: u64,
    /// Data and command messages to peers, counted when they are moved from a peer's queue to its connection.
    pub sent: u64,
    /// The bytes of the frames of sent messages, including the length fields.
    pub sent_bytes: u64,
    /// Messages queued for subscribers. A message for two subscribers counts twice.
    pub delivered: u64,
    /// Messages that were dropped because a subscriber's queue was full.
    pub dropped: u64,
    /// Messages that were dropped because a peer's queue was full. A message that is dropped for two peers counts twice.
    /// See [`WhenFull`](super::WhenFull).
    pub dropped_for_peers: u64,
    /// Messages that were not sent to a peer because its protocol cannot carry them, as the WebSocket API cannot carry logs. A
    /// message that is not sent to two peers counts twice, and each message of a batch counts.
    pub not_carried: u64,
    /// Strings that are not UTF-8 and were changed for a client of the WebSocket API. See
    /// [`BinaryText`](crate::websocket::BinaryText). A string in a message to two clients counts twice.
    pub altered_strings: u64,
    /// Peers that were disconnected because their queue was full.
    pub overflows: u64,
    /// Messages from peers that could not be decoded.
    pub malformed: u64,
}

/// The counters of one peering.
#[derive(Debug)]
pub(super) struct PeerCounters {
    pub(super) established: Instant,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl PeerCounters {
    /// Returns the counters of a peering that is established now.
    pub(super) fn new() -> Self {
        PeerCounters { established: Instant::now(), received: Counter::default(), sent: Counter::default() }
    }
}

impl Counters {
    /// Counts a connection that did not become a peering.
    pub(super) fn failed(&self, error: &ConnectError) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(error.cause()).or_default();
        *count = count.saturating_add(1);
    }

    /// Counts a peer that is disconnected because its queue is full, with its dropped messages.
    pub(super) fn overflowed(&self, dropped: usize) {
        self.overflows.one();
        self.dropped_for_peers.add(dropped);
    }
}

impl Endpoint {
    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.0.context.stats;
        Stats {
            received: counters.received.get(),
            received_bytes: counters.received_bytes.get(),
            sent: counters.sent.get(),
            sent_bytes: counters.sent_bytes.get(),
            delivered: counters.delivered.get(),
            dropped: counters.dropped.get(),
            dropped_for_peers: counters.dropped_for_peers.get(),
            not_carried: counters.not_carried.get(),
            altered_strings: counters.altered_strings.get(),
            overflows: counters.overflows.get(),
            malformed: counters.malformed.get(),
        }
    }

    /// Returns the number of failed connections, incoming and outgoing, for each [`ConnectError::cause`].
    #[must_use]
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.0.context.stats.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
