//! The TLS modes of Broker (`PROTOCOL.md`, section 3): off, anonymous, or mutual. The WebSocket API can also use TLS in which
//! only the server presents a certificate ([`Tls::Server`]).
//!
//! - In mutual TLS, each side presents a certificate, and verifies the certificate of the other side with its CA
//!   certificates. Names are not verified by default, except the host of a `wss://` URL, and no server name (SNI) is sent.
//!   Mutual TLS uses TLS 1.2 and 1.3, on rustls or OpenSSL ([`Backend`]).
//! - In anonymous TLS, there are no certificates. A Zeek without certificate options uses it. Only OpenSSL supports it
//!   (feature `openssl`).
//!
//! Mutual TLS, anonymous TLS and plain TCP are incompatible with each other. If the two sides use different modes,
//! [`TlsError`] names the peer's mode if it can be recognized.
//!
//! ```no_run
//! # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
//! use zeek_bridge::net::tls::{Credentials, Tls};
//!
//! let tls = Tls::Mutual(Credentials::from_files("ca.pem", "node.pem", "node.key").load()?);
//! let tcp = tokio::net::TcpStream::connect("127.0.0.1:2151").await?;
//! let stream = tls.connect(tcp).await?;
//! # drop(stream);
//! # Ok(())
//! # }
//! ```

mod alert;
mod anchors;
mod anonymous;
mod certificate_fault;
mod chain;
mod credential_error;
mod credentials;
mod diagnose;
#[cfg(any(test, feature = "cli"))]
mod ephemeral;
mod error;
mod files;
mod from_io;
mod from_rustls;
mod identity;
mod inspect;
mod key_kind;
mod look;
mod material;
mod mutual;
mod passphrase;
mod pem;
mod self_check;
mod verify;
#[cfg(feature = "openssl")]
mod via_openssl;
#[cfg(not(feature = "openssl"))]
#[path = "without_openssl.rs"]
mod via_openssl;
mod via_rustls;
mod warning;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

pub use alert::Refusal;
pub use anonymous::AnonymousTls;
pub use certificate_fault::{CertificateFault, RefusedCertificate};
pub use credential_error::{CredentialError, CredentialFault, CredentialKind, Remedy};
pub use credentials::{Authentication, Backend, Credentials, PemSource};
#[cfg(any(test, feature = "cli"))]
#[doc(hidden)]
pub use ephemeral::{EphemeralAuthority, EphemeralError, ephemeral_authority};
pub use error::{AnonymousUnavailable, TlsError, TlsFault};
pub(crate) use files::{is_exposed, read_secret};
pub(super) use identity::issuer;
pub use identity::{PeerIdentity, SubjectAltName};
pub(super) use inspect::needs_openssl;
pub(super) use look::{ListenerTls, inspect_listener};
pub use mutual::MutualTls;
pub use passphrase::Passphrase;
#[cfg(feature = "openssl")]
pub(super) use via_openssl::OpenSslStream;
pub use warning::CredentialWarning;

use super::Stream;

/// The layer between TCP and Broker's frames. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Tls {
    /// Plain TCP, as with Zeek's `Broker::disable_ssl=T`.
    Off,
    /// Encryption without certificates, for a Zeek without certificate options. [`Tls::anonymous`] returns it.
    Anonymous(AnonymousTls),
    /// Certificates on both sides.
    Mutual(MutualTls),
    /// A certificate on the side that listens only. For the WebSocket API; Broker does not use it.
    Server(MutualTls),
}

/// Returns [`Tls::Mutual`] or [`Tls::Server`], depending on the [`Authentication`] of the credentials.
impl From<MutualTls> for Tls {
    fn from(tls: MutualTls) -> Self {
        match tls.authentication() {
            Authentication::Mutual => Tls::Mutual(tls),
            Authentication::Server => Tls::Server(tls),
        }
    }
}

/// The host of a server with TLS, or no host. [`Url::server_host`](crate::net::Url::server_host) returns that of a URL.
#[derive(Clone, Debug, Default)]
pub struct ServerHost(pub(crate) Option<ServerName<'static>>);

impl Tls {
    /// Returns anonymous TLS, the default of Zeek. It is encrypted, but not authenticated: see [`AnonymousTls`].
    ///
    /// # Errors
    /// Fails if this build has no OpenSSL (feature `openssl`), or if its OpenSSL does not support anonymous TLS.
    pub fn anonymous() -> Result<Self, AnonymousUnavailable> {
        AnonymousTls::new().map(Tls::Anonymous)
    }

    /// Returns the certificates in use, if there are any.
    #[must_use]
    pub fn certificates(&self) -> Option<&MutualTls> {
        match self {
            Tls::Off | Tls::Anonymous(_) => None,
            Tls::Mutual(certificates) | Tls::Server(certificates) => Some(certificates),
        }
    }

    /// Performs the TLS handshake on a TCP connection that this side opened. There is no timeout: if the peer is silent,
    /// the future stays pending. Dropping the future closes the connection. The peer's certificate need not contain the name
    /// of a host, unless [`Credentials::verify_name`] is set.
    ///
    /// In TLS 1.3, the handshake of this side ends before the peer has verified our certificate. If the peer refuses the
    /// certificate, a later read returns an I/O error. Convert this error with [`TlsError::from_io`].
    ///
    /// # Errors
    /// Fails if the TLS handshake fails.
    pub async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        self.connect_to(tcp, ServerHost::default()).await
    }

    /// Like [`Tls::connect`], but the peer's certificate must contain `host`, unless [`Credentials::verify_name`] is set. A DNS
    /// name is also sent to the peer (SNI), so that a server with several names can choose its certificate. Broker sends none.
    ///
    /// # Errors
    /// Fails if the TLS handshake fails.
    pub async fn connect_to(&self, tcp: TcpStream, ServerHost(host): ServerHost) -> Result<Stream, TlsError> {
        match self {
            Tls::Off => Ok(tcp.into()),
            Tls::Anonymous(anonymous) => Box::pin(anonymous.connect(tcp)).await,
            Tls::Mutual(tls) | Tls::Server(tls) => Box::pin(tls.connect(tcp, host)).await,
        }
    }

    /// Performs the TLS handshake on a TCP connection that this side accepted. There is no timeout: if the peer is silent,
    /// the future stays pending. Dropping the future closes the connection.
    ///
    /// # Errors
    /// Fails if the TLS handshake fails.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        match self {
            Tls::Off => Ok(tcp.into()),
            Tls::Anonymous(anonymous) => Box::pin(anonymous.accept(tcp)).await,
            Tls::Mutual(tls) | Tls::Server(tls) => Box::pin(tls.accept(tcp)).await,
        }
    }
}

/// Returns whether the first bytes from a peer are the beginning of a TLS handshake. Three bytes are enough. A Broker frame
/// does not begin with these bytes, because its length would be at least 369 million bytes.
#[must_use]
pub fn looks_like_tls(first_bytes: &[u8]) -> bool {
    // The beginning of a TLS record: type 22 (handshake), version 3.0 to 3.4.
    matches!(first_bytes, [22, 3, 0..=4, ..])
}

#[cfg(test)]
mod tests;
