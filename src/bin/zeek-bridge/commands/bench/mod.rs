//! `bench`: measures a running relay, such as a zeek-bridge or libbroker's `broker-node`.
//!
//! The load is sent and received on sockets of this module, and not by an [`Endpoint`](zeek_bridge::endpoint::Endpoint). For each
//! event, an endpoint needs 2.3 µs of CPU time, the bridge 1.0 µs, and this module 0.24 µs. So with endpoints, the load would be
//! slower than the bridge, and the benchmark would measure the load: the rates were 0.65 times as high for events of 223 bytes, and
//! 0.34 times for 183 bytes (medians of five alternating runs).

mod compare;
mod haproxy;
mod load;
mod own;
mod pattern;
mod peer;
mod process;
mod report;
mod session;
mod side;
mod subscriber;
mod tally;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use clap::{Args, Subcommand, ValueEnum};
use compare::Comparison;
use load::{Amount, Load, Target};
use own::OwnRelay;
use pattern::{Message, PatternError};
use process::Process;
use report::{CpuUse, Relay, Report, RoundTrips, Throughput};
use side::{Protocol, Side};
use zeek_bridge::data::EndpointId;

use crate::args::tls::TlsArgs;
use crate::args::{AddressArg, DurationArg, FormatArgs, TopicArg, WebSocketArgs, connect_address, count};
use crate::network;
use crate::output::{Failure, Output, to_line};
use crate::runtime;
use crate::signals::Signals;

/// The maximum number of bytes in flight, unless --window sets the number of messages.
const MAX_BYTES_IN_FLIGHT: u64 = 16 * 1024 * 1024;

/// Run benchmarks
#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Measure a relay: throughput, latency, CPU time, memory and loss
    ///
    /// Connects as one publisher and some subscribers. First publishes events as fast as the relay accepts them, with at most
    /// --window of them in flight. Then publishes single events, to measure round trips. Each event has a number, so that lost, duplicated and
    /// reordered events are counted.
    ///
    /// Without --publish-to, a bridge is started on loopback and measured. The relay may be any program that forwards the
    /// topic: a zeek-bridge with a rule for it, or a broker-node --mode relay --topics '["/zeek-bridge/bench"]'.
    ///
    /// Each side uses Broker's native protocol, the WebSocket API, or ZeroMQ without CURVE. A zeromq:// address is the address of a
    /// proxy: libzmq's, or a zeek-bridge with a link that listens on it. A Zeek that serves the WebSocket API forwards only events
    /// that it declares: `global ZeekBridge::bench: event(run: count, number: count, padding: string);`.
    Relay(Box<RelayArgs>),
}

