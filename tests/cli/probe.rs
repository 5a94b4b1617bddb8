//! `probe`: the results for Broker endpoints of each kind, and for other services.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::program::child::soon;
use crate::program::{End, Files, Program};
use serde_json::{Value as Json, json};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use zeek_bridge::data::{EndpointId, Topic};
use zeek_bridge::endpoint::{ConnectError, Endpoint, EndpointConfig, Status, StatusReceiver, Subscriber};
use zeek_bridge::net::tls::{Credentials, Tls, ephemeral_authority};
use zeek_bridge::peering::PeeringError;

const OPENSSL: bool = cfg!(feature = "openssl");

/// An endpoint that listens, with its status and a subscriber.
struct Broker {
    endpoint: Endpoint,
    statuses: StatusReceiver,
    subscriber: Subscriber,
    address: String,
}

impl Broker {
    async fn start(id: Option<EndpointId>, tls: Tls) -> Self {
        let endpoint = Endpoint::with_config(EndpointConfig { id, ..EndpointConfig::default() }).unwrap();
        let subscriber = endpoint.subscribe(["zeek/x", "/a b"].map(Topic::from_static)).await;
        let address = endpoint.listen("127.0.0.1:0", tls).await.unwrap().local_addr().to_string();
        Broker { statuses: endpoint.status(), endpoint, subscriber, address }
    }

    /// Probes the endpoint twice, with text and with JSON as the output.
    async fn probe(&self, options: &str) -> (End, Json) {
        let args = format!("probe {} {options}", self.address);
        tokio::task::spawn_blocking(move || probe(&args)).await.unwrap()
    }

    /// Asserts that no peering was established, and that the probe sent this number of refusals.
    async fn assert_no_peering(mut self, refusals: usize) {
        assert!(self.endpoint.peers().is_empty());
        let mut seen = 0;
        while seen < refusals {
            match soon("a status", self.statuses.recv()).await.unwrap() {
                Status::HandshakeFailed {
                    error: ConnectError::Peering(PeeringError::Refused { description, .. }),
                    ..
                } => {
                    assert_eq!(description, "this is only a probe");
                    seen += 1;
                }
                Status::HandshakeFailed { .. } => {}
                other => panic!("{other}"),
            }
        }
        let Broker { endpoint, mut statuses, subscriber, .. } = self;
        endpoint.shutdown().await;
        drop((endpoint, subscriber));
        while let Some(status) = soon("a status", statuses.recv()).await {
            assert!(matches!(status, Status::HandshakeFailed { .. }), "{status}");
        }
    }
}

/// Runs a probe twice, with text and with JSON as the output, and asserts that the exit codes are equal.
fn probe(args: &str) -> (End, Json) {
    let (words, json) = (Program::run(args, ""), Program::run(&format!("{args} --format json"), ""));
    assert_eq!(words.code, json.code, "{words:?} {json:?}");
    assert_eq!(json.stdout.len(), 1, "{json:?}");
    let summary = json.json()[0]["summary"].clone();
    assert!(words.stdout[0].ends_with(summary.as_str().unwrap()), "{words:?} {summary}");
    let json = json.json().remove(0);
    (words, json)
}

