//! Sending of queued messages, and log lines about messages that are dropped because the queue of a peer is full.

use super::{ConnectionOutcome, PeerConnection};
use crate::endpoint::Context;
use crate::endpoint::connect_error::ConnectError;
use crate::endpoint::limits::Owner;
use crate::endpoint::queue::{End, Popped};
use crate::net::{Frames, Session};

/// Logs the first dropped message of a peering, and the number of all of them at its end. If the owner of the peer causes too many such
/// lines, they are left out.
#[derive(Debug, Default)]
pub(super) struct Drops {
    is_logged: bool,
}

impl Drops {
    /// Logs that messages are dropped, once. `losses` is [`Queue::losses`](crate::endpoint::queue::Queue::losses).
    pub(super) fn log_first(&mut self, context: &Context, owner: &Owner, losses: (Option<End>, u64)) {
        let (_, dropped) = losses;
        if dropped == 0 || self.is_logged {
            return;
        }
        self.is_logged = true;
        if let Some(suppressed) = context.limiter.pass("messages dropped", owner) {
            tracing::warn!(
                suppressed,
                "messages for this peer are dropped, because it does not read fast enough and its queue is full; their number is \
                 logged when the peering ends"
            );
        }
    }

    /// Logs how many messages were dropped. A peer that was disconnected because its queue was full is left out: the reason of
    /// the disconnection contains the number.
    pub(super) fn log_total(self, context: &Context, owner: &Owner, losses: (Option<End>, u64)) {
        let (end, dropped) = losses;
        if dropped == 0 || matches!(end, Some(End::Overflowed { .. })) {
            return;
        }
        if let Some(suppressed) = context.limiter.pass("sum of messages dropped", owner) {
            tracing::warn!(
                dropped,
                suppressed,
                "messages for this peer were dropped during the peering, because it did not read fast enough"
            );
        }
    }
}

impl<S: Session> PeerConnection<S> {
    /// Sends queued messages until the stream does not keep up. Returns the outcome if the connection has to end.
    pub(super) fn send_queued(&mut self) -> Option<ConnectionOutcome> {
        let queue = self.queue.clone()?;
        let losses = queue.losses();
        if let (Some(End::Overflowed { dropped }), _) = losses {
            return Some(self.end(Some(ConnectError::Overflow { dropped })));
        }
        self.drops.log_first(&self.context, &self.owner, losses);
        let established = self.connection.is_established();
        while established && !self.leaving && !self.connection.is_backlogged() {
            match queue.try_pop() {
                Popped::Message(frames) => self.send(frames),
                // The peer's time to confirm the BYE begins when everything before it is written.
                Popped::Ended(_) if self.connection.is_written() => self.leave(),
                Popped::Empty | Popped::Ended(_) => break,
            }
        }
        None
    }

    fn send(&mut self, frames: Frames) {
        let (messages, length) = (frames.messages(), frames.length());
        if let Err(error) = self.connection.send_frames(frames) {
            tracing::debug!(messages, "not sent: {error}");
            return;
        }
        let stats = &self.context.stats;
        stats.sent.add(messages);
        stats.sent_bytes.add(length);
        if let Some(counters) = &self.counters {
            counters.sent.add(messages);
        }
    }
}
