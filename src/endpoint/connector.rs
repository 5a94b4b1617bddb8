//! Connects to a peer, and reconnects.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::Instrument as _;

use super::command::Command;
use super::connect_error::ConnectError;
use super::limits::Owner;
use super::peer_connection::{self, ConnectionOutcome, NewConnection};
use super::protocol::Protocol;
use super::status::Status;
use super::websocket::Client;
use super::zeromq::{self, FirstAttempts};
use super::{Context, Endpoint, Phase, Retry};
use crate::data::{EndpointId, Filter};
use crate::net::tls::Tls;
use crate::net::{
    DialError, HostPort, Scheme, Stream, ToAddress, Url, dial_host, dial_with_address, spawn, std_after,
};
use crate::peering::{Peering, Side};
use crate::zeromq::SocketType;

/// A connection that this endpoint maintains.
///
/// Awaiting it is the same as awaiting [`Connector::first_attempt`]. Dropping it does not stop the attempts. To stop
/// them, call [`Connector::stop`] or shut down the endpoint.
#[derive(Debug)]
pub struct Connector {
    first: oneshot::Receiver<Result<EndpointId, ConnectError>>,
    /// The received outcome.
    outcome: Option<Result<EndpointId, ConnectError>>,
    stop: watch::Sender<bool>,
}

impl Connector {
    /// Waits for the outcome of the first attempt, and returns the peer's id. With a retry, the endpoint continues to
    /// connect after an error. Cancel-safe.
    ///
    /// For a `zeromq://` address, this waits for both connections, and returns the id of the proxy's XSUB, to which this endpoint
    /// publishes.
    ///
    /// # Errors
    /// Fails if the first attempt failed. For a `zeromq://` address, returns the first error of the two connections; without a
    /// retry, the other connection ends.
    pub async fn first_attempt(&mut self) -> Result<EndpointId, ConnectError> {
        let outcome = match self.outcome.take() {
            Some(outcome) => outcome,
            None => (&mut self.first).await.unwrap_or(Err(ConnectError::ShuttingDown)),
        };
        self.outcome.insert(outcome).clone()
    }

    /// Stops new attempts to connect. An established peering continues. To end it, see [`super::Endpoint::unpeer`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Waits for the first attempt: see [`Connector::first_attempt`].
impl IntoFuture for Connector {
    type Output = Result<EndpointId, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move { self.first_attempt().await })
    }
}

impl Endpoint {
    /// Connects to a peer at `address` (see [`net::dial`](crate::net::dial())) once. The connection is opened in the
    /// background. To wait until the peering is established or has failed, await the result.
    ///
    /// The scheme selects the protocol: the peer at a `ws://` or `wss://` address is a server of Zeek's WebSocket API. `ws://`
    /// requires [`Tls::Off`], and `wss://` certificates: the server's certificate must contain the host of the URL, or
    /// [`Credentials::verify_name`](crate::net::tls::Credentials::verify_name) if it is set. The topics to which this endpoint
    /// subscribes cannot be changed during such a connection: if they change, the connection ends, and a connector with a
    /// retry connects again.
    ///
    /// A `zeromq://` address is that of the proxy of a cluster with Zeek's ZeroMQ back end, and requires [`Tls::Off`]. This endpoint
    /// opens two connections, each of which is a peer with an id of its own: its XSUB receives events from the proxy's XPUB, and
    /// its XPUB publishes to the proxy's XSUB. The result is the id of the latter, for
    /// [`Endpoint::until_subscriptions_known`]. The sender in messages is the text of [`Endpoint::id`]. With a retry, each of the
    /// two connects again by itself. Topics that begin with `zeek.cluster.nodeid.` are not subscribed to, with a warning in the
    /// log: the nodes of the cluster would treat this endpoint as a node. [`EndpointConfig::zeromq`](super::EndpointConfig::zeromq) has
    /// the settings, such as the keys of CURVE.
    ///
    /// ```no_run
    /// # async fn example(endpoint: zeek_bridge::endpoint::Endpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// # use zeek_bridge::net::tls::Tls;
    /// let peer = endpoint.connect("127.0.0.1:9999", Tls::Off).await?;
    /// println!("connected to {peer}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(&self, address: impl ToAddress, tls: Tls) -> Connector {
        start(self.task_context(), &address.to_address(), tls, Attempts::One)
    }

    /// Like [`Endpoint::connect`], but connects again whenever an attempt fails or the peering ends.
    pub fn connect_with_retry(&self, address: impl ToAddress, tls: Tls, retry: Retry) -> Connector {
        start(self.task_context(), &address.to_address(), tls, Attempts::Retried(retry))
    }

    /// Like [`Endpoint::connect`], but connects again whenever the peering ends. If the first attempt fails, there are no more.
    pub fn connect_and_reconnect(&self, address: impl ToAddress, tls: Tls, retry: Retry) -> Connector {
        start(self.task_context(), &address.to_address(), tls, Attempts::AfterFirst(retry))
    }
}

/// How often a connector connects.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempts {
    One,
    /// Again whenever an attempt fails or the peering ends.
    Retried(Retry),
    /// As [`Attempts::Retried`], but only if the first attempt succeeds.
    AfterFirst(Retry),
}

