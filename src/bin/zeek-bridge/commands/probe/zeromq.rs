//! Identifies the proxy of a ZeroMQ cluster.

use std::time::Duration;

use serde::Serialize;
use zeek_bridge::endpoint::{ConnectError, EndpointConfig, Status};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::PeeringError;

use super::shell_word;
use crate::network::{self, may_be_caused_by_keys};
use crate::output::{Exit, Failure, Output, printable, to_line};
use crate::settings::ZeroMqSettings;

/// The result of a probe.
pub(super) enum Proxy {
    /// Both connections were established. Each socket of the proxy, with its address.
    Open(Vec<(&'static str, String)>),
    /// The handshake ended because of the keys or the security mechanism.
    Refused {
        /// Whether the proxy uses CURVE.
        is_curve: bool,
        error: String,
    },
}

/// The line of JSON.
#[derive(Serialize)]
struct Document<'a> {
    target: &'a str,
    found: &'static str,
    summary: &'static str,
    mechanism: &'static str,
    /// The proxy's answer to the CURVE keys of this program. `None` if it has no keys.
    keys: Option<&'static str>,
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
pub(super) async fn probe(target: &str, settings: &ZeroMqSettings, wait: Duration) -> Result<Proxy, Failure> {
    let config = EndpointConfig {
        connect_timeout: wait,
        handshake_timeout: wait,
        zeromq: settings.load()?,
        ..EndpointConfig::default()
    };
    let has_keys = config.zeromq.client.is_some();
    let endpoint = network::endpoint_with(config)?;
    let mut status = endpoint.status();
    match endpoint.connect(target, Tls::Off).await {
        Ok(_) => {}
        Err(ConnectError::Peering(PeeringError::Session(error))) if error.cause == "mechanism" => {
            return Ok(Proxy::Refused { is_curve: !has_keys, error: error.to_string() });
        }
        // A connection that the proxy closes before its greeting has the cause `closed`.
        Err(ConnectError::Peering(PeeringError::Session(error)))
            if has_keys && may_be_caused_by_keys(&error) && error.cause != "closed" =>
        {
            return Ok(Proxy::Refused { is_curve: true, error: error.to_string() });
        }
        Err(error) => return Err(network::unconnected(target, &error, settings)),
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
    /// Prints the result. The exit code is that of a refused connection if the keys or the mechanism do not match.
    pub(super) fn print(self, target: &str, settings: &ZeroMqSettings, json: bool) -> Result<(), Failure> {
        let has_keys = settings.has_keys();
        let (is_curve, sockets, error) = match self {
            Proxy::Open(sockets) => (has_keys, sockets, None),
            Proxy::Refused { is_curve, error } => (is_curve, Vec::new(), Some(error)),
        };
        let is_open = error.is_none();
        let (summary, keys) = match (is_curve, has_keys) {
            _ if is_open => ("the proxy of a ZeroMQ cluster", has_keys.then_some("accepted")),
            (true, false) => ("the proxy of a ZeroMQ cluster that requires CURVE keys", None),
            (true, true) => ("the proxy of a ZeroMQ cluster that refuses these CURVE keys", Some("refused")),
            (false, _) => ("the proxy of a ZeroMQ cluster that does not use CURVE", Some("unused")),
        };
        let mechanism = if is_curve { "CURVE" } else { "NULL" };
        let command = is_open.then(|| command(target, settings));
        let notes: Vec<String> =
            error.map(|error| format!("{error}; {}", settings.hint())).into_iter().collect();
        let mut output = Output::new();
        if json {
            let sockets = sockets.into_iter().map(|(socket, address)| Socket { socket, address }).collect();
            let found = "zeromq";
            let document = Document { target, found, summary, mechanism, keys, sockets, command, notes };
            output.line(&to_line(&document))?;
        } else {
            let mut lines = vec![format!("{target}: {summary}")];
            let mut line = |name: &str, text: &str| lines.push(format!("  {name:<12} {text}"));
            line("mechanism", mechanism);
            keys.iter().for_each(|keys| line("keys", keys));
            sockets.iter().for_each(|(socket, address)| line(socket, address));
            notes.iter().for_each(|note| line("note", note));
            command.iter().for_each(|command| line("connect with", command));
            for line in lines {
                output.line(printable(&line).as_bytes())?;
            }
        }
        output.flush()?;
        if is_open { Ok(()) } else { Err(Failure::Reported(Exit::Refused)) }
    }
}

/// Returns the command line that prints the events of the cluster.
fn command(target: &str, settings: &ZeroMqSettings) -> String {
    let options = settings.key_options().into_iter();
    let options = options.map(|(name, value)| format!(" --{name} {}", shell_word(value.as_encoded_bytes())));
    format!("zeek-bridge tap -c {}{}", shell_word(target.as_bytes()), options.collect::<String>())
}
