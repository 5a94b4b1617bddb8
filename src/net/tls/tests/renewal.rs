//! Renewal of certificates while connections are established.

use std::path::Path;
use std::time::Duration;

use super::pki::Ca;
use super::*;
use crate::net::tls::{CredentialFault, CredentialKind, Passphrase, Refusal};

/// Writes the three files that `credentials_in` reads.
fn write(dir: &Path, ca: &str, certificate: &str, key: &str) {
    for (name, content) in [("ca.pem", ca), ("node.pem", certificate), ("node.key", key)] {
        write_one(dir, name, content);
    }
}

/// Replaces a file atomically, as tools that renew certificates do.
fn write_one(dir: &Path, name: &str, content: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = dir.join("new");
    std::fs::write(&new, content).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(new, dir.join(name)).unwrap();
}

fn credentials_in(dir: &Path, backend: Backend) -> Credentials {
    Credentials::from_files(dir.join("ca.pem"), dir.join("node.pem"), dir.join("node.key")).backend(backend)
}

/// Returns the certificate that `tls` presents to `peer`.
async fn presented(tls: &MutualTls, peer: &Credentials) -> Result<Vec<u8>, TlsError> {
    let peer = End::load(peer, &[&TLS12, &TLS13]);
    let (at_peer, ours) = connect_ends(&peer, &End::Ours(Tls::Mutual(tls.clone()))).await;
    ours?;
    Ok(at_peer?.peer_certificate().unwrap().to_vec())
}

async fn assert_open(a: &mut Stream, b: &mut Stream) {
    a.write_all(b"word").await.unwrap();
    a.flush().await.unwrap();
    let mut word = [0; 4];
    b.read_exact(&mut word).await.unwrap();
    b.write_all(&word).await.unwrap();
    b.flush().await.unwrap();
    a.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"word");
}

#[test]
fn the_expiry_of_our_certificate_is_that_of_the_last_load() {
    let expires =
        |tls: &MutualTls| tls.valid_until().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for backend in BACKENDS {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
        let renew = |year| {
            let leaf = ca.leaf(|params| params.not_after = rcgen::date_time_ymd(year, 1, 1));
            write(dir.path(), ca.pem(), &leaf.chain, &leaf.key);
        };
        renew(2098);
        let tls = credentials_in(dir.path(), *backend).load().unwrap();
        assert_eq!(expires(&tls), 4_039_372_800);
        renew(2099);
        assert!(tls.reload().unwrap());
        assert_eq!(expires(&tls), 4_070_908_800);
    }
}

#[tokio::test]
async fn a_reload_affects_new_connections_only() {
    for backend in BACKENDS {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        let (first, second) = (old.leaf(|_| ()), new.leaf(|_| ()));
        write(dir.path(), old.pem(), &first.chain, &first.key);
        let tls = credentials_in(dir.path(), *backend).load().unwrap();
        let other_handle = tls.clone();
        let (a, b) =
            connect_ends(&End::Ours(Tls::Mutual(tls.clone())), &End::Ours(Tls::Mutual(tls.clone()))).await;
        let (mut a, mut b) = (a.unwrap(), b.unwrap());
        assert_eq!(presented(&tls, &old.credentials()).await.unwrap(), first.der);

        assert!(!tls.reload().unwrap(), "nothing has changed");
        write(dir.path(), new.pem(), &second.chain, &second.key);
        assert_eq!(
            presented(&tls, &old.credentials()).await.unwrap(),
            first.der,
            "the old certificate is used until the reload"
        );
        assert!(tls.reload().unwrap());
        assert_eq!(presented(&other_handle, &new.credentials()).await.unwrap(), second.der);
        let error = presented(&tls, &old.credentials()).await.unwrap_err();
        assert!(matches!(error, TlsError::Refused(Refusal::UnknownCa)), "{error:?}");
        assert_open(&mut a, &mut b).await;
    }
}

