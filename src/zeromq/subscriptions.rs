//! The subscriptions of a peer.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::Error;
use crate::data::{Filter, Topic};
use crate::peering::after;
use crate::wire::Limits;

/// A change of the subscriptions of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Subscribe(&'a [u8]),
    Cancel(&'a [u8]),
}

impl<'a> Change<'a> {
    /// Reads a message with one part. Returns `None` if it is not a change.
    pub(super) fn from_message(body: &'a [u8]) -> Option<Self> {
        match body.split_first()? {
            (1, topic) => Some(Change::Subscribe(topic)),
            (0, topic) => Some(Change::Cancel(topic)),
            _ => None,
        }
    }

    /// Returns the first byte of the message. The prefix follows.
    pub(super) fn first_byte(self) -> &'static [u8] {
        match self {
            Change::Subscribe(_) => &[1],
            Change::Cancel(_) => &[0],
        }
    }

    pub(super) fn prefix(self) -> &'a [u8] {
        let (Change::Subscribe(prefix) | Change::Cancel(prefix)) = self;
        prefix
    }
}

/// A change of the subscriptions of a peer, as [`ZeroMq::poll_subscription`](super::ZeroMq::poll_subscription) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionChange {
    /// The peer has subscribed to this prefix, possibly again.
    Subscribed(Topic),
    /// The peer has cancelled its subscription to this prefix. It may not have had one.
    Cancelled(Topic),
}

/// The changes of a peer that were not polled yet.
#[derive(Debug, Default)]
struct Changes {
    queue: VecDeque<SubscriptionChange>,
    /// The length of the prefixes in the queue.
    bytes: usize,
}

/// If this many changes are queued, or if their prefixes have this many bytes, no more input is handled.
const MAX_QUEUED_CHANGES: usize = 1024;
const MAX_QUEUED_BYTES: usize = 64 * 1024;

impl Changes {
    /// Queues a change with a copy of its prefix, so that it does not keep the receive buffer allocated.
    fn push(&mut self, change: Change<'_>) {
        let prefix = change.prefix();
        // There are no subscriptions to prefixes that are too long, so none can be cancelled.
        let Ok(topic) = Topic::new(Bytes::copy_from_slice(prefix)) else { return };
        self.bytes = self.bytes.saturating_add(prefix.len());
        self.queue.push_back(match change {
            Change::Subscribe(_) => SubscriptionChange::Subscribed(topic),
            Change::Cancel(_) => SubscriptionChange::Cancelled(topic),
        });
    }

    fn pop(&mut self) -> Option<SubscriptionChange> {
        let Some(change) = self.queue.pop_front() else {
            *self = Changes::default();
            return None;
        };
        let (SubscriptionChange::Subscribed(topic) | SubscriptionChange::Cancelled(topic)) = &change;
        self.bytes = self.bytes.saturating_sub(topic.as_bytes().len());
        Some(change)
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= MAX_QUEUED_CHANGES || self.bytes >= MAX_QUEUED_BYTES
    }
}

/// The subscriptions of a peer: a set of topic prefixes. They are not counted, because libzmq repeats a subscription for each of
/// its subscribers, but cancels it once, when the last of them is gone.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// The prefixes are copies, so that they do not keep the receive buffer allocated.
    prefixes: BTreeSet<Bytes>,
    /// The length of all prefixes.
    bytes: usize,
    /// Whether prefixes were added or removed since the last call of [`Subscriptions::take_change`].
    is_changed: bool,
    budget: Budget,
    /// The time at which a delayed filter can be reported.
    due: Option<Instant>,
    /// All changes, including those that have no effect, if they are reported.
    changes: Option<Changes>,
}

impl Subscriptions {
    /// Returns an empty set.
    pub(super) fn new(reports_changes: bool, now: Instant) -> Self {
        Subscriptions {
            prefixes: BTreeSet::new(),
            bytes: 0,
            is_changed: false,
            budget: Budget::new(now),
            due: None,
            changes: reports_changes.then(Changes::default),
        }
    }

