//! The endpoint of a network command: where it is, and its TLS.

use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Retry, Status, StatusReceiver};
use zeek_bridge::net::tls::Tls;

use crate::args::NetworkArgs;
use crate::args::tls;
use crate::output::{Exit, Failure, stderr};
use crate::signals::Signals;

/// Where to connect or listen, with everything that can be checked beforehand checked.
pub(crate) struct Network {
    place: Place,
    retry: Retry,
    tls: Tls,
}

enum Place {
    Connect(String),
    Listen(String),
}

/// What a connection's failure means for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// The first attempt must succeed. A peering that is lost later is tried again.
    FirstMustSucceed,
    /// Every failure is logged, and tried again.
    Persistent,
}

impl Network {
    /// Reads the certificates.
    pub(crate) fn new(args: NetworkArgs) -> Result<Self, Failure> {
        let place = match (args.place.connect, args.place.listen) {
            (Some(target), None) => Place::Connect(target.0),
            (None, Some(address)) => Place::Listen(address.0),
            _ => return Err(Failure::usage("give one of --connect HOST:PORT and --listen ADDR:PORT")),
        };
        Ok(Network { place, retry: args.retry.0, tls: args.tls.load()? })
    }

    /// Connects or listens. What is to be heard must have been subscribed to before.
    pub(crate) async fn start(&self, endpoint: &Endpoint, persistence: Persistence) -> Result<(), Failure> {
        tls::keep_up(&self.tls)?;
        match &self.place {
            Place::Listen(address) => {
                let listener = endpoint.listen(address, self.tls.clone()).await.map_err(|error| {
                    let message = format!(
                        "cannot listen on {address}: {error}; choose an address of this host \
                         and a port that is free, or port 0"
                    );
                    Failure::Error(Exit::Unconnected, message)
                })?;
                stderr::print_line(format_args!("listening on {}", listener.local_addr()));
            }
            Place::Connect(target) if persistence == Persistence::Persistent => {
                endpoint.connect(target, self.tls.clone(), Some(self.retry));
            }
            Place::Connect(target) => {
                let status = endpoint.status();
                let mut connector = endpoint.connect(target, self.tls.clone(), None);
                connector.first_attempt().await.map_err(|error| Failure::link(target, &error))?;
                let (target, tls) = (target.clone(), self.tls.clone());
                tokio::spawn(reconnect(endpoint.clone(), status, target, tls, self.retry));
            }
        }
        Ok(())
    }
}

/// Connects again once the first peering is over, and again and again.
async fn reconnect(endpoint: Endpoint, mut status: StatusReceiver, target: String, tls: Tls, retry: Retry) {
    while let Some(status) = status.recv().await {
        if matches!(status, Status::PeerLost { .. } | Status::PeerRemoved { .. }) {
            // As after every end of a peering: at once, a peer that left is not back yet, and this command may be
            // about to end as well.
            tokio::time::sleep(retry.first).await;
            endpoint.connect(&target, tls, Some(retry));
            return;
        }
    }
}

/// Makes an endpoint.
pub(crate) fn endpoint() -> Result<Endpoint, Failure> {
    endpoint_with(EndpointConfig::default())
}

/// Makes an endpoint with these settings.
pub(crate) fn endpoint_with(config: EndpointConfig) -> Result<Endpoint, Failure> {
    Endpoint::with_config(config)
        .map_err(|error| Failure::failed(format!("no random number for the endpoint's id: {error}")))
}

/// Leaves all peers gracefully; a further signal cuts that short, which is what this says.
pub(crate) async fn leave(endpoint: &Endpoint, signals: &mut Signals) -> bool {
    tokio::select! {
        () = endpoint.shutdown() => false,
        () = signals.next() => true,
    }
}
