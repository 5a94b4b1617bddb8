//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use zeek_bridge::data::Topic;
use zeek_bridge::net::{self, AddressError};

use crate::bench::BenchArgs;
use crate::decode::DecodeArgs;
use crate::exit;
use crate::man::{CompletionsArgs, ManArgs};
use crate::node::ProgramArgs;
use crate::record::RecordArgs;
use crate::replay::ReplayArgs;
use crate::retry::RetryArg;
use crate::run::RunArgs;
use crate::status::StatusArgs;
use crate::tap::TapArgs;
use crate::tls::{CertificateArgs, TlsArgs};

/// Peers with Zeek over Broker's native protocol: bridge, watch, publish, stand in for a cluster node or an agent.
#[derive(Debug, Parser)]
#[command(name = "zeek-bridge", version, after_help = exit::HELP, propagate_version = true)]
pub(crate) struct Cli {
    /// Log more on stderr: -v what happens to peers, -vv and -vvv the details
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be a bridge: between links to Zeek and links to other endpoints, and by rules that say what passes
    ///
    /// Runs until SIGINT or SIGTERM, and then drains its queues and leaves its peers in the time that the configuration
    /// gives for it; a second signal cuts that short. On SIGHUP it takes up the configuration again, and renewed
    /// certificates: links that did not change keep their peerings, and a file with a mistake changes nothing.
    ///
    /// It serves /metrics, /healthz and /readyz over HTTP, and answers `zeek-bridge status`. It tells systemd when it is
    /// ready, reloads, stops and lives. What happens to peers is logged without -v.
    #[command(after_help = exit::HELP)]
    Run(RunArgs),
    /// Tell how a running bridge is: its links, peers, nodes and rules
    ///
    /// Exit code 3: no bridge is running there.
    #[command(after_help = exit::HELP)]
    Status(StatusArgs),
    /// Show that it works: takes no options, touches no file, and uses no network but loopback
    ///
    /// First, the Management agent of Zeek 8.0.9, as it was captured, dispatches to a node of this program's,
    /// frame by frame over mutual TLS. Then this program's agent dispatches the same to two of its nodes. Prints
    /// every event with its direction, and for each dispatch whether the answer is the one that the real Zeek node
    /// gave. The nodes know the values that the captured nodes gave, and nothing else of their answers.
    #[command(after_help = exit::HELP)]
    Demo,
    /// Say every mistake in a bridge's configuration
    ///
    /// Each in a line on stderr, as CONFIG.toml:LINE: KEY: what is wrong, and what to do about it. What is allowed, but
    /// dangerous or likely not meant, has "warning: " in front. Tests the files, too: whether the certificates load, the keys
    /// fit and the passphrases open them; looks the names up; and sees whether what is to be listened on is an address of
    /// this host. Sends nothing to anyone but the resolver, and leaves a bridge that is running alone.
    ///
    /// If there is no mistake, prints the links and the rules as they will apply.
    #[command(after_help = exit::HELP)]
    Check(CheckArgs),
    /// Be a node of a cluster
    ///
    /// Says hello to every agent that it peers with, and answers its dispatches as a Zeek node with the variables of
    /// --values does, or as --exec or --stdio let a program of yours do. With --connect, it goes on trying until it is stopped
    /// by SIGINT or SIGTERM; stderr says why it cannot connect. Without --connect and --listen, it connects to
    /// ZEEK_AGENT_ADDR and ZEEK_AGENT_PORT if they are set, as they are for Zeek's Management framework.
    #[command(after_help = exit::HELP)]
    Node(NodeArgs),
    /// Be an agent for one request
    ///
    /// Waits for the nodes to say hello, asks them to run ACTION, and prints one JSON line per answer: "node",
    /// "success", "data" (JSON, or null) and "error" (a text, or null). That a node answers with a failure is an
    /// answer, and no failure of this command; that one does not answer is (exit code 5). Without --connect and --listen, it
    /// listens at ZEEK_AGENT_ADDR and ZEEK_AGENT_PORT if they are set, as Zeek's agent does.
    #[command(after_help = exit::HELP)]
    Dispatch(DispatchArgs),
    /// Print every message whose topic starts with one of the prefixes
    ///
    /// On a terminal, a line for each event, in Zeek's own notation: when it came (UTC), the first digits of the peer's
    /// endpoint id, the topic, and name(arguments). What is no event has a word in front: `log create`, `log write`,
    /// `identifier`, `value`. A batch is a line for each message in it. Control characters and what else would steer the
    /// terminal are escaped, as \u{1b}; a line ends where the terminal does, unless --wide.
    ///
    /// Anywhere else, one JSON line per message. For a Zeek event: "peer", "topic", "event" (its name), "args" and
    /// "metadata" (null, or a list of {"id", "value"}). For anything else: "peer", "topic" and "value". Values are in
    /// Broker's JSON shape, {"@data-type": .., "data": ..}. With --identity, "identity" stands behind "peer": null, or by
    /// the certificate that the peer showed its "subject", "sans" (a list such as ["DNS:a.example", "IP:192.0.2.1"]) and
    /// "sha256", the fingerprint in hex.
    ///
    /// --event and --node choose; with both, both have to fit. They go for each message of a batch by itself, but as JSON
    /// a batch is printed whole if anything in it fits. --count counts what fits, a batch as one.
    ///
    /// --stats counts instead of printing, by topic and event: on a terminal a table that is drawn anew, fastest first
    /// (without bytes and shares where there are fewer than 100 columns);
    /// with --format text anywhere else a table per interval; otherwise a JSON line per interval. That has "seconds" (since
    /// the start), "interval" (its length), "end", "peers", "all" and "rows" (those to which something came in it), each
    /// with "count" and "bytes" (so far), "rate" (messages a second) and "bytes_per_second" (in the interval), "share" (of
    /// all messages so far) and "last" (when). At the end comes one with "end": true and the whole time for its interval.
    /// There are at most 1000 rows, and names are cut to 256 bytes; all further ones are counted together as "others". The
    /// bytes of a batch are divided evenly between the messages in it.
    ///
    /// With --connect, the first attempt has to succeed, and a peering that is lost later is tried again. With --follow,
    /// the first one is tried again as well, and stderr tells of every peer that comes or goes, as with -v.
    ///
    /// Ends at --count or --timeout, at SIGINT or SIGTERM, or when stdout is closed. Peers are never held up: when
    /// messages come faster than stdout takes them, some 262144 (or 64 MiB) wait, and further ones are dropped. Then, or
    /// when what waits cannot be written at the end, stderr says how many messages were not printed, and the exit
    /// code is 1.
    #[command(after_help = exit::HELP)]
    Tap(TapArgs),
    /// Tell what stands at an address, and with which options to reach it
    ///
    /// Nothing, a Broker without TLS, a Zeek's anonymous TLS, mutual TLS (and for which CAs), or something else; with
    /// the Broker's endpoint id, versions and filter, where it can get that far: without TLS; with anonymous TLS in a
    /// build with `--features openssl`; with mutual TLS if certificates are given. It ends before a peering stands.
    ///
    /// Exit code 0: a Broker, or the TLS of one. 3: nothing. 4: a certificate was refused, theirs or ours. 5:
    /// something that takes connections and says nothing. 6: something else.
    #[command(after_help = exit::HELP)]
    Probe(ProbeArgs),
    /// Publish messages from stdin
    ///
    /// One JSON line per message: {"event": NAME, "args": [VALUE..]}, perhaps with "metadata"; or a bare VALUE,
    /// {"@data-type": .., "data": ..}. What `tap` prints is taken as well; its "peer", "identity" and "topic" are passed
    /// over.
    ///
    /// Each message waits until a peer that wants the topic is there. A bad line is reported and skipped. At the end of stdin
    /// the peers are left only after they have read everything. When a peering breaks, stderr says which lines may be
    /// lost with it, and the exit code is 1.
    ///
    /// With --connect, the first attempt has to succeed. A peering that is lost later is tried again for 30 seconds, or for
    /// --timeout if that is longer; then the exit code is that of the last attempt, as if it were the first.
    #[command(after_help = exit::HELP)]
    Publish(PublishArgs),
    /// Stand between two endpoints, and write down all that they say to each other
    ///
    /// For each connection that is taken at --listen, one is made to --connect, and what comes from either side is passed on
    /// to the other unchanged and at once. TLS ends here on both sides, each with its own options. To put it between two
    /// Zeeks, let the one connect to --listen.
    ///
    /// Each connection has a folder of its own in --out, written while it runs: connector.bin and listener.bin (all that
    /// each side sent), frames.jsonl (each frame, as `decode` tells it), and meta.json. `decode DIR` reads it at any time.
    /// stdout has a line of JSON when a recording begins and when it ends. What cannot be written, because the disk is full
    /// or too slow, is lost, and told in meta.json and on stderr; what passes through is not touched by that, and the exit
    /// code is 1 at the end. Runs until SIGINT or SIGTERM.
    ///
    /// --rotate and --keep bound the disk space: --rotate counts all files of a folder, which exceeds the size by at most
    /// its last frames. Several recorders may share a folder: each removes recordings of its own and of recorders that
    /// have ended, and holds a lock on .zeek-bridge-RUN.lock there to tell the others that it is running.
    ///
    /// --redact, to give a recording to others: in the values of events, of store commands and of all other messages,
    /// strings, addresses and subnets are replaced, the same one by the same one in all recordings of one run; addresses
    /// keep common prefixes in common. So are metadata, the rows of logs (by zeros) and the words of a refusal. What
    /// stays: topics, filters, names of events, of logs and their columns; all numbers, ports, times, intervals, booleans,
    /// enums; UUIDs and endpoint ids; the sizes of containers; pings. What is no frame is written as zeros.
    #[command(after_help = exit::HELP)]
    Record(Box<RecordArgs>),
    /// Play one side of a recording to a live endpoint, and tell where the other side is not as recorded
    ///
    /// Sends what that side sent, each frame once the live endpoint has said all that had been said before it. Each
    /// difference is a line on stdout: the frame, what was recorded, and what came. Exit code 0: none. 1: at least one. 5:
    /// what was recorded did not come in time.
    ///
    /// Endpoint ids are those of the live peering: in the handshake, in envelopes, and where they stand in topics and
    /// strings. Other UUIDs, and the first argument of an event whose name ends in _request, may differ; each has to be
    /// answered with the one that came. Messages are compared by value, and have to come in the order of their topic.
    /// Filters are compared at the end. Not compared are pings (which are answered), network timestamps of events, ttl,
    /// and which side was subscribed first. All other times are compared: see --ignore.
    #[command(after_help = exit::HELP)]
    Replay(Box<ReplayArgs>),
    /// Turn captures, recordings, and bytes of the protocol into JSON
    ///
    /// FILE is a capture of tcpdump or Wireshark (pcap or pcapng, of Ethernet, loopback, -i any, or IP), or the folder of
    /// a recording. Each connection begins with {"connection", "start", "protocol"}: "broker", "tls" or "other", with a
    /// "note" on what cannot be read and how it could. Each frame is {"connection", "index", "from", "t_us", "offset",
    /// "length", "phase"} and its "message" in the handshake or "envelope" behind; {"connection", .., "error"} tells what
    /// is malformed, or missing in the capture.
    ///
    /// With --value or --envelope: for each line of hex, one line of JSON. A bad line gives {"error", "offset", "line"},
    /// where offset is the byte in which the fault is, and the rest still comes.
    #[command(after_help = exit::HELP)]
    Decode(DecodeArgs),
    /// Turn JSON into bytes of the protocol
    ///
    /// For each line of JSON, one line of hex: what `decode` takes. A bad line gives {"error", "offset", "line"},
    /// and the rest still comes.
    #[command(after_help = exit::HELP)]
    Encode(EncodeArgs),
    /// Measure what runs
    Bench(BenchArgs),
    /// Print what teaches a shell to complete this program's commands and options
    #[command(after_help = exit::HELP)]
    Completions(CompletionsArgs),
    /// Write the manual pages: one for the program, and one for each command
    #[command(after_help = exit::HELP)]
    Man(ManArgs),
}

