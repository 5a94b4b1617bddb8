//! The options of `tap`.

use std::io::{self, IsTerminal};

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};

use crate::args::{CurveArgs, DurationArg, Interval, NetworkArgs, TopicArg, WebSocketArgs, count, node_name};

/// Subscribe to topics and print the messages
///
/// Without --topic, subscribes to all topics. The peer then sends every message that it publishes or forwards. A bridge sends only
/// the messages that its rules allow.
///
/// On a terminal, prints one line for each event in Zeek's notation: time (UTC), the first digits of the peer's endpoint id,
/// topic, and name(arguments). Otherwise, prints one line of JSON for each message. The manual page describes both formats.
///
/// --event and --node select messages; if both are given, both must match. --count counts matching messages; a batch counts
/// once. --stats prints counts by topic and event instead of messages.
///
/// With --logs, prints the rows of the logs of a ZeroMQ cluster instead of messages: as JSON with the names of the log and its fields,
/// or as text with the path of the log. The nodes distribute their logs among all loggers, so this takes a part of the logs away
/// from the others. If stdout is read too slowly, the nodes queue up to about 1000 batches, then drop new ones.
///
/// With --connect, the first attempt must succeed; a peering that is lost later is retried. With --follow, the first one is
/// retried as well, and stderr reports every peer that connects or disconnects, as with -v.
///
/// Ends at --count or --timeout, at SIGINT or SIGTERM, or if stdout is closed. Peers are never delayed: if stdout is read too
/// slowly, messages are dropped. Then stderr reports how many were not printed, and the exit code is 1.
#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// The topics to subscribe to, by prefix; the default is all that the peer publishes or forwards
    #[arg(short, long = "topic", value_name = "PREFIX", num_args = 1.., default_value = "", hide_default_value = true)]
    pub(super) topics: Vec<TopicArg>,
    /// Subscribe to all topics of a ws:// or wss:// address. Zeek before 8.0.7, and Zeek 8.1, terminates when
    /// it writes a log, if its cluster back end is Broker
    #[arg(long)]
    pub(super) all_topics: bool,
    /// Print only events with this name; * matches any text, ? one character. May be repeated
    #[arg(long = "event", value_name = "GLOB", value_parser = glob)]
    pub(super) events: Vec<String>,
    /// Print only messages about this node: its hellos and answers, requests to it or to all nodes, and messages that contain its
    /// name as a string, or as a part of the topic between slashes. May be repeated
    #[arg(long = "node", value_name = "NAME", value_parser = node_name)]
    pub(super) nodes: Vec<String>,
    /// Exit after this number of messages
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(super) count: Option<u64>,
    /// Exit after this time; with --count, the exit code is 5 if there were fewer messages
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    pub(super) timeout: Option<DurationArg>,
    /// Retry if the first attempt to connect fails, and report on stderr every peer that connects or disconnects
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print counts and rates by topic and event
    #[arg(long)]
    pub(super) stats: bool,
    /// The interval of --stats, from 100ms to 1day
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1s",
        allow_negative_numbers = true,
        requires = "stats"
    )]
    pub(super) interval: Interval,
    /// Receive the logs of a ZeroMQ cluster at --listen zeromq://ADDR:PORT, as one of its loggers, and print a line for each row
    #[arg(
        long,
        requires = "listen",
        conflicts_with_all = ["topics", "all_topics", "events", "nodes", "follow", "stats", "identity"]
    )]
    pub(super) logs: bool,
    /// Print the identity in the peer's certificate with each message
    #[arg(long, conflicts_with = "stats")]
    pub(super) identity: bool,
    /// The format; auto is text on a terminal and json otherwise; plain is JSON without types, for jq and log pipelines. The time
    /// in a line is the time when the message was read from the queue
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) format: Format,
    /// Colors in text; auto uses them on a terminal
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(super) color: Color,
    /// Do not cut lines at the width of the terminal
    #[arg(long)]
    pub(super) wide: bool,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    #[command(flatten)]
    pub(super) websocket: WebSocketArgs,
    #[command(flatten)]
    pub(super) curve: CurveArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Auto,
    Text,
    Json,
    Plain,
}

impl Format {
    pub(super) fn is_text(self) -> bool {
        match self {
            Format::Auto => io::stdout().is_terminal(),
            Format::Text => true,
            Format::Json | Format::Plain => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    pub(super) fn is_on(self) -> bool {
        match self {
            Color::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
            Color::Always => true,
            Color::Never => false,
        }
    }
}

fn glob(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(
            "use the name of an event, or a pattern such as 'Management::*'; leave it out for all".into()
        );
    }
    Ok(text.to_owned())
}
