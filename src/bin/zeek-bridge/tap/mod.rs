//! `tap`: prints what peers say.

use std::time::Duration;

use tokio::time::timeout;
use zeek_bridge::data::Value;
use zeek_bridge::endpoint::{EndpointConfig, Message, QueueLimits, Subscriber};
use zeek_bridge::wire::DecodeError;
use zeek_bridge::zeek::{self, Event};

use crate::args::TapArgs;
use crate::background::BackgroundOutput;
use crate::exit::{Exit, Failure};
use crate::network::{self, Network, Persistence};
use crate::output::{Object, identity_json, text};
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
    let network = Network::new(args.network)?;
    let config = EndpointConfig { subscriber_queue: WAITING, ..EndpointConfig::default() };
    let endpoint = network::endpoint_with(config)?;
    let mut messages = endpoint.subscribe(args.topics.into_iter().map(|topic| topic.0)).await;
    let output = BackgroundOutput::start();
    let (mut started, mut progress) = (false, Progress::default());
    let tap = async {
        network.start(&endpoint, Persistence::FirstMustSucceed).await?;
        started = true;
        print(&mut messages, &output, args.identity, args.count, &mut progress).await;
        Ok(End::Complete)
    };
    let end = tokio::select! {
        end = tap => end,
        () = output.ended() => Ok(End::Complete),
        () = after(args.timeout.map(|timeout| timeout.0)) => Ok(End::Timeout),
        () = signals.next() => Ok(End::Interrupted),
    };
    let dropped = endpoint.stats().dropped;
    network::leave(&endpoint, &mut signals).await;
    let mut patience = Duration::MAX;
    if !matches!(end, Ok(End::Complete)) {
        patience = LAST_LINES;
        // What came before the end is still printed. The endpoint is shut down, so nothing more comes.
        let _ = timeout(LAST_LINES, print(&mut messages, &output, args.identity, args.count, &mut progress))
            .await;
    }
    let Progress { taken, printed } = progress;
    let mut left = taken.saturating_sub(printed);
    if args.count != Some(printed) {
        left = left.saturating_add(messages.waiting().try_into().unwrap_or(u64::MAX));
    }
    let written = output.finish(patience).await;
    let end = end?;
    if let Err(Failure::StdoutClosed) = written.result {
        return Err(Failure::StdoutClosed);
    }
    let lost = lost(dropped, left.saturating_add(written.unwritten));
    let missing = args.count.map(|count| format!("{printed} of {count} messages came"));
    let ended = match (end, missing) {
        (End::Timeout, _) if !started => Err(Failure::timeout("timeout: no peering yet")),
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

/// What is to be said of messages that came and were not printed.
fn lost(dropped: u64, unwritten: u64) -> Option<String> {
    let dropped = (dropped > 0).then(|| {
        format!(
            "{dropped} messages came and were not printed: they came faster than they could be written to stdout, and \
             no more than {} messages or {} MiB wait for that; write to a faster disk, terminal or program, or hear \
             fewer topics",
            WAITING.messages,
            WAITING.bytes >> 20
        )
    });
    let unwritten = (unwritten > 0).then(|| {
        format!(
            "{unwritten} messages came last and were not, or not wholly, written to stdout before the end"
        )
    });
    match (dropped, unwritten) {
        (Some(dropped), Some(unwritten)) => Some(format!("{dropped}; {unwritten}")),
        (dropped, unwritten) => dropped.or(unwritten),
    }
}

async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// How many messages were taken from the endpoint, and how many of them handed on to be written.
#[derive(Default)]
struct Progress {
    taken: u64,
    printed: u64,
}

/// Prints until there are `count`, or no more come.
async fn print(
    messages: &mut Subscriber,
    output: &BackgroundOutput,
    identity: bool,
    count: Option<u64>,
    progress: &mut Progress,
) {
    while count != Some(progress.printed) {
        let Some(message) = messages.recv().await else { return };
        progress.taken = progress.taken.saturating_add(1);
        match object(&message, identity) {
            Ok(object) => output.line(object).await,
            Err(error) => tracing::error!("a message could not be read: {error}"),
        }
        progress.printed = progress.printed.saturating_add(1);
    }
}

/// A Zeek event by its parts; anything else as the value that it is.
fn object(message: &Message, identity: bool) -> Result<Object, DecodeError> {
    let mut object = Object::new().with("peer", message.peer().to_string());
    if identity {
        object = object.with("identity", message.identity().map(identity_json));
    }
    let object = object.with("topic", text(message.topic().as_bytes()));
    let value = message.value()?;
    if !matches!(value, Value::Vector(_)) {
        return Ok(object.with_value("value", &value));
    }
    Ok(match zeek::Message::from_value(value) {
        Ok(zeek::Message::Event(event)) => parts(object, &event),
        // Read once more, which is cheaper than a copy of every event.
        _ => object.with_value("value", &message.value()?),
    })
}

fn parts(object: Object, event: &Event) -> Object {
    let object = object.with("event", event.name.as_str()).with_values("args", &event.args);
    let Some(metadata) = &event.metadata else { return object.with("metadata", None::<u64>) };
    let entry =
        |(id, value): &(u64, Value)| Object::new().with("id", *id).with_value("value", value).into_line();
    let entries = metadata.iter().map(entry).collect::<Vec<_>>().join(&b',');
    object.with_bytes("metadata", &[b"[", entries.as_slice(), b"]"].concat())
}