#[derive(Debug, Args)]
struct RelayArgs {
    /// The address of the relay: HOST:PORT, or a ws://, wss:// or zeromq:// address; without this option, a bridge is started and
    /// measured
    #[arg(long, value_name = "ADDRESS", value_parser = connect_address)]
    publish_to: Option<AddressArg>,
    /// The address for subscribers, if it differs from --publish-to
    #[arg(long, value_name = "ADDRESS", requires = "publish_to", value_parser = connect_address)]
    subscribe_at: Option<AddressArg>,
    /// The protocol of the publisher, if a bridge is started; websocket is ws://, or wss:// with --tls mutual; with zeromq, the bridge
    /// is the proxy of a cluster
    #[arg(
        long,
        value_name = "PROTOCOL",
        value_enum,
        default_value = "broker",
        conflicts_with = "publish_to"
    )]
    publish_as: Protocol,
    /// Like --publish-as, for the subscribers
    #[arg(
        long,
        value_name = "PROTOCOL",
        value_enum,
        default_value = "broker",
        conflicts_with = "publish_to"
    )]
    subscribe_as: Protocol,
    /// Compare with another program, which must be installed: measure both alternately, and print the medians and their ratios
    ///
    /// HAProxy in TCP mode forwards the bytes of one publisher to one subscriber without parsing them.
    #[arg(
        long,
        value_name = "PROGRAM",
        value_enum,
        conflicts_with_all = ["publish_to", "publish_as", "subscribe_as", "peers", "stalled_peers"]
    )]
    compare_with: Option<Other>,
    /// The number of measurements of each program
    #[arg(long, value_name = "N", default_value = "5", requires = "compare_with", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The process id of the relay, to report its CPU time and memory
    #[arg(long, value_name = "PID", requires = "publish_to")]
    pid: Option<u32>,
    /// The number of subscribers
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    peers: u32,
    /// The number of further subscribers that never read, to see whether they slow down the others
    ///
    /// The relay queues events for them, then drops the events or disconnects the subscriber, or stops relaying. In the last
    /// case, the benchmark ends with a timeout.
    #[arg(long, value_name = "N", default_value = "0")]
    stalled_peers: u32,
    /// The size of an event's Broker frame in bytes, including the four bytes of the length field; as JSON and in ZeroMQ, it is
    /// larger
    #[arg(long, value_name = "BYTES", default_value = "223")]
    size: u32,
    /// The number of events to publish
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, conflicts_with = "duration")]
    count: Option<u64>,
    /// The time to publish for
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_negative_numbers = true)]
    duration: DurationArg,
    /// The number of round trips
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    round_trips: u32,
    /// Maximum number of events in flight to the slowest subscriber, so that no queue overflows; the default is 1000, or
    /// fewer if 1000 events are larger than 16 MiB
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    window: Option<u64>,
    /// Maximum number of events per second
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    rate: Option<u64>,
    /// The topic, which the relay must forward
    #[arg(short, long, value_name = "T", default_value = "/zeek-bridge/bench")]
    topic: TopicArg,
    /// Maximum time for each connection attempt, and for each wait for an event
    #[arg(
        long,
        alias = "timeout",
        value_name = "DURATION",
        default_value = "10s",
        allow_negative_numbers = true
    )]
    wait: DurationArg,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten, next_help_heading = "Connection")]
    tls: TlsArgs,
    /// The file with the bearer token for ws:// and wss:// addresses; the default is ZEEK_BRIDGE_TOKEN in the environment
    #[arg(long, value_name = "FILE", requires = "publish_to", help_heading = "Connection")]
    token_file: Option<PathBuf>,
}

/// A program to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Other {
    #[value(name = "haproxy")]
    HaProxy,
}

pub(crate) fn run(args: BenchArgs) -> Result<(), Failure> {
    let BenchCommand::Relay(args) = args.command;
    // With a single thread, received messages need not wake a second one, and the relay can use all other cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime::block_on_with(runtime, pin!(relay(&args)))
}

async fn relay(args: &RelayArgs) -> Result<(), Failure> {
    let signals = &mut Signals::new()?;
    let json = args.format.is_json();
    if args.compare_with.is_none() {
        let (report, ended) = measure(args, None, signals).await?;
        print(if json { to_line(&report) } else { report.table().into_bytes() })?;
        ended?;
        return verdict(&report);
    }
    haproxy::check(&args.tls).await?;
    let mut reports = [Vec::new(), Vec::new()];
    let result = compare(args, signals, &mut reports).await;
    let [bridge, haproxy] = reports;
    // After an error, the completed measurements are still compared.
    if !haproxy.is_empty() {
        let bridge = bridge.get(..haproxy.len()).unwrap_or_default();
        let comparison = Comparison::new(bridge, &haproxy);
        print(if json { to_line(&comparison) } else { comparison.table().into_bytes() })?;
    }
    result
}

