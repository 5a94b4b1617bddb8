//! The types of a configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use wildmatch::WildMatch;

use crate::data::{Subnet, Topic};
use crate::endpoint::{QueueLimits, Retry, WhenFull};
use crate::net::tls::{Backend, Tls};
use crate::websocket::{BinaryText, Tokens};
use crate::zeromq::EventFormat;
use crate::zeromq::curve::PublicKey;

/// A complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeConfig {
    /// The operation of the bridge.
    pub operation: Operation,
    /// The links, in the order of the file. Their names are unique.
    pub links: Vec<LinkConfig>,
    /// The rules, in the order of the file; the default rules if the file has none.
    pub rules: Vec<RuleConfig>,
}

/// The table `[bridge]`: the operation of the bridge.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The format of the log.
    pub log: LogFormat,
    /// The HTTP server; `None`: off.
    pub http: Option<Http>,
    /// The Unix socket for `zeek-bridge status`; `None`: no socket.
    pub status_socket: Option<PathBuf>,
    /// The maximum time to drain the queues on shutdown.
    pub drain: Duration,
    /// Whether the bridge answers a dispatch request with a failure on behalf of a node that does not answer:
    ///
    /// - immediately, if the connection of the node ends before it has answered;
    /// - after 4 s, if the node is gone or unresponsive.
    ///
    /// If false and a node does not answer, the request of the agent times out, and the answers of all nodes are lost.
    pub answer_in_flight: bool,
    /// Whether the bridge immediately answers a dispatch request with a failure if rules do not allow the request for a
    /// live node.
    pub answer_denied: bool,
}

/// The HTTP server of the bridge: the page and its API, metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The address.
    pub address: SocketAddr,
    /// The tokens for the page and the API; empty: none is required.
    pub tokens: Vec<TokenConfig>,
    /// The TLS: [`LinkTls::Off`], [`LinkTls::Server`] or, if clients need a certificate, [`LinkTls::Mutual`].
    pub tls: LinkTls,
}

impl Http {
    /// The default address.
    pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9747);
}

impl Default for Http {
    fn default() -> Self {
        Http { address: Self::DEFAULT, tokens: Vec::new(), tls: LinkTls::Off }
    }
}

/// The loaded certificates and tokens of the HTTP server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpAccess {
    /// The TLS.
    pub tls: Tls,
    /// The tokens for the page and the API; empty: none is required.
    pub tokens: Tokens,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// One `[link.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// The name, which rules refer to.
    pub name: String,
    /// The role of its peers, for the default rules.
    pub faces: Option<PeerRole>,
    /// The addresses that it connects to or listens on.
    pub address: LinkAddress,
    /// The TLS.
    pub tls: LinkTls,
    /// The delays between attempts to connect.
    pub retry: Retry,
    /// Whether the peers of this link receive each other's messages. A rule that contains this link in both `from` and
    /// `to` must also allow these messages.
    pub hub: bool,
    /// The group of links that this link belongs to; `None`: no group. Messages that are received on a link of a group
    /// are not sent to any link of this group. If several peerings of the group lead to the same endpoint or bridge,
    /// only one of these peerings carries the messages. If this peering fails, one of the others takes over.
    pub group: Option<String>,
    /// The maximum number of bridges that forward a message that is received on this link. This bridge is included.
    pub ttl: u16,
    /// The certificate identities that are admitted; empty: every identity that TLS accepts.
    pub allow: Vec<IdentityPattern>,
    /// The resource limits of its peers.
    pub limits: LinkLimits,
    /// What happens to a message for a peer whose queue is full.
    pub when_full: WhenFull,
    /// Faults to inject; `None`: none.
    pub chaos: Option<Chaos>,
    /// The settings of the WebSocket API; `None` if the addresses are those of another protocol.
    pub websocket: Option<WebSocketLink>,
    /// The settings of ZeroMQ; `None` if the addresses are those of another protocol.
    pub zeromq: Option<ZeroMqLink>,
}

/// The role of a link's peers in the Management framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// Zeek's agents (or another bridge that leads to them).
    Agents,
    /// Cluster nodes (or another bridge that leads to them).
    Nodes,
}

impl LinkConfig {
    /// Returns whether rules may forward events to, or from, another link that may lead to the same cluster.
    pub(super) fn accepts_loops(&self) -> bool {
        self.websocket.as_ref().is_some_and(|websocket| websocket.accepts_loops)
            || self.zeromq.as_ref().is_some_and(|zeromq| zeromq.accepts_loops)
    }

    /// Returns whether peers of this link can have an identity: a certificate, a token, or a CURVE key with a name.
    pub(super) fn has_identities(&self) -> bool {
        self.has_certificates() || self.has_tokens() || self.has_curve_names()
    }

    /// Returns whether peers of this link can have an identity of the kind to which the pattern applies.
    pub(super) fn has_kind_of(&self, pattern: &IdentityPattern) -> bool {
        match pattern {
            IdentityPattern::Token(_) => self.has_tokens(),
            IdentityPattern::Curve(_) => self.has_curve_names(),
            IdentityPattern::Address(_) => true,
            IdentityPattern::Subject(_) | IdentityPattern::San(_) | IdentityPattern::Sha256(_) => {
                self.has_certificates()
            }
        }
    }

