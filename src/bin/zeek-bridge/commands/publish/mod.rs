//! `publish`: publishes an event from the command line, or messages from stdin.

mod argument;
mod delivery;
mod message;
mod subscriptions;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use delivery::{Delivery, Input, Progress};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::endpoint::{ConnectError, Endpoint, EndpointConfig, Status};
use zeek_bridge::zeromq;

use crate::args::{CurveArgs, DurationArg, NetworkArgs, TopicArg, WebSocketArgs};
use crate::deadline;
use crate::input::{self, Line};
use crate::network::{self, Network, Persistence};
use crate::output::{Failure, progress, stderr};
use crate::signals::Signals;

/// The minimum time for which a lost peering is retried. If --wait is longer, it is used instead. A restart of Zeek takes less time.
const LOST: Duration = Duration::from_secs(30);

/// The time to wait for errors from a server of the WebSocket API after the last message. The server does not confirm
/// messages, and Zeek confirms the end of the connection before it has handled all of them.
const LATE_ERRORS: Duration = Duration::from_millis(250);

/// The time after which a wait for a subscriber is reported on stderr.
const UNREPORTED_WAIT: Duration = Duration::from_secs(2);

/// Publish an event, or messages from stdin
///
/// With EVENT, one event with these arguments is published: `ping string:hi count:7 'set[port]:80/tcp,443/tcp'`. A TYPE is
/// bool, int, count, double, string, addr, subnet, port, time, interval or enum, as in Zeek; or 'set[T]', 'vector of T',
/// 'record[T,T,..]' or 'table[K] of T' of these types. For an optional field that is not set, the TYPE is none, and the VALUE is
/// empty. With the TYPE json, the VALUE is the typed JSON that `tap --format json` prints. In a container, write `\,`, `\=` and
/// `\\` for these characters in an element.
///
/// Without EVENT, each line of stdin is a JSON document: {"event": NAME, "args": [VALUE..]}, optionally with "metadata"; or a
/// bare VALUE, {"@data-type": .., "data": ..}. In an argument, strings, booleans and null need no "@data-type". The JSON output
/// of `tap` is accepted as well; its "time", "peer", "identity" and "topic" are ignored.
///
/// Each message waits until a peer subscribes to the topic. After 2 seconds, stderr shows which topics the peer subscribes to.
/// An invalid line is reported and skipped. At the end of stdin, the command waits until the peers have received everything.
/// If a peering is lost, stderr reports which lines may be lost, and the exit code is 1.
///
/// A server of the WebSocket API (ws:// or wss://) receives all topics. If it reports an error, the exit code is 1.
///
/// The proxy of a ZeroMQ cluster (zeromq://) sends the subscriptions of its nodes. It does not confirm that a node has received
/// an event.
///
/// With --connect, the first attempt must succeed. A peering that is lost later is retried for 30 seconds, or for --wait
/// if that is longer. If all attempts fail, the exit code is 1 if lines may be lost, and otherwise that of the last attempt.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The name of an event to publish instead of reading stdin
    #[arg(value_name = "EVENT", value_parser = NonEmptyStringValueParser::new())]
    event: Option<String>,
    /// The arguments of the event
    #[arg(value_name = "TYPE:VALUE", requires = "event")]
    arguments: Vec<String>,
    /// The topic to publish under
    #[arg(short, long, value_name = "T")]
    topic: TopicArg,
    /// Maximum time to connect, and maximum time of each message to wait for a subscriber, such as 10s; by default, no limit
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    wait: Option<DurationArg>,
    /// Maximum run time of the command; lines that are not published then are reported
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    timeout: Option<DurationArg>,
    #[command(flatten)]
    network: NetworkArgs,
    /// The format of events for a ZeroMQ cluster, Cluster::event_serializer in Zeek: bin for broker-bin-v1, Zeek's default, or json
    /// for broker-json-v1
    #[arg(long, value_name = "bin|json", value_enum, hide_possible_values = true)]
    event_format: Option<EventFormat>,
    #[command(flatten)]
    websocket: WebSocketArgs,
    #[command(flatten)]
    curve: CurveArgs,
}

/// The format of events for a ZeroMQ cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    Bin,
    Json,
}

impl From<EventFormat> for zeromq::EventFormat {
    fn from(format: EventFormat) -> Self {
        match format {
            EventFormat::Bin => zeromq::EventFormat::Binary,
            EventFormat::Json => zeromq::EventFormat::Json,
        }
    }
}

