//! Accepts connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::Instrument as _;

use super::connect_error::ConnectError;
use super::limits::{Owner, Slot, Ticket};
use super::peer_connection::{self, NewConnection};
use super::protocol::Protocol;
use super::status::Status;
use super::websocket::Server;
use super::zeromq::{self, LogListener, LogQueue};
use super::{Context, Endpoint, Phase};
use crate::data::Filter;
use crate::net::tls::Tls;
use crate::net::{self, ConnectionFault, ToAddress, Url, bind, bind_logger, bind_proxy, std_after};
use crate::peering::{Peering, Side};
use crate::zeromq::SocketType;

/// How long to wait after the operating system failed to accept a connection, for example because there are no free file
/// descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// An address that this endpoint listens on. Dropping this value does not stop listening; see [`Listener::stop`].
#[derive(Debug)]
pub struct Listener {
    url: Url,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Listener {
    /// Returns the address that this listener is bound to. If port 0 was requested, it contains the port that the operating system
    /// chose. A `zeromq://` listener has two ports; this is the one of the XPUB, and [`Listener::url`] contains both.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the protocol and the address that this listener is bound to.
    #[must_use]
    pub fn url(&self) -> Url {
        self.url.clone()
    }

    /// Stops accepting connections. Established peerings continue.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Endpoint {
    /// Listens for peers on `address`: text as [`Url`] reads it, a pair of host and port, or a socket address. For
    /// port 0, the operating system chooses a port.
    ///
    /// The scheme selects the protocol: peers of a `ws://` or `wss://` listener are clients of Zeek's WebSocket API.
    /// [`EndpointConfig::websocket`](super::EndpointConfig::websocket) has the settings. `ws://` requires [`Tls::Off`], and
    /// `wss://` certificates.
    ///
    /// At a `zeromq://` address, this endpoint is the proxy of a cluster with Zeek's ZeroMQ back end. It listens on two ports: the
    /// peers at the first one are subscribers, those at the second one are publishers, and each connection is a peer with an id of its own.
    /// The publishers receive the subscriptions of all subscribers, and of this endpoint.
    /// [`EndpointConfig::zeromq`](super::EndpointConfig::zeromq) has the keys of CURVE. The events of publishers are delivered to
    /// the subscribers of this endpoint; only a bridge also forwards them to the other peers. [`Tls::Off`] is required.
    ///
    /// # Errors
    /// Fails if the address cannot be resolved or bound, or if `tls` does not match its scheme.
    pub async fn listen(&self, address: impl ToAddress, tls: Tls) -> io::Result<Listener> {
        start(self.task_context(), &address.to_address(), tls).await
    }

    /// Listens for the logs of a ZeroMQ cluster on `address`, `zeromq://HOST:PORT`, as a logger of the cluster. For port 0, the
    /// operating system chooses a port. [`EndpointConfig::zeromq`](super::EndpointConfig::zeromq) has the keys of CURVE.
    /// Each node that sends logs is a peer.
    ///
    /// The nodes distribute their batches among all loggers to which they connect, so a second logger receives a part of the logs,
    /// not a copy.
    ///
    /// # Errors
    /// Fails if the address is not a `zeromq://` address with one port, or cannot be resolved or bound.
    pub async fn listen_for_logs(&self, address: impl ToAddress) -> io::Result<LogListener> {
        start_for_logs(self.task_context(), &address.to_address()).await
    }
}

/// Starts listening on `address`, which is `host:port` or a URL.
async fn start(context: Arc<Context>, address: &str, tls: Tls) -> io::Result<Listener> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let url = Url::to_listen(address).map_err(invalid)?;
    url.check_tls(&tls).map_err(invalid)?;
    let (stop, stopped) = watch::channel(false);
    let accept = |context: Arc<Context>, listener, protocol, local| {
        let port = Port { protocol, local, tls: tls.clone(), logs: None };
        spawn(context, listener, port, stopped.clone());
    };
    if let Some(xsub) = url.xsub() {
        let [xpub, xsub] = bind_proxy(url.host_port(), xsub.port()).await?;
        let (address, xsub_address) = (xpub.local_addr()?, xsub.local_addr()?);
        context.cluster.follow(|| zeromq::announced(&context));
        accept(context.clone(), xpub, Protocol::ZeroMq(SocketType::XPub), address);
        accept(context, xsub, Protocol::ZeroMq(SocketType::XSub), xsub_address);
        return Ok(Listener { url: Url::of_proxy(address, xsub_address.port()), address, stop });
    }
    let listener = bind(address).await?;
    let address = listener.local_addr()?;
    let protocol = if url.scheme().is_websocket() { Protocol::WebSocket } else { Protocol::Broker };
    accept(context, listener, protocol, address);
    Ok(Listener { url: Url::new(url.scheme(), address), address, stop })
}

