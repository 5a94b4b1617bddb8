//! The endpoint of a network command, its address and TLS.

use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Retry, Status, StatusReceiver};
use zeek_bridge::net::tls::Tls;

use crate::args::NetworkArgs;
use crate::args::tls;
use crate::output::{Exit, Failure, stderr};
use crate::signals::Signals;

/// The address and TLS settings of a command. Certificates are loaded already.
pub(crate) struct Network {
    address: Address,
    retry: Retry,
    tls: Tls,
}

enum Address {
    Connect(String),
    Listen(String),
}

/// The handling of failed connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// The first attempt must succeed. A peering that is lost later is retried.
    FirstMustSucceed,
    /// Every failure is logged and retried.
    Persistent,
}

impl Network {
    /// Loads the certificates.
    pub(crate) fn new(args: NetworkArgs) -> Result<Self, Failure> {
        let address = match (args.address.connect, args.address.listen) {
            (Some(target), None) => Address::Connect(target.0),
            (None, Some(address)) => Address::Listen(address.0),
            _ => return Err(Failure::usage("use --connect HOST:PORT or --listen ADDR:PORT")),
        };
        Ok(Network { address, retry: args.retry.0, tls: args.tls.load()? })
    }

    /// Connects or listens. Subscriptions must exist before, so that they are part of the first handshake.
    pub(crate) async fn start(&self, endpoint: &Endpoint, persistence: Persistence) -> Result<(), Failure> {
        tls::keep_up(&self.tls)?;
        match &self.address {
            Address::Listen(address) => {
                let listener = endpoint.listen(address, self.tls.clone()).await.map_err(|error| {
                    let message = format!(
                        "cannot listen on {address}: {error}; use an address of this host \
                         and a free port, or port 0"
                    );
                    Failure::Error(Exit::Unconnected, message)
                })?;
                stderr::print_line(format_args!("listening on {}", listener.local_addr()));
            }
            Address::Connect(target) if persistence == Persistence::Persistent => {
                endpoint.connect_with_retry(target, self.tls.clone(), self.retry);
            }
            Address::Connect(target) => {
                let status = endpoint.status();
                let connector = endpoint.connect(target, self.tls.clone());
                connector.await.map_err(|error| Failure::connect(target, &error))?;
                let (target, tls) = (target.clone(), self.tls.clone());
                tokio::spawn(reconnect(endpoint.clone(), status, target, tls, self.retry));
            }
        }
        Ok(())
    }
}

/// Waits for the end of the first peering, then reconnects persistently.
async fn reconnect(endpoint: Endpoint, mut status: StatusReceiver, target: String, tls: Tls, retry: Retry) {
    while let Some(status) = status.recv().await {
        if matches!(status, Status::PeerLost { .. } | Status::PeerRemoved { .. }) {
            // The usual delay before reconnecting. Without it, the peer is likely not back yet, and this command may be
            // about to end as well.
            tokio::time::sleep(retry.first).await;
            endpoint.connect_with_retry(&target, tls, retry);
            return;
        }
    }
}

/// Creates an endpoint with default settings.
pub(crate) fn endpoint() -> Result<Endpoint, Failure> {
    endpoint_with(EndpointConfig::default())
}

/// Creates an endpoint.
pub(crate) fn endpoint_with(config: EndpointConfig) -> Result<Endpoint, Failure> {
    Endpoint::with_config(config)
        .map_err(|error| Failure::failed(format!("cannot get random bytes for the endpoint id: {error}")))
}

/// Leaves all peers gracefully. Returns true if a further signal interrupted this.
pub(crate) async fn leave(endpoint: &Endpoint, signals: &mut Signals) -> bool {
    tokio::select! {
        () = endpoint.shutdown() => false,
        () = signals.next() => true,
    }
}
