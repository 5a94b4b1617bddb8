//! A rate limiter for one log message that a remote peer can trigger.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The minimum time between two messages.
const PAUSE: Duration = Duration::from_secs(1);

/// Allows one message per second and counts those that were suppressed.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Returns `Some` if a message may be logged now. The value is the number of messages that were suppressed since the
    /// last logged message, if any.
    pub(crate) fn pass(&self) -> Option<Option<NonZeroU64>> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<Option<NonZeroU64>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.last = Some(now);
        Some(NonZeroU64::new(std::mem::take(&mut state.suppressed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_per_second_is_allowed_and_the_others_are_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let after = |millis| throttle.pass_at(start.checked_add(Duration::from_millis(millis)).unwrap());
        assert_eq!(after(0), Some(None));
        assert_eq!([after(1), after(500), after(999)], [None; 3]);
        assert_eq!(after(1000), Some(NonZeroU64::new(3)));
        assert_eq!(after(1500), None);
        assert_eq!(after(9000), Some(NonZeroU64::new(1)));
    }

    #[test]
    fn messages_in_quick_succession_are_suppressed() {
        let throttle = Throttle::default();
        assert_eq!(throttle.pass(), Some(None));
        assert!((0..1000).any(|_| throttle.pass().is_none()));
    }
}