pub(crate) async fn run(args: PublishArgs) -> Result<(), Failure> {
    let timeout_at = args.timeout.map(|time| deadline::after(time.0));
    let event = args.event.as_ref().map(|name| argument::event(name, &args.arguments));
    let event = event.transpose().map_err(Failure::usage)?;
    let mut signals = Signals::new()?;
    let mut network = Network::new(args.network, &args.websocket, args.curve)?;
    if let Some(format) = args.event_format {
        network.set_event_format(format.into())?;
    }
    // Nothing else uses this endpoint, so a slow peer can have more time than with the default settings.
    let endpoint = network::endpoint_with(EndpointConfig {
        patience: SLOW_PEER,
        drain_timeout: SLOW_PEER,
        ..EndpointConfig::default()
    })?;
    let input = if event.is_some() { Input::Event } else { Input::Lines };
    let progress = Arc::new(Progress::new(input));
    let delivery = Delivery::watch(&endpoint, progress.clone());
    let lost = RefCell::default();
    let publisher = Publisher {
        endpoint: &endpoint,
        target: network.target(),
        topic: args.topic.0,
        wait: args.wait.map(|wait| wait.0),
        progress: &progress,
        lost: &lost,
        reported_wait: Cell::new(false),
        waits: Cell::new(false),
    };
    let publish = async {
        let start = network.start(&endpoint, Persistence::FirstMustSucceed);
        let peer = within(publisher.wait, start)
            .await
            .unwrap_or_else(|| Err(Failure::timeout("timeout: no peering yet; nothing was published")))?;
        if let Some(peer) = peer {
            publisher.wait_for_subscriptions(peer).await;
        }
        if let Some(event) = &event {
            return publisher.message(1, event).await?.map_err(Failure::failed).map(|()| 0);
        }
        publisher.publish(input::open(None)?.lines().in_background()).await
    };
    let mut statuses = endpoint.status();
    let retry_for = LOST.max(publisher.wait.unwrap_or_default());
    let given_up = watch_peering(async || statuses.recv().await, retry_for, &lost);
    let published = tokio::select! {
        result = publish => result,
        error = given_up, if network.target().is_some() => Err(publisher.peering_lost(&error, retry_for)),
        () = deadline::until(timeout_at) => Err(publisher.timed_out()),
        () = signals.next() => Err(Failure::failed(format!("interrupted: {}", reached(&progress)))),
    };
    if published.is_ok() && network.is_websocket() && network.target().is_some() {
        tokio::time::sleep(LATE_ERRORS).await;
    }
    let mut result = published.and_then(|invalid| match invalid {
        0 => Ok(()),
        invalid => Err(Failure::failed(format!("skipped invalid lines: {invalid}"))),
    });
    // After a failure, a signal or the time limit, the peers get no additional time.
    let latest = if result.is_ok() { timeout_at } else { Some(deadline::after(Duration::ZERO)) };
    let too_late = async {
        deadline::until(latest).await;
        tokio::time::sleep(LAST_CHANCE).await;
    };
    tokio::select! {
        _ = network::leave(&endpoint, &mut signals) => {}
        () = too_late => {
            result = result.and_then(|()| {
                Err(Failure::timeout("timeout: a peer did not confirm the end of the connection, so the delivery is unconfirmed"))
            });
        }
    }
    for problem in delivery.problems().await {
        result = Err(match result {
            Err(Failure::Error(_, message)) => Failure::failed(format!("{message}; {problem}")),
            _ => Failure::failed(problem),
        });
    }
    result
}

/// The time to wait for room in a full queue before the peer is disconnected, and for the queues to be sent at the end.
const SLOW_PEER: Duration = Duration::from_secs(10);

/// The time to leave the peers after a failure, a signal or the time limit.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// Describes the last line that was published.
fn reached(progress: &Progress) -> String {
    match progress.published() {
        0 => "nothing was published".to_owned(),
        _ if progress.input() == Input::Event => "the event was published".to_owned(),
        line => format!("stopped after line {line}; the remaining lines were not published"),
    }
}

/// A peering that is lost and not established again yet.
#[derive(Debug)]
struct Lost {
    since: Instant,
    /// The error of the last attempt to reconnect. Before the first attempt, the error of the lost peering.
    error: ConnectError,
}

