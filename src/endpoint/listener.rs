//! Being connected to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

use super::handshakes::Place;
use super::link;
use super::status::{LinkError, Status};
use super::{Context, Phase};
use crate::net::tls::Tls;
use crate::peering::Side;

/// How long to wait when the operating system has no room for another connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);

/// A port that this endpoint listens on. Dropping it changes nothing; see [`Listener::stop`].
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Listener {
    /// The address that is listened on; with the port that the system chose, if it was asked to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further connections. Standing peerings are not touched.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Starts listening on `address`, `host:port`.
pub(super) async fn start(context: Context, address: &str, tls: Tls) -> io::Result<Listener> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(run(context, listener, tls, stopped));
    Ok(Listener { address, stop })
}

async fn run(context: Context, listener: TcpListener, tls: Tls, mut stopped: watch::Receiver<bool>) {
    let mut phase = context.phase.clone();
    let accepting = async {
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
                    // No further connection is taken before there is a place for this one's handshake.
                    let Some((place, given_up)) = context.handshakes.place().await else { return };
                    let address = address.to_string().into();
                    tokio::spawn(serve(context.clone(), tcp, tls.clone(), address, place, given_up));
                }
                Err(error) => {
                    if let Some(unsaid) = context.throttle.pass() {
                        tracing::warn!(
                            link = context.config.label.as_deref(),
                            unsaid,
                            "cannot accept a connection: {error}"
                        );
                    }
                    tokio::time::sleep(OUT_OF_ROOM).await;
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
        // The handle was dropped: nobody will stop it.
        std::future::pending::<()>().await;
    }
}

async fn serve(
    context: Context,
    tcp: TcpStream,
    tls: Tls,
    address: Arc<str>,
    place: Place,
    mut given_up: oneshot::Receiver<()>,
) {
    // A place is only taken by who says who it is; but whoever would find none need not begin.
    if context.peers.available_permits() == 0 {
        return fail(&context, address, LinkError::TooManyPeers(context.config.max_peers));
    }
    let _ = tcp.set_nodelay(true);
    let deadline = super::after(context.config.handshake_timeout);
    let accepted = tokio::select! {
        accepted = tokio::time::timeout_at(deadline.into(), tls.accept(tcp)) => accepted,
        Ok(()) = &mut given_up => return fail(&context, address, LinkError::GaveWay),
    };
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return fail(&context, address, error.into()),
        Err(_) => {
            return fail(&context, address, LinkError::TlsTimeout(context.config.handshake_timeout));
        }
    };
    let end =
        link::run(context.clone(), stream, Side::Listener, address.clone(), deadline, Some(given_up), |_| {
            drop(place)
        })
        .await;
    match (end.peer, end.redundant, end.error) {
        // A peering stood; its end has been told.
        (Some(_), ..) => {}
        // Simultaneous connects are normal.
        (None, Some(peer), _) => tracing::debug!(%address, %peer, "a redundant connection was refused"),
        (None, None, Some(error)) => fail(&context, address, error),
        (None, None, None) => {}
    }
}

fn fail(context: &Context, address: Arc<str>, error: LinkError) {
    context.stats.failed(&error);
    let pass = context.failures.pass(&error);
    let status = Status::HandshakeFailed { address, error };
    let link = context.config.label.as_deref();
    match pass {
        Some(unsaid) => tracing::warn!(link, unsaid, "{status}"),
        None => tracing::debug!("{status}"),
    }
    let _ = context.hub.status.send(status);
}

/// So many places.
pub(super) fn places(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
}
