//! The category of an error of a connection.

use super::status::ConnectError;
use crate::peering::ErrorKind;

impl ConnectError {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConnectError::Dial(error) => error.kind(),
            ConnectError::Tls(error) => error.kind(),
            ConnectError::TlsTimeout(_) => ErrorKind::TimedOut,
            ConnectError::Peering(error) => error.kind(),
            ConnectError::Closed(reason) => reason.kind(),
            ConnectError::Stream(fault) => fault.kind(),
            ConnectError::IdConflict { .. } | ConnectError::NotAllowed(_) => ErrorKind::Denied,
            ConnectError::Overflow { .. }
            | ConnectError::GaveWay
            | ConnectError::Superseded
            | ConnectError::Evicted(_)
            | ConnectError::TooManyPeers(_) => ErrorKind::Limit,
            ConnectError::ShuttingDown => ErrorKind::Closed,
        }
    }
}
