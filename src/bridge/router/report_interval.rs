//! Limits a log line of a link to one in each interval.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Decides whether to log a line about a message that is dropped.
#[derive(Debug, Default)]
pub(in crate::bridge) struct ReportInterval(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The time of the next line. `None` before the first one.
    next: Option<Instant>,
    suppressed: u64,
}

impl ReportInterval {
    /// Returns the number of lines that were suppressed since the last one, or `None` if this line is suppressed, too.
    pub(in crate::bridge) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.next.is_some_and(|next| now < next) {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.next = now.checked_add(INTERVAL);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_logged_in_each_interval() {
        let (interval, start) = (ReportInterval::default(), Instant::now());
        let pass = |seconds| interval.pass(start.checked_add(Duration::from_secs(seconds)).unwrap());
        assert_eq!([0, 0, 59].map(pass), [Some(0), None, None]);
        assert_eq!([60, 119].map(pass), [Some(2), None]);
        assert_eq!([500, 501].map(pass), [Some(1), None]);
    }
}
