//! `tap`: prints or counts the messages of peers.

mod filter;
mod json;
mod logs;
mod message;
mod options;
mod plain;
mod readable;
mod show;
mod stats;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use zeek_bridge::data::Topic;
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, QueueLimits, Status, Subscriber};
use zeek_bridge::websocket::receives_logs;

pub(crate) use self::options::TapArgs;
use self::show::Show;
use crate::deadline::{self, until};
use crate::network::{self, Network, Persistence};
use crate::output::{BackgroundOutput, Exit, Failure, stderr, stdout_closed};
use crate::runtime::spawn;
use crate::signals::Signals;

/// Maximum time to write the queued lines after a request to end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Limits of the messages that are queued for printing. They are large, so that bursts are not dropped.
const QUEUE: QueueLimits = QueueLimits { messages: 256 * 1024, bytes: 64 * 1024 * 1024 };

/// The reason why nothing more is printed.
enum End {
    Complete,
    Timeout,
    Interrupted,
}

pub(crate) async fn run(args: TapArgs) -> Result<(), Failure> {
    if args.logs {
        return logs::run(args).await;
    }
    let mut signals = Signals::new()?;
    let mut show = Show::new(&args);
    let timeout_at = args.timeout.map(|time| deadline::after(time.0));
    let persistence = if args.follow { Persistence::Persistent } else { Persistence::FirstMustSucceed };
    let network = Network::new(args.network, &args.websocket, args.curve)?;
    // A listener may never have a peer.
    let may_have_none = network.target().is_none();
    let config = EndpointConfig { subscriber_queue: QUEUE, ..EndpointConfig::default() };
    let endpoint = network::endpoint_with(config)?;
    let had_peer = had_peer(&endpoint);
    let topics: Vec<Topic> = args.topics.into_iter().map(|topic| topic.0).collect();
    if args.all_topics && !network.is_websocket() {
        return Err(Failure::usage(format!(
            "--all-topics is for ws:// and wss:// addresses, and this is an address of {}; remove it",
            network.protocol()
        )));
    }
    if let Some(target) = network.target()
        && network.is_websocket()
        && !args.all_topics
        && let Some(topic) = topics.iter().find(|topic| receives_logs(topic))
    {
        if topic.as_bytes().is_empty() {
            return Err(Failure::usage(format!(
                "without a topic, tap subscribes to all topics of {target}. Zeek before 8.0.7, and Zeek 8.1, terminates \
                 when it writes a log, if its cluster back end is Broker; use --topic PREFIX, or --all-topics if it is a different Zeek"
            )));
        }
        tracing::warn!(
            topic = &*topic.to_str_lossy(),
            "the topic includes the logs of {target}. Zeek before 8.0.7, and Zeek 8.1, terminates when it \
             writes a log, if its cluster back end is Broker; --all-topics disables this warning"
        );
    }
    let mut messages = endpoint.subscribe(topics).await;
    let output = BackgroundOutput::start();
    let mut progress = Progress::default();
    let tap = async {
        network.start(&endpoint, persistence).await?;
        // With --follow, there may be no peering yet; the log reports it.
        if let (Some(target), Persistence::FirstMustSucceed) = (network.target(), persistence) {
            stderr::print_line(format_args!("connected to {target}"));
        }
        show.start(&endpoint, &output).await;
        let complete = print(&mut messages, &output, &endpoint, &mut show, args.count, &mut progress).await;
        Ok(if complete { End::Complete } else { End::Interrupted })
    };
    let end = tokio::select! {
        end = tap => end,
        () = output.ended() => Ok(End::Complete),
        () = stdout_closed() => Err(Failure::StdoutClosed),
        () = until(timeout_at) => Ok(End::Timeout),
        () = signals.next() => Ok(End::Interrupted),
    };
    let (dropped, peers) = (endpoint.stats().dropped, endpoint.peers().len());
    let _ = timeout(LAST_LINES, show.leave(&output)).await;
    let is_urgent = network::leave(&endpoint, &mut signals).await;
    let mut patience = if is_urgent { LAST_LINES } else { Duration::MAX };
    if !matches!(end, Ok(End::Complete)) {
        patience = LAST_LINES;
        // Print the messages that arrived before the end. No more arrive, because the endpoint is shut down.
        let rest = print(&mut messages, &output, &endpoint, &mut show, args.count, &mut progress);
        let _ = timeout(LAST_LINES, rest).await;
    }
    let finishing = async {
        // There are no counts if no peering was established.
        if end.is_ok() {
            show.finish(peers, &output).await;
        }
        output.idle().await;
    };
    tokio::select! {
        _ = timeout(patience, finishing) => {}
        // The reader of stdout may have stalled.
        () = signals.next() => patience = LAST_LINES,
        () = until(timeout_at), if patience == Duration::MAX => patience = LAST_LINES,
    }
    let Progress { received, handled, printed } = progress;
    let mut left = received.saturating_sub(handled);
    if args.count != Some(printed) {
        left = left.saturating_add(messages.waiting().try_into().unwrap_or(u64::MAX));
    }
    let written = output.finish(patience).await;
    let end = end?;
    if let Err(Failure::StdoutClosed) = written.result {
        return Err(Failure::StdoutClosed);
    }
    let counts = show.counts();
    // Messages dropped after `--count` was reached are not reported as lost.
    let dropped = if args.count == Some(printed) { 0 } else { dropped };
    let unwritten = if counts { 0 } else { written.unwritten };
    let lost = lost(dropped, left.saturating_add(unwritten), counts);
    let missing = args.count.map(|count| format!("received {printed} of {count} messages"));
    let ended = match (end, missing) {
        (End::Timeout, _) if !may_have_none && !had_peer.load(Ordering::Relaxed) => {
            Err(Failure::timeout("timeout: no peering yet"))
        }
        (End::Timeout, Some(missing)) if args.count != Some(printed) => {
            Err(Failure::timeout(format!("timeout: {missing}")))
        }
        (End::Interrupted, Some(missing)) if args.count != Some(printed) => {
            Err(Failure::failed(format!("interrupted: {missing}")))
        }
        _ => Ok(()),
    };
    let mut messages = Vec::new();
    let mut exit = Exit::Failed;
    for failure in [ended, written.result] {
        if let Err(Failure::Error(code, message)) = failure {
            exit = code;
            messages.push(message);
        }
    }
    if let Some(lost) = lost {
        exit = Exit::Failed;
        messages.push(lost);
    }
    if messages.is_empty() { Ok(()) } else { Err(Failure::Error(exit, messages.join("; "))) }
}

