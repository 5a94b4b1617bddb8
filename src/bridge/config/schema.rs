//! The types that a configuration file becomes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use wildmatch::WildMatch;

use crate::data::Topic;
use crate::endpoint::{QueueLimits, Retry, WhenFull};
use crate::net::tls::Backend;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeConfig {
    /// How the bridge runs.
    pub operation: Operation,
    /// The links, in the order of the file. Their names differ.
    pub links: Vec<LinkConfig>,
    /// The rules, in the order of the file; the default rules if none is written.
    pub rules: Vec<RuleConfig>,
}

/// The table `[bridge]`: how the bridge runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// How it logs.
    pub log: LogFormat,
    /// Where metrics and health are served over HTTP; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The Unix socket at which `zeek-bridge status` asks; `None`: there is none.
    pub status_socket: Option<PathBuf>,
    /// How long a SIGTERM may take to drain the queues.
    pub drain: Duration,
    /// Whether the bridge answers dispatch requests with a failure for a node that does not answer: at once if the node's
    /// connection ends before its answer, and after 4 s if the node is gone or hangs and nobody has
    /// answered. Without it, the agent runs into its timeout and loses the answers of all nodes.
    pub answer_in_flight: bool,
    /// Whether the bridge answers dispatch requests that rules keep from a live node with a failure, at once.
    pub answer_denied: bool,
}

/// How a bridge logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// One `[link.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Its name, which rules go by.
    pub name: String,
    /// What stands on its other end, for the default rules.
    pub faces: Option<Faces>,
    /// Where it is.
    pub place: Place,
    /// Its TLS.
    pub tls: LinkTls,
    /// When it connects again.
    pub retry: Retry,
    /// Whether its peers hear each other, as far as rules from and to it allow.
    pub hub: bool,
    /// The group of links that it belongs to; `None`: no group. What arrives over a link of a group goes to no link of the
    /// group. If several of its peerings lead to the same endpoint or bridge, one carries what goes there, and another takes
    /// over when it fails.
    pub group: Option<String>,
    /// How many bridges a message that arrives over it may pass, this one included.
    pub ttl: u16,
    /// Whose certificates may peer over it; empty: all that its TLS takes.
    pub allow: Vec<IdentityPattern>,
    /// What its peers may cost.
    pub limits: LinkLimits,
    /// What becomes of a message for a peer whose queue is full.
    pub when_full: WhenFull,
    /// Faults to inject; `None`: none.
    pub chaos: Option<Chaos>,
}

/// What stands on the other end of a link, in the Management framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faces {
    /// Zeek's agents (or another bridge that leads to them).
    Agents,
    /// Cluster nodes (or another bridge that leads to them).
    Nodes,
}

/// Where a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It connects to these (`host:port`), to each one.
    Connect(Vec<String>),
    /// It listens on these (`address:port`).
    Listen(Vec<String>),
}

/// The TLS of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkTls {
    /// Plain TCP.
    Off,
    /// Encryption without certificates.
    Anonymous,
    /// Certificates on both sides.
    Mutual(TlsFiles),
}

/// The files of mutual TLS, as in [`Credentials`](crate::net::tls::Credentials).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// CA certificates.
    pub cafile: Option<PathBuf>,
    /// A directory of CA certificates.
    pub capath: Option<PathBuf>,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Our key.
    pub keyfile: PathBuf,
    /// The file with the key's passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// A name that the peer's certificate must bear.
    pub verify_name: Option<String>,
    /// Which library.
    pub backend: Backend,
}

/// The table `[link.NAME.limits]`: what the peers of a link may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// How many peers there may be that connected to us.
    pub peers: usize,
    /// How many connections are accepted a second; `None`: as many as come. More wait in the operating system's queue.
    pub connects_per_second: Option<u32>,
    /// The longest frame that is taken, in bytes.
    pub frame: usize,
    /// The deepest nesting of a value that is taken.
    pub depth: usize,
    /// What may wait for one peer.
    pub queue: QueueLimits,
}

/// The table `[link.NAME.chaos]`: faults to inject into what is sent over a link. Shares are of messages, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chaos {
    /// How long each message is held back.
    pub delay: Duration,
    /// The share that is dropped.
    pub drop: f64,
    /// The share that is sent twice.
    pub duplicate: f64,
    /// The share of which one byte of the payload is changed.
    pub corrupt: f64,
}

/// One `[[rule]]`: what it lets pass. Everything that is given has to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleConfig {
    /// Its name, in logs and metrics; they differ.
    pub name: String,
    /// The links that it lets messages come from.
    pub from: Vec<String>,
    /// The links that it lets them go to.
    pub to: Vec<String>,
    /// Prefixes of topics.
    pub topics: Vec<Topic>,
    /// Names of events; empty: every message, events or not.
    pub events: Vec<Glob>,
    /// For the node API, the names that a node may have, or that a request may ask; empty: every name. With some, a
    /// request to all nodes does not fit.
    pub nodes: Vec<Glob>,
    /// For dispatch requests, the commands, and for each the alternatives for its arguments; `None`: every action. A
    /// command without alternatives does not match.
    pub actions: Option<BTreeMap<String, Vec<Arguments>>>,
    /// Who may say it, by certificate; empty: everybody.
    pub identities: Vec<IdentityPattern>,
    /// Whether it lets data-store commands pass (and not data).
    pub commands: bool,
    /// Whether messages pass without being checked.
    pub passthrough: bool,
}

/// What the arguments of a command may be: one alternative of [`RuleConfig::actions`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    /// A pattern for each argument, by position. An argument that a request leaves out counts as an empty one.
    pub patterns: Vec<Glob>,
    /// Whether any further arguments may follow. Without it, a request with more arguments than patterns does not match.
    pub rest: bool,
}

impl Arguments {
    /// Stands for [`rest`](Self::rest) in the last position of a configured list.
    pub const REST: &str = "...";
}

/// As they are configured, separated by commas.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.patterns.iter().map(ToString::to_string);
        let all: Vec<String> = patterns.chain(self.rest.then(|| Self::REST.to_owned())).collect();
        f.write_str(&all.join(", "))
    }
}

/// A name, or a pattern for names: `*` is any number of letters, `?` is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob(WildMatch);

impl Glob {
    /// A pattern that knows upper from lower case.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Glob(WildMatch::new(pattern))
    }

    /// A pattern to which upper and lower case are alike.
    #[must_use]
    pub fn new_case_insensitive(pattern: &str) -> Self {
        Glob(WildMatch::new_case_insensitive(pattern))
    }

    /// Whether this is a name that fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

/// The pattern.
impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pattern for who a peer is by its certificate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum IdentityPattern {
    /// `subject:GLOB`, against the subject in RFC 4514's form.
    Subject(Glob),
    /// `DNS:GLOB`, `IP:GLOB`, `email:GLOB`, `URI:GLOB`, `DirName:GLOB`, against each subjectAltName as it is shown. A
    /// dNSName in a certificate matches only if it is a host name: letters, digits, `-`, `_` and `.`. A wildcard
    /// (`*.example`) in a certificate matches no `DNS:` pattern, as it names no single host.
    San(Glob),
    /// `sha256:HEX`, the certificate itself.
    Sha256([u8; 32]),
}
