//! Where a running bridge may be looked at: metrics over HTTP, and the status socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use zeek_bridge::bridge::Snapshot;
use zeek_bridge::bridge::config::{Mistake, Operation};

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
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        match shall_be {
            shall_be if is == shall_be => Next::AsItIs,
            None => Next::Closed,
            Some(place) => bind(place).await.map(Next::Open).unwrap_or_else(|message| {
                mistakes.push(Mistake::new(key, message));
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
    pub(super) async fn prepare(is: &Places, shall_be: &Places) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let (is_at, be_at) = (is.metrics, shall_be.metrics);
        let metrics = Next::prepare(is_at, be_at, http::Server::bind, "bridge.metrics", &mut mistakes).await;
        let (is_at, be_at) = (is.status.as_deref(), shall_be.status.as_deref());
        let status =
            Next::prepare(is_at, be_at, status_socket::Server::bind, "bridge.status", &mut mistakes).await;
        if mistakes.is_empty() { Ok(Change { metrics, status }) } else { Err(mistakes) }
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

/// What connections come from.
pub(super) trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listener for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// How much those who look may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many there may be at a time; further ones wait to be accepted.
    pub(super) connections: usize,
    /// How long each may take.
    pub(super) time: Duration,
}

/// Serves whoever connects, for ever.
pub(super) async fn serve_each<L: Listener, F: Future<Output = ()> + Send + 'static>(
    listener: L,
    bounds: Bounds,
    serve: impl Fn(L::Stream) -> F + Send,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    // They end with this.
    let mut served = JoinSet::new();
    loop {
        // Nobody closes it.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.next().await {
            Ok(stream) => {
                let serving = serve(stream);
                served.spawn(async move {
                    // Whoever was too slow is disconnected.
                    let _ = tokio::time::timeout(bounds.time, serving).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(OUT_OF_ROOM).await;
            }
        }
        while served.try_join_next().is_some() {}
    }
}