/// Measures a bridge and HAProxy alternately, and adds the complete reports. As JSON, prints each of them; as text, only an
/// incomplete one.
async fn compare(
    args: &RelayArgs,
    signals: &mut Signals,
    [bridge, haproxy]: &mut [Vec<Report>; 2],
) -> Result<(), Failure> {
    for _ in 0..args.rounds {
        for (other, reports) in [(None, &mut *bridge), (args.compare_with, &mut *haproxy)] {
            let (report, ended) = measure(args, other, signals).await?;
            let result = ended.and_then(|()| verdict(&report));
            if args.format.is_json() {
                print(to_line(&report))?;
            } else if result.is_err() {
                print(report.table().into_bytes())?;
            }
            result?;
            reports.push(report);
        }
    }
    Ok(())
}

/// Measures a relay. Returns the report, and the error that ended the measurement early.
async fn measure(
    args: &RelayArgs,
    other: Option<Other>,
    signals: &mut Signals,
) -> Result<(Report, Result<(), Failure>), Failure> {
    let topic = args.topic.0.clone();
    let size = usize::try_from(args.size).unwrap_or(usize::MAX);
    let id = EndpointId::random()
        .map_err(|error| Failure::failed(format!("cannot get random bytes for the endpoint id: {error}")))?;
    let run = id.as_bytes().iter().take(8).fold(0, |run, byte| run << 8 | u64::from(*byte));
    let message = Message::new(&topic, size, run).map_err(unusable)?;
    let size = bytes(message.size());
    let in_memory = MAX_BYTES_IN_FLIGHT.checked_div(size).unwrap_or_default().clamp(1, 1000);
    let window = args.window.unwrap_or(in_memory);
    let amount = args.count.map_or(Amount::Time(args.duration.0), Amount::Count);

    let mut process = args.pid.map(Process::of).transpose()?;
    let mut own = None;
    let sides = if let Some(AddressArg(publish_to)) = &args.publish_to {
        let subscribe_at = args.subscribe_at.as_ref().map_or(publish_to, |AddressArg(address)| address);
        let websocket = WebSocketArgs { token_file: args.token_file.clone() };
        let sides = Side::load([publish_to, subscribe_at], &args.tls, &websocket)?;
        let [publisher, subscribers] = &sides;
        let subscribers = Some(subscribers).filter(|side| side.address != publisher.address);
        for side in subscribers.into_iter().chain([publisher]) {
            network::warn_of_exposure(&side.tls, &side.address);
        }
        sides
    } else {
        let protocols = [args.publish_as, args.subscribe_as];
        let relay = match other {
            Some(Other::HaProxy) => haproxy::start(&args.tls),
            None => tokio::select! {
                relay = OwnRelay::start(&args.tls, protocols, &topic, args.wait.0) => relay,
                () = signals.next() => return Err(nothing_yet()),
            },
        };
        let relay = own.insert(relay?);
        process.clone_from(&relay.process);
        relay.sides.clone()
    };
    let [published, received] = sides.each_ref().map(|side| message.pattern(side.protocol()));
    let (published, received) = (published.map_err(unusable)?, received.map_err(unusable)?);
    let received_size = bytes(received.event_size());
    let [publish_to, subscribe_at] = sides;
    let patterns = [(&publish_to, &published), (&subscribe_at, &received)];
    let size_in = |protocol| {
        let found = patterns.iter().find(|(side, _)| side.protocol() == protocol);
        found.map(|(_, pattern)| bytes(pattern.event_size()))
    };
    let mut report = Report {
        publish_to: publish_to.address.clone(),
        subscribe_at: subscribe_at.address.clone(),
        own_relay: own.is_some(),
        tls: TlsArgs::name(&publish_to.tls),
        subscriber_tls: TlsArgs::name(&subscribe_at.tls),
        topic: topic.to_string(),
        size,
        json_size: size_in(Protocol::WebSocket),
        zeromq_size: size_in(Protocol::ZeroMq),
        subscribers: args.peers.into(),
        stalled_subscribers: args.stalled_peers.into(),
        window,
        rate: args.rate,
        ..Report::default()
    };

    let [peers, stalled] =
        [args.peers, args.stalled_peers].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let backend = own.as_mut().and_then(|relay| relay.backend.take());
    let target = Target { publish_to, subscribe_at, backend, topic, peers, stalled, timeout: args.wait.0 };
    let mut load = tokio::select! {
        load = Load::connect(target, [published, received]) => load?,
        Some(error) = ended(&mut own) => return Err(error),
        () = signals.next() => return Err(nothing_yet()),
    };
    let settled = tokio::select! {
        settled = load.settle() => settled,
        () = signals.next() => Err(nothing_yet()),
    };
    if let Err(error) = settled {
        leave(load, signals).await;
        return Err(error);
    }
    let enough = load.enough.clone();
    let mut interruptible = Interruptible { signals, enough };

    let generator = Process::this();
    let cpu = |process: &Option<Process>| process.as_ref().and_then(Process::cpu);
    let before = (cpu(&process), cpu(&generator));
    let started = Instant::now();
    let mut ended = interruptible.run(load.flood(amount, window, args.rate)).await;
    let (took, events) = (started.elapsed(), load.arrived_everywhere());
    let used =
        |process, before: Option<process::Cpu>| Some(CpuUse::new(cpu(process)?.since(before?), events));
    report.throughput = Throughput::new(events, took, received_size);
    report.generator = used(&generator, before.1);
    let (cpu, memory) = (used(&process, before.0), process.as_ref().and_then(Process::memory));
    report.relay = process.map(|process| Relay { process, cpu, memory });
    report.count(load.published(), load.received());
    // If messages are lost, every round trip could time out.
    if ended.is_ok() && report.lost == 0 {
        let mut took = Vec::new();
        ended = interruptible.run(load.round_trips(args.round_trips.into(), &mut took)).await;
        report.round_trip = RoundTrips::new(took);
    }
    report.connecting = load.connecting;
    report.count(load.published(), load.received());
    report.interrupted = interruptible.enough.load(SeqCst);
    leave(load, interruptible.signals).await;
    drop(own);
    Ok((report, ended))
}

