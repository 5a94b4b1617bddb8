//! The endpoint of a network command, with its address and TLS mode.

use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Retry, Status, StatusReceiver, WebSocketConfig};
use zeek_bridge::net::Exposure;
use zeek_bridge::net::tls::Tls;

use crate::args::tls::{self, TlsChoice};
use crate::args::{Address, BROKER_ONLY, NetworkArgs, WebSocketArgs, scheme};
use crate::output::{Exit, Failure, stderr};
use crate::settings::{self, Settings};
use crate::signals::Signals;
use crate::tls_auto;

/// The address and TLS settings of a command. Certificates are loaded already.
pub(crate) struct Network {
    address: Address,
    retry: Retry,
    tls: TlsChoice,
    websocket: WebSocketConfig,
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
    /// Chooses the settings from the command line, the environment and a profile, and loads the certificates and the token.
    pub(crate) fn new(args: NetworkArgs, websocket: &WebSocketArgs) -> Result<Self, Failure> {
        let settings = settings::choose(args, || Ok(None))?;
        let websocket = websocket.settings(&settings.address)?;
        Self::load(settings, websocket)
    }

    /// Like [`Network::new`], with the address that `agent` returns if the command line has none, and for Broker's protocol
    /// only.
    pub(crate) fn with_agent(
        args: NetworkArgs,
        agent: impl FnOnce() -> Result<Option<Address>, Failure>,
    ) -> Result<Self, Failure> {
        let settings = settings::choose(args, agent)?;
        let (Address::Connect(address) | Address::Listen(address)) = &settings.address;
        if scheme(address).is_websocket() {
            return Err(Failure::usage(format!("{address}: {BROKER_ONLY}")));
        }
        Self::load(settings, WebSocketConfig::default())
    }

    fn load(settings: Settings, websocket: WebSocketConfig) -> Result<Self, Failure> {
        let Settings { address, retry, tls: settings } = settings;
        let tls = settings.load()?;
        if let (TlsChoice::Auto, Address::Listen(address)) = (&tls, &address) {
            return Err(Failure::usage(format!(
                "{} cannot be used to listen on {address}, because it probes a peer; use --tls anonymous or --tls off",
                settings.setting("tls", "auto")
            )));
        }
        Ok(Network { address, retry, tls, websocket })
    }

    /// Returns the address to connect to. `None` if the command listens.
    pub(crate) fn target(&self) -> Option<&str> {
        match &self.address {
            Address::Connect(target) => Some(target),
            Address::Listen(_) => None,
        }
    }

    /// Returns whether the peers use the WebSocket API.
    pub(crate) fn is_websocket(&self) -> bool {
        let (Address::Connect(address) | Address::Listen(address)) = &self.address;
        scheme(address).is_websocket()
    }

    /// Connects or listens. Create subscriptions before this call, so that they are part of the first handshake.
    ///
    /// With `--tls auto`, waits until a probe has found the TLS mode of the peer. The mode is never changed after that.
    pub(crate) async fn start(&self, endpoint: &Endpoint, persistence: Persistence) -> Result<(), Failure> {
        let (Address::Connect(address) | Address::Listen(address)) = &self.address;
        let tls = match &self.tls {
            TlsChoice::Fixed(tls) => tls.clone(),
            TlsChoice::Auto => {
                let retry = (persistence == Persistence::Persistent).then_some(self.retry);
                tls_auto::choose(address, retry).await?
            }
        };
        tls::keep_up(&tls)?;
        warn_of_exposure(&tls, address);
        endpoint.set_websocket(self.websocket.clone());
        match &self.address {
            Address::Listen(address) => {
                let listener = endpoint.listen(address, tls.clone()).await.map_err(|error| {
                    let message = format!(
                        "cannot listen on {address}: {error}; use an address of this host \
                         and a free port, or port 0"
                    );
                    Failure::Error(Exit::Unconnected, message)
                })?;
                stderr::print_line(format_args!("listening on {}", listener.url()));
            }
            Address::Connect(target) if persistence == Persistence::Persistent => {
                endpoint.connect_with_retry(target, tls.clone(), self.retry);
            }
            Address::Connect(target) => {
                let status = endpoint.status();
                let connector = endpoint.connect(target, tls.clone());
                connector.await.map_err(|error| Failure::connect(target, &error))?;
                tokio::spawn(reconnect(endpoint.clone(), status, target.clone(), tls, self.retry));
            }
        }
        Ok(())
    }
}

/// Logs a warning if the connection can leave this host, and this TLS mode does not authenticate peers. Called once for each
/// address of a command. For the links of a bridge, the check of the configuration reports the same warning.
pub(crate) fn warn_of_exposure(tls: &Tls, address: &str) {
    if let Some(exposure) = Exposure::of(tls, address) {
        if scheme(address).is_websocket() {
            tracing::warn!("{exposure}; use wss:// across a network");
        } else {
            tracing::warn!(
                "{exposure}; use certificates across a network (--cafile, --certificate and --keyfile)"
            );
        }
    }
}

/// Waits for the end of the first peering, then reconnects persistently.
async fn reconnect(endpoint: Endpoint, mut status: StatusReceiver, target: String, tls: Tls, retry: Retry) {
    while let Some(status) = status.recv().await {
        if matches!(status, Status::PeerLost { .. } | Status::PeerRemoved { .. }) {
            // Wait for the usual delay before reconnecting. Otherwise the peer is probably not available yet, and this
            // command may be about to end.
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

/// Leaves all peers gracefully. Returns true if a signal interrupted the shutdown.
pub(crate) async fn leave(endpoint: &Endpoint, signals: &mut Signals) -> bool {
    tokio::select! {
        () = endpoint.shutdown() => false,
        () = signals.next() => true,
    }
}
