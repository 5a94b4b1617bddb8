//! Identifies the proxy of a ZeroMQ cluster.

use std::time::Duration;

use serde::Serialize;
use zeek_bridge::endpoint::{ConnectError, EndpointConfig, Status};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::PeeringError;

use super::shell_word;
use crate::network;
use crate::output::{Exit, Failure, Output, printable, to_line};

/// What the proxy has sent.
pub(super) enum Proxy {
    /// Each socket of the proxy, with its address.
    Open(Vec<(&'static str, String)>),
    /// The proxy requires a different security mechanism. The text names it.
    Secured(String),
}

/// The line of JSON.
#[derive(Serialize)]
struct Document<'a> {
    target: &'a str,
    found: &'static str,
    summary: &'static str,
    mechanism: &'static str,
    sockets: Vec<Socket>,
    command: Option<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Socket {
    socket: &'static str,
    address: String,
}

/// Connects to both sockets without a subscription, and leaves them.
pub(super) async fn probe(target: &str, wait: Duration) -> Result<Proxy, Failure> {
    let config =
        EndpointConfig { connect_timeout: wait, handshake_timeout: wait, ..EndpointConfig::default() };
    let endpoint = network::endpoint_with(config)?;
    let mut status = endpoint.status();
    match endpoint.connect(target, Tls::Off).await {
        Ok(_) => {}
        Err(ConnectError::Peering(PeeringError::Session(error))) if error.cause == "mechanism" => {
            return Ok(Proxy::Secured(error.to_string()));
        }
        Err(error) => return Err(Failure::connect(target, &error)),
    }
    let mut sockets = Vec::new();
    while sockets.len() < 2 {
        match status.recv().await {
            Some(Status::PeerAdded { address, protocol, .. }) => {
                sockets.extend(protocol.zeromq().map(|peer| (peer.socket, address.to_string())));
            }
            Some(_) => {}
            None => break,
        }
    }
    // The XPUB, at the first port, is first.
    sockets.sort_unstable();
    endpoint.shutdown().await;
    Ok(Proxy::Open(sockets))
}

impl Proxy {
    /// Prints what was found. The exit code is that of a refused connection if the proxy requires a different mechanism.
    pub(super) fn print(self, target: &str, json: bool) -> Result<(), Failure> {
        let (summary, mechanism, sockets, note) = match self {
            Proxy::Open(sockets) => ("the proxy of a ZeroMQ cluster", Some("NULL"), sockets, None),
            Proxy::Secured(text) => (
                "the proxy of a ZeroMQ cluster that requires the keys of CURVE",
                None,
                Vec::new(),
                Some(text),
            ),
        };
        let is_open = mechanism.is_some();
        let command = is_open.then(|| format!("zeek-bridge tap -c {}", shell_word(target.as_bytes())));
        let mut output = Output::new();
        if json {
            let (found, mechanism) = ("zeromq", mechanism.unwrap_or("CURVE"));
            let sockets = sockets.into_iter().map(|(socket, address)| Socket { socket, address }).collect();
            let notes = note.into_iter().collect();
            let document = Document { target, found, summary, mechanism, sockets, command, notes };
            output.line(&to_line(&document))?;
        } else {
            let mut lines = vec![format!("{target}: {summary}")];
            let mut line = |name: &str, text: &str| lines.push(format!("  {name:<12} {text}"));
            line("mechanism", mechanism.unwrap_or("CURVE"));
            sockets.iter().for_each(|(socket, address)| line(socket, address));
            note.iter().for_each(|note| line("note", note));
            command.iter().for_each(|command| line("connect with", command));
            for line in lines {
                output.line(printable(&line).as_bytes())?;
            }
        }
        output.flush()?;
        if is_open { Ok(()) } else { Err(Failure::Reported(Exit::Refused)) }
    }
}
