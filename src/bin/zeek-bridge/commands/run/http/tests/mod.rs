//! Tests of the server over sockets.

mod safety;
mod viewers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use zeek_bridge::bridge::config::Http;
use zeek_bridge::bridge::{LinkSnapshot, Snapshot};

use super::server::{HEADER_BYTES, HEADER_TIME, HEADERS, LIMITS};
use super::*;
use crate::commands::run::tests::snapshot;
use crate::commands::run::view::{Document, View};

struct Served {
    address: SocketAddr,
    view: Arc<View>,
    site: Arc<Site>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn served(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Served {
    served_with(Settings::load(Http::default()).await.unwrap(), snapshot).await
}

/// Serves on a loopback address with these settings, which may be those of another address.
async fn served_with(settings: Settings, snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Served {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let view = Arc::new(View::new(snapshot));
    let address = server.address();
    let site = Arc::new(Site::new(view.clone(), settings));
    Served { address, task: tokio::spawn(server.serve(site.clone())), site, view }
}

impl Served {
    /// Sends these bytes and reads until the connection is closed.
    async fn send(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server may close before it has read all bytes, which resets the connection.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> (String, String) {
        self.get_with(path, "host: localhost").await
    }

    /// Sends a request with these headers, and returns the head of the response in lower case, and its body.
    async fn get_with(&self, path: &str, headers: &str) -> (String, String) {
        let answer = self.send(&format!("GET {path} HTTP/1.1\r\n{headers}\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

fn all_ready() -> Snapshot {
    let link = LinkSnapshot { ready: true, ..LinkSnapshot::default() };
    Snapshot { links: vec![link.clone(), link], ..Snapshot::default() }
}

#[tokio::test]
async fn metrics_are_in_the_openmetrics_format_and_the_connection_is_closed() {
    let served = served(snapshot).await;
    let (head, body) = served.get("/metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(head.contains("\nconnection: close"), "{head}");
    assert!(body.contains("zeek_bridge_peers{link=\"agents\"} 2\n") && body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn readiness_names_the_links_that_are_not_ready() {
    let served = served(snapshot).await;
    let (head, body) = served.get("/readyz").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(body, "not ready: link nodes (connects to 192.0.2.1:2150, 192.0.2.2:2150)\n");
    let (head, body) = served.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200 ") && body == "ok\n", "{head}");
}

#[tokio::test]
async fn a_bridge_with_all_links_ready_is_ready_until_it_stops() {
    let served = served(all_ready).await;
    let (head, body) = served.get("/readyz?verbose").await;
    assert!(head.starts_with("http/1.1 200 ") && body == "ready\n", "{head}");
    served.view.set_stopping();
    let (head, body) = served.get("/readyz").await;
    assert!(head.starts_with("http/1.1 503 ") && body.contains("stopping"), "{head}");
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let served = served(snapshot).await;
    for (request, status) in [
        ("GET /page/ HTTP/1.1\r\n\r\n", "404"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\ncontent-length: 1000000\r\n\r\nx", "405"),
        ("DELETE /nothing HTTP/1.1\r\n\r\n", "405"),
        ("\x16\x03\x01\x02garbage\r\n\r\n", "400"),
        ("GET /metrics HTTP/9.9\r\n\r\n", "400"),
    ] {
        let answer = served.send(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert_eq!(answer.contains("\r\nallow: GET, HEAD\r\n"), status == "405", "{answer}");
    }
    let head = served.send("HEAD /metrics HTTP/1.1\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
    let long = format!("GET /metrics HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(HEADER_BYTES));
    for request in [many, long] {
        let answer = served.send(&request).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

// With the clock paused, time advances only when all tasks are idle.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_slowly_is_disconnected_at_the_time_limit() {
    let served = served(snapshot).await;
    let start = Instant::now();
    let answer = served.send("GET /metrics HTTP/1.1\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
    assert!(start.elapsed() >= HEADER_TIME && start.elapsed() < LIMITS.time, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_disconnected_at_the_time_limit() {
    // More than the default socket buffers of a system hold.
    const LENGTH: usize = 6 << 20;
    let served = served(|| {
        let link = LinkSnapshot { name: "x".repeat(LENGTH), ..LinkSnapshot::default() };
        Snapshot { links: vec![link], ..Snapshot::default() }
    })
    .await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(served.address).await.unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    client.readable().await.unwrap();
    tokio::time::sleep(LIMITS.time * 2).await;
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(rest.starts_with(b"HTTP/1.1 200 ") && rest.len() < LENGTH, "{}", rest.len());
}

#[tokio::test(start_paused = true)]
async fn idle_clients_do_not_delay_others() {
    let served = served(snapshot).await;
    let mut idle = Vec::new();
    for _ in 0..LIMITS.connections * 4 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let start = Instant::now();
    let (head, _) = served.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // The oldest connections were evicted. The newest connection was not.
    assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
    let mut newest = idle.pop().unwrap();
    newest.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    newest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_with_a_hint() {
    let served = served(snapshot).await;
    let error = Server::bind(served.address).await.err().unwrap();
    assert!(error.contains(&served.address.to_string()) && error.contains("free port"), "{error}");
}

#[tokio::test]
async fn the_status_is_that_of_the_status_socket() {
    let served = served(snapshot).await;
    let (head, body) = served.get("/api/v1/status").await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("\ncontent-type: application/json"), "{head}");
    let document: Document = serde_json::from_str(&body).unwrap();
    assert_eq!(document, served.view.document());
}

#[tokio::test(start_paused = true)]
async fn requests_in_a_loop_share_one_document_each_second() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let served = served(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        snapshot()
    })
    .await;
    served.get("/api/v1/status").await;
    let first = made.load(Ordering::Relaxed);
    for _ in 0..50 {
        served.get("/api/v1/status").await;
    }
    assert_eq!(made.load(Ordering::Relaxed), first);
    tokio::time::sleep(Duration::from_secs(2)).await;
    served.get("/api/v1/status").await;
    assert_eq!(made.load(Ordering::Relaxed), first + 1);
}

#[tokio::test]
async fn the_page_and_its_files_are_served_with_a_strict_policy() {
    let served = served(snapshot).await;
    for (path, content_type) in
        [("/", "text/html"), ("/page/page.css", "text/css"), ("/page/page.js", "text/javascript")]
    {
        let (head, body) = served.get(path).await;
        assert!(head.starts_with("http/1.1 200 ") && !body.is_empty(), "{path}: {head}");
        for header in [
            &format!("content-type: {content_type}; charset=utf-8"),
            "content-security-policy: default-src 'none'; script-src 'self'; ",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
            "x-frame-options: deny",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
    }
}
