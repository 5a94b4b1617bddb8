//! Stderr. If it is not a terminal, a thread writes to it, so that a reader that does not read stops nothing else. If it is one,
//! messages are held back while a screen is drawn on it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::escape::{escaped, steers};
use super::progress::Aside;
use crate::blocking::Blocking;

/// The number of buffered messages; the latest are kept.
const KEPT: usize = 100;

/// The maximum size of a buffered message in bytes.
const LONGEST: usize = 4096;

static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// The buffered messages.
#[derive(Debug, Default)]
struct Held {
    words: VecDeque<Vec<u8>>,
    lost: u64,
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
    let (queue, guard) = builder.finish(Blocked);
    let _ = QUEUE.set((queue, AtomicUsize::new(0)));
    Some(guard)
}

/// The writer that all messages of this program use. It never blocks once the thread is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        let Some((queue, reported)) = QUEUE.get() else { return Blocked.write(words) };
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
        queue.write(words)
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

/// Stderr itself, which blocks if it is not read.
struct Blocked;

impl Write for Blocked {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        // Messages contain what peers sent. Colors and line ends are of this program, and those of others are escaped
        // already.
        let escaped = escaped(words, |letter| !letter.is_ascii() && steers(letter));
        let harmless = escaped.as_deref().unwrap_or(words);
        match &mut *held() {
            Some(held) => held.keep(harmless),
            None => Aside(Blocking(io::stderr())).write_all(harmless)?,
        }
        Ok(words.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Held {
    fn keep(&mut self, words: &[u8]) {
        if self.words.len() >= KEPT {
            self.words.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        let mut kept = words.get(..LONGEST).unwrap_or(words).to_vec();
        if kept.len() < words.len() {
            kept.push(b'\n');
        }
        self.words.push_back(kept);
    }

    fn say(self, mut to: impl Write) {
        if self.lost > 0 {
            let _ = writeln!(to, "({} earlier lines were dropped)", self.lost);
        }
        for words in self.words {
            let _ = to.write_all(&words);
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
        let words = held.iter().flat_map(|held| held.words.iter().rev().take(count));
        let mut words: Vec<String> = words
            .map(|words| {
                anstream::adapter::strip_str(&String::from_utf8_lossy(words)).to_string().trim_end().into()
            })
            .collect();
        words.reverse();
        words
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = held().take() {
            held.say(Blocking(io::stderr()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_said_in_order() {
        let mut held = Held::default();
        for n in 0..KEPT + 2 {
            held.keep(format!("{n}\n").as_bytes());
        }
        held.keep(&[b'x'; LONGEST + 1]);
        let mut said = Vec::new();
        held.say(&mut said);
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("(3 earlier lines were dropped)\n3\n4\n"), "{said}");
        assert!(said.ends_with(&format!("101\n{}\n", "x".repeat(LONGEST))), "{said}");
    }
}
