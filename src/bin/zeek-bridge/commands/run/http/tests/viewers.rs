//! Tests of server-sent events.

use std::sync::atomic::AtomicU64;

use zeek_bridge::bridge::PeerSnapshot;

use super::*;
use crate::commands::run::http::deadline::FRAME_TIME;
use crate::commands::run::http::site::VIEWERS;

/// More than the socket buffers hold.
const LARGE: usize = 6 << 20;

/// A connection that requests the events.
struct Viewer(TcpStream);

impl Viewer {
    async fn connect(served: &Served) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(served.address).await.unwrap();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        Viewer(stream)
    }

    /// Reads until this text, and returns what was read.
    async fn read_until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            let mut buffer = [0; 4096];
            let length = self.0.read(&mut buffer).await.unwrap();
            assert!(length > 0, "the end of the stream, instead of {text}: {read}");
            read.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        read
    }

    /// Reads until the next event of this kind is complete, and returns its data.
    async fn event(&mut self, kind: &str) -> serde_json::Value {
        let start = format!("event: {kind}\ndata: ");
        let mut read = self.read_until(&start).await;
        loop {
            let data = read.split_once(&start).unwrap().1;
            if let Some((data, _)) = data.split_once("\n\n") {
                return serde_json::from_str(data).unwrap();
            }
            read.push_str(&self.read_until("\n").await);
        }
    }
}

fn large() -> Snapshot {
    let link = LinkSnapshot { listening: vec!["x".repeat(LARGE)], ..LinkSnapshot::default() };
    Snapshot { links: vec![link], ..Snapshot::default() }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_receives_the_status_and_samples() {
    let count = AtomicU64::new(0);
    let served = served(move || {
        let mut snapshot = snapshot();
        snapshot.links[0].messages_in = count.fetch_add(100, Ordering::Relaxed);
        snapshot.links[0].peers = vec![PeerSnapshot::default(); 107];
        snapshot
    })
    .await;
    let mut viewer = Viewer::connect(&served).await;
    let head = viewer.read_until("retry: 1000\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/event-stream"), "{head}");
    for _ in 0..3 {
        let status = viewer.event("status").await;
        assert_eq!(status["status"]["links"][0]["peers"].as_array().unwrap().len(), 100);
        assert_eq!(status["omitted"], serde_json::json!({ "agents": 7 }));
        assert!(status["time"].as_f64().unwrap() > 1e9, "{status}");
    }
    let sample = viewer.event("sample").await;
    assert_eq!(sample["interval"], 5);
    let rates = sample["links"][0]["messages_in"].as_array().unwrap();
    assert!(rates.len() == 1 && rates[0].as_f64().unwrap() > 0.0, "{sample}");
    assert_eq!(sample["in_flight"], serde_json::json!([6.0]));
    // The history contains the same sample.
    let (_, history) = served.get("/api/v1/history").await;
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history["links"][1]["name"], "nodes");
    assert_eq!(history["links"][0]["messages_in"][0], rates[0]);
}

#[tokio::test(start_paused = true)]
async fn without_viewers_no_status_is_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let served = served(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Snapshot::default()
    })
    .await;
    let mut viewer = Viewer::connect(&served).await;
    viewer.event("status").await;
    drop(viewer);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = made.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(100)).await;
    // Only the samples of the history.
    assert_eq!(made.load(Ordering::Relaxed) - before, 20);
}

#[tokio::test(start_paused = true)]
async fn viewers_that_do_not_read_are_bounded_and_cut_and_delay_no_scrape() {
    let served = served(large).await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        let mut viewer = Viewer::connect(&served).await;
        viewer.read_until("event: status\n").await;
        viewers.push(viewer);
    }
    let start = Instant::now();
    let (head, body) = served.get("/api/v1/events").await;
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\nretry-after: "), "{head}");
    assert!(body.contains("8 viewers"), "{body}");
    for _ in 0..LIMITS.connections * 2 {
        let (head, _) = served.get("/healthz").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
    }
    let (head, body) = served.get("/metrics").await;
    assert!(head.starts_with("http/1.1 200 ") && body.ends_with("# EOF\n"), "{head}");
    assert!(start.elapsed() < FRAME_TIME, "{:?}", start.elapsed());

    tokio::time::sleep(FRAME_TIME * 2).await;
    // All of them were cut, although they still hold their sockets.
    for _ in 0..VIEWERS {
        let mut viewer = Viewer::connect(&served).await;
        viewer.read_until("event: status\n").await;
        viewers.push(viewer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_reads_a_little_at_a_time_is_cut() {
    let served = served(large).await;
    let mut viewer = Viewer::connect(&served).await;
    viewer.read_until("event: status\n").await;
    let start = Instant::now();
    // Faster than a limit for each write, and slower than the limit for a frame.
    while start.elapsed() < FRAME_TIME * 2
        && viewer.0.read(&mut [0; 40_000]).await.is_ok_and(|length| length > 0)
    {
        tokio::time::sleep(FRAME_TIME / 10).await;
    }
    assert!(start.elapsed() >= FRAME_TIME, "{:?}", start.elapsed());
    // The connection must end after the data in the socket buffers. A blocking task stops the paused clock.
    let mut socket = viewer.0.into_std().unwrap();
    let rest = tokio::task::spawn_blocking(move || {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        let end = std::io::Read::read_to_end(&mut socket, &mut rest).map_err(|error| error.kind());
        assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "the viewer is not cut");
        rest.len()
    });
    let rest = rest.await.unwrap();
    assert!(rest < LARGE / 2, "{rest} more bytes were sent");
}

#[tokio::test(start_paused = true)]
async fn small_frames_for_a_viewer_that_does_not_read_fill_only_small_buffers() {
    // The buffers hold fewer than 20 of them.
    let served = served(|| {
        let link = LinkSnapshot { listening: vec!["x".repeat(20_000)], ..LinkSnapshot::default() };
        Snapshot { links: vec![link], ..Snapshot::default() }
    })
    .await;
    let mut viewer = Viewer::connect(&served).await;
    viewer.read_until("event: status\n").await;
    tokio::time::sleep(Duration::from_secs(20) + FRAME_TIME).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), viewer.0.read_to_end(&mut rest)).await;
    assert!(rest.len() < 400_000, "{}", rest.len());
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_reads_has_no_time_limit_and_is_not_evicted() {
    let served = served(snapshot).await;
    let mut viewer = Viewer::connect(&served).await;
    let mut idle = Vec::new();
    for _ in 0..LIMITS.connections * 2 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let start = Instant::now();
    while start.elapsed() < LIMITS.time * 3 {
        viewer.event("status").await;
    }
}
