//! Credentials from different sources, with each back end: directories, passphrases, pipes, file permissions.

use std::os::unix::fs::{PermissionsExt, symlink};

use rcgen::IsCa;

use super::pairings::assert_accepted;
use super::pki::Ca;
use super::*;
use crate::net::tls::{CredentialFault, CredentialKind, CredentialWarning, Passphrase};

fn rsa(key: &str) -> Credentials {
    Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), private_copy(key))
}

#[tokio::test]
async fn every_ca_in_a_directory_is_trusted_regardless_of_its_name() {
    let [one, other, third] = ["one", "other", "third"].map(Ca::new);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one.pem"), one.pem()).unwrap();
    // A symbolic link as created by `openssl rehash`, and a file with two CAs.
    symlink("one.pem", dir.path().join("f8acc15f.0")).unwrap();
    std::fs::write(dir.path().join("others"), [other.pem(), third.pem()].concat()).unwrap();
    std::fs::write(dir.path().join("README"), "not for you").unwrap();
    std::fs::create_dir(dir.path().join("more")).unwrap();
    let trusting_all = |ca: &Ca| {
        let leaf = ca.leaf(|_| ());
        let credentials = Credentials::from_pem("", leaf.chain, leaf.key).capath(dir.path());
        Credentials { cafile: None, ..credentials }
    };
    assert_accepted(&trusting_all(&one), &trusting_all(&other), "a directory").await;
    assert_accepted(&trusting_all(&other), &trusting_all(&third), "a directory").await;
    assert_eq!(*trusting_all(&third).load().unwrap().warnings(), []);

    // A directory can be combined with a file.
    let fourth = Ca::new("fourth");
    let both = fourth.credentials().capath(dir.path());
    assert_accepted(&both, &both, "a file and a directory").await;
    let leaf = one.leaf(|_| ());
    let below = Credentials { cafile: None, ..Credentials::from_pem("", leaf.chain, leaf.key) };
    assert_accepted(&both, &Credentials { cafile: both.cafile.clone(), ..below.capath(dir.path()) }, "both")
        .await;
}

#[test]
fn an_empty_or_missing_directory_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README"), "nothing").unwrap();
    let load = |path: std::path::PathBuf| {
        let [certificate, key] = ["rsa.pem", "rsa.pkcs8.key"].map(fixture_path);
        Credentials::from_capath(path, certificate, key).load().unwrap_err()
    };
    let error = load(dir.path().to_owned());
    assert!(matches!(error.fault, CredentialFault::EmptyDirectory), "{error}");
    assert!(error.to_string().starts_with(&format!("capath {}: no file", dir.path().display())), "{error}");
    let error = load(dir.path().join("missing"));
    assert!(matches!(error.fault, CredentialFault::Unreadable(_)), "{error}");
    let none = Credentials { cafile: None, ..rsa("rsa.pkcs8.key") };
    let error = none.load().unwrap_err();
    assert!(matches!(error.fault, CredentialFault::NoCa), "{error}");
}

#[test]
fn unusable_files_in_a_directory_are_left_out_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.pem"), fixture("ca.pem")).unwrap();
    std::fs::write(dir.path().join("b.pem"), "-----BEGIN CERTIFICATE-----\nM?\n-----END CERTIFICATE-----\n")
        .unwrap();
    symlink("gone.pem", dir.path().join("c.pem")).unwrap();
    for backend in BACKENDS {
        let credentials =
            Credentials::from_capath(dir.path(), fixture_path("rsa.pem"), private_copy("rsa.pkcs8.key"));
        let loaded = credentials.backend(*backend).load().unwrap();
        let [CredentialWarning::CaLeftOut { file: b, .. }, CredentialWarning::CaLeftOut { file: c, .. }] =
            &*loaded.warnings()
        else {
            panic!("{loaded:?}")
        };
        assert!(b.ends_with("b.pem") && c.ends_with("c.pem"), "{loaded:?}");
    }
}

