//! Fault injection: drops, duplicates, corrupts and delays the messages of a link, to test how a cluster handles such
//! faults.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::audience::Audience;
use super::config::Chaos;
use super::outlet::{EndpointOutlet, Outlet, Route};
use crate::endpoint::{Blocked, Forwarded};
use crate::net::{Batch, for_keeping, spawn};
use crate::wire::Envelope;

/// The maximum number of delayed messages. If it is reached, new messages are dropped and counted.
const MAX_DELAYED: usize = 4096;

/// An outlet that injects faults into messages before it passes them to the inner outlet.
#[derive(Clone, Debug)]
pub(super) struct FaultInjector(Arc<Injector>);

#[derive(Debug)]
struct Injector {
    inner: EndpointOutlet,
    chaos: Chaos,
    delay: Option<Delay>,
    dropped: AtomicU64,
}

/// The delayed messages, which a task sends when they are due.
#[derive(Debug)]
struct Delay {
    messages: mpsc::Sender<Delayed>,
    /// Whether all messages are to be sent now.
    flush: watch::Sender<bool>,
}

type Delayed = (Instant, Envelope, Audience);

impl FaultInjector {
    pub(super) fn new(chaos: Chaos, inner: EndpointOutlet) -> Self {
        let delay = (!chaos.delay.is_zero()).then(|| {
            let (messages, receiver) = mpsc::channel(MAX_DELAYED);
            let (flush, flushed) = watch::channel(false);
            spawn(send_delayed(receiver, flushed, inner.clone()));
            Delay { messages, flush }
        });
        FaultInjector(Arc::new(Injector { inner, chaos, delay, dropped: AtomicU64::new(0) }))
    }

    /// Returns the number of messages that were dropped by fault injection.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Sends all delayed messages now. Messages for which a queue is full are dropped and counted, and so are messages
    /// that are passed to this outlet afterwards.
    pub(super) async fn flush(&self) {
        if let Some(delay) = &self.0.delay {
            delay.flush.send_replace(true);
            // Wait until the task ends, which drops all receivers.
            delay.flush.closed().await;
        }
    }
}

impl Outlet for FaultInjector {
    /// Chooses a fault for each message of the batch, and sends the messages one by one.
    fn send(&self, batch: &Batch, route: &mut Route, audience: &Audience, forwarded: &mut Forwarded) {
        let mut random = fastrand::Rng::new();
        let mut received = batch.received();
        for envelope in batch.iter() {
            self.send_one(envelope, &mut received, route, audience, &mut random, forwarded);
        }
    }
}

