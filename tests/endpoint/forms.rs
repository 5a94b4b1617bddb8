//! The types that a program can use for addresses, topics and content, and to read messages.

use std::net::SocketAddr;

use zeek_bridge::data::{Filter, Topic, Value};
use zeek_bridge::endpoint::{ConnectError, PublishError, Subscriber};
use zeek_bridge::net::HostPort;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::wire::{EncodeError, ValueRef};
use zeek_bridge::zeek::{Event, EventError, IdentifierUpdate, ZeekMessage};
use zeek_bridge::zeek_event;

use crate::support::*;

zeek_event! {
    #[derive(Clone, Debug, PartialEq)]
    struct Ping("Example::ping") { text: String, times: u64 }
}

#[tokio::test]
async fn an_endpoint_accepts_addresses_of_each_type() {
    let a = endpoint();
    let address: SocketAddr = a.listen(("127.0.0.1", 0), Tls::Off).await.unwrap().local_addr();
    let port = address.port();
    assert_eq!(endpoint().connect(address, Tls::Off).await.unwrap(), a.id());
    assert_eq!(endpoint().connect(address.to_string(), Tls::Off).await.unwrap(), a.id());
    assert_eq!(endpoint().connect(("127.0.0.1", port), Tls::Off).await.unwrap(), a.id());
    assert_eq!(endpoint().connect((address.ip(), port), Tls::Off).await.unwrap(), a.id());
    let parsed: HostPort = address.to_string().parse().unwrap();
    assert_eq!(endpoint().connect_with_retry(&parsed, Tls::Off, SOON).await.unwrap(), a.id());
    let error = endpoint().connect(("no host", 9), Tls::Off).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial(_)), "{error}");
    assert!(error.to_string().contains("white space"), "{error}");
}

#[tokio::test]
async fn a_subscription_has_one_or_several_topics() {
    let (a, b) = pair().await;
    let (text, topic) = ("/b".to_owned(), Topic::from("/c"));
    let filter: Filter = ["/i", "/j"].map(Topic::from).into_iter().collect();
    let mut all: Vec<Subscriber> = vec![
        a.subscribe("/a").await,
        a.subscribe(&text).await,
        a.subscribe(&topic).await,
        a.subscribe(["/d", "/e"]).await,
        a.subscribe(vec![Topic::from("/f")]).await,
        a.subscribe(&["/g", "/h"][..]).await,
        a.subscribe(&filter).await,
    ];
    all[0].unsubscribe("/a").await;
    all[0].subscribe("/k").await;
    let expected = ["/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i", "/j", "/k"];
    within("subscriptions", async {
        for topic in expected {
            b.wait_for_subscribers(topic, 1).await;
        }
    })
    .await;
    let filter: Filter = expected.map(Topic::from).into_iter().collect();
    assert_eq!(b.peers(), [(a.id(), filter)]);
}

#[tokio::test]
async fn a_prefix_longer_than_the_longest_topic_matches_nothing() {
    let (a, b) = pair().await;
    let too_long = format!("/{}", "x".repeat(Topic::MAX_LEN));
    let mut messages = a.subscribe([too_long.as_str(), "/t"]).await;
    subscribers(&b, "/t", 1).await;
    assert_eq!(b.peers(), [(a.id(), [Topic::from("/t")].into_iter().collect())]);
    let error = b.publish(&too_long, Event::new("e", ())).await.unwrap_err();
    assert!(matches!(error, PublishError::Encode(EncodeError::TooLong { what: "topic", .. })), "{error}");
    assert_eq!(b.publish("/t", Event::new("e", ())).await, Ok(1));
    assert_eq!(within("a message", messages.recv()).await.unwrap().to_string(), "/t: e()");
}

