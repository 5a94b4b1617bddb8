//! Prints the events that a Zeek process publishes on topics that begin with `/demo/`.
//!
//! ```console
//! $ zeek examples/zeek/ping.zeek Broker::disable_ssl=T &
//! $ cargo run --example subscribe -- 127.0.0.1:9999
//! ```
//!
//! A Zeek process without TLS settings uses anonymous TLS. To connect to it, add a second argument, `anonymous`, and build
//! the example with `--features openssl`.
//! Run the example `publish` to make this Zeek process send an event.

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
    // The endpoint connects again whenever the connection is lost. `await` returns the result of the first attempt.
    let peer = endpoint.connect_with_retry(address, tls, Retry::default()).await?;
    writeln!(output, "connected to {peer}")?;

    while let Some(message) = messages.recv().await {
        // Replace characters that control a terminal, because the peer chooses the text.
        writeln!(output, "{}", message.to_string().replace(steers_terminal, "?"))?;
    }
    Ok(())
}
