//! `tap`: prints what peers say.

use std::time::Duration;

use serde_json::{Value as Json, json};
use zeek_bridge::endpoint::{Message, Subscriber};
use zeek_bridge::zeek;

use crate::args::TapArgs;
use crate::exit::Failure;
use crate::network::{self, Network, Persistence};
use crate::output::{BackgroundOutput, Object, identity_json, text};
use crate::signals::Signals;

/// How long the reader of stdout may take for the rest when we were asked to end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why there is nothing more to print.
enum End {
    Complete,
    Timeout,
    Interrupted,
}

pub(crate) async fn run(args: TapArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let network = Network::new(args.network)?;
    let endpoint = network::endpoint()?;
    let mut messages = endpoint.subscribe(args.topics.into_iter().map(|topic| topic.0)).await;
    let output = BackgroundOutput::start();
    let (mut started, mut printed) = (false, 0);
    let tap = async {
        network.start(&endpoint, Persistence::FirstMustSucceed).await?;
        started = true;
        print(&mut messages, &output, args.identity, args.count, &mut printed).await;
        Ok(End::Complete)
    };
    let end = tokio::select! {
        end = tap => end,
        () = output.ended() => Ok(End::Complete),
        () = after(args.timeout.map(|timeout| timeout.0)) => Ok(End::Timeout),
        () = signals.next() => Ok(End::Interrupted),
    };
    network::leave(&endpoint, &mut signals).await;
    let dropped = endpoint.stats().dropped;
    if dropped > 0 {
        tracing::warn!(dropped, "stdout was read too slowly, and messages were dropped");
    }
    let patience = if matches!(end, Ok(End::Complete)) { Duration::MAX } else { LAST_LINES };
    let written = output.finish(patience).await;
    let end = end?;
    written?;
    let missing = args.count.map(|count| format!("{printed} of {count} messages came"));
    match (end, missing) {
        (End::Timeout, _) if !started => Err(Failure::timeout("timeout: no peering yet")),
        (End::Timeout, Some(missing)) => Err(Failure::timeout(format!("timeout: {missing}"))),
        (End::Interrupted, Some(missing)) => Err(Failure::failed(format!("interrupted: {missing}"))),
        _ => Ok(()),
    }
}

async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

async fn print(
    messages: &mut Subscriber,
    output: &BackgroundOutput,
    identity: bool,
    count: Option<u64>,
    printed: &mut u64,
) {
    while let Some(message) = messages.recv().await {
        match object(&message, identity) {
            Ok(object) => output.line(object).await,
            Err(error) => tracing::error!("a message could not be read: {error}"),
        }
        *printed = printed.saturating_add(1);
        if Some(*printed) == count {
            return;
        }
    }
}

/// A Zeek event by its parts; anything else as the value that it is.
fn object(message: &Message, identity: bool) -> Result<Object, zeek_bridge::wire::DecodeError> {
    let value = message.value()?;
    let mut object = Object::new().with("peer", message.peer().to_string());
    if identity {
        object = object.with("identity", message.identity().map(identity_json));
    }
    let object = object.with("topic", text(message.topic().as_bytes()));
    Ok(match zeek::Message::from_value(value.clone()) {
        Ok(zeek::Message::Event(event)) => {
            let metadata = event.metadata.as_ref().map(|entries| {
                entries
                    .iter()
                    .map(|(id, value)| json!({"id": id, "value": value.to_json()}))
                    .collect::<Json>()
            });
            object
                .with("event", event.name)
                .with("args", event.args.iter().map(zeek_bridge::data::Value::to_json).collect::<Json>())
                .with("metadata", metadata)
        }
        _ => object.with("value", value.to_json()),
    })
}
