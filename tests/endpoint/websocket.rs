//! Endpoints that speak the WebSocket API with each other and with raw clients.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use zeek_bridge::data::Value;
use zeek_bridge::endpoint::{
    Admits, ConnectError, Endpoint, Listener, Message, Status, Subscriber, WebSocketConfig, WebSocketPeer,
};
use zeek_bridge::net::tls::{
    Authentication, Backend, Credentials, EphemeralAuthority, Tls, ephemeral_authority,
};
use zeek_bridge::peering::ErrorKind;
use zeek_bridge::websocket::{Access, BinaryText, Token, Tokens};
use zeek_bridge::zeek::Event;

use crate::raw_websocket::{CLOSE, RawClient, RawServer, TEXT, request};
use crate::support::*;

fn token(text: &str) -> Token {
    Token::new(text).unwrap()
}

/// Returns the settings of a listener with these tokens: the name and the text of each.
fn with_tokens(tokens: &[(&str, &str)]) -> WebSocketConfig {
    let tokens: Tokens = tokens.iter().map(|(name, text)| (*name, token(text))).collect();
    WebSocketConfig { access: Access { tokens, ..Access::default() }, ..WebSocketConfig::default() }
}

fn with_token(text: &str) -> WebSocketConfig {
    WebSocketConfig { token: Some(token(text)), ..WebSocketConfig::default() }
}

fn endpoint_of_api(websocket: WebSocketConfig) -> Endpoint {
    endpoint_with(|config| config.websocket = websocket)
}

async fn listen_on(endpoint: &Endpoint, scheme: &str, tls: Tls) -> Listener {
    endpoint.listen(format!("{scheme}://127.0.0.1:0"), tls).await.unwrap()
}

async fn connect_to(endpoint: &Endpoint, listener: &Listener, tls: Tls) -> Result<(), ConnectError> {
    within("an attempt to connect", endpoint.connect(listener.url(), tls).into_future()).await.map(drop)
}

async fn received(subscriber: &mut Subscriber) -> Message {
    within("a message", subscriber.recv()).await.unwrap()
}

fn ping(text: &str) -> Event {
    Event::new("Demo::ping", (text.to_owned(), 7u64))
}

/// Returns TLS in which only the listener presents a certificate: for the listener, and for the connector.
fn one_sided(authority: &EphemeralAuthority) -> [Tls; 2] {
    let Credentials { cafile, certificate, keyfile, .. } = authority.credentials("127.0.0.1").unwrap();
    let base = Credentials { authentication: Authentication::Server, ..Credentials::for_client("unused") };
    let server = Credentials { cafile: None, certificate, keyfile, ..base.clone() };
    let client = Credentials { cafile, ..base };
    [server, client].map(|credentials| credentials.load().unwrap().into())
}

