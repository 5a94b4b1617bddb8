//! What a long command shows while it runs: a line on stderr, if that is a terminal.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How long something has to take until it is shown how far it is.
const PATIENCE: Duration = Duration::from_millis(300);

/// How often the time in the line goes on when nothing else does.
const TICK: Duration = Duration::from_millis(200);

const BAR: &str = "{wide_bar} {human_pos} of {human_len} {msg}, {rate}, {eta} left";
const SPINNER: &str = "{spinner} {human_pos} {msg}, {rate}, {elapsed}";
const BYTES_BAR: &str =
    "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const BYTES_SPINNER: &str = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}";

/// The line that is shown.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far something is. The line is gone when this is dropped; it never was where stderr is no terminal, or where it did
/// not take long.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Whether it may still come to be shown.
    pending: Cell<bool>,
}

impl Progress {
    /// Of `total` things, if it is known how many there will be; `what` is what they are called, as in "messages".
    pub(crate) fn new(total: Option<u64>, what: impl Into<Cow<'static, str>>) -> Self {
        Self::with(total, if total.is_some() { BAR } else { SPINNER }, what)
    }

    /// Of so many bytes, if that is known.
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

    /// So many more are done.
    pub(crate) fn inc(&self, more: u64) {
        self.bar.inc(more);
        if self.pending.get() && self.bar.elapsed() >= PATIENCE {
            self.pending.set(false);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            // Still so on a terminal that cannot take a line away.
            if !self.bar.is_hidden() {
                self.bar.enable_steady_tick(TICK);
                *shown() = Some(self.bar.clone());
            }
        }
    }

    /// Takes the line away, before something else is said.
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

/// Writes where a line of progress may be in the way: it is taken away meanwhile.
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

    // Words that are put together are written together.
    fn write_fmt(&mut self, words: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(words.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether a command that prints as it reads `from` (stdin for none or `-`) leaves the terminal free.
pub(crate) fn is_free(from: Option<&Path>) -> bool {
    let typed = from.is_none_or(|path| path == Path::new("-")) && io::stdin().is_terminal();
    !typed && !io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_well_formed() {
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
