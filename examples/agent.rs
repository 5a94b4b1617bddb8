//! An agent of the Management framework: it waits for a node and asks it for the value of a global variable.
//!
//! ```console
//! $ cargo run --example agent -- 127.0.0.1:2151 Version::number &
//! $ zeek examples/zeek/node.zeek Broker::disable_ssl=T
//! ```
//!
//! Instead of this Zeek script, the example `node` can be the node.

use std::error::Error;
use std::{env, io};

use zeek_bridge::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:2151".to_owned());
    let id = args.next().unwrap_or_else(|| "Cluster::node".to_owned());
    agent(&address, &id, io::stdout()).await
}

/// Waits for the first node, and then asks all connected nodes.
pub async fn agent(address: &str, id: &str, mut output: impl io::Write) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::new()?;
    let agent = Agent::start(endpoint.clone()).await;
    let listener = endpoint.listen(address, Tls::Off).await?;
    writeln!(output, "listening on {}", listener.local_addr())?;

    agent.wait_for_nodes(|nodes| !nodes.is_empty()).await;
    // You can choose the type of the values. `serde_json::Value` accepts any value.
    for (node, value) in agent.get_id_value::<serde_json::Value>(id).await? {
        let text = match value {
            Ok(value) => format!("{node}: {id} is {value}"),
            Err(error) => format!("{node}: {error}"),
        };
        // Replace characters that control a terminal, because the nodes choose their names and values.
        writeln!(output, "{}", text.replace(steers_terminal, "?"))?;
    }
    endpoint.shutdown().await;
    Ok(())
}