#[tokio::test]
async fn events_pass_in_both_directions_with_and_without_tls() {
    let authority = ephemeral_authority().unwrap();
    let mutual = |name| Tls::Mutual(authority.issue(name).unwrap());
    for (scheme, [ours, theirs]) in [
        ("ws", [Tls::Off, Tls::Off]),
        ("wss", one_sided(&authority)),
        ("wss", [mutual("127.0.0.1"), mutual("connector")]),
    ] {
        let server = endpoint_of_api(with_tokens(&[("soar", "secret")]));
        let client = endpoint_of_api(with_token("secret"));
        let mut at_server = subscribe(&server, "/to/server").await;
        let mut at_client = subscribe(&client, "/to/client").await;
        let listener = listen_on(&server, scheme, ours).await;
        assert_eq!(listener.url().to_string(), format!("{scheme}://{}", listener.local_addr()));
        connect_to(&client, &listener, theirs).await.unwrap();

        assert_eq!(client.publish("/to/server/x", ping("hello")).await.unwrap(), 1);
        let message = received(&mut at_server).await;
        assert_eq!(
            (message.topic().to_string(), message.event::<Event>().unwrap()),
            ("/to/server/x".into(), ping("hello"))
        );
        assert_eq!(server.websocket(message.peer()).as_deref(), message.websocket());
        let WebSocketPeer { name, token, is_server, .. } = message.websocket().unwrap().clone();
        assert_eq!(
            (name, token),
            (Some(Arc::from(concat!("zeek-bridge/", env!("CARGO_PKG_VERSION")))), Some("soar".into()))
        );
        assert!(!is_server);

        subscribers(&server, "/to/client", 1).await;
        assert_eq!(server.publish("/to/other", ping("unsubscribed")).await.unwrap(), 0);
        assert_eq!(server.publish("/to/client", ping("answer")).await.unwrap(), 1);
        let message = received(&mut at_client).await;
        assert_eq!(message.event::<Event>().unwrap(), ping("answer"));
        let WebSocketPeer { name, version, is_server, .. } = message.websocket().unwrap().clone();
        assert!(name.unwrap().starts_with(&format!("{}-websocket-", server.id())) && is_server);
        assert!(version.unwrap().starts_with("zeek-bridge/"));
        client.shutdown().await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn the_close_is_confirmed_after_all_messages_were_received() {
    let (server, client) = (endpoint(), endpoint());
    let mut messages = subscribe(&server, "/").await;
    let listener = listen_on(&server, "ws", Tls::Off).await;
    let mut statuses = client.status();
    connect_to(&client, &listener, Tls::Off).await.unwrap();
    for n in 0..1000u64 {
        client.publish("/t", Event::new("n", (n,))).await.unwrap();
    }
    within("the shutdown", client.shutdown()).await;
    assert!(removed(&mut statuses).await.is_none(), "the server did not confirm the close");
    for n in 0..1000u64 {
        assert_eq!(received(&mut messages).await.event::<Event>().unwrap().args, [Value::Count(n)]);
    }
}

#[tokio::test]
async fn a_client_without_a_known_token_is_refused() {
    let server = endpoint_of_api(with_tokens(&[("soar", "secret")]));
    let mut statuses = server.status();
    let listener = listen_on(&server, "ws", Tls::Off).await;
    for settings in [WebSocketConfig::default(), with_token("wrong")] {
        let error = connect_to(&endpoint_of_api(settings), &listener, Tls::Off).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("401"), "{error}");
        let reported = failed(&mut statuses).await;
        assert_eq!((reported.kind(), reported.cause()), (ErrorKind::Denied, "token"), "{reported}");
    }
    let (_, head) = request(listener.local_addr(), "").await;
    assert!(head.starts_with("HTTP/1.1 401 ") && head.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{head}");
}

#[tokio::test]
async fn web_pages_of_other_sites_are_refused() {
    let access = Access { origins: vec!["https://soar.example".into()], ..Access::default() };
    let server = endpoint_of_api(WebSocketConfig { access, ..WebSocketConfig::default() });
    // A listener on all addresses is also reached through the loopback address.
    for host in ["127.0.0.1", "0.0.0.0"] {
        let listener = server.listen(format!("ws://{host}:0"), Tls::Off).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().port()));
        for (headers, status) in [
            ("".to_owned(), 101),
            (format!("Origin: http://{address}\r\n"), 101),
            ("Origin: https://soar.example\r\n".to_owned(), 101),
            ("Origin: http://evil.example\r\n".to_owned(), 403),
            ("Origin: null\r\n".to_owned(), 403),
            (format!("Host: localhost:{}\r\n", address.port()), 101),
            (format!("Host: evil.example:{}\r\n", address.port()), 403),
        ] {
            let (_, head) = within("an answer", request(address, &headers)).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {head}");
        }
    }
}

#[tokio::test]
async fn new_tokens_apply_to_new_connections_only() {
    let server = endpoint_of_api(with_tokens(&[("soar", "old")]));
    let mut messages = subscribe(&server, "/").await;
    let listener = listen_on(&server, "ws", Tls::Off).await;
    let [old, new] = ["old", "new"].map(|text| endpoint_of_api(with_token(text)));
    connect_to(&old, &listener, Tls::Off).await.unwrap();
    server.set_websocket(with_tokens(&[("soar", "old"), ("soar", "new")]));
    connect_to(&new, &listener, Tls::Off).await.unwrap();
    server.set_websocket(with_tokens(&[("soar", "new")]));
    let late = endpoint_of_api(with_token("old"));
    assert_eq!(connect_to(&late, &listener, Tls::Off).await.unwrap_err().kind(), ErrorKind::Refused);
    for client in [old, new] {
        assert_eq!(client.publish("/t", ping("still connected")).await.unwrap(), 1);
        let message = received(&mut messages).await;
        assert_eq!(message.websocket().unwrap().token.as_deref(), Some("soar"));
    }
}

