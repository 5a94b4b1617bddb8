//! Serves connections of local clients (scrapers, health checks, `zeek-bridge status`, browsers) with bounded resources.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::runtime::spawn;

/// The delay after a failed accept, which typically means that the process has no free file descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

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
pub(super) struct Limits {
    /// Maximum number of concurrent connections. If it is reached, a new connection evicts an older one: see
    /// [`connection_to_evict`].
    pub(super) connections: usize,
    /// The time limit of each connection.
    pub(super) time: Duration,
}

/// A task, which is aborted on drop.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Task(spawn(future))
    }

    /// Aborts the task, and waits until it has dropped all that it owns.
    async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The slot of a connection among the [`Limits::connections`] of its listener.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<SlotState>);

#[derive(Default)]
struct SlotState {
    is_preferred: AtomicBool,
    is_released: AtomicBool,
    released: Notify,
}

impl Slot {
    /// Evicts this connection only if all other connections are preferred, too.
    pub(super) fn prefer(&self) {
        self.0.is_preferred.store(true, Ordering::Relaxed);
    }

    /// Frees the slot for other connections: this connection has no time limit any more, and is not evicted. The caller limits
    /// the number of such connections.
    pub(super) fn release(&self) {
        self.0.is_released.store(true, Ordering::Relaxed);
        self.0.released.notify_one();
    }

    fn is_preferred(&self) -> bool {
        self.0.is_preferred.load(Ordering::Relaxed)
    }

    fn is_released(&self) -> bool {
        self.0.is_released.load(Ordering::Relaxed)
    }

    /// Serves the connection until its end, or until the time limit if the slot is not released before.
    async fn hold(self, limit: Duration, serving: impl Future<Output = ()>) {
        let mut serving = pin!(serving);
        tokio::select! {
            () = &mut serving => return,
            () = self.0.released.notified() => {}
            () = tokio::time::sleep(limit) => return,
        }
        serving.await;
    }
}

/// Serves every client that connects, until the future is dropped.
///
/// A client that sends nothing, or reads nothing, does not delay the other clients. A new connection is always accepted, and
/// evicts an older one if there is no free slot.
pub(super) async fn serve_each<L: Listener, F: Future<Output = ()> + Send + 'static>(
    listener: L,
    limits: Limits,
    serve: impl Fn(L::Stream, Slot) -> F + Send,
) {
    // The connections that are being served, oldest first.
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        match listener.next().await {
            Ok((stream, client)) => {
                connections.retain(|connection| !connection.task.0.is_finished());
                if connections.iter().filter(|connection| !connection.slot.is_released()).count()
                    >= limits.connections
                    && let Some(at) = connection_to_evict(&connections)
                {
                    // The evicted connection keeps its socket until its task has ended. No client can delay this.
                    connections.remove(at).task.stop().await;
                    tracing::debug!("closed an older connection in favor of a new one");
                }
                let slot = Slot::default();
                let task = Task::spawn(slot.clone().hold(limits.time, serve(stream, slot.clone())));
                connections.push(Connection { client, slot, task });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A connection that is being served.
struct Connection {
    client: Option<IpAddr>,
    slot: Slot,
    task: Task,
}

/// Selects the connection to evict: the oldest connection of the address with the most connections. So a host cannot evict the
/// connections of hosts that have fewer. Connections that have released their slot do not count, and preferred ones count only
/// if there are no others.
fn connection_to_evict(connections: &[Connection]) -> Option<usize> {
    let held = || connections.iter().filter(|connection| !connection.slot.is_released());
    let only_preferred = held().all(|connection| connection.slot.is_preferred());
    let counts = |connection: &Connection| {
        !connection.slot.is_released() && connection.slot.is_preferred() == only_preferred
    };
    let share = |connection: &Connection| {
        connections.iter().filter(|other| counts(other) && other.client == connection.client).count()
    };
    let largest = connections.iter().filter(|connection| counts(connection)).map(share).max()?;
    connections.iter().position(|connection| counts(connection) && share(connection) == largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(client: u8) -> Connection {
        Connection {
            client: Some([192, 0, 2, client].into()),
            slot: Slot::default(),
            task: Task::spawn(std::future::pending::<()>()),
        }
    }

    #[tokio::test]
    async fn the_oldest_connection_of_the_address_with_most_connections_is_evicted() {
        for (clients, evicted) in
            [(&[][..], None), (&[1, 2], Some(0)), (&[1, 2, 2, 1, 2], Some(1)), (&[1, 2, 3, 3], Some(2))]
        {
            let connections: Vec<Connection> = clients.iter().copied().map(connection).collect();
            assert_eq!(connection_to_evict(&connections), evicted, "{clients:?}");
        }
    }

    #[tokio::test]
    async fn preferred_connections_are_evicted_last_and_released_ones_never() {
        let connections: Vec<Connection> = [1, 1, 1, 2].into_iter().map(connection).collect();
        let slots = || connections.iter().map(|connection| &connection.slot);
        slots().take(2).for_each(Slot::prefer);
        assert_eq!(connection_to_evict(&connections), Some(2));
        connections[2].slot.release();
        assert_eq!(connection_to_evict(&connections), Some(3));
        slots().for_each(Slot::prefer);
        assert_eq!(connection_to_evict(&connections), Some(0));
        slots().for_each(Slot::release);
        assert_eq!(connection_to_evict(&connections), None);
    }
}
