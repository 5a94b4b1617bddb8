//! The state that all links of a bridge share.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use super::busiest::Busiest;
use super::delivered::Delivered;
use super::denials::Denials;
use super::links::LinkSet;
use super::origin::Origin;
use super::recent::Recent;
use super::sides::Sides;
use crate::bridge::LinkId;
use crate::bridge::config::Operation;
use crate::bridge::management::registry::{NodeRegistry, PeeringKey};
use crate::bridge::policy::Refusal;
use crate::endpoint::Peer;

/// The time of tokio's clock, which tests can pause.
pub(in crate::bridge) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The state that all links of a bridge share.
#[derive(Debug)]
pub(in crate::bridge) struct Core {
    links: RwLock<Arc<LinkSet>>,
    nodes: Mutex<Timed>,
    /// Notified when something becomes due earlier than the time for which the timer is set.
    timer: Notify,
    pub(in crate::bridge) denials: Denials,
    pub(in crate::bridge) recent: Recent,
    pub(in crate::bridge) busiest: Busiest,
    /// Whether the bridge sends a failure to an agent when rules deny the agent's request.
    answer_denied: AtomicBool,
    pub(in crate::bridge) origin: Arc<Origin>,
    /// Lock order: lock this before `nodes`.
    delivered: Mutex<Delivered>,
    pub(in crate::bridge) sides: Arc<Sides>,
}

#[derive(Debug)]
struct Timed {
    nodes: NodeRegistry,
    /// The time for which the timer is set.
    armed: Option<Instant>,
}

/// Exclusive access to the registry of nodes. On drop, wakes the timer if something is due before the time for which the
/// timer is set.
pub(in crate::bridge) struct NodesGuard<'a> {
    timed: MutexGuard<'a, Timed>,
    timer: &'a Notify,
}

impl NodesGuard<'_> {
    /// Returns the next time at which something is due, and records that the timer is set for this time.
    fn arm(&mut self) -> Option<Instant> {
        self.timed.armed = self.next_due();
        self.timed.armed
    }
}

impl Deref for NodesGuard<'_> {
    type Target = NodeRegistry;

    fn deref(&self) -> &NodeRegistry {
        &self.timed.nodes
    }
}

impl DerefMut for NodesGuard<'_> {
    fn deref_mut(&mut self) -> &mut NodeRegistry {
        &mut self.timed.nodes
    }
}

impl Drop for NodesGuard<'_> {
    fn drop(&mut self) {
        let Timed { nodes, armed } = &mut *self.timed;
        if let Some(next) = nodes.next_due()
            && armed.is_none_or(|armed| next < armed)
        {
            *armed = Some(next);
            self.timer.notify_one();
        }
    }
}

impl Core {
    pub(in crate::bridge) fn new(operation: &Operation, origin: Origin) -> Self {
        Core {
            links: RwLock::new(Arc::new(LinkSet::empty())),
            nodes: Mutex::new(Timed { nodes: NodeRegistry::new(operation.answer_in_flight), armed: None }),
            timer: Notify::new(),
            denials: Denials::default(),
            recent: Recent::default(),
            busiest: Busiest::default(),
            answer_denied: AtomicBool::new(operation.answer_denied),
            origin: Arc::new(origin),
            delivered: Mutex::default(),
            sides: Arc::default(),
        }
    }

    /// Applies a changed configuration.
    pub(in crate::bridge) fn set_operation(&self, operation: &Operation) {
        self.nodes().set_answer_in_flight(operation.answer_in_flight);
        self.answer_denied.store(operation.answer_denied, Ordering::Relaxed);
    }

    /// Returns whether the bridge sends a failure to an agent when rules deny the agent's request.
    pub(in crate::bridge) fn answers_denied(&self) -> bool {
        self.answer_denied.load(Ordering::Relaxed)
    }

    pub(in crate::bridge) fn links(&self) -> Arc<LinkSet> {
        self.links.read().clone()
    }

    pub(in crate::bridge) fn set_links(&self, links: LinkSet) {
        let old = std::mem::replace(&mut *self.links.write(), Arc::new(links));
        // Drop the old links after the lock is released: this may be the last reference to a link, and dropping a link
        // does more than free memory.
        drop(old);
    }

