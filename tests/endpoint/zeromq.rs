//! Endpoints that are connected to the proxy of a ZeroMQ cluster. The tests block while they wait for the proxy, so the endpoints have
//! a second thread.

use std::future::IntoFuture as _;
use std::net::TcpListener;

use zeek_bridge::data::EndpointId;
use zeek_bridge::endpoint::{ConnectError, Endpoint, QueueLimits, Status, Subscriber};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::{CloseReason, ErrorKind, PeeringError};
use zeek_bridge::zeek::Event;

use crate::support::*;
use crate::zeromq_proxy::{INTERNAL, Proxy, handshake, payload};

const SENDER: &[u8] = b"zeromq_worker-1_host_5311_N";

fn ping(number: u64) -> Event {
    Event::new("Demo::ping", (number,))
}

/// A node of the cluster publishes an event.
fn publish(proxy: &Proxy, sender: &[u8], topic: &str, number: u64) {
    let payload = payload(ping(number));
    proxy.publish(&[topic.as_bytes(), sender, b"broker-bin-v1", &payload]);
}

async fn connect(endpoint: &Endpoint, url: &str) -> EndpointId {
    within("both connections", endpoint.connect(url, Tls::Off).into_future()).await.unwrap()
}

async fn next(subscriber: &mut Subscriber) -> (Option<String>, Event) {
    let message = within("a message", subscriber.recv()).await.unwrap();
    (message.sender_name().map(str::to_owned), message.event().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_received_with_their_sender_and_published_with_the_own_id() {
    let proxy = Proxy::with_subscriptions(&["/u"], false);
    let endpoint = endpoint();
    let mut subscriber = endpoint.subscribe("/t").await;
    let publisher = connect(&endpoint, &proxy.url).await;
    assert_eq!(proxy.next_change(), b"\x01/t");
    publish(&proxy, SENDER, "/t/x", 1);
    assert_eq!(next(&mut subscriber).await, (Some(String::from_utf8(SENDER.to_vec()).unwrap()), ping(1)));
    assert_eq!(within("a subscriber", endpoint.wait_for_subscribers("/u/x", 1)).await, [publisher]);
    assert_eq!(endpoint.publish("/u/x", ping(2)).await.unwrap(), 1);
    assert_eq!(endpoint.publish("/other", ping(2)).await.unwrap(), 0, "nobody subscribes");
    let [topic, sender, format, event] = &proxy.next_published()[..] else { panic!() };
    assert_eq!((&topic[..], &format[..]), (&b"/u/x"[..], &b"broker-bin-v1"[..]));
    assert_eq!(String::from_utf8_lossy(sender), endpoint.id().to_string());
    assert_eq!(*event, payload(ping(2)));
    endpoint.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_messages_are_not_received() {
    let proxy = Proxy::start();
    let endpoint = endpoint();
    let mut subscriber = endpoint.subscribe("/t").await;
    connect(&endpoint, &proxy.url).await;
    within("the own subscription", endpoint.wait_for_subscribers("/t", 1)).await;
    assert_eq!(endpoint.publish("/t", ping(1)).await.unwrap(), 1);
    proxy.next_published();
    publish(&proxy, SENDER, "/t", 2);
    assert_eq!(next(&mut subscriber).await.1, ping(2));
}

/// The subscription to `zeek.` covers the internal topic, and arrives long before the one to `/late`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_waits_until_all_older_subscriptions_are_known() {
    let proxy = Proxy::with_subscriptions(&["zeek.", "/late"], true);
    let endpoint = endpoint();
    let publisher = connect(&endpoint, &proxy.url).await;
    assert!(within("all subscriptions", endpoint.until_subscriptions_known(publisher)).await);
    assert_eq!(endpoint.publish("/late", ping(1)).await.unwrap(), 1);
    let topic = format!("{INTERNAL}{}.", endpoint.id());
    for first in ["\x01", "\0"] {
        let change = String::from_utf8(proxy.next_change()).unwrap();
        assert!(change.starts_with(&format!("{first}{topic}")), "{change:?}");
    }
    assert!(!endpoint.until_subscriptions_known(id(9)).await, "no such peer");
}

/// Each node of the cluster would send a hello to such a subscriber, and expect one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_single_nodes_are_not_subscribed_to() {
    let proxy = Proxy::start();
    let endpoint = endpoint();
    let _subscriber = endpoint.subscribe(["zeek.cluster.nodeid.x.", "/t"]).await;
    connect(&endpoint, &proxy.url).await;
    assert_eq!(proxy.next_change(), b"\x01/t");
    let _later = endpoint.subscribe(["zeek.cluster.nodeid.y.", "/u"]).await;
    assert_eq!(proxy.next_change(), b"\x01/u");
    let _all = endpoint.subscribe("zeek.cluster.node").await;
    assert_eq!(proxy.next_change(), b"\x01zeek.cluster.node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_retry_both_connections_end_if_one_cannot_be_established() {
    let proxy = Proxy::start();
    let (xpub, xsub) = proxy.url.strip_prefix("zeromq://127.0.0.1:").unwrap().split_once(',').unwrap();
    let dead = dead_address().rsplit_once(':').unwrap().1.to_owned();
    for (ports, other) in [([xpub, &*dead], "XPUB"), ([&*dead, xsub], "XSUB")] {
        let endpoint = endpoint();
        let mut status = endpoint.status();
        let url = format!("zeromq://127.0.0.1:{},{}", ports[0], ports[1]);
        let error = endpoint.connect(url, Tls::Off).await.unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{dead}: ")), "{error}");
        let mut established = Vec::new();
        loop {
            match within("a status", status.recv()).await.unwrap() {
                Status::PeerAdded { protocol, .. } => established.push(protocol.to_string()),
                Status::PeerRemoved { error: None, .. } => break,
                Status::PeerUnavailable { address, .. } => {
                    assert_eq!(&*address, format!("tcp://127.0.0.1:{dead}"));
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(established, [format!("ZeroMQ {other} of the proxy")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_connections_reconnect_and_subscribe_again() {
    let proxy = Proxy::with_subscriptions(&["/u"], false);
    let endpoint = endpoint();
    let mut subscriber = endpoint.subscribe("/t").await;
    let mut status = endpoint.status();
    within("both connections", endpoint.connect_and_reconnect(&*proxy.url, Tls::Off, SOON).into_future())
        .await
        .unwrap();
    assert_eq!(proxy.next_change(), b"\x01/t");
    proxy.disconnect();
    let mut sockets = Vec::new();
    while sockets.len() < 4 {
        if let Status::PeerAdded { protocol, .. } = within("a status", status.recv()).await.unwrap() {
            sockets.push(protocol.zeromq().unwrap().socket);
        }
    }
    sockets.sort_unstable();
    assert_eq!(sockets, ["XPUB", "XPUB", "XSUB", "XSUB"]);
    assert_eq!(proxy.next_change(), b"\x01/t");
    publish(&proxy, SENDER, "/t", 1);
    assert_eq!(next(&mut subscriber).await.1, ping(1));
    within("a subscriber", endpoint.wait_for_subscribers("/u", 1)).await;
}

/// A proxy that cannot send to one subscriber stops sending to all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_does_not_stop_the_connection() {
    let proxy = Proxy::start();
    let endpoint =
        endpoint_with(|config| config.subscriber_queue = QueueLimits { messages: 1, bytes: 1 << 20 });
    let _silent = endpoint.subscribe("/t").await;
    let mut reader = endpoint.subscribe("/end").await;
    connect(&endpoint, &proxy.url).await;
    assert_eq!((proxy.next_change(), proxy.next_change()), (b"\x01/end".to_vec(), b"\x01/t".to_vec()));
    for number in 0..1000 {
        publish(&proxy, SENDER, "/t", number);
    }
    publish(&proxy, SENDER, "/end", 0);
    assert_eq!(next(&mut reader).await.1, ping(0));
    assert_eq!(endpoint.stats().dropped, 999);
}

/// A publisher does not know whether a proxy that does not close its side has received everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_confirmed_by_a_proxy_that_closes_its_side() {
    for closes in [true, false] {
        let (xpub, xsub) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [&xpub, &xsub].map(|listener| listener.local_addr().unwrap().port());
        let (_keep, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let sockets = [(xpub, "XPUB"), (xsub, "XSUB")].map(|(listener, socket)| {
                let mut stream = listener.accept().unwrap().0;
                std::thread::spawn(move || {
                    handshake(&mut stream, socket, "NULL").unwrap();
                    // Read to the end.
                    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
                    stream
                })
            });
            let [_xpub, xsub] = sockets.map(|socket| socket.join().unwrap());
            if closes {
                drop(xsub);
            } else {
                let _ = ended.recv();
            }
        });
        let endpoint = endpoint_with(|config| config.leave_timeout = std::time::Duration::from_millis(100));
        let publisher = connect(&endpoint, &format!("zeromq://127.0.0.1:{},{}", ports[0], ports[1])).await;
        let mut status = endpoint.status();
        endpoint.shutdown().await;
        let error = loop {
            match within("a status", status.recv()).await.unwrap() {
                Status::PeerRemoved { peer, error, .. } if peer == publisher => break error,
                _ => {}
            }
        };
        let is_unconfirmed = matches!(error, Some(ConnectError::Closed(CloseReason::LeftUnconfirmed)));
        assert_eq!((is_unconfirmed, error.is_none()), (!closes, closes), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_mechanism_is_named_in_the_error() {
    let [xpub, xsub] = [(); 2].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = handshake(&mut stream, "XPUB", "CURVE");
        });
        port
    });
    let url = format!("zeromq://127.0.0.1:{xpub},{xsub}");
    let error = endpoint().connect(url, Tls::Off).await.unwrap_err();
    assert!(error.to_string().contains("CURVE"), "{error}");
    let ConnectError::Peering(PeeringError::Session(session)) = &error else { panic!("{error}") };
    assert_eq!((session.kind, error.cause()), (ErrorKind::Incompatible, "mechanism"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_tls() {
    let endpoint = endpoint();
    let [_, (_, tls)] = kinds_of_tls();
    let error = endpoint.listen("zeromq://127.0.0.1:0", tls.clone()).await.unwrap_err();
    assert!(error.to_string().contains("zeromq:// is without TLS"), "{error}");
    let error = endpoint.connect("zeromq://127.0.0.1:1", tls).await.unwrap_err();
    assert!(error.to_string().contains("zeromq:// is without TLS"), "{error}");
}