impl Command {
    /// How often -v is given at least.
    pub(crate) fn least_verbose(&self) -> u8 {
        match self {
            Command::Tap(args) if args.follow => 1,
            _ => 0,
        }
    }
}

/// Options of the commands that connect again after a failure.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Wait for so long before connecting again; with FIRST..CAP, the wait doubles after each failure in a row, up to
    /// CAP
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t,
        conflicts_with = "listen",
        allow_negative_numbers = true
    )]
    pub(crate) retry: RetryArg,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// Options of a command that makes one connection.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct OneConnectionArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// Connect to the Zeek, or zeek-bridge, that listens there
    #[arg(long, value_name = "HOST:PORT", value_parser = connect_address)]
    pub(crate) connect: Option<HostPort>,
    /// Listen there for any number of peers; port 0 lets the system choose, and stderr says which it is
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub(crate) listen: Option<HostPort>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration of the bridge
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's name in the cluster, such as worker-01; without this, CLUSTER_NODE
    #[arg(long, value_name = "NAME", value_parser = own_name)]
    pub(crate) name: String,
    /// What get_id_value answers: a JSON object from identifiers to values, such as {"Cluster::node": "worker-01"};
    /// any other is an "unknown id", as all are without this option
    #[arg(long, value_name = "FILE.json")]
    pub(crate) values: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// Ask these nodes only, and wait until they are there
    #[arg(long, value_name = "A,B..", value_delimiter = ',',
          value_parser = node_name)]
    pub(crate) nodes: Vec<String>,
    /// Wait until nodes of so many different names are there; without this and --nodes, one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
          allow_negative_numbers = true)]
    pub(crate) expect: Option<u16>,
    /// How long hellos and answers may take together; answers alone never more than 5, for nodes do not answer later
    #[arg(long, value_name = "SECONDS", default_value = "15", allow_negative_numbers = true)]
    pub(crate) timeout: Seconds,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// What to run: get_id_value is all that Zeek knows of itself
    #[arg(value_name = "ACTION")]
    pub(crate) action: String,
    /// Its arguments, such as the name of a global variable
    #[arg(value_name = "ARG")]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// What to look at
    #[arg(value_name = "HOST:PORT", value_parser = connect_address)]
    pub(crate) target: HostPort,
    /// Print one line of JSON instead of words for people
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each of at most five attempts may take; most take a fraction of it
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_negative_numbers = true)]
    pub(crate) timeout: Seconds,
    #[command(flatten, next_help_heading = "Certificates to show")]
    pub(crate) certificates: CertificateArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The topic to publish under
    #[arg(long, value_name = "T")]
    pub(crate) topic: TopicArg,
    /// Let connecting take so long, and each message wait so long for a peer that wants it, and exit with 5 otherwise;
    /// without this, for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<Seconds>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    /// Each line is a value in Broker's JSON shape, {"@data-type": .., "data": ..}
    #[arg(long, required = true)]
    pub(crate) value: bool,
    /// Where the lines of JSON are; stdin if left out, or -
    pub(crate) file: Option<PathBuf>,
}

