//! Combinations of TLS configurations. Some connect, and some fail. Failures are reported before any timeout.

use std::time::Duration;

use zeek_bridge::endpoint::{ConnectError, Endpoint};
use zeek_bridge::net::tls::{Backend, CertificateFault, Credentials, Tls, TlsError};

use crate::certificates::*;
use crate::driver::*;
use crate::support::*;

fn endpoint_without_timeout() -> Endpoint {
    endpoint_with(|config| config.handshake_timeout = Duration::from_secs(3600))
}

/// Returns the errors of our connector and our listener against a libbroker endpoint with these options.
async fn errors(program: &str, kind: &TlsSetup, theirs: &[&str]) -> (ConnectError, ConnectError) {
    let ours = endpoint_without_timeout();
    let (reference, address) = LibbrokerProcess::listen(program, theirs).await;
    let mut connector = ours.connect(&address, kind.ours.clone());
    let connecting = within("the attempt", connector.first_attempt()).await.unwrap_err();
    drop(reference);
    let mut statuses = ours.status();
    let listener = listen_with(&ours, kind.ours.clone()).await;
    let port = listener.local_addr().port().to_string();
    let _reference = LibbrokerProcess::start(program, &[&["--connect", &port], theirs].concat()).await;
    (connecting, failed(&mut statuses).await)
}

#[tokio::test]
async fn plain_tcp_against_anonymous_tls_fails() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &TlsSetup::plain(), &[]).await;
    assert!(connecting.to_string().contains("TLS"), "{connecting}");
    assert!(listening.to_string().contains("TLS"), "{listening}");
}

#[tokio::test]
async fn mutual_tls_against_anonymous_tls_fails() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &TlsSetup::mutual(), &[]).await;
    for error in [connecting, listening] {
        assert!(error.to_string().contains("anonymous"), "{error}");
    }
}

#[tokio::test]
async fn mutual_tls_against_plain_tcp_fails() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &TlsSetup::mutual(), &["--disable-ssl"]).await;
    for error in [connecting, listening] {
        assert!(error.to_string().contains("disable_ssl"), "{error}");
    }
}

#[tokio::test]
async fn certificates_of_another_ca_are_rejected() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &TlsSetup::mutual(), &TlsSetup::mutual().theirs()).await;
    for error in [connecting, listening] {
        assert!(matches!(error, ConnectError::Tls(_)), "{error}");
        assert!(error.to_string().contains("CA"), "{error}");
    }
}

/// Returns the options of libbroker for a certificate of the fixtures.
fn certificate(ca: &str, certificate: &str, key: &str) -> Vec<String> {
    let [ca, certificate, key] = [ca, certificate, key].map(|name| fixture(name).display().to_string());
    ["--ssl-cafile", &ca, "--ssl-certificate", &certificate, "--ssl-keyfile", &key]
        .map(str::to_owned)
        .to_vec()
}

fn with_passphrase(mut options: Vec<String>) -> Vec<String> {
    options.extend(["--ssl-passphrase".to_owned(), "secret".to_owned()]);
    options
}

/// Connects in both directions and exchanges a message each way.
async fn assert_connected(program: &str, ours: Tls, theirs: Vec<String>) {
    let kind = TlsSetup { ours, theirs, _files: None };
    for connector in [Connector::Ours, Connector::Theirs] {
        let ours = endpoint_without_timeout();
        let mut subscriber = subscribe(&ours, "/ours").await;
        let options = ["--subscribe", "/theirs", "--retry", "1"];
        let mut pair = Pair::new(ours, program, &kind, connector, &options).await;
        subscribers(&pair.ours, "/theirs", 1).await;
        pair.ours.publish(topic("/theirs"), &text("from ours")).await.unwrap();
        assert_eq!(pair.theirs.line("message /theirs ").await, "from ours");
        pair.theirs.send_line("publish /ours string from theirs").await;
        assert_eq!(next_text(&mut subscriber).await, "from theirs");
        assert_eq!(pair.ours.identity(pair.theirs.id).is_some(), matches!(kind.ours, Tls::Mutual(_)));
    }
}

#[tokio::test]
async fn endpoints_with_version_3_certificates_connect_with_plain_and_encrypted_keys() {
    let program = reference_or_skip!();
    for backend in BACKENDS {
        let theirs = certificate("ca.pem", "ec.pem", "ec.sec1.key");
        assert_connected(&program, mutual(&encrypted(), *backend), theirs).await;
        for key in ["rsa.encrypted-pkcs8.key", "rsa.encrypted-legacy.key"] {
            let theirs = with_passphrase(certificate("ca.pem", "rsa.pem", key));
            assert_connected(&program, mutual(&version3(), *backend), theirs).await;
        }
    }
}

#[tokio::test]
async fn cas_in_directories_are_trusted() {
    let program = reference_or_skip!();
    let cas = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("ca.pem"), cas.path().join("ca.pem")).unwrap();
    // OpenSSL looks for the CA under this name.
    let hash = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-hash", "-in"])
        .arg(fixture("ca.pem"))
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    std::os::unix::fs::symlink("ca.pem", cas.path().join(format!("{}.0", hash.trim()))).unwrap();
    for backend in BACKENDS {
        let ours = Credentials::from_capath(cas.path(), fixture("rsa.pem"), fixture("rsa.pkcs8.key"));
        let mut theirs = certificate("ca.pem", "ec.pem", "ec.sec1.key");
        theirs.splice(..2, ["--ssl-capath".to_owned(), cas.path().display().to_string()]);
        assert_connected(&program, mutual(&ours, *backend), theirs).await;
    }
}

