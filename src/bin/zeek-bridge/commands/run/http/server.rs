//! Accepts connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::deadline::Deadline;
use super::routes::{Client, respond};
use super::site::Site;
use crate::commands::run::serve::{Limits, Slot, serve_each};

/// The limits of the server, which viewers do not count for. Scrapers, health checks and pages that load open fewer connections
/// than this at a time. A request takes well under a second; the time limit is for clients that read slowly.
pub(super) const LIMITS: Limits = Limits { connections: 16, time: Duration::from_secs(10) };

/// The size of the send buffer of a connection, in bytes. If it were larger, it would hold many frames for a viewer that does not
/// read, so that the viewer is cut late.
const SEND_BUFFER: u32 = 64 * 1024;

/// The number of connections that the system queues, as in the standard library.
const BACKLOG: u32 = 128;

/// The time limit for receiving the head of a request, and its size limits.
pub(super) const HEADER_TIME: Duration = Duration::from_secs(5);
pub(super) const HEADER_BYTES: usize = 16 * 1024;
pub(super) const HEADERS: usize = 64;

/// A bound server that does not accept connections yet.
pub(in crate::commands::run) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub(in crate::commands::run) async fn bind(address: SocketAddr) -> Result<Self, String> {
        Self::bind_in_place_of(None, address).await
    }

    /// Binds while this process still serves at the address `current`.
    pub(in crate::commands::run) async fn bind_in_place_of(
        current: Option<SocketAddr>,
        address: SocketAddr,
    ) -> Result<Self, String> {
        let bound = async {
            let listener = listen(address)?;
            Ok(Server { address: listener.local_addr()?, listener })
        };
        bound.await.map_err(|error: io::Error| {
            // For example, 0.0.0.0 is not free while the same port of 127.0.0.1 is in use.
            let own = current.filter(|own| own.port() == address.port());
            let hint = match own.filter(|_| error.kind() == io::ErrorKind::AddrInUse) {
                Some(own) => format!("this bridge itself uses {own}: use a different port, or restart it"),
                None => "use an address of this host and a free port".to_owned(),
            };
            format!("cannot serve HTTP at {address}: {error}; {hint}")
        })
    }

    /// Returns the bound address, which contains the port chosen by the system.
    pub(in crate::commands::run) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped, which also cuts all viewers.
    pub(in crate::commands::run) async fn serve(self, site: Arc<Site>) {
        let serving = serve_each(self.listener, LIMITS, |stream, slot| serve(stream, slot, site.clone()));
        tokio::join!(serving, site.run());
    }
}

/// Listens as [`TcpListener::bind`] does. Accepted connections inherit the size of the send buffer.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(tcp: TcpStream, slot: Slot, site: Arc<Site>) {
    // The receiver is notified of changes since here: see `Client::settings`.
    let mut receiver = site.settings();
    let settings = receiver.borrow_and_update().clone();
    let address = tcp.peer_addr().ok().map(|address| address.ip().to_canonical());
    let stream = match settings.tls.accept(tcp).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!("HTTP: {error}"),
    };
    let deadline = Deadline::default();
    let client =
        Client { deadline: &deadline, address, slot: &slot, settings: &settings, changes: &receiver };
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(respond(&request, &client, &site).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        result = connection => if let Err(error) = result {
            tracing::debug!("HTTP: {error}");
        },
        () = deadline.passed() => tracing::debug!("HTTP: disconnected a viewer that reads too slowly"),
    }
}