/// `host:port`, checked as far as possible without a resolver.
#[derive(Clone, Debug)]
pub(crate) struct HostPort(pub(crate) String);

/// Parses an address to connect to.
pub(crate) fn connect_address(text: &str) -> Result<HostPort, AddressError> {
    net::HostPort::to_connect(text).map(|_| HostPort(text.to_owned()))
}

/// Parses an address to listen on, where the system chooses a port for port 0.
pub(crate) fn listen_address(text: &str) -> Result<HostPort, AddressError> {
    text.parse::<net::HostPort>().map(|_| HostPort(text.to_owned()))
}

/// A topic, or a prefix of topics.
#[derive(Clone, Debug)]
pub(crate) struct TopicArg(pub(crate) Topic);

impl FromStr for TopicArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let topic = Topic::try_from(text).map_err(|error| error.to_string())?;
        if topic.is_local() {
            let prefix = Topic::LOCAL_PREFIX;
            return Err(format!(
                "topics with {prefix} in front never leave an endpoint: no peer sends or hears them"
            ));
        }
        Ok(TopicArg(topic))
    }
}

/// The name of a node, which goes to logs and terminals.
pub(crate) fn node_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("give a name without control characters, such as worker-01".into());
    }
    Ok(text.to_owned())
}

fn own_name(text: &str) -> Result<String, String> {
    node_name(text).map_err(|error| format!("{error}, to --name or in CLUSTER_NODE"))
}

pub(crate) fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("give a whole number from 1 to {}", u64::MAX))
}

/// A span of time in seconds, which may have a fraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|time| !time.is_zero())
            .map(Seconds)
            .ok_or_else(|| "give a number of seconds above 0, such as 5 or 0.5".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_a_listener_may_have_port_0() {
        assert!(connect_address("[fe80::1%eth0]:2151").is_ok() && listen_address("[fe80::1%eth0]:0").is_ok());
        assert_eq!(connect_address("localhost:0").unwrap_err(), AddressError::PortZero);
        assert_eq!(listen_address("localhost").unwrap_err(), AddressError::NoPort);
    }

    #[test]
    fn times_are_above_zero_and_finite() {
        assert_eq!("0.5".parse::<Seconds>().unwrap().0, Duration::from_millis(500));
        for bad in ["0", "-1", "nan", "inf", "1e30", "5s", ""] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}
