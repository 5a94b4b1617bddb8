//! This test has its own test binary, because a tracing subscriber is global to a process.
#![cfg(feature = "cli")]

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zeek_bridge::net::tls::{CredentialWarning, Credentials};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn problems_of_credentials_are_logged_when_they_are_loaded() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();

    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls");
    let [ca, certificate] = ["v1-ca.pem", "rsa.pem"].map(|name| fixtures.join(name));
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::copy(fixtures.join("rsa.pkcs8.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = Credentials::from_files(&ca, &certificate, &key).load().unwrap();
    let [CredentialWarning::KeyExposed { .. }, CredentialWarning::Foreign { .. }] = &*loaded.warnings()
    else {
        panic!("{loaded:?}")
    };

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("WARN") && text.contains("is not signed by a CA in cafile"), "{text}");
    assert!(text.contains("other users can read it") && text.contains(key.to_str().unwrap()), "{text}");
    assert!(text.contains(certificate.to_str().unwrap()) && text.contains(ca.to_str().unwrap()), "{text}");
}