/// Returns the error if messages were received, but not printed or not counted.
fn lost(dropped: u64, left: u64, counts: bool) -> Option<String> {
    let (dropped_reason, hint, left_state) = if counts {
        ("counted, because they arrived too fast", "subscribe to fewer topics", "not counted")
    } else {
        (
            "printed, because they arrived faster than stdout accepts them",
            "write to a faster disk, terminal or program, or subscribe to fewer topics",
            "not, or not completely, written to stdout",
        )
    };
    let dropped = (dropped > 0).then(|| {
        format!(
            "{dropped} messages were not {dropped_reason}; the queue holds at most {} messages or {} MiB; {hint}",
            QUEUE.messages,
            QUEUE.bytes >> 20
        )
    });
    let left = (left > 0).then(|| format!("the last {left} messages were {left_state} before the end"));
    match (dropped, left) {
        (Some(dropped), Some(left)) => Some(format!("{dropped}; {left}")),
        (dropped, left) => dropped.or(left),
    }
}

/// Returns a flag that is set once the endpoint has a peer.
fn had_peer(endpoint: &Endpoint) -> Arc<AtomicBool> {
    let had_peer = Arc::new(AtomicBool::new(false));
    let (flag, mut status) = (had_peer.clone(), endpoint.status());
    spawn(async move {
        while let Some(status) = status.recv().await {
            if matches!(status, Status::PeerAdded { .. }) {
                flag.store(true, Ordering::Relaxed);
                return;
            }
        }
    });
    had_peer
}

/// Counts of messages: received from the endpoint, handled, and printed or counted.
#[derive(Default)]
struct Progress {
    received: u64,
    handled: u64,
    printed: u64,
}

/// Prints until `count` messages are printed or the subscription ends. Returns `false` if the user quits before that.
async fn print(
    messages: &mut Subscriber,
    output: &BackgroundOutput,
    endpoint: &Endpoint,
    show: &mut Show,
    count: Option<u64>,
    progress: &mut Progress,
) -> bool {
    while count != Some(progress.printed) {
        let message = tokio::select! {
            biased;
            turn = show.turn() => {
                if !show.handle(turn, endpoint, output).await {
                    return false;
                }
                continue;
            }
            message = messages.recv() => message,
        };
        let Some(message) = message else { return true };
        progress.received = progress.received.saturating_add(1);
        let matched = show.message(&message, output).await;
        progress.handled = progress.handled.saturating_add(1);
        progress.printed = progress.printed.saturating_add(matched.into());
    }
    true
}
