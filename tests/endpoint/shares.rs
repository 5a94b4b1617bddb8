//! Fair shares of slots between hosts. On Linux, all addresses in 127.0.0.0/8 are local, and each counts as a separate
//! host.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use zeek_bridge::data::EndpointId;
use zeek_bridge::endpoint::ConnectError;

use crate::raw::Raw;
use crate::support::*;

/// Long enough that no test passes because of a timeout.
const NEVER: Duration = Duration::from_secs(3600);

/// Connects from a different local address. Returns `None` if the system has no local address except 127.0.0.1.
async fn connection_from(host: u8, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    if socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).is_err() {
        eprintln!("skipped: this system has no address 127.0.0.{host}");
        return None;
    }
    Some(socket.connect(to).await.unwrap())
}

async fn peer_from(host: u8, id: EndpointId, to: SocketAddr) -> Option<Raw> {
    let mut raw = Raw::on(id, connection_from(host, to).await?);
    raw.send_handshake(&raw.hello()).await;
    within("the handshake", raw.handshake(&[])).await;
    Some(raw)
}

#[tokio::test]
async fn a_host_with_all_peer_slots_loses_one_to_another_host() {
    let hub = endpoint_with(|config| config.max_peers = 3);
    let mut statuses = hub.status();
    let listener = listen(&hub).await;
    let address = listener.local_addr();
    let mut greedy = Vec::new();
    for n in 1..=3 {
        greedy.push(Raw::connect(id(n), address, &[]).await);
        added(&mut statuses).await;
    }
    // Additional peers of the same host are refused.
    let mut fourth = Raw::open(id(4), address).await;
    assert!(within("the end of the connection", fourth.frame()).await.is_none());
    let Some(_other) = peer_from(2, id(5), address).await else { return };
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::Evicted(3))), "{error:?}");
    assert_eq!(added(&mut statuses).await, id(5));
    let mut peers: Vec<_> = hub.peers().into_iter().map(|(id, _)| id).collect();
    peers.sort();
    assert_eq!(peers, [id(1), id(2), id(5)], "the newest peer of the first host is evicted");
    // The first host has 2 peers, and the second host has 1. No more peers are evicted, because the second host would
    // then have more than the first.
    let mut further = Raw::on(id(6), connection_from(2, address).await.unwrap());
    assert!(within("the end of the connection", further.frame()).await.is_none());
}

#[tokio::test]
async fn silent_connections_of_one_host_do_not_exclude_another_host() {
    let hub = endpoint_with(|config| (config.max_handshakes, config.handshake_timeout) = (4, NEVER));
    let mut statuses = hub.status();
    let listener = listen(&hub).await;
    let mut silent = Vec::new();
    // Open more connections than the slots and the queue of pending connections can hold.
    for _ in 0..300 {
        silent.push(TcpStream::connect(listener.local_addr()).await.unwrap());
    }
    let Some(_other) = peer_from(2, id(5), listener.local_addr()).await else { return };
    assert_eq!(added(&mut statuses).await, id(5));
}