#[tokio::test]
async fn a_version_1_certificate_is_rejected_by_rustls() {
    let program = reference_or_skip!();
    let ours = mutual(&version3(), Backend::Rustls);
    let theirs = certificate("ca.pem", "v1.pem", "v1.key");
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let kind = TlsSetup { ours, theirs: Vec::new(), _files: None };
    let (connecting, listening) = errors(&program, &kind, &theirs).await;
    for error in [connecting, listening] {
        assert!(
            matches!(error, ConnectError::Tls(TlsError::Certificate(ref refused)) if refused.fault == CertificateFault::Version1),
            "{error}"
        );
        assert!(error.to_string().contains("-extfile v3.ext"), "{error}");
    }
}

#[cfg(feature = "openssl")]
mod with_openssl {
    use super::*;

    #[tokio::test]
    async fn endpoints_with_anonymous_tls_connect() {
        let program = reference_or_skip!();
        assert_connected(&program, Tls::anonymous().unwrap(), Vec::new()).await;
    }

    #[tokio::test]
    async fn anonymous_tls_against_other_configurations_fails() {
        let program = reference_or_skip!();
        let kind = TlsSetup { ours: Tls::anonymous().unwrap(), theirs: Vec::new(), _files: None };
        let (connecting, listening) = errors(&program, &kind, &["--disable-ssl"]).await;
        for error in [connecting, listening] {
            assert!(matches!(error, ConnectError::Tls(TlsError::NotTls)), "{error}");
        }
        let (connecting, listening) = errors(&program, &kind, &TlsSetup::mutual().theirs()).await;
        for error in [connecting, listening] {
            assert!(matches!(error, ConnectError::Tls(TlsError::NotAnonymous(_))), "{error}");
        }
    }

    #[tokio::test]
    async fn endpoints_with_version_1_certificates_connect() {
        let program = reference_or_skip!();
        let theirs = || certificate("ca.pem", "v1.pem", "v1.key");
        assert_connected(&program, mutual(&version3(), Backend::OpenSsl), theirs()).await;
        assert_connected(&program, mutual(&version1(), Backend::Auto), theirs()).await;
        assert_connected(&program, mutual(&legacy(), Backend::Auto), theirs()).await;
        // A version 1 CA.
        let ours =
            Credentials::from_files(fixture("v1-ca.pem"), fixture("ec-by-v1-ca.pem"), fixture("ec.sec1.key"));
        let theirs = certificate("v1-ca.pem", "ec-by-v1-ca.pem", "ec.sec1.key");
        assert_connected(&program, mutual(&ours, Backend::Auto), theirs).await;
    }

    #[tokio::test]
    async fn the_certificate_of_the_ca_can_be_used_by_every_endpoint() {
        let program = reference_or_skip!();
        let folder = tempfile::tempdir().unwrap();
        let [file, key] = ["self.pem", "self.key"].map(|name| folder.path().join(name).display().to_string());
        // A self-signed certificate, which all endpoints share and trust.
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "30", "-subj", "/CN=shared"])
            .args(["-out", &file, "-keyout", &key])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let theirs = ["--ssl-cafile", &file, "--ssl-certificate", &file, "--ssl-keyfile", &key];
        let ours = Credentials::from_files(&file, &file, &key);
        assert_connected(&program, mutual(&ours, Backend::Auto), theirs.map(str::to_owned).to_vec()).await;
    }

    #[tokio::test]
    async fn mismatches_are_reported_with_openssl() {
        let program = reference_or_skip!();
        let kind = |credentials: Credentials| TlsSetup {
            ours: mutual(&credentials, Backend::OpenSsl),
            theirs: Vec::new(),
            _files: None,
        };
        let (connecting, listening) = errors(&program, &kind(version3()), &[]).await;
        for error in [connecting, listening] {
            assert!(error.to_string().contains("--tls anonymous"), "{error}");
        }
        let (connecting, listening) = errors(&program, &kind(version3()), &["--disable-ssl"]).await;
        for error in [connecting, listening] {
            assert!(matches!(error, ConnectError::Tls(TlsError::NotTls)), "{error}");
        }
        let foreign = certificate("ca.pem", "ec-by-v1-ca.pem", "ec.sec1.key");
        let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
        let (connecting, listening) = errors(&program, &kind(version3()), &foreign).await;
        for error in [connecting, listening] {
            assert!(
                matches!(error, ConnectError::Tls(TlsError::Certificate(ref refused)) if refused.fault == CertificateFault::Foreign),
                "{error}"
            );
        }
        let expired = certificate("ca.pem", "expired.pem", "expired.key");
        let expired: Vec<&str> = expired.iter().map(String::as_str).collect();
        let (connecting, listening) = errors(&program, &kind(version3()), &expired).await;
        for error in [connecting, listening] {
            assert!(
                matches!(error, ConnectError::Tls(TlsError::Certificate(ref refused)) if matches!(refused.fault, CertificateFault::Expired { .. })),
                "{error}"
            );
        }
    }
}