#[tokio::test]
async fn only_admitted_tokens_may_connect() {
    let server = endpoint_with(|config| {
        config.websocket = with_tokens(&[("soar", "one"), ("guest", "two")]);
        config.admits = Some(Admits::with_token(|_, token| token == Some("soar")));
    });
    let mut statuses = server.status();
    let listener = listen_on(&server, "ws", Tls::Off).await;
    connect_to(&endpoint_of_api(with_token("one")), &listener, Tls::Off).await.unwrap();
    let guest = endpoint_of_api(with_token("two"));
    assert!(connect_to(&guest, &listener, Tls::Off).await.is_err());
    assert!(matches!(failed(&mut statuses).await, ConnectError::NotAllowed(None)));
}

/// All clients of these tests have the same host.
#[tokio::test]
async fn the_clients_of_one_token_leave_slots_for_those_of_another() {
    let server = endpoint_with(|config| {
        config.websocket = with_tokens(&[("soar", "one"), ("soar", "new"), ("guest", "two")]);
        config.max_peers = 3;
    });
    let mut statuses = server.status();
    let listener = listen_on(&server, "ws", Tls::Off).await;
    let client = |text| endpoint_of_api(with_token(text));
    let guests = [client("two"), client("two"), client("two")];
    for guest in &guests {
        connect_to(guest, &listener, Tls::Off).await.unwrap();
        added(&mut statuses).await;
    }
    assert!(connect_to(&client("two"), &listener, Tls::Off).await.is_err(), "the guests have all slots");
    assert!(matches!(failed(&mut statuses).await, ConnectError::TooManyPeers(3)));
    let soar = client("one");
    connect_to(&soar, &listener, Tls::Off).await.unwrap();
    assert!(matches!(removed(&mut statuses).await, Some(ConnectError::Evicted(3))));
    // Both tokens have the name soar, so they share what its clients may use.
    assert!(connect_to(&client("new"), &listener, Tls::Off).await.is_err());
}

#[tokio::test]
async fn the_scheme_and_the_tls_must_match() {
    let authority = ephemeral_authority().unwrap();
    let [server, client] = one_sided(&authority);
    let ours = endpoint();
    for (address, tls, text) in [
        ("ws://127.0.0.1:0", server.clone(), "use wss://"),
        ("wss://127.0.0.1:0", Tls::Off, "no certificates"),
        ("127.0.0.1:0", server, "certificates on both sides"),
        ("ws://127.0.0.1:0/other", Tls::Off, "/v1/messages/json"),
    ] {
        let error = ours.listen(address, tls).await.unwrap_err();
        assert!(error.to_string().contains(text), "{address}: {error}");
    }
    for (address, tls, text) in [
        ("ws://127.0.0.1:1", client.clone(), "use wss://"),
        ("wss://127.0.0.1:1", Tls::Off, "no certificates"),
        ("127.0.0.1:1", client, "certificates on both sides"),
    ] {
        let error = ours.connect(address, tls).await.unwrap_err();
        assert!(error.to_string().contains(text) && error.kind() == ErrorKind::Local, "{address}: {error}");
    }
    let error = endpoint_of_api(with_token("t")).connect("ws://192.0.2.1:1", Tls::Off).await.unwrap_err();
    assert!(matches!(error, ConnectError::ExposedToken), "{error}");
}

/// Without this check, every holder of a certificate of the same CA could receive the client's token.
#[tokio::test]
async fn a_client_verifies_the_host_of_its_url() {
    let authority = ephemeral_authority().unwrap();
    let server = endpoint_of_api(with_tokens(&[("soar", "secret")]));
    let of = |name| authority.credentials(name).unwrap();
    let [addressed, named] = ["127.0.0.1", "bridge.example"].map(|name| {
        let credentials = Credentials { cafile: None, authentication: Authentication::Server, ..of(name) };
        Tls::from(credentials.load().unwrap())
    });
    let (addressed, named) =
        (listen_on(&server, "wss", addressed).await, listen_on(&server, "wss", named).await);
    let backends: &[_] =
        if cfg!(feature = "openssl") { &[Backend::Rustls, Backend::OpenSsl] } else { &[Backend::Rustls] };
    for backend in backends {
        let mutual = of("client").backend(*backend);
        let one_sided = Credentials {
            certificate: None,
            keyfile: None,
            authentication: Authentication::Server,
            ..mutual.clone()
        };
        for credentials in [one_sided, mutual] {
            let client = || endpoint_of_api(with_token("secret"));
            let tls = |credentials: &Credentials| Tls::from(credentials.load().unwrap());
            connect_to(&client(), &addressed, tls(&credentials)).await.unwrap();
            let error = connect_to(&client(), &named, tls(&credentials)).await.unwrap_err();
            let expected = "does not have the name to verify (expected 127.0.0.1; it has DNS:bridge.example)";
            assert!(error.to_string().contains(expected), "{backend:?}: {error}");
            assert!(error.to_string().contains("or verify a name that it has"), "{backend:?}: {error}");
            let verifying = credentials.verify_name("bridge.example");
            connect_to(&client(), &named, tls(&verifying)).await.unwrap();
            assert!(connect_to(&client(), &addressed, tls(&verifying)).await.is_err(), "{backend:?}");
        }
    }
    let [_, client] = one_sided(&authority);
    let error = endpoint().connect("wss://m\u{fc}nchen.example:1", client).await.unwrap_err();
    assert!(error.to_string().contains("no certificate can contain the host"), "{error}");
}

