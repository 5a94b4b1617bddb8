//! Serves connections of local clients (scrapers, health checks, `zeek-bridge status`) with bounded resources.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

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
    /// [`slot_to_evict`].
    pub(super) connections: usize,
    /// The time limit of each connection.
    pub(super) time: Duration,
}

/// Serves every client that connects, until the future is dropped.
///
/// A client that sends nothing, or reads nothing, does not delay the other clients. A new connection is always accepted, and
/// evicts an older one if there is no free slot.
pub(super) async fn serve_each<L: Listener, F: Future<Output = ()> + Send + 'static>(
    listener: L,
    limits: Limits,
    serve: impl Fn(L::Stream) -> F + Send,
) {
    // Dropping the set aborts its tasks.
    let mut served = JoinSet::new();
    // The connections in `served`, oldest first.
    let mut slots: Vec<Slot> = Vec::new();
    loop {
        match listener.next().await {
            Ok((stream, client)) => {
                while served.try_join_next().is_some() {}
                slots.retain(|slot| !slot.task.is_finished());
                if slots.len() >= limits.connections
                    && let Some(at) = slot_to_evict(&slots)
                {
                    slots.remove(at).task.abort();
                    tracing::debug!("closed an older connection in favor of a new one");
                }
                // The evicted connection keeps its socket until its task has ended. No client can delay this.
                while served.len() >= limits.connections {
                    served.join_next().await;
                }
                let serving = tokio::time::timeout(limits.time, serve(stream));
                let task = served.spawn(async move { drop(serving.await) });
                slots.push(Slot { client, task });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A connection that is being served.
struct Slot {
    client: Option<IpAddr>,
    task: AbortHandle,
}

/// Selects the connection to evict: the oldest connection of the address with the most connections. So a host cannot evict the
/// connections of hosts that have fewer.
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
