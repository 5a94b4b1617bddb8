//! Endpoints that are the proxy of a ZeroMQ cluster. The clients are endpoints, or plain sockets that block, so the runtime has a
//! second thread.

use std::future::IntoFuture as _;
use std::net::{Shutdown, SocketAddr, TcpListener};

use zeek_bridge::endpoint::{ConnectError, Endpoint, PeerProtocol, QueueLimits, Status, StatusReceiver};
use zeek_bridge::net::Url;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::Event;

use crate::support::*;
use crate::zeromq_client::Client;
use crate::zeromq_proxy::payload;

/// The addresses of a proxy: for subscribers and for publishers.
struct Address {
    url: Url,
    xpub: SocketAddr,
    xsub: SocketAddr,
}

async fn listen(endpoint: &Endpoint) -> Address {
    let url = endpoint.listen("zeromq://127.0.0.1:0,0", Tls::Off).await.unwrap().url();
    let [xpub, xsub] = [url.xpub(), url.xsub()].map(|address| address.unwrap().to_string().parse().unwrap());
    Address { url, xpub, xsub }
}

impl Address {
    fn subscriber(&self, topics: &[&str]) -> Client {
        let mut client = Client::connect(self.xpub, "XSUB");
        topics.iter().for_each(|topic| client.subscribe(topic));
        client
    }

    fn publisher(&self) -> Client {
        Client::connect(self.xsub, "XPUB")
    }
}

fn ping(number: u64) -> Event {
    Event::new("Demo::ping", (number,))
}

