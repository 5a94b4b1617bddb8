//! The progress of long commands: a line on stderr, if it is a terminal.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// The delay before progress is shown.
const PATIENCE: Duration = Duration::from_millis(300);

/// The update interval of the time in the line.
const TICK: Duration = Duration::from_millis(200);

const BAR: &str = "{wide_bar} {human_pos} of {human_len} {msg}, {rate}, {eta} left";
const SPINNER: &str = "{spinner} {human_pos} {msg}, {rate}, {elapsed}";
const BYTES_BAR: &str =
    "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const BYTES_SPINNER: &str = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}";

/// The line that is shown now.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows progress. The line is removed on drop. Nothing is shown if stderr is not a terminal, or if the command ends quickly.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// True if the line is not shown yet and stderr is a terminal.
    pending: Cell<bool>,
}

impl Progress {
    /// Shows progress by count, of `total` items if known. `what` names the items, such as "messages".
    pub(crate) fn new(total: Option<u64>, what: impl Into<Cow<'static, str>>) -> Self {
        Self::with(total, if total.is_some() { BAR } else { SPINNER }, what)
    }

    /// Shows progress by bytes, of `total` if known.
    pub(crate) fn bytes(total: Option<u64>) -> Self {
        Self::with(total, if total.is_some() { BYTES_BAR } else { BYTES_SPINNER }, "")
    }

    fn with(total: Option<u64>, template: &str, what: impl Into<Cow<'static, str>>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let rate =
            |state: &ProgressState, to: &mut dyn fmt::Write| _ = write!(to, "{:.0}/s", state.per_sec());
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate);
        Progress {
            bar: bar.with_message(what).with_style(style),
            pending: Cell::new(io::stderr().is_terminal()),
        }
    }

    /// Adds to the progress.
    pub(crate) fn inc(&self, more: u64) {
        self.bar.inc(more);
        if self.pending.get() && self.bar.elapsed() >= PATIENCE {
            self.pending.set(false);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            // This also handles terminals that cannot remove a line.
            if !self.bar.is_hidden() {
                self.bar.enable_steady_tick(TICK);
                *shown() = Some(self.bar.clone());
            }
        }
    }

    /// Removes the line, so that something else can be printed.
    pub(crate) fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut shown = shown();
        if !self.bar.is_hidden() {
            *shown = None;
        }
        self.bar.finish_and_clear();
    }
}

/// A writer that removes the progress line while it writes.
pub(crate) struct Aside<W>(pub(crate) W);

impl<W: Write> Write for Aside<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let bar = shown().clone();
        match bar {
            Some(bar) => bar.suspend(|| self.0.write_all(bytes)),
            None => self.0.write_all(bytes),
        }
    }

    // One write for all pieces of a formatted message.
    fn write_fmt(&mut self, message: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(message.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns whether progress may be shown for a command that prints while it reads `from` (stdin for none or `-`).
pub(crate) fn is_free(from: Option<&Path>) -> bool {
    let typed = from.is_none_or(|path| path == Path::new("-")) && io::stdin().is_terminal();
    !typed && !io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid_and_progress_is_counted() {
        for total in [Some(10), None] {
            for progress in [Progress::new(total, "messages"), Progress::bytes(total)] {
                progress.inc(3);
                assert_eq!((progress.bar.position(), progress.bar.length()), (3, total));
                progress.finish();
            }
        }
        for template in [BAR, SPINNER, BYTES_BAR, BYTES_SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
