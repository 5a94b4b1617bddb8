//! A chain of certificates that one side of a connection presents.

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

/// The side of a connection that presents a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presenter {
    /// The side that connects.
    Client,
    /// The side that listens.
    Server,
}

/// A presented chain, and the time of its verification.
pub(super) struct Chain<'a> {
    pub(super) side: Presenter,
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) now: UnixTime,
}

impl<'a> Chain<'a> {
    /// Returns the leaf, and then the intermediate certificates in the order in which they were sent.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &'a CertificateDer<'a>> + use<'a> {
        std::iter::once(self.leaf).chain(self.intermediates)
    }
}