/// Waits until a peering was lost and could not be established again for `retry_for`. Returns the error of [`Lost`]. Updates
/// `lost` with each status.
async fn watch_peering(
    mut next: impl AsyncFnMut() -> Option<Status>,
    retry_for: Duration,
    lost: &RefCell<Option<Lost>>,
) -> ConnectError {
    let mut give_up = None;
    loop {
        let status = match give_up {
            None => next().await,
            Some(at) => match (timeout_at(at, next()).await, &*lost.borrow()) {
                (Ok(status), _) => status,
                (Err(_), Some(Lost { error, .. })) => return error.clone(),
                (Err(_), None) => None,
            },
        };
        match status {
            Some(Status::PeerAdded { .. }) => {
                give_up = None;
                lost.replace(None);
            }
            Some(Status::PeerLost { error, .. } | Status::PeerRemoved { error: Some(error), .. }) => {
                give_up = Some(deadline::after(retry_for));
                lost.replace(Some(Lost { since: Instant::now(), error }));
            }
            Some(Status::PeerUnavailable { error: latest, .. }) => {
                if let Some(Lost { error, .. }) = &mut *lost.borrow_mut() {
                    *error = latest;
                }
            }
            Some(_) => {}
            // The endpoint is shut down, so the command is ending.
            None => std::future::pending().await,
        }
    }
}

/// Returns `None` if the future takes longer than `timeout`.
async fn within<T>(timeout: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, future).await.ok(),
        None => Some(future.await),
    }
}

struct Publisher<'a> {
    endpoint: &'a Endpoint,
    /// The address to connect to.
    target: Option<&'a str>,
    topic: Topic,
    /// The maximum time to connect, and to wait for a subscriber.
    wait: Option<Duration>,
    progress: &'a Progress,
    /// The peering with `target`, while it is lost.
    lost: &'a RefCell<Option<Lost>>,
    /// Whether a wait for a subscriber was reported. It is reported once.
    reported_wait: Cell<bool>,
    /// Whether a message waits for a subscriber now.
    waits: Cell<bool>,
}