#[tokio::test]
async fn a_reload_that_fails_names_the_file_and_changes_nothing() {
    for backend in BACKENDS {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca");
        let (first, second) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
        write(dir.path(), ca.pem(), &first.chain, &first.key);
        let tls = credentials_in(dir.path(), *backend).load().unwrap();

        // The new certificate is written before its key.
        write(dir.path(), ca.pem(), &second.chain, &first.key);
        let error = tls.reload().unwrap_err();
        assert!(matches!(error.fault, CredentialFault::KeyMismatch), "{error}");
        assert_eq!(error.source, dir.path().join("node.key").display().to_string());
        assert_eq!(presented(&tls, &ca.credentials()).await.unwrap(), first.der);
        for (name, kind) in [
            ("ca.pem", CredentialKind::Cafile),
            ("node.pem", CredentialKind::Certificate),
            ("node.key", CredentialKind::Keyfile),
        ] {
            write(dir.path(), ca.pem(), &second.chain, &second.key);
            write_one(dir.path(), name, "incompl");
            let error = tls.reload().unwrap_err();
            assert_eq!((error.kind, error.source), (kind, dir.path().join(name).display().to_string()));
            assert_eq!(presented(&tls, &ca.credentials()).await.unwrap(), first.der);
            std::fs::remove_file(dir.path().join(name)).unwrap();
            assert!(matches!(tls.reload().unwrap_err().fault, CredentialFault::Unreadable(_)));
        }
        write(dir.path(), ca.pem(), &second.chain, &second.key);
        assert!(tls.reload().unwrap());
        assert_eq!(presented(&tls, &ca.credentials()).await.unwrap(), second.der);
    }
}

#[test]
fn a_pipe_that_replaces_a_file_does_not_block_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|_| ());
    let passphrase = dir.path().join("passphrase");
    std::fs::write(&passphrase, "not needed").unwrap();
    write(dir.path(), ca.pem(), &leaf.chain, &leaf.key);
    let credentials = credentials_in(dir.path(), Backend::Rustls);
    let tls = credentials.passphrase(Passphrase::from_file(&passphrase)).load().unwrap();
    for name in ["ca.pem", "node.pem", "node.key", "passphrase"] {
        let file = dir.path().join(name);
        let content = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let error = tls.reload().unwrap_err();
        assert!(matches!(error.fault, CredentialFault::NotAFile), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, content).unwrap();
    }
    assert!(!tls.reload().unwrap());
}

/// Waits until this certificate is presented.
async fn until_presented(tls: &MutualTls, peer: &Credentials, der: &[u8]) {
    while presented(tls, peer).await.unwrap() != der {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changed_files_are_reloaded_and_invalid_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let cas = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    std::fs::write(cas.path().join("ca.pem"), ca.pem()).unwrap();
    let (first, second) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
    write(dir.path(), ca.pem(), &first.chain, &first.key);
    let credentials =
        Credentials { cafile: None, ..credentials_in(dir.path(), Backend::Rustls) }.capath(cas.path());
    let tls = credentials.load().unwrap();
    let watching = tokio::spawn(tls.watch_files(Duration::from_millis(1)));
    assert_eq!(presented(&tls, &ca.credentials()).await.unwrap(), first.der);

    // The certificate is replaced before its key. Until the key is replaced, the old pair is used.
    write_one(dir.path(), "node.pem", &second.chain);
    assert_eq!(presented(&tls, &ca.credentials()).await.unwrap(), first.der);
    write_one(dir.path(), "node.key", &second.key);
    until_presented(&tls, &ca.credentials(), &second.der).await;

    // A CA is added to the directory.
    let leaf = other.leaf(|_| ());
    let of_other = Credentials::from_pem(ca.pem(), leaf.chain, leaf.key);
    assert!(
        matches!(presented(&tls, &of_other).await.unwrap_err(), TlsError::Certificate(ref refused) if refused.fault == CertificateFault::Foreign)
    );
    std::fs::write(cas.path().join("other.pem"), other.pem()).unwrap();
    while presented(&tls, &of_other).await.is_err() {
        tokio::task::yield_now().await;
    }

    // The task ends when the last clone is dropped.
    drop(tls);
    watching.await.unwrap();
}
