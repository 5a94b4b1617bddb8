//! The endpoint of a network command, with its address and TLS mode.

use zeek_bridge::data::EndpointId;
use zeek_bridge::endpoint::{ConnectError, Endpoint, EndpointConfig, Retry, WebSocketConfig, ZeroMqConfig};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::net::{AddressError, Exposure, Scheme, Url};
use zeek_bridge::peering::{PeeringError, SessionError};
use zeek_bridge::zeromq::EventFormat;

use crate::args::tls::{self, TlsChoice};
use crate::args::{Address, CurveArgs, NetworkArgs, WebSocketArgs, is_for_broker_only, protocol_of, scheme};
use crate::output::{Exit, Failure, stderr};
use crate::settings::{self, Settings, ZeroMqSettings};
use crate::signals::Signals;
use crate::tls_auto;

/// The address and TLS settings of a command. Certificates are loaded already.
pub(crate) struct Network {
    address: Address,
    retry: Retry,
    tls: TlsChoice,
    websocket: WebSocketConfig,
    zeromq: ZeroMqConfig,
    zeromq_settings: ZeroMqSettings,
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
    /// Chooses the settings from the command line, the environment and a profile, and loads the certificates, the token and the keys
    /// of CURVE.
    pub(crate) fn new(
        args: NetworkArgs,
        websocket: &WebSocketArgs,
        curve: CurveArgs,
    ) -> Result<Self, Failure> {
        let settings = settings::choose(args, curve, || Ok(None))?;
        let websocket = websocket.settings(&settings.address)?;
        Self::load(settings, websocket)
    }

    /// Like [`Network::new`], but uses the address that `agent` returns if the command line has none. Accepts only addresses of
    /// Broker's protocol, because Zeek's Management framework uses no other protocol.
    pub(crate) fn with_agent(
        args: NetworkArgs,
        agent: impl FnOnce() -> Result<Option<Address>, Failure>,
    ) -> Result<Self, Failure> {
        let settings = settings::choose(args, CurveArgs::default(), agent)?;
        let (Address::Connect(address) | Address::Listen(address)) = &settings.address;
        match scheme(address) {
            Scheme::Broker => Self::load(settings, WebSocketConfig::default()),
            Scheme::ZeroMq => Err(Failure::usage(format!(
                "{address}: Zeek's Management framework uses Broker's native protocol, even if the cluster uses ZeroMQ; use \
                 the HOST:PORT of a Broker endpoint"
            ))),
            _ => {
                Err(Failure::usage(format!("{address}: {}", is_for_broker_only(address).unwrap_or_default())))
            }
        }
    }

    fn load(settings: Settings, websocket: WebSocketConfig) -> Result<Self, Failure> {
        let Settings { address, retry, tls: settings, zeromq: zeromq_settings } = settings;
        if let Address::Listen(address) = &address
            && scheme(address) == Scheme::ZeroMq
        {
            return Err(Failure::usage(format!("{address}: {}", AddressError::ListenZeroMq)));
        }
        let tls = settings.load()?;
        let zeromq = zeromq_settings.load()?;
        if let (TlsChoice::Auto, Address::Listen(address)) = (&tls, &address) {
            return Err(Failure::usage(format!(
                "{} cannot be used to listen on {address}, because it probes a peer; use --tls anonymous or --tls off",
                settings.setting("tls", "auto")
            )));
        }
        Ok(Network { address, retry, tls, websocket, zeromq, zeromq_settings })
    }

    /// Sets the format of the events that are published to a ZeroMQ cluster.
    ///
    /// # Errors
    /// Fails if the address is not one of ZeroMQ.
    pub(crate) fn set_event_format(&mut self, format: EventFormat) -> Result<(), Failure> {
        let (Address::Connect(address) | Address::Listen(address)) = &self.address;
        if scheme(address) != Scheme::ZeroMq {
            return Err(Failure::usage(format!(
                "--event-format is for zeromq:// addresses, and {address} is an address of {}; remove it",
                protocol_of(address)
            )));
        }
        self.zeromq.format = Some(format);
        Ok(())
    }

    /// Returns the address to connect to. `None` if the command listens.
    pub(crate) fn target(&self) -> Option<&str> {
        match &self.address {
            Address::Connect(target) => Some(target),
            Address::Listen(_) => None,
        }
    }

