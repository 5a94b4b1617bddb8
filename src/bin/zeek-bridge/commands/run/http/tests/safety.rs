//! Tests of the access to the page and the API.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;
use zeek_bridge::bridge::config::{LinkTls, TlsFiles, TokenConfig, TokenSource};
use zeek_bridge::net::tls::{Backend, Credentials, EphemeralAuthority, PemSource, Tls, ephemeral_authority};

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
        ("/metrics", "host: evil.example".into(), 421),
        ("/healthz", "host: evil.example:9747".into(), 421),
        ("/readyz", "host: evil.example".into(), 421),
        ("/metrics", "host: localhost:9747".into(), 200),
        ("/metrics", "accept: */*".into(), 200),
        ("/healthz", format!("host: {own}\r\norigin: http://evil.example"), 200),
    ] {
        let (head, body) = served.get_with(path, &headers).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path} {headers}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        if status != 200 {
            assert!(head.contains("content-type: text/plain") && body.ends_with('\n'), "{head} {body}");
        }
    }
}

#[tokio::test]
async fn an_address_that_other_hosts_reach_has_metrics_but_no_page() {
    let exposed = Http { address: "0.0.0.0:1".parse().unwrap(), ..Http::default() };
    let served = served_with(Settings::load(exposed).await.unwrap(), snapshot).await;
    for path in ["/", "/page/page.js", "/api/v1/status", "/api/v1/history", "/api/v1/events", "/other"] {
        let (head, body) = served.get(path).await;
        assert!(head.starts_with("http/1.1 403 ") && body.contains("http_tls"), "{path}: {head} {body}");
    }
    for path in ["/metrics", "/healthz"] {
        // Scrapers use any name.
        for host in ["localhost", "bridge.example"] {
            let (head, _) = served.get_with(path, &format!("host: {host}")).await;
            assert!(head.starts_with("http/1.1 200 "), "{path} {host}: {head}");
        }
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

/// Returns settings with these tokens, which all have the same name.
async fn with_tokens(folder: &TempDir, tokens: &[&str]) -> Settings {
    let tokens = tokens.iter().map(|token| {
        let path = folder.path().join(token);
        std::fs::write(&path, token).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        TokenConfig { name: "admin".into(), source: TokenSource::File(path) }
    });
    let http = Http { tokens: tokens.collect(), ..Http::default() };
    Settings::load(http).await.unwrap()
}

#[tokio::test]
async fn the_page_and_the_api_need_a_token_if_tokens_are_set() {
    let folder = tempfile::tempdir().unwrap();
    let served = served_with(with_tokens(&folder, &["secret", "next"]).await, snapshot).await;
    let basic = |text: &str| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes()));
    for (authorization, status) in [
        (None, 401),
        (Some("Bearer secret".to_owned()), 200),
        (Some("bearer next".to_owned()), 200),
        (Some("Bearer secre".to_owned()), 401),
        (Some("Bearer secret2".to_owned()), 401),
        (Some("secret".to_owned()), 401),
        (Some(basic("anybody:secret")), 200),
        (Some(basic(":secret")), 200),
        (Some(basic("secret:")), 401),
        (Some(basic("secret")), 401),
        (Some("Basic ?".to_owned()), 401),
    ] {
        let header = authorization.as_ref().map(|value| format!("\r\nauthorization: {value}"));
        let headers = format!("host: localhost{}", header.unwrap_or_default());
        for path in ["/", "/page/page.js", "/api/v1/status", "/api/v1/history"] {
            let (head, body) = served.get_with(path, &headers).await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path} {headers}: {head}");
            // A browser opens a dialog for the page only, not for each request of the page to the API.
            let scheme = if path.starts_with("/api/") { "bearer" } else { "basic" };
            let asks = head.contains(&format!("\nwww-authenticate: {scheme} realm=\"zeek-bridge\""));
            assert_eq!(asks, status == 401, "{head}");
            assert!(status == 200 || !body.contains("secret"), "{body}");
        }
        let (head, _) = served.get_with("/metrics", &headers).await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
    }
    let (head, _) = served.get_with("/", "host: evil.example\r\nauthorization: Bearer secret").await;
    assert!(head.starts_with("http/1.1 421 "), "{head}");
}

