//! Probes one stream: performs Broker's handshake until the peer's filter is known, or recognizes a different protocol.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant as StdInstant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::data::{EndpointId, Filter};
use crate::net::tls::TlsError;
use crate::net::{Connection, ConnectionFault, Progress, Stream};
use crate::peering::{
    CloseReason, Config, Event, FIRST_BYTES, Peering, PeeringError, Side, is_incomplete_line,
};
use crate::wire::{ForeignProtocol, PROTOCOL_VERSION};

/// The answer of a peer to Broker's handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The peer is a Broker endpoint.
    Broker(BrokerInfo),
    /// The peer speaks a protocol that is not Broker's, or sends nothing.
    Other(OtherProtocol),
    /// TLS failed before the peer sent a message of Broker's handshake.
    Tls(TlsError),
}

/// The information that a Broker endpoint sends in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerInfo {
    /// The endpoint's id. An endpoint usually has a new id after each start of its process.
    pub id: Option<EndpointId>,
    /// The protocol versions that the endpoint supports.
    pub versions: Option<RangeInclusive<u8>>,
    /// The topics that the endpoint subscribes to.
    pub filter: Option<Filter>,
    /// Why the handshake ended before the filter was received. `None` if the filter was received.
    pub cut_short: Option<String>,
}

/// A peer that is not a Broker endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherProtocol {
    /// The peer answers unencrypted bytes with TLS.
    Tls,
    /// A web server. Contains the first line of its answer.
    Http(String),
    /// An SSH server. Contains its first line.
    Ssh(String),
    /// ZeroMQ, as Zeek's ZeroMQ cluster back end speaks it.
    ZeroMq,
    /// An echo server: it returned the `hello` of this side.
    Echo,
    /// An unknown protocol. Contains the first 80 bytes of its first line, with escapes for bytes that are not printable.
    Unknown(String),
    /// The peer accepts connections and sends nothing.
    Silent,
    /// The peer accepts connections and closes them without sending anything.
    Closed,
}

impl fmt::Display for OtherProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OtherProtocol::Tls => f.write_str("it answers with TLS"),
            OtherProtocol::Http(line) => write!(f, "a web server (HTTP): {line}"),
            OtherProtocol::Ssh(line) => write!(f, "an SSH server: {line}"),
            OtherProtocol::ZeroMq => f.write_str("ZeroMQ, likely the cluster back end of Zeek 8.1 or later"),
            OtherProtocol::Echo => f.write_str("an echo server: it sends back what it receives"),
            OtherProtocol::Unknown(line) => write!(f, "an unknown protocol that begins with: {line}"),
            OtherProtocol::Silent => f.write_str("it accepts connections, and sends nothing"),
            OtherProtocol::Closed => {
                f.write_str("it accepts connections, and closes them without sending anything")
            }
        }
    }
}

impl OtherProtocol {
    /// Recognizes a protocol by its first bytes.
    fn of(bytes: &[u8]) -> Self {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = line.get(..FIRST_BYTES).unwrap_or(line).escape_ascii().to_string();
        let begins_with =
            |start: &[u8]| bytes.get(..start.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(start));
        if begins_with(b"<!doctype html") || begins_with(b"<html") {
            return OtherProtocol::Http(line);
        }
        match ForeignProtocol::recognize(bytes) {
            Some(ForeignProtocol::Http) => OtherProtocol::Http(line),
            Some(ForeignProtocol::Ssh) => OtherProtocol::Ssh(line),
            Some(ForeignProtocol::ZeroMq) => OtherProtocol::ZeroMq,
            Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert) => OtherProtocol::Tls,
            None => OtherProtocol::Unknown(line),
        }
    }
}

/// Sends these bytes, and recognizes the protocol of the answer.
pub(super) async fn ask(mut tcp: TcpStream, request: &[u8], deadline: Instant) -> OtherProtocol {
    let mut answer = BytesMut::new();
    let asking = async {
        tcp.write_all(request).await?;
        while tcp.read_buf(&mut answer).await? > 0 && is_incomplete_line(&answer) {}
        io::Result::Ok(())
    };
    let ended = timeout_at(deadline, asking).await;
    match (answer.is_empty(), ended) {
        (false, _) => OtherProtocol::of(&answer),
        (true, Ok(_)) => OtherProtocol::Closed,
        (true, Err(_)) => OtherProtocol::Silent,
    }
}

/// Performs the handshake until the peer's filter is known or the deadline has passed. Then refuses the peer, and waits up
/// to one second for the peer to read the refusal.
pub(super) async fn talk(stream: Stream, id: EndpointId, deadline: Instant) -> Answer {
    // Only `deadline` limits the handshake. With the timeout of the peering, a silent peer would be reported as one that
    // closed the connection.
    let config = Config { handshake_timeout: Duration::MAX, ..Config::new(id, Side::Connector) };
    let limit = config.limits.max_handshake_frame;
    let mut connection = Connection::new(stream, Peering::probe(config, StdInstant::now()), limit);
    // `None` after the deadline.
    let reason = timeout_at(deadline, until_closed(&mut connection)).await.ok();
    let fault = connection.fault().cloned();
    let info = connection.peering().peer_info().cloned().unwrap_or_default();
    if !info.is_endpoint {
        return match (reason, fault) {
            (_, Some(ConnectionFault::Tls(error))) => Answer::Tls(error),
            (Some(CloseReason::Failed(PeeringError::SelfConnection(_))), _) => {
                Answer::Other(OtherProtocol::Echo)
            }
            _ if !info.first_bytes.is_empty() => Answer::Other(OtherProtocol::of(&info.first_bytes)),
            (None, _) => Answer::Other(OtherProtocol::Silent),
            (Some(_), _) => Answer::Other(OtherProtocol::Closed),
        };
    }
    connection.refuse().await;
    let cut_short = if info.filter.is_some() { None } else { Some(cut_short(reason, fault)) };
    Answer::Broker(BrokerInfo { id: info.id, versions: info.versions, filter: info.filter, cut_short })
}

async fn until_closed(connection: &mut Connection) -> CloseReason {
    loop {
        match connection.progress().await {
            Progress::Event(Event::Introduced { .. }) => connection.admit(),
            Progress::Event(Event::Closed(reason)) => return reason,
            _ => {}
        }
    }
}

/// Returns why a handshake ended before the peer's filter was received. In the returned sentence, "it" is the peer.
fn cut_short(reason: Option<CloseReason>, fault: Option<ConnectionFault>) -> String {
    match (reason, fault) {
        (_, Some(ConnectionFault::Tls(error))) => error.to_string(),
        (None, _) => "it did not complete the handshake in time".to_owned(),
        (Some(CloseReason::Redundant { .. }), _) => "it refused the connection as redundant".to_owned(),
        (Some(CloseReason::Failed(error)), _) => match error {
            PeeringError::Refused { code, description, .. } => {
                format!("it refused the connection: {code}: {description}")
            }
            PeeringError::ClosedInHandshake { .. } => {
                "it closed the connection before the handshake was complete".to_owned()
            }
            PeeringError::Incompatible { .. } => {
                format!("it does not support protocol version {PROTOCOL_VERSION}")
            }
            PeeringError::SelfConnection(_) => "it sent a message with the id of this probe".to_owned(),
            error => error.to_string(),
        },
        (Some(reason), _) => reason.to_string(),
    }
}