/// One socket of the proxy of a ZeroMQ cluster.
struct ProxySocket {
    /// The socket of this side.
    own: SocketType,
    peer: HostPort,
}

/// Starts connecting to `target`, which is `host:port` or a URL.
pub(super) fn start(context: Arc<Context>, target: &str, tls: Tls, attempts: Attempts) -> Connector {
    let (first_sender, first) = oneshot::channel();
    let (stop, stopped) = watch::channel(false);
    let connect = |target: Arc<str>, socket, first| {
        let (context, tls, stopped) = (context.clone(), tls.clone(), stopped.clone());
        spawn(Task { context, target, socket, tls, attempts, stopped, first: Some(first) }.run());
    };
    // An invalid address is the error of the first attempt.
    let sockets = Url::to_connect(target).ok().filter(|url| url.check_tls(&tls).is_ok());
    match sockets.and_then(|url| url.xpub().zip(url.xsub())) {
        None => connect(target.into(), None, first_sender),
        Some((xpub, xsub)) => {
            let connect = |own, peer: HostPort| {
                let (first, outcome) = oneshot::channel();
                connect(format!("tcp://{peer}").into(), Some(ProxySocket { own, peer }), first);
                outcome
            };
            let firsts = FirstAttempts {
                receiving: connect(SocketType::XSub, xpub),
                publishing: connect(SocketType::XPub, xsub),
                stop: stop.clone(),
                is_only_attempt: !matches!(attempts, Attempts::Retried(_)),
            };
            spawn(firsts.join(context, first_sender));
        }
    }
    Connector { first, outcome: None, stop }
}

struct Task {
    context: Arc<Context>,
    /// The address for logs. ZeroMQ has its own notation: `tcp://host:port`.
    target: Arc<str>,
    /// The socket to connect to, if the protocol is ZeroMQ.
    socket: Option<ProxySocket>,
    tls: Tls,
    attempts: Attempts,
    stopped: watch::Receiver<bool>,
    first: Option<oneshot::Sender<Result<EndpointId, ConnectError>>>,
}

impl Task {
    async fn run(mut self) {
        let mut failures = 0u32;
        let filter = match &self.socket {
            Some(ProxySocket { own: SocketType::XSub, .. }) => zeromq::announced(&self.context),
            _ => self.context.hub.filter.clone(),
        };
        while !self.has_ended() {
            let span = peer_connection::span(&self.context, &self.target);
            let end = self.attempt(filter.clone()).instrument(span.clone()).await;
            match (end.peer, end.redundant) {
                // The end of the peering has been reported.
                (Some(_), _) => {
                    failures = 0;
                }
                (None, Some(peer)) if self.until_gone(peer).await => failures = 0,
                (None, _) => failures = failures.saturating_add(1),
            }
            let retry = self.retry().filter(|_| !self.has_ended());
            let wait = retry.map(|retry| retry.delay(failures.max(1), random()));
            if failures > 0
                && let Some(error) = end.error
            {
                span.in_scope(|| self.unavailable(error, wait));
            }
            let Some(wait) = wait else { return };
            self.pause(wait).await;
        }
    }

    /// Returns the delays before the next attempt, if there is one.
    fn retry(&self) -> Option<Retry> {
        match self.attempts {
            Attempts::One => None,
            Attempts::Retried(retry) => Some(retry),
            // The outcome of the first attempt is sent when it succeeds.
            Attempts::AfterFirst(retry) => Some(retry).filter(|_| self.first.is_none()),
        }
    }

    fn has_ended(&self) -> bool {
        let phase = &self.context.phase;
        // If the sender is gone, the endpoint was dropped.
        *self.stopped.borrow() || *phase.borrow() != Phase::Running || phase.has_changed().is_err()
    }

