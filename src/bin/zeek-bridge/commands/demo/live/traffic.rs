//! The messages of the cluster: requests of the agent, and events of the nodes.

use std::f64::consts::TAU;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use zeek_bridge::data::Topic;
use zeek_bridge::endpoint::{Endpoint, Subscriber};
use zeek_bridge::management::{ALL_NODES, Agent, GET_ID_VALUE, REQUEST_TIMEOUT};
use zeek_bridge::zeek::Event;

/// The prefix of the topics of events.
pub(super) const EVENTS: &str = "zeek/events/";

/// The time between two requests of the agent. An answer may take about as long.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// The time between two groups of events of a node.
const TICK: Duration = Duration::from_millis(200);

/// The events that a node publishes.
struct Load {
    /// Under [`EVENTS`].
    topic: &'static str,
    event: &'static str,
    /// The mean number of events per second. The actual rate changes slowly between 40 % and 160 % of it.
    rate: f64,
    /// The time in which the rate rises and falls, in seconds.
    period: f64,
}

/// Returns the load of a node. All nodes together publish about 150 events per second.
fn loads(node: &str) -> &'static [Load] {
    match node {
        "manager" => &[Load { topic: "zeek/events/notice", event: "Demo::notice", rate: 1.0, period: 30.0 }],
        "logger-01" => {
            &[Load { topic: "zeek/events/stats", event: "Demo::log_rate", rate: 5.0, period: 60.0 }]
        }
        "worker-01" => &[
            Load { topic: "zeek/events/conn", event: "Demo::connection", rate: 60.0, period: 90.0 },
            Load { topic: "zeek/events/dns", event: "Demo::dns_query", rate: 20.0, period: 50.0 },
        ],
        "worker-02" => &[
            Load { topic: "zeek/events/conn", event: "Demo::connection", rate: 40.0, period: 70.0 },
            Load { topic: "zeek/events/http", event: "Demo::http_request", rate: 25.0, period: 40.0 },
        ],
        _ => &[Load { topic: "zeek/events/conn", event: "Demo::connection", rate: 1.0, period: 30.0 }],
    }
}

/// Publishes the events of a node. Never returns.
pub(super) async fn publish(endpoint: Endpoint, node: &'static str) {
    let start = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // For each load, the number of events that are due.
    let mut loads: Vec<_> = loads(node).iter().map(|load| (load, 0.0)).collect();
    loop {
        ticks.tick().await;
        for (load, due) in &mut loads {
            let phase = start.elapsed().as_secs_f64() / load.period;
            *due += load.rate * (1.0 + 0.6 * (TAU * phase).sin()) * TICK.as_secs_f64();
            while *due >= 1.0 {
                *due -= 1.0;
                let content = Event::new(load.event, (node, fastrand::u64(..100_000)));
                // Fails only if the event cannot be encoded.
                let _ = endpoint.publish(Topic::from_static(load.topic), content).await;
            }
        }
    }
}

/// Asks all nodes for a value again and again. Never returns.
pub(super) async fn ask(agent: Agent) {
    loop {
        tokio::time::sleep(REQUEST_INTERVAL).await;
        // The page shows the answers that are missing.
        let _ = agent.dispatch([GET_ID_VALUE, "Cluster::node"], ALL_NODES, REQUEST_TIMEOUT).await;
    }
}

/// Receives events, and keeps their endpoint. Never returns.
pub(super) async fn receive(_endpoint: Endpoint, mut events: Subscriber) {
    while events.recv().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::super::cluster::{DENIED, NODES};
    use super::*;

    #[test]
    fn the_cluster_publishes_some_hundred_events_per_second() {
        let rate: f64 = NODES.iter().flat_map(|node| loads(node)).map(|load| load.rate * 1.6).sum();
        assert!((100.0..300.0).contains(&rate), "{rate}");
        assert!(loads(DENIED).iter().all(|load| load.topic.starts_with(EVENTS)));
    }
}
