//! Prints the events of a Zeek under `/demo/`.
//!
//! ```console
//! $ zeek examples/zeek/ping.zeek Broker::disable_ssl=T &
//! $ cargo run --example subscribe -- 127.0.0.1:9999
//! ```
//!
//! A second argument `anonymous` is for a Zeek without TLS settings, and needs `--features openssl`. The example `publish` makes
//! this Zeek send an event.

use std::error::Error;
use std::{env, io};

use zeek_bridge::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let tls = if args.next().as_deref() == Some("anonymous") { Tls::anonymous()? } else { Tls::Off };
    subscribe(&address, tls, io::stdout()).await
}

/// Writes a line for each message.
pub async fn subscribe(address: &str, tls: Tls, mut output: impl io::Write) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::new()?;
    // Subscribe before connecting, so that the peer learns of the subscription in the handshake. A topic is a prefix.
    let mut messages = endpoint.subscribe("/demo/").await;
    // With a retry, the endpoint connects again after a lost connection. Awaiting reports the error of the first attempt.
    let peer = endpoint.connect_with_retry(address, tls, Retry::default()).await?;
    writeln!(output, "connected to {peer}")?;

    while let Some(message) = messages.recv().await {
        // The text of a peer must not control the terminal.
        let text: String = message.to_string().chars().filter(|c| !c.is_control()).collect();
        writeln!(output, "{text}")?;
    }
    Ok(())
}
