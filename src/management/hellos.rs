//! When a node says hello to an agent, and when it repeats that.
//!
//! Zeek's own node says hello once, when it has peered with the agent, and that is enough for it: `deploy-config` and
//! `restart` start its process again. For every other node, the agent's script (`policy/frameworks/management/agent/main.zeek`
//! of Zeek 9.0) forgets the hello: both commands set all nodes of the configuration to PENDING until they say hello
//! again, a deployment fails for those that do not within 5 s, and no PENDING node is asked for anything. So the hello is
//! repeated.
//!
//! According to that script, a repeated hello does no harm. Its handler logs one line at level info. It sets the node to
//! RUNNING, if the configuration has a node of that name, which is what it was. If a deployment waits for the node, it is no
//! longer waited for; an answer to a deployment is sent only by the hello of the last such node. The line in the log is the
//! reason to repeat less often once the agent has asked for something.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::data::EndpointId;
use crate::endpoint::PeeringId;

/// How long after a hello it is repeated to an agent that has asked for nothing. Below the 5 s for which Zeek's agent waits
/// for the nodes of a deployment, so that each deployment receives a hello in time.
const UNTIL_ASKED: Duration = Duration::from_secs(4);

/// The same for an agent that has asked for something and so knew the node: it may have forgotten the node since,
/// because of a restart or another deployment. Counted from its last request.
const SINCE_ASKED: Duration = Duration::from_secs(30);

/// The agents that hellos go to, each with the time of the next one.
#[derive(Debug, Default)]
pub(super) struct Hellos(HashMap<PeeringId, Agent>);

#[derive(Debug)]
struct Agent {
    peer: EndpointId,
    pause: Duration,
    next: Instant,
}

impl Agent {
    fn pause_from(&mut self, now: Instant) {
        self.next = now.checked_add(self.pause).unwrap_or(now);
    }
}

impl Hellos {
    /// The peerings over which hellos are wanted have changed. Returns the new ones, to which the first hello is due.
    pub(super) fn peerings(&mut self, wanted: Vec<(PeeringId, EndpointId)>, now: Instant) -> Vec<EndpointId> {
        let mut before = std::mem::take(&mut self.0);
        let mut new = Vec::new();
        for (peering, peer) in wanted {
            let agent = before.remove(&peering).unwrap_or_else(|| {
                new.push(peer);
                let mut agent = Agent { peer, pause: UNTIL_ASKED, next: now };
                agent.pause_from(now);
                agent
            });
            self.0.insert(peering, agent);
        }
        new
    }

    /// An agent has asked the node for something.
    pub(super) fn asked(&mut self, peering: PeeringId, now: Instant) {
        if let Some(agent) = self.0.get_mut(&peering) {
            agent.pause = SINCE_ASKED;
            agent.pause_from(now);
        }
    }

    /// The agents to which a hello is due by now; it counts as sent.
    pub(super) fn due(&mut self, now: Instant) -> Vec<EndpointId> {
        let due = self.0.values_mut().filter(|agent| agent.next <= now);
        due.map(|agent| {
            agent.pause_from(now);
            agent.peer
        })
        .collect()
    }

    /// When the next hello is due.
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

    /// Two established peerings. Nothing else makes a `PeeringId`.
    async fn peerings() -> [(PeeringId, EndpointId); 2] {
        let here = Endpoint::new().unwrap();
        let address = here.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr().to_string();
        let there = [(); 2].map(|()| Endpoint::new().unwrap());
        for endpoint in &there {
            endpoint.connect(&address, Tls::Off, None).first_attempt().await.unwrap();
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
    async fn a_hello_is_repeated_often_until_the_agent_asks_and_seldom_afterwards() {
        let [one, two] = peerings().await;
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut hellos = Hellos::default();
        assert_eq!(hellos.next(), None);
        assert_eq!(hellos.peerings(vec![one], start), [one.1]);
        assert_eq!(hellos.peerings(vec![one, two], after(1)), [two.1], "the first is greeted already");
        assert_eq!((hellos.due(after(3)), hellos.next()), (vec![], Some(after(4))));
        assert_eq!((hellos.due(after(4)), hellos.next()), (vec![one.1], Some(after(5))));
        hellos.asked(one.0, after(7));
        assert_eq!(hellos.due(after(36)), [two.1], "the first has asked at 7");
        assert_eq!(hellos.due(after(37)), [one.1]);
        assert_eq!(hellos.peerings(vec![one], after(38)), []);
        assert_eq!(hellos.next(), Some(after(67)), "the second is forgotten");
        hellos.asked(two.0, after(39));
        assert_eq!(hellos.peerings(vec![], after(40)), []);
        assert_eq!(hellos.next(), None);
    }
}
