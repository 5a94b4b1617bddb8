//! Verifies our own certificate as a peer that trusts the same CA does.

use super::certificate_fault::CertificateFault;
use super::chain::Presenter;
use super::credentials::Credentials;
use super::inspect;
use super::material::Material;
use super::warning::CredentialWarning;

/// The sides of a connection, each with the verb for our action on this side.
const SIDES: [(&str, Presenter); 2] = [("listen", Presenter::Server), ("connect", Presenter::Client)];

/// The fault for which a peer would reject our own certificate, for each side of a connection.
#[derive(Debug)]
pub(super) struct SelfCheck([Option<CertificateFault>; 2]);

impl SelfCheck {
    /// Verifies our certificate for both sides. `check` returns the fault for one side.
    pub(super) fn new(mut check: impl FnMut(Presenter) -> Option<CertificateFault>) -> Self {
        SelfCheck(SIDES.map(|(_, side)| check(side)))
    }

    /// Adds the faults to the warnings.
    pub(super) fn warn(&self, credentials: &Credentials, material: &mut Material) {
        for ((side, _), fault) in SIDES.iter().zip(&self.0) {
            let Some(fault) = fault else { continue };
            // If our own certificate is a CA certificate, that is the cause of this fault.
            let fault = match (fault, material.chain.first()) {
                (CertificateFault::WrongPurpose(_), Some(leaf)) if inspect::is_ca(leaf) => {
                    &CertificateFault::IsCa
                }
                _ => fault,
            };
            let (certificate, cas) = (credentials.name(), credentials.cas());
            let warning = CredentialWarning::from_verdict(fault.clone(), certificate, cas, side);
            // Most faults apply to both sides.
            if !material.warnings.contains(&warning) {
                material.warnings.push(warning);
            }
        }
    }

    /// Returns the first fault that this back end finds and the back end of `other` does not find.
    pub(super) fn beyond(&self, other: &Self) -> Option<&CertificateFault> {
        self.0.iter().zip(&other.0).find_map(|(ours, theirs)| ours.as_ref().filter(|_| theirs.is_none()))
    }
}
