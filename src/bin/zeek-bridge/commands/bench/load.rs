//! The load: one publisher, and subscribers that count the received messages.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use zeek_bridge::data::{Filter, Topic};
use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::Notice;

use super::pattern::{DECLARATION, Pattern};
use super::peer::LoadPeer;
use super::side::{PeerRole, Protocol, Side};
use super::subscriber::{Subscriber, WaitedFor, arrived};
use super::tally::Received;
use crate::output::{Failure, Progress};
use crate::runtime::boxed;

/// The number of subscribers that connect at the same time.
const CONNECTING: usize = 64;

/// The approximate number of bytes of one write.
const WRITE: usize = 64 * 1024;

/// The delay before the second test message. Test messages show whether the subscriptions have arrived at the relay. The delay
/// doubles with each message, because there may be many subscribers.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// If no message arrives for this time, the last message may be lost, and one more message is published.
const SILENCE: Duration = Duration::from_secs(1);

/// The target of the load, and the options.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) publish_to: Side,
    pub(super) subscribe_at: Side,
    /// If the relay is a TCP proxy, it forwards the publisher's connection to this listener, and there is one subscriber.
    pub(super) backend: Option<(TcpListener, Tls)>,
    pub(super) topic: Topic,
    pub(super) peers: usize,
    /// The number of further subscribers that never read.
    pub(super) stalled: usize,
    pub(super) timeout: Duration,
}

/// The amount to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Count(u64),
    Time(Duration),
}

/// The connections with the relay: the publisher and the subscribers.
#[derive(Debug)]
pub(super) struct Load {
    target: Target,
    publisher: LoadPeer,
    pattern: Pattern,
    /// The number of the next message.
    next: u64,
    /// The number of the first message that is counted.
    first: u64,
    subscribers: Vec<Arc<Subscriber>>,
    /// Subscribers that never read. They stay connected until the end.
    _stalled: Vec<LoadPeer>,
    waited_for: Arc<WaitedFor>,
    tasks: JoinSet<Result<(), ConnectError>>,
    stop: watch::Sender<bool>,
    /// The first error that the relay has reported.
    notice: Arc<OnceLock<Notice>>,
    /// The time until all subscribers were established.
    pub(super) connecting: Duration,
    /// True if no more messages are to be published.
    pub(super) enough: Arc<AtomicBool>,
}

