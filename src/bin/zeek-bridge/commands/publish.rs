//! `publish`: says what stdin says.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use zeek_bridge::data::{Topic, Value, parse_json};
use zeek_bridge::endpoint::{ConnectError, Endpoint, Status};
use zeek_bridge::zeek::{self, Event};

use crate::args::PublishArgs;
use crate::exit::{self, Failure};
use crate::handover::{Handover, Progress};
use crate::input::{self, Line};
use crate::network::{self, Network, Persistence};
use crate::progress;
use crate::signals::Signals;

/// How long connecting again is tried after a peering was lost; longer with a longer --timeout. A restart of Zeek takes less.
const LOST: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: PublishArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let target = args.network.place.connect.as_ref().map(|target| target.0.clone());
    let network = Network::new(args.network)?;
    let endpoint = network::endpoint()?;
    let progress = Arc::new(Progress::default());
    let handover = Handover::watch(&endpoint, progress.clone());
    let publisher = Publisher {
        endpoint: &endpoint,
        topic: args.topic.0,
        timeout: args.timeout.map(|timeout| timeout.0),
        progress: &progress,
    };
    let publish = async {
        let start = network.start(&endpoint, Persistence::FirstMustSucceed);
        within(publisher.timeout, start)
            .await
            .unwrap_or_else(|| Err(Failure::timeout("timeout: no peering yet; nothing was published")))?;
        match publisher.publish(input::open(None)?.lines().in_background()).await? {
            0 => Ok(()),
            bad => Err(Failure::failed(format!("bad lines that were skipped: {bad}"))),
        }
    };
    let mut statuses = endpoint.status();
    let given_up = async {
        let tried_for = LOST.max(publisher.timeout.unwrap_or_default());
        let error = given_up(async || statuses.recv().await, tried_for).await;
        Failure::lost(target.as_deref().unwrap_or_default(), &error, tried_for)
            .with(nothing_behind(&progress))
    };
    let mut result = tokio::select! {
        result = publish => result,
        failure = given_up, if target.is_some() => Err(failure),
        () = signals.next() => Err(Failure::failed(format!("interrupted: {}", nothing_behind(&progress)))),
    };
    network::leave(&endpoint, &mut signals).await;
    if let Some(lost) = handover.lost().await {
        result = Err(match result {
            Err(Failure::Error(_, words)) => Failure::failed(format!("{words}; {lost}")),
            _ => Failure::failed(lost),
        });
    }
    result
}

/// How far the publishing has come.
fn nothing_behind(progress: &Progress) -> String {
    match progress.taken() {
        0 => "nothing was published".to_owned(),
        line => format!("nothing behind line {line} was published"),
    }
}

/// Waits until a peering was lost and could not be established again for this time. Returns why the last attempt failed,
/// or how the peering ended if no attempt has.
async fn given_up(mut next: impl AsyncFnMut() -> Option<Status>, tried_for: Duration) -> ConnectError {
    let mut lost: Option<(Instant, ConnectError)> = None;
    loop {
        let status = match &lost {
            None => next().await,
            Some((deadline, error)) => match timeout_at(*deadline, next()).await {
                Ok(status) => status,
                Err(_) => return error.clone(),
            },
        };
        match status {
            Some(Status::PeerAdded { .. }) => lost = None,
            Some(Status::PeerLost { error, .. } | Status::PeerRemoved { error: Some(error), .. }) => {
                let now = Instant::now();
                lost = Some((now.checked_add(tried_for).unwrap_or(now), error));
            }
            Some(Status::PeerUnavailable { error: latest, .. }) => {
                if let Some((_, error)) = &mut lost {
                    *error = latest;
                }
            }
            Some(_) => {}
            // The endpoint is gone, and with it whoever waits here.
            None => std::future::pending().await,
        }
    }
}

/// `None` if it takes longer.
async fn within<T>(timeout: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, future).await.ok(),
        None => Some(future.await),
    }
}

struct Publisher<'a> {
    endpoint: &'a Endpoint,
    topic: Topic,
    timeout: Option<Duration>,
    progress: &'a Progress,
}

