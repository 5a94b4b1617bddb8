//! Many connections at once, half of which violate the protocol.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeek_bridge::net::tls::Tls;

use crate::certificates::*;
use crate::support::*;

/// The number of valid connections, which is also the number of invalid connections.
const EACH: usize = 100;

/// Makes a connection that violates the protocol in one of several ways. The endpoint closes most of these connections
/// at once. Cases 0 and 4 send too little: the endpoint would close them only when their handshake times out.
async fn connect_invalid(address: std::net::SocketAddr, number: usize) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let noise: Vec<u8> = (0..4096usize).map(|n| (n * 7919 + number * 104_729) as u8).collect();
    let bytes: &[u8] = match number % 8 {
        // Nothing. Case 1 also disconnects.
        0 | 1 => b"",
        // A Broker endpoint without TLS.
        2 => b"\0\0\0\x17\x06ZEEK0123456789abcdef\x01\x01",
        3 => b"GET / HTTP/1.1\r\n\r\n",
        // The beginning of a TLS record.
        4 => &[22, 3, 1, 2, 0, 1, 0, 1],
        // A complete record that contains no handshake.
        5 => &[22, 3, 1, 0, 4, 0xff, 0xff, 0xff, 0xff],
        // An alert.
        6 => &[21, 3, 3, 0, 2, 2, 40],
        _ => &noise,
    };
    let _ = tcp.write_all(bytes).await;
    if number % 8 == 1 {
        return;
    }
    // Waits until the endpoint closes the connection.
    let _ = tcp.read_to_end(&mut Vec::new()).await;
}

async fn crowd(tls: Tls, theirs: Tls) {
    let hub = endpoint_with(|config| config.handshake_timeout = Duration::from_secs(3600));
    let mut statuses = hub.status();
    let listener = listen_with(&hub, tls).await;
    let address = listener.local_addr();
    let (mut noise, mut silent) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
    let mut good = tokio::task::JoinSet::new();
    for number in 0..EACH {
        let invalid = if matches!(number % 8, 0 | 4) { &mut silent } else { &mut noise };
        invalid.spawn(connect_invalid(address, number));
        let theirs = theirs.clone();
        good.spawn(async move {
            // Each connector makes one attempt.
            let endpoint = endpoint();
            let mut connector = endpoint.connect(address.to_string(), theirs);
            connector.first_attempt().await.map(|_| endpoint)
        });
    }
    let mut endpoints = Vec::new();
    while let Some(connected) = within("all valid connections", good.join_next()).await {
        endpoints.push(connected.unwrap().unwrap());
    }
    let mut expected: Vec<_> = endpoints.iter().map(zeek_bridge::endpoint::Endpoint::id).collect();
    let mut added_ids = Vec::new();
    while added_ids.len() < EACH {
        added_ids.push(added(&mut statuses).await);
    }
    expected.sort();
    added_ids.sort();
    assert_eq!(expected, added_ids);
    while let Some(ended) = within("all invalid connections", noise.join_next()).await {
        ended.unwrap();
    }
    assert_eq!(hub.peers().len(), EACH);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_valid_half_of_two_hundred_connections_succeeds() {
    for backend in BACKENDS {
        crowd(mutual(&version3(), *backend), mutual(&encrypted(), *backend)).await;
    }
    if let Ok(anonymous) = Tls::anonymous() {
        crowd(anonymous.clone(), anonymous).await;
    }
}