#[tokio::test]
async fn a_viewer_is_cut_when_its_token_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let served = served_with(with_tokens(&folder, &["old", "new"]).await, snapshot).await;
    let request = "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer old\r\n\r\n";
    let mut viewer = TcpStream::connect(served.address).await.unwrap();
    viewer.write_all(request.as_bytes()).await.unwrap();
    assert!(viewer.read(&mut [0; 100]).await.unwrap() > 0);
    // The same tokens change nothing.
    assert!(!served.site.set_settings(with_tokens(&folder, &["old", "new"]).await));
    assert!(served.site.set_settings(with_tokens(&folder, &["new"]).await));
    viewer.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(served.send(request).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn a_client_that_connected_before_its_token_was_removed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let served = served_with(with_tokens(&folder, &["old", "new"]).await, snapshot).await;
    let mut clients = Vec::new();
    for path in ["/api/v1/events", "/api/v1/status", "/"] {
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\n").as_bytes()).await.unwrap();
        clients.push(client);
    }
    // Connections are accepted in order, so those above are accepted when this is served.
    served.get("/healthz").await;
    served.site.set_settings(with_tokens(&folder, &["new"]).await);
    for mut client in clients {
        client.write_all(b"host: localhost\r\nauthorization: Bearer old\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("connect again"), "{answer}");
    }
}

/// Certificates of a new CA, in a folder.
struct Certificates {
    folder: TempDir,
    authority: EphemeralAuthority,
}

impl Certificates {
    fn new() -> Self {
        Certificates { folder: tempfile::tempdir().unwrap(), authority: ephemeral_authority().unwrap() }
    }

    fn write(&self, name: &str, source: Option<PemSource>) -> PathBuf {
        let Some(PemSource::Memory(pem)) = source else { panic!("{name} is not in memory") };
        let path = self.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Returns settings for an address that other hosts reach.
    async fn settings(&self, tokens: Vec<TokenConfig>, is_mutual: bool) -> Settings {
        let issued = self.authority.credentials("bridge").unwrap();
        let cafile = self.write("ca", issued.cafile);
        let files = TlsFiles {
            cafile: is_mutual.then_some(cafile),
            capath: None,
            certificate: Some(self.write("certificate", issued.certificate)),
            keyfile: Some(self.write("key", issued.keyfile)),
            passphrase_file: None,
            verify_name: None,
            backend: Backend::Auto,
        };
        let tls = if is_mutual { LinkTls::Mutual(files) } else { LinkTls::Server(files) };
        Settings::load(Http { address: "0.0.0.0:1".parse().unwrap(), tokens, tls }).await.unwrap()
    }
}

/// Sends a request over TLS. Returns the response, or nothing if the server refuses the connection.
async fn get_over_tls(served: &Served, tls: &Tls, request: &str) -> String {
    let tcp = TcpStream::connect(served.address).await.unwrap();
    let mut answer = String::new();
    if let Ok(mut stream) = tls.connect(tcp).await {
        // In TLS 1.3, a refused client notices it here.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_to_string(&mut answer).await;
    }
    answer
}

#[tokio::test]
async fn with_tls_a_token_or_a_client_certificate_gives_access_from_other_hosts() {
    let certificates = Certificates::new();
    let token_file = certificates.folder.path().join("token");
    std::fs::write(&token_file, "secret").unwrap();
    let token = TokenConfig { name: "admin".into(), source: TokenSource::File(token_file) };
    let page = "GET / HTTP/1.1\r\nhost: bridge.example\r\norigin: https://bridge.example\r\n";
    let (no_token, with_token) =
        (format!("{page}\r\n"), format!("{page}authorization: Bearer secret\r\n\r\n"));
    let metrics = "GET /metrics HTTP/1.1\r\n\r\n";
    for (tokens, is_mutual, presents, request, status) in [
        (vec![], false, false, &*no_token, "403"),
        (vec![], false, false, metrics, "200"),
        (vec![token.clone()], false, false, &no_token, "401"),
        (vec![token.clone()], false, false, &with_token, "200"),
        (vec![token.clone()], false, false, metrics, "200"),
        (vec![], true, true, &no_token, "200"),
        (vec![], true, false, &no_token, ""),
        (vec![], true, false, metrics, ""),
        (vec![token.clone()], true, true, &no_token, "401"),
        (vec![token.clone()], true, true, &with_token, "200"),
    ] {
        let served = served_with(certificates.settings(tokens, is_mutual).await, snapshot).await;
        let own = certificates.authority.credentials("browser").unwrap();
        let credentials =
            if presents { own } else { Credentials { cafile: own.cafile, ..Credentials::for_client("") } };
        let tls = Tls::from(credentials.load().unwrap());
        let answer = get_over_tls(&served, &tls, request).await;
        let expected = if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status} ") };
        assert!(answer.starts_with(&expected), "{request}: {answer}");
        assert_eq!(answer.is_empty(), status.is_empty(), "{request}: {answer}");
        // The same port does not speak plain HTTP.
        assert!(!served.send(metrics).await.contains("200"));
    }
}

#[tokio::test]
async fn a_viewer_is_cut_when_the_certificates_change() {
    let certificates = Certificates::new();
    let served = served_with(certificates.settings(vec![], true).await, snapshot).await;
    let own = certificates.authority.credentials("browser").unwrap();
    let tls = Tls::from(own.load().unwrap());
    let view = async || {
        let mut stream = tls.connect(TcpStream::connect(served.address).await.unwrap()).await.unwrap();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 100]).await.unwrap() > 0);
        stream
    };
    // By a reload. The configuration is the same, and the CA is a different one.
    let mut viewer = view().await;
    let other = Certificates::new();
    let unchanged = Settings::load(served.site.settings().borrow().config().clone()).await.unwrap();
    assert!(!served.site.set_settings(unchanged));
    let cafile = certificates.folder.path().join("ca");
    let previous = std::fs::read(&cafile).unwrap();
    other.settings(vec![], true).await;
    let both = [&previous[..], b"\n", &std::fs::read(other.folder.path().join("ca")).unwrap()].concat();
    std::fs::write(&cafile, &both).unwrap();
    let changed = Settings::load(served.site.settings().borrow().config().clone()).await.unwrap();
    assert!(served.site.set_settings(changed));
    viewer.read_to_end(&mut Vec::new()).await.unwrap();
    // By the watcher of the files.
    let mut viewer = view().await;
    std::fs::write(&cafile, &previous).unwrap();
    // The files are checked at an interval.
    tokio::time::pause();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), viewer.read_to_end(&mut rest));
    end.await.expect("the viewer is cut").unwrap();
}
