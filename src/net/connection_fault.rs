//! Errors of the stream under a session.

use std::io;
use std::sync::Arc;

use super::tls::TlsError;
use crate::peering::{CloseReason, ErrorKind, PeeringError};

/// An error of the stream under a session.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The peer refused the TLS handshake, or TLS failed later.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stream failed. `Error::source` returns the `Arc`, so a downcast to [`io::Error`] fails. To get the
    /// [`io::Error`], match this variant.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// The peer sends requests and does not read the answers.
    #[error("the peer sends pings and does not read the pongs")]
    DoesNotRead,
}

/// Returns the fault for an error of a stream. The error may be a TLS error.
pub(super) fn fault(error: io::Error) -> ConnectionFault {
    match TlsError::from_io(&error) {
        Some(error) => error.into(),
        None => ConnectionFault::Io(Arc::new(error)),
    }
}

impl ConnectionFault {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConnectionFault::Tls(error) => error.kind(),
            ConnectionFault::Io(_) => ErrorKind::Io,
            ConnectionFault::DoesNotRead => ErrorKind::Misbehaved,
        }
    }

    /// Returns whether this fault is more specific than `reason`. A reason may only report that the stream ended.
    #[must_use]
    pub fn explains(&self, reason: &CloseReason) -> bool {
        match reason {
            CloseReason::Lost | CloseReason::LeftUnconfirmed => true,
            // A peer that expects TLS resets the connection when it receives plain bytes. The reason `ClosedInHandshake` is
            // more specific than the fault of such a reset.
            CloseReason::Failed(PeeringError::ClosedInHandshake { .. }) => {
                !matches!(self, ConnectionFault::Io(_))
            }
            _ => false,
        }
    }
}