impl Publisher<'_> {
    /// Waits until the subscriptions of a peer are known, or until a subscriber to the topic is known. The proxy of a ZeroMQ
    /// cluster sends them after the connection is established.
    async fn wait_for_subscriptions(&self, peer: EndpointId) {
        let known = async {
            tokio::select! {
                _ = self.endpoint.until_subscriptions_known(peer) => {}
                _ = self.endpoint.wait_for_subscribers(&self.topic, 1) => {}
            }
        };
        // If the time has passed, the first message waits for a subscriber, and reports this wait.
        let _ = within(Some(UNREPORTED_WAIT), known).await;
    }

    /// Waits for a peer that subscribes to the topic. The first long wait is reported.
    async fn wait_for_subscriber(&self) -> Result<(), Failure> {
        let wait = async {
            let subscribed = self.endpoint.wait_for_subscribers(&self.topic, 1);
            tokio::pin!(subscribed);
            if !self.reported_wait.get() {
                if within(Some(UNREPORTED_WAIT), &mut subscribed).await.is_some() {
                    return;
                }
                self.reported_wait.set(true);
                let peers = subscriptions::describe(&self.endpoint.peers());
                let limit = if self.wait.is_none() { " without a time limit (see --wait)" } else { "" };
                stderr::print_line(format_args!(
                    "waiting for a subscriber to {}{limit}; {peers}",
                    self.topic
                ));
            }
            subscribed.await;
        };
        self.waits.set(true);
        let waited = within(self.wait, wait).await;
        self.waits.set(false);
        if waited.is_some() {
            return Ok(());
        }
        // If the peering is lost, report this as the cause instead of a missing subscription.
        if let (Some(_), Some(Lost { since, error })) = (self.target, &*self.lost.borrow()) {
            return Err(self.peering_lost(error, since.elapsed()));
        }
        Err(Failure::timeout(format!(
            "timeout: no subscriber for the topic {} (connected peers: {}), {}; check the topic, and that a peer subscribes to it",
            self.topic,
            self.endpoint.peers().len(),
            reached(self.progress)
        )))
    }

    /// Reports the end of --timeout. If the peering is lost, this is the cause.
    fn timed_out(&self) -> Failure {
        match (self.target, &*self.lost.borrow()) {
            (Some(_), Some(Lost { since, error })) => self.peering_lost(error, since.elapsed()),
            _ if self.endpoint.peers().is_empty() => {
                Failure::timeout(format!("timeout: no peering yet; {}", reached(self.progress)))
            }
            _ if self.waits.get() => {
                let topic = &self.topic;
                Failure::timeout(format!(
                    "timeout: {}; no subscriber for the topic {topic}",
                    reached(self.progress)
                ))
            }
            _ => Failure::timeout(format!("timeout: {}", reached(self.progress))),
        }
    }

    fn peering_lost(&self, error: &ConnectError, retried_for: Duration) -> Failure {
        // Tenths of a second are precise enough for a message.
        let tenths = u64::try_from(retried_for.as_millis() / 100).unwrap_or(u64::MAX);
        let retried_for = Duration::from_millis(tenths.saturating_mul(100));
        Failure::lost(self.target.unwrap_or_default(), error, retried_for).with(reached(self.progress))
    }

    /// Publishes every line. Returns the number of invalid lines.
    async fn publish(&self, mut lines: mpsc::Receiver<Result<Vec<Line>, Failure>>) -> Result<u64, Failure> {
        let mut invalid = 0u64;
        // No progress is shown if the lines are typed in.
        let shown = (!io::stdin().is_terminal()).then(|| progress::Progress::new(None, "messages"));
        while let Some(lines) = lines.recv().await {
            for Line { number, text } in lines? {
                let published = match text {
                    Ok(text) => self.line(number, &text).await?,
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = published {
                    stderr::print_line(format_args!("line {number}: {error}; skipped"));
                    invalid = invalid.saturating_add(1);
                }
                if let Some(shown) = &shown {
                    shown.inc(1);
                }
            }
        }
        Ok(invalid)
    }

    /// Publishes one line. If the line is invalid, returns an inner error.
    async fn line(&self, number: u64, text: &[u8]) -> Result<Result<(), String>, Failure> {
        match message::parse(text) {
            Ok(value) => self.message(number, &value).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Publishes the message of a line. If the message cannot be encoded, returns an inner error.
    async fn message(&self, number: u64, value: &Value) -> Result<Result<(), String>, Failure> {
        self.progress.start_line(number);
        loop {
            {
                let _publishing = self.progress.publishing().await;
                match self.endpoint.publish(self.topic.clone(), value).await {
                    // No peer subscribes yet, or the last subscriber has left.
                    Ok(0) => {}
                    Ok(_) => {
                        self.progress.line_published(number);
                        return Ok(Ok(()));
                    }
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            self.wait_for_subscriber().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::EndpointId;
    use zeek_bridge::endpoint::PeerProtocol;
    use zeek_bridge::peering::CloseReason;

    use super::*;

    fn added() -> Status {
        Status::PeerAdded {
            peer: EndpointId::NIL,
            address: "a:1".into(),
            identity: None,
            protocol: PeerProtocol::Broker,
        }
    }

    fn peer_lost() -> Status {
        let error = ConnectError::Closed(CloseReason::PeerLeft);
        Status::PeerLost { peer: EndpointId::NIL, address: "a:1".into(), error, unsent: 0 }
    }

    fn unavailable() -> Status {
        let error = ConnectError::TlsTimeout(LOST);
        Status::PeerUnavailable { address: "a:1".into(), error, retry_in: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_peering_is_given_up_unless_it_is_established_again() {
        let (send, mut statuses) = mpsc::unbounded_channel();
        let start = Instant::now();
        let lost = RefCell::default();
        let watch = watch_peering(async || statuses.recv().await, LOST, &lost);
        let peer = async {
            // Before the first peering, failures do not count.
            send.send(unavailable()).unwrap();
            tokio::time::sleep(LOST * 2).await;
            for status in [added(), peer_lost()] {
                send.send(status).unwrap();
            }
            tokio::time::sleep(LOST / 2).await;
            send.send(added()).unwrap();
            tokio::time::sleep(LOST * 2).await;
            for status in [peer_lost(), unavailable()] {
                send.send(status).unwrap();
            }
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            error = watch => error,
            () = peer => unreachable!(),
        };
        assert!(matches!(error, ConnectError::TlsTimeout(_)), "{error}");
        assert_eq!(start.elapsed(), Duration::from_secs(60 + 15 + 60 + 30));
        assert!(lost.borrow().is_some());
    }
}