/// Starts listening for logs on `address`, which is a `zeromq://` URL with one port.
async fn start_for_logs(context: Arc<Context>, address: &str) -> io::Result<LogListener> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let address = Url::to_listen_for_logs(address).map_err(invalid)?;
    let (stop, stopped) = watch::channel(false);
    let listener = bind_logger(&address).await?;
    let address = listener.local_addr()?;
    let bytes = context.config.subscriber_queue.bytes;
    let (logs, received) = LogQueue::new(bytes, context.config.limits, address, stop);
    let protocol = Protocol::ZeroMq(SocketType::Pull);
    spawn(
        context,
        listener,
        Port { protocol, local: address, tls: Tls::Off, logs: Some(Arc::new(logs)) },
        stopped,
    );
    Ok(received)
}

/// A port that this endpoint listens on.
struct Port {
    protocol: Protocol,
    local: SocketAddr,
    tls: Tls,
    /// The queue of received logs, if this is the port of a logger.
    logs: Option<Arc<LogQueue>>,
}

/// Starts the task that accepts connections.
fn spawn(context: Arc<Context>, listener: TcpListener, port: Port, stopped: watch::Receiver<bool>) {
    let span = tracing::error_span!("listener", link = context.config.label.as_deref());
    net::spawn(run(context, listener, Arc::new(port), stopped).instrument(span));
}

