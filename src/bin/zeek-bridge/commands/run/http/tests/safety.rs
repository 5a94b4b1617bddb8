//! Tests of the access to the page and the API.

use super::*;

#[tokio::test]
async fn requests_for_other_hosts_and_from_other_sites_are_refused() {
    let served = served(snapshot).await;
    let own = served.address;
    for (path, headers, status) in [
        ("/", format!("host: {own}"), 200),
        ("/", "host: localhost:9747".into(), 200),
        ("/", "host: [::1]:9747".into(), 200),
        ("/", "host: evil.example".into(), 421),
        ("/page/page.js", "host: 127.0.0.1.evil.example".into(), 421),
        ("/api/v1/status", format!("host: {own}"), 200),
        ("/api/v1/status", "host: evil.example:9747".into(), 421),
        ("/api/v1/status", format!("host: {own}\r\nhost: localhost"), 400),
        ("/api/v1/status", format!("host: {own}\r\norigin: http://{own}"), 200),
        ("/api/v1/status", format!("host: {own}\r\norigin: http://evil.example"), 403),
        ("/api/v1/status", format!("host: {own}\r\norigin: null"), 403),
        ("/api/v1/history", format!("host: {own}\r\nsec-fetch-site: same-origin"), 200),
        ("/api/v1/history", format!("host: {own}\r\nsec-fetch-site: none"), 200),
        ("/api/v1/history", format!("host: {own}\r\nsec-fetch-site: cross-site"), 403),
        ("/api/v1/events", format!("host: {own}\r\nsec-fetch-site: same-site"), 403),
        // A link on another page may lead here.
        ("/", format!("host: {own}\r\nsec-fetch-site: cross-site"), 200),
        // Scrapers use any name.
        ("/metrics", "host: bridge.example".into(), 200),
        ("/healthz", "host: bridge.example\r\norigin: http://evil.example".into(), 200),
    ] {
        let (head, body) = served.get_with(path, &headers).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path} {headers}: {head}");
        if status != 200 {
            assert!(head.contains("content-type: text/plain") && body.ends_with('\n'), "{head} {body}");
        }
    }
}

#[tokio::test]
async fn an_address_that_other_hosts_reach_has_metrics_but_no_page() {
    let served = served_with(Settings::plain("0.0.0.0:1".parse().unwrap()), snapshot).await;
    for path in ["/", "/page/page.js", "/api/v1/status", "/api/v1/history", "/api/v1/events", "/other"] {
        let (head, body) = served.get(path).await;
        assert!(head.starts_with("http/1.1 403 ") && body.contains("http_tls"), "{path}: {head} {body}");
    }
    for path in ["/metrics", "/healthz"] {
        let (head, _) = served.get(path).await;
        assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let served = served(snapshot).await;
    for path in ["/", "/api/v1/status", "/api/v1/events"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = served.send(&format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
        }
        let answer = served.send(&format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
}