/// Waits for the end of a peering, and returns its error.
async fn removed(status: &mut StatusReceiver) -> Option<ConnectError> {
    loop {
        match within("a status", status.recv()).await.unwrap() {
            Status::PeerRemoved { error, .. } => return error,
            Status::PeerLost { error, .. } => return Some(error),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_connect_to_both_ports_of_a_listener() {
    let (proxy, node) = (endpoint(), endpoint());
    let address = listen(&proxy).await;
    let (mut at_proxy, mut at_node) = (proxy.subscribe("/to_proxy").await, node.subscribe("/to_node").await);
    let mut status = proxy.status();
    let connector = node.connect(address.url.to_string(), Tls::Off);
    within("both connections", connector.into_future()).await.unwrap();
    let mut peers = Vec::new();
    while peers.len() < 2 {
        if let Status::PeerAdded { protocol, .. } = within("a status", status.recv()).await.unwrap() {
            peers.push(protocol.to_string());
        }
    }
    peers.sort_unstable();
    assert_eq!(peers, ["ZeroMQ XPUB of a client", "ZeroMQ XSUB of a client"]);

    within("the filter of the node", proxy.wait_for_subscribers("/to_node/x", 1)).await;
    assert_eq!(proxy.publish("/to_node/x", ping(1)).await.unwrap(), 1);
    let message = within("a message", at_node.recv()).await.unwrap();
    assert_eq!(message.event::<Event>().unwrap(), ping(1));
    assert_eq!(message.sender_name(), Some(&*proxy.id().to_string()));

    within("the filter of the proxy", node.wait_for_subscribers("/to_proxy/x", 1)).await;
    assert_eq!(node.publish("/to_proxy/x", ping(2)).await.unwrap(), 1);
    let message = within("a message", at_proxy.recv()).await.unwrap();
    assert_eq!(
        (message.event::<Event>().unwrap(), message.sender_name()),
        (ping(2), Some(&*node.id().to_string()))
    );
    for (peer, _) in proxy.peers() {
        assert!(within("an answer", proxy.until_subscriptions_known(peer)).await);
    }
    node.shutdown().await;
    proxy.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_port_that_is_in_use_is_named_and_the_first_one_is_released() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = taken.local_addr().unwrap().port();
    let url = format!("zeromq://127.0.0.1:{},{taken}", free.port());
    let error = endpoint().listen(&*url, Tls::Off).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("port {taken} (XSUB): ")), "{error}");
    TcpListener::bind(free).unwrap();
    let url = format!("zeromq://127.0.0.1:{taken},{}", free.port());
    let error = endpoint().listen(&*url, Tls::Off).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("port {taken} (XPUB): ")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_receive_the_subscriptions_of_all_subscribers() {
    let proxy = endpoint();
    let address = listen(&proxy).await;
    let mut early = address.publisher();
    let mut one = address.subscriber(&["/a", "/a", "/b"]);
    assert_eq!(early.changes(3), ["+/a", "+/a", "+/b"]);
    let mut other = address.subscriber(&["/a"]);
    assert_eq!(early.change(), "+/a");
    let mut late = address.publisher();
    assert_eq!(late.changes(2), ["+/a", "+/b"], "each prefix once");

    // A cancellation is passed on only for the last subscriber of a prefix.
    one.cancel("/a");
    one.cancel("/never");
    one.cancel("/b");
    assert_eq!((early.change(), late.change()), ("-/b".to_owned(), "-/b".to_owned()));
    other.subscribe("/c");
    other.0.shutdown(Shutdown::Both).unwrap();
    assert_eq!(late.changes(3), ["+/c", "-/a", "-/c"]);

    let mut own = proxy.subscribe("/own").await;
    assert_eq!(late.change(), "+/own");
    own.subscribe("/own/more").await;
    own.unsubscribe("/own").await;
    assert_eq!(late.changes(2), ["+/own/more", "-/own"]);
    drop(own);
    assert_eq!(late.change(), "-/own/more");
    assert_eq!(early.changes(7), ["+/c", "-/a", "-/c", "+/own", "+/own/more", "-/own", "-/own/more"]);
}

/// Whoever knows a subscription may publish immediately.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_effective_before_publishers_receive_it() {
    let proxy = endpoint();
    let address = listen(&proxy).await;
    let (mut publisher, mut subscriber) = (address.publisher(), address.subscriber(&[]));
    for number in 0..200 {
        let topic = format!("/t/{number}.");
        subscriber.subscribe(&topic);
        assert_eq!(publisher.change(), format!("+{topic}"));
        assert_eq!(proxy.publish(&topic, ping(number)).await.unwrap(), 1);
        let parts = subscriber.next().unwrap();
        assert_eq!((&parts[0][..], &parts[3]), (topic.as_bytes(), &payload(ping(number))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_receive_no_messages_and_subscribers_send_none() {
    let proxy = endpoint();
    let address = listen(&proxy).await;
    let mut received = proxy.subscribe("/t").await;
    let mut publisher = Client::connect(address.xsub, "PUB");
    assert_eq!(publisher.change(), "+/t");
    let mut subscriber = Client::connect(address.xpub, "SUB");
    subscriber.send(&[b"/t", b"forged", b"broker-bin-v1", &payload(ping(1))]);
    subscriber.subscribe("/u");
    assert_eq!(publisher.change(), "+/u", "the session continues");
    assert_eq!(proxy.stats().malformed, 1);
    assert_eq!(proxy.publish("/u", ping(2)).await.unwrap(), 1, "only the subscriber");
    assert_eq!(subscriber.next().unwrap()[3], payload(ping(2)));
    publisher.send(&[b"/t", b"node", b"broker-bin-v1", &payload(ping(3))]);
    let message = within("a message", received.recv()).await.unwrap();
    assert_eq!(message.event::<Event>().unwrap(), ping(3));
    assert_eq!(message.sender_name(), Some("node"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_does_not_read_subscriptions_is_disconnected() {
    let proxy = endpoint_with(|config| config.peer_queue = QueueLimits { messages: 10, bytes: 1 });
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    let silent = address.publisher();
    let mut reading = address.publisher();
    let mut subscriber = address.subscriber(&[]);
    // The sockets of this host buffer a few megabytes.
    let topic = format!("/{}", "x".repeat(10_000));
    let ended = tokio::spawn(async move { removed(&mut status).await });
    while !ended.is_finished() {
        subscriber.subscribe(&topic);
        subscriber.cancel(&topic);
        assert_eq!((reading.change(), reading.change()), (format!("+{topic}"), format!("-{topic}")));
    }
    let error = ended.await.unwrap().unwrap();
    assert!(matches!(error, ConnectError::UnreadSubscriptions { limit: 65_536 }), "{error}");
    assert_eq!(
        error.to_string(),
        "the publisher did not read more than 65536 bytes of changed subscriptions"
    );
    silent.until_closed();
    subscriber.subscribe("/u");
    assert_eq!(reading.change(), "+/u");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_with_too_many_subscriptions_is_disconnected() {
    let proxy = endpoint_with(|config| config.peer_queue = QueueLimits { messages: 10, bytes: 1 });
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    let mut subscriber = address.subscriber(&[]);
    for number in 0..2 {
        subscriber.subscribe(&format!("{number}{}", "x".repeat(50_000)));
    }
    let error = removed(&mut status).await.unwrap();
    assert!(matches!(error, ConnectError::TooManySubscriptions { limit: 65_536 }), "{error}");
    subscriber.until_closed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_at_the_wrong_port_is_refused() {
    let proxy = endpoint();
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    for (port, socket) in [(address.xpub, "XPUB"), (address.xsub, "SUB")] {
        Client::connect(port, socket).until_closed();
        let Status::HandshakeFailed { error, .. } = within("a status", status.recv()).await.unwrap() else {
            panic!("the handshake fails")
        };
        assert!(error.to_string().contains(socket), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_peers_is_limited() {
    let proxy = endpoint_with(|config| config.max_peers = 2);
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    let (mut subscriber, mut publisher) = (address.subscriber(&["/t"]), address.publisher());
    assert_eq!(publisher.change(), "+/t");
    let error = loop {
        if std::net::TcpStream::connect(address.xpub).is_err() {
            continue;
        }
        match within("a status", status.recv()).await.unwrap() {
            Status::HandshakeFailed { error, .. } => break error,
            Status::PeerAdded { protocol: PeerProtocol::ZeroMq(peer), .. } => assert!(!peer.is_proxy),
            other => panic!("{other}"),
        }
    };
    assert!(matches!(error, ConnectError::TooManyPeers(2)), "{error}");
    assert_eq!(proxy.publish("/t", ping(1)).await.unwrap(), 1);
    assert_eq!(subscriber.next().unwrap()[3], payload(ping(1)));
}
