//! Prints or counts the messages that match the filter.

use std::time::SystemTime;

use zeek_bridge::endpoint::{Endpoint, Message};

use super::filter::Filter;
use super::json;
use super::message::{Content, peer};
use super::options::{Format, TapArgs};
use super::plain;
use super::stats::{Stats, Turn};
use super::text::{Origin, Text};
use crate::output::BackgroundOutput;
use crate::terminal;

/// When the collected lines of a message exceed this number of bytes, they are passed to the output.
const CHUNK: usize = 64 * 1024;

/// Prints or counts messages.
#[derive(Debug)]
pub(super) struct Show {
    filter: Filter,
    identity: bool,
    wide: bool,
    output: Output,
    /// True after [`Show::leave`]: [`Show::turn`] then never completes.
    over: bool,
}

#[derive(Debug)]
enum Output {
    Json,
    Plain,
    Text(Text),
    Stats(Box<Stats>),
}

impl Show {
    pub(super) fn new(args: &TapArgs) -> Self {
        let (text, color) = (args.format.is_text(), args.color.is_on());
        let output = match (args.stats, text) {
            (true, _) => Output::Stats(Box::new(Stats::new(args.interval.0, text, color, args.wide))),
            (false, true) => Output::Text(Text::new(color)),
            (false, false) if args.format == Format::Plain => Output::Plain,
            (false, false) => Output::Json,
        };
        let filter = Filter::new(&args.events, args.nodes.clone());
        Show { filter, identity: args.identity, wide: args.wide, output, over: false }
    }

    /// Returns whether messages are counted instead of printed.
    pub(super) fn counts(&self) -> bool {
        matches!(self.output, Output::Stats(_))
    }

    pub(super) async fn start(&mut self, endpoint: &Endpoint, output: &BackgroundOutput) {
        if let Output::Stats(stats) = &mut self.output {
            stats.start(output, endpoint.peers().len()).await;
        }
    }

    /// Prints or counts a message. Returns whether it matches the filter.
    pub(super) async fn message(&mut self, message: &Message, output: &BackgroundOutput) -> bool {
        let content = Content::read(message);
        let mut parts = content.parts();
        let of = parts.len();
        parts.retain(|part| self.filter.matches(message.topic(), *part));
        if parts.is_empty() {
            return false;
        }
        match &mut self.output {
            Output::Json => output.line(json::line(message, &content, self.identity)).await,
            Output::Plain => {
                let lines = parts.iter().map(|part| {
                    let mut line = plain::line(message, *part, self.identity);
                    line.push(b'\n');
                    line
                });
                print(lines, output).await;
            }
            Output::Text(text) => {
                let limit = if self.wide { None } else { terminal::columns() };
                let identity = self.identity.then(|| {
                    let token = message.websocket().and_then(|peer| peer.token.as_ref());
                    let certificate = message.identity().map(|identity| identity.subject.clone());
                    certificate
                        .or(token.map(|name| format!("token:{name}")))
                        .unwrap_or_else(|| "-".to_owned())
                });
                let origin = Origin::new(SystemTime::now(), peer(message), identity, message.topic());
                let lines = parts.iter().map(|part| {
                    let mut line = String::new();
                    text.line(&mut line, &origin, *part, limit);
                    line.into_bytes()
                });
                print(lines, output).await;
            }
            Output::Stats(stats) => {
                stats.count(message.topic(), &parts, of, message.envelope().payload.len())
            }
        }
        true
    }

    /// Waits for the next turn: the end of an interval of `--stats`, a key, or a signal of the terminal.
    pub(super) async fn turn(&mut self) -> Turn {
        match &mut self.output {
            Output::Stats(stats) if !self.over => stats.turn().await,
            Output::Stats(_) | Output::Json | Output::Plain | Output::Text(_) => std::future::pending().await,
        }
    }

    /// Handles a turn. Returns `false` if the user asked to quit.
    pub(super) async fn handle(
        &mut self,
        turn: Turn,
        endpoint: &Endpoint,
        output: &BackgroundOutput,
    ) -> bool {
        match &mut self.output {
            Output::Stats(stats) => stats.handle(turn, output, endpoint.peers().len()).await,
            Output::Json | Output::Plain | Output::Text(_) => true,
        }
    }

    /// Ends the turns and restores the terminal.
    pub(super) async fn leave(&mut self, output: &BackgroundOutput) {
        self.over = true;
        if let Output::Stats(stats) = &mut self.output {
            stats.leave(output).await;
        }
    }

    /// Reports the total at the end.
    pub(super) async fn finish(&mut self, peers: usize, output: &BackgroundOutput) {
        if let Output::Stats(stats) = &mut self.output {
            stats.finish(output, peers).await;
        }
    }
}

/// Prints one line for each part of a message, in chunks, because a batch may have many parts.
async fn print(parts: impl Iterator<Item = Vec<u8>>, output: &BackgroundOutput) {
    let mut lines = Vec::new();
    for part in parts {
        if lines.len() > CHUNK {
            output.text(&lines, 0).await;
            lines.clear();
        }
        lines.extend(part);
    }
    output.text(&lines, 1).await;
}