#[tokio::test]
async fn a_leaf_among_the_cas_is_left_out_with_a_warning() {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|_| ());
    let both = [ca.pem(), &leaf.chain].concat();
    let trusting = |cas: &str| Credentials::from_pem(cas, leaf.chain.as_str(), leaf.key.as_str());
    for backend in BACKENDS {
        let loaded = trusting(&both).backend(*backend).load().unwrap();
        let [CredentialWarning::CaLeftOut { number: 2, reason, .. }] = &*loaded.warnings() else {
            panic!("{loaded:?}")
        };
        assert!(reason.contains("not the certificate of a CA"), "{reason}");
        let error = trusting(&leaf.chain).backend(*backend).load().unwrap_err();
        assert_eq!(error.kind, CredentialKind::Cafile);
        assert!(error.to_string().contains("not the certificate of a CA"), "{error}");
    }
    // The CAs of the file are still trusted.
    assert_accepted(&trusting(&both), &ca.credentials(), "with a leaf among the CAs").await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_only_for_itself() {
    let ca = Ca::new("ca");
    let [explicit, implicit] = [IsCa::ExplicitNoCa, IsCa::NoCa].map(|is_ca| {
        Ca::self_signed("itself", |params| (params.is_ca, params.key_usages) = (is_ca, Vec::new()))
    });
    for alone in [&explicit, &implicit] {
        let ours = ca.leaf(|_| ());
        let cas = [ca.pem(), alone.pem()].concat();
        let trusting_both = Credentials::from_pem(cas.as_str(), ours.chain.as_str(), ours.key.as_str());
        let trusting_it = Credentials::from_pem(alone.pem(), ours.chain.as_str(), ours.key.as_str());
        let own = alone.as_leaf().trusting(&ca);
        let leaf = alone.leaf(|_| ());
        let below = Credentials::from_pem(ca.pem(), [&leaf.chain, alone.pem()].concat(), leaf.key);
        for trusting in [&trusting_both, &trusting_it] {
            assert_accepted(trusting, &own, "a certificate of its own").await;
            for backend in BACKENDS {
                let ours = End::load(&trusting.clone().backend(*backend), &VERSIONS);
                let theirs = End::load(&below, &VERSIONS);
                assert!(connect_ends(&theirs, &ours).await.1.is_err(), "{backend:?}");
                assert!(connect_ends(&ours, &theirs).await.0.is_err(), "{backend:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_intermediate_ca_can_be_the_only_trusted_ca() {
    let ca = Ca::new("ca");
    let below = ca.intermediate("below");
    let leaf = below.leaf(|_| ());
    let intermediate = leaf.chain.split_inclusive("-----END CERTIFICATE-----").nth(1).unwrap();
    let trusting = Credentials::from_pem(intermediate, leaf.chain.as_str(), leaf.key.as_str());
    assert_accepted(&trusting, &trusting, "an intermediate CA").await;
}

#[tokio::test]
async fn an_encrypted_key_is_decrypted_with_its_passphrase() {
    let encrypted = rsa("rsa.encrypted-pkcs8.key").passphrase(Passphrase::new("secret"));
    assert_accepted(&encrypted, &rsa("rsa.pkcs8.key"), "an encrypted key").await;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    for content in ["secret", "secret\n", "secret\r\n"] {
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let credentials = rsa("rsa.encrypted-pkcs8.key").passphrase(Passphrase::from_file(&file));
        assert_eq!(*credentials.load().unwrap().warnings(), []);
    }
    for backend in BACKENDS {
        for wrong in ["Secret", "secret\n\n", " secret"] {
            std::fs::write(&file, wrong).unwrap();
            let credentials = rsa("rsa.encrypted-pkcs8.key").passphrase(Passphrase::from_file(&file));
            let error = credentials.backend(*backend).load().unwrap_err();
            assert_eq!(error.kind, CredentialKind::Keyfile);
            assert!(matches!(error.fault, CredentialFault::WrongPassphrase), "{error}");
            assert!(!error.to_string().contains(wrong.trim()), "{error}");
        }
    }
    // A passphrase is ignored if the key is not encrypted.
    rsa("rsa.pkcs8.key").passphrase(Passphrase::new("secret")).load().unwrap();
}

#[test]
fn a_missing_or_empty_passphrase_file_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    let load = || rsa("rsa.encrypted-pkcs8.key").passphrase(Passphrase::from_file(&file)).load().unwrap_err();
    let error = load();
    assert_eq!((error.kind, error.source.as_str()), (CredentialKind::Passphrase, file.to_str().unwrap()));
    assert!(matches!(error.fault, CredentialFault::Unreadable(_)), "{error}");
    std::fs::write(&file, "\n").unwrap();
    assert!(matches!(load().fault, CredentialFault::EmptyPassphrase), "{}", load());
}

#[test]
fn the_content_of_a_pipe_is_read_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let [passphrase, key] = ["passphrase", "key"].map(|name| dir.path().join(name));
    for (pipe, content) in [(&passphrase, b"secret\n".to_vec()), (&key, fixture("rsa.encrypted-pkcs8.key"))] {
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::write(pipe, content).unwrap());
    }
    let credentials = Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), &key);
    let tls = credentials.passphrase(Passphrase::from_file(&passphrase)).load().unwrap();
    // Nothing writes to the pipes any more, so this uses the content that was read before.
    assert!(!tls.reload().unwrap());
}

