//! What stands in for OpenSSL in a build without it: nothing that could ever exist.

use tokio::net::TcpStream;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::anonymous::AnonymousUnavailable;
use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::Credentials;
use super::error::TlsError;
use super::material::Raw;
use super::verify::Showing;
use super::warning::CredentialWarning;
use crate::net::Stream;

#[derive(Debug)]
pub(super) enum OpenSslMutual {}

impl OpenSslMutual {
    pub(super) fn new(
        credentials: &Credentials,
        _: &Raw,
        _: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        Err(credentials.error(CredentialKind::Backend, CredentialFault::NoOpenSsl))
    }

    pub(super) fn warnings(&self) -> &[CredentialWarning] {
        match *self {}
    }

    pub(super) fn is_chosen(&self) -> bool {
        match *self {}
    }

    pub(super) fn check(
        &self,
        _: Showing,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
    ) -> Result<(), TlsError> {
        match *self {}
    }

    pub(super) fn choose(&self) {
        match *self {}
    }

    pub(super) async fn connect(&self, _: TcpStream) -> Result<Stream, TlsError> {
        match *self {}
    }

    pub(super) async fn accept(&self, _: TcpStream) -> Result<Stream, TlsError> {
        match *self {}
    }
}

#[derive(Debug, Clone)]
pub(super) enum OpenSslAnonymous {}

impl OpenSslAnonymous {
    pub(super) fn new() -> Result<Self, AnonymousUnavailable> {
        Err(AnonymousUnavailable::NoOpenSsl)
    }

    pub(super) async fn connect(&self, _: TcpStream) -> Result<Stream, TlsError> {
        match *self {}
    }

    pub(super) async fn accept(&self, _: TcpStream) -> Result<Stream, TlsError> {
        match *self {}
    }
}

/// There are no errors of OpenSSL's.
pub(super) fn tls_error(_: &(dyn std::error::Error + 'static)) -> Option<TlsError> {
    None
}