impl Load {
    /// Connects the publisher and all subscribers. The publisher publishes the first pattern, and the subscribers receive the
    /// second one.
    pub(super) async fn connect(target: Target, [pattern, received]: [Pattern; 2]) -> Result<Self, Failure> {
        let Target { publish_to, subscribe_at, backend, topic, peers, stalled, timeout } = &target;
        let notice = Arc::<OnceLock<Notice>>::default();
        let role = PeerRole::Publisher;
        let publisher = LoadPeer::connect(publish_to, role, Filter::new(), *timeout, notice.clone());
        let publisher = async { publisher.await.map_err(|error| no_peering(&publish_to.address, &error)) };
        let mut connected = Vec::new();
        let publisher = if let Some(listener) = backend {
            let filter = Filter::from_iter([topic.clone()]);
            // The two are peers of each other, so each waits for the other one.
            let subscriber = LoadPeer::accept(listener, filter, *timeout, notice.clone());
            let subscriber =
                async { subscriber.await.map_err(|error| no_peering(&subscribe_at.address, &error)) };
            let both = async { tokio::try_join!(publisher, subscriber) };
            let (publisher, subscriber) = tokio::time::timeout(*timeout, both).await.map_err(|_| {
                let (address, seconds) = (&publish_to.address, timeout.as_secs_f64());
                Failure::timeout(format!(
                    "timeout: the proxy at {address} did not connect the publisher with the subscriber within {seconds:.1} s; its own \
                     messages, if there are any, are above"
                ))
            })??;
            connected.push(subscriber);
            publisher
        } else {
            publisher.await?
        };
        let progress = Progress::new(u64::try_from(*peers).ok(), "subscribers");
        let started = Instant::now();
        let mut attempts = JoinSet::new();
        while connected.len() < *peers {
            if attempts.len() < CONNECTING.min(peers.saturating_sub(connected.len())) {
                let (side, patience, notice) = (subscribe_at.clone(), *timeout, notice.clone());
                let (role, filter) = (PeerRole::Subscriber, Filter::from_iter([topic.clone()]));
                attempts.spawn(boxed(async move {
                    LoadPeer::connect(&side, role, filter, patience, notice).await
                }));
            } else if let Some(joined) = attempts.join_next().await {
                let peer = joined.map_err(|error| Failure::failed(error.to_string()))?;
                connected.push(peer.map_err(|error| no_peering(&subscribe_at.address, &error))?);
                progress.inc(1);
            }
        }
        progress.finish();
        let connecting = started.elapsed();
        let mut never_reading = Vec::new();
        for _ in 0..*stalled {
            let (role, filter) = (PeerRole::Subscriber, Filter::from_iter([topic.clone()]));
            let peer = LoadPeer::connect(subscribe_at, role, filter, *timeout, notice.clone()).await;
            never_reading.push(peer.map_err(|error| no_peering(&subscribe_at.address, &error))?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut load = Load {
            publisher,
            pattern,
            next: 0,
            first: 0,
            subscribers: Vec::new(),
            _stalled: never_reading,
            waited_for: Arc::default(),
            tasks: JoinSet::new(),
            stop,
            notice,
            connecting,
            enough: Arc::default(),
            target,
        };
        let received = Arc::new(received);
        for peer in connected {
            let subscriber = Arc::<Subscriber>::default();
            load.subscribers.push(subscriber.clone());
            let (pattern, waited_for) = (received.clone(), load.waited_for.clone());
            load.tasks.spawn(boxed(subscriber.receive(peer, pattern, waited_for, stopped.clone())));
        }
        Ok(load)
    }

    /// Publishes until every subscriber has received a message, and starts to count after that. A subscriber receives only
    /// messages that are published after the relay has received its subscription.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let mut question = self.pattern.frames(1);
        // Two rounds: when a message of the second round has arrived, no earlier test message can arrive any more.
        for first in [true, false] {
            let wanted = if first { 1 } else { self.next.saturating_add(1) };
            let asking = Instant::now();
            let mut patience = FIRST_DELAY;
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

    /// Publishes as fast as possible, with at most `window` messages in flight to the slowest subscriber and at most `rate`
    /// per second.
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
        // Write a few times in each window, and up to a thousand times a second.
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

    /// Waits for the last message. If nothing arrives for [`SILENCE`], the last message may be lost. One more message is then
    /// published: if it arrives, the earlier one is lost.
    async fn drain(&mut self) -> Result<(), Failure> {
        let mut question = self.pattern.frames(1);
        let (mut arrived, mut last) = (self.arrived(), Instant::now());
        loop {
            if let Ok(arrived) = timeout(SILENCE, self.until_arrived(self.next)).await {
                return arrived.map(drop);
            }
            if self.arrived() > arrived {
                (arrived, last) = (self.arrived(), Instant::now());
            } else if last.elapsed() >= self.target.timeout {
                return Err(self.stuck());
            } else {
                self.publish(&mut question).await?;
            }
        }
    }

    /// Publishes single messages. Each one is published when all subscribers have received the previous one. Adds to `took` the
    /// time from publishing each message until the last subscriber has received it.
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
        let mut arrived = arrived(&self.subscribers);
        let sent = {
            let mut sending = pin!(self.publisher.send(frames));
            loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => break Ok(sent),
                    Some(ended) = self.tasks.join_next() => break Err(Some(ended)),
                    // The relay may not read any more.
                    () = sleep(self.target.timeout) => {}
                }
                let before = std::mem::replace(&mut arrived, self::arrived(&self.subscribers));
                if arrived == before {
                    break Err(None);
                }
            }
        };
        match sent {
            Ok(sent) => {
                self.next = next;
                sent.map_err(|error| self.publisher_ended(&error))
            }
            Err(Some(ended)) => Err(self.subscriber_ended(ended)),
            Err(None) => Err(self.stuck()),
        }
    }

