//! Metrics and health over HTTP.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::metrics;
use super::serve::{Limits, serve_each};
use super::view::View;

/// The limits of the server. Scrapers and health checks open fewer connections than this at a time. A request takes well under
/// a second; the time limit is for clients that read slowly.
const LIMITS: Limits = Limits { connections: 16, time: Duration::from_secs(10) };

/// The time limit for receiving the head of a request, and its size limits.
const HEADER_TIME: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// A bound server that does not accept connections yet.
pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, String> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok(Server { address: listener.local_addr()?, listener })
        };
        bound.await.map_err(|error: std::io::Error| {
            format!("cannot serve metrics at {address}: {error}; use an address of this host and a free port")
        })
    }

    /// Returns the bound address, which contains the port chosen by the system.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn serve(self, view: Arc<View>) {
        serve_each(self.listener, LIMITS, |stream| serve(stream, view.clone())).await;
    }
}

async fn serve(stream: TcpStream, view: Arc<View>) {
    let service = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(respond(request.method(), request.uri().path(), &view))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("HTTP: {error}");
    }
}

fn respond(method: &Method, path: &str, view: &View) -> Response<Full<Bytes>> {
    let page: fn(&View) -> (StatusCode, &'static str, String) = match path {
        "/metrics" => metrics_page,
        "/healthz" => |_| plain(StatusCode::OK, "ok\n"),
        "/readyz" => readiness,
        _ => |_| plain(StatusCode::NOT_FOUND, "not found; use /metrics, /healthz or /readyz\n"),
    };
    // hyper omits the body of a response to HEAD.
    let allowed = matches!(*method, Method::GET | Method::HEAD);
    let (status, content_type, body) =
        if allowed { page(view) } else { plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n") };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !allowed {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn plain(status: StatusCode, text: impl Into<String>) -> (StatusCode, &'static str, String) {
    (status, "text/plain; charset=utf-8", text.into())
}

fn metrics_page(view: &View) -> (StatusCode, &'static str, String) {
    match metrics::text(view.snapshot()) {
        Ok(text) => (StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n"))
        }
    }
}

/// Responds 200 if all links are ready and the bridge is not stopping. Otherwise responds 503, with a line for each link that
/// is not ready, or with `not ready: stopping`.
fn readiness(view: &View) -> (StatusCode, &'static str, String) {
    if view.is_stopping() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: stopping\n");
    }
    let mut lines = String::new();
    for link in view.snapshot().links.iter().filter(|link| !link.ready) {
        let why = if link.connecting.is_empty() {
            "cannot listen on some addresses; see the log".to_owned()
        } else {
            format!("connects to {}", link.connecting.join(", "))
        };
        // Cannot fail: it writes to memory.
        let _ = writeln!(lines, "not ready: link {} ({why})", link.name);
    }
    if lines.is_empty() {
        plain(StatusCode::OK, "ready\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;
    use zeek_bridge::bridge::{LinkSnapshot, Snapshot};

    use super::*;
    use crate::commands::run::tests::snapshot;

    struct Served {
        address: SocketAddr,
        view: Arc<View>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Drop for Served {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    async fn served(snapshot: fn() -> Snapshot) -> Served {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let view = Arc::new(View::new(snapshot));
        Served { address: server.address(), task: tokio::spawn(server.serve(view.clone())), view }
    }

    impl Served {
        /// Sends these bytes and reads until the connection is closed.
        async fn send(&self, bytes: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // The server may close before it has read all bytes, which resets the connection.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        }

        async fn get(&self, path: &str) -> (String, String) {
            let answer = self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
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
        assert!(
            body.contains("zeek_bridge_peers{link=\"agents\"} 2\n") && body.ends_with("# EOF\n"),
            "{body}"
        );
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
            ("GET / HTTP/1.1\r\n\r\n", "404"),
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
}
