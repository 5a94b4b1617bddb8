//! The load: one publisher, and subscribers that count what comes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use zeek_bridge::data::{Filter, Topic};
use zeek_bridge::endpoint::LinkError;
use zeek_bridge::net::tls::Tls;

use super::link::Link;
use super::pattern::Pattern;
use super::tally::{Came, Tally};
use crate::exit::Failure;
use crate::progress::Progress;

/// How many subscribers connect at once.
const CONNECTING: usize = 64;

/// About how many bytes are written at once.
const WRITE: usize = 64 * 1024;

/// How long the first message that asks whether subscriptions have arrived may be on its way before the next one asks;
/// the next may take twice as long, for there may be many subscribers.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long nothing may come before the last message is held for lost.
const SILENCE: Duration = Duration::from_secs(1);

/// Where to, and how.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) publish_to: String,
    pub(super) subscribe_at: String,
    pub(super) tls: Tls,
    pub(super) topic: Topic,
    pub(super) peers: usize,
    pub(super) timeout: Duration,
}

/// How much is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Count(u64),
    Time(Duration),
}

/// Peerings with the relay: one to publish over, and some to hear from.
#[derive(Debug)]
pub(super) struct Load {
    target: Target,
    publisher: Link,
    pattern: Arc<Pattern>,
    /// The number of the next message.
    next: u64,
    /// The number of the first message that counts.
    first: u64,
    subscribers: Vec<Arc<Subscriber>>,
    waited_for: Arc<WaitedFor>,
    tasks: JoinSet<Result<(), LinkError>>,
    stop: watch::Sender<bool>,
    /// How long it took until all subscribers had their peering.
    pub(super) connecting: Duration,
    /// Nothing more is to be published.
    pub(super) enough: Arc<AtomicBool>,
}

/// What a subscriber has heard.
#[derive(Debug, Default)]
struct Subscriber {
    /// The number behind the highest that came.
    arrived: AtomicU64,
    tally: Mutex<Tally>,
}

/// The number that the publisher waits for until it has arrived everywhere.
#[derive(Debug, Default)]
struct WaitedFor {
    number: AtomicU64,
    arrived: Notify,
}

impl Load {
    /// Connects everybody.
    pub(super) async fn connect(target: Target, pattern: Pattern) -> Result<Self, Failure> {
        let Target { publish_to, subscribe_at, tls, topic, peers, timeout } = &target;
        let publisher = Link::connect(publish_to, tls, Filter::new(), *timeout).await;
        let publisher = publisher.map_err(|error| no_peering(publish_to, &error))?;
        let progress = Progress::new(u64::try_from(*peers).ok(), "subscribers");
        let started = Instant::now();
        let mut connecting = JoinSet::new();
        let mut links = Vec::new();
        while links.len() < *peers {
            if connecting.len() < CONNECTING.min(peers.saturating_sub(links.len())) {
                let (address, tls, patience) = (subscribe_at.clone(), tls.clone(), *timeout);
                let filter = Filter::from_iter([topic.clone()]);
                connecting.spawn(async move { Link::connect(&address, &tls, filter, patience).await });
            } else if let Some(connected) = connecting.join_next().await {
                let link = connected.map_err(|error| Failure::failed(error.to_string()))?;
                links.push(link.map_err(|error| no_peering(subscribe_at, &error))?);
                progress.inc(1);
            }
        }
        progress.finish();
        let (stop, stopped) = watch::channel(false);
        let mut load = Load {
            publisher,
            pattern: Arc::new(pattern),
            next: 0,
            first: 0,
            subscribers: Vec::new(),
            waited_for: Arc::default(),
            tasks: JoinSet::new(),
            stop,
            connecting: started.elapsed(),
            enough: Arc::default(),
            target,
        };
        for link in links {
            let subscriber = Arc::<Subscriber>::default();
            load.subscribers.push(subscriber.clone());
            let (pattern, waited_for) = (load.pattern.clone(), load.waited_for.clone());
            load.tasks.spawn(subscriber.hear(link, pattern, waited_for, stopped.clone()));
        }
        Ok(load)
    }