    /// Logs a warning if every host can connect to a `wss://` listener. [`warn_of_exposure`] warns of `ws://`.
    fn warn_of_open_listener(&self, tls: &Tls) {
        let Address::Listen(address) = &self.address else { return };
        let is_loopback = address.parse::<Url>().is_ok_and(|url| url.host_port().is_loopback());
        if matches!(tls, Tls::Server(_)) && !is_loopback && self.websocket.access.tokens.is_empty() {
            tracing::warn!(
                "every host that can reach {address} can connect; require a token (--token-file) or client \
                 certificates (--cafile)"
            );
        }
    }

    /// Returns the name of the protocol.
    pub(crate) fn protocol(&self) -> &'static str {
        let (Address::Connect(address) | Address::Listen(address)) = &self.address;
        protocol_of(address)
    }

    /// Returns whether the peers use the WebSocket API.
    pub(crate) fn is_websocket(&self) -> bool {
        let (Address::Connect(address) | Address::Listen(address)) = &self.address;
        scheme(address).is_websocket()
    }

    /// Connects or listens. Create subscriptions before this call, so that they are part of the first handshake.
    ///
    /// Returns the id of the peer, if the first attempt must succeed.
    ///
    /// With `--tls auto`, waits until a probe has found the TLS mode of the peer. The mode is never changed after that.
    pub(crate) async fn start(
        &self,
        endpoint: &Endpoint,
        persistence: Persistence,
    ) -> Result<Option<EndpointId>, Failure> {
        let (Address::Connect(address) | Address::Listen(address)) = &self.address;
        let tls = match &self.tls {
            TlsChoice::Fixed(tls) => tls.clone(),
            TlsChoice::Auto => {
                let retry = (persistence == Persistence::Persistent).then_some(self.retry);
                tls_auto::choose(address, retry).await?
            }
        };
        tls::keep_up(&tls)?;
        if self.zeromq.client.is_none() && self.zeromq.server.is_none() {
            warn_of_exposure(&tls, address);
        }
        self.warn_of_open_listener(&tls);
        endpoint.set_websocket(self.websocket.clone());
        endpoint.set_zeromq(self.zeromq.clone());
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
                let connector = endpoint.connect_and_reconnect(target, tls, self.retry);
                return connector
                    .await
                    .map(Some)
                    .map_err(|error| unconnected(target, &error, &self.zeromq_settings));
            }
        }
        Ok(None)
    }
}

/// Reports that the first attempt to connect failed. For ZeroMQ, adds the options for keys if the handshake failed.
pub(crate) fn unconnected(target: &str, error: &ConnectError, settings: &ZeroMqSettings) -> Failure {
    let failure = Failure::connect(target, error);
    match error {
        ConnectError::Peering(PeeringError::Session(error))
            if scheme(target) == Scheme::ZeroMq && may_be_caused_by_keys(error) =>
        {
            failure.with(settings.hint())
        }
        _ => failure,
    }
}

/// Returns whether wrong or missing keys may be the cause of an error of a ZeroMQ session.
pub(crate) fn may_be_caused_by_keys(error: &SessionError) -> bool {
    matches!(error.cause, "mechanism" | "closed" | "refused" | "curve")
}

/// Returns the address of a logger of a ZeroMQ cluster, and its keys.
///
/// # Errors
/// Fails if the address is not that of a logger, or if there are options that a logger does not have.
pub(crate) fn logger(
    args: NetworkArgs,
    websocket: &WebSocketArgs,
    curve: CurveArgs,
) -> Result<(String, ZeroMqConfig), Failure> {
    let settings = settings::choose(args, curve, || Ok(None))?;
    websocket.settings(&settings.address)?;
    // clap does not require --listen if --connect is given, because they exclude each other.
    let Address::Listen(address) = settings.address else {
        return Err(Failure::usage(
            "--listen zeromq://ADDR:PORT is required for --logs, because the nodes connect to their loggers",
        ));
    };
    Url::to_listen_for_logs(&address).map_err(|error| Failure::usage(format!("{address}: {error}")))?;
    Ok((address, settings.zeromq.load()?))
}

/// Logs a warning if the connection can leave this host, and this TLS mode does not authenticate peers. Call this once for each
/// address of a command. For the links of a bridge, the check of the configuration reports the same warning.
pub(crate) fn warn_of_exposure(tls: &Tls, address: &str) {
    if let Some(exposure) = Exposure::of(tls, address) {
        let hint = match scheme(address) {
            Scheme::Broker => "use certificates across a network (--cafile, --certificate and --keyfile)",
            Scheme::ZeroMq => {
                "use CURVE (--curve-server-key, --curve-public-key and --curve-secret-key), or allow only trusted hosts to reach the port"
            }
            _ => "use wss:// across a network",
        };
        tracing::warn!("{exposure}; {hint}");
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