/// Accepts connections until the listener or the endpoint is stopped. A separate task serves each connection.
async fn run(
    context: Arc<Context>,
    listener: TcpListener,
    port: Arc<Port>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut phase = context.phase.clone();
    let accepting = async {
        // One token is taken for each connection. If `accept` fails, the token is kept for the next attempt.
        let mut token = false;
        loop {
            if let Some(connects) = &context.connects
                && !token
            {
                connects.take().await;
                token = true;
            }
            match listener.accept().await {
                Ok((tcp, address)) => {
                    token = false;
                    let host = Owner::of(None, address);
                    // Taken before a task is spawned, so that the number of waiting tasks is bounded.
                    let ticket = context.handshakes.ticket(&host);
                    let context = context.clone();
                    let (port, address) = (port.clone(), address.to_string().into());
                    let accepted = Accepted { context, port, address, host };
                    match ticket {
                        Some(ticket) => {
                            let span = accepted.span();
                            net::spawn(accepted.serve(tcp, ticket).instrument(span));
                        }
                        None => accepted.span().in_scope(|| accepted.fail(ConnectError::GaveWay)),
                    }
                }
                Err(error) => {
                    if let Some(suppressed) = context.limiter.pass("accept", &Owner::Host(port.local.ip())) {
                        tracing::warn!(suppressed, "cannot accept a connection: {error}");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
        () = until_stopped(&mut stopped) => {}
    }
}

async fn until_stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The handle was dropped: the listener ends with the endpoint.
        std::future::pending::<()>().await;
    }
}

/// A connection that was accepted.
struct Accepted {
    context: Arc<Context>,
    port: Arc<Port>,
    address: Arc<str>,
    /// The owner by the address only, because the certificate is unknown before TLS.
    host: Owner,
}

impl Accepted {
    fn span(&self) -> tracing::Span {
        peer_connection::span(&self.context, &self.address)
    }

    async fn serve(self, tcp: TcpStream, ticket: Ticket) {
        // Boxed, so that an established connection does not keep the memory of its handshake.
        let Some((new, slot)) = Box::pin(self.handshake(tcp, ticket)).await else { return };
        let context = &self.context;
        let established = |_| drop(slot);
        let end = match self.port.protocol {
            Protocol::Broker => peer_connection::run(context.clone(), new, Peering::new, established).await,
            Protocol::WebSocket => {
                // A listener on all addresses accepts connections to loopback addresses, too.
                let local = new.stream.tcp().local_addr();
                let local = local.map_err(|error| ConnectError::Stream(ConnectionFault::Io(Arc::new(error))));
                let server = match local.and_then(|local| Server::new(context, local.ip())) {
                    Ok(server) => server,
                    Err(error) => return self.fail(error),
                };
                let session = |common, now| server.session(common, now);
                Box::pin(peer_connection::run(context.clone(), new, session, established)).await
            }
            Protocol::ZeroMq(socket) => {
                let settings = match zeromq::Settings::server(context, socket) {
                    Ok(settings) => settings,
                    Err(error) => return self.fail(error),
                };
                let session = |common, now| settings.session(common, now);
                Box::pin(peer_connection::run(context.clone(), new, session, established)).await
            }
        };
        match (end.peer, end.redundant, end.error) {
            // A peering was established; its end has been reported.
            (Some(_), ..) => {}
            // Simultaneous connects are normal.
            (None, Some(peer), _) => {
                tracing::debug!(%peer, "refused a redundant connection");
            }
            (None, None, Some(error)) => self.fail(error),
            (None, None, None) => {}
        }
    }

    /// Waits for a slot, and performs the TLS handshake. Returns the connection and its slot. Returns `None` if the handshake has failed,
    /// which it reports, or if the endpoint shuts down.
    async fn handshake(&self, tcp: TcpStream, ticket: Ticket) -> Option<(NewConnection, Box<Slot>)> {
        let (context, Port { protocol, tls, logs, .. }) = (&self.context, &*self.port);
        let mut phase = context.phase.clone();
        let slot = tokio::select! {
            slot = ticket.slot() => slot,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return None,
        };
        let Some((slot, mut evicted)) = slot else { return self.refuse(ConnectError::GaveWay) };
        // A peer slot is taken later, after the peer is identified. If no slot is available for this owner now, the
        // connection is closed before TLS.
        let is_named_later = match protocol {
            Protocol::Broker => false,
            Protocol::WebSocket => !context.websocket.read().access.tokens.is_empty(),
            Protocol::ZeroMq(_) => context.zeromq.borrow().is_curve_server(),
        };
        let owner = if matches!(tls, Tls::Mutual(_)) || is_named_later { None } else { Some(&self.host) };
        if !context.peer_slots.may_take(owner) {
            return self.refuse(ConnectError::TooManyPeers(context.config.max_peers));
        }
        let _ = tcp.set_nodelay(true);
        let deadline = std_after(context.config.handshake_timeout);
        let accepted = tokio::select! {
            accepted = tokio::time::timeout_at(deadline.into(), tls.accept(tcp)) => accepted,
            Ok(()) = &mut evicted => return self.refuse(ConnectError::GaveWay),
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse(error.into()),
            Err(_) => return self.refuse(ConnectError::TlsTimeout(context.config.handshake_timeout)),
        };
        let new = NewConnection {
            stream,
            side: Side::Listener,
            protocol: *protocol,
            filter: match protocol {
                // The publishers of a cluster receive this endpoint's filter with the subscriptions of the cluster.
                Protocol::ZeroMq(_) => watch::channel(Filter::new()).1,
                Protocol::Broker | Protocol::WebSocket => context.hub.filter.clone(),
            },
            address: self.address.clone(),
            deadline,
            evicted: Some(evicted),
            logs: logs.clone(),
        };
        Some((new, Box::new(slot)))
    }

    /// Reports the failure with [`Accepted::fail`], and returns `None`.
    fn refuse<T>(&self, error: ConnectError) -> Option<T> {
        self.fail(error);
        None
    }

    /// Counts and reports that the connection did not become a peering. Also logs it. If the host causes too many such lines,
    /// the level is debug.
    fn fail(&self, error: ConnectError) {
        let context = &self.context;
        context.failed(&self.address, &error, &self.host);
        let suppressed = context.limiter.pass(error.log_cause(), &self.host);
        let status = Status::HandshakeFailed { address: self.address.clone(), error };
        match suppressed {
            Some(suppressed) => tracing::warn!(suppressed, "{status}"),
            None => tracing::debug!("{status}"),
        }
        let _ = context.hub.status.send(status);
    }
}
