//! Forwards messages from one endpoint to the peers of a second endpoint, for a bridge.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::blocked::Blocked;
use super::command::Command;
use super::counters::Counters;
use super::latency::Latency;
use super::peer::Peer;
use super::protocol::PeerProtocol;
use super::queue::Refused;
use super::relay::Relay;
use super::routing::{PeerRoute, Routes};
use super::{Endpoint, EndpointConfig, WhenFull};
use crate::data::{EndpointId, Filter};
use crate::net::tls::PeerIdentity;
use crate::net::{Batch, Encoder, Frames, Losses, Sender};
use crate::wire::{EncodeError, Envelope};

/// The result of forwarding.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// The number of peers that have all messages in their queues.
    pub(crate) reached: usize,
    /// The number of messages that were dropped because a queue was full. Which messages these are depends on [`WhenFull`]:
    /// the forwarded messages, older messages that made room for them, or all queued messages of a peer that was
    /// disconnected.
    pub(crate) dropped: usize,
    /// The messages that wait for room in a queue.
    pub(crate) blocked: Vec<Blocked>,
}

impl Forwarded {
    /// Returns the number of peers whose queue has the messages, or will have them once there is room.
    pub(crate) fn recipients(&self) -> usize {
        self.reached.saturating_add(self.blocked.len())
    }
}

/// A snapshot of the state of a peer.
#[derive(Clone, Debug)]
pub(crate) struct PeerState {
    pub(crate) id: EndpointId,
    /// The peer's address: `host:port`.
    pub(crate) address: Arc<str>,
    /// The identity in the peer's certificate.
    pub(crate) identity: Option<Arc<PeerIdentity>>,
    /// The protocol, and what the peer has sent about itself.
    pub(crate) protocol: PeerProtocol,
    /// The topics that the peer subscribes to.
    pub(crate) filter: Arc<Filter>,
    /// The number of queued messages.
    pub(crate) queued: usize,
    /// The length of the topics and payloads of the queued messages in bytes.
    pub(crate) queued_bytes: usize,
    /// The number of messages that were dropped because the queue was full.
    pub(crate) dropped: u64,
    /// The number of messages that were dropped because the peer's protocol cannot carry them.
    pub(crate) not_carried: u64,
    /// The number of messages received from the peer since the peering was established.
    pub(crate) received: u64,
    /// The number of messages that were moved from the queue to the connection since the peering was established.
    pub(crate) sent: u64,
    /// The time since the peering was established.
    pub(crate) connected: Duration,
}

impl Endpoint {
    /// Like [`Endpoint::with_config`], with a relay that receives all messages of peers. Subscribers still receive these
    /// messages too.
    ///
    /// # Errors
    /// As [`Endpoint::with_config`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub(crate) fn with_relay(config: EndpointConfig, relay: Arc<dyn Relay>) -> io::Result<Self> {
        Self::make(config, Some(relay))
    }

    /// Sets the topics that are announced to peers in addition to those of the subscribers. When this returns, new peerings
    /// begin with these topics, and the notification of established peers has started.
    pub(crate) async fn announce(&self, filter: Filter) {
        let (answer, done) = oneshot::channel();
        self.0.context.hub.send(Command::Announce { filter, answer }).await;
        let _ = done.await;
    }

    /// Queues a batch for the peers that `routes` contains for its receiver and topic and that `choose` selects. Only the
    /// receiver and topic of the first message are used, because all messages of a batch go to the same peers. Never waits;
    /// [`EndpointConfig::when_full`] decides what happens at a full queue.
    ///
    /// `sender` returns the new sender of each message. The ttl and the receiver are not changed. The batch is encoded at
    /// most once for each format, and only if there is a recipient.
    pub(crate) fn forward<'s, T: Into<Sender<'s>>>(
        &self,
        batch: &Batch,
        routes: &Routes,
        encoder: &mut Encoder,
        sender: impl Fn(&Envelope) -> T,
        choose: impl Fn(&Peer) -> bool,
        forwarded: &mut Forwarded,
    ) {
        let context = &self.0.context;
        let format = context.cluster_format.learned();
        let sender = |envelope: &Envelope| sender(envelope).into().or_format(format);
        encoder.begin();
        for route in recipients(batch, routes, choose) {
            if let Ok(frames) = route.encode(encoder, batch, &sender, &context.stats) {
                route.offer(frames, context.config.when_full, &context.stats, forwarded);
            }
        }
    }

    /// Like [`Endpoint::forward`], for messages that the bridge generates. There may be more of them at once than a queue
    /// has room for. Ignores [`EndpointConfig::when_full`], fills at most three quarters of a queue, and returns the
    /// messages that must be retried.
    pub(crate) fn forward_sparingly<'s, T: Into<Sender<'s>>>(
        &self,
        batch: &Batch,
        sender: impl Fn(&Envelope) -> T,
        choose: impl Fn(&Peer) -> bool,
    ) -> Vec<Blocked> {
        let (context, routes, mut encoder) = (&self.0.context, self.routes(), Encoder::default());
        let format = context.cluster_format.learned();
        let sender = |envelope: &Envelope| sender(envelope).into().or_format(format);
        let mut blocked = Vec::new();
        for route in recipients(batch, &routes, choose) {
            if let Ok(frames) = route.encode(&mut encoder, batch, &sender, &context.stats)
                && route.queue.try_push_sparingly(frames) == Err(Refused::Full)
            {
                blocked.push(route.blocked(frames.clone(), true, &context.stats));
            }
        }
        blocked
    }

    /// Returns the current routes.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.0.context.hub.routes.borrow().clone()
    }

    /// Returns an established peer.
    pub(crate) fn peer(&self, id: EndpointId) -> Option<Arc<Peer>> {
        self.0.context.hub.routes.borrow().peers.get(id).map(|route| route.peer.clone())
    }

    /// Returns the established peerings, each with the filter of the peer.
    pub(crate) fn established_peers(&self) -> Vec<(Arc<Peer>, Arc<Filter>)> {
        let routes = self.routes();
        routes.peers.iter().map(|route| (route.peer.clone(), route.filter.clone())).collect()
    }

    /// Returns the state of all peers.
    pub(crate) fn peer_states(&self) -> Vec<PeerState> {
        let routes = self.routes();
        let state = |route: &PeerRoute| {
            let (peer, fill) = (&route.peer, route.queue.fill());
            PeerState {
                id: peer.id,
                address: peer.address.clone(),
                identity: peer.identity.clone(),
                protocol: peer.protocol.clone(),
                filter: route.filter.clone(),
                queued: fill.messages,
                queued_bytes: fill.bytes,
                dropped: fill.dropped,
                not_carried: fill.not_carried,
                received: route.counters.received.get(),
                sent: route.counters.sent.get(),
                connected: route.counters.established.elapsed(),
            }
        };
        routes.peers.iter().map(state).collect()
    }

    /// Returns the latency of a sample of messages: the time from reading a message until it was written to the socket.
    pub(crate) fn latency(&self) -> Latency {
        self.0.context.stats.latency.read()
    }
}

