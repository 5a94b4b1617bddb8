//! Tests against the `openssl` program, whose library Zeek uses for its TLS. If it is not found, the tests say
//! so and do nothing.

use std::io::Write;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;
use crate::net::tls::{CredentialFault, Passphrase, Refusal};

/// The options of `openssl` for a valid certificate.
const RSA: [&str; 4] = ["-cert", "rsa.pem", "-key", "rsa.pkcs8.key"];
const EC: [&str; 4] = ["-cert", "ec.pem", "-key", "ec.sec1.key"];
/// How a Zeek without certificate options sets OpenSSL up.
const ANONYMOUS: [&str; 4] = ["-cipher", "AECDH-AES256-SHA@SECLEVEL=0", "-groups", "P-384"];

fn have_openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    if !found {
        // Past the capture of the test harness: a skipped test should not look like a passed one.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no openssl program here");
    }
    found
}

/// Runs the program in the directory of the fixtures, and returns its output; `None` if it is not found.
pub(super) fn run(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = have_openssl().then(|| {
        std::process::Command::new("openssl").args(arguments).current_dir(fixture_path("")).output().unwrap()
    })?;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn mutual(backend: Backend) -> Tls {
    let [ca, certificate, key] = ["ca.pem", "rsa.pem", "rsa.pkcs1.key"].map(fixture_path);
    Tls::Mutual(Credentials::from_files(ca, certificate, key).backend(backend).load().unwrap())
}

fn ours() -> Tls {
    mutual(Backend::Rustls)
}

struct Openssl {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Openssl {
    fn start(arguments: &[&str]) -> Openssl {
        let mut child = Command::new("openssl")
            .args(arguments)
            .current_dir(fixture_path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Openssl { _child: child, stdin, stdout }
    }

    /// A server that gives each line back reversed, and the address that it listens on.
    async fn server(arguments: &[&str]) -> (Openssl, String) {
        let mut server = Openssl::start(
            &[&["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev"], arguments].concat(),
        );
        let mut line = String::new();
        while server.stdout.read_line(&mut line).await.unwrap() > 0 {
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                return (server, address.to_owned());
            }
            line.clear();
        }
        panic!("openssl s_server ended: {arguments:?}");
    }
}

/// Demands and checks a certificate, as Broker does.
const SERVER_CHECKS: [&str; 5] = ["-CAfile", "ca.pem", "-Verify", "3", "-verify_return_error"];
const CLIENT_CHECKS: [&str; 3] = ["-CAfile", "ca.pem", "-verify_return_error"];

/// Connects to `openssl s_server`: a line goes, and comes back reversed.
async fn connected_to(arguments: &[&str]) -> Result<(), TlsError> {
    we_connect_to(&ours(), arguments).await
}

async fn we_connect_to(ours: &Tls, arguments: &[&str]) -> Result<(), TlsError> {
    let (_server, address) = Openssl::server(arguments).await;
    let mut stream = ours.connect(TcpStream::connect(address).await.unwrap()).await?;
    let _ = stream.write_all(b"zeek\n").await;
    let mut line = [0; 5];
    match stream.read_exact(&mut line).await {
        Ok(_) => assert_eq!(&line, b"keez\n"),
        Err(error) => {
            return Err(TlsError::from_io(&error).unwrap_or_else(|| TlsError::from_handshake(error)));
        }
    }
    Ok(())
}

/// Has `openssl s_client` connect to us: a line comes, and one goes.
async fn connected_by(arguments: &[&str]) -> Result<(), TlsError> {
    we_are_connected_by(&ours(), arguments).await
}

async fn we_are_connected_by(ours: &Tls, arguments: &[&str]) -> Result<(), TlsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = Openssl::start(
        &[&["s_client", "-connect", &address, "-noservername", "-quiet", "-no_ign_eof"], arguments].concat(),
    );
    let mut stream = ours.accept(listener.accept().await.unwrap().0).await?;
    assert_eq!(stream.peer_certificate().is_some(), matches!(ours, Tls::Mutual(_)));
    client.stdin.write_all(b"from openssl\n").await.unwrap();
    let mut line = [0; 13];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"from openssl\n");
    stream.write_all(b"from us\n").await.unwrap();
    let mut line = String::new();
    client.stdout.read_line(&mut line).await.unwrap();
    assert_eq!(line, "from us\n");
    Ok(())
}

#[tokio::test]
async fn openssl_connects_to_both_back_ends() {
    if !have_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        for identity in [RSA, EC] {
            let broker = ["-cipher", "HIGH:!aNULL:!MD5", version];
            connected_to(&[&SERVER_CHECKS[..], &identity, &broker].concat()).await.unwrap();
            connected_by(&[&CLIENT_CHECKS[..], &identity, &broker].concat()).await.unwrap();
        }
    }
}

