//! Passing on what peers say: what a bridge needs of its endpoints.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::blocked::Blocked;
use super::command::Command;
use super::counters::Counters;
use super::latency::Latency;
use super::peer::Peer;
use super::queue::Refused;
use super::relay::Relay;
use super::routing::{PeerRoute, Routes};
use super::{Endpoint, EndpointConfig, WhenFull};
use crate::data::{EndpointId, Filter, Topic};
use crate::net::Frames;
use crate::net::tls::PeerIdentity;
use crate::wire::Envelope;

/// What became of a message that was passed on.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// So many peers have it in their queues.
    pub(crate) reached: usize,
    /// So many messages were dropped because a queue was full: this one, or those that it took the place of, or
    /// all that a peer had in its queue when it was disconnected.
    pub(crate) dropped: usize,
    /// Of the peers that are waited for.
    pub(crate) blocked: Vec<Blocked>,
}

/// A peer at one moment.
#[derive(Clone, Debug)]
pub(crate) struct PeerState {
    pub(crate) id: EndpointId,
    /// Where it is: `host:port`.
    pub(crate) address: Arc<str>,
    /// Who it is by its certificate.
    pub(crate) identity: Option<Arc<PeerIdentity>>,
    /// What it wants to hear.
    pub(crate) filter: Arc<Filter>,
    /// How many messages wait for it.
    pub(crate) queued: usize,
    /// How many bytes of topics and payloads these are.
    pub(crate) queued_bytes: usize,
    /// How many messages for it were dropped because its queue was full.
    pub(crate) dropped: u64,
}

impl Endpoint {
    /// As [`Endpoint::with_config`], with somebody who passes on what its peers say. Subscribers hear it all the same.
    ///
    /// # Errors
    /// As [`Endpoint::with_config`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, as everything in tokio.
    pub(crate) fn with_relay(config: EndpointConfig, relay: Arc<dyn Relay>) -> io::Result<Self> {
        Self::make(config, Some(relay))
    }

    /// Tells the peers, now and those to come, that this is wanted here beside what the subscribers want.
    /// When this returns, further peerings begin with it; those that stand may take a moment.
    pub(crate) async fn announce(&self, filter: Filter) {
        let (answer, done) = oneshot::channel();
        self.0.context.hub.tell(Command::Announce { filter, answer }).await;
        let _ = done.await;
    }

    /// As [`Endpoint::forward_as`], with this endpoint as the sender.
    #[cfg(test)]
    pub(crate) fn forward(
        &self,
        envelope: &Envelope,
        since: Option<Instant>,
        choose: impl Fn(&Peer) -> bool,
    ) -> Forwarded {
        self.forward_as(self.id(), envelope, since, choose)
    }

    /// Passes a message on to the peers that `choose` takes, of those it is for: its receiver, or without one all that want
    /// its topic. The sender becomes `sender`, which is this endpoint but for peers that expect something else there; ttl
    /// and receiver stay as they are. It never waits: what becomes of it at a queue that is full says
    /// [`EndpointConfig::when_full`].
    ///
    /// `since` is when it was heard, to be measured until it is written; `None`: not this one.
    pub(crate) fn forward_as(
        &self,
        sender: EndpointId,
        envelope: &Envelope,
        since: Option<Instant>,
        choose: impl Fn(&Peer) -> bool,
    ) -> Forwarded {
        let (context, routes) = (&self.0.context, self.routes());
        let mut forwarded = Forwarded::default();
        let mut wanting =
            routes.peers(envelope.receiver, &envelope.topic).filter(|route| choose(&route.peer)).peekable();
        if wanting.peek().is_some()
            && let Some(mut frames) = self.frames_of(sender, envelope)
        {
            frames.heard = since;
            wanting.for_each(|route| {
                route.offer(&frames, context.config.when_full, &context.stats, &mut forwarded);
            });
        }
        forwarded
    }

    /// As [`Endpoint::forward_as`], of messages that go by these routes to whom one of this receiver and topic goes. Their
    /// sender is in them already.
    pub(crate) fn forward_frames(
        &self,
        frames: &Frames,
        routes: &Routes,
        (receiver, topic): (EndpointId, &Topic),
        choose: impl Fn(&Peer) -> bool,
        forwarded: &mut Forwarded,
    ) {
        let context = &self.0.context;
        for route in routes.peers(receiver, topic).filter(|route| choose(&route.peer)) {
            route.offer(frames, context.config.when_full, &context.stats, forwarded);
        }
    }

    /// Who gets what, at this moment.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.0.context.hub.routes.borrow().clone()
    }

    /// As [`Endpoint::forward_as`], for what no peer has said just now and may be more at once than a queue takes: it waits for
    /// room whatever [`EndpointConfig::when_full`] says, and leaves some of it to what peers say.
    pub(crate) fn forward_sparingly(
        &self,
        sender: EndpointId,
        envelope: &Envelope,
        choose: impl Fn(&Peer) -> bool,
    ) -> Vec<Blocked> {
        let (context, routes) = (&self.0.context, self.routes());
        let Some(frames) = self.frames_of(sender, envelope) else { return Vec::new() };
        let wanting = routes.peers(envelope.receiver, &envelope.topic).filter(|route| choose(&route.peer));
        wanting
            .filter(|route| route.queue.try_push_sparingly(&frames) == Err(Refused::Full))
            .map(|route| route.blocked(frames.clone(), true, &context.stats))
            .collect()
    }

    fn frames_of(&self, sender: EndpointId, envelope: &Envelope) -> Option<Frames> {
        let frames = Frames::of(envelope, sender);
        frames.inspect_err(|error| tracing::debug!("a message was not passed on: {error}")).ok()
    }

    /// The peerings that stand, with what each wants to hear.
    pub(crate) fn standing(&self) -> Vec<(Peer, Arc<Filter>)> {
        let routes = self.routes();
        routes.peers.iter().map(|route| (route.peer.clone(), route.filter.clone())).collect()
    }

    /// The peers there are.
    pub(crate) fn peer_states(&self) -> Vec<PeerState> {
        let routes = self.routes();
        let state = |route: &PeerRoute| {
            let (peer, fill) = (route.peer.clone(), route.queue.fill());
            PeerState {
                id: peer.id,
                address: peer.address,
                identity: peer.identity,
                filter: route.filter.clone(),
                queued: fill.messages,
                queued_bytes: fill.bytes,
                dropped: fill.dropped,
            }
        };
        routes.peers.iter().map(state).collect()
    }

    /// How long forwarded messages took from [`Relay::heard`] until the operating system had them, of a sample.
    pub(crate) fn latency(&self) -> Latency {
        self.0.context.stats.latency.read()
    }
}

impl PeerRoute {
    pub(super) fn offer(
        &self,
        frames: &Frames,
        when_full: WhenFull,
        stats: &Arc<Counters>,
        forwarded: &mut Forwarded,
    ) {
        let mut rest = frames.clone();
        let pushed = match when_full {
            WhenFull::Block => self.queue.try_push_behind(&mut rest),
            WhenFull::DropOldest => self.queue.push_out(&mut rest).map(|dropped| {
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
                // A smaller one behind it may still find room.
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

    /// Disconnects the peer: it does not keep up. Returns how many messages are lost, with the one that found no room. The
    /// end of the peering is logged with the same number.
    pub(super) fn overflow(&self, stats: &Counters) -> usize {
        // Somebody else may have been faster.
        let Some(dropped) = self.queue.overflow() else { return 0 };
        stats.overflowed(dropped);
        dropped
    }
}
