//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use zeek_bridge::data::Topic;
use zeek_bridge::net::{self, AddressError};

use crate::commands::bench::BenchArgs;
use crate::commands::certs::CertsArgs;
use crate::commands::decode::DecodeArgs;
use crate::commands::init::InitArgs;
use crate::commands::man::{CompletionsArgs, ManArgs};
use crate::commands::node::ProgramArgs;
use crate::commands::record::RecordArgs;
use crate::commands::replay::ReplayArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::commands::tap::TapArgs;
use crate::exit;
use crate::retry::RetryArg;
use crate::tls::{CertificateArgs, TlsArgs};

/// Connects to Zeek over Broker's native peering protocol: bridge, tap, publish, node, agent, recorder.
#[derive(Debug, Parser)]
#[command(name = "zeek-bridge", version, after_help = exit::HELP, propagate_version = true)]
pub(crate) struct Cli {
    /// Log more to stderr: -v connects and disconnects of peers, -vv and -vvv details
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a bridge: forward messages between links as rules allow
    ///
    /// Runs until SIGINT or SIGTERM. It then sends what is queued and leaves its peers, within the `drain` time of the
    /// configuration; a second signal stops it at once. On SIGHUP it loads the configuration and certificates again: links
    /// that did not change keep their peerings, and a file with an error changes nothing.
    ///
    /// Serves /metrics, /healthz and /readyz over HTTP, and answers `zeek-bridge status`. Notifies systemd when it is ready,
    /// reloads and stops, and serves its watchdog. Connects and disconnects of peers are logged without -v.
    #[command(after_help = exit::HELP)]
    Run(RunArgs),
    /// Show the state of a running bridge: links, peers, nodes and rules
    ///
    /// Exit code 3: no bridge is running there.
    #[command(after_help = exit::HELP)]
    Status(StatusArgs),
    /// Run a demonstration on captured traffic, without options and files, on loopback only
    ///
    /// First, the captured Management agent of Zeek 8.0.9 sends requests to a node of this program, frame by frame over
    /// mutual TLS. Then an agent of this program sends the same requests to two of its nodes. Prints every event with its
    /// direction, and for each request whether the answer is that of the real Zeek node. The nodes know the values of the
    /// captured nodes and nothing else of their answers.
    #[command(after_help = exit::HELP)]
    Demo,
    /// Write a configuration for a bridge, to start from
    ///
    /// The file is valid as it is and has comments. It forwards the node API between an agent and nodes on this host.
    #[command(after_help = exit::HELP)]
    Init(InitArgs),
    /// Create certificates for mutual TLS
    ///
    /// `certs init` creates a certification authority (CA), `certs issue NAME` a certificate of it for each Zeek, bridge or node.
    /// They are X.509 version 3 with ECDSA keys on P-256, which Zeek, OpenSSL and this program accept.
    #[command(after_help = exit::HELP)]
    Certs(CertsArgs),
    /// Check a bridge configuration and report all errors
    ///
    /// Each error is a line on stderr: CONFIG.toml:LINE: KEY: the cause and a fix. A line with "warning: " reports what is
    /// allowed but dangerous or probably not intended. Also checks that certificates load, keys match and passphrases open
    /// them, resolves host names, and checks that listening addresses belong to this host. Sends nothing except to the
    /// resolver, and does not affect a running bridge.
    ///
    /// Without errors, prints the links and rules as they will apply.
    #[command(after_help = exit::HELP)]
    Check(CheckArgs),
    /// Act as a cluster node of Zeek's Management framework
    ///
    /// Says hello to every agent that it peers with, and answers requests like a Zeek node with the variables in --values, or
    /// with a program given by --exec or --stdio. With --connect, it retries until SIGINT or SIGTERM; stderr reports why it
    /// cannot connect. Without --connect and --listen, it connects to ZEEK_AGENT_ADDR and ZEEK_AGENT_PORT if they are set, as
    /// Zeek's Management framework does for its nodes.
    #[command(after_help = exit::HELP)]
    Node(NodeArgs),
    /// Act as an agent: send one request to nodes and print their answers
    ///
    /// Waits for the nodes to say hello, sends ACTION, and prints one JSON line for each answer: "node", "success", "data"
    /// (JSON or null) and "error" (text or null). A failure that a node reports is an answer and does not change the exit
    /// code; a missing answer does (exit code 5). Without --connect and --listen, it listens at ZEEK_AGENT_ADDR and
    /// ZEEK_AGENT_PORT if they are set, as Zeek's agent does.
    #[command(after_help = exit::HELP)]
    Dispatch(DispatchArgs),
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
    #[command(after_help = exit::HELP)]
    Tap(TapArgs),
    /// Identify what listens at an address and which options reach it
    ///
    /// Reports nothing, a Broker without TLS, the anonymous TLS of a Zeek, mutual TLS (and with which CAs), or something else;
    /// and the Broker's endpoint id, versions and filter where possible: without TLS; with anonymous TLS in a build with
    /// `--features openssl`; with mutual TLS if certificates are given. It leaves before a peering is established.
    ///
    /// Exit code 0: a Broker, or the TLS of one. 3: nothing. 4: a certificate was refused, theirs or ours. 5: something that
    /// accepts connections and sends nothing. 6: something else.
    #[command(after_help = exit::HELP)]
    Probe(ProbeArgs),
    /// Publish messages from stdin
    ///
    /// One JSON line for each message: {"event": NAME, "args": [VALUE..]}, optionally with "metadata"; or a bare VALUE,
    /// {"@data-type": .., "data": ..}. The output of `tap` is accepted as well; its "peer", "identity" and "topic" are
    /// ignored.
    ///
    /// Each message waits until a peer subscribes to the topic. An invalid line is reported and skipped. At the end of stdin,
    /// the command waits until the peers have received everything. If a peering is lost, stderr reports which lines may be
    /// lost, and the exit code is 1.
    ///
    /// With --connect, the first attempt must succeed. A peering that is lost later is retried for 30 seconds, or for --timeout
    /// if that is longer; then the exit code is that of the last attempt.
    #[command(after_help = exit::HELP)]
    Publish(PublishArgs),
    /// Record the traffic between two endpoints
    ///
    /// For each connection accepted at --listen, opens one to --connect and forwards the bytes of each side unchanged and at
    /// once. TLS ends here on both sides, each with its own options. To record two Zeeks, let one connect to --listen.
    ///
    /// Each connection is recorded in a directory of its own in --out, written while it runs: connector.bin and listener.bin
    /// (all bytes of each side), frames.jsonl (each frame, as printed by `decode`), and meta.json. `decode DIR` reads it at any
    /// time. stdout has a line of JSON when a recording begins and when it ends. If the disk is full or too slow, the recording
    /// is incomplete, which is reported in meta.json and on stderr; forwarding continues, and the exit code is 1 at the end.
    /// Runs until SIGINT or SIGTERM.
    ///
    /// --rotate and --keep limit the disk space: --rotate counts all files of a recording, which exceeds the size by at most its
    /// last frames. Several recorders may share a directory: each removes its own recordings and those of recorders that have
    /// ended, and holds a lock on .zeek-bridge-RUN.lock there to show that it is running.
    ///
    /// --redact makes recordings that can be shared: in the values of events, of store commands and of all other messages,
    /// strings, addresses and subnets are replaced, each by the same replacement in all recordings of one run; addresses keep
    /// common prefixes. Metadata, the rows of logs (with zeros) and the descriptions of refusals are replaced as well. Kept
    /// are: topics, filters, names of events, of logs and their columns; all numbers, ports, times, intervals, booleans, enums;
    /// UUIDs and endpoint ids; the sizes of containers; pings. Bytes that are not a frame are replaced with zeros.
    #[command(after_help = exit::HELP)]
    Record(Box<RecordArgs>),
    /// Replay one side of a recording to a live endpoint and report differences
    ///
    /// Sends each frame of that side when the live endpoint has sent what precedes it in the recording. Each difference is a
    /// line on stdout: the frame, the recorded and the received content. Exit code 0: no difference. 1: at least one. 5: a
    /// recorded frame did not arrive in time.
    ///
    /// Endpoint ids are translated to those of the live peering: in the handshake, in envelopes, and in topics and strings.
    /// Other UUIDs, and the first argument of an event whose name ends in _request, may differ; each must be answered with the
    /// one that was received. Messages are compared by value and must arrive in the order of their topic. Filters are compared
    /// at the end. Not compared are pings (which are answered), network timestamps of events, ttl, and which side subscribed
    /// first. All other times are compared; see --ignore.
    #[command(after_help = exit::HELP)]
    Replay(Box<ReplayArgs>),
    /// Decode captures, recordings and bytes of the protocol to JSON
    ///
    /// FILE is a capture of tcpdump or Wireshark (pcap or pcapng, of Ethernet, loopback, -i any, or IP), or the directory of a
    /// recording. Each connection begins with {"connection", "start", "protocol"}: "broker", "tls" or "other", with a
    /// "note" on what cannot be read and how it could be. Each frame is {"connection", "index", "from", "t_us", "offset",
    /// "length", "phase"} with its "message" (handshake) or "envelope" (after it); {"connection", .., "error"} reports
    /// malformed or missing data.
    ///
    /// With --value or --envelope: one line of JSON for each line of hex. An invalid line gives {"error", "offset", "line"},
    /// where offset is the position of the error in bytes, and decoding continues with the next line.
    #[command(after_help = exit::HELP)]
    Decode(DecodeArgs),
    /// Encode JSON to bytes of the protocol
    ///
    /// One line of hex for each line of JSON, which `decode` accepts. An invalid line gives {"error", "offset", "line"}, and
    /// encoding continues with the next line.
    #[command(after_help = exit::HELP)]
    Encode(EncodeArgs),
    /// Run benchmarks
    Bench(BenchArgs),
    /// Generate shell completions
    #[command(after_help = exit::HELP)]
    Completions(CompletionsArgs),
    /// Write the manual pages of the program and its commands
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
    /// The delay before reconnecting; with FIRST..CAP, it doubles after each failure in a row, up to CAP
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
    /// Listen there for any number of peers; with port 0 the system chooses a port, which is reported on stderr
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
    /// The node's name in the cluster, such as worker-01; the default is CLUSTER_NODE
    #[arg(long, value_name = "NAME", value_parser = own_name)]
    pub(crate) name: String,
    /// The values for get_id_value: a JSON object of identifiers and values, such as {"Cluster::node": "worker-01"}; any
    /// other identifier is an "unknown id"
    #[arg(long, value_name = "FILE.json")]
    pub(crate) values: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// The nodes to ask; waits until all have said hello
    #[arg(long, value_name = "A,B..", value_delimiter = ',',
          value_parser = node_name)]
    pub(crate) nodes: Vec<String>,
    /// The number of nodes with different names to wait for; the default without --nodes is 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
          allow_negative_numbers = true)]
    pub(crate) expect: Option<u16>,
    /// Maximum time for hellos and answers together; answers alone take at most 5 seconds, as nodes do not answer later
    #[arg(long, value_name = "SECONDS", default_value = "15", allow_negative_numbers = true)]
    pub(crate) timeout: Seconds,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// The action to run; get_id_value is the only one that Zeek ships
    #[arg(value_name = "ACTION")]
    pub(crate) action: String,
    /// The arguments of the action, such as the name of a global variable
    #[arg(value_name = "ARG")]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The address to probe
    #[arg(value_name = "HOST:PORT", value_parser = connect_address)]
    pub(crate) target: HostPort,
    /// Print one line of JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Maximum time for each of at most five attempts; most take a fraction of it
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
    /// Maximum time to connect, and for each message to wait for a subscriber; then exit with 5. No limit without it
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<Seconds>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    /// Encode values in the format of Broker's JSON, {"@data-type": .., "data": ..}
    #[arg(long, required = true)]
    pub(crate) value: bool,
    /// The file with lines of JSON; stdin without it, or for -
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
