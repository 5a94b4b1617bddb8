//! `demo --serve`: the page of a bridge, with a small cluster at work.

mod cluster;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};

use zeek_bridge::bridge::config::Http;

use crate::commands::run::PageServer;
use crate::output::{Exit, Failure, Output};
use crate::signals::Signals;
use cluster::Cluster;

/// Serves the page until a signal arrives. Without an address, uses the default address, or another port if it is taken.
pub(super) async fn run(address: Option<SocketAddr>) -> Result<(), Failure> {
    if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        return Err(Failure::usage(
            "the demo serves its page without authentication; use an address such as 127.0.0.1:9747",
        ));
    }
    let mut signals = Signals::new()?;
    let server = bind(address).await?;
    let mut cluster = Cluster::start().await?;
    let bridge = cluster.bridge.clone();
    print(server.address())?;
    tokio::select! {
        () = server.serve(move || bridge.snapshot()) => {}
        failure = cluster.work() => return Err(failure),
        () = signals.next() => {}
    }
    cluster.bridge.shutdown().await;
    Ok(())
}

async fn bind(address: Option<SocketAddr>) -> Result<PageServer, Failure> {
    let bound = match address {
        Some(address) => PageServer::bind(address).await,
        None => match PageServer::bind(Http::DEFAULT).await {
            Ok(server) => Ok(server),
            Err(_) => PageServer::bind((Ipv4Addr::LOCALHOST, 0).into()).await,
        },
    };
    bound.map_err(|message| Failure::Error(Exit::Unconnected, message))
}

/// Prints the URL, and what the page shows.
fn print(address: SocketAddr) -> Result<(), Failure> {
    let lines = format!(
        "A small cluster is at work on loopback. Its bridge shows itself at

    http://{address}/

  agents      an agent sends requests to the nodes
  nodes       {nodes} answer, and publish events
  dashboards  a WebSocket client receives the events
  {denied:<11} a node that no rule allows: its events, hellos and answers are denied

As JSON: http://{address}/api/v1/status. Ctrl-C ends the demo.",
        nodes = cluster::NODES.join(", "),
        denied = cluster::DENIED,
    );
    let mut output = Output::new();
    output.line(lines.as_bytes())?;
    output.flush()
}
