//! The TLS errors inside of errors of a stream, whichever library made them.

use std::io;

use tokio_rustls::rustls;

use super::error::TlsError;
use super::via_openssl;

impl TlsError {
    /// The TLS error in an error from reading or writing a [`Stream`](crate::net::Stream); `None` if it is not TLS
    /// that failed.
    ///
    /// In TLS 1.3, only this tells the side that connected that its certificate was refused. When a write fails, read
    /// before giving up: the reason may still be unread.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        match inner.downcast_ref::<rustls::Error>() {
            Some(error) => Some(Self::from_rustls(error)),
            None => via_openssl::tls_error(inner),
        }
    }

    /// The error of a handshake that failed.
    pub(super) fn from_handshake(error: io::Error) -> Self {
        Self::from_io(&error).unwrap_or_else(|| Self::from_connection(error))
    }
}
