//! Trust anchors for rustls: the trusted certificates, one of which must be at the end of a peer's chain.

use std::sync::Arc;

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{CertificateError, DistinguishedName, Error, RootCertStore};

use super::chain::{Chain, Presenter};
use super::inspect;

/// Trusted certificates.
#[derive(Debug)]
pub(super) struct Anchors {
    all: Store,
    /// The validity period of each trusted certificate. OpenSSL checks this period. rustls does not, so [`Anchors::check`]
    /// does.
    times: Vec<(UnixTime, UnixTime)>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Store {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Store {
    fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        Ok(Store { roots, clients })
    }
}

impl Anchors {
    /// Trusts the given certificates, except those that rustls does not accept. Returns `None` if it accepts none.
    pub(super) fn new(
        ders: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Self>, VerifierBuilderError> {
        let (mut roots, mut times) = (RootCertStore::empty(), Vec::new());
        for der in ders {
            if roots.add(der.clone()).is_ok() {
                times.push(inspect::validity_period(der));
            }
        }
        if roots.is_empty() {
            return Ok(None);
        }
        Ok(Some(Anchors { all: Store::new(roots, provider)?, times, provider: provider.clone() }))
    }

    /// Returns the subjects of the trusted certificates.
    pub(super) fn names(&self) -> &[DistinguishedName] {
        self.all.clients.root_hint_subjects()
    }

    /// Verifies that the chain leads to a trusted certificate that is within its validity period.
    pub(super) fn check(&self, chain: &Chain<'_>) -> Result<(), Error> {
        self.leads_to(&self.all, chain)?;
        if self.times.iter().all(|times| validity_error(times, chain.now).is_none()) {
            return Ok(());
        }
        // Try each trusted certificate alone, because rustls does not report to which one the chain leads.
        let mut found = Error::from(CertificateError::UnknownIssuer);
        for (root, times) in self.all.roots.roots.iter().zip(&self.times) {
            let single = RootCertStore { roots: vec![root.clone()] };
            let Ok(single) = Store::new(single, &self.provider) else { continue };
            match (self.leads_to(&single, chain), validity_error(times, chain.now)) {
                (Ok(()), None) => return Ok(()),
                (Ok(()), Some(error)) => found = error.into(),
                (Err(_), _) => {}
            }
        }
        Err(found)
    }

    fn leads_to(&self, store: &Store, chain: &Chain<'_>) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(chain.leaf)?;
        match chain.side {
            Presenter::Server => verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &store.roots,
                chain.intermediates,
                chain.now,
                self.provider.signature_verification_algorithms.all,
            ),
            Presenter::Client => {
                store.clients.verify_client_cert(chain.leaf, chain.intermediates, chain.now).map(|_| ())
            }
        }
    }
}

/// Returns the error if the time is outside of the validity period.
fn validity_error(
    &(not_before, not_after): &(UnixTime, UnixTime),
    time: UnixTime,
) -> Option<CertificateError> {
    if time < not_before {
        Some(CertificateError::NotValidYetContext { time, not_before })
    } else if time > not_after {
        Some(CertificateError::ExpiredContext { time, not_after })
    } else {
        None
    }
}
