//! Forwarding a batch has the same effect as forwarding its messages one by one, with each policy for full queues.

use super::counters::PeerCounters;
use super::id::{ConnectionId, PeeringId};
use super::limits::Owner;
use super::queue::{End, Fill, Popped, Queue};
use super::*;
use crate::net::Frames;

/// The route to a peer with a small queue.
struct SmallRoute {
    route: PeerRoute,
    stats: Arc<Counters>,
    forwarded: Forwarded,
    room: Arc<Notify>,
    popped: Vec<Envelope>,
}

impl SmallRoute {
    fn new() -> Self {
        let owner = Owner::Target("here".into());
        let peer = Peer {
            id: id(1),
            address: "here".into(),
            ip: None,
            identity: None,
            protocol: PeerProtocol::Broker,
            owner,
            peering: PeeringId(ConnectionId(1)),
        };
        let queue = Arc::new(Queue::new(QueueLimits { messages: 6, bytes: 300 }));
        let counters = Arc::new(PeerCounters::new());
        let route =
            PeerRoute { peer: Arc::new(peer), filter: Arc::default(), format: &BROKER, queue, counters };
        let (stats, forwarded) = Default::default();
        SmallRoute { route, stats, forwarded, room: Arc::default(), popped: Vec::new() }
    }

    fn offer(&mut self, messages: &[Envelope], when_full: WhenFull) {
        let (mut batch, mut encoder) = (Batch::default(), Encoder::default());
        messages.iter().for_each(|message| batch.push(message.clone()));
        let frames = encoder.frames(&BROKER, &batch, &|_| id(2).into()).0.unwrap();
        self.route.offer(frames, when_full, &self.stats, &mut self.forwarded);
    }

    /// Pops frames until it has at least `least` messages or the queue is empty. Then retries blocked messages. Returns the
    /// number of popped messages.
    fn pop(&mut self, least: usize) -> usize {
        let mut popped = 0;
        while popped < least
            && let Popped::Message(frames) = self.route.queue.try_pop()
        {
            popped += frames.messages();
            self.popped.extend(read(frames));
        }
        Blocked::retry_all(&mut self.forwarded.blocked, &self.room);
        popped
    }

    /// Returns, in order:
    ///
    /// - how full the queue is;
    /// - why it ended, if it did;
    /// - the number of dropped messages, as counted by the endpoint;
    /// - the number of dropped messages, as counted by the calls that forward;
    /// - the number of blocked messages.
    fn state(&self) -> (Fill, Option<End>, u64, usize, usize) {
        let blocked = self.forwarded.blocked.iter().map(Blocked::messages).sum();
        let (fill, ended) = (self.route.queue.fill(), self.route.queue.ended());
        (fill, ended, self.stats.dropped_for_peers.get(), self.forwarded.dropped, blocked)
    }
}

fn read(frames: Frames) -> Vec<Envelope> {
    let mut bytes = bytes::BytesMut::from(&*frames.pieces().concat());
    let read = || {
        let frame = crate::wire::cut_frame(&mut bytes, usize::MAX).unwrap()?;
        Some(Envelope::decode(&frame).unwrap())
    };
    std::iter::from_fn(read).collect()
}

#[test]
fn forwarding_a_batch_equals_forwarding_its_messages_one_by_one() {
    let policies =
        [WhenFull::Block, WhenFull::DropNewest, WhenFull::DropOldest, WhenFull::Disconnect].into_iter();
    for (seed, when_full) in (0..200).flat_map(|seed| policies.clone().map(move |policy| (seed, policy))) {
        let mut random = fastrand::Rng::with_seed(seed);
        let [mut batched, mut single] = [SmallRoute::new(), SmallRoute::new()];
        let mut sent = 0;
        for _ in 0..50 {
            // As in a connection, no more messages are received while a message is blocked.
            if batched.forwarded.blocked.is_empty() {
                let messages: Vec<_> = (0..random.usize(1..12))
                    .map(|n| {
                        let length = if random.u8(..20) == 0 { 400 } else { random.usize(..80) };
                        message("/t", &format!("{} {}", sent + n, "x".repeat(length)))
                    })
                    .collect();
                sent += messages.len();
                batched.offer(&messages, when_full);
                messages.chunks(1).for_each(|one| single.offer(one, when_full));
            }
            assert_eq!(batched.state(), single.state(), "{when_full:?} {seed}");
            let popped = batched.pop(random.usize(..6));
            assert_eq!(single.pop(popped), popped);
            assert_eq!(batched.state(), single.state(), "{when_full:?} {seed}");
            assert_eq!(batched.popped, single.popped);
        }
        while batched.pop(1) > 0 {}
        while single.pop(1) > 0 {}
        assert_eq!(batched.popped, single.popped);
        let dropped = usize::try_from(batched.stats.dropped_for_peers.get()).unwrap();
        match when_full {
            WhenFull::Disconnect => assert!(dropped + batched.popped.len() <= sent),
            WhenFull::Block => assert_eq!((dropped, batched.popped.len()), (0, sent)),
            _ => assert_eq!(dropped + batched.popped.len(), sent),
        }
    }
}
