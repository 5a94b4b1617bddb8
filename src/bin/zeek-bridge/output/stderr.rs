//! Stderr. If it is not a terminal, a thread writes to it, so that a reader that stalls does not block the program. If it is a
//! terminal, messages are buffered while a live screen is drawn on it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::escape::{escaped, steers};
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

/// The number of messages that are queued for the thread. Further ones are dropped and counted.
const QUEUED: usize = 1024;

/// The queue of the thread, and how many dropped messages were reported.
static QUEUE: OnceLock<(NonBlocking, AtomicUsize)> = OnceLock::new();

/// Starts the thread that writes all messages, unless stderr is a terminal. When the guard is dropped, the thread writes what is
/// queued, for at most about a second.
pub(crate) fn start() -> Option<WorkerGuard> {
    if io::stderr().is_terminal() {
        return None;
    }
    let builder =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED).thread_name("stderr");
    let (queue, guard) = builder.finish(BlockingStderr);
    let _ = QUEUE.set((queue, AtomicUsize::new(0)));
    Some(guard)
}

/// The writer that all messages of this program use. It never blocks once the thread is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let Some((queue, reported)) = QUEUE.get() else { return BlockingStderr.write(message) };
        let mut queue = queue.clone();
        let counter = queue.error_counter();
        let dropped = counter.dropped_lines();
        if dropped > reported.load(Ordering::Relaxed) {
            let line =
                format!("stderr is not read fast enough: {dropped} messages were dropped since the start\n");
            queue.write_all(line.as_bytes())?;
            // If this line was dropped as well, the next message reports the new total.
            reported.store(dropped, Ordering::Relaxed);
        }
        queue.write(message)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a line. A closed stderr is not an error.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    // In one write, so that no other output separates its parts.
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// Writes to stderr itself, and blocks if it is not read.
struct BlockingStderr;

impl Write for BlockingStderr {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // Messages contain text from peers. Its ASCII control characters are escaped already by the log; those that remain are
        // colors and line ends of this program.
        let escaped = escaped(message, |letter| !letter.is_ascii() && steers(letter));
        let escaped = escaped.as_deref().unwrap_or(message);
        match &mut *held() {
            Some(held) => held.push(escaped),
            None => Aside(Blocking(io::stderr())).write_all(escaped)?,
        }
        Ok(message.len())
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

/// While this exists and stderr is a terminal, messages are buffered. They are written when it is dropped.
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
}
