//! The endpoint of a network command: where it is, its TLS, and what becomes of its peers.

use std::time::Duration;

use tokio::sync::watch;
use zeek_bridge::endpoint::{Endpoint, LinkError, Retry, Status, StatusReceiver};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::CloseReason;

use crate::args::NetworkArgs;
use crate::exit::{self, Exit, Failure};
use crate::signals::Signals;
use crate::tls;

/// How long the status of the last peer may take to arrive after a shutdown.
const LAST_STATUS: Duration = Duration::from_secs(1);

/// Where to connect or listen, with everything that can be checked beforehand checked.
pub(crate) struct Network {
    place: Place,
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
        Ok(Network { place, tls: args.tls.load()? })
    }

    /// Connects or listens. What is to be heard must have been subscribed to before.
    pub(crate) async fn start(
        &self,
        endpoint: &Endpoint,
        persistence: Persistence,
    ) -> Result<Peers, Failure> {
        let peers = Peers::watch(endpoint);
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
                exit::say(format_args!("listening on {}", listener.local_addr()));
            }
            Place::Connect(target) if persistence == Persistence::Persistent => {
                endpoint.connect(target, self.tls.clone(), Some(Retry::default()));
            }
            Place::Connect(target) => {
                let status = endpoint.status();
                let mut connector = endpoint.connect(target, self.tls.clone(), None);
                connector.first_attempt().await.map_err(|error| Failure::link(target, &error))?;
                tokio::spawn(reconnect(endpoint.clone(), status, target.clone(), self.tls.clone()));
            }
        }
        Ok(peers)
    }
}

/// Connects again once the first peering is over, and again and again.
async fn reconnect(endpoint: Endpoint, mut status: StatusReceiver, target: String, tls: Tls) {
    while let Some(status) = status.recv().await {
        if matches!(status, Status::PeerLost { .. } | Status::PeerRemoved { .. }) {
            endpoint.connect(&target, tls, Some(Retry::default()));
            return;
        }
    }
}

/// Makes an endpoint.
pub(crate) fn endpoint() -> Result<Endpoint, Failure> {
    Endpoint::new()
        .map_err(|error| Failure::failed(format!("no random number for the endpoint's id: {error}")))
}

/// Leaves all peers gracefully; a further signal cuts that short.
pub(crate) async fn leave(endpoint: &Endpoint, signals: &mut Signals) {
    tokio::select! {
        () = endpoint.shutdown() => {}
        () = signals.next() => {}
    }
}

/// What became of the peers so far.
pub(crate) struct Peers(watch::Receiver<Fates>);

#[derive(Debug, Default)]
struct Fates {
    standing: usize,
    /// How many were lost in a way in which messages can get lost, too.
    failed: usize,
}

impl Peers {
    fn watch(endpoint: &Endpoint) -> Self {
        let mut status = endpoint.status();
        let (sender, receiver) = watch::channel(Fates::default());
        tokio::spawn(async move {
            while let Some(status) = status.recv().await {
                sender.send_modify(|fates| fates.update(&status));
            }
        });
        Peers(receiver)
    }

    /// After a shutdown: how many peers were lost, or could not be left in order.
    pub(crate) async fn failed(mut self) -> usize {
        let _ = tokio::time::timeout(LAST_STATUS, self.0.wait_for(|fates| fates.standing == 0)).await;
        self.0.borrow().failed
    }
}

impl Fates {
    fn update(&mut self, status: &Status) {
        let failed = match status {
            Status::PeerAdded { .. } => {
                self.standing = self.standing.saturating_add(1);
                return;
            }
            // It has read what it was sent up to then, and wants no more.
            Status::PeerLost { error: LinkError::Closed(CloseReason::PeerLeft), .. }
            | Status::PeerRemoved { error: None | Some(LinkError::Closed(CloseReason::PeerLeft)), .. } => 0,
            Status::PeerLost { .. } | Status::PeerRemoved { .. } => 1,
            _ => return,
        };
        self.standing = self.standing.saturating_sub(1);
        self.failed = self.failed.saturating_add(failed);
    }
}
