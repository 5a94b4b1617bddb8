//! Tests each part of invalid credentials separately, so that a user can fix all errors at once.

use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::{Backend, Credentials, PemSource};
use super::material::{Raw, check_cas, check_directory, first_certificate, read_directory};
use super::{via_openssl, via_rustls};

/// Returns the first error of each part, in no particular order.
///
/// The key is tested together with its passphrase. This test is done only if both can be read.
pub(super) fn diagnose(credentials: &Credentials) -> Vec<CredentialError> {
    let mut errors = Vec::new();
    let mut check = |kind, result: Result<(), CredentialFault>| {
        errors.extend(result.err().map(|fault| credentials.error(kind, fault)));
    };
    if let Some(cafile) = &credentials.cafile {
        check(CredentialKind::Cafile, cafile.read().and_then(|pem| check_cas(&pem)));
    }
    if let Some(capath) = &credentials.capath {
        let is_required = credentials.cafile.is_none();
        check(
            CredentialKind::Capath,
            read_directory(capath).and_then(|files| check_directory(&files, is_required)),
        );
    }
    if !credentials.need_certificate() {
        errors.extend(credentials.server_name().err());
        return errors;
    }
    let read = |source: &Option<PemSource>| match source {
        Some(source) => source.read(),
        None => Err(CredentialFault::Missing),
    };
    let certificate =
        read(&credentials.certificate).and_then(|pem| first_certificate(&pem)).and_then(|der| {
            with_back_end(
                credentials.backend,
                || via_rustls::check_certificate(&der),
                || via_openssl::check_certificate(&der),
            )
        });
    check(CredentialKind::Certificate, certificate);
    let passphrase = credentials.passphrase.as_ref().map(|passphrase| passphrase.read()).transpose();
    match (read(&credentials.keyfile), passphrase) {
        (Ok(keyfile), Ok(passphrase)) => {
            let raw = Raw::of_key(keyfile, passphrase);
            let result = with_back_end(
                credentials.backend,
                || via_rustls::check_key(&raw),
                || via_openssl::check_key(&raw),
            );
            check(CredentialKind::Keyfile, result);
        }
        (keyfile, passphrase) => {
            check(CredentialKind::Keyfile, keyfile.map(drop));
            check(CredentialKind::Passphrase, passphrase.map(drop));
        }
    }
    errors.extend(credentials.server_name().err());
    errors
}

/// Tests a part with the back end that these credentials would use.
fn with_back_end(
    backend: Backend,
    rustls: impl FnOnce() -> Result<(), CredentialFault>,
    openssl: impl FnOnce() -> Result<(), CredentialFault>,
) -> Result<(), CredentialFault> {
    match backend {
        Backend::OpenSsl => openssl(),
        Backend::Rustls => rustls(),
        Backend::Auto => match rustls() {
            Err(fault) if cfg!(feature = "openssl") && fault.may_be_for_openssl() => openssl(),
            result => result,
        },
    }
}
