//! Tests against the `openssl` program, whose library Zeek uses for its TLS. If the program is not found, the tests print
//! a notice and are skipped.

use std::io::Write;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;
use crate::net::tls::{CredentialFault, Passphrase, Refusal};

/// The options of `openssl` for a valid certificate.
const RSA: [&str; 4] = ["-cert", "rsa.pem", "-key", "rsa.pkcs8.key"];
const EC: [&str; 4] = ["-cert", "ec.pem", "-key", "ec.sec1.key"];
/// The options of `openssl` for the anonymous TLS of a Zeek without certificate options.
const ANONYMOUS: [&str; 4] = ["-cipher", "AECDH-AES256-SHA@SECLEVEL=0", "-groups", "P-384"];

fn have_openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    if !found {
        // The test harness would capture the output of `eprintln!`, and a skipped test would look like a passed test.
        let _ = writeln!(std::io::stderr(), "SKIPPED: the openssl program is not installed");
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

    /// Starts a server that reverses each line and sends it back. Returns the server and the address that it listens on.
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

/// The options of `openssl` to require and verify the peer's certificate, as Broker does.
const SERVER_CHECKS: [&str; 5] = ["-CAfile", "ca.pem", "-Verify", "3", "-verify_return_error"];
const CLIENT_CHECKS: [&str; 3] = ["-CAfile", "ca.pem", "-verify_return_error"];

/// Connects to `openssl s_server`, sends a line and receives it reversed.
async fn connect_to_server(arguments: &[&str]) -> Result<(), TlsError> {
    connect_with(&ours(), arguments).await
}

async fn connect_with(ours: &Tls, arguments: &[&str]) -> Result<(), TlsError> {
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

/// Accepts a connection from `openssl s_client`, receives a line and sends one.
async fn accept_client(arguments: &[&str]) -> Result<(), TlsError> {
    accept_with(&ours(), arguments).await
}

async fn accept_with(ours: &Tls, arguments: &[&str]) -> Result<(), TlsError> {
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
async fn mutual_tls_with_openssl_works_in_both_directions() {
    if !have_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        for identity in [RSA, EC] {
            let broker = ["-cipher", "HIGH:!aNULL:!MD5", version];
            connect_to_server(&[&SERVER_CHECKS[..], &identity, &broker].concat()).await.unwrap();
            accept_client(&[&CLIENT_CHECKS[..], &identity, &broker].concat()).await.unwrap();
        }
    }
}

/// One kind of remote end. Contains the options of `openssl` as a server and as a client, and the expected outcomes if we
/// connect and if we listen.
struct Row {
    kind: &'static str,
    server: Vec<&'static str>,
    client: Vec<&'static str>,
    outcomes: [&'static str; 2],
}

/// Returns the kinds of remote ends, with the outcomes that are expected for `ours`. `ours` is mutual TLS or anonymous TLS.
/// In mutual TLS, the outcomes depend on the back end, because OpenSSL accepts some certificates that rustls rejects.
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

/// Returns a part of the hint that the error for this outcome must contain.
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
async fn each_combination_of_local_and_remote_tls_has_the_expected_outcome() {
    if !have_openssl() {
        return;
    }
    for ours in BACKENDS.iter().map(|backend| mutual(*backend)).chain(Tls::anonymous().ok()) {
        for row in table(&ours) {
            let results = [connect_with(&ours, &row.server).await, accept_with(&ours, &row.client).await];
            for ((result, outcome), side) in results.into_iter().zip(row.outcomes).zip(["connect", "listen"])
            {
                let case = format!("{ours:?} {side} {}: {result:?}", row.kind);
                assert_eq!(super::pairings::short(&result), outcome, "{case}");
                if let Err(error) = result {
                    assert!(error.to_string().contains(hint(outcome)), "{case}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_error_for_an_anonymous_openssl_peer_mentions_anonymous_tls() {
    if !have_openssl() {
        return;
    }
    let server = connect_to_server(&[&["-nocert"], &ANONYMOUS[..]].concat()).await.unwrap_err();
    assert!(matches!(server, TlsError::Refused(Refusal::HandshakeFailure)), "{server:?}");
    let client = accept_client(&[&["-tls1_2"], &ANONYMOUS[..]].concat()).await.unwrap_err();
    assert!(matches!(client, TlsError::NoCommonCipher(_)), "{client:?}");
    // The anonymous ciphers exist only in TLS 1.2, but such a client also offers TLS 1.3.
    let client = accept_client(&ANONYMOUS).await.unwrap_err();
    assert!(matches!(client, TlsError::NoPeerCertificate), "{client:?}");
    for error in [server, client] {
        assert!(error.to_string().contains("anonymous TLS"), "{error}");
    }
}

#[tokio::test]
async fn we_reject_invalid_certificates_of_an_openssl_peer() {
    if !have_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let none = accept_client(&[version]).await.unwrap_err();
        assert!(matches!(none, TlsError::NoPeerCertificate), "{version}: {none:?}");
        let version1 = ["-cert", "v1.pem", "-key", "v1.key", version];
        for error in
            [connect_to_server(&version1).await.unwrap_err(), accept_client(&version1).await.unwrap_err()]
        {
            assert!(
                matches!(error, TlsError::Certificate(ref refused) if refused.fault == CertificateFault::Version1),
                "{version}: {error:?}"
            );
        }
        let foreign = ["-cert", "ec-by-v1-ca.pem", "-key", "ec.sec1.key", version];
        for error in
            [connect_to_server(&foreign).await.unwrap_err(), accept_client(&foreign).await.unwrap_err()]
        {
            assert!(
                matches!(error, TlsError::Certificate(ref refused) if refused.fault == CertificateFault::Foreign),
                "{version}: {error:?}"
            );
        }
        let weak = ["-cert", "rsa1024.pem", "-key", "rsa1024.key", "-cipher", "ALL@SECLEVEL=0", version];
        for error in [connect_to_server(&weak).await.unwrap_err(), accept_client(&weak).await.unwrap_err()] {
            assert!(
                matches!(error, TlsError::Certificate(ref refused) if matches!(refused.fault, CertificateFault::Unusable(_))),
                "{version}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_openssl_peer_that_trusts_another_ca_rejects_our_certificate() {
    if !have_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        // OpenSSL trusts a CA that did not sign our certificate. The peer reports the reason only in a TLS alert.
        let server = ["-CAfile", "v1-ca.pem", "-Verify", "3", "-verify_return_error", version];
        let error = connect_to_server(&[&server[..], &RSA].concat()).await.unwrap_err();
        assert!(matches!(error, TlsError::Refused(Refusal::UnknownCa)), "{version}: {error:?}");
        let client = ["-CAfile", "v1-ca.pem", "-verify_return_error", version];
        let error = accept_client(&[&client[..], &RSA].concat()).await.unwrap_err();
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
    let output =
        std::process::Command::new("sh").arg("-c").arg(&command).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let fixed = certificate.with_extension("pem.v3");
    assert_eq!(*Credentials::from_files(&ca, fixed, &key).load().unwrap().warnings(), []);
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
    let output =
        std::process::Command::new("sh").arg("-c").arg(&command).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let [certificate, key] = ["node.pem", "node.key"].map(|name| dir.path().join(name));
    assert_eq!(*Credentials::from_files(&ca, certificate, key).load().unwrap().warnings(), []);
}

#[test]
fn the_hint_for_a_key_with_legacy_encryption_works() {
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
    // The first quoted text is the cause, not the command. The passphrase is added, because the command would ask for
    // it at the terminal.
    let command = text.split('`').find(|part| part.starts_with("openssl")).unwrap();
    let command = command.replace("-topk8", "-topk8 -passin pass:secret -passout pass:secret");
    let output = std::process::Command::new("sh").arg("-c").arg(&command).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
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
        let output = std::process::Command::new("sh").arg("-c").arg(&command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        load(key.with_extension("key.plain")).unwrap();
    }
}
