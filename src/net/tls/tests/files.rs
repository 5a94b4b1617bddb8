//! Files that block, never end, or are invalid in several parts.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::pki::Ca;
use crate::net::tls::files::{PipeTimeouts, read_pipe};
use crate::net::tls::{CredentialFault, CredentialKind, Credentials, Passphrase};

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

/// Writes the parts of credentials to a directory.
fn write(directory: &Path) -> Credentials {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|_| ());
    for (name, content) in
        [("ca", ca.pem()), ("certificate", leaf.chain.as_str()), ("key", leaf.key.as_str())]
    {
        std::fs::write(directory.join(name), content).unwrap();
    }
    let [cafile, certificate, keyfile] = ["ca", "certificate", "key"].map(|name| directory.join(name));
    Credentials::from_files(cafile, certificate, keyfile)
}

#[test]
fn a_pipe_without_a_writer_is_an_error_and_does_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = write(directory.path());
    let pipe = directory.path().join("pipe");
    fifo(&pipe);
    let start = Instant::now();
    let error = credentials.passphrase(Passphrase::from_file(&pipe)).load().unwrap_err();
    assert_eq!(error.kind, CredentialKind::Passphrase);
    assert!(matches!(error.fault, CredentialFault::NoWriter), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_whose_writer_closes_it_without_data_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = write(directory.path());
    for part in ["passphrase", "key"] {
        let pipe = directory.path().join(part);
        let _ = std::fs::remove_file(&pipe);
        fifo(&pipe);
        let mut credentials = credentials.clone();
        if part == "passphrase" {
            credentials = credentials.passphrase(Passphrase::from_file(&pipe));
        }
        // Opening the pipe waits for the reader.
        let writing = std::thread::spawn(move || drop(std::fs::OpenOptions::new().write(true).open(pipe)));
        let error = credentials.load().unwrap_err();
        assert!(
            matches!(
                (part, &error.fault),
                ("passphrase", CredentialFault::EmptyPassphrase) | ("key", CredentialFault::Empty)
            ),
            "{error}"
        );
        writing.join().unwrap();
    }
}

#[test]
fn a_pipe_whose_writer_does_not_finish_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    fifo(&pipe);
    // Opening a pipe for reading and writing does not wait.
    let mut writer = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let waited = Duration::from_millis(20);
    let timeouts = PipeTimeouts { data: waited, ..PipeTimeouts::DEFAULT };
    for content in ["", "begin"] {
        writer.write_all(content.as_bytes()).unwrap();
        let fault = read_pipe(&pipe, 100, timeouts).unwrap_err();
        assert!(matches!(fault, CredentialFault::Unfinished { waited: after } if after == waited), "{fault}");
    }
}

#[test]
fn a_pipe_with_a_slow_writer_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = write(directory.path());
    let key = directory.path().join("key");
    let content = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    fifo(&key);
    let writing = std::thread::spawn(move || {
        // The writer opens the pipe after the reader, and pauses between two writes.
        std::thread::sleep(Duration::from_millis(100));
        let mut pipe = std::fs::OpenOptions::new().write(true).open(key).unwrap();
        let (first, second) = content.split_at(20);
        pipe.write_all(first).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        pipe.write_all(second).unwrap();
    });
    credentials.load().unwrap();
    writing.join().unwrap();
}

#[test]
fn endless_and_huge_files_are_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = write(directory.path());
    let large = directory.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
    for endless in [Path::new("/dev/zero"), &large] {
        for kind in [CredentialKind::Cafile, CredentialKind::Certificate, CredentialKind::Keyfile] {
            let mut credentials = credentials.clone();
            let source = crate::net::tls::PemSource::File(endless.into());
            match kind {
                CredentialKind::Cafile => credentials.cafile = Some(source),
                CredentialKind::Certificate => credentials.certificate = Some(source),
                _ => credentials.keyfile = Some(source),
            }
            let error = credentials.load().unwrap_err();
            assert_eq!(error.kind, kind);
            assert!(matches!(error.fault, CredentialFault::TooLarge { limit: 4_194_304 }), "{error}");
        }
        let error = credentials.clone().passphrase(Passphrase::from_file(endless)).load().unwrap_err();
        assert!(matches!(error.fault, CredentialFault::TooLarge { limit: 4096 }), "{error}");
    }
}

#[test]
fn every_invalid_part_is_diagnosed() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = write(directory.path());
    assert!(credentials.load_or_diagnose().is_ok());
    std::fs::write(directory.path().join("ca"), "no PEM").unwrap();
    std::fs::write(directory.path().join("key"), "").unwrap();
    let certificate = directory.path().join("certificate");
    std::fs::remove_file(&certificate).unwrap();
    std::fs::create_dir(&certificate).unwrap();
    let credentials = credentials.passphrase(Passphrase::from_file("/nowhere")).verify_name("a b");
    let errors = credentials.load_or_diagnose().unwrap_err();
    let faults: Vec<_> = errors.iter().map(|error| (error.kind, &error.fault)).collect();
    assert!(
        matches!(
            faults.as_slice(),
            [
                (CredentialKind::Cafile, CredentialFault::NotPem),
                (CredentialKind::Certificate, CredentialFault::Directory),
                (CredentialKind::Passphrase, CredentialFault::Unreadable(_)),
                (CredentialKind::VerifyName, CredentialFault::BadName),
            ]
        ),
        "{faults:?}"
    );
    // The key is parsed only with its passphrase.
    let errors = Credentials { passphrase: None, ..credentials }.load_or_diagnose().unwrap_err();
    assert!(errors.iter().any(|error| error.kind == CredentialKind::Keyfile), "{errors:?}");
}
