//! Responses from a program that is connected to the stdin and stdout of this program.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use zeek_bridge::management::{Dispatch, JsonText, NodeEvent, NodeEvents};

use super::request::Request;
use crate::input::{self, Line};
use crate::output::{BackgroundOutput, Failure, stderr, to_line};
use crate::signals::Signals;

type Answer = Result<Option<JsonText>, String>;

/// Maximum time for writing the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The requests that the program has not answered.
pub(super) struct Stdio {
    node: String,
    /// Lines for the program.
    lines: mpsc::Sender<Vec<u8>>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    last_id: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// True once the program has ended, so that no answer will arrive.
    ended: bool,
}

/// A line for the program.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Message<'a> {
    Request {
        id: u64,
        #[serde(flatten)]
        request: Request<'a>,
    },
    Hello {
        peer: String,
    },
    Expired {
        id: u64,
    },
}

/// A line of the program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply<'a> {
    id: u64,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    error: Option<String>,
}

impl Stdio {
    /// Also returns the queue of lines for the program, which [`Stdio::serve`] prints.
    pub(super) fn new(node: &str) -> (Arc<Self>, mpsc::Receiver<Vec<u8>>) {
        let (lines, receiver) = mpsc::channel(64);
        (Arc::new(Stdio { node: node.to_owned(), lines, pending: Mutex::default() }), receiver)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // No code panics while it holds the lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a request to the program, and waits for its answer. An error is the text of the failure for the agent. The text
    /// shows whether the program is slow, or does not read its requests.
    pub(super) async fn dispatch(&self, dispatch: &Dispatch, deadline: Instant) -> Answer {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut pending = self.pending();
            pending.last_id = pending.last_id.saturating_add(1);
            let id = pending.last_id;
            if !pending.ended {
                pending.answers.insert(id, sender);
            }
            id
        };
        let line = to_line(&Message::Request { id, request: Request::new(&self.node, dispatch) });
        let sent = timeout_at(deadline, self.lines.send(line)).await.is_ok();
        let answer = timeout_at(deadline, answer).await;
        self.pending().answers.remove(&id);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the node's program has ended".into()),
            Err(_) if sent => {
                // The line is dropped if the queue is full, because the program then has more requests than it can handle.
                let _ = self.lines.try_send(to_line(&Message::Expired { id }));
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
        mut lines: mpsc::Receiver<Vec<u8>>,
        mut events: NodeEvents,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let output = BackgroundOutput::start();
        let print = async {
            loop {
                let line = tokio::select! {
                    Some(line) = lines.recv() => line,
                    Some(event) = events.recv() => match event {
                        NodeEvent::Hello { peer } => to_line(&Message::Hello { peer: peer.to_string() }),
                        _ => continue,
                    },
                };
                output.line(line).await;
            }
        };
        let result = tokio::select! {
            // Never completes.
            () = print => Ok(()),
            () = output.ended() => Ok(()),
            result = self.read() => result,
            () = signals.next() => Ok(()),
        };
        self.end();
        let written = output.finish(LAST_LINES).await.result;
        result.and(written)
    }

    /// Fails all pending and future requests.
    fn end(&self) {
        let mut pending = self.pending();
        pending.ended = true;
        pending.answers.clear();
    }

    /// Reads answers until the end of stdin. Invalid lines are reported and skipped.
    async fn read(&self) -> Result<(), Failure> {
        let mut lines = input::open(None)?.lines().in_background();
        let mut bad = 0u64;
        while let Some(lines) = lines.recv().await {
            for Line { number, text } in lines? {
                let result = text.map_err(|error| error.to_string()).and_then(|text| self.reply(&text));
                if let Err(error) = result {
                    stderr::print_line(format_args!("line {number}: {error}; skipped"));
                    bad = bad.saturating_add(1);
                }
            }
        }
        match bad {
            0 => Ok(()),
            bad => Err(Failure::failed(format!("skipped invalid lines: {bad}"))),
        }
    }

    /// Resolves the pending request that a line answers.
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
        let pending = self.pending().answers.remove(&id);
        let pending = pending.ok_or_else(|| {
            format!("request {id} is not pending: it was answered, has expired, or never existed")
        })?;
        // Fails if the request expires at this moment.
        let _ = pending.send(answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_replies_are_reported() {
        let (stdio, _lines) = Stdio::new("n");
        let (sender, mut answer) = oneshot::channel();
        stdio.pending().answers.insert(7, sender);
        for (text, message) in [
            ("", "not {\"id\""),
            ("[]", "not {\"id\""),
            ("{\"data\":1}", "missing field `id`"),
            ("{\"id\":7,\"date\":1}", "unknown field `date`"),
            ("{\"id\":-7}", "not {\"id\""),
            ("{\"id\":7,\"data\":1,\"error\":\"x\"}", "leave out one"),
            ("{\"id\":8}", "request 8 is not pending"),
        ] {
            let error = stdio.reply(text.as_bytes()).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
        stdio.reply(b"{\"id\":7,\"data\":{\"x\": 1.50}}").unwrap();
        assert_eq!(answer.try_recv().unwrap().unwrap().unwrap().as_str(), "{\"x\": 1.50}");
        assert!(stdio.reply(b"{\"id\":7}").unwrap_err().contains("was answered"));
    }
}