    /// Publishes until every subscriber has heard something, and counts from then on: only messages that are
    /// published after the relay has heard of a subscription can come.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let mut question = self.pattern.frames(1);
        // Behind one that came later than the first, none of those that asked for the first can come.
        for first in [true, false] {
            let wanted = if first { 1 } else { self.next.saturating_add(1) };
            let asking = Instant::now();
            let mut patience = ASK_AGAIN;
            loop {
                self.publish(&mut question).await?;
                let left = self.target.timeout.saturating_sub(asking.elapsed());
                match timeout(patience.min(left), self.until_arrived(wanted)).await {
                    Ok(arrived) => {
                        arrived?;
                        break;
                    }
                    Err(_) if asking.elapsed() < self.target.timeout => patience = patience.saturating_mul(2),
                    Err(_) if first => return Err(self.not_relayed()),
                    Err(_) => return Err(self.stuck()),
                }
            }
        }
        self.first = self.next;
        self.subscribers.iter().for_each(|subscriber| subscriber.tally().begin(self.next));
        Ok(())
    }

    /// Publishes as fast as may be, with at most `window` messages on their way to the slowest subscriber, and `rate`
    /// in a second.
    pub(super) async fn flood(
        &mut self,
        amount: Amount,
        window: u64,
        rate: Option<u64>,
    ) -> Result<(), Failure> {
        let total = if let Amount::Count(count) = amount { Some(count) } else { None };
        let progress = Progress::new(total, "messages");
        let started = Instant::now();
        let first = self.next;
        let mut shown = first;
        // A few times in the window, and a thousand times a second, there is something to write.
        let at_once = count(WRITE.checked_div(self.pattern.size()).unwrap_or(1))
            .min(window / 4)
            .min(rate.map_or(u64::MAX, |rate| rate / 1000))
            .max(1);
        let mut frames = self.pattern.frames(usize::try_from(at_once).unwrap_or(1));
        loop {
            let published = self.next.saturating_sub(first);
            let more = match amount {
                _ if self.enough.load(SeqCst) => 0,
                Amount::Count(count) => count.saturating_sub(published).min(at_once),
                Amount::Time(time) if started.elapsed() >= time => 0,
                Amount::Time(_) => at_once,
            };
            if more == 0 {
                break;
            }
            if let Some(rate) = rate {
                self.pause(started, published, rate).await?;
            }
            let room_from = self.next.saturating_add(more).saturating_sub(window);
            let arrived = self.until_arrived(room_from).await?.max(shown);
            progress.inc(arrived.saturating_sub(shown));
            shown = arrived;
            let length = usize::try_from(more).unwrap_or(1).saturating_mul(self.pattern.size());
            self.publish(frames.get_mut(..length).unwrap_or_default()).await?;
        }
        self.drain().await
    }

    /// Waits for the last message. If there is only silence, it may be lost: one more tells.
    async fn drain(&mut self) -> Result<(), Failure> {
        let mut question = self.pattern.frames(1);
        let (mut arrived, mut heard) = (self.arrived(), Instant::now());
        loop {
            if let Ok(arrived) = timeout(SILENCE, self.until_arrived(self.next)).await {
                return arrived.map(drop);
            }
            if self.arrived() > arrived {
                (arrived, heard) = (self.arrived(), Instant::now());
            } else if heard.elapsed() >= self.target.timeout {
                return Err(self.stuck());
            } else {
                self.publish(&mut question).await?;
            }
        }
    }

    /// Publishes one message after the other, each when all subscribers have the one before, and adds to `took` how long
    /// each was on its way to the last.
    pub(super) async fn round_trips(&mut self, count: u64, took: &mut Vec<Duration>) -> Result<(), Failure> {
        let progress = Progress::new(Some(count), "round trips");
        let mut frame = self.pattern.frames(1);
        for _ in 0..count {
            if self.enough.load(SeqCst) {
                break;
            }
            let started = Instant::now();
            self.publish(&mut frame).await?;
            self.until_arrived(self.next).await?;
            took.push(started.elapsed());
            progress.inc(1);
        }
        Ok(())
    }

    async fn publish(&mut self, frames: &mut [u8]) -> Result<(), Failure> {
        let next = self.pattern.count_from(self.next, frames);
        let sent = tokio::select! {
            biased;
            sent = self.publisher.send(frames) => sent,
            Some(ended) = self.tasks.join_next() => return Err(self.subscriber_ended(ended)),
        };
        self.next = next;
        sent.map_err(|error| self.publisher_ended(&error))
    }

    /// Waits until the message before this number, or a later one, has arrived everywhere; gives the number behind
    /// the last that has.
    async fn until_arrived(&mut self, number: u64) -> Result<u64, Failure> {
        self.waited_for.number.store(number, SeqCst);
        // Of many subscribers, those that have it are not asked again.
        let mut behind = 0usize;
        loop {
            let has_it = |subscriber: &&Arc<Subscriber>| subscriber.arrived.load(SeqCst) >= number;
            let more = self.subscribers.iter().skip(behind).take_while(has_it).count();
            behind = behind.saturating_add(more);
            if behind >= self.subscribers.len() {
                return Ok(self.arrived());
            }
            let arrived = self.arrived_with(behind);
            tokio::select! {
                () = self.waited_for.arrived.notified() => {}
                error = self.publisher.attend() => return Err(self.publisher_ended(&error)),
                Some(ended) = self.tasks.join_next() => return Err(self.subscriber_ended(ended)),
                () = sleep(self.target.timeout) => if self.arrived_with(behind) == arrived {
                    return Err(self.stuck());
                },
            }
        }
    }

    /// Waits until it is time for the message behind so many.
    async fn pause(&mut self, started: Instant, published: u64, rate: u64) -> Result<(), Failure> {
        let nanoseconds = u128::from(published).saturating_mul(1_000_000_000).checked_div(rate.into());
        let after = Duration::from_nanos(u64::try_from(nanoseconds.unwrap_or_default()).unwrap_or(u64::MAX));
        let due = started.checked_add(after).unwrap_or(started);
        if due <= Instant::now() {
            return Ok(());
        }
        tokio::select! {
            () = sleep_until(due.into()) => Ok(()),
            error = self.publisher.attend() => Err(self.publisher_ended(&error)),
            Some(ended) = self.tasks.join_next() => Err(self.subscriber_ended(ended)),
        }
    }

    /// How far this subscriber is.
    fn arrived_with(&self, subscriber: usize) -> u64 {
        self.subscribers.get(subscriber).map_or(0, |subscriber| subscriber.arrived.load(SeqCst))
    }

    /// The number behind the last that has arrived everywhere.
    fn arrived(&self) -> u64 {
        self.subscribers.iter().map(|subscriber| subscriber.arrived.load(SeqCst)).min().unwrap_or_default()
    }

    /// How many messages were published that count.
    pub(super) fn published(&self) -> u64 {
        self.next.saturating_sub(self.first)
    }

    /// How many of them have arrived everywhere.
    pub(super) fn arrived_everywhere(&self) -> u64 {
        self.arrived().saturating_sub(self.first)
    }

    /// What came to all subscribers together.
    pub(super) fn came(&self) -> Came {
        self.subscribers.iter().fold(Came::default(), |sum, subscriber| sum.and(subscriber.tally().came))
    }

    /// Leaves, behind everything that was published.
    pub(super) async fn leave(mut self) {
        self.stop.send_replace(true);
        self.publisher.leave().await;
        while self.tasks.join_next().await.is_some() {}
    }

    fn publisher_ended(&self, error: &LinkError) -> Failure {
        let (Target { publish_to, .. }, size) = (&self.target, self.pattern.size());
        Failure::failed(format!(
            "the peering with {publish_to}, to publish over, ended: {error}; its log may say why, such as that frames of \
             {size} bytes are too large for it"
        ))
    }

    fn subscriber_ended(&self, ended: Result<Result<(), LinkError>, tokio::task::JoinError>) -> Failure {
        let Target { subscribe_at, .. } = &self.target;
        let error = match ended {
            Ok(Ok(())) => "it was left".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Failure::failed(format!(
            "a subscriber's peering with {subscribe_at} ended with {} messages on their way: {error}; a Broker \
             disconnects peers for whom too many wait: give a smaller --window, or see its log",
            self.next.saturating_sub(self.arrived())
        ))
    }

    fn stuck(&self) -> Failure {
        Failure::timeout(format!(
            "timeout: nothing more arrived for {:.1} s: {} of {} messages did; the relay has stopped, or has dropped \
             the last ones: give a smaller --window, or see its log",
            self.target.timeout.as_secs_f64(),
            self.arrived_everywhere(),
            self.published()
        ))
    }

    fn not_relayed(&self) -> Failure {
        let Target { publish_to, subscribe_at, topic, peers, timeout, .. } = &self.target;
        let deaf = self.subscribers.iter().filter(|subscriber| subscriber.arrived.load(SeqCst) == 0).count();
        let wants = if self.publisher.wanted.matches(topic) { "wants" } else { "does not want" };
        Failure::timeout(format!(
            "timeout: {deaf} of {peers} subscribers at {subscribe_at} heard nothing within {:.1} s of what was published \
             to {publish_to}, which {wants} the topic {topic}; does it relay that topic? A zeek-bridge takes a rule \
             from the one link to the other with topics = [{topic:?}], a broker-node --mode relay --topics \
             '[{topic:?}]'; or name a topic that is relayed with --topic",
            timeout.as_secs_f64()
        ))
    }
}