    fn has_certificates(&self) -> bool {
        match &self.tls {
            LinkTls::Off | LinkTls::Anonymous => false,
            LinkTls::Mutual(_) => true,
            // A server presents its certificate, a client does not.
            LinkTls::Server(_) => matches!(self.address, LinkAddress::Connect(_)),
        }
    }

    fn has_tokens(&self) -> bool {
        self.websocket.as_ref().is_some_and(|websocket| !websocket.tokens.is_empty())
    }

    fn has_curve_names(&self) -> bool {
        self.zeromq.as_ref().is_some_and(ZeroMqLink::has_client_names)
    }
}

/// The settings of a link whose addresses begin with `ws://` or `wss://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketLink {
    /// The tokens that clients of a listener must present; empty: none is required.
    pub tokens: Vec<TokenConfig>,
    /// The file with the token that is sent to servers.
    pub token_file: Option<PathBuf>,
    /// Origins that a listener accepts although they do not match the `Host` of the request.
    pub origins: Vec<String>,
    /// Whether a listener may be reachable from other hosts without tokens and client certificates.
    pub anonymous: bool,
    /// How strings that are not UTF-8 are sent to the clients of a listener.
    pub binary: BinaryText,
    /// Whether rules may subscribe to all topics of a server.
    pub all_topics: bool,
    /// Whether rules may forward events from this link to another one that may lead to the same cluster.
    pub accepts_loops: bool,
}

/// The settings of a link whose addresses begin with `zeromq://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroMqLink {
    /// Whether the topics that Zeek defines for clusters are translated: `zeek/cluster/worker` of Broker is
    /// `zeek.cluster.worker` of ZeroMQ.
    pub map_topics: bool,
    /// The format of the events that are sent. All nodes of a cluster have the same one. `None`: that of the first event from the
    /// cluster.
    pub event_format: Option<EventFormat>,
    /// The name of the node of the cluster that this link represents. `None`: the link is not a node.
    pub node: Option<String>,
    /// The keys of CURVE; `None`: not encrypted.
    pub curve: Option<CurveKeys>,
    /// Whether a listener may be reachable from other hosts without CURVE.
    pub anonymous: bool,
    /// Whether rules may forward events between this link and another ZeroMQ link, or a server of the WebSocket API, that may lead to the
    /// same cluster.
    pub accepts_loops: bool,
}

impl ZeroMqLink {
    /// Returns whether peers of the link have a key with a name.
    pub(super) fn has_client_names(&self) -> bool {
        matches!(self.curve, Some(CurveKeys::Server { .. }))
    }
}

/// The keys of CURVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurveKeys {
    /// The keys of a link that connects.
    Client {
        /// The public key of the proxy.
        server: PublicKeySource,
        /// The public key of this client, which must match the secret key. `None`: not checked.
        public: Option<PublicKeySource>,
        /// The secret key of this client.
        secret: SecretKeySource,
    },
    /// The keys of a link that listens.
    Server {
        /// The secret key of this proxy.
        secret: SecretKeySource,
        /// The clients that may connect. Several clients may have the same name.
        clients: Vec<CurveClientConfig>,
    },
}

/// A client that may connect to a link with CURVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurveClientConfig {
    /// The name, to which rules refer as `curve:NAME`.
    pub name: String,
    /// The public key of the client.
    pub public_key: PublicKeySource,
}

/// A public key, or where it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeySource {
    /// The key.
    Key(PublicKey),
    /// In a file.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
}

/// Where a secret key is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretKeySource {
    /// In a file.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
}

/// A token that clients may present. Several tokens may have the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// The name, to which rules refer as `token:NAME`.
    pub name: String,
    /// Where the token is stored.
    pub source: TokenSource,
}

/// Where a token is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// In a file.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
}

/// The addresses of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAddress {
    /// The link connects to each of these (`host:port`, or URLs that all have the same scheme).
    Connect(Vec<String>),
    /// The link listens on each of these (`address:port`, or URLs that all have the same scheme).
    Listen(Vec<String>),
}

/// The TLS of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkTls {
    /// Plain TCP.
    Off,
    /// TLS without certificates: encrypted, but not authenticated.
    Anonymous,
    /// TLS with certificates on both sides.
    Mutual(TlsFiles),
    /// TLS with a certificate on the side that listens only, for `wss://` addresses.
    Server(TlsFiles),
}

impl LinkTls {
    /// Returns the files, if there are any.
    #[must_use]
    pub fn files(&self) -> Option<&TlsFiles> {
        match self {
            LinkTls::Off | LinkTls::Anonymous => None,
            LinkTls::Mutual(files) | LinkTls::Server(files) => Some(files),
        }
    }
}

