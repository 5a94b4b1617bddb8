//! The memory of an idle peer, as counted by the allocator, before and after a burst of messages.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::raw::Raw;
use allocation_counter::measure;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::net::Stream;
use zeek_bridge::net::tls::{Credentials, Tls, ephemeral_authority};
use zeek_bridge::net::{Connection, Progress};
use zeek_bridge::peering::{Config, Event, Peering, Side};
use zeek_bridge::wire::{Envelope, Limits};

const PEERS: u8 = 100;

/// The maximum memory of the bridge for each idle peer, in bytes, without TLS and with mutual TLS. Broker's C++
/// implementation needs more (`src/guide/benchmarks.md`).
const MAX_PLAIN: u64 = 5 * 1024 + 512;
const MAX_TLS: u64 = 21 * 1024;

/// The number of bytes that each sender sends to each receiver. They need several reads.
const BURST: usize = 200 * 1024;

fn config(tls: &str) -> String {
    format!(
        "[link.in]\n{tls}\nlisten = '127.0.0.1:0'\nlimits = {{ peers = 1000 }}\n\
         [link.out]\n{tls}\nlisten = '127.0.0.1:0'\nlimits = {{ peers = 1000 }}\nwhen_full = 'block'\n\
         [[rule]]\nname = 'events'\nfrom = 'in'\nto = 'out'\ntopics = ['/a']\n"
    )
}

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n.checked_add(1).unwrap(); 16])
}

async fn start_bridge(tls: &str, folder: &std::path::Path) -> (Bridge, Vec<SocketAddr>) {
    let config = BridgeConfig::parse(&config(tls), folder.join("bridge.toml")).unwrap();
    let bridge = Bridge::start(config).await.unwrap();
    let addresses = bridge.snapshot().links.iter().map(|link| link.listening[0].parse().unwrap()).collect();
    (bridge, addresses)
}

/// Waits until the bridge has this number of peers.
async fn wait_for_peers(bridge: &Bridge, peers: usize) {
    let there = || bridge.snapshot().links.iter().map(|link| link.peers.len()).sum::<usize>();
    let all = async {
        while there() != peers {
            tokio::task::yield_now().await;
        }
    };
    // The limit only ends the test if the bridge hangs.
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
}

fn burst(id: EndpointId) -> BytesMut {
    let envelope = Envelope::data(id, Topic::from_static("/a"), &Value::from("x".repeat(500))).unwrap();
    let mut bytes = BytesMut::new();
    while bytes.len() < BURST {
        envelope.encode(&mut bytes).unwrap();
    }
    bytes
}

async fn read_and_discard(raw: &mut Raw, mut left: usize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let read = raw.stream.read(&mut buffer).await.unwrap();
        assert!(read > 0);
        left = left.checked_sub(read).unwrap();
    }
}

/// Connects peers alternately to both links.
async fn connect(peers: &mut Vec<Raw>, bridge: &Bridge, addresses: &[SocketAddr]) {
    for n in 0..PEERS {
        peers.push(Raw::connect(id(n), addresses[usize::from(n % 2)], &["/a"]).await);
    }
    wait_for_peers(bridge, PEERS.into()).await;
}

/// Each peer of one link sends a burst to all peers of the other link.
async fn send_bursts(peers: &mut Vec<Raw>) {
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for (n, peer) in peers.drain(..).enumerate() {
        if n % 2 == 0 { senders.push(peer) } else { receivers.push(peer) }
    }
    for sender in &mut senders {
        let bytes = burst(sender.id);
        let (sent, ()) = tokio::join!(sender.stream.write_all(&bytes), async {
            for receiver in &mut receivers {
                read_and_discard(receiver, bytes.len()).await;
            }
        });
        sent.unwrap();
    }
    peers.extend(senders.into_iter().chain(receivers));
}

#[test]
fn an_idle_plain_peer_needs_little_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (bridge, addresses) = runtime.block_on(start_bridge("tls = 'off'", folder.path()));
    // Before the measurement, allocate the buffers that the thread keeps and other state that the peers share.
    runtime.block_on(async {
        let mut others = Vec::new();
        connect(&mut others, &bridge, &addresses).await;
        send_bursts(&mut others).await;
        drop(others);
        wait_for_peers(&bridge, 0).await;
    });
    let mut peers = Vec::with_capacity(PEERS.into());
    let quiet = measure(|| runtime.block_on(connect(&mut peers, &bridge, &addresses)));
    let busy = measure(|| runtime.block_on(send_bursts(&mut peers)));
    let each = |bytes: i64| u64::try_from(bytes).unwrap_or(0) / u64::from(PEERS);
    let (quiet, after) = (each(quiet.bytes_current), each(quiet.bytes_current + busy.bytes_current));
    println!(
        "{quiet} bytes per idle peer; {after} bytes after each sender has sent {BURST} bytes to each receiver"
    );
    // The lower bound is not 0, because the test's own side of each peering also needs memory.
    assert!((1024..MAX_PLAIN).contains(&quiet), "{quiet}");
    assert!((1024..MAX_PLAIN).contains(&after), "{after}");
    runtime.block_on(bridge.shutdown());
}

/// Connects a peer over TLS, without an endpoint.
async fn tls_peer(n: u8, address: SocketAddr, tls: &Tls) -> Connection {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream: Stream = tls.connect(tcp).await.unwrap();
    let peering = Peering::new(Config::new(id(n), Side::Connector), Instant::now());
    let mut connection = Connection::new(stream, peering, Limits::DEFAULT.max_frame);
    while !connection.peering().is_established() || !connection.is_written() {
        advance(&mut connection).await;
    }
    // Continues until the connection is idle.
    tokio::select! {
        biased;
        () = async { loop { advance(&mut connection).await } } => {}
        () = std::future::ready(()) => {}
    }
    connection
}

async fn advance(connection: &mut Connection) {
    match connection.progress().await {
        Progress::Event(Event::Introduced { .. }) => connection.admit(),
        Progress::Event(Event::Closed(reason)) => panic!("{reason}"),
        _ => {}
    }
}

#[test]
fn both_ends_of_a_mutual_tls_peering_need_little_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = ephemeral_authority().unwrap();
    let Credentials { cafile, certificate, keyfile, .. } = authority.credentials("bridge").unwrap();
    for (name, pem) in [("ca", cafile), ("certificate", certificate), ("key", keyfile)] {
        let Some(zeek_bridge::net::tls::PemSource::Memory(pem)) = pem else { panic!() };
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    let files = "cafile = 'ca'\ncertificate = 'certificate'\nkeyfile = 'key'";
    let (bridge, addresses) = runtime.block_on(start_bridge(files, folder.path()));
    let ours = Tls::Mutual(authority.issue("peer").unwrap());
    let first = runtime.block_on(tls_peer(200, addresses[0], &ours));
    let mut peers = Vec::with_capacity(PEERS.into());
    let quiet = measure(|| {
        runtime.block_on(async {
            for n in 0..PEERS {
                peers.push(tls_peer(n, addresses[0], &ours).await);
            }
            wait_for_peers(&bridge, usize::from(PEERS) + 1).await;
        });
    });
    let each = u64::try_from(quiet.bytes_current).unwrap_or(0) / u64::from(PEERS);
    println!("{each} bytes for both ends of a peering");
    // Both ends of the connection are in this process. The peer's end does not need more memory than the bridge's end.
    assert!((2048..2 * MAX_TLS).contains(&each), "{each}");
    drop((first, peers));
    runtime.block_on(bridge.shutdown());
}