    /// Waits for `wait` before the next attempt. Returns early if the connector or the endpoint is stopped.
    async fn pause(&mut self, wait: Duration) {
        let mut phase = self.context.phase.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
            true = stopped(&mut self.stopped) => {}
        }
    }

    async fn attempt(&mut self, filter: watch::Receiver<Filter>) -> ConnectionOutcome {
        let mut phase = self.context.phase.clone();
        let opened = tokio::select! {
            opened = self.open() => opened,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => Err(ConnectError::ShuttingDown),
        };
        let (stream, deadline, client) = match opened {
            Ok(opened) => opened,
            Err(error) => return ConnectionOutcome { peer: None, error: Some(error), redundant: None },
        };
        let (context, target, first) = (self.context.clone(), self.target.clone(), &mut self.first);
        let new = NewConnection {
            stream,
            side: Side::Connector,
            protocol: match &client {
                NewSession::Broker => Protocol::Broker,
                NewSession::WebSocket(_) => Protocol::WebSocket,
                NewSession::ZeroMq(_, own) => Protocol::ZeroMq(*own),
            },
            filter,
            address: target,
            deadline,
            evicted: None,
            logs: None,
        };
        let established = |peer| {
            if let Some(first) = first.take() {
                let _ = first.send(Ok(peer));
            }
        };
        match client {
            NewSession::Broker => peer_connection::run(context, new, Peering::new, established).await,
            NewSession::WebSocket(client) => {
                let session = |common, now| client.session(common, now);
                Box::pin(peer_connection::run(context, new, session, established)).await
            }
            NewSession::ZeroMq(client, _) => {
                let session = |common, now| client.session(common, now);
                Box::pin(peer_connection::run(context, new, session, established)).await
            }
        }
    }

    /// Waits for the end of the peering that made a connection redundant, or until the connector must stop. Returns `false`
    /// if the peer refused the connection as redundant, and no peering with it exists.
    async fn until_gone(&mut self, peer: EndpointId) -> bool {
        let (answer, gone) = oneshot::channel();
        self.context.hub.send(Command::WhenGone { peer, answer }).await;
        let Ok(Some(gone)) = gone.await else { return false };
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(peer));
        }
        let mut phase = self.context.phase.clone();
        tokio::select! {
            _ = gone => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
            true = stopped(&mut self.stopped) => {}
        }
        true
    }

    fn unavailable(&mut self, error: ConnectError, retry_in: Option<Duration>) {
        let reported = self.first.take().is_some_and(|first| first.send(Err(error.clone())).is_ok());
        if matches!(error, ConnectError::ShuttingDown) {
            // The shutdown is not a failure of the target, so it is not counted.
            return;
        }
        let owner = Owner::Target(self.target.clone());
        self.context.failed(&self.target, &error, &owner);
        let suppressed = self.context.limiter.pass(error.log_cause(), &owner);
        let status = Status::PeerUnavailable { address: self.target.clone(), error, retry_in };
        match suppressed {
            // After the only attempt, `first_attempt` returns the error. The level is then debug, unless the `Connector` was
            // dropped.
            Some(suppressed) if !reported || retry_in.is_some() => tracing::warn!(suppressed, "{status}"),
            _ => tracing::debug!("{status}"),
        }
        let _ = self.context.hub.status.send(status);
    }
}

/// Resolves to `true` when [`Connector::stop`] was called. Never resolves if the handle was dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) -> bool {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
    true
}

fn random() -> u8 {
    // If the system provides no random bytes, the delay is not varied.
    getrandom::u32().map_or(128, |random| random.to_ne_bytes()[0])
}

/// The configuration of the session on a stream.
enum NewSession {
    Broker,
    WebSocket(Client),
    /// With the socket of this side.
    ZeroMq(zeromq::Settings, SocketType),
}

impl Task {
    /// Opens the stream. Returns it with the deadline for the rest of the handshake, and the configuration of the session.
    async fn open(&self) -> Result<(Stream, Instant, NewSession), ConnectError> {
        let config = &self.context.config;
        if let Some(ProxySocket { own, peer }) = &self.socket {
            let client = zeromq::Settings::client(&self.context, *own)?;
            // The error names the address, because the user's address has two ports.
            let (_, tcp) = dial_host(peer, config.connect_timeout, true).await?;
            let deadline = std_after(config.handshake_timeout);
            return Ok((tcp.into(), deadline, NewSession::ZeroMq(client, *own)));
        }
        let url = Url::to_connect(&self.target).map_err(DialError::from)?;
        url.check_tls(&self.tls).map_err(DialError::from)?;
        let name = url.server_host(&self.tls).map_err(DialError::from)?;
        let client = if url.scheme().is_websocket() {
            let is_tls = url.scheme() == Scheme::SecureWebSocket;
            Some(Client::new(&self.context, url.host_port(), is_tls)?)
        } else {
            None
        };
        let (address, tcp) = dial_with_address(&self.target, config.connect_timeout).await?;
        client.as_ref().map_or(Ok(()), |client| client.check_address(address.ip()))?;
        let deadline = std_after(config.handshake_timeout);
        let session = client.map_or(NewSession::Broker, NewSession::WebSocket);
        match tokio::time::timeout_at(deadline.into(), self.tls.connect_to(tcp, name)).await {
            Ok(stream) => Ok((stream?, deadline, session)),
            Err(_) => Err(ConnectError::TlsTimeout(config.handshake_timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::StatusReceiver;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn failed_attempt(statuses: &mut StatusReceiver) {
        let status = statuses.recv().await.unwrap();
        assert!(matches!(status, Status::PeerUnavailable { retry_in: Some(_), .. }), "{status}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connector_waits_between_attempts_until_it_is_stopped() {
        let endpoint = Endpoint::new().unwrap();
        let mut statuses = endpoint.status();
        let no_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let start = tokio::time::Instant::now();
        let connector = endpoint.connect_with_retry(no_listener, Tls::Off, Retry { first: HOUR, cap: HOUR });
        failed_attempt(&mut statuses).await;
        failed_attempt(&mut statuses).await;
        assert!(start.elapsed() > HOUR / 2, "{:?}", start.elapsed());
        let stopped = tokio::time::Instant::now();
        connector.stop();
        // The task drops its receiver when it ends.
        connector.stop.closed().await;
        assert_eq!(stopped.elapsed(), Duration::ZERO);
    }
}