/// Another end by its kind: what it is started with as a server and as a client, and what comes of it, for us as
/// the one that connects and the one that listens.
struct Row {
    kind: &'static str,
    server: Vec<&'static str>,
    client: Vec<&'static str>,
    outcomes: [&'static str; 2],
}

/// What comes of each kind of other end, if ours is mutual (and OpenSSL takes what rustls refuses) or anonymous.
fn table(ours: &Tls) -> Vec<Row> {
    let (anonymous, openssl) = match ours {
        Tls::Mutual(mutual) => (false, mutual.backend() == Backend::OpenSsl),
        _ => (true, true),
    };
    let row = |kind, identity: &[&'static str], outcomes: [&'static str; 2]| Row {
        kind,
        server: [&SERVER_CHECKS, identity].concat(),
        client: [&CLIENT_CHECKS, identity].concat(),
        outcomes: if anonymous { ["NotAnonymous"; 2] } else { outcomes },
    };
    let ok = ["ok"; 2];
    let encrypted = |key| vec!["-cert", "rsa.pem", "-key", key, "-pass", "pass:secret"];
    let refused_or_nothing = ["refused: HandshakeFailure", "NoPeerCertificate"];
    vec![
        Row {
            kind: "anonymous",
            server: [&["-nocert"], &ANONYMOUS[..]].concat(),
            client: ANONYMOUS.to_vec(),
            outcomes: if anonymous { ok } else { refused_or_nothing },
        },
        row("mutual v3, RSA", &RSA, ok),
        row("mutual v3, EC", &EC, ok),
        row(
            "mutual v1",
            &["-cert", "v1.pem", "-key", "v1.key"],
            if openssl { ok } else { ["PeerVersion1"; 2] },
        ),
        row("wrong CA", &["-cert", "ec-by-v1-ca.pem", "-key", "ec.sec1.key"], ["PeerForeign"; 2]),
        row("expired", &["-cert", "expired.pem", "-key", "expired.key"], ["PeerExpired"; 2]),
        Row {
            kind: "no certificate",
            server: vec!["-nocert"],
            client: CLIENT_CHECKS.to_vec(),
            outcomes: if anonymous { ["NotAnonymous"; 2] } else { refused_or_nothing },
        },
        row("encrypted key, PKCS#8", &encrypted("rsa.encrypted-pkcs8.key"), ok),
        row("encrypted key, legacy", &encrypted("rsa.encrypted-legacy.key"), ok),
    ]
}

/// A part of the hint in the text of a failure.
fn hint(outcome: &str) -> &'static str {
    match outcome {
        "PeerVersion1" => "-extfile v3.ext",
        "PeerForeign" => "cafile",
        "PeerExpired" => "renew it",
        "NotAnonymous" => "Broker::ssl_certificate",
        "NoPeerCertificate" | "refused: HandshakeFailure" => "speak anonymous TLS here too",
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_kind_of_openssl_meets_every_kind_of_ours() {
    if !have_openssl() {
        return;
    }
    for ours in BACKENDS.iter().map(|backend| mutual(*backend)).chain(Tls::anonymous().ok()) {
        for row in table(&ours) {
            let met =
                [we_connect_to(&ours, &row.server).await, we_are_connected_by(&ours, &row.client).await];
            for ((met, outcome), side) in met.into_iter().zip(row.outcomes).zip(["connect", "listen"]) {
                let what = format!("{ours:?} {side} {}: {met:?}", row.kind);
                assert_eq!(super::pairings::short(&met), outcome, "{what}");
                if let Err(error) = met {
                    assert!(error.to_string().contains(hint(outcome)), "{what}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_anonymous_openssl_is_named() {
    if !have_openssl() {
        return;
    }
    let server = connected_to(&[&["-nocert"], &ANONYMOUS[..]].concat()).await.unwrap_err();
    assert!(matches!(server, TlsError::Refused(Refusal::HandshakeFailure)), "{server:?}");
    let client = connected_by(&[&["-tls1_2"], &ANONYMOUS[..]].concat()).await.unwrap_err();
    assert!(matches!(client, TlsError::NoCommonCipher(_)), "{client:?}");
    // The anonymous ciphers are of TLS 1.2, but such a client goes on to offer TLS 1.3.
    let client = connected_by(&ANONYMOUS).await.unwrap_err();
    assert!(matches!(client, TlsError::NoPeerCertificate), "{client:?}");
    for error in [server, client] {
        assert!(error.to_string().contains("anonymous TLS"), "{error}");
    }
}

#[tokio::test]
async fn certificates_of_openssl_that_we_refuse() {
    if !have_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let none = connected_by(&[version]).await.unwrap_err();
        assert!(matches!(none, TlsError::NoPeerCertificate), "{version}: {none:?}");
        let version1 = ["-cert", "v1.pem", "-key", "v1.key", version];
        for error in [connected_to(&version1).await.unwrap_err(), connected_by(&version1).await.unwrap_err()]
        {
            assert!(
                matches!(error, TlsError::Certificate(ref refused) if refused.fault == CertificateFault::Version1),
                "{version}: {error:?}"
            );
        }
        let foreign = ["-cert", "ec-by-v1-ca.pem", "-key", "ec.sec1.key", version];
        for error in [connected_to(&foreign).await.unwrap_err(), connected_by(&foreign).await.unwrap_err()] {
            assert!(
                matches!(error, TlsError::Certificate(ref refused) if refused.fault == CertificateFault::Foreign),
                "{version}: {error:?}"
            );
        }
        let weak = ["-cert", "rsa1024.pem", "-key", "rsa1024.key", "-cipher", "ALL@SECLEVEL=0", version];
        for error in [connected_to(&weak).await.unwrap_err(), connected_by(&weak).await.unwrap_err()] {
            assert!(
                matches!(error, TlsError::Certificate(ref refused) if matches!(refused.fault, CertificateFault::Unusable(_))),
                "{version}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn certificates_of_ours_that_openssl_refuses() {
    if !have_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        // It trusts another CA than ours. As a client, it reports the reason only in the alert that we receive.
        let server = ["-CAfile", "v1-ca.pem", "-Verify", "3", "-verify_return_error", version];
        let error = connected_to(&[&server[..], &RSA].concat()).await.unwrap_err();
        assert!(matches!(error, TlsError::Refused(Refusal::UnknownCa)), "{version}: {error:?}");
        let client = ["-CAfile", "v1-ca.pem", "-verify_return_error", version];
        let error = connected_by(&[&client[..], &RSA].concat()).await.unwrap_err();
        assert!(matches!(error, TlsError::Refused(Refusal::UnknownCa)), "{version}: {error:?}");
    }
}

#[test]
fn the_hint_for_a_version_1_certificate_works() {
    if !have_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "ca.key", "v1.pem"] {
        std::fs::write(dir.path().join(name), fixture(name)).unwrap();
    }
    let [ca, ca_key, certificate] = ["ca.pem", "ca.key", "v1.pem"].map(|name| dir.path().join(name));
    let key = private_copy("v1.key");
    let credentials = Credentials::from_files(&ca, &certificate, &key).backend(Backend::Rustls);
    let error = credentials.load().unwrap_err().to_string();
    let command = error.split('`').nth(1).unwrap();
    let command = command.replace("KEYFILE", key.to_str().unwrap());
    let command =
        command.replace("CAFILE", ca.to_str().unwrap()).replace("KEY-OF-THE-CA", ca_key.to_str().unwrap());
    let done =
        std::process::Command::new("sh").arg("-c").arg(&command).current_dir(dir.path()).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    let mended = certificate.with_extension("pem.v3");
    assert_eq!(*Credentials::from_files(&ca, mended, &key).load().unwrap().warnings(), []);
}

#[test]
fn the_hint_for_the_certificate_of_a_ca_works() {
    if !have_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [ca, ca_key] = ["ca.pem", "ca.key"].map(|name| dir.path().join(name));
    std::fs::write(&ca, fixture("ca.pem")).unwrap();
    std::fs::copy(private_copy("ca.key"), &ca_key).unwrap();
    let loaded = Credentials::from_files(&ca, &ca, &ca_key).backend(Backend::Rustls).load().unwrap();
    let [warning] = &*loaded.warnings() else { panic!("{loaded:?}") };
    let text = warning.to_string();
    let command = text.split('`').nth(1).unwrap().replace("KEYFILE", ca_key.to_str().unwrap());
    let done =
        std::process::Command::new("sh").arg("-c").arg(&command).current_dir(dir.path()).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    let [certificate, key] = ["node.pem", "node.key"].map(|name| dir.path().join(name));
    assert_eq!(*Credentials::from_files(&ca, certificate, key).load().unwrap().warnings(), []);
}

#[test]
fn the_hint_for_an_old_encryption_works() {
    if !have_openssl() {
        return;
    }
    let key = private_copy("rsa.encrypted-legacy.key");
    let load = |key: &std::path::Path| {
        Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), key)
            .passphrase(Passphrase::new("secret"))
            .backend(Backend::Rustls)
            .load()
    };
    let error = load(&key).unwrap_err();
    assert!(matches!(error.fault, CredentialFault::LegacyEncrypted), "{error}");
    let text = error.to_string();
    // The first quotation is the cause. The passphrase is added, because the command would ask for it at the terminal.
    let command = text.split('`').find(|part| part.starts_with("openssl")).unwrap();
    let command = command.replace("-topk8", "-topk8 -passin pass:secret -passout pass:secret");
    let done = std::process::Command::new("sh").arg("-c").arg(&command).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(*load(&key.with_extension("key.pkcs8")).unwrap().warnings(), []);
}

#[test]
fn the_hint_for_an_encrypted_key_works() {
    if !have_openssl() {
        return;
    }
    for name in ["rsa.encrypted-pkcs8.key", "rsa.encrypted-legacy.key"] {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join(name);
        std::fs::write(&key, fixture(name)).unwrap();
        let load = |key| Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), key).load();
        let error = load(key.clone()).unwrap_err().to_string();
        // The passphrase is added, because the command would ask for it at the terminal.
        let command =
            error.split('`').nth(1).unwrap().replace("openssl pkey", "openssl pkey -passin pass:secret");
        let done = std::process::Command::new("sh").arg("-c").arg(&command).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        load(key.with_extension("key.plain")).unwrap();
    }
}
