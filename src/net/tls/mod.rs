//! TLS as Broker speaks it (protocol section 3): off, anonymous, or mutual.
//!
//! In mutual TLS both sides show a certificate, and each checks the other's against its CA
//! certificates. Host names are not checked unless asked for, and none is sent (no SNI). TLS 1.2
//! and 1.3, on rustls, or OpenSSL where that is needed ([`Backend`]). Anonymous TLS is what a Zeek
//! speaks that has no certificate options set; only OpenSSL has it (feature `openssl`). The two do
//! not talk to each other, and neither talks to plain TCP. [`TlsError`] tells them apart as far as
//! the bytes allow.
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
mod doubts;
#[cfg(feature = "cli")]
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
mod verify;
#[cfg(feature = "openssl")]
mod via_openssl;
#[cfg(not(feature = "openssl"))]
#[path = "without_openssl.rs"]
mod via_openssl;
mod via_rustls;
mod warning;

use tokio::net::TcpStream;

pub use alert::Refusal;
pub use anonymous::AnonymousTls;
pub use certificate_fault::{CertificateFault, RefusedCertificate};
pub use credential_error::{CredentialError, CredentialFault, CredentialKind, Remedy};
pub use credentials::{Backend, Credentials, PemSource};
#[cfg(feature = "cli")]
#[doc(hidden)]
pub use ephemeral::{EphemeralAuthority, EphemeralError, ephemeral_authority};
pub use error::{AnonymousUnavailable, TlsError, TlsFault};
pub(super) use identity::issuer;
pub use identity::{PeerIdentity, SubjectAltName};
pub(super) use inspect::takes_openssl;
pub(super) use look::{Seen, look};
pub use mutual::MutualTls;
pub use passphrase::Passphrase;
#[cfg(feature = "openssl")]
pub(super) use via_openssl::OpenSslStream;
pub use warning::CredentialWarning;

use super::Stream;

/// What, if anything, is spoken between TCP and Broker's frames. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Tls {
    /// Plain TCP: Zeek's `Broker::disable_ssl=T`.
    Off,
    /// Encryption without certificates: a Zeek without certificate options. [`Tls::anonymous`] makes it.
    Anonymous(AnonymousTls),
    /// Certificates on both sides.
    Mutual(MutualTls),
}

impl Tls {
    /// Anonymous TLS, which a Zeek speaks out of the box. It is encrypted, and nobody is authenticated: see
    /// [`AnonymousTls`].
    ///
    /// # Errors
    /// When this build has no OpenSSL in it (feature `openssl`), or one that no longer has it.
    pub fn anonymous() -> Result<Self, AnonymousUnavailable> {
        AnonymousTls::new().map(Tls::Anonymous)
    }

    /// Makes a stream of a TCP connection that this side opened. There is no time limit in here: a
    /// silent peer keeps it waiting, so the caller sets one.
    ///
    /// In TLS 1.3 the side that connects is through before the other has looked at its certificate:
    /// a refusal arrives as the error of a later read. [`TlsError::from_io`] makes sense of it.
    ///
    /// # Errors
    /// When the TLS handshake fails, with the reason.
    pub async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        match self {
            Tls::Off => Ok(tcp.into()),
            Tls::Anonymous(anonymous) => Box::pin(anonymous.connect(tcp)).await,
            Tls::Mutual(mutual) => Box::pin(mutual.connect(tcp)).await,
        }
    }

    /// Makes a stream of a TCP connection that this side accepted. There is no time limit in here:
    /// a silent peer keeps it waiting, so the caller sets one.
    ///
    /// # Errors
    /// When the TLS handshake fails, with the reason.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        match self {
            Tls::Off => Ok(tcp.into()),
            Tls::Anonymous(anonymous) => Box::pin(anonymous.accept(tcp)).await,
            Tls::Mutual(mutual) => Box::pin(mutual.accept(tcp)).await,
        }
    }
}

/// Whether these, the first bytes that a peer sent, begin a TLS handshake: what a plain listener
/// sees when a peer has TLS on. Three bytes are enough. As the length of a frame they would
/// announce at least 369 million bytes.
#[must_use]
pub fn looks_like_tls(first_bytes: &[u8]) -> bool {
    // A record: type 22 (handshake), version 3.0 to 3.4.
    matches!(first_bytes, [22, 3, 0..=4, ..])
}

#[cfg(test)]
mod tests;