#[tokio::test]
async fn content_of_each_type_is_published_and_read() {
    let (a, b) = pair().await;
    let mut messages = a.subscribe("/t").await;
    subscribers(&b, "/t", 1).await;
    let ping = Ping { text: "hello".into(), times: 3 };
    let event = Event::from(ping.clone());
    let update = IdentifierUpdate { id: "x".into(), value: Value::count(1) };
    let batch = ZeekMessage::Batch(vec![event.clone().into(), update.clone().into()]);

    b.publish("/t", ping.clone()).await.unwrap();
    let message = within("a message", messages.recv()).await.unwrap();
    assert_eq!(message.event(), Ok(ping.clone()));
    assert_eq!(message.event(), Ok(event.clone()));
    assert_eq!(message.zeek_message(), Ok(ZeekMessage::Event(event.clone())));
    assert_eq!(message.value(), ZeekMessage::Event(event.clone()).into_value());
    assert_eq!(message.to_string(), "/t: Example::ping(hello, 3)");

    b.publish("/t", Event::new("Example::pong", ())).await.unwrap();
    let message = within("a message", messages.recv()).await.unwrap();
    let error = message.event::<Ping>().unwrap_err();
    assert_eq!(error.to_string(), "expected event Example::ping, found Example::pong");

    b.publish("/t", update).await.unwrap();
    let message = within("a message", messages.recv()).await.unwrap();
    assert_eq!(message.event::<Ping>(), Err(EventError::NotAnEvent("an identifier update")));
    assert_eq!((message.events(), message.to_string()), (vec![], "/t: identifier x = 1".into()));

    b.publish("/t", batch).await.unwrap();
    let message = within("a message", messages.recv()).await.unwrap();
    assert_eq!(message.event::<Event>(), Err(EventError::NotAnEvent("a batch")));
    assert_eq!(message.events(), std::slice::from_ref(&event));

    b.publish_to(a.id(), "/t", &text("no Zeek message")).await.unwrap();
    let message = within("a message", messages.recv()).await.unwrap();
    assert_eq!(message.value(), text("no Zeek message"));
    assert_eq!(message.value_ref(), ValueRef::String(b"no Zeek message"));
    let error = message.event::<Ping>().unwrap_err();
    assert_eq!(error.to_string(), "not a Zeek message: message: expected type vector, found type string");
    assert_eq!((message.events(), message.to_string()), (vec![], "/t: no Zeek message".into()));

    assert_eq!(b.publish_via(a.id(), &Topic::from("/t"), event.clone()).await, Ok(true));
    assert_eq!(within("a message", messages.recv()).await.unwrap().event(), Ok(event));
}

#[cfg(feature = "stream")]
#[tokio::test]
async fn a_subscription_is_a_stream_that_ends_with_the_endpoint() {
    use tokio_stream::StreamExt as _;

    let (a, b) = pair().await;
    let mut messages = a.subscribe("/t").await;
    subscribers(&b, "/t", 1).await;
    for n in 0..3 {
        b.publish("/t", text(n.to_string())).await.unwrap();
    }
    for n in 0..3 {
        let message = within("a message", messages.next()).await.unwrap();
        assert_eq!(message.value(), text(n.to_string()));
    }
    // The stream is polled once and then not used any more. The next message must wake `recv`, and not the stream.
    assert!(is_pending(&mut messages).await);
    let received = tokio::spawn(async move {
        let message = within("a message", messages.recv()).await.unwrap();
        (message, messages)
    });
    b.publish("/t", text("after")).await.unwrap();
    let (message, mut messages) = received.await.unwrap();
    assert_eq!(message.value(), text("after"));
    // The next message wakes a stream that waits.
    assert!(is_pending(&mut messages).await);
    let (next, _) = tokio::join!(within("a message", messages.next()), b.publish("/t", text("woken")));
    assert_eq!(next.unwrap().value(), text("woken"));
    a.shutdown().await;
    assert!(within("the end of the subscription", messages.next()).await.is_none());
    assert!(within("the end of the subscription", messages.next()).await.is_none());
}

/// Polls the stream once. Returns whether it has no message yet.
#[cfg(feature = "stream")]
async fn is_pending(messages: &mut Subscriber) -> bool {
    use std::task::Poll;

    use tokio_stream::Stream;

    let mut messages = std::pin::Pin::new(messages);
    std::future::poll_fn(|context| Poll::Ready(messages.as_mut().poll_next(context).is_pending())).await
}
