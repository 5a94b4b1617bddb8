//! Output to stderr. Lines are written completely, even if this blocks.
//!
//! There are two exceptions. Some commands must not stop if stderr is not read: a thread writes their log, and log lines are
//! dropped while the queue of the thread is full. If stderr is a terminal, messages are buffered while a live screen is shown.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::escape::printable;
use super::progress::Aside;
use crate::blocking::Blocking;

/// The maximum number of buffered messages; the latest are kept.
const KEPT: usize = 100;

/// The maximum size of a buffered message in bytes.
const LONGEST: usize = 4096;

static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// The buffered messages.
#[derive(Debug, Default)]
struct Held {
    messages: VecDeque<Vec<u8>>,
    dropped: u64,
}

fn held() -> MutexGuard<'static, Option<Held>> {
    // No code panics while it holds the lock.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maximum number of log lines that are queued for the thread. If the queue is full, lines are dropped and counted.
const QUEUED: usize = 1024;

/// The queue of the thread, if the thread was started.
static QUEUE: OnceLock<NonBlocking> = OnceLock::new();

/// Starts a thread that writes the log, unless stderr is a terminal. When the guard is dropped, the thread writes the queued lines.
/// This takes at most about a second.
pub(crate) fn start_log_thread() -> Option<WorkerGuard> {
    if io::stderr().is_terminal() {
        return None;
    }
    let builder =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED).thread_name("stderr");
    let dropped = || QUEUE.get().map_or(0, |queue| queue.error_counter().dropped_lines());
    let (queue, guard) = builder.finish(WithDropNotice { to: Stderr, dropped, reported: 0 });
    let _ = QUEUE.set(queue);
    Some(guard)
}

/// The writer of the log. It never blocks if the thread was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match QUEUE.get() {
            Some(queue) => queue.clone().write(line),
            None => Stderr.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the lines of a queue, and a notice with the number of lines that were dropped because the queue was full.
///
/// The thread calls `flush` each time the queue is empty. The notice is written only then, so that a slow reader does not receive
/// a notice with each line. At this time, all lines before the dropped lines have been written.
struct WithDropNotice<W, D> {
    to: W,
    /// Returns the number of lines that were dropped since the start.
    dropped: D,
    /// The number of dropped lines that were reported.
    reported: usize,
}

impl<W: Write, D: Fn() -> usize> Write for WithDropNotice<W, D> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.to.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let dropped = (self.dropped)();
        let count = dropped.saturating_sub(self.reported);
        if count == 0 {
            return Ok(());
        }
        self.reported = dropped;
        writeln!(self.to, "stderr is not read fast enough; dropped log lines: {count}")
    }
}

/// Prints a line. Control characters in it are escaped, because it can contain text from peers and names of files. A closed
/// stderr is not an error.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    // Use a single write, so that no output of other processes or threads can appear within the line.
    let _ = Stderr.write_all(format!("{}\n", printable(&line.to_string())).as_bytes());
}

/// Writes to stderr directly, and blocks if stderr is not read.
#[derive(Clone, Copy, Debug)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        match &mut *held() {
            Some(held) => held.push(message),
            None => Aside(Blocking(io::stderr())).write_all(message)?,
        }
        Ok(message.len())
    }

    // Use a single write.
    fn write_fmt(&mut self, message: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(message.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Held {
    fn push(&mut self, message: &[u8]) {
        if self.messages.len() >= KEPT {
            self.messages.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        let mut kept = message.get(..LONGEST).unwrap_or(message).to_vec();
        if kept.len() < message.len() {
            kept.push(b'\n');
        }
        self.messages.push_back(kept);
    }

    fn write_to(self, mut to: impl Write) {
        if self.dropped > 0 {
            let _ = writeln!(to, "({} earlier lines were dropped)", self.dropped);
        }
        for message in self.messages {
            let _ = to.write_all(&message);
        }
    }
}

/// Buffers messages while this value exists, if stderr is a terminal. Writes them on drop.
#[derive(Debug)]
pub(crate) struct Hold(());

impl Hold {
    pub(crate) fn new() -> Self {
        if io::stderr().is_terminal() {
            held().get_or_insert_default();
        }
        Hold(())
    }

    /// Returns the last `count` buffered messages without colors, the latest last.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let held = held();
        let last = held.iter().flat_map(|held| held.messages.iter().rev().take(count));
        let mut last: Vec<String> = last
            .map(|message| {
                anstream::adapter::strip_str(&String::from_utf8_lossy(message)).to_string().trim_end().into()
            })
            .collect();
        last.reverse();
        last
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = held().take() {
            held.write_to(Blocking(io::stderr()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffered_messages_are_bounded_and_written_in_order() {
        let mut held = Held::default();
        for n in 0..KEPT + 2 {
            held.push(format!("{n}\n").as_bytes());
        }
        held.push(&[b'x'; LONGEST + 1]);
        let mut written = Vec::new();
        held.write_to(&mut written);
        let written = String::from_utf8(written).unwrap();
        assert!(written.starts_with("(3 earlier lines were dropped)\n3\n4\n"), "{written}");
        assert!(written.ends_with(&format!("101\n{}\n", "x".repeat(LONGEST))), "{written}");
    }

    #[test]
    fn dropped_lines_are_reported_once_when_the_queue_is_empty() {
        let dropped = std::cell::Cell::new(0);
        let mut writer = WithDropNotice { to: Vec::new(), dropped: || dropped.get(), reported: 0 };
        for count in 1..=3 {
            dropped.set(count * 100);
            writer.write_all(b"line\n").unwrap();
        }
        writer.flush().unwrap();
        writer.write_all(b"line\n").unwrap();
        writer.flush().unwrap();
        dropped.set(301);
        writer.flush().unwrap();
        let notice = "stderr is not read fast enough; dropped log lines:";
        let expected = format!("line\nline\nline\n{notice} 300\nline\n{notice} 1\n");
        assert_eq!(String::from_utf8(writer.to).unwrap(), expected);
    }
}
