//! Bridges with several paths between them. Every subscriber receives every message once, and no peer is disconnected.

use std::collections::BTreeMap;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::bridge::{Bridge, LinkSnapshot};
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, Subscriber};

use crate::peers::{connected, peer, subscribe};

/// The number of messages that are published at a time.
const MESSAGES: u64 = 20;

/// The network is idle after the counters were read this number of times without a change.
const QUIET_READS: usize = 1000;

/// Bridges with one local peer each, which publishes and subscribes.
struct Network {
    bridges: Vec<Bridge>,
    locals: Vec<(Endpoint, Subscriber)>,
}

/// Returns a configuration with a link `local`, these links (name and lines), and one rule that forwards everything.
fn config(links: &[(String, String)]) -> BridgeConfig {
    let mut text = String::new();
    let local = [("local".to_owned(), "listen = \"127.0.0.1:0\"".to_owned())];
    let mut names = Vec::new();
    for (name, lines) in local.iter().chain(links) {
        text += &format!("[link.{name}]\ntls = \"off\"\n{lines}\n");
        names.push(format!("\"{name}\""));
    }
    let names = names.join(", ");
    text += &format!("[[rule]]\nname = \"all\"\nfrom = [{names}]\nto = [{names}]\ntopics = \"/t\"\n");
    BridgeConfig::parse(&text, "bridge.toml").unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn link(bridge: &Bridge, name: &str) -> LinkSnapshot {
    bridge.snapshot().links.into_iter().find(|link| link.name == name).unwrap()
}

fn address(bridge: &Bridge, name: &str) -> String {
    link(bridge, name).listening[0].clone()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

const RETRY: &str = "retry = { first = \"10ms\", cap = \"10ms\" }";

impl Network {
    /// Starts `count` bridges with a link for each edge, over which the second bridge of the edge connects to the
    /// first. `lines` returns configuration lines for both ends of an edge.
    async fn start(count: usize, edges: &[(usize, usize)], lines: impl Fn(usize) -> &'static str) -> Self {
        let mut bridges: Vec<Bridge> = Vec::new();
        for here in 0..count {
            let touching = edges.iter().enumerate().filter(|(_, (low, high))| [*low, *high].contains(&here));
            let links: Vec<_> = touching
                .map(|(number, (low, _))| {
                    let name = format!("e{number}");
                    let address_line = match bridges.get(*low) {
                        Some(other) => format!("connect = \"{}\"\n{RETRY}", address(other, &name)),
                        None => "listen = \"127.0.0.1:0\"".to_owned(),
                    };
                    (name, format!("{address_line}\n{}", lines(number)))
                })
                .collect();
            bridges.push(Bridge::start(config(&links)).await.unwrap());
        }
        Self::with_locals(bridges).await
    }

    async fn with_locals(bridges: Vec<Bridge>) -> Self {
        let mut locals = Vec::new();
        for bridge in &bridges {
            let local = peer();
            let subscriber = subscribe(&local, "/t").await;
            locals.push((connected(local, &address(bridge, "local")).await, subscriber));
        }
        let network = Network { bridges, locals };
        until(|| network.links().all(|link| link.peers.len() == 1 && !link.peers[0].filter.is_empty())).await;
        for (local, _) in &network.locals {
            local.wait_for_subscribers(&Topic::from_static("/t"), 1).await;
        }
        network
    }

    fn links(&self) -> impl Iterator<Item = LinkSnapshot> {
        self.bridges.iter().flat_map(|bridge| bridge.snapshot().links)
    }

    /// Publishes messages from the local peer of one bridge.
    async fn publish(&self, at: usize, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let published = self.locals[at].0.publish(Topic::from_static("/t"), &Value::Count(number)).await;
            assert_eq!(published, Ok(1));
        }
    }

    /// Waits until the local peer of this bridge has received `count` messages and the network is idle. The network is
    /// idle when all sent messages have been received and no more messages are sent.
    async fn idle(&self, at: usize, count: u64) {
        until(|| self.locals[at].0.stats().received >= count).await;
        let read = || {
            let locals = self.locals.iter().map(|(local, _)| local.stats());
            let locals = locals.fold((0, 0), |sum, stats| (sum.0 + stats.sent, sum.1 + stats.received));
            self.links().fold(locals, |sum, link| (sum.0 + link.messages_out, sum.1 + link.messages_in))
        };
        let (mut before, mut unchanged) = ((0, 0), 0);
        while unchanged < QUIET_READS {
            let now = read();
            unchanged = if now == before && now.0 == now.1 { unchanged + 1 } else { 0 };
            before = now;
            tokio::task::yield_now().await;
        }
    }

    /// Publishes at each bridge in turn. Returns, by publisher and subscriber, how often each message arrived.
    async fn copies(&mut self) -> BTreeMap<(usize, usize), f64> {
        let mut copies = BTreeMap::new();
        for from in 0..self.bridges.len() {
            let received = |network: &Network| -> Vec<u64> {
                network.locals.iter().map(|(local, _)| local.stats().received).collect()
            };
            let before = received(self);
            let first = u64::try_from(from).unwrap() * MESSAGES;
            self.publish(from, first..first + MESSAGES).await;
            // Wait for a neighbor only, because with a small ttl not all bridges receive the messages.
            let next = if from == 0 { 1 } else { from - 1 };
            self.idle(next, before[next] + MESSAGES).await;
            for (to, (after, before)) in received(self).iter().zip(before).enumerate() {
                #[allow(clippy::cast_precision_loss)]
                copies.insert((from, to), (after - before) as f64 / MESSAGES as f64);
            }
        }
        copies
    }

    /// Asserts that every subscriber except the publisher receives every message once and in order, and that no peer is
    /// disconnected.
    async fn assert_everything_arrives_once(mut self) -> Network {
        let copies = self.copies().await;
        let expected: BTreeMap<_, _> =
            copies.keys().map(|(from, to)| ((*from, *to), if from == to { 0.0 } else { 1.0 })).collect();
        assert_eq!(copies, expected);
        for (number, (_, subscriber)) in self.locals.iter_mut().enumerate() {
            for from in (0..self.bridges.len()).filter(|from| *from != number) {
                let first = u64::try_from(from).unwrap() * MESSAGES;
                for expected in first..first + MESSAGES {
                    assert_eq!(subscriber.recv().await.unwrap().value(), Value::Count(expected));
                }
            }
        }
        for link in self.links() {
            assert_eq!((link.peers.len(), link.overflows, link.dropped), (1, 0, 0), "{link:?}");
        }
        self
    }
}

/// Returns the number of messages that were dropped for this reason.
fn refused(network: &Network, reason: &str) -> u64 {
    let counts = network.bridges.iter().map(|bridge| bridge.snapshot().refused);
    counts.filter_map(|refused| refused.get(reason).copied()).sum()
}

/// Returns the number of messages that the bridges have sent to each other.
fn between(network: &Network) -> u64 {
    network.links().filter(|link| link.name != "local").map(|link| link.messages_out).sum()
}

const PARALLEL: &[(usize, usize)] = &[(0, 1), (0, 1)];
const MESH_OF_3: &[(usize, usize)] = &[(0, 1), (0, 2), (1, 2)];
const MESH_OF_4: &[(usize, usize)] = &[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
const RING_OF_5: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)];
const CHAIN: &[(usize, usize)] = &[(0, 1), (1, 2)];