impl Publisher<'_> {
    /// Waits for a peer that wants the topic.
    async fn wait(&self) -> Result<(), Failure> {
        within(self.timeout, self.endpoint.wait_for_subscribers(&self.topic, 1)).await.map(drop).ok_or_else(|| {
            let peers = self.endpoint.peers().len();
            let published = nothing_behind(self.progress);
            Failure::timeout(format!(
                "timeout: no peer wants the topic {} (peers there: {peers}); is anybody subscribed to it? {published}",
                self.topic
            ))
        })
    }

    /// Publishes every line, and says how many could not be.
    async fn publish(&self, mut lines: mpsc::Receiver<Result<Vec<Line>, Failure>>) -> Result<u64, Failure> {
        let mut bad = 0u64;
        // Whoever types the lines sees them.
        let shown = (!io::stdin().is_terminal()).then(|| progress::Progress::new(None, "messages"));
        while let Some(lines) = lines.recv().await {
            for Line { number, text } in lines? {
                let published = match text {
                    Ok(text) => self.line(number, &text).await?,
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = published {
                    exit::say(format_args!("line {number}: {error}; it is skipped"));
                    bad = bad.saturating_add(1);
                }
                if let Some(shown) = &shown {
                    shown.inc(1);
                }
            }
        }
        Ok(bad)
    }

    /// Publishes one line; the inner error is what is wrong with it.
    async fn line(&self, number: u64, text: &[u8]) -> Result<Result<(), String>, Failure> {
        let value = match message(text) {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        };
        self.progress.try_line(number);
        loop {
            {
                let _publishing = self.progress.publishing().await;
                match self.endpoint.publish(self.topic.clone(), &value).await {
                    // Nobody wants it yet, or any more.
                    Ok(0) => {}
                    Ok(_) => {
                        self.progress.line_taken(number);
                        return Ok(Ok(()));
                    }
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            self.wait().await?;
        }
    }
}

/// What a line can be, for those who got it wrong.
const SHAPES: &str =
    r#"expected {"event": NAME, "args": [VALUE..]} or a value {"@data-type": .., "data": ..}"#;

/// The payload that a line stands for.
fn message(text: &[u8]) -> Result<Value, String> {
    let json = parse_json(text).map_err(|error| error.to_string())?;
    let Json::Object(mut object) = json else {
        return Err(format!("not an object; {SHAPES}"));
    };
    if object.contains_key("@data-type") {
        return value(&Json::Object(object));
    }
    // Where a line from `tap` came from.
    object.remove("peer");
    object.remove("identity");
    object.remove("topic");
    if let Some(bare) = object.remove("value") {
        nothing_else(&object)?;
        return value(&bare);
    }
    event(object).map(|event| zeek::Message::from(event).into_value())
}

fn event(mut object: Map<String, Json>) -> Result<Event, String> {
    let name = match object.remove("event") {
        Some(Json::String(name)) if !name.is_empty() => name,
        Some(_) => return Err("\"event\" is not a name".into()),
        None => return Err(format!("there is no \"event\"; {SHAPES}")),
    };
    let args = match object.remove("args") {
        Some(Json::Array(args)) => numbered("argument", &args, value)?,
        Some(_) => return Err("\"args\" is not an array of values".into()),
        None => Vec::new(),
    };
    let metadata = match object.remove("metadata") {
        Some(Json::Array(entries)) => Some(numbered("metadata entry", &entries, metadata)?),
        Some(Json::Null) | None => None,
        Some(_) => return Err("\"metadata\" is not an array of {\"id\": COUNT, \"value\": VALUE}".into()),
    };
    nothing_else(&object)?;
    Ok(Event { name, args, metadata })
}

fn metadata(entry: &Json) -> Result<(u64, Value), String> {
    let id = entry.get("id").and_then(Json::as_u64).ok_or("its \"id\" is not a count")?;
    let content = entry.get("value").ok_or("it has no \"value\"")?;
    Ok((id, value(content)?))
}

fn value(json: &Json) -> Result<Value, String> {
    Value::from_json(json).map_err(|error| error.to_string())
}

fn numbered<T>(
    what: &str,
    list: &[Json],
    read: impl Fn(&Json) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let numbered = (1u64..).zip(list);
    numbered.map(|(n, json)| read(json).map_err(|error| format!("{what} {n}: {error}"))).collect()
}

fn nothing_else(object: &Map<String, Json>) -> Result<(), String> {
    match object.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("{name:?} is not known here; {SHAPES}")),
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{EndpointId, Timespan, Timestamp};
    use zeek_bridge::peering::CloseReason;

    use super::*;

    fn event_of(text: &str) -> Event {
        match zeek::Message::from_value(message(text.as_bytes()).unwrap()) {
            Ok(zeek::Message::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_has_a_name_arguments_and_perhaps_metadata() {
        assert_eq!(event_of(r#"{"event":"e"}"#), Event::new("e", ()));
        let text = r#"{"event":"e","args":[{"@data-type":"count","data":7}],"metadata":null}"#;
        assert_eq!(event_of(text), Event::new("e", (7u64,)));
        let text = r#"{"peer":"p","topic":"t","event":"e","args":[],
                       "metadata":[{"id":1,"value":{"@data-type":"timestamp","ns":5}}]}"#;
        assert_eq!(event_of(text), Event::new("e", ()).with_network_timestamp(Timestamp::from_nanos(5)));
    }

    /// As Broker and Zeek write them.
    #[test]
    fn times_are_read_in_the_form_of_brokers_json() {
        for (data_type, text, value) in [
            (
                "timestamp",
                "2023-04-18T12:13:15.000",
                Value::Timestamp(Timestamp::from_nanos(1_681_819_995_000_000_000)),
            ),
            (
                "timestamp",
                "2023-04-18T14:13:15.5+02:00",
                Value::Timestamp(Timestamp::from_nanos(1_681_819_995_500_000_000)),
            ),
            ("timespan", "12s", Value::Timespan(Timespan::from_nanos(12_000_000_000))),
            ("timespan", "-1500us", Value::Timespan(Timespan::from_nanos(-1_500_000))),
        ] {
            let line = format!(r#"{{"event":"e","args":[{{"@data-type":"{data_type}","data":"{text}"}}]}}"#);
            assert_eq!(event_of(&line).args, [value], "{text}");
        }
    }

    #[test]
    fn a_bare_value_is_published_as_it_is() {
        for text in [
            r#"{"@data-type":"count","data":7}"#,
            r#"{"peer":"p","identity":null,"topic":"t","value":{"@data-type":"count","data":7}}"#,
        ] {
            assert_eq!(message(text.as_bytes()), Ok(Value::Count(7)), "{text}");
        }
    }

    fn added() -> Status {
        Status::PeerAdded { peer: EndpointId::NIL, address: "a:1".into(), identity: None }
    }

    fn lost() -> Status {
        let error = ConnectError::Closed(CloseReason::PeerLeft);
        Status::PeerLost { peer: EndpointId::NIL, address: "a:1".into(), error, unsent: 0 }
    }

    fn unavailable() -> Status {
        let error = ConnectError::TlsTimeout(LOST);
        Status::PeerUnavailable { address: "a:1".into(), error, retry_in: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peering_that_does_not_come_back_is_given_up_and_one_that_does_is_not() {
        let (send, mut statuses) = mpsc::unbounded_channel();
        let start = Instant::now();
        let watch = given_up(async || statuses.recv().await, LOST);
        let peer = async {
            // Before the first peering, it is the first attempt that decides.
            send.send(unavailable()).unwrap();
            tokio::time::sleep(LOST * 2).await;
            for status in [added(), lost()] {
                send.send(status).unwrap();
            }
            tokio::time::sleep(LOST / 2).await;
            send.send(added()).unwrap();
            tokio::time::sleep(LOST * 2).await;
            for status in [lost(), unavailable()] {
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
    }

    #[test]
    fn what_is_wrong_with_a_line_is_named() {
        for (text, words) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("\u{0}", "not JSON"),
            ("7", "not an object"),
            ("{}", "no \"event\""),
            (r#"{"event":7}"#, "not a name"),
            (r#"{"event":""}"#, "not a name"),
            (r#"{"event":"e","args":{}}"#, "\"args\" is not an array"),
            (r#"{"event":"e","args":[{"@data-type":"none"},7]}"#, "argument 2: "),
            (r#"{"event":"e","arg":[]}"#, "\"arg\" is not known"),
            (r#"{"event":"e","metadata":{}}"#, "\"metadata\" is not an array"),
            (r#"{"event":"e","metadata":[{"id":-1}]}"#, "metadata entry 1: its \"id\""),
            (r#"{"event":"e","metadata":[{"id":1}]}"#, "metadata entry 1: it has no \"value\""),
            (r#"{"value":{"@data-type":"none"},"args":[]}"#, "\"args\" is not known"),
            (r#"{"@data-type":"nonsense"}"#, "@data-type"),
        ] {
            let error = message(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(message(b"{\"event\":\"\xff\"}").unwrap_err().contains("not JSON"));
    }
}
