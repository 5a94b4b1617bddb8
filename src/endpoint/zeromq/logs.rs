//! The log batches that the nodes of a cluster send to a logger (`PROTOCOL.md`, section 12).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::wire::{DecodeError, Limits};
use crate::zeromq::LogBatch;

/// The memory of a queued batch, in addition to its bytes.
const OVERHEAD: usize = 512;

/// An address at which a [`super::super::Endpoint`] receives the logs of a ZeroMQ cluster, as a logger. If it is dropped, the
/// endpoint stops listening, and disconnects the nodes.
#[derive(Debug)]
pub struct LogListener {
    address: SocketAddr,
    /// Stops listening.
    stop: watch::Sender<bool>,
    batches: mpsc::UnboundedReceiver<ReceivedLogs>,
    room: Arc<Semaphore>,
}

impl LogListener {
    /// Returns the address that it is bound to. If port 0 was requested, it contains the port that the operating system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the next batch. The batches of one connection are in order. `None` after the endpoint has ended and all batches are
    /// received. Cancel-safe.
    ///
    /// Batches are queued up to the limit of [`EndpointConfig::subscriber_queue`](super::super::EndpointConfig::subscriber_queue)
    /// in bytes. If the queue is full, the endpoint stops reading. Each node then queues about 1000 batches, and drops new ones.
    pub async fn recv(&mut self) -> Option<ReceivedLogs> {
        self.batches.recv().await
    }
}

impl Drop for LogListener {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.room.close();
    }
}

/// A log batch of a node.
#[derive(Debug)]
pub struct ReceivedLogs {
    batch: Bytes,
    sender: Option<Arc<str>>,
    limits: Limits,
    /// The room in the queue. It is free again when the batch is dropped.
    _room: OwnedSemaphorePermit,
}

impl ReceivedLogs {
    /// Returns the sender in the message, such as `zeromq_worker-1_host_5311_N`. The text has at most 256 characters, then an
    /// ellipsis, and no control characters. It is not an identity: nothing proves it.
    #[must_use]
    pub fn sender_name(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// Returns the undecoded batch.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.batch
    }

    /// Decodes the batch without copying its strings, with the limits of the endpoint.
    ///
    /// # Errors
    /// Fails if the batch is malformed.
    pub fn decode(&self) -> Result<LogBatch<'_>, DecodeError> {
        LogBatch::decode(&self.batch, &self.limits)
    }
}

/// Queues the batches of connections for a [`LogListener`].
#[derive(Clone, Debug)]
pub(in crate::endpoint) struct LogQueue {
    batches: mpsc::UnboundedSender<ReceivedLogs>,
    /// The free bytes.
    room: Arc<Semaphore>,
    /// The maximum number of bytes.
    capacity: usize,
    limits: Limits,
}

/// A batch that is not queued yet.
#[derive(Debug)]
pub(in crate::endpoint) struct PendingLogs {
    pub(in crate::endpoint) batch: Bytes,
    pub(in crate::endpoint) sender: Option<Arc<str>>,
}

impl LogQueue {
    /// Returns a queue for this many bytes, and the [`LogListener`] that receives its batches. The listener sets `stop` to true when it
    /// is dropped.
    pub(in crate::endpoint) fn new(
        bytes: usize,
        limits: Limits,
        address: SocketAddr,
        stop: watch::Sender<bool>,
    ) -> (Self, LogListener) {
        let capacity =
            bytes.clamp(1, Semaphore::MAX_PERMITS.min(usize::try_from(u32::MAX).unwrap_or(usize::MAX)));
        let (room, (sender, batches)) = (Arc::new(Semaphore::new(capacity)), mpsc::unbounded_channel());
        let queue = LogQueue { batches: sender, room: room.clone(), capacity, limits };
        (queue, LogListener { address, stop, batches, room })
    }

    /// Waits until there is room for a batch. An empty queue has room for a batch of any length. Returns `None` if the listener was
    /// dropped. Cancel-safe.
    pub(in crate::endpoint) async fn room(&self, pending: &PendingLogs) -> Option<OwnedSemaphorePermit> {
        let needed = pending.batch.len().saturating_add(OVERHEAD).min(self.capacity);
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(needed).await.ok()
    }

    /// Queues a batch. `room` is the result of [`LogQueue::room`]. The batch is copied, so that it does not keep the read buffer
    /// allocated.
    pub(in crate::endpoint) fn push(&self, pending: PendingLogs, room: OwnedSemaphorePermit) {
        let PendingLogs { batch, sender } = pending;
        let batch = Bytes::copy_from_slice(&batch);
        // Fails if the listener was dropped.
        let _ = self.batches.send(ReceivedLogs { batch, sender, limits: self.limits, _room: room });
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn pending(length: usize) -> PendingLogs {
        PendingLogs { batch: vec![b'x'; length].into(), sender: None }
    }

    #[tokio::test]
    async fn a_batch_waits_until_there_is_room_for_it() {
        let (address, (stop, stopped)) = (SocketAddr::from(([127, 0, 0, 1], 1)), watch::channel(false));
        let (queue, mut logs) = LogQueue::new(10 * OVERHEAD, Limits::DEFAULT, address, stop);
        for length in [7 * OVERHEAD, OVERHEAD] {
            let batch = pending(length);
            let room = queue.room(&batch).await.unwrap();
            queue.push(batch, room);
        }
        let large = pending(20 * OVERHEAD);
        let mut room = std::pin::pin!(queue.room(&large));
        let mut is_waiting = || room.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(is_waiting(), "the queue is full");
        let first = logs.recv().await.unwrap();
        assert!(is_waiting(), "the batch is in use");
        drop(first);
        assert!(is_waiting(), "a batch is left");
        assert_eq!(logs.recv().await.unwrap().bytes().len(), OVERHEAD);
        let room = room.await.unwrap();
        queue.push(pending(20 * OVERHEAD), room);
        assert_eq!(logs.recv().await.unwrap().bytes().len(), 20 * OVERHEAD, "longer than the queue");
        drop(logs);
        assert!(queue.room(&large).await.is_none() && *stopped.borrow());
    }
}
