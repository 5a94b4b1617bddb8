//! The topics and events with the most messages, estimated from a sample.
//!
//! Of each received batch, one message is counted with the weight of the batch. It is selected at random, so that the estimate is
//! not biased by the order in which a peer sends its messages.
//!
//! The counters use the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005): if all counters are in use, a new pair takes over
//! the lowest counter, and its count is known only up to the count before that. Pairs are ordered by the part that is certain. So
//! a peer that sends a different topic in each message displaces only the lowest counters, and its own topics stay at the end.
//!
//! The memory is bounded: at most [`MAX_PAIRS`] pairs, each with at most 128 bytes of topic and of event. Bytes that are not UTF-8
//! are escaped, so all of them need less than 384 KiB.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::bridge::policy::shown;

/// The maximum number of pairs that are counted.
const MAX_PAIRS: usize = 256;

/// The maximum number of pairs that are reported.
const MAX_REPORTED: usize = 32;

/// The maximum number of bytes of a topic or event that are compared.
const MAX_COMPARED: usize = 128;

/// The time in which messages are counted.
const WINDOW: Duration = Duration::from_secs(5);

/// The rate of the messages with one topic and event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicRate {
    /// The topic. Long topics are truncated.
    pub topic: String,
    /// The name of the event. `None` for messages that are not an event, or that no rule has read.
    pub event: Option<String>,
    /// The number of messages per second that were forwarded.
    pub rate: f64,
}

/// Counts messages by topic and event, in windows of five seconds.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Busiest(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The end of the current window. `None` before the first message.
    end: Option<Instant>,
    counts: Counts,
    /// The result of the last complete window.
    last: Vec<TopicRate>,
}

/// The counters of one window.
#[derive(Debug, Default)]
struct Counts {
    pairs: Vec<Pair>,
    /// The index in `pairs` by the hash of the pair. The hash is keyed and has 64 bits, so two pairs never have the same in practice.
    index: HashMap<u64, usize>,
    hash: RandomState,
}

#[derive(Debug)]
struct Pair {
    hash: u64,
    count: u64,
    /// How much of `count` may be from pairs that had this counter before.
    uncertain: u64,
    topic: String,
    event: Option<String>,
}

impl Busiest {
    /// Counts `messages` messages with the topic and event of one of them.
    pub(in crate::bridge) fn add(&self, topic: &[u8], event: Option<&[u8]>, messages: usize, now: Instant) {
        let mut state = self.0.lock();
        state.roll(now);
        state.counts.add(topic, event, u64::try_from(messages).unwrap_or(u64::MAX));
    }

    /// Returns the pairs with the most messages in the last complete window, highest rate first.
    pub(in crate::bridge) fn rates(&self, now: Instant) -> Vec<TopicRate> {
        let mut state = self.0.lock();
        state.roll(now);
        state.last.clone()
    }
}

impl State {
    /// Begins a new window if the current one has ended.
    fn roll(&mut self, now: Instant) {
        let end = *self.end.get_or_insert_with(|| after(now, WINDOW));
        let Some(late) = now.checked_duration_since(end) else { return };
        let complete = self.counts.take_rates();
        // After a pause of a window or more, the last complete window had no messages.
        self.last = if late < WINDOW { complete } else { Vec::new() };
        let windows = late.as_secs().checked_div(WINDOW.as_secs()).unwrap_or_default();
        let windows = u32::try_from(windows).unwrap_or(u32::MAX).saturating_add(1);
        self.end = Some(after(end, WINDOW.saturating_mul(windows)));
    }
}

fn after(time: Instant, duration: Duration) -> Instant {
    time.checked_add(duration).unwrap_or(time)
}

impl Counts {
    fn add(&mut self, topic: &[u8], event: Option<&[u8]>, messages: u64) {
        let compared = |text| <[u8]>::get(text, ..MAX_COMPARED).unwrap_or(text);
        let hash = self.hash.hash_one((compared(topic), event.map(compared)));
        if let Some(pair) = self.index.get(&hash).and_then(|at| self.pairs.get_mut(*at)) {
            pair.count = pair.count.saturating_add(messages);
            return;
        }
        let (topic, event) = (shown(topic), event.map(shown));
        if self.pairs.len() < MAX_PAIRS {
            self.index.insert(hash, self.pairs.len());
            self.pairs.push(Pair { hash, count: messages, uncertain: 0, topic, event });
        } else if let Some((at, lowest)) =
            self.pairs.iter_mut().enumerate().min_by_key(|(_, pair)| pair.count)
        {
            self.index.remove(&lowest.hash);
            self.index.insert(hash, at);
            let uncertain = lowest.count;
            *lowest = Pair { hash, count: uncertain.saturating_add(messages), uncertain, topic, event };
        }
    }

    /// Returns the rates, and removes all pairs.
    fn take_rates(&mut self) -> Vec<TopicRate> {
        self.index.clear();
        let certain = |pair: &Pair| pair.count.saturating_sub(pair.uncertain);
        self.pairs.sort_by_key(|pair| Reverse(certain(pair)));
        let rate = |pair: Pair| {
            let messages = u32::try_from(certain(&pair)).unwrap_or(u32::MAX);
            TopicRate {
                topic: pair.topic,
                event: pair.event,
                rate: f64::from(messages) / WINDOW.as_secs_f64(),
            }
        };
        let rates = self.pairs.drain(..).take(MAX_REPORTED).map(rate).collect();
        // An idle bridge must not keep the memory of a flood.
        self.pairs.shrink_to(MAX_REPORTED);
        self.index.shrink_to(MAX_REPORTED);
        rates
    }
}

#[cfg(test)]
mod tests;