fn no_lines(_: usize) -> &'static str {
    ""
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_links_deliver_each_message_once() {
    Network::start(2, PARALLEL, no_lines).await.assert_everything_arrives_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_three_delivers_each_message_once() {
    Network::start(3, MESH_OF_3, no_lines).await.assert_everything_arrives_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_four_delivers_each_message_once() {
    Network::start(4, MESH_OF_4, no_lines).await.assert_everything_arrives_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_delivers_each_message_once() {
    Network::start(5, RING_OF_5, no_lines).await.assert_everything_arrives_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_delivers_each_message_once() {
    Network::start(3, CHAIN, no_lines).await.assert_everything_arrives_once().await;
}

/// Asserts that no bridge sends a copy that another bridge has to drop. If each bridge publishes one message, the bridges
/// send `hops` messages to each other.
async fn assert_no_copy_is_sent(network: Network, hops: u64) {
    let network = network.assert_everything_arrives_once().await;
    assert_eq!(["returned", "duplicate", "ttl"].map(|reason| refused(&network, reason)), [0, 0, 0]);
    assert_eq!(between(&network), hops * MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_two_parallel_links_in_a_group_sends_messages() {
    assert_no_copy_is_sent(Network::start(2, PARALLEL, |_| "group = \"pair\"").await, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_three_in_a_group_sends_each_message_to_each_bridge_once() {
    assert_no_copy_is_sent(Network::start(3, MESH_OF_3, |_| "group = \"mesh\"").await, 3 * 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_four_in_a_group_sends_each_message_to_each_bridge_once() {
    assert_no_copy_is_sent(Network::start(4, MESH_OF_4, |_| "group = \"mesh\"").await, 4 * 3).await;
}

/// A chain of three bridges. Two links in one group connect the first two bridges.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_with_parallel_links_in_a_group_sends_each_message_once() {
    let group = |edge: usize| if edge < 2 { "group = \"pair\"" } else { "" };
    assert_no_copy_is_sent(Network::start(3, &[(0, 1), (0, 1), (1, 2)], group).await, 3 * 2).await;
}

/// By default, up to four bridges forward a message.
#[tokio::test(flavor = "multi_thread")]
async fn the_ttl_of_the_first_link_limits_how_many_bridges_forward_a_message() {
    let mut network = Network::start(6, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], no_lines).await;
    let copies = network.copies().await;
    for ((from, to), count) in copies {
        let expected = if from != to && from.abs_diff(to) < 4 { 1.0 } else { 0.0 };
        assert_eq!(count, expected, "from {from} to {to}");
    }
    // Each of the first two and the last two publishers is too far away from one bridge. So each message of these
    // publishers is dropped once because of its ttl.
    assert_eq!(refused(&network, "ttl"), 4 * MESSAGES);
}

/// Starts a TCP proxy. Aborting its task cuts the connection.
async fn proxy(target: String) -> (String, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&target).await.unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    });
    (address, task.abort_handle())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_link_of_a_group_takes_over_when_the_active_one_fails() {
    const LINES: &str = "group = \"pair\"";
    let listen = ["x", "y"].map(|name| (name.to_owned(), format!("listen = \"127.0.0.1:0\"\n{LINES}")));
    let near = Bridge::start(config(&listen)).await.unwrap();
    let mut proxies = Vec::new();
    for name in ["x", "y"] {
        proxies.push(proxy(address(&near, name)).await);
    }
    let connect = [("x", &proxies[0].0), ("y", &proxies[1].0)]
        .map(|(name, at)| (name.to_owned(), format!("connect = \"{at}\"\n{RETRY}\n{LINES}")));
    let far = Bridge::start(config(&connect)).await.unwrap();
    let mut network = Network::with_locals(vec![near, far]).await;

    network.publish(0, 0..MESSAGES).await;
    network.idle(1, MESSAGES).await;
    let sent =
        |network: &Network, at: usize| ["x", "y"].map(|name| link(&network.bridges[at], name).messages_out);
    let sent_before = sent(&network, 0);
    let active = sent_before.iter().position(|count| *count > 0).unwrap();
    assert_eq!((sent_before[active], sent_before[1 - active]), (MESSAGES, 0));

    proxies[active].1.abort();
    let name = ["x", "y"][active];
    until(|| network.bridges.iter().all(|bridge| link(bridge, name).peers.is_empty())).await;
    network.publish(0, MESSAGES..2 * MESSAGES).await;
    network.publish(1, 0..MESSAGES).await;
    network.idle(0, MESSAGES).await;
    assert_eq!(sent(&network, 0)[1 - active], MESSAGES);
    for (at, count) in [(0, MESSAGES), (1, 2 * MESSAGES)] {
        let (local, subscriber) = &mut network.locals[at];
        assert_eq!(local.stats().received, count);
        for expected in 0..count {
            assert_eq!(subscriber.recv().await.unwrap().value(), Value::Count(expected));
        }
    }
}
