//! Publishes an event to a Zeek process.
//!
//! ```console
//! $ zeek examples/zeek/ping.zeek Broker::disable_ssl=T &
//! $ cargo run --example publish -- 127.0.0.1:9999
//! ```
//!
//! A Zeek process without TLS settings uses anonymous TLS. To connect to it, add a second argument, `anonymous`, and build
//! the example with `--features openssl`.

use std::error::Error;
use std::{env, io};

use zeek_bridge::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let tls = if args.next().as_deref() == Some("anonymous") { Tls::anonymous()? } else { Tls::Off };
    publish(&address, tls, io::stdout()).await
}

/// Publishes one event, and writes how many peers it was sent to.
pub async fn publish(address: &str, tls: Tls, mut output: impl io::Write) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::new()?;
    endpoint.connect(address, tls).await?;

    // `7u64` is a count. A plain `7` would be an int, which Zeek does not accept for a count.
    let ping = Event::new("ping", ("hello", 7u64));
    let peers = endpoint.publish("/demo/ping", ping).await?;
    if peers == 0 {
        return Err("the peer does not subscribe to /demo/ping".into());
    }
    writeln!(output, "published to {peers} peer")?;

    // Wait until the event is sent. Otherwise, the program could end before that.
    endpoint.shutdown().await;
    Ok(())
}