impl Subscriber {
    /// Counts what comes, until it is stopped.
    async fn hear(
        self: Arc<Self>,
        mut link: Link,
        pattern: Arc<Pattern>,
        waited_for: Arc<WaitedFor>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), LinkError> {
        let mut arrived = 0;
        loop {
            link.answer().await?;
            tokio::select! {
                biased;
                read = link.read() => read?,
                _ = stopped.changed() => break,
            }
            let before = arrived;
            let mut tally = self.tally();
            link.take(pattern.head(), |length, head| match pattern.number(length, head) {
                Some(number) => {
                    tally.note(number);
                    arrived = arrived.max(number.saturating_add(1));
                }
                None => tally.note_foreign(),
            })?;
            drop(tally);
            self.arrived.store(arrived, SeqCst);
            // The publisher looks behind having said what it waits for, and this asks behind having said what came.
            if (before..arrived).contains(&waited_for.number.load(SeqCst).saturating_sub(1)) {
                waited_for.arrived.notify_one();
            }
        }
        link.leave().await;
        Ok(())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // No code panics while it holds the lock.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_peering(address: &str, error: &LinkError) -> Failure {
    // EMFILE, which no other name is for.
    const TOO_MANY_FILES: i32 = 24;
    match error {
        LinkError::Dial(error) if error.raw_os_errors().any(|number| number == TOO_MANY_FILES) => {
            Failure::failed(format!(
                "cannot connect all: {error}: each of --peers takes one; raise the limit with `ulimit -n`, or give fewer"
            ))
        }
        error => Failure::link(address, error),
    }
}

fn count(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