    /// Waits until all subscribers have received message `number - 1` or a later one. Returns the number of the last message that
    /// all subscribers have received, plus one.
    async fn until_arrived(&mut self, number: u64) -> Result<u64, Failure> {
        self.waited_for.number.store(number, SeqCst);
        // The number of subscribers that have received the message. They are not checked again.
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

    /// Waits until the rate allows the message after `count` messages.
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

    /// Returns the highest number that this subscriber has received, plus one.
    fn arrived_with(&self, subscriber: usize) -> u64 {
        self.subscribers.get(subscriber).map_or(0, |subscriber| subscriber.arrived.load(SeqCst))
    }

    /// Returns the number of the last message that all subscribers have received, plus one.
    fn arrived(&self) -> u64 {
        arrived(&self.subscribers)
    }

    /// Returns the number of counted messages that were published.
    pub(super) fn published(&self) -> u64 {
        self.next.saturating_sub(self.first)
    }

    /// Returns the number of counted messages that all subscribers have received.
    pub(super) fn arrived_everywhere(&self) -> u64 {
        self.arrived().saturating_sub(self.first)
    }

    /// Returns the sum of the counts of all subscribers.
    pub(super) fn received(&self) -> Received {
        self.subscribers
            .iter()
            .fold(Received::default(), |sum, subscriber| sum.and(subscriber.tally().received))
    }

    /// Ends the connections after everything was sent.
    pub(super) async fn leave(mut self) {
        self.stop.send_replace(true);
        self.publisher.leave().await;
        while self.tasks.join_next().await.is_some() {}
    }

    fn publisher_ended(&self, error: &ConnectError) -> Failure {
        let (Target { publish_to, .. }, size) = (&self.target, self.pattern.size());
        let address = &publish_to.address;
        Failure::failed(format!(
            "the publisher's peering with {address} ended: {error}; see its log: for example, frames of {size} bytes may be \
             too large for it"
        ))
    }

    fn subscriber_ended(&self, ended: Result<Result<(), ConnectError>, tokio::task::JoinError>) -> Failure {
        let Target { subscribe_at: Side { address, .. }, .. } = &self.target;
        let error = match ended {
            Ok(Ok(())) => "the benchmark has left it".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Failure::failed(format!(
            "a subscriber's peering with {address} ended with {} messages in flight: {error}; a relay may \
             disconnect peers with too many queued messages: use a smaller --window, or see the log of the relay",
            self.next.saturating_sub(self.arrived())
        ))
    }

    fn stuck(&self) -> Failure {
        Failure::timeout(format!(
            "timeout: no message arrived for {:.1} s, after {} of {} messages; the relay has stopped, or has dropped \
             the last messages: use a smaller --window, or see the log of the relay",
            self.target.timeout.as_secs_f64(),
            self.arrived_everywhere(),
            self.published()
        ))
    }

    fn not_relayed(&self) -> Failure {
        let Target { publish_to, subscribe_at, topic, peers, timeout, .. } = &self.target;
        let silent =
            self.subscribers.iter().filter(|subscriber| subscriber.arrived.load(SeqCst) == 0).count();
        let subscribes = match publish_to.protocol() {
            Protocol::WebSocket => "accepts",
            _ if self.publisher.filter.matches(topic) => "subscribes to",
            _ => "does not subscribe to",
        };
        let sides = [publish_to, subscribe_at];
        let zeek = if sides.into_iter().any(|side| side.protocol() == Protocol::WebSocket) {
            format!(", a Zeek with a WebSocket server needs {DECLARATION}")
        } else {
            String::new()
        };
        let notice = self.notice.get().map(|notice| format!("{notice}; ")).unwrap_or_default();
        Failure::timeout(format!(
            "timeout: {notice}{silent} of {peers} subscribers at {} received no message within {:.1} s; the messages were \
             published to {}, which {subscribes} the topic {topic}; check that the relay forwards the topic: a \
             zeek-bridge needs a rule from the publisher's link to the subscribers' link with topics = [{topic:?}], a broker-node needs \
             --mode relay --topics '[{topic:?}]'{zeek}; or use --topic with a topic that is relayed",
            subscribe_at.address,
            timeout.as_secs_f64(),
            publish_to.address,
        ))
    }
}

fn no_peering(address: &str, error: &ConnectError) -> Failure {
    // EMFILE, for which there is no `ErrorKind`.
    const TOO_MANY_FILES: i32 = 24;
    match error {
        ConnectError::Dial(error) if error.raw_os_errors().any(|number| number == TOO_MANY_FILES) => {
            Failure::failed(format!(
                "cannot connect all peers: {error}; each peer needs a file descriptor, so raise the limit with `ulimit -n` or use a smaller --peers"
            ))
        }
        error => Failure::connect(address, error),
    }
}

fn count(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