    /// Records the current time.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.budget.set_now(now);
        self.due = self.due.filter(|due| now < *due);
    }

    /// Returns the time at which the filter can be reported, if the budget did not suffice in the last call of
    /// [`Subscriptions::take_change`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Applies a change, and queues it if changes are reported. A repeated subscription does not change the set, nor does a
    /// cancellation without a subscription.
    ///
    /// # Errors
    /// Fails if a limit is exceeded: [`Limits::max_filter_topics`], [`Limits::max_filter_bytes`], or [`Topic::MAX_LEN`] for one
    /// prefix.
    pub(super) fn apply(&mut self, change: Change<'_>, limits: &Limits) -> Result<(), Error> {
        self.budget.add_change();
        match change {
            Change::Subscribe(prefix) => self.subscribe(prefix, limits)?,
            Change::Cancel(prefix) => self.cancel(prefix),
        }
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
        Ok(())
    }

    /// Returns the next change, if changes are reported.
    pub(super) fn next_change(&mut self) -> Option<SubscriptionChange> {
        self.changes.as_mut()?.pop()
    }

    /// Returns whether changes must be polled before more can be applied.
    pub(super) fn is_full(&self) -> bool {
        self.changes.as_ref().is_some_and(Changes::is_full)
    }

    fn subscribe(&mut self, prefix: &[u8], limits: &Limits) -> Result<(), Error> {
        if self.prefixes.contains(prefix) {
            return Ok(());
        }
        let length = prefix.len();
        if length > Topic::MAX_LEN {
            return Err(Error::TopicTooLong { length, limit: Topic::MAX_LEN });
        }
        if self.prefixes.len() >= limits.max_filter_topics {
            return Err(Error::TooManySubscriptions { limit: limits.max_filter_topics });
        }
        let bytes = self.bytes.saturating_add(length);
        if bytes > limits.max_filter_bytes {
            return Err(Error::SubscriptionsTooLong { limit: limits.max_filter_bytes });
        }
        self.bytes = bytes;
        self.prefixes.insert(Bytes::copy_from_slice(prefix));
        self.is_changed = true;
        Ok(())
    }

    fn cancel(&mut self, prefix: &[u8]) {
        if let Some(prefix) = self.prefixes.take(prefix) {
            self.bytes = self.bytes.saturating_sub(prefix.len());
            self.is_changed = true;
        }
    }

    /// Returns whether this prefix itself is subscribed to.
    pub(super) fn contains(&self, prefix: &[u8]) -> bool {
        self.prefixes.contains(prefix)
    }

    /// Returns whether prefixes were added or removed since the last filter.
    #[cfg(feature = "net")]
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Returns the filter of the peer if prefixes were added or removed since the last call, and if the budget allows it. The
    /// filter may be the same as before, because it does not contain prefixes that a shorter one covers.
    pub(super) fn take_change(&mut self) -> Option<Filter> {
        if !self.is_changed {
            return None;
        }
        if !self.budget.spend(self.prefixes.len()) {
            self.due = Some(self.budget.time_of(self.prefixes.len()));
            return None;
        }
        (self.is_changed, self.due) = (false, None);
        Some(self.prefixes.iter().filter_map(|prefix| Topic::new(prefix.clone()).ok()).collect())
    }
}

/// Limits the number of prefixes that are copied into filters. A change takes only four bytes on the wire, but its filter contains
/// all prefixes. Without this limit, a peer with many subscriptions could cause much work with few bytes.
///
/// With the default limits, a filter is delayed by at most 0.1 s. This affects only peers that change their subscriptions often, or
/// that have thousands of them.
#[derive(Debug)]
struct Budget {
    left: usize,
    /// The time up to which the budget was increased.
    since: Instant,
    now: Instant,
}

impl Budget {
    /// The maximum of the budget, and its initial value.
    const MAX: usize = 65_536;
    /// The increase for each received change.
    const FOR_CHANGE: usize = 16;
    /// The increase for each millisecond.
    const FOR_MILLISECOND: usize = 164;

    fn new(now: Instant) -> Self {
        Budget { left: Self::MAX, since: now, now }
    }

    fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    fn add_change(&mut self) {
        self.add(Self::FOR_CHANGE);
    }

    fn add(&mut self, more: usize) {
        self.left = self.left.saturating_add(more).min(Self::MAX);
    }