/// Returns the first TLS record that a connector sends to a listener.
async fn client_hello(address: &str, listener: &TcpListener, credentials: &Credentials) -> Vec<u8> {
    let port = listener.local_addr().unwrap().port();
    let tls = Tls::from(credentials.load().unwrap());
    // The attempt ends with its endpoint.
    let client = endpoint();
    let _connector = client.connect(format!("{address}:{port}"), tls);
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    let mut header = [0; 5];
    within("a TLS record", stream.read_exact(&mut header)).await.unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    within("a TLS record", stream.read_exact(&mut hello)).await.unwrap();
    hello
}

/// Broker sends no SNI.
#[tokio::test]
async fn a_client_sends_the_host_of_its_url_as_sni() {
    let authority = ephemeral_authority().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backends: &[_] =
        if cfg!(feature = "openssl") { &[Backend::Rustls, Backend::OpenSsl] } else { &[Backend::Rustls] };
    for backend in backends {
        let mutual = authority.credentials("client").unwrap().backend(*backend);
        let named = mutual.clone().verify_name("bridge.example");
        for (address, credentials, expected) in [
            ("wss://localhost", &mutual, true),
            ("wss://localhost", &named, true),
            ("wss://127.0.0.1", &mutual, false),
            ("localhost", &mutual, false),
            ("localhost", &named, false),
        ] {
            let hello = client_hello(address, &listener, credentials).await;
            // The extension 0 (server_name) with a list of one host name of 9 bytes.
            let sni = b"\0\0\0\x0e\0\x0c\0\0\x09localhost";
            let is_sent = hello.windows(sni.len()).any(|window| window == sni);
            assert_eq!(is_sent, expected, "{backend:?}, {address}");
            assert!(!hello.windows(14).any(|window| window == b"bridge.example"));
        }
    }
}

#[tokio::test]
async fn the_two_protocols_recognize_each_other() {
    let (broker, api) = (endpoint(), endpoint());
    let broker_listener = listen(&broker).await;
    let api_listener = listen_on(&api, "ws", Tls::Off).await;
    let error = endpoint().connect(api_listener.local_addr(), Tls::Off).await.unwrap_err();
    assert!(error.to_string().contains("use ws://"), "{error}");
    let url = format!("ws://{}", broker_listener.local_addr());
    let error = within("an answer", endpoint().connect(url, Tls::Off).into_future()).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Misbehaved | ErrorKind::Closed),
        "{error}"
    );
}