/// Waits until a relay that was started ends. Returns its error, or `None` immediately if no relay was started.
async fn ended(own: &mut Option<OwnRelay>) -> Option<Failure> {
    match own {
        Some(own) => Some(own.ended().await),
        None => None,
    }
}

/// Ends the measurement early on a signal.
struct Interruptible<'a> {
    signals: &'a mut Signals,
    enough: Arc<AtomicBool>,
}

impl Interruptible<'_> {
    /// After the first signal, this still waits for messages that were published. After the second signal, it does not.
    async fn run(&mut self, measuring: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let mut measuring = pin!(measuring);
        tokio::select! {
            done = &mut measuring => return done,
            () = self.signals.next() => self.enough.store(true, SeqCst),
        }
        tokio::select! {
            done = measuring => done,
            () = self.signals.next() => Err(Failure::failed("interrupted; messages in flight are counted as lost")),
        }
    }
}

async fn leave(load: Load, signals: &mut Signals) {
    tokio::select! {
        () = load.leave() => {}
        () = signals.next() => {}
    }
}

fn print(line: Vec<u8>) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(&line)?;
    output.flush()
}

/// Returns the result of the measurement.
fn verdict(report: &Report) -> Result<(), Failure> {
    let lost = report.lost;
    if lost > 0 {
        Err(Failure::failed(format!(
            "{lost} messages were lost, because the relay dropped them; see the log of the relay, or use a smaller --window, so \
             that fewer messages are queued in the relay"
        )))
    } else if report.interrupted {
        Err(Failure::failed("interrupted; the results cover the time before the interruption"))
    } else {
        Ok(())
    }
}

fn unusable(error: PatternError) -> Failure {
    Failure::usage(error.to_string())
}

fn bytes(count: usize) -> u64 {
    count.try_into().unwrap_or(u64::MAX)
}

fn nothing_yet() -> Failure {
    Failure::failed("interrupted before anything was measured")
}
