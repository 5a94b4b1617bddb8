//! The category of an error of a connection.

use super::status::LinkError;
use crate::peering::ErrorKind;

impl LinkError {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            LinkError::Dial(error) => error.kind(),
            LinkError::Tls(error) => error.kind(),
            LinkError::TlsTimeout(_) => ErrorKind::TimedOut,
            LinkError::Peering(error) => error.kind(),
            LinkError::Closed(reason) => reason.kind(),
            LinkError::Stream(fault) => fault.kind(),
            LinkError::IdConflict { .. } | LinkError::NotAllowed(_) => ErrorKind::Denied,
            LinkError::Overflow { .. }
            | LinkError::GaveWay
            | LinkError::Superseded
            | LinkError::Evicted(_)
            | LinkError::TooManyPeers(_) => ErrorKind::Limit,
            LinkError::ShuttingDown => ErrorKind::Closed,
        }
    }
}
