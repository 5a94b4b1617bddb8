//! A node of the Management framework that is not a Zeek process: it sends its hello to an agent and answers the agent's requests.
//!
//! ```console
//! $ zeek examples/zeek/agent.zeek Broker::disable_ssl=T &
//! $ cargo run --example node -- 127.0.0.1:2151 worker-01
//! ```
//!
//! Instead of this Zeek script, the example `agent` can be the agent.

use std::error::Error;
use std::{env, io};

use zeek_bridge::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:2151".to_owned());
    let name = args.next().unwrap_or_else(|| "worker-01".to_owned());
    node(&address, &name, io::stdout()).await
}

/// Runs a node, and writes a line for each answer.
pub async fn node(address: &str, name: &str, mut output: impl io::Write) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::new()?;
    // Zeek's own nodes only have the action `get_id_value`. Your node can have any actions. Answers are JSON.
    let own_name = name.to_owned();
    let node = Node::start(endpoint.clone(), name, move |action: String, args: Vec<String>| {
        let answer = match (action.as_str(), args.as_slice()) {
            ("get_id_value", [id]) if id == "Cluster::node" => Ok(Some(serde_json::json!(own_name).into())),
            ("get_id_value", _) => Err(DispatchError::UnknownId),
            ("echo", args) => Ok(Some(serde_json::json!(args).into())),
            _ => Err(DispatchError::UnknownAction(action)),
        };
        async { answer }
    })
    .await;
    let mut events = node.events();

    // `Tls::Off` is for an agent with `Broker::disable_ssl=T`. The guide on TLS describes certificates.
    endpoint.connect_with_retry(address, Tls::Off, Retry::default());
    while let Some(event) = events.recv().await {
        match event {
            NodeEvent::Hello { peer } => writeln!(output, "sent a hello to {peer}")?,
            // The error may contain text from the agent.
            NodeEvent::Answered { result, .. } => match result.error() {
                Some(error) => {
                    let error = error.to_string().replace(steers_terminal, "?");
                    writeln!(output, "answered with a failure: {error}")?;
                }
                None => writeln!(output, "answered with {}", result.value::<serde_json::Value>()?)?,
            },
            _ => {}
        }
    }
    Ok(())
}
