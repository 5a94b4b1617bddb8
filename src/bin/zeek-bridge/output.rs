//! Data on stdout, one JSON document a line.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};
use zeek_bridge::net::tls::PeerIdentity;

use crate::exit::Failure;

/// A JSON object whose members stand in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Object(String::new())
    }

    /// Adds a member. The name is written as it is.
    #[must_use]
    pub(crate) fn with(self, name: &'static str, value: impl Into<Json>) -> Self {
        self.with_text(name, &value.into().to_string())
    }

    /// Adds a member whose value is a JSON text already.
    #[must_use]
    pub(crate) fn with_text(mut self, name: &'static str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        // Line breaks can only stand between the tokens of a JSON text.
        self.0.extend(value.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
        self
    }

    pub(crate) fn into_line(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// Bytes that are text by custom: text, or `{"hex": ..}` where they are not.
pub(crate) fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"hex": HEXLOWER.encode(bytes)}),
    }
}

/// Who a peer is by its certificate.
pub(crate) fn identity_json(identity: &PeerIdentity) -> Json {
    let sans: Json = identity.sans.iter().map(ToString::to_string).collect();
    json!({"subject": identity.subject, "sans": sans, "sha256": identity.sha256_hex()})
}

/// Stdout for a command that does nothing else meanwhile.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Self {
        Output(BufWriter::new(io::stdout().lock()))
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.0.write_all(line.as_bytes()).and_then(|()| self.0.write_all(b"\n")).map_err(|e| failure(&e))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|e| failure(&e))
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    }
}

/// Stdout for a command that must go on while its reader is slow: lines are written by a thread.
pub(crate) struct BackgroundOutput {
    lines: mpsc::Sender<String>,
    end: oneshot::Receiver<Result<(), Failure>>,
}

impl BackgroundOutput {
    pub(crate) fn start() -> Self {
        let (lines, receiver) = mpsc::channel(256);
        let (sender, end) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = sender.send(write_all(receiver));
        });
        BackgroundOutput { lines, end }
    }

    /// Hands a line on; waits while the reader is too slow. After the end of stdout, lines go nowhere:
    /// see [`BackgroundOutput::ended`].
    pub(crate) async fn line(&self, object: Object) {
        let _ = self.lines.send(object.into_line()).await;
    }

    /// Waits until nothing can be written any more; [`BackgroundOutput::finish`] says why.
    pub(crate) async fn ended(&self) {
        self.lines.closed().await;
    }

    /// Waits until everything is written, at most so long.
    pub(crate) async fn finish(self, patience: Duration) -> Result<(), Failure> {
        drop(self.lines);
        match tokio::time::timeout(patience, self.end).await {
            Ok(Ok(result)) => result,
            _ => Err(Failure::failed("stdout is not read: not everything was written")),
        }
    }
}

fn write_all(mut lines: mpsc::Receiver<String>) -> Result<(), Failure> {
    let mut output = Output::new();
    while let Some(line) = lines.blocking_recv() {
        output.line(&line)?;
        // Together what is there together, and at once what comes alone.
        while let Ok(line) = lines.try_recv() {
            output.line(&line)?;
        }
        output.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_in_the_order_given() {
        let object = Object::new().with("z", json!(["a\nb"])).with_text("a", "{\r\n \"b\": 1.0\n}");
        assert_eq!(object.into_line(), "{\"z\":[\"a\\nb\"],\"a\":{   \"b\": 1.0 }}");
        assert_eq!(Object::new().into_line(), "{}");
    }
}
