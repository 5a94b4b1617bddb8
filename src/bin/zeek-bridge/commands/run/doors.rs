//! Where a running bridge may be looked at: metrics over HTTP, and the status socket.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use zeek_bridge::bridge::Snapshot;
use zeek_bridge::bridge::config::{Diagnostic, Diagnostics, Operation};

use super::http;
use super::status_socket::{self, SocketFile};

/// How long to wait when the system has no room for another connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);

/// How the bridge is, for those who look at it.
pub(super) struct View {
    look: Box<dyn Fn() -> Snapshot + Send + Sync>,
    stopping: AtomicBool,
}

impl View {
    pub(super) fn new(look: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        View { look: Box::new(look), stopping: AtomicBool::new(false) }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        (self.look)()
    }

    /// From now on it is not ready.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The doors that are open.
pub(super) struct Doors {
    view: Arc<View>,
    metrics: Option<Door>,
    status: Option<(Door, SocketFile)>,
}

/// One that serves until it is dropped.
struct Door {
    task: JoinHandle<()>,
}

impl Door {
    fn open(serving: impl Future<Output = ()> + Send + 'static) -> Self {
        Door { task: tokio::spawn(serving) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Which doors are open, as a configuration has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places {
    metrics: Option<SocketAddr>,
    status: Option<PathBuf>,
}

impl Places {
    pub(super) fn of(operation: &Operation) -> Self {
        Places { metrics: operation.metrics, status: operation.status_socket.clone() }
    }
}

/// What is to become of the doors, with every new address taken.
pub(super) struct Change {
    metrics: Next<http::Server>,
    status: Next<status_socket::Server>,
}

/// What is to become of one.
enum Next<S> {
    AsItIs,
    Closed,
    Open(S),
}

impl<S> Next<S> {
    async fn prepare<P: PartialEq, F: Future<Output = Result<S, String>>>(
        is: Option<P>,
        shall_be: Option<P>,
        bind: impl FnOnce(P) -> F,
        key: &str,
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        match shall_be {
            shall_be if is == shall_be => Next::AsItIs,
            None => Next::Closed,
            Some(place) => bind(place).await.map(Next::Open).unwrap_or_else(|message| {
                errors.push(Diagnostic::new(key, message));
                Next::AsItIs
            }),
        }
    }

    /// Does it to this one.
    fn put<D>(self, door: &mut Option<D>, open: impl FnOnce(S) -> D) {
        match self {
            Next::AsItIs => {}
            Next::Closed => *door = None,
            Next::Open(server) => *door = Some(open(server)),
        }
    }
}

impl Change {
    /// Takes the addresses, so that nothing can fail afterwards; or says of each that cannot be taken why.
    pub(super) async fn prepare(is: &Places, shall_be: &Places) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let (is_at, be_at) = (is.metrics, shall_be.metrics);
        let metrics = Next::prepare(is_at, be_at, http::Server::bind, "bridge.metrics", &mut errors).await;
        let (is_at, be_at) = (is.status.as_deref(), shall_be.status.as_deref());
        let status =
            Next::prepare(is_at, be_at, status_socket::Server::bind, "bridge.status", &mut errors).await;
        if errors.is_empty() { Ok(Change { metrics, status }) } else { Err(errors.into()) }
    }
}

impl Doors {
    /// None is open yet.
    pub(super) fn new(view: Arc<View>) -> Self {
        Doors { view, metrics: None, status: None }
    }

    pub(super) fn put(&mut self, change: Change) {
        let view = &self.view;
        change.metrics.put(&mut self.metrics, |server| {
            tracing::info!("metrics and health at http://{}", server.address());
            Door::open(server.serve(view.clone()))
        });
        change.status.put(&mut self.status, |server| {
            let (file, serving) = server.serve(view.clone());
            tracing::info!("status socket at {}", file.path().display());
            (Door::open(serving), file)
        });
    }
}

/// A source of connections.
pub(super) trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// Accepts the next connection. Returns the address of its client, where clients have one.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<IpAddr>)>> + Send;
}

impl Listener for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<(Self::Stream, Option<IpAddr>)> {
        self.accept().await.map(|(stream, address)| (stream, Some(address.ip().to_canonical())))
    }
}

impl Listener for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<(Self::Stream, Option<IpAddr>)> {
        self.accept().await.map(|(stream, _)| (stream, None))
    }
}

/// The resource limits of one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The number of connections at a time. A further one evicts another, see [`slot_to_evict`].
    pub(super) connections: usize,
    /// The time limit of each connection.
    pub(super) time: Duration,
}

/// Serves every client that connects, until it is dropped.
///
/// A client that sends nothing, or reads nothing, does not delay others: a new connection is always accepted, and
/// evicts an older one if there is no free slot.
pub(super) async fn serve_each<L: Listener, F: Future<Output = ()> + Send + 'static>(
    listener: L,
    bounds: Bounds,
    serve: impl Fn(L::Stream) -> F + Send,
) {
    // They end with this.
    let mut served = JoinSet::new();
    // The same connections, oldest first.
    let mut slots: Vec<Slot> = Vec::new();
    loop {
        match listener.next().await {
            Ok((stream, client)) => {
                while served.try_join_next().is_some() {}
                slots.retain(|slot| !slot.task.is_finished());
                if slots.len() >= bounds.connections
                    && let Some(at) = slot_to_evict(&slots)
                {
                    slots.remove(at).task.abort();
                    tracing::debug!("closed an older connection in favor of a new one");
                }
                // The evicted connection keeps its socket until its task has ended, which no client can delay.
                while served.len() >= bounds.connections {
                    served.join_next().await;
                }
                let serving = tokio::time::timeout(bounds.time, serve(stream));
                let task = served.spawn(async move { drop(serving.await) });
                slots.push(Slot { client, task });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(OUT_OF_ROOM).await;
            }
        }
    }
}

/// A connection that is being served.
struct Slot {
    client: Option<IpAddr>,
    task: AbortHandle,
}

/// Selects the connection to evict: the oldest one of the address that has most connections, so that one host cannot
/// evict the connections of another.
fn slot_to_evict(slots: &[Slot]) -> Option<usize> {
    let share = |slot: &Slot| slots.iter().filter(|other| other.client == slot.client).count();
    let largest = slots.iter().map(share).max()?;
    slots.iter().position(|slot| share(slot) == largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_of_the_address_with_most_connections_is_evicted() {
        let slot = |client: u8| Slot {
            client: Some([192, 0, 2, client].into()),
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        for (clients, evicted) in
            [(&[][..], None), (&[1, 2], Some(0)), (&[1, 2, 2, 1, 2], Some(1)), (&[1, 2, 3, 3], Some(2))]
        {
            let slots: Vec<Slot> = clients.iter().copied().map(slot).collect();
            assert_eq!(slot_to_evict(&slots), evicted, "{clients:?}");
        }
    }
}
