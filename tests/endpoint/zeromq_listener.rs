//! Endpoints that are the proxy of a ZeroMQ cluster. The clients are endpoints, or plain sockets that block, so the runtime has a
//! second thread.

use std::future::IntoFuture as _;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;

use zeek_bridge::endpoint::{
    Admits, ConnectError, CurveClient, CurveServer, Endpoint, PeerProtocol, QueueLimits, Status,
    StatusReceiver, ZeroMqConfig,
};
use zeek_bridge::net::Url;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::CloseReason;
use zeek_bridge::zeek::Event;
use zeek_bridge::zeromq::curve::{AllowedClients, KeyPair};
use zeek_bridge::zeromq::{LogField, LogHeader, LogValue, TypeTag};

use crate::support::*;
use crate::zeromq_client::Client;
use crate::zeromq_proxy::{change, payload};

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
    let _first = proxy.subscribe("/first").await;
    let mut early = address.publisher();
    // The publisher receives all changes from now on, and not only the resulting subscriptions.
    assert_eq!(early.change(), "+/first");
    let mut one = address.subscriber(&["/a", "/a", "/b"]);
    assert_eq!(early.changes(3), ["+/a", "+/a", "+/b"]);
    let mut other = address.subscriber(&["/a"]);
    assert_eq!(early.change(), "+/a");
    let mut late = address.publisher();
    assert_eq!(late.changes(3), ["+/a", "+/b", "+/first"], "each prefix once");

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

