//! The memory of nodes and requests, as counted by the allocator. The tests check that the limits of a link bound the
//! memory that its peers can use, and that all memory is released in the end.

use std::time::{Duration, Instant};

use super::super::limits::{GONE_FOR, HELLO_STATE_COST, MAX_GONE_BYTES};
use super::super::{NodeRegistry, Party, PeeringKey};
use crate::bridge::LinkId;
use crate::data::EndpointId;
use crate::endpoint::Owner;
use crate::management::{DispatchRequest, NODE_TOPIC, NotifyNodeHello};
use crate::wire::Envelope;
use crate::zeek::{Event, ZeekMessage};
use allocation_counter::measure;

/// The smaller of the two values of [`Party::share`] in these tests, in bytes.
const SHARE: usize = 16 * 1024;

/// Additional bytes that are allowed: an empty map keeps some memory, and a table that grows needs the old memory until
/// it is copied.
const SPARE: usize = 16 * 1024;

fn party(number: u8, owner: u8, share: usize) -> Party {
    let peering = PeeringKey { link: LinkId(0), peer: EndpointId::from_bytes([number; 16]), peering: 1 };
    Party { peering, owner: Owner::Certificate([owner; 32]), share }
}

fn request(reqid: String, nodes: &[String]) -> DispatchRequest {
    DispatchRequest { reqid, action: vec!["get_id_value".into()], nodes: nodes.iter().cloned().collect() }
}

/// Returns a hello whose payload has at least `length` bytes. It is padded with zero bytes.
fn hello(name: &str, length: usize) -> Envelope {
    let event = Event::from(NotifyNodeHello { node: name.to_owned() });
    let mut hello =
        Envelope::data(EndpointId::NIL, NODE_TOPIC.clone(), &ZeekMessage::from(event).into_value()).unwrap();
    let mut payload = hello.payload.to_vec();
    payload.resize(payload.len().max(length), 0);
    hello.payload = payload.into();
    hello
}

/// Returns the maximum and the final number of bytes in use.
fn used(work: impl FnOnce()) -> (usize, usize) {
    let used = measure(work);
    let bytes = |bytes: i64| usize::try_from(bytes.max(0)).unwrap();
    (usize::try_from(used.bytes_max).unwrap(), bytes(used.bytes_current))
}

/// The request ids have 250 bytes, and the node is unknown.
#[test]
fn requests_in_flight_use_no_more_memory_than_the_share() {
    for share in [SHARE, 64 * SHARE] {
        let mut nodes = NodeRegistry::new(true);
        let agent = party(1, 1, share);
        let mut now = Instant::now();
        let (most, after) = used(|| {
            for number in 0..10_000 {
                let request = request(format!("{number:0>250}"), &["nobody".to_owned()]);
                drop(nodes.request(&agent, &request, |_| true, now).unwrap());
            }
        });
        println!("{most} bytes at most, {after} at the end, of {share}");
        assert!(after > share / 4, "{after}: requests are remembered");
        assert!(most <= share + SPARE, "{most}");
        let (_, left) = used(|| {
            now += Duration::from_secs(10);
            drop(nodes.due(now));
        });
        assert_eq!(left, 0);
        assert!(nodes.next_due().is_none());
    }
}

#[test]
fn requests_to_live_nodes_use_no_more_memory_than_the_share() {
    const NODES: usize = 12;
    let mut nodes = NodeRegistry::new(true);
    let (agent, now) = (party(1, 1, 64 * SHARE), Instant::now());
    for number in 0..NODES {
        let name = format!("worker-{number}");
        let node = party(100, 100, 64 * SHARE);
        drop(nodes.hello(&node, &name, &hello(&name, 0), &[LinkId(0)], now).unwrap());
    }
    let (most, after) = used(|| {
        for number in 0..10_000 {
            drop(nodes.request(&agent, &request(number.to_string(), &[]), |_| true, now).unwrap());
        }
    });
    println!("{most} bytes at most, {after} at the end, of {}", 64 * SHARE);
    assert!(most <= 64 * SHARE + SPARE, "{most}");
}

/// 16 peers of 4 owners send 1,024 hellos each, every one with its own name. The payload of a hello has 4,000 bytes, or is
/// not padded.
#[test]
fn names_use_no_more_memory_than_the_shares_of_their_owners() {
    for (length, share) in [(4000, SHARE), (0, 64 * SHARE), (4000, 64 * SHARE)] {
        const OWNERS: u8 = 4;
        let mut nodes = NodeRegistry::new(true);
        let mut now = Instant::now();
        let agent = party(200, 200, SHARE);
        assert_eq!(nodes.subscribe(agent.peering, |_, _| true, now), []);
        let mut taken = 0;
        let (most, after) = used(|| {
            for number in 0..16u8 {
                let node = party(number, number % OWNERS, share);
                for name in 0..1024 {
                    let name = format!("{number}-{name}");
                    taken += usize::from(
                        nodes.hello(&node, &name, &hello(&name, length), &[LinkId(0)], now).is_ok(),
                    );
                }
            }
        });
        let bound = usize::from(OWNERS) * share + taken * HELLO_STATE_COST + SPARE;
        println!("{taken} names, {most} bytes at most, {after} at the end, of {bound}");
        assert!(taken > 0 && most <= bound, "{most}");
        let (_, gone) = used(|| {
            for number in 0..16 {
                drop(nodes.gone(party(number, 0, 0).peering, now));
            }
        });
        assert_eq!(gone, 0, "gone names take less memory");
        let (left_before, left) = (
            after,
            used(|| {
                drop(nodes.due(now));
                now += GONE_FOR;
                drop(nodes.due(now));
            }),
        );
        println!("{left:?} of {left_before}; gone names took at most {MAX_GONE_BYTES}");
        assert!(nodes.live().is_empty() && nodes.next_due().is_none());
    }
}