    /// Spends the cost of a filter with this many prefixes. Returns `false` if not enough is left.
    fn spend(&mut self, prefixes: usize) -> bool {
        let milliseconds = self.now.saturating_duration_since(self.since).as_millis();
        let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
        self.since = after(self.since, Duration::from_millis(milliseconds));
        let milliseconds = usize::try_from(milliseconds).unwrap_or(usize::MAX);
        self.add(milliseconds.saturating_mul(Self::FOR_MILLISECOND));
        let left = self.left.checked_sub(prefixes.min(Self::MAX));
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Returns the time at which the cost of a filter with this many prefixes can be spent.
    fn time_of(&self, prefixes: usize) -> Instant {
        let missing = prefixes.min(Self::MAX).saturating_sub(self.left).div_ceil(Self::FOR_MILLISECOND);
        after(self.since, Duration::from_millis(u64::try_from(missing).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_filter_topics: 3, max_filter_bytes: 10, ..Limits::DEFAULT };

    fn apply(subscriptions: &mut Subscriptions, messages: &[&[u8]]) -> Result<(), Error> {
        let changes = messages.iter().map(|message| Change::from_message(message).unwrap());
        changes.into_iter().try_for_each(|change| subscriptions.apply(change, &LIMITS))
    }

    fn filter(topics: &[&'static str]) -> Option<Filter> {
        Some(topics.iter().map(|topic| Topic::from_static(topic)).collect())
    }

    #[test]
    fn one_cancellation_removes_a_repeated_subscription() {
        let mut subscriptions = Subscriptions::new(false, Instant::now());
        apply(&mut subscriptions, &[b"\x01a", b"\x01a", b"\x01b"]).unwrap();
        assert_eq!(subscriptions.take_change(), filter(&["a", "b"]));
        apply(&mut subscriptions, &[b"\x01a"]).unwrap();
        assert_eq!(subscriptions.take_change(), None);
        apply(&mut subscriptions, &[b"\x00a"]).unwrap();
        assert_eq!(subscriptions.take_change(), filter(&["b"]));
        apply(&mut subscriptions, &[b"\x00a", b"\x00c"]).unwrap();
        assert_eq!(subscriptions.take_change(), None, "the same set as before");
        apply(&mut subscriptions, &[b"\x01", b"\x00b"]).unwrap();
        assert_eq!(subscriptions.take_change(), filter(&[""]));
        apply(&mut subscriptions, &[b"\x01c"]).unwrap();
        assert_eq!(subscriptions.take_change(), filter(&[""]), "the empty prefix covers all others");
    }

    /// A peer subscribes to as many prefixes as it may, and then changes one of them as often as it can.
    #[test]
    fn the_work_for_filters_is_limited_by_the_received_changes_and_the_time() {
        fn change(subscriptions: &mut Subscriptions, change: Change<'_>) -> Option<usize> {
            subscriptions.apply(change, &Limits::DEFAULT).unwrap();
            subscriptions.take_change().map(|filter| filter.topics().len())
        }
        let start = Instant::now();
        let mut subscriptions = Subscriptions::new(false, start);
        let (mut copied, mut changes) = (0, 0);
        for number in 0..16_000_u16 {
            copied +=
                change(&mut subscriptions, Change::Subscribe(&number.to_be_bytes())).unwrap_or_default();
            changes += 1;
        }
        for millisecond in 0..1000 {
            subscriptions.set_now(start + Duration::from_millis(millisecond));
            for other in [Change::Subscribe(b"z"), Change::Cancel(b"z")] {
                copied += change(&mut subscriptions, other).unwrap_or_default();
                changes += 1;
            }
        }
        let limit = Budget::MAX + Budget::FOR_CHANGE * changes + Budget::FOR_MILLISECOND * 1000;
        assert!((limit / 2..=limit).contains(&copied), "{copied}, limit {limit}");

        // The last change is reported at the latest after the time for a complete filter.
        subscriptions.set_now(start + Duration::from_secs(1));
        let mut waited = 0;
        while change(&mut subscriptions, Change::Cancel(b"unknown")).is_some() || waited == 0 {
            subscriptions.apply(Change::Subscribe(&[b'y', waited]), &Limits::DEFAULT).unwrap();
            waited += 1;
        }
        let due = subscriptions.deadline().unwrap();
        assert!(due <= start + Duration::from_millis(1101), "{:?}", due - start);
        subscriptions.set_now(due);
        assert!(subscriptions.take_change().is_some());
        assert_eq!(subscriptions.deadline(), None);
    }

    #[test]
    fn the_number_and_the_length_of_prefixes_are_limited() {
        let mut subscriptions = Subscriptions::new(false, Instant::now());
        apply(&mut subscriptions, &[b"\x01a", b"\x01b", b"\x01c", b"\x01c", b"\x01c"]).unwrap();
        assert_eq!(
            apply(&mut subscriptions, &[b"\x01d"]),
            Err(Error::TooManySubscriptions { limit: 3 }),
            "a repeated prefix does not count"
        );
        apply(&mut subscriptions, &[b"\x00a", b"\x00b", b"\x0112345678"]).unwrap();
        assert_eq!(apply(&mut subscriptions, &[b"\x0112"]), Err(Error::SubscriptionsTooLong { limit: 10 }));
        apply(&mut subscriptions, &[b"\x0112345678", b"\x00c", b"\x0112"]).unwrap();

        let too_long = [&[1][..], &[b'x'; Topic::MAX_LEN + 1]].concat();
        let error = Error::TopicTooLong { length: Topic::MAX_LEN + 1, limit: Topic::MAX_LEN };
        let change = Change::from_message(&too_long).unwrap();
        assert_eq!(subscriptions.apply(change, &Limits::DEFAULT), Err(error));
    }
}
