//! What a long command shows while it runs: a line on stderr, if that is a terminal.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// How often the time in the line goes on when nothing else does.
const TICK: Duration = Duration::from_millis(200);

const BAR: &str = "{wide_bar} {human_pos} of {human_len} {msg}, {rate}, {eta} left";
const SPINNER: &str = "{spinner} {human_pos} {msg}, {rate}, {elapsed}";

/// How far something is. The line is gone when this is dropped; it never was where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of `total` things, if it is known how many there will be; `what` is what they are called, as in "messages".
    pub(crate) fn new(total: Option<u64>, what: impl Into<Cow<'static, str>>) -> Self {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), BAR),
            None => (ProgressBar::new_spinner(), SPINNER),
        };
        let style = ProgressStyle::with_template(template);
        let rate =
            |state: &ProgressState, to: &mut dyn fmt::Write| _ = write!(to, "{:.0}/s", state.per_sec());
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate);
        let bar = bar.with_message(what).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Progress(bar)
    }

    /// So many more are done.
    pub(crate) fn inc(&self, more: u64) {
        self.0.inc(more);
    }

    /// Takes the line away, before something else is said.
    pub(crate) fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_well_formed() {
        for total in [Some(10), None] {
            let progress = Progress::new(total, "messages");
            progress.inc(3);
            assert_eq!((progress.0.position(), progress.0.length()), (3, total));
            progress.finish();
        }
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
