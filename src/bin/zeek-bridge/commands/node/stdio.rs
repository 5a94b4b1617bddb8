//! Answers of a program that talks over this one's stdin and stdout.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use zeek_bridge::management::{Dispatch, JsonText, NodeEvent, NodeEvents};

use crate::input::{self, Line};
use crate::output::{BackgroundOutput, Failure, Object, stderr};
use crate::signals::Signals;

type Answer = Result<Option<JsonText>, String>;

/// How long writing the last lines may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The requests that wait for an answer.
pub(super) struct Stdio {
    node: String,
    requests: mpsc::Sender<Object>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// There will be no answer any more.
    ended: bool,
}

/// A line of stdin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply<'a> {
    id: u64,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    error: Option<String>,
}

/// Adds to an object what a program is to know of a dispatch.
pub(super) fn request(object: Object, node: &str, dispatch: &Dispatch) -> Object {
    object
        .with("node", node)
        .with("peer", dispatch.peer.to_string())
        .with("reqid", dispatch.reqid.as_str())
        .with("action", dispatch.action.as_str())
        .with("args", dispatch.args.as_slice())
}

impl Stdio {
    /// And the requests, for [`Stdio::serve`].
    pub(super) fn new(node: &str) -> (Arc<Self>, mpsc::Receiver<Object>) {
        let (requests, receiver) = mpsc::channel(64);
        (Arc::new(Stdio { node: node.to_owned(), requests, waiting: Mutex::default() }), receiver)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn dispatch(&self, dispatch: &Dispatch, until: Instant) -> Answer {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting();
            waiting.last_id = waiting.last_id.saturating_add(1);
            let id = waiting.last_id;
            if !waiting.ended {
                waiting.answers.insert(id, sender);
            }
            id
        };
        let line = request(Object::new().with("type", "request").with("id", id), &self.node, dispatch);
        let told = timeout_at(until, self.requests.send(line)).await.is_ok();
        let answer = timeout_at(until, answer).await;
        self.waiting().answers.remove(&id);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the node's program has ended".into()),
            Err(_) if told => {
                // If there is no room for it, those who read are late anyway.
                let _ = self.requests.try_send(Object::new().with("type", "expired").with("id", id));
                tracing::warn!(
                    reqid = dispatch.reqid,
                    action = dispatch.action,
                    id,
                    "the program took too long"
                );
                Err("the node's program took too long".into())
            }
            Err(_) => Err("the node is busy: its program does not read its requests".into()),
        }
    }

    /// Prints requests and reads answers, until stdin or stdout ends or there is a signal.
    pub(super) async fn serve(
        &self,
        mut requests: mpsc::Receiver<Object>,
        mut events: NodeEvents,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let output = BackgroundOutput::start();
        let print = async {
            loop {
                let line = tokio::select! {
                    Some(line) = requests.recv() => line,
                    Some(event) = events.recv() => match event {
                        NodeEvent::Hello { peer } => {
                            Object::new().with("type", "hello").with("peer", peer.to_string())
                        }
                        _ => continue,
                    },
                };
                output.line(line).await;
            }
        };
        let result = tokio::select! {
            // Never ends.
            () = print => Ok(()),
            () = output.ended() => Ok(()),
            result = self.read() => result,
            () = signals.next() => Ok(()),
        };
        self.end();
        let written = output.finish(PATIENCE).await.result;
        result.and(written)
    }

    /// Nobody answers any more.
    fn end(&self) {
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.answers.clear();
    }

    async fn read(&self) -> Result<(), Failure> {
        let mut lines = input::open(None)?.lines().in_background();
        let mut bad = 0u64;
        while let Some(lines) = lines.recv().await {
            for Line { number, text } in lines? {
                let taken = text.map_err(|error| error.to_string()).and_then(|text| self.reply(&text));
                if let Err(error) = taken {
                    stderr::print_line(format_args!("line {number}: {error}; it is skipped"));
                    bad = bad.saturating_add(1);
                }
            }
        }
        match bad {
            0 => Ok(()),
            bad => Err(Failure::failed(format!("bad lines that were skipped: {bad}"))),
        }
    }

    fn reply(&self, text: &[u8]) -> Result<(), String> {
        let reply: Reply<'_> = serde_json::from_slice(text).map_err(|error| {
            format!(r#"not {{"id": NUMBER, "data": ANYTHING}} or {{"id": NUMBER, "error": TEXT}}: {error}"#)
        })?;
        let answer = match (reply.data, reply.error) {
            (Some(_), Some(_)) => return Err(r#"both "data" and "error"; leave out one of them"#.into()),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
            (Some(data), None) => match JsonText::new(data.get()) {
                Ok(text) => Ok(Some(text)),
                Err(error) => return Err(format!("\"data\": {error}")),
            },
        };
        let id = reply.id;
        let waiting = self.waiting().answers.remove(&id);
        let waiting = waiting.ok_or_else(|| {
            format!("no request {id} waits for an answer: it was answered, took too long, or never was")
        })?;
        // Or it ends at this very moment.
        let _ = waiting.send(answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_nobody_can_use_say_why() {
        let (stdio, _requests) = Stdio::new("n");
        let (sender, mut answer) = oneshot::channel();
        stdio.waiting().answers.insert(7, sender);
        for (text, words) in [
            ("", "not {\"id\""),
            ("[]", "not {\"id\""),
            ("{\"data\":1}", "missing field `id`"),
            ("{\"id\":7,\"date\":1}", "unknown field `date`"),
            ("{\"id\":-7}", "not {\"id\""),
            ("{\"id\":7,\"data\":1,\"error\":\"x\"}", "leave out one"),
            ("{\"id\":8}", "no request 8 waits"),
        ] {
            let error = stdio.reply(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        stdio.reply(b"{\"id\":7,\"data\":{\"x\": 1.50}}").unwrap();
        assert_eq!(answer.try_recv().unwrap().unwrap().unwrap().as_str(), "{\"x\": 1.50}");
        assert!(stdio.reply(b"{\"id\":7}").unwrap_err().contains("was answered"));
    }
}
