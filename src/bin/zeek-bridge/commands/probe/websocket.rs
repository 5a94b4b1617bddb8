//! Identifies a server of the WebSocket API.

use std::time::Duration;

use serde::Serialize;
use zeek_bridge::endpoint::{EndpointConfig, Status, WebSocketConfig, WebSocketPeer};
use zeek_bridge::net::tls::Tls;

use super::shell_word;
use crate::network;
use crate::output::{Failure, Output, printable, to_line};

/// A server of the WebSocket API.
pub(super) struct Server {
    /// The `endpoint` of its `ack`.
    endpoint: Option<String>,
    /// The `version` of its `ack`.
    version: Option<String>,
}

/// The line of JSON.
#[derive(Serialize)]
struct Document<'a> {
    target: &'a str,
    found: &'static str,
    summary: &'static str,
    version: Option<String>,
    endpoint: Option<String>,
    command: String,
}

/// Connects to the server without a subscription, and leaves it.
pub(super) async fn probe(
    target: &str,
    tls: Tls,
    settings: WebSocketConfig,
    wait: Duration,
) -> Result<Server, Failure> {
    let config = EndpointConfig {
        websocket: settings,
        connect_timeout: wait,
        handshake_timeout: wait,
        ..EndpointConfig::default()
    };
    let endpoint = network::endpoint_with(config)?;
    let mut status = endpoint.status();
    let connected = endpoint.connect(target, tls).await;
    connected.map_err(|error| Failure::connect(target, &error))?;
    let peer = loop {
        match status.recv().await {
            Some(Status::PeerAdded { websocket, .. }) => break websocket,
            Some(_) => {}
            None => break None,
        }
    };
    endpoint.shutdown().await;
    let text = |part: fn(&WebSocketPeer) -> Option<&str>| peer.as_deref().and_then(part).map(str::to_owned);
    Ok(Server { endpoint: text(|peer| peer.name.as_deref()), version: text(|peer| peer.version.as_deref()) })
}

impl Server {
    /// Prints the server. `options` are the options that the connection needed, and are part of the printed command.
    pub(super) fn print(
        self,
        target: &str,
        options: &[(&'static str, String)],
        json: bool,
    ) -> Result<(), Failure> {
        let summary = "a server of the WebSocket API";
        let mut command = format!("zeek-bridge tap -c {}", shell_word(target.as_bytes()));
        for (name, value) in options {
            command.push_str(&format!(" --{name} {}", shell_word(value.as_bytes())));
        }
        command.push_str(" -t PREFIX");
        let mut output = Output::new();
        if json {
            let Server { endpoint, version } = self;
            let found = "websocket";
            output.line(&to_line(&Document { target, found, summary, version, endpoint, command }))?;
        } else {
            let mut lines = vec![format!("{target}: {summary}")];
            let parts =
                [("version", self.version), ("endpoint", self.endpoint), ("connect with", Some(command))];
            for (name, text) in parts {
                lines.extend(text.map(|text| format!("  {name:<12} {text}")));
            }
            for line in lines {
                output.line(printable(&line).as_bytes())?;
            }
        }
        output.flush()
    }
}