/// Returns the peers that a batch is for.
fn recipients<'a>(
    batch: &'a Batch,
    routes: &'a Routes,
    choose: impl Fn(&Peer) -> bool,
) -> impl Iterator<Item = &'a PeerRoute> {
    let peers = batch.first().map(|first| routes.peers(first.receiver, &first.topic));
    peers.into_iter().flatten().filter(move |route| choose(&route.peer))
}

impl PeerRoute {
    /// Returns the encoded form of a batch for this peer. Counts the messages that cannot be carried and the strings that were
    /// altered. See [`Encoder::frames`].
    pub(super) fn encode<'e, 's>(
        &self,
        encoder: &'e mut Encoder,
        batch: &Batch,
        sender: &impl Fn(&Envelope) -> Sender<'s>,
        stats: &Counters,
    ) -> Result<&'e Frames, &'e EncodeError> {
        let (frames, losses) = encoder.frames(self.format, batch, sender);
        if losses != Losses::default() {
            self.queue.note_not_carried(losses.not_carried);
            stats.not_carried.add(losses.not_carried);
            stats.altered_strings.add(losses.altered_strings);
        }
        frames
    }

    pub(super) fn offer(
        &self,
        frames: &Frames,
        when_full: WhenFull,
        stats: &Arc<Counters>,
        forwarded: &mut Forwarded,
    ) {
        let mut rest = frames.clone();
        let pushed = match when_full {
            WhenFull::Block => self.queue.push_fair(&mut rest),
            WhenFull::DropOldest => self.queue.evict_and_push(&mut rest).map(|dropped| {
                if dropped > 0 {
                    stats.dropped_for_peers.add(dropped);
                    forwarded.dropped = forwarded.dropped.saturating_add(dropped);
                }
            }),
            WhenFull::DropNewest | WhenFull::Disconnect => self.queue.try_push_some(&mut rest),
        };
        match (pushed, when_full) {
            (Ok(()), _) => forwarded.reached = forwarded.reached.saturating_add(1),
            (Err(Refused::Ended), _) => {}
            (Err(Refused::Full), WhenFull::Block) => forwarded.blocked.push(self.blocked(rest, false, stats)),
            (Err(Refused::Full), WhenFull::Disconnect) => {
                let dropped = self.overflow(stats);
                forwarded.dropped = forwarded.dropped.saturating_add(dropped);
            }
            (Err(Refused::Full), WhenFull::DropNewest | WhenFull::DropOldest) => {
                let mut dropped = 0usize;
                // There may still be room for a smaller message after the dropped one.
                while rest.cut(1, usize::MAX).is_some() {
                    dropped = dropped.saturating_add(1);
                    let _ = self.queue.try_push_some(&mut rest);
                }
                self.queue.note_dropped(dropped);
                stats.dropped_for_peers.add(dropped);
                forwarded.dropped = forwarded.dropped.saturating_add(dropped);
            }
        }
    }

    fn blocked(&self, frames: Frames, sparing: bool, stats: &Arc<Counters>) -> Blocked {
        let (queue, stats) = (self.queue.clone(), stats.clone());
        Blocked { queue, frames, sparing, stats }
    }

    /// Disconnects a peer whose queue is full. Returns the number of lost messages, including the one for which there was
    /// no room. The end of the peering is logged with the same number.
    pub(super) fn overflow(&self, stats: &Counters) -> usize {
        // A different task may have disconnected the peer already.
        let Some(dropped) = self.queue.overflow() else { return 0 };
        stats.overflowed(dropped);
        dropped
    }
}
