//! Stdout for commands that must not block if it is read slowly: a thread writes.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::exit::Failure;
use super::stdout::failure;
use crate::blocking::Blocking;

/// The maximum number of queued bytes. A line is always accepted if the queue is empty.
const CAPACITY: usize = 8 * 1024 * 1024;

/// A queue of lines, and the thread that writes them to stdout.
pub(crate) struct BackgroundOutput {
    shared: Arc<Shared>,
    end: oneshot::Receiver<Result<(), Failure>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notifies the thread that lines were queued, or that the queue is complete.
    filled: Condvar,
    /// Notifies waiting tasks that the thread has taken or written the queue, or has ended.
    progress: Notify,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    /// The number of lines that the thread is writing.
    in_flight: u64,
    /// True while the thread is writing.
    writing: bool,
    /// True if no more lines will be queued.
    complete: bool,
    /// True once the thread has ended, after the last line or an error.
    ended: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && !self.writing
    }
}

/// The result of writing all lines.
pub(crate) struct Written {
    pub(crate) result: Result<(), Failure>,
    /// The number of queued lines that may not have been written.
    pub(crate) unwritten: u64,
}

impl BackgroundOutput {
    pub(crate) fn start() -> Self {
        Self::start_with(Blocking(io::stdout()))
    }

    fn start_with(to: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, end) = oneshot::channel();
        let thread = shared.clone();
        std::thread::spawn(move || {
            let result = thread.write_all(to);
            thread.lock().ended = true;
            thread.progress.notify_waiters();
            let _ = sender.send(result);
        });
        BackgroundOutput { shared, end }
    }

    /// Queues a line. Waits while the queue is full. After an error of stdout, lines are discarded: see
    /// [`BackgroundOutput::ended`].
    pub(crate) async fn line(&self, line: impl Into<Vec<u8>>) {
        let mut line = line.into();
        line.push(b'\n');
        self.text(&line, 1).await;
    }

    /// Queues text unchanged. Waits while the queue is full. The text counts as `lines` lines in [`Written::unwritten`].
    pub(crate) async fn text(&self, text: &[u8], lines: u64) {
        self.when(|queue| {
            if queue.ended {
                return true;
            }
            let accepted = CAPACITY.saturating_sub(queue.bytes.len()) >= text.len() || queue.bytes.is_empty();
            if accepted {
                queue.bytes.extend_from_slice(text);
                queue.lines = queue.lines.saturating_add(lines);
                self.shared.filled.notify_one();
            }
            accepted
        })
        .await;
    }

    /// Returns whether everything queued is written.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.lock().is_idle()
    }

    /// Waits until everything queued is written, or a write to stdout has failed.
    pub(crate) async fn idle(&self) {
        self.when(|queue| queue.is_idle() || queue.ended).await;
    }

    /// Waits until a write to stdout has failed. [`BackgroundOutput::finish`] returns the reason.
    pub(crate) async fn ended(&self) {
        self.when(|queue| queue.ended).await;
    }

    /// Calls `condition` after each change of the queue, until it returns true.
    async fn when(&self, mut condition: impl FnMut(&mut Queue) -> bool) {
        loop {
            let progress = self.shared.progress.notified();
            tokio::pin!(progress);
            // Registered before the condition is evaluated, so that no notification between the two is missed.
            progress.as_mut().enable();
            if condition(&mut self.shared.lock()) {
                return;
            }
            progress.await;
        }
    }

    /// Waits until everything is written, for at most `limit`.
    pub(crate) async fn finish(self, limit: Duration) -> Written {
        self.shared.lock().complete = true;
        self.shared.filled.notify_one();
        let result = match tokio::time::timeout(limit, self.end).await {
            Ok(Ok(result)) => result,
            _ => Err(Failure::failed("the output was not written completely, because stdout is not read")),
        };
        let queue = self.shared.lock();
        Written { result, unwritten: queue.lines.saturating_add(queue.in_flight) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the queue is complete and empty. Each write contains everything that is queued at that time.
    fn write_all(&self, mut to: impl Write) -> Result<(), Failure> {
        loop {
            let mut queue = self.lock();
            queue.in_flight = 0;
            queue.writing = false;
            if queue.bytes.is_empty() {
                self.progress.notify_waiters();
            }
            while queue.bytes.is_empty() {
                if queue.complete {
                    return Ok(());
                }
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let bytes = std::mem::take(&mut queue.bytes);
            queue.in_flight = std::mem::take(&mut queue.lines);
            queue.writing = true;
            drop(queue);
            self.progress.notify_waiters();
            to.write_all(&bytes).and_then(|()| to.flush()).map_err(|error| failure(&error))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A writer that waits for a permit before each write.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn megabyte() -> String {
        "y".repeat(1024 * 1024)
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_and_written_completely() {
        let (go, permits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let output = BackgroundOutput::start_with(Slow(permits, written.clone()));
        let mut accepted = 0;
        {
            let push = async {
                loop {
                    output.line(megabyte()).await;
                    accepted += 1;
                }
            };
            tokio::pin!(push);
            // Nothing is written at this time, so queuing waits when the queue is full.
            std::future::poll_fn(|context| {
                assert!(push.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert!((7..=16).contains(&accepted), "{accepted}");
        assert!(output.shared.lock().bytes.len() <= CAPACITY);
        for _ in 0..20 {
            go.send(()).unwrap();
        }
        output.idle().await;
        assert!(output.is_idle());
        let end = output.finish(Duration::MAX).await;
        assert!(end.result.is_ok());
        assert_eq!(end.unwritten, 0);
        assert_eq!(written.lock().unwrap().iter().filter(|byte| **byte == b'\n').count(), accepted);
    }

    #[tokio::test]
    async fn unwritten_lines_are_counted() {
        let (go, permits) = mpsc::channel::<()>();
        let output = BackgroundOutput::start_with(Slow(permits, Arc::default()));
        for _ in 0..5 {
            output.line("line").await;
        }
        assert!(!output.is_idle());
        let end = output.finish(Duration::ZERO).await;
        assert_eq!(end.unwritten, 5);
        assert!(end.result.is_err());
        drop(go);
    }

    #[tokio::test]
    async fn text_is_written_unchanged_and_complete_lines_are_counted() {
        let (go, permits) = mpsc::channel::<()>();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let output = BackgroundOutput::start_with(Slow(permits, written.clone()));
        assert!(output.is_idle());
        output.text(b"a", 0).await;
        output.text(b"b\n", 1).await;
        for _ in 0..2 {
            go.send(()).unwrap();
        }
        assert_eq!(output.finish(Duration::MAX).await.unwritten, 0);
        assert_eq!(*written.lock().unwrap(), b"ab\n");
    }

    #[tokio::test]
    async fn a_closed_stdout_is_reported_and_blocks_no_writer() {
        let (go, permits) = mpsc::channel::<()>();
        drop(go);
        let output = BackgroundOutput::start_with(Slow(permits, Arc::default()));
        output.line("line").await;
        output.ended().await;
        for _ in 0..20 {
            output.line(megabyte()).await;
        }
        assert!(matches!(output.finish(Duration::MAX).await.result, Err(Failure::StdoutClosed)));
    }
}