#[tokio::test]
async fn strings_that_are_not_utf8_reach_clients_as_configured() {
    for (binary, expected) in [
        (BinaryText::Escape, Some(r#"a\\xff\\b"#)),
        (BinaryText::Replace, Some("a\u{fffd}\\\\b")),
        (BinaryText::Drop, None),
    ] {
        let server = endpoint_of_api(WebSocketConfig { binary, ..WebSocketConfig::default() });
        let listener = listen_on(&server, "ws", Tls::Off).await;
        let mut client = within("the ack", RawClient::connect(listener.local_addr(), "", &["/t"])).await;
        subscribers(&server, "/t", 1).await;
        let odd = Event { args: vec![Value::String(b"a\xff\\b".to_vec().into())], ..Event::new("odd", ()) };
        let sent = server.publish("/t", odd).await;
        assert_eq!(sent.is_ok(), expected.is_some(), "{sent:?}");
        server.publish("/t", Event::new("last", ())).await.unwrap();
        let mut texts = Vec::new();
        while !texts.last().is_some_and(|text: &String| text.contains(r#""last""#)) {
            texts.push(within("an event", client.text()).await);
        }
        let stats = server.stats();
        match expected {
            Some(expected) => {
                assert!(texts[0].contains(expected), "{expected}: {}", texts[0]);
                assert_eq!((stats.not_carried, stats.altered_strings, stats.sent), (0, 1, 2));
            }
            None => {
                assert_eq!(texts.len(), 1, "{texts:?}");
                assert_eq!((stats.not_carried, stats.altered_strings, stats.sent), (1, 0, 1));
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_does_not_delay_others() {
    const SIZE: usize = 100_000;
    let server = endpoint_with(|config| {
        config.patience = Duration::from_millis(50);
        config.peer_queue.bytes = 4 * 1024 * 1024;
        config.idle_timeout = None;
    });
    let mut statuses = server.status();
    let good = endpoint();
    let mut subscriber = subscribe(&good, "/t").await;
    let listener = listen_on(&server, "ws", Tls::Off).await;
    connect_to(&good, &listener, Tls::Off).await.unwrap();
    let _slow = RawClient::connect(listener.local_addr(), "", &["/t"]).await;
    subscribers(&server, "/t", 2).await;
    let mut published = 0;
    within("the disconnect of the slow client", async {
        while server.publish("/t", ping(&"x".repeat(SIZE))).await == Ok(2) {
            published += 1;
            received(&mut subscriber).await;
            assert!(published < 10_000, "the queue of unread messages is not bounded");
        }
    })
    .await;
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::Overflow { dropped }) if dropped > 0), "{error:?}");
    received(&mut subscriber).await;
    assert_eq!(server.publish("/t", ping("after")).await, Ok(1));
}

#[tokio::test]
async fn an_error_and_an_event_before_the_end_of_the_stream_are_received() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = endpoint();
    let mut messages = subscribe(&client, "/t").await;
    let mut statuses = client.status();
    let _connector = client.connect(format!("ws://{}", listener.local_addr().unwrap()), Tls::Off);
    let (stream, _) = within("a connection", listener.accept()).await.unwrap();
    let mut server = RawServer::upgrade(stream).await;
    let event = r#"{"type":"data-message","topic":"/t","@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"Demo::ping"},{"@data-type":"vector","data":[]}]}]}"#;
    let error = r#"{"type":"error","code":"broker_error","context":"the reason"}"#;
    // In one segment, followed by the end of the stream.
    let texts = [r#"{"type":"ack","endpoint":"e","version":"1"}"#, error, event];
    server.send_all(texts.map(|text| (TEXT, text.as_bytes()))).await;
    server.end().await;
    assert_eq!(received(&mut messages).await.event::<Event>().unwrap(), Event::new("Demo::ping", ()));
    let notice = status(&mut statuses, |status| match status {
        Status::PeerNotice { notice, .. } => Some(notice.clone()),
        _ => None,
    })
    .await;
    assert_eq!((&*notice.code, &*notice.context), ("broker_error", "the reason"));
}

#[tokio::test]
async fn a_raw_client_exchanges_events_and_its_close_frame_is_echoed() {
    let server = endpoint();
    let mut messages = subscribe(&server, "/").await;
    let mut statuses = server.status();
    let listener = listen_on(&server, "ws", Tls::Off).await;
    let mut client =
        RawClient::connect(listener.local_addr(), "X-Application-Name: soar/1.0\r\n", &["/t"]).await;
    added(&mut statuses).await;
    let event = r#"{"type":"data-message","topic":"/up","@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"Demo::ping"},{"@data-type":"vector","data":[{"@data-type":"string","data":"x"},{"@data-type":"count","data":7}]}]}]}"#;
    client.send(event).await;
    let message = received(&mut messages).await;
    assert_eq!(message.event::<Event>().unwrap(), ping("x"));
    assert_eq!(message.websocket().unwrap().name.as_deref(), Some("soar/1.0"));
    server.publish("/t", ping("x")).await.unwrap();
    assert_eq!(client.text().await, event.replace("/up", "/t"));
    client.send("not json").await;
    let error = client.text().await;
    assert_eq!(
        error,
        r#"{"type":"error","code":"deserialization_failed","context":"failed to decode JSON object"}"#
    );
    server.shutdown().await;
    let mut last = None;
    while let Some(frame) = within("the close", client.frame()).await {
        last = Some(frame.opcode);
    }
    assert_eq!(last, Some(CLOSE));
}
