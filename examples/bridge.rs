//! A bridge in a program. It forwards messages on topics that begin with `/demo/` from one listener to the other.
//!
//! ```console
//! $ cargo run --example bridge --features bridge -- 127.0.0.1:9998 127.0.0.1:9999
//! ```

use std::error::Error;
use std::{env, io};

use zeek_bridge::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let left = args.next().unwrap_or_else(|| "127.0.0.1:9998".to_owned());
    let right = args.next().unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let bridge = start(&left, &right, io::stdout()).await?;
    tokio::signal::ctrl_c().await?;
    // Sends the queued messages, and disconnects all peers.
    bridge.shutdown().await;
    Ok(())
}

/// Starts a bridge that listens on two addresses.
pub async fn start(left: &str, right: &str, mut output: impl io::Write) -> Result<Bridge, Box<dyn Error>> {
    // The text of a configuration file. To read it from a file, use `BridgeConfig::read`. Messages that no rule allows
    // are dropped.
    let text = format!(
        r#"
        [link.left]
        listen = "{left}"
        tls = "off"

        [link.right]
        listen = "{right}"
        tls = "off"

        [[rule]]
        name = "demo"
        from = "left"
        to = "right"
        topics = ["/demo/"]
        "#
    );
    let bridge = Bridge::start(BridgeConfig::parse(&text, "bridge.toml")?).await?;
    for link in bridge.snapshot().links {
        writeln!(output, "{} listens on {}", link.name, link.listening.join(", "))?;
    }
    Ok(bridge)
}