/// The files of TLS with certificates, as in [`Credentials`](crate::net::tls::Credentials).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// CA certificates.
    pub cafile: Option<PathBuf>,
    /// A directory of CA certificates.
    pub capath: Option<PathBuf>,
    /// Our own certificate. Required in mutual TLS, and for a listener.
    pub certificate: Option<PathBuf>,
    /// The private key of our certificate. Required if there is a certificate.
    pub keyfile: Option<PathBuf>,
    /// The file with the key's passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// A name that the peer's certificate must contain.
    pub verify_name: Option<String>,
    /// The TLS library.
    pub backend: Backend,
}

/// The table `[link.NAME.limits]`: the resource limits of a link's peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// The maximum number of peers.
    pub peers: usize,
    /// The maximum number of connections that are accepted per second; `None`: no limit. Additional connections remain
    /// in the queue of the operating system.
    pub connects_per_second: Option<u32>,
    /// The maximum size of a received frame, in bytes.
    pub frame: usize,
    /// The maximum nesting depth of a received value.
    pub depth: usize,
    /// The maximum size of one peer's queue.
    pub queue: QueueLimits,
}

/// The table `[link.NAME.chaos]`: faults to inject into the messages that are sent over a link. Fractions are from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chaos {
    /// The delay of each message.
    pub delay: Duration,
    /// The fraction of messages that is dropped.
    pub drop: f64,
    /// The fraction of messages that is sent twice.
    pub duplicate: f64,
    /// The fraction of messages in which one byte of the payload is changed.
    pub corrupt: f64,
}

/// One `[[rule]]`: the messages that it allows. A message must match all of the conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleConfig {
    /// The name in logs and metrics. It is unique.
    pub name: String,
    /// The links that messages are received on.
    pub from: Vec<String>,
    /// The links that messages are sent to.
    pub to: Vec<String>,
    /// Prefixes of topics.
    pub topics: Vec<Topic>,
    /// Patterns for the names of events; empty: every message, including those that are not events.
    pub events: Vec<Glob>,
    /// For events of the node API, patterns for the names of the nodes in the event: its sender, or the nodes that it
    /// is addressed to. Empty: every name. If not empty, requests addressed to all nodes do not match.
    pub nodes: Vec<Glob>,
    /// For dispatch requests, the allowed actions. Each action has a list of alternatives for its arguments; an action
    /// whose list is empty does not match. `None`: every action.
    pub actions: Option<BTreeMap<String, Vec<Arguments>>>,
    /// The certificate identities of peers that may send the message; empty: every peer.
    pub identities: Vec<IdentityPattern>,
    /// Whether the rule allows data-store commands instead of data messages.
    pub commands: bool,
    /// Whether the payload of messages is forwarded without validation.
    pub passthrough: bool,
}

/// Patterns for the arguments of an action: one alternative of [`RuleConfig::actions`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    /// A pattern for each argument, by position. If a request has fewer arguments, each missing one counts as empty
    /// text.
    pub patterns: Vec<Glob>,
    /// Whether any additional arguments may follow. If false, a request with more arguments than patterns does not
    /// match.
    pub rest: bool,
}

impl Arguments {
    /// The last element of a list in the configuration if [`rest`](Self::rest) is true.
    pub const REST: &str = "...";
}

/// The arguments as in the configuration, separated by commas.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.patterns.iter().map(ToString::to_string);
        let all: Vec<String> = patterns.chain(self.rest.then(|| Self::REST.to_owned())).collect();
        f.write_str(&all.join(", "))
    }
}

/// A name, or a pattern for names: `*` matches any number of characters, `?` matches one.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob(WildMatch);

impl Glob {
    /// Returns a case-sensitive pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Glob(WildMatch::new(pattern))
    }

    /// Returns a case-insensitive pattern.
    #[must_use]
    pub fn new_case_insensitive(pattern: &str) -> Self {
        Glob(WildMatch::new_case_insensitive(pattern))
    }

    /// Returns whether the name matches.
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

/// A pattern for the identity of a peer: its certificate, its token, its CURVE key, or its address.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum IdentityPattern {
    /// `subject:GLOB`, against the subject in RFC 4514's form.
    Subject(Glob),
    /// `DNS:GLOB`, `IP:GLOB`, `email:GLOB`, `URI:GLOB`, `DirName:GLOB`, against the text of each subjectAltName. A
    /// dNSName in a certificate matches only if it is a host name, which consists of letters, digits, `-`, `_` and `.`.
    /// A wildcard (`*.example`) in a certificate matches no `DNS:` pattern, because a wildcard does not name a single
    /// host.
    San(Glob),
    /// `sha256:HEX`, against the hash of the certificate.
    Sha256([u8; 32]),
    /// `token:GLOB`, against the name of the token with which a client of the WebSocket API has authenticated itself.
    Token(Glob),
    /// `curve:GLOB`, against the name of the CURVE key of a ZeroMQ client.
    Curve(Glob),
    /// `address:IP` or `address:IP/BITS`, against the IP address of the peer. If the peer connects through a proxy or
    /// NAT, this is the address of the proxy or NAT.
    Address(Subnet),
}

impl IdentityPattern {
    /// Returns whether the pattern is for a property that every peer has.
    pub(super) fn is_for_every_peer(&self) -> bool {
        matches!(self, IdentityPattern::Address(_))
    }
}