impl FaultInjector {
    fn send_one(
        &self,
        envelope: &Envelope,
        received: &mut Option<Instant>,
        route: &mut Route,
        audience: &Audience,
        random: &mut fastrand::Rng,
        forwarded: &mut Forwarded,
    ) {
        let Injector { inner, chaos, delay, dropped } = &*self.0;
        let fault = chaos.fault(random);
        // A delayed message must not keep the complete receive buffer allocated.
        let mut envelope = for_keeping(envelope.clone());
        if fault.corrupt {
            corrupt(&mut envelope, random);
        }
        if fault.copies == 0 {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        for _ in 0..fault.copies {
            match delay {
                None => {
                    let before = forwarded.recipients();
                    inner.send(&Batch::of(envelope.clone(), *received), route, audience, forwarded);
                    // Count the batch as one sample of the latency, regardless of the number of its messages.
                    if forwarded.recipients() > before {
                        *received = None;
                    }
                }
                Some(delay) => {
                    let now = Instant::now();
                    let due = now.checked_add(chaos.delay).unwrap_or(now);
                    if delay.messages.try_send((due, envelope.clone(), audience.clone())).is_err() {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// Sends delayed messages when they are due. Ends when the link is dropped.
async fn send_delayed(
    mut delayed: mpsc::Receiver<Delayed>,
    flushed: watch::Receiver<bool>,
    outlet: EndpointOutlet,
) {
    let mut until_flushed = flushed.clone();
    // An error means that the link was dropped. The task ends then, too.
    let mut flush = pin!(async { drop(until_flushed.wait_for(|flush| *flush).await) });
    let send = |envelope: Envelope, audience: &Audience| {
        let (mut route, mut forwarded) = (Route::to_all(&outlet.endpoint), Forwarded::default());
        outlet.send(&Batch::of(envelope, None), &mut route, audience, &mut forwarded);
        forwarded.blocked
    };
    loop {
        let next = tokio::select! {
            next = delayed.recv() => next,
            () = &mut flush => break,
        };
        let Some((due, envelope, audience)) = next else { return };
        let flushed = tokio::select! {
            () = tokio::time::sleep_until(due.into()) => false,
            () = &mut flush => true,
        };
        let blocked = send(envelope, &audience);
        if flushed {
            break;
        }
        tokio::select! {
            () = push_all(blocked) => {}
            () = &mut flush => break,
        }
    }
    delayed.close();
    while let Some((_, envelope, audience)) = delayed.recv().await {
        drop(send(envelope, &audience));
    }
    // `flush` waits until the last receiver is dropped, so drop it only after everything is sent.
    drop(flushed);
}

async fn push_all(blocked: Vec<Blocked>) {
    for blocked in blocked {
        blocked.flush().await;
    }
}

/// The fault of one message.
#[derive(Debug)]
struct Fault {
    /// The number of copies to send: none, one, or two.
    copies: usize,
    /// Whether one byte of the message's payload is changed.
    corrupt: bool,
}

impl Chaos {
    /// Chooses the fault of one message.
    fn fault(&self, random: &mut fastrand::Rng) -> Fault {
        let copies = match () {
            () if random.f64() < self.drop => 0,
            () if random.f64() < self.duplicate => 2,
            () => 1,
        };
        Fault { copies, corrupt: random.f64() < self.corrupt }
    }
}

/// Changes one byte of the payload, if there is one.
fn corrupt(envelope: &mut Envelope, random: &mut fastrand::Rng) {
    let mut payload = Vec::from(&*envelope.payload);
    if payload.is_empty() {
        return;
    }
    let at = random.usize(..payload.len());
    if let Some(byte) = payload.get_mut(at) {
        *byte ^= random.u8(1..);
    }
    envelope.payload = payload.into();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::data::{EndpointId, Topic, Value};

    const NONE: Chaos = Chaos { delay: Duration::ZERO, drop: 0.0, duplicate: 0.0, corrupt: 0.0 };

    #[test]
    fn fractions_of_zero_and_one_are_deterministic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            let fault = NONE.fault(&mut random);
            assert_eq!((fault.copies, fault.corrupt), (1, false));
            assert_eq!(Chaos { drop: 1.0, ..NONE }.fault(&mut random).copies, 0);
            assert_eq!(Chaos { duplicate: 1.0, ..NONE }.fault(&mut random).copies, 2);
            assert!(Chaos { corrupt: 1.0, ..NONE }.fault(&mut random).corrupt);
        }
    }

    #[test]
    fn a_tenth_of_the_messages_is_dropped() {
        let mut random = fastrand::Rng::with_seed(7);
        let dropped =
            (0..10_000).filter(|_| Chaos { drop: 0.1, ..NONE }.fault(&mut random).copies == 0).count();
        assert!((800..1200).contains(&dropped), "{dropped}");
    }

    #[test]
    fn one_byte_of_the_payload_is_changed() {
        let envelope =
            Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::String("hello".into()))
                .unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let mut changed = envelope.clone();
            corrupt(&mut changed, &mut random);
            let differ = changed.payload.iter().zip(&envelope.payload).filter(|(a, b)| a != b).count();
            assert_eq!((differ, changed.payload.len()), (1, envelope.payload.len()));
        }
    }
}
