//! Accepts connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::Instrument as _;

use super::connect_error::ConnectError;
use super::limits::{Owner, Ticket};
use super::peer_connection::{self, NewConnection};
use super::protocol::Protocol;
use super::status::Status;
use super::websocket::Server;
use super::{Context, Phase, zeromq};
use crate::data::Filter;
use crate::net::tls::Tls;
use crate::net::{ConnectionFault, Url, bind, bind_proxy, std_after};
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

/// Starts listening on `address`, which is `host:port` or a URL.
pub(super) async fn start(context: Context, address: &str, tls: Tls) -> io::Result<Listener> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let url = Url::to_listen(address).map_err(invalid)?;
    url.check_tls(&tls).map_err(invalid)?;
    let (stop, stopped) = watch::channel(false);
    let accept = |context: Context, listener, protocol, local| {
        let span = tracing::error_span!("listener", link = context.config.label.as_deref());
        tokio::spawn(
            run(context, listener, (protocol, local), tls.clone(), stopped.clone()).instrument(span),
        );
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

/// Accepts connections until the listener or the endpoint is stopped. A separate task serves each connection.
async fn run(
    context: Context,
    listener: TcpListener,
    (protocol, local): (Protocol, SocketAddr),
    tls: Tls,
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
                    let accepted = Accepted { context, protocol, address: address.to_string().into(), host };
                    match ticket {
                        Some(ticket) => {
                            let span = accepted.span();
                            tokio::spawn(accepted.serve(tcp, tls.clone(), ticket).instrument(span));
                        }
                        None => accepted.span().in_scope(|| accepted.fail(ConnectError::GaveWay)),
                    }
                }
                Err(error) => {
                    if let Some(suppressed) = context.limiter.pass("accept", &Owner::Host(local.ip())) {
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
    context: Context,
    protocol: Protocol,
    address: Arc<str>,
    /// The owner by the address only, because the certificate is unknown before TLS.
    host: Owner,
}

impl Accepted {
    fn span(&self) -> tracing::Span {
        peer_connection::span(&self.context, &self.address)
    }

    async fn serve(self, tcp: TcpStream, tls: Tls, ticket: Ticket) {
        let context = &self.context;
        let mut phase = context.phase.clone();
        let slot = tokio::select! {
            slot = ticket.slot() => slot,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        let Some((slot, mut evicted)) = slot else { return self.fail(ConnectError::GaveWay) };
        // A peer slot is taken later, after the peer is identified. If no slot is available for this owner now, the
        // connection is closed before TLS.
        let is_named_later = match self.protocol {
            Protocol::Broker => false,
            Protocol::WebSocket => !context.websocket.read().access.tokens.is_empty(),
            Protocol::ZeroMq(_) => context.zeromq.read().is_curve_server(),
        };
        let owner = if matches!(tls, Tls::Mutual(_)) || is_named_later { None } else { Some(&self.host) };
        if !context.peer_slots.may_take(owner) {
            return self.fail(ConnectError::TooManyPeers(context.config.max_peers));
        }
        let _ = tcp.set_nodelay(true);
        // A listener on all addresses accepts connections to loopback addresses, too.
        let local = match tcp.local_addr() {
            Ok(local) => local.ip(),
            // The peer has reset the connection already.
            Err(error) => return self.fail(ConnectError::Stream(ConnectionFault::Io(Arc::new(error)))),
        };
        let deadline = std_after(context.config.handshake_timeout);
        let accepted = tokio::select! {
            accepted = tokio::time::timeout_at(deadline.into(), tls.accept(tcp)) => accepted,
            Ok(()) = &mut evicted => return self.fail(ConnectError::GaveWay),
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.fail(error.into()),
            Err(_) => return self.fail(ConnectError::TlsTimeout(context.config.handshake_timeout)),
        };
        let new = NewConnection {
            stream,
            side: Side::Listener,
            protocol: self.protocol,
            filter: match self.protocol {
                // The publishers of a cluster receive this endpoint's filter with the subscriptions of the cluster.
                Protocol::ZeroMq(_) => watch::channel(Filter::new()).1,
                Protocol::Broker | Protocol::WebSocket => context.hub.filter.clone(),
            },
            address: self.address.clone(),
            deadline,
            evicted: Some(evicted),
        };
        let established = |_| drop(slot);
        let end = match self.protocol {
            Protocol::Broker => peer_connection::run(context.clone(), new, Peering::new, established).await,
            Protocol::WebSocket => {
                let server = match Server::new(context, local) {
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

    /// Counts and reports that the connection did not become a peering. Also logs it. If the host causes too many such lines,
    /// the level is debug.
    fn fail(&self, error: ConnectError) {
        let context = &self.context;
        context.stats.failed(&error);
        let suppressed = context.limiter.pass(error.log_cause(), &self.host);
        let status = Status::HandshakeFailed { address: self.address.clone(), error };
        match suppressed {
            Some(suppressed) => tracing::warn!(suppressed, "{status}"),
            None => tracing::debug!("{status}"),
        }
        let _ = context.hub.status.send(status);
    }
}