/// Whoever knows a subscription may publish immediately. With many subscriptions, a new filter is delayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_effective_before_publishers_receive_it() {
    let proxy = endpoint();
    let address = listen(&proxy).await;
    let (mut publisher, mut subscriber) = (address.publisher(), address.subscriber(&[]));
    for number in 0..230 {
        if number == 200 {
            (0..5000).for_each(|other| subscriber.subscribe(&format!("/other/{other}.")));
            publisher.changes(5000);
        }
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

/// Only the owner that changes its subscriptions very often waits for the publisher.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_does_not_read_subscriptions_is_disconnected_after_a_time() {
    let proxy = endpoint_with(|config| config.drain_timeout = std::time::Duration::from_secs(1));
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    let _first = proxy.subscribe("/first").await;
    let silent = address.publisher();
    let mut reading = address.publisher();
    // The publisher receives all changes from now on.
    assert_eq!(reading.change(), "+/first");
    let mut subscriber = address.subscriber(&[]);
    // The sockets of this host buffer a few megabytes.
    let topic = format!("/{}", "x".repeat(60_000));
    let ended = tokio::spawn(async move { removed(&mut status).await });
    while !ended.is_finished() {
        subscriber.subscribe(&topic);
        subscriber.cancel(&topic);
        assert_eq!((reading.change(), reading.change()), (format!("+{topic}"), format!("-{topic}")));
    }
    let error = ended.await.unwrap().unwrap();
    assert!(matches!(error, ConnectError::UnreadSubscriptions { .. }), "{error}");
    silent.until_closed();
    subscriber.subscribe("/u");
    assert_eq!(reading.change(), "+/u");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_with_too_many_subscriptions_is_disconnected() {
    let proxy = endpoint();
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    let mut small = address.subscriber(&["/small"]);
    let mut publisher = address.publisher();
    assert_eq!(publisher.change(), "+/small");
    let subscriber = std::thread::spawn(move || {
        let mut subscriber = address.subscriber(&[]);
        let topics = (0..16_000).map(|number| change(1, format!("/{number}").as_bytes()));
        // The connection ends before all are written.
        let _ = subscriber.0.write_all(&topics.collect::<Vec<_>>().concat());
        subscriber.until_closed();
    });
    let reading = std::thread::spawn(move || {
        while publisher.change() != "+/more" {}
        publisher
    });
    let error = removed(&mut status).await.unwrap();
    assert!(matches!(error, ConnectError::TooManySubscriptions { limit: 4_194_304, .. }), "{error}");
    subscriber.join().unwrap();
    small.subscribe("/more");
    reading.join().unwrap();
}

/// A subscriber has no obligation to close its side. A client that closes its connection has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_have_no_confirmation() {
    let proxy = endpoint_with(|config| config.leave_timeout = std::time::Duration::from_secs(3600));
    let address = listen(&proxy).await;
    let mut status = proxy.status();
    let (subscriber, mut publisher) = (address.subscriber(&["/t"]), address.publisher());
    // The peering is established, and no input is unread, which would reset the connection.
    assert_eq!(publisher.change(), "+/t");
    drop(publisher);
    let error = removed(&mut status).await;
    assert!(matches!(error, Some(ConnectError::Closed(CloseReason::PeerLeft))), "{error:?}");
    let mut other = address.publisher();
    assert_eq!(other.change(), "+/t");
    other.0.write_all(&[1, 100, 0]).unwrap();
    drop(other);
    let error = removed(&mut status).await;
    assert!(
        matches!(error, Some(ConnectError::Closed(CloseReason::Lost) | ConnectError::Stream(_))),
        "in the middle of a frame: {error:?}"
    );
    within("the end", proxy.shutdown()).await;
    assert!(removed(&mut status).await.is_none());
    drop(subscriber);
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

/// Returns a log batch with one row, whose field has `text`.
fn log_batch(text: &str) -> Vec<u8> {
    let header = LogHeader {
        stream: b"Demo::LOG",
        writer: b"Log::WRITER_ASCII",
        filter: b"default",
        path: b"demo",
        fields: vec![LogField::new("text", TypeTag::String)],
    };
    let mut bytes = Vec::new();
    header.encode(&[vec![LogValue::String(text.as_bytes())]], &mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logger_receives_the_batches_of_each_node_in_order() {
    let logger = endpoint();
    let mut logs = logger.listen_for_logs("zeromq://127.0.0.1:0").await.unwrap();
    let mut nodes = ["one", "two"].map(|name| (name, Client::connect(logs.local_addr(), "PUSH")));
    const BATCHES: usize = 100;
    for number in 0..BATCHES {
        for (name, node) in &mut nodes {
            let batch = log_batch(&format!("{name} {number}"));
            node.send(&[b"log-write", name.as_bytes(), b"zeek-bin-serializer", &batch]);
        }
    }
    let mut received = [0, 0];
    while received != [BATCHES; 2] {
        let batch = within("a batch", logs.recv()).await.unwrap();
        let of = usize::from(batch.sender_name() == Some("two"));
        let batch = batch.decode().unwrap();
        assert_eq!((batch.header().path, batch.row_count()), (&b"demo"[..], 1));
        let expected = format!("{} {}", ["one", "two"][of], received[of]);
        let row = batch.rows().next().unwrap();
        assert_eq!(row.get("text"), Some(&LogValue::String(expected.as_bytes())));
        received[of] += 1;
    }
    // The other parts of the protocol are as for events.
    let [(_, mut one), (_, two)] = nodes;
    one.send(&[b"log-write", b"one", b"other-serializer", b"x"]);
    one.send(&[b"log-write", b"one", b"zeek-bin-serializer", b"x"]);
    let batch = within("a batch", logs.recv()).await.unwrap();
    assert_eq!((batch.bytes(), batch.decode().is_err()), (&b"x"[..], true));
    assert_eq!(logger.stats().malformed, 1);
    drop(logs);
    one.send(&[b"log-write", b"one", b"zeek-bin-serializer", b"x"]);
    one.until_closed();
    drop(two);
    logger.shutdown().await;
}

/// Each batch waits until there is room for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logger_with_a_small_queue_receives_all_batches() {
    let logger = endpoint_with(|config| config.subscriber_queue = QueueLimits { messages: 1, bytes: 1 });
    let mut logs = logger.listen_for_logs("zeromq://127.0.0.1:0").await.unwrap();
    let mut node = Client::connect(logs.local_addr(), "PUSH");
    const BATCHES: usize = 300;
    let sending = std::thread::spawn(move || {
        for number in 0..BATCHES {
            let batch = log_batch(&format!("{number:>10000}"));
            node.send(&[b"log-write", b"node", b"zeek-bin-serializer", &batch]);
        }
        node
    });
    for number in 0..BATCHES {
        let received = within("a batch", logs.recv()).await.unwrap();
        assert_eq!(received.bytes(), log_batch(&format!("{number:>10000}")));
    }
    drop(sending.join().unwrap());
    let error = endpoint().listen_for_logs("zeromq://127.0.0.1:1,3").await.unwrap_err();
    assert!(error.to_string().contains("at one port"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_an_allowed_key_of_curve_are_peers_with_its_name() {
    let [server, allowed, other] = [(); 3].map(|()| KeyPair::generate().unwrap());
    let mut clients = AllowedClients::default();
    clients.insert(*allowed.public(), "cluster");
    clients.insert(*other.public(), "banned");
    let (server_key, clients) = (*server.public(), Arc::new(clients));
    let proxy = endpoint_with(|config| {
        config.zeromq.server = Some(CurveServer { keys: server, clients });
        config.admits = Some(Admits::with(|candidate| {
            assert!(candidate.address.is_some_and(|address| address.is_loopback()));
            candidate.curve == Some("cluster")
        }));
    });
    let address = listen(&proxy).await;
    let mut at_proxy = proxy.subscribe("/t").await;
    let node_with = |keys: &KeyPair| {
        let client = CurveClient { server: server_key, keys: keys.clone() };
        endpoint_with(|config| config.zeromq.client = Some(client))
    };
    let node = node_with(&allowed);
    let mut at_node = node.subscribe("/u").await;
    within("both connections", node.connect(address.url.to_string(), Tls::Off).into_future()).await.unwrap();
    within("the filter of the proxy", node.wait_for_subscribers("/t", 1)).await;
    assert_eq!(node.publish("/t", ping(1)).await.unwrap(), 1);
    assert_eq!(within("a message", at_proxy.recv()).await.unwrap().event::<Event>().unwrap(), ping(1));
    within("the filter of the node", proxy.wait_for_subscribers("/u", 1)).await;
    assert_eq!(proxy.publish("/u", ping(2)).await.unwrap(), 1);
    assert_eq!(within("a message", at_node.recv()).await.unwrap().event::<Event>().unwrap(), ping(2));

    let mut status = proxy.status();
    for keys in [&other, &KeyPair::generate().unwrap()] {
        let refused = node_with(keys);
        within("an error", refused.connect(address.url.to_string(), Tls::Off).into_future())
            .await
            .unwrap_err();
    }
    let mut errors = Vec::new();
    while errors.len() < 2 {
        if let Status::HandshakeFailed { error, .. } = within("a status", status.recv()).await.unwrap() {
            errors.push(error);
        }
    }
    assert!(errors.iter().any(|error| matches!(error, ConnectError::NotAllowed(None))), "{errors:?}");
    assert_eq!(proxy.peers().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_disconnected_when_their_key_is_removed() {
    let [server, new_server, kept, removed_key, renamed, replaced, new] =
        [(); 7].map(|()| KeyPair::generate().unwrap());
    let settings = |server: &KeyPair, clients: &[(&KeyPair, &str)]| {
        let mut allowed = AllowedClients::default();
        for (keys, name) in clients {
            allowed.insert(*keys.public(), *name);
        }
        let server = Some(CurveServer { keys: server.clone(), clients: Arc::new(allowed) });
        ZeroMqConfig { server, ..ZeroMqConfig::default() }
    };
    let before = [(&kept, "cluster"), (&removed_key, "cluster"), (&renamed, "sensor"), (&replaced, "soar")];
    let after = [(&kept, "cluster"), (&renamed, "other"), (&new, "soar")];
    let proxy = endpoint_with(|config| config.zeromq = settings(&server, &before));
    let address = listen(&proxy).await;
    let mut at_proxy = proxy.subscribe("/t").await;
    let mut nodes = Vec::new();
    for (keys, _) in before {
        let client = CurveClient { server: *server.public(), keys: keys.clone() };
        let node = endpoint_with(|config| config.zeromq.client = Some(client));
        within("both connections", node.connect(address.url.to_string(), Tls::Off).into_future())
            .await
            .unwrap();
        nodes.push(node);
    }
    while proxy.peers().len() < 8 {
        tokio::task::yield_now().await;
    }
    let mut status = proxy.status();
    proxy.set_zeromq(settings(&server, &before));
    proxy.set_zeromq(settings(&server, &after));
    // Each client has two connections.
    for _ in 0..6 {
        let error = removed(&mut status).await;
        assert!(matches!(error, Some(ConnectError::KeyRemoved)), "{error:?}");
    }
    assert_eq!(proxy.peers().len(), 2);
    within("the filter of the proxy", nodes[0].wait_for_subscribers("/t", 1)).await;
    assert_eq!(nodes[0].publish("/t", ping(1)).await.unwrap(), 1);
    assert_eq!(within("a message", at_proxy.recv()).await.unwrap().event::<Event>().unwrap(), ping(1));

    proxy.set_zeromq(settings(&new_server, &after));
    for _ in 0..2 {
        let error = removed(&mut status).await;
        assert!(matches!(error, Some(ConnectError::KeyRemoved)), "{error:?}");
    }
    assert_eq!(proxy.peers().len(), 0);
}
