//! Extracts the TLS error from the I/O error of a stream, for both libraries.

use std::io;

use tokio_rustls::rustls;

use super::error::TlsError;
use super::via_openssl;

impl TlsError {
    /// Returns the TLS error in an I/O error from reading or writing a [`Stream`](crate::net::Stream). Returns `None` if
    /// TLS did not fail.
    ///
    /// In TLS 1.3, the side that connects receives the refusal of its certificate only after the handshake, as such an
    /// I/O error. If a write fails, read from the stream before you close it: the reason may have been received, but
    /// not read.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        match inner.downcast_ref::<rustls::Error>() {
            Some(error) => Some(Self::from_rustls(error)),
            None => via_openssl::tls_error(inner),
        }
    }

    /// Returns the error of a handshake that failed.
    pub(super) fn from_handshake(error: io::Error) -> Self {
        Self::from_io(&error).unwrap_or_else(|| Self::from_connection(error))
    }
}