#[test]
fn debug_output_contains_no_passphrase() {
    let credentials = rsa("rsa.encrypted-pkcs8.key").passphrase(Passphrase::new("secret"));
    let debug = format!("{credentials:?} {:?}", credentials.load().unwrap()).replace("rsa.encrypted", "");
    assert!(!debug.contains("secret") && !debug.contains("115, 101"), "{debug}");
}

#[test]
fn the_error_for_an_encryption_scheme_that_rustls_does_not_support_has_a_hint() {
    // PBES2 with triple DES, which current versions of OpenSSL do not select by default.
    let Some(des) = super::openssl::run(&[
        "pkcs8",
        "-topk8",
        "-in",
        "rsa.pkcs8.key",
        "-v2",
        "des3",
        "-v2prf",
        "hmacWithSHA1",
        "-passout",
        "pass:secret",
    ]) else {
        return;
    };
    let credentials = Credentials::from_pem(fixture("ca.pem"), fixture("rsa.pem"), des)
        .passphrase(Passphrase::new("secret"));
    let error = credentials.clone().backend(Backend::Rustls).load().unwrap_err();
    assert!(matches!(error.fault, CredentialFault::UnsupportedEncryption(_)), "{error}");
    assert!(error.to_string().contains("openssl pkcs8 -topk8 -in"), "{error}");
    if cfg!(feature = "openssl") {
        assert_eq!(credentials.load().unwrap().backend(), Backend::OpenSsl);
    }
}

#[test]
fn a_key_that_other_users_can_read_causes_a_warning() {
    for backend in BACKENDS {
        for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            let key = private_copy("rsa.pkcs8.key");
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let credentials = Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), &key);
            let loaded = credentials.backend(*backend).load().unwrap();
            match (&*loaded.warnings(), exposed) {
                ([], false) => {}
                ([warning @ CredentialWarning::KeyExposed { .. }], true) => {
                    assert!(
                        warning.to_string().contains(&format!("chmod go-rwx {}", key.display())),
                        "{warning}"
                    );
                }
                other => panic!("{mode:o}: {other:?}"),
            }
        }
    }
    // There is no warning for an encrypted key.
    let credentials = Credentials::from_files(
        fixture_path("ca.pem"),
        fixture_path("rsa.pem"),
        fixture_path("rsa.encrypted-pkcs8.key"),
    );
    let loaded = credentials.clone().passphrase(Passphrase::new("secret")).load().unwrap();
    assert_eq!(*loaded.warnings(), []);
    // There is a warning for a passphrase file that other users can read.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    std::fs::write(&file, "secret").unwrap();
    let credentials = credentials.passphrase(Passphrase::from_file(&file));
    for backend in BACKENDS {
        for (mode, exposed) in [(0o600, false), (0o640, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let loaded = credentials.clone().backend(*backend).load().unwrap();
            let expected = CredentialWarning::PassphraseExposed { file: file.display().to_string() };
            assert_eq!(*loaded.warnings(), [expected][usize::from(!exposed)..]);
        }
    }
}