    pub(in crate::bridge) fn delivered(&self) -> MutexGuard<'_, Delivered> {
        self.delivered.lock()
    }

    pub(in crate::bridge) fn nodes(&self) -> NodesGuard<'_> {
        NodesGuard { timed: self.nodes.lock(), timer: &self.timer }
    }

    /// Waits until something is due in the registry of nodes. If something else becomes due earlier in the meantime,
    /// the wait becomes shorter.
    pub(in crate::bridge) async fn nodes_due(&self) {
        loop {
            let next = self.nodes().arm();
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                () = self.timer.notified() => {}
            }
        }
    }

    /// Counts a denied message, and logs it unless the owner of the peer causes too many log lines with this reason on
    /// this link. `refusal` is called only if the line is logged.
    pub(in crate::bridge) fn deny(
        &self,
        links: &LinkSet,
        link: LinkId,
        from: &Peer,
        reason: &'static str,
        refusal: impl FnOnce() -> Refusal,
    ) {
        self.denials.deny(reason, links.link(link).map(|link| &**link), from, refusal, &self.recent);
    }
}

/// Returns the key of a peer of this link in the registry of nodes.
pub(in crate::bridge) fn peering_key(link: LinkId, peer: &Peer) -> PeeringKey {
    PeeringKey { link, peer: peer.id, peering: peer.peering.number() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bridge::management::registry::Party;
    use crate::data::EndpointId;
    use crate::endpoint::Owner;
    use crate::management::{DispatchRequest, NODE_TOPIC, NotifyNodeHello};
    use crate::wire::Envelope;
    use crate::zeek::ZeekMessage;

    /// Longer than all times in the registry.
    const LONG: Duration = Duration::from_secs(3600);

    const ALL_LINKS: [LinkId; 3] = [LinkId(0), LinkId(1), LinkId(2)];

    fn core(operation: &Operation) -> Core {
        Core::new(operation, Origin::random().unwrap())
    }

    /// Returns a peer. Its link has the same number.
    fn party(number: u8) -> Party {
        let key = PeeringKey {
            link: LinkId(number.into()),
            peer: EndpointId::from_bytes([number; 16]),
            peering: number.into(),
        };
        Party { peering: key, owner: Owner::Target(number.to_string().into()), share: 1_000_000 }
    }

    fn hello(core: &Core, from: u8, node: &str) {
        let value = ZeekMessage::Event(NotifyNodeHello { node: node.to_owned() }.into()).into_value();
        let hello = Envelope::data(EndpointId::NIL, NODE_TOPIC.clone(), &value).unwrap();
        core.nodes().hello(&party(from), node, &hello, &ALL_LINKS, now()).unwrap();
    }

    fn request(core: &Core, from: u8, node: &str) {
        let (reqid, action) = ("r".to_owned(), vec!["x".to_owned()]);
        let request = DispatchRequest { reqid, action, nodes: [node.to_owned()].into() };
        let _ = core.nodes().request(&party(from), &request, |_| true, now()).unwrap();
    }

    /// Returns whether a future is ready now.
    async fn is_ready(future: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::ZERO, future).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_fires_for_entries_that_are_added_while_it_runs() {
        let core = core(&Operation::default());
        let mut due = std::pin::pin!(core.nodes_due());
        assert!(!is_ready(&mut due).await, "nothing is due");
        hello(&core, 0, "gone");
        core.nodes().gone(party(0).peering, now());
        assert!(!is_ready(&mut due).await, "the name expires after some minutes");
        // The failure for a request becomes due earlier than the name expires.
        hello(&core, 1, "silent");
        request(&core, 2, "silent");
        let next = core.nodes().next_due().unwrap();
        tokio::time::timeout(LONG, due).await.unwrap();
        let late = now().checked_duration_since(next).unwrap();
        assert!(late < Duration::from_secs(1), "{late:?}");
        assert_eq!(core.nodes().due(now()).answers.len(), 1);
        // The timer is set again for the name.
        tokio::time::timeout(LONG, core.nodes_due()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_configuration_applies_to_requests_in_flight() {
        for answers in [true, false] {
            let operation = |answers| Operation {
                answer_in_flight: answers,
                answer_denied: answers,
                ..Operation::default()
            };
            let core = core(&operation(!answers));
            hello(&core, 0, "silent");
            request(&core, 1, "silent");
            core.set_operation(&operation(answers));
            assert_eq!(core.answers_denied(), answers);
            // The bridge answers after 4 s, and forgets the request after 5 s.
            tokio::time::advance(Duration::from_millis(4500)).await;
            assert_eq!(core.nodes().due(now()).answers.len(), usize::from(answers));
        }
    }
}
