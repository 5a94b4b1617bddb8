//! `tap`: shows what peers say.

mod filter;
mod json;
mod line;
mod message;
mod options;
mod show;
mod stats;
mod terminal;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, QueueLimits, Status, Subscriber};

pub(crate) use self::options::TapArgs;
use self::show::Show;
use crate::network::{self, Network, Persistence};
use crate::output::{BackgroundOutput, Exit, Failure};
use crate::signals::Signals;

/// How long the rest may take when we were asked to end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What may wait to be printed, so that a burst is not dropped.
const WAITING: QueueLimits = QueueLimits { messages: 256 * 1024, bytes: 64 * 1024 * 1024 };

/// Why there is nothing more to print.
enum End {
    Complete,
    Timeout,
    Interrupted,
}

pub(crate) async fn run(args: TapArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut show = Show::new(&args);
    let timeout_at = args.timeout.and_then(|time| Instant::now().checked_add(time.0));
    // Without a first attempt that has to succeed, there may never be a peer.
    let may_have_none = args.network.place.listen.is_some();
    let persistence = if args.follow { Persistence::Persistent } else { Persistence::FirstMustSucceed };
    let network = Network::new(args.network)?;
    let config = EndpointConfig { subscriber_queue: WAITING, ..EndpointConfig::default() };
    let endpoint = network::endpoint_with(config)?;
    let had_peer = had_peer(&endpoint);
    let mut messages = endpoint.subscribe(args.topics.into_iter().map(|topic| topic.0)).await;
    let output = BackgroundOutput::start();
    let mut progress = Progress::default();
    let tap = async {
        network.start(&endpoint, persistence).await?;
        show.start(&endpoint, &output).await;
        let complete = print(&mut messages, &output, &endpoint, &mut show, args.count, &mut progress).await;
        Ok(if complete { End::Complete } else { End::Interrupted })
    };
    let end = tokio::select! {
        end = tap => end,
        () = output.ended() => Ok(End::Complete),
        () = at(timeout_at) => Ok(End::Timeout),
        () = signals.next() => Ok(End::Interrupted),
    };
    let (dropped, peers) = (endpoint.stats().dropped, endpoint.peers().len());
    let _ = timeout(LAST_LINES, show.leave(&output)).await;
    let in_a_hurry = network::leave(&endpoint, &mut signals).await;
    let mut patience = if in_a_hurry { LAST_LINES } else { Duration::MAX };
    if !matches!(end, Ok(End::Complete)) {
        patience = LAST_LINES;
        // What came before the end is still printed. The endpoint is shut down, so nothing more comes.
        let rest = print(&mut messages, &output, &endpoint, &mut show, args.count, &mut progress);
        let _ = timeout(LAST_LINES, rest).await;
    }
    let finishing = async {
        // Not if there was nothing to count.
        if end.is_ok() {
            show.finish(peers, &output).await;
        }
        output.idle().await;
    };
    tokio::select! {
        _ = timeout(patience, finishing) => {}
        // Nobody may be reading.
        () = signals.next() => patience = LAST_LINES,
        () = at(timeout_at), if patience == Duration::MAX => patience = LAST_LINES,
    }
    let Progress { taken, done, printed } = progress;
    let mut left = taken.saturating_sub(done);
    if args.count != Some(printed) {
        left = left.saturating_add(messages.waiting().try_into().unwrap_or(u64::MAX));
    }
    let written = output.finish(patience).await;
    let end = end?;
    if let Err(Failure::StdoutClosed) = written.result {
        return Err(Failure::StdoutClosed);
    }
    let counts = show.counts();
    // What came behind all that was wanted is not missed.
    let dropped = if args.count == Some(printed) { 0 } else { dropped };
    let unwritten = if counts { 0 } else { written.unwritten };
    let lost = lost(dropped, left.saturating_add(unwritten), counts);
    let missing = args.count.map(|count| format!("{printed} of {count} messages came"));
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
    let mut words = Vec::new();
    let mut exit = Exit::Failed;
    for failure in [ended, written.result] {
        if let Err(Failure::Error(code, message)) = failure {
            exit = code;
            words.push(message);
        }
    }
    if let Some(lost) = lost {
        exit = Exit::Failed;
        words.push(lost);
    }
    if words.is_empty() { Ok(()) } else { Err(Failure::Error(exit, words.join("; "))) }
}

/// What is to be said of messages that came and were not printed, or not counted.
fn lost(dropped: u64, left: u64, counts: bool) -> Option<String> {
    let (dropped_why, mend, left_how) = if counts {
        ("counted: they came faster than they could be counted", "hear fewer topics", "not counted")
    } else {
        (
            "printed: they came faster than they could be written to stdout",
            "write to a faster disk, terminal or program, or hear fewer topics",
            "not, or not wholly, written to stdout",
        )
    };
    let dropped = (dropped > 0).then(|| {
        format!(
            "{dropped} messages came and were not {dropped_why}, and no more than {} messages or {} MiB wait for \
             that; {mend}",
            WAITING.messages,
            WAITING.bytes >> 20
        )
    });
    let left = (left > 0).then(|| format!("{left} messages came last and were {left_how} before the end"));
    match (dropped, left) {
        (Some(dropped), Some(left)) => Some(format!("{dropped}; {left}")),
        (dropped, left) => dropped.or(left),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether the endpoint has or had a peer.
fn had_peer(endpoint: &Endpoint) -> Arc<AtomicBool> {
    let had_peer = Arc::new(AtomicBool::new(false));
    let (told, mut status) = (had_peer.clone(), endpoint.status());
    tokio::spawn(async move {
        while let Some(status) = status.recv().await {
            if matches!(status, Status::PeerAdded { .. }) {
                told.store(true, Ordering::Relaxed);
                return;
            }
        }
    });
    had_peer
}

/// How many messages were taken from the endpoint, how many of them are done with, and how many of these fitted and
/// were handed on to be written.
#[derive(Default)]
struct Progress {
    taken: u64,
    done: u64,
    printed: u64,
}

/// Prints until there are `count` messages or the subscription ends. Returns `false` if the user asked to quit before.
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
        progress.taken = progress.taken.saturating_add(1);
        let fitted = show.message(&message, output).await.unwrap_or_else(|error| {
            tracing::error!("a message could not be read: {error}");
            true
        });
        progress.done = progress.done.saturating_add(1);
        progress.printed = progress.printed.saturating_add(fitted.into());
    }
    true
}
