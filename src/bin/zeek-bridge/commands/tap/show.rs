//! How what comes is shown.

use std::time::SystemTime;

use zeek_bridge::endpoint::{Endpoint, Message};
use zeek_bridge::wire::DecodeError;

use super::filter::Filter;
use super::json;
use super::message::{Part, Said};
use super::options::TapArgs;
use super::stats::{Stats, Turn};
use super::terminal;
use super::text::{Origin, Text};
use crate::output::BackgroundOutput;

/// How much text of one message is handed on together, in bytes.
const CHUNK: usize = 64 * 1024;

/// Shows what fits.
#[derive(Debug)]
pub(super) struct Show {
    filter: Filter,
    identity: bool,
    wide: bool,
    how: How,
    over: bool,
}

#[derive(Debug)]
enum How {
    Json,
    Text(Text),
    Stats(Box<Stats>),
}

impl Show {
    pub(super) fn new(args: &TapArgs) -> Self {
        let (text, color) = (args.format.is_text(), args.color.is_on());
        let how = match (args.stats, text) {
            (true, _) => How::Stats(Box::new(Stats::new(args.interval.0, text, color, args.wide))),
            (false, true) => How::Text(Text::new(color)),
            (false, false) => How::Json,
        };
        let filter = Filter::new(&args.events, args.nodes.clone());
        Show { filter, identity: args.identity, wide: args.wide, how, over: false }
    }

    /// Whether messages are counted, and not printed.
    pub(super) fn counts(&self) -> bool {
        matches!(self.how, How::Stats(_))
    }

    pub(super) async fn start(&mut self, endpoint: &Endpoint, output: &BackgroundOutput) {
        if let How::Stats(stats) = &mut self.how {
            stats.start(output, endpoint.peers().len()).await;
        }
    }

    /// Shows a message, if it fits; whether it does.
    pub(super) async fn message(
        &mut self,
        message: &Message,
        output: &BackgroundOutput,
    ) -> Result<bool, DecodeError> {
        let said = Said::read(message)?;
        let mut parts = said.parts();
        let of = parts.len();
        parts.retain(|part| self.filter.fits(message.topic(), *part));
        if parts.is_empty() {
            return Ok(false);
        }
        match &mut self.how {
            How::Json => output.line(json::object(message, &said, self.identity)?).await,
            How::Text(text) => {
                let limit = if self.wide { None } else { terminal::columns() };
                let identity = self.identity.then(|| {
                    message.identity().map_or_else(|| "-".to_owned(), |identity| identity.subject.to_string())
                });
                let peer = message.peer().to_string();
                let origin = Origin::new(SystemTime::now(), peer, identity, message.topic());
                print(text, &origin, &parts, limit, output).await;
            }
            How::Stats(stats) => stats.count(message.topic(), &parts, of, message.envelope().payload.len()),
        }
        Ok(true)
    }

    /// Waits until there is something to tell that is no message.
    pub(super) async fn turn(&mut self) -> Turn {
        match &mut self.how {
            How::Stats(stats) if !self.over => stats.turn().await,
            How::Stats(_) | How::Json | How::Text(_) => std::future::pending().await,
        }
    }

    /// Handles a turn. Returns `false` if the user asked to quit.
    pub(super) async fn handle(
        &mut self,
        turn: Turn,
        endpoint: &Endpoint,
        output: &BackgroundOutput,
    ) -> bool {
        match &mut self.how {
            How::Stats(stats) => stats.handle(turn, output, endpoint.peers().len()).await,
            How::Json | How::Text(_) => true,
        }
    }

    /// Ends the turns and restores the terminal.
    pub(super) async fn leave(&mut self, output: &BackgroundOutput) {
        self.over = true;
        if let How::Stats(stats) = &mut self.how {
            stats.leave(output).await;
        }
    }

    /// Tells what is to be told at the end.
    pub(super) async fn finish(&mut self, peers: usize, output: &BackgroundOutput) {
        if let How::Stats(stats) = &mut self.how {
            stats.finish(output, peers).await;
        }
    }
}

/// A batch may be long.
async fn print(
    text: &mut Text,
    origin: &Origin<'_>,
    parts: &[Part<'_>],
    limit: Option<usize>,
    output: &BackgroundOutput,
) {
    let mut lines = String::new();
    for part in parts {
        if lines.len() > CHUNK {
            output.text(lines.as_bytes(), 0).await;
            lines.clear();
        }
        text.line(&mut lines, origin, *part, limit);
    }
    output.text(lines.as_bytes(), 1).await;
}