fn broker_json(id: EndpointId) -> Json {
    json!({"id": id.to_string(), "versions": [1, 1], "filter": ["/a b", "zeek/x"], "cut_short": null})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_endpoint_is_identified_for_every_order_of_ids_without_a_peering() {
    // The ids are smaller than the id of any probe, larger than the id of any probe, and random.
    let mut smallest = [0; 16];
    smallest[15] = 1;
    for id in [Some(EndpointId::from_bytes(smallest)), Some(EndpointId::from_bytes([0xff; 16])), None] {
        let broker = Broker::start(id, Tls::Off).await;
        let (end, json) = broker.probe("").await;
        let (address, id) = (&broker.address, broker.endpoint.id());
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
        // The address can also be set with `-c`, as in other commands.
        assert_eq!(Program::run(&format!("probe -c {address}"), "").stdout, end.stdout);
        let expected = [
            format!("{address}: a Broker without TLS"),
            format!("  endpoint id  {id}"),
            "  versions     1".to_owned(),
            "  filter       '/a b' zeek/x".to_owned(),
            "  Zeek options redef Broker::disable_ssl = T;".to_owned(),
            format!("  connect with zeek-bridge tap -c {address} --tls off"),
        ];
        assert_eq!(end.stdout, expected);
        let expected = json!({
            "target": address, "address": address, "found": "plain", "summary": "a Broker without TLS",
            "tls": null, "broker": broker_json(id), "options": ["--connect", address, "--tls", "off"],
            "command": format!("zeek-bridge tap -c {address} --tls off"),
            "zeek": ["redef Broker::disable_ssl = T;"], "notes": [],
        });
        assert_eq!(json, expected);
        let line = format!(
            r#"{{"target":"{address}","address":"{address}","found":"plain","summary":"a Broker without TLS","tls":null,"broker":{{"cut_short":null,"filter":["/a b","zeek/x"],"id":"{id}","versions":[1,1]}},"options":["--connect","{address}","--tls","off"],"command":"zeek-bridge tap -c {address} --tls off","zeek":["redef Broker::disable_ssl = T;"],"notes":[]}}"#
        );
        assert_eq!(Program::run(&format!("probe {address} --format json"), "").stdout, [line]);
        broker.assert_no_peering(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_mutual_tls_shows_the_certificate_and_with_credentials_the_endpoint() {
    let authority = ephemeral_authority().unwrap();
    let broker = Broker::start(None, Tls::Mutual(authority.issue("zeek.example").unwrap())).await;
    let ca = "CN=zeek-bridge ephemeral CA";
    let (end, json) = broker.probe("").await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(json["found"], "mutual");
    assert_eq!(json["tls"]["version"], "TLS 1.3");
    assert_eq!(json["tls"]["certificate"]["subject"], "CN=zeek.example");
    assert_eq!(json["tls"]["certificate"]["sans"], json!(["DNS:zeek.example"]));
    assert_eq!(json["tls"]["certificate"]["issuer"], ca);
    assert_eq!(json["tls"]["asks_for_certificate"], true);
    assert_eq!(json["tls"]["cas"], json!([ca]));
    assert_eq!(json["broker"], Json::Null);
    let sha256 = &json["tls"]["certificate"]["sha256"];
    let line = format!(
        r#","tls":{{"asks_for_certificate":true,"cas":["{ca}"],"certificate":{{"issuer":"{ca}","sans":["DNS:zeek.example"],"sha256":{sha256},"subject":"CN=zeek.example"}},"version":"TLS 1.3"}},"broker":null,"#
    );
    let found = Program::run(&format!("probe {} --format json", broker.address), "");
    assert!(found.stdout[0].contains(&line), "{found:?}");
    let placeholders = ["--cafile", "FILE", "--certificate", "FILE", "--keyfile", "FILE"];
    let options = |files: &[&str]| json!([&["--connect", &broker.address], files].concat());
    assert_eq!(json["options"], options(&placeholders));
    assert!(json["zeek"][0].as_str().unwrap().starts_with("redef Broker::ssl_cafile"), "{json}");
    assert!(
        end.stdout.iter().any(|line| line.ends_with(&format!("asks for     a certificate of {ca}"))),
        "{end:?}"
    );

    let ours = Files::issue(&authority, "ours");
    let (end, json) = broker.probe(&ours.options).await;
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    assert_eq!(json["summary"], "a Broker with mutual TLS");
    assert_eq!(json["broker"], broker_json(broker.endpoint.id()));
    assert_eq!(json["options"], options(&ours.options.split_whitespace().collect::<Vec<_>>()));

    let foreign = Files::issue(&ephemeral_authority().unwrap(), "ours");
    let (end, json) = broker.probe(&foreign.options).await;
    assert_eq!(end.code, Some(4), "{end:?}");
    assert_eq!((&json["found"], &json["broker"]), (&json!("mutual"), &Json::Null));
    assert!(json["summary"].as_str().unwrap().contains("not signed by a CA in our cafile"), "{json}");
    assert_eq!(json["options"], options(&placeholders));
    broker.assert_no_peering(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_1_certificate_is_reported_in_a_note() {
    let fixture = |name| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name);
    let note = |json: &Json| json["notes"][0].as_str().unwrap().to_owned();
    if OPENSSL {
        let credentials = Credentials::from_files(fixture("ca.pem"), fixture("v1.pem"), fixture("v1.key"));
        let broker = Broker::start(None, Tls::Mutual(credentials.load().unwrap())).await;
        let (_, json) = broker.probe("").await;
        assert!(note(&json).contains("version 1") && note(&json).contains("--tls-backend openssl"), "{json}");
        let [ca, certificate, key] =
            ["ca.pem", "ec.pem", "ec.sec1.key"].map(|name| fixture(name).display().to_string());
        let ours = format!("--cafile {ca} --certificate {certificate} --keyfile {key}");
        let (end, json) = broker.probe(&ours).await;
        assert_eq!(end.code, Some(4), "{json}");
        assert!(json["summary"].as_str().unwrap().contains("--tls-backend openssl"), "{json}");
        let (end, json) = broker.probe(&format!("{ours} --tls-backend openssl")).await;
        assert_eq!((end.code, &json["broker"]), (Some(0), &broker_json(broker.endpoint.id())));
        broker.assert_no_peering(2).await;
    } else {
        let address = tls_server(&fixture("v1.pem"), &fixture("v1.key"), false, b"");
        let (_, json) =
            tokio::task::spawn_blocking(move || probe(&format!("probe {address}"))).await.unwrap();
        // The server does not request a certificate, so it is not Zeek.
        assert_eq!((&json["found"], &json["notes"]), (&json!("certificate"), &json!([])));
        assert_eq!(json["tls"]["certificate"]["issuer"], "CN=rsa-ca");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_tls_is_detected_without_openssl_and_probed_with_openssl() {
    if OPENSSL {
        let broker = Broker::start(None, Tls::anonymous().unwrap()).await;
        let (end, json) = broker.probe("").await;
        assert_eq!(end.code, Some(0), "{end:?}");
        assert_eq!(json["found"], "anonymous");
        assert_eq!(json["summary"], "a Broker with anonymous TLS, as Zeek has it by default");
        assert_eq!(json["broker"], broker_json(broker.endpoint.id()));
        assert_eq!(json["options"], json!(["--connect", broker.address, "--tls", "anonymous"]));
        assert_eq!((&json["zeek"], &json["notes"]), (&json!([]), &json!([])));
        broker.assert_no_peering(2).await;
        return;
    }
    // The server accepts only the anonymous cipher suite, as a Zeek process without TLS settings does.
    let address = serve(|mut stream| {
        let hello = read_some(&mut stream);
        let mut server_hello = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03".to_vec();
        server_hello.extend([7; 32]);
        server_hello.extend(b"\x00\xc0\x19\x00");
        let alert: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
        let anonymous = hello.starts_with(b"\x16") && hello.windows(2).any(|suite| suite == b"\xc0\x19");
        let _ = stream.write_all(if anonymous { &server_hello } else { alert });
    });
    let (end, json) = tokio::task::spawn_blocking(move || probe(&format!("probe {address}"))).await.unwrap();
    assert_eq!((end.code, &json["found"], &json["broker"]), (Some(0), &json!("anonymous"), &Json::Null));
    assert_eq!(json["options"].as_array().unwrap()[2..], ["--tls", "anonymous"]);
    assert!(json["notes"][0].as_str().unwrap().contains("--features openssl"), "{json}");
}

/// A server that selects the cipher suite, and then sends nothing.
#[cfg(feature = "openssl")]
#[test]
fn no_options_are_suggested_for_anonymous_tls_without_a_broker_endpoint() {
    let address = serve(|mut stream| {
        if read_some(&mut stream).starts_with(b"\x16") {
            let mut server_hello = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03".to_vec();
            server_hello.extend([7; 32]);
            server_hello.extend(b"\x00\xc0\x19\x00");
            let _ = stream.write_all(&server_hello);
        }
    });
    let end = Program::run(&format!("probe {address} --format json"), "");
    assert_ne!(end.code, Some(0), "{end:?}");
    let json = &end.json()[0];
    assert_eq!((&json["found"], &json["options"]), (&json!("anonymous"), &Json::Null), "{json}");
}

#[test]
fn an_unreachable_address_ends_with_exit_code_3() {
    // The port is reserved while it is bound here, and has no listener.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = bound.local_addr().unwrap().to_string();
    for (target, words) in [(refused.as_str(), "cannot connect: "), ("a..b:9999", "cannot find the host: ")] {
        let (end, json) = probe(&format!("probe {target}"));
        assert_eq!((end.code, end.stderr.as_str()), (Some(3), ""));
        assert!(end.stdout[0].starts_with(&format!("{target}: nothing: {words}")), "{end:?}");
        assert_eq!(
            (&json["found"], &json["address"], &json["options"]),
            (&json!("nothing"), &Json::Null, &Json::Null)
        );
    }
}

/// Starts a listener that calls `serve` in a new thread for each connection. Returns its address.
fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn read_some(stream: &mut TcpStream) -> Vec<u8> {
    let mut words = vec![0; 4096];
    let count = stream.read(&mut words).unwrap_or(0);
    words.truncate(count);
    words
}

/// A TLS server that accepts clients without a certificate, and sends these bytes.
fn tls_server(
    certificate: &std::path::Path,
    key: &std::path::Path,
    asks: bool,
    words: &'static [u8],
) -> String {
    let pem = |path| std::fs::read(path).unwrap();
    let chain = CertificateDer::pem_slice_iter(&pem(certificate)).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem(key)).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let shown = tokio_rustls::rustls::sign::CertifiedKey::new(chain, key);
    let shown = tokio_rustls::rustls::sign::SingleCertAndKey::from(shown);
    let provider = Arc::new(provider);
    let clients = if asks {
        let mut cas = RootCertStore::empty();
        let ca = certificate.with_file_name("ca.pem");
        cas.add(CertificateDer::from_pem_slice(&pem(&ca)).unwrap()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(cas), provider.clone());
        clients.allow_unauthenticated().build().unwrap()
    } else {
        WebPkiClientVerifier::no_client_auth()
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(shown));
    let config = Arc::new(config);
    serve(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        if tls.read(&mut [0; 100]).is_ok() {
            let _ = tls.write_all(words);
        }
    })
}

#[test]
fn other_protocols_are_identified_by_their_first_bytes() {
    let answers = |words: &'static [u8]| {
        serve(move |mut stream| {
            stream.write_all(words).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    };
    // The server receives at most `hears` bytes, and then answers byte by byte.
    let in_pieces = |hears: usize, words: &'static [u8]| {
        serve(move |mut stream| {
            stream.set_nodelay(true).unwrap();
            let _ = stream.read(&mut vec![0; hears]);
            words.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    };
    let fixture = |name| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name);
    for (address, code, found, summary) in [
        (answers(b"SSH-2.0-OpenSSH_9.9\r\n"), 6, "other", "an SSH server: SSH-2.0-OpenSSH_9.9"),
        (
            answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            6,
            "other",
            "a web server (HTTP): HTTP/1.1 400 Bad Request",
        ),
        (
            answers(b"220 mail\x1b[2J\xff ESMTP\r\n"),
            6,
            "other",
            "an unknown protocol that begins with: 220 mail\\x1b[2J\\xff ESMTP",
        ),
        (
            answers(b"\0\0\0\x01\x63"),
            6,
            "other",
            "an unknown protocol that begins with: \\x00\\x00\\x00\\x01c",
        ),
        (in_pieces(0, b"SSH-2.0-x\r\n"), 6, "other", "an SSH server: SSH-2.0-x"),
        (in_pieces(100, b"HTTP/1.1 400 Bad Request\r\n\r\n"), 6, "other", "(HTTP): HTTP/1.1 400 Bad Request"),
        (serve(drop), 6, "other", "it accepts connections, and closes them without sending anything"),
        (
            serve(|mut stream| {
                read_some(&mut stream);
                let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x46");
            }),
            6,
            "tls",
            "a TLS service that is not a Broker endpoint: it refuses each connection with the alert protocol_version",
        ),
        (
            tls_server(
                &fixture("rsa.pem"),
                &fixture("rsa.pkcs8.key"),
                false,
                b"HTTP/1.0 400 Bad Request\r\n\r\n",
            ),
            6,
            "certificate",
            "a web server over TLS (HTTPS): HTTP/1.0 400 Bad Request",
        ),
        (
            tls_server(&fixture("rsa.pem"), &fixture("rsa.pkcs8.key"), false, b""),
            6,
            "certificate",
            "TLS, but no Broker in it: it accepts connections, and closes them without sending anything",
        ),
        (
            tls_server(&fixture("rsa.pem"), &fixture("rsa.pkcs8.key"), true, b"+OK\r\n"),
            6,
            "certificate",
            "TLS, but no Broker in it: an unknown protocol that begins with: +OK",
        ),
    ] {
        let (end, json) = probe(&format!("probe {address}"));
        assert_eq!((end.code, end.stderr.as_str()), (Some(code), ""), "{summary}");
        assert_eq!(
            (&json["found"], &json["broker"], &json["options"]),
            (&json!(found), &Json::Null, &Json::Null)
        );
        assert!(json["summary"].as_str().unwrap().ends_with(summary), "{json}");
    }
}

/// The signature that libzmq sends on each new connection. libzmq sends the rest of its greeting after it has received the
/// signature of the peer.
const ZMTP: &[u8] = b"\xff\0\0\0\0\0\0\0\x01\x7f";

fn zeromq() -> String {
    serve(|mut stream| {
        stream.write_all(ZMTP).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

#[test]
fn zeromq_is_identified_and_hints_are_printed() {
    let (end, json) = probe(&format!("probe {}", zeromq()));
    assert_eq!((end.code, end.stderr.as_str()), (Some(6), ""));
    let summary = "no Broker: ZeroMQ, likely the cluster back end of Zeek 8.1 or later";
    assert_eq!((&json["found"], &json["summary"]), (&json!("other"), &json!(summary)));
    let notes = json["notes"].to_string();
    for word in ["ClusterBackend = Broker", "Broker::listen", "WebSocket"] {
        assert!(notes.contains(word), "{notes}");
    }
    for command in ["tap --topic /t", "publish --topic /t", "dispatch get_id_value x"] {
        let end = Program::run(&format!("{command} --tls off --connect {}", zeromq()), "");
        end.fails(6, &["this is ZeroMQ", "ClusterBackend = Broker", "Broker::listen", "WebSocket"]);
        assert!(!end.stderr.contains("4278190080"), "{end:?}");
    }
}

#[test]
fn an_echo_server_is_not_reported_as_a_broker_endpoint() {
    let echo = || {
        serve(|stream| {
            let mut to = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut &stream, &mut to);
        })
    };
    let (end, json) = probe(&format!("probe {}", echo()));
    assert_eq!((end.code, end.stderr.as_str()), (Some(6), ""));
    let summary = "no Broker: an echo server: it sends back what it receives";
    assert_eq!((&json["broker"], &json["summary"]), (&Json::Null, &json!(summary)));
    Program::run(&format!("tap --topic /t --tls off --connect {}", echo()), "")
        .fails(6, &["own id", "echo server"]);
}

#[test]
fn a_silent_server_does_not_block_the_probe() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (end, json) = probe(&format!("probe {} --wait 0.2", silent.local_addr().unwrap()));
    assert_eq!(end.code, Some(5), "{end:?}");
    assert_eq!(json["summary"], "no Broker: it accepts connections, and sends nothing");
    // A server that waits for a complete line, as web servers do.
    let web = serve(|mut stream| {
        let mut byte = [0];
        while stream.read(&mut byte).unwrap_or(0) > 0 {
            if byte[0] == b'\n' {
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n");
                return;
            }
        }
    });
    // Broker's hello contains no line break. A TLS ClientHello may contain one.
    let (end, json) = probe(&format!("probe {web} --wait 0.2"));
    assert_eq!(
        (end.code, &json["summary"]),
        (Some(6), &json!("no Broker: a web server (HTTP): HTTP/1.0 200 OK"))
    );
    assert!(json["notes"][0].as_str().unwrap().contains("WebSocket"), "{json}");
}

#[test]
fn wrong_usage_ends_with_exit_code_2() {
    let run = |args: &str| Program::run(args, "");
    run("probe").fails(2, &["HOST:PORT"]);
    run("probe localhost").fails(2, &["no port"]);
    run("probe a:1 --timeout 0").fails(2, &["--timeout"]);
    run("probe a:1 --wait 0").fails(2, &["--wait"]);
    run("probe a:1 --cafile x").fails(2, &["--certificate and --keyfile are missing"]);
    run("probe a:1 --cafile /nowhere --certificate /nowhere --keyfile /nowhere")
        .fails(4, &["cannot be read"]);
    run("probe a:1 --tls off").fails(2, &["--tls"]);
}

/// The ids of probes differ, so that an endpoint does not regard them as the same peer.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_probes_all_identify_the_endpoint() {
    let broker = Broker::start(None, Tls::Off).await;
    let probes: Vec<_> = (0..8)
        .map(|_| {
            let args = format!("probe {} --format json", broker.address);
            tokio::task::spawn_blocking(move || Program::run(&args, ""))
        })
        .collect();
    for end in probes {
        let end = end.await.unwrap();
        assert_eq!(end.json()[0]["broker"], broker_json(broker.endpoint.id()), "{end:?}");
    }
    broker.assert_no_peering(8).await;
}
