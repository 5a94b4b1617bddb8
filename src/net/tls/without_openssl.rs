//! Placeholders for the OpenSSL back end in a build without OpenSSL. No value of these types can exist.

use tokio::net::TcpStream;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::pki_types::ServerName;

use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::Credentials;
use super::error::{AnonymousUnavailable, TlsError};
use super::material::Raw;
use super::self_check::SelfCheck;
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

    pub(super) fn self_check(&self) -> &SelfCheck {
        match *self {}
    }

    pub(super) async fn connect(
        &self,
        _: TcpStream,
        _: Option<ServerName<'static>>,
    ) -> Result<Stream, TlsError> {
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

pub(super) fn check_key(_: &Raw) -> Result<(), CredentialFault> {
    Err(CredentialFault::NoOpenSsl)
}

pub(super) fn check_certificate(_: &[u8]) -> Result<(), CredentialFault> {
    Err(CredentialFault::NoOpenSsl)
}

/// Returns `None`: without OpenSSL, no stream returns an error of OpenSSL.
pub(super) fn tls_error(_: &(dyn std::error::Error + 'static)) -> Option<TlsError> {
    None
}
