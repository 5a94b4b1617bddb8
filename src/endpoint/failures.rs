//! Rate limit for the log lines about failed handshakes and connection attempts.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::status::LinkError;
use super::throttle::Throttle;

/// A peer that is set up wrongly comes back about once a second, and stays wrong until somebody acts. Once a minute is
/// often enough to be found in a log, and does not fill it.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets one line of each cause through, then one a minute, and counts the others.
///
/// A cause is one of a fixed few words, so that a peer cannot make this grow.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<BTreeMap<&'static str, Throttle>>);

impl Failures {
    /// Whether this error may be logged now; then, the number of those of its cause that were not since the last time.
    pub(super) fn pass(&self, error: &LinkError) -> Option<Option<NonZeroU64>> {
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        causes.entry(error.log_cause()).or_default().pass_every(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::{Refusal, TlsError};

    #[test]
    fn each_cause_is_logged_once_in_a_while() {
        let failures = Failures::default();
        let errors = || {
            [
                LinkError::Tls(TlsError::NotTls),
                LinkError::Tls(TlsError::PeerShowedNone),
                LinkError::Tls(TlsError::Refused(Refusal::UnknownCa)),
                LinkError::ConnectTimeout(Duration::ZERO),
            ]
        };
        assert_eq!(errors().map(|error| failures.pass(&error)), [const { Some(None) }; 4]);
        for _ in 0..10 {
            assert_eq!(errors().map(|error| failures.pass(&error)), [None; 4]);
        }
        assert_eq!(failures.pass(&LinkError::Tls(TlsError::Closed)), Some(None), "of another cause");
    }
}
