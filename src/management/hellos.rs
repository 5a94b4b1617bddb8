//! The times at which a node sends hellos to agents.
//!
//! A Zeek node sends only one hello, when its peering with the agent is established. This is enough, because
//! `deploy-config` and `restart` restart the Zeek process. Nodes that are not Zeek processes keep running, and the
//! agent's script (`policy/frameworks/management/agent/main.zeek` of Zeek 9.0) forgets their hellos:
//!
//! - Both commands set all configured nodes to PENDING until their next hello.
//! - A deployment fails for nodes that do not send a hello within 5 s.
//! - PENDING nodes receive no requests.
//!
//! Therefore, the hello is repeated.
//!
//! In the agent's script, a repeated hello has only these effects:
//!
//! - It logs one line at level info.
//! - It sets a configured node to RUNNING, which usually is its state already.
//! - It ends the wait of a deployment for this node.
//!
//! Because each hello logs a line, hellos are repeated less often after the agent has sent a request.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::data::EndpointId;
use crate::endpoint::PeeringId;

/// The interval of hellos to an agent that has sent no request. In a deployment, Zeek's agent waits 5 s for the hello
/// of each node. The interval is shorter, so that a hello arrives in time.
const BEFORE_REQUEST: Duration = Duration::from_secs(4);

/// The interval of hellos to an agent that has sent a request. Each request restarts the interval. The agent knew the
/// node when it sent the request. It may have forgotten the node since, because of a restart or a new deployment.
const AFTER_REQUEST: Duration = Duration::from_secs(30);

/// The agents that receive hellos, each with the time of the next one.
#[derive(Debug, Default)]
pub(super) struct Hellos(HashMap<PeeringId, Agent>);

#[derive(Debug)]
struct Agent {
    peer: EndpointId,
    interval: Duration,
    next: Instant,
}

impl Agent {
    fn schedule(&mut self, now: Instant) {
        self.next = now.checked_add(self.interval).unwrap_or(now);
    }
}

impl Hellos {
    /// Sets the peerings that subscribe to hellos. Returns the new peerings, to which the first hello must be sent now.
    pub(super) fn set_peerings(
        &mut self,
        peerings: Vec<(PeeringId, EndpointId)>,
        now: Instant,
    ) -> Vec<EndpointId> {
        let mut before = std::mem::take(&mut self.0);
        let mut new = Vec::new();
        for (peering, peer) in peerings {
            let agent = before.remove(&peering).unwrap_or_else(|| {
                new.push(peer);
                let mut agent = Agent { peer, interval: BEFORE_REQUEST, next: now };
                agent.schedule(now);
                agent
            });
            self.0.insert(peering, agent);
        }
        new
    }

    /// Records a request from an agent.
    pub(super) fn request(&mut self, peering: PeeringId, now: Instant) {
        if let Some(agent) = self.0.get_mut(&peering) {
            agent.interval = AFTER_REQUEST;
            agent.schedule(now);
        }
    }

    /// Returns the agents to which a hello is due, and schedules their next hello.
    pub(super) fn due(&mut self, now: Instant) -> Vec<EndpointId> {
        let due = self.0.values_mut().filter(|agent| agent.next <= now);
        due.map(|agent| {
            agent.schedule(now);
            agent.peer
        })
        .collect()
    }

    /// Returns the time of the next hello.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|agent| agent.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Topic;
    use crate::endpoint::Endpoint;
    use crate::net::tls::Tls;

    static TOPIC: Topic = Topic::from_static("/t");

    /// Returns the ids of two established peerings. There is no other way to get a `PeeringId`.
    async fn peerings() -> [(PeeringId, EndpointId); 2] {
        let here = Endpoint::new().unwrap();
        let address = here.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr().to_string();
        let there = [(); 2].map(|()| Endpoint::new().unwrap());
        for endpoint in &there {
            endpoint.connect(&address, Tls::Off).await.unwrap();
        }
        let mut peers = here.watch_interest(&TOPIC);
        loop {
            if let [one, two] = peers.peers()[..] {
                return [one, two];
            }
            peers.changed().await;
        }
    }

    #[tokio::test]
    async fn hellos_are_repeated_less_often_after_a_request() {
        let [one, two] = peerings().await;
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut hellos = Hellos::default();
        assert_eq!(hellos.next(), None);
        assert_eq!(hellos.set_peerings(vec![one], start), [one.1]);
        assert_eq!(hellos.set_peerings(vec![one, two], after(1)), [two.1], "the first has received one");
        assert_eq!((hellos.due(after(3)), hellos.next()), (vec![], Some(after(4))));
        assert_eq!((hellos.due(after(4)), hellos.next()), (vec![one.1], Some(after(5))));
        hellos.request(one.0, after(7));
        assert_eq!(hellos.due(after(36)), [two.1], "the first sent a request at 7 s");
        assert_eq!(hellos.due(after(37)), [one.1]);
        assert_eq!(hellos.set_peerings(vec![one], after(38)), []);
        assert_eq!(hellos.next(), Some(after(67)), "the second has unsubscribed");
        hellos.request(two.0, after(39));
        assert_eq!(hellos.set_peerings(vec![], after(40)), []);
        assert_eq!(hellos.next(), None);
    }
}
