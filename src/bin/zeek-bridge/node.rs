//! `node`: stands in for a node of a cluster.

use std::path::Path;

use zeek_bridge::management::{Node, NodeEvent, NodeEvents, Values};

use crate::args::NodeArgs;
use crate::exit::Failure;
use crate::network::{self, Network, Persistence};
use crate::signals::Signals;

pub(crate) async fn run(args: NodeArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let values = args.values.as_deref().map_or_else(|| Ok(Values::default()), read)?;
    let network = Network::new(args.network)?;
    let endpoint = network::endpoint()?;
    let node = Node::start(endpoint.clone(), args.name, values).await;
    tokio::spawn(log(node.events()));
    let started = network.start(&endpoint, Persistence::Persistent).await;
    if started.is_ok() {
        signals.next().await;
    }
    node.stop().await;
    network::leave(&endpoint, &mut signals).await;
    started.map(drop)
}

fn read(file: &Path) -> Result<Values, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::failed(format!(
            "cannot read the values in {name}: {error}; check its name and its permissions"
        ))
    })?;
    Values::from_json_text(&text).map_err(|error| Failure::failed(format!("{name}: {error}")))
}

async fn log(mut events: NodeEvents) {
    while let Some(event) = events.recv().await {
        match event {
            NodeEvent::Request { peer, request } => {
                tracing::info!(%peer, reqid = request.reqid, action = ?request.action, "asked");
            }
            NodeEvent::Answered { peer, result } => {
                tracing::info!(%peer, reqid = result.reqid(), success = result.is_success(), "answered");
            }
            // The library tells of the others.
            _ => {}
        }
    }
}
