//! The options of `tap`.

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};

use crate::args::{NetworkArgs, Seconds, TopicArg, count, node_name};

/// Subscribe to topics and print the messages
///
/// On a terminal, one line for each event in Zeek's notation: the time (UTC), the first digits of the peer's endpoint id,
/// the topic, and name(arguments). Other messages begin with a word: `log create`, `log write`, `identifier`, `value`. A
/// batch is printed as one line for each of its messages. Control characters and others that affect a terminal are
/// escaped, as \u{1b}. Lines are cut at the width of the terminal, unless --wide is given.
///
/// Otherwise, one JSON line for each message. For a Zeek event: "peer", "topic", "event" (its name), "args" and
/// "metadata" (null, or a list of {"id", "value"}). For anything else: "peer", "topic" and "value". Values have the
/// format of Broker's JSON, {"@data-type": .., "data": ..}. With --identity, "identity" follows "peer": null, or the
/// "subject", "sans" (a list such as ["DNS:a.example", "IP:192.0.2.1"]) and "sha256" (the fingerprint in hex) of the
/// peer's certificate.
///
/// --event and --node select messages; if both are given, both must match. They select single messages of a batch, except
/// that JSON prints a complete batch if any of its messages matches. --count counts matching messages; a batch counts once.
///
/// --stats prints counts by topic and event instead of messages: on a terminal a table that is updated, highest rate
/// first (without bytes and shares if there are fewer than 100 columns); with --format text elsewhere a table for each
/// interval; otherwise a JSON line for each interval. It has "seconds" (since the start), "interval" (its length), "end",
/// "peers", "all" and "rows" (those with messages in the interval), each with "count" and "bytes" (so far), "rate"
/// (messages per second) and "bytes_per_second" (in the interval), "share" (of all messages so far) and "last" (the time
/// of the last message). The last line has "end": true and the total time as its interval. There are at most 1000 rows,
/// and names are cut to 256 bytes; further rows are counted together as "others". The bytes of a batch are divided evenly
/// between its messages.
///
/// With --connect, the first attempt must succeed; a peering that is lost later is retried. With --follow, the first one is
/// retried as well, and stderr reports every peer that connects or disconnects, as with -v.
///
/// Ends at --count or --timeout, at SIGINT or SIGTERM, or when a write to stdout fails because it is closed. Peers are
/// never delayed: if messages arrive faster than stdout accepts them, up to 262144 of them (or 64 MiB) are queued and
/// further ones are dropped. In that case, or if queued messages cannot be written at the end, stderr reports how many
/// were not printed, and the exit code is 1.
#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// What to hear: all topics that start with one of these; '' for everything
    #[arg(long = "topic", value_name = "PREFIX", required = true, num_args = 1..)]
    pub(super) topics: Vec<TopicArg>,
    /// Only events of this name; * is any number of letters, ? is one. May be given several times
    #[arg(long = "event", value_name = "GLOB", value_parser = glob)]
    pub(super) events: Vec<String>,
    /// Only what is about this node: its hellos and answers, requests to it or to all nodes, and whatever else has the name
    /// as a string in it or between the slashes of its topic. May be given several times
    #[arg(long = "node", value_name = "NAME", value_parser = node_name)]
    pub(super) nodes: Vec<String>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(super) count: Option<u64>,
    /// End after so long; with --count, exit with 5 if there were fewer messages
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(super) timeout: Option<Seconds>,
    /// Try again if the first attempt to connect fails, too, and tell on stderr of every peer that comes or goes
    #[arg(long)]
    pub(crate) follow: bool,
    /// Count by topic and event, and tell how fast they come
    #[arg(long)]
    pub(super) stats: bool,
    /// How often --stats tells, from 0.1 to 86400
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        allow_negative_numbers = true,
        requires = "stats"
    )]
    pub(super) interval: Interval,
    /// Print with each message who its peer is by its certificate
    #[arg(long, conflicts_with = "stats")]
    pub(super) identity: bool,
    /// Lines for people, or JSON; auto is text on a terminal. Each line has the time at which the message was taken up, which a
    /// slow terminal delays
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) format: Format,
    /// Color in text; auto is on a terminal
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(super) color: Color,
    /// Do not end lines where the terminal does
    #[arg(long)]
    pub(super) wide: bool,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Auto,
    Text,
    Json,
}

impl Format {
    pub(super) fn is_text(self) -> bool {
        match self {
            Format::Auto => io::stdout().is_terminal(),
            Format::Text => true,
            Format::Json => false,
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

/// How often something is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval(pub(super) Duration);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = Duration::from_millis(100)..=Duration::from_secs(86400);
        let interval = text.parse::<Seconds>().ok().map(|seconds| seconds.0);
        let interval = interval.filter(|interval| range.contains(interval));
        interval
            .map(Interval)
            .ok_or_else(|| "give a number of seconds from 0.1 to 86400, such as 5 or 0.5".into())
    }
}

fn glob(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(
            "give the name of an event, or a pattern such as 'Management::*'; leave it out for all".into()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_neither_too_short_nor_endless() {
        assert_eq!("0.5".parse::<Interval>().unwrap().0, Duration::from_millis(500));
        for bad in ["0", "0.09", "-1", "86401", "nan", "1s", ""] {
            assert!(bad.parse::<Interval>().unwrap_err().contains("0.1 to 86400"), "{bad}");
        }
    }
}
