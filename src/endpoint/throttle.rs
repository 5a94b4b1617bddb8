//! Saying things that a peer can make happen as often as it likes.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same thing is said at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets one thing be said a second, and counts what was not.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl Throttle {
    /// Whether it may be said now; then, how often it was not said since the last time, if ever.
    pub(crate) fn pass(&self) -> Option<Option<NonZeroU64>> {
        self.pass_at(Instant::now(), PAUSE)
    }

    /// As [`Throttle::pass`], with another pause.
    #[allow(dead_code, reason = "the program compiles this file too, and does not use it")]
    pub(crate) fn pass_every(&self, pause: Duration) -> Option<Option<NonZeroU64>> {
        self.pass_at(Instant::now(), pause)
    }

    fn pass_at(&self, now: Instant, pause: Duration) -> Option<Option<NonZeroU64>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now.saturating_duration_since(said) < pause) {
            state.unsaid = state.unsaid.saturating_add(1);
            return None;
        }
        state.said = Some(now);
        Some(NonZeroU64::new(std::mem::take(&mut state.unsaid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_said_a_second_and_the_others_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let after =
            |millis| throttle.pass_at(start.checked_add(Duration::from_millis(millis)).unwrap(), PAUSE);
        assert_eq!(after(0), Some(None));
        assert_eq!([after(1), after(500), after(999)], [None; 3]);
        assert_eq!(after(1000), Some(NonZeroU64::new(3)));
        assert_eq!(after(1500), None);
        assert_eq!(after(9000), Some(NonZeroU64::new(1)));
    }
}
