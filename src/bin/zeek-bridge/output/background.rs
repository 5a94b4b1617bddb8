//! Stdout for a command that must go on while its reader is slow: a thread writes.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::exit::Failure;
use super::json::Object;
use super::stdout::failure;
use crate::blocking::Blocking;

/// How many bytes may wait for the thread. One line alone is always taken.
const ROOM: usize = 8 * 1024 * 1024;

/// The hands of the thread.
pub(crate) struct BackgroundOutput {
    shared: Arc<Shared>,
    end: oneshot::Receiver<Result<(), Failure>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    emptied: Notify,
}

/// What is to be written next.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// How many lines the thread is writing now.
    in_hand: u64,
    /// The thread is writing.
    writing: bool,
    /// There will be no more.
    complete: bool,
    /// Nothing can be written any more.
    ended: bool,
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && !self.writing
    }
}

/// How the writing ended.
pub(crate) struct Written {
    pub(crate) result: Result<(), Failure>,
    /// How many lines were handed on and are not known to be written.
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
            thread.waiting().ended = true;
            thread.emptied.notify_waiters();
            let _ = sender.send(result);
        });
        BackgroundOutput { shared, end }
    }

    /// Hands a line on; waits while too much is waiting already. After the end of stdout, lines go nowhere:
    /// see [`BackgroundOutput::ended`].
    pub(crate) async fn line(&self, object: Object) {
        let mut line = object.into_line();
        line.push(b'\n');
        self.text(&line, 1).await;
    }

    /// Hands on text as it is, with which so many lines of those that [`Written::unwritten`] counts are complete.
    pub(crate) async fn text(&self, text: &[u8], lines: u64) {
        self.when(|waiting| {
            if waiting.ended {
                return true;
            }
            let room = ROOM.saturating_sub(waiting.bytes.len()) >= text.len() || waiting.bytes.is_empty();
            if room {
                waiting.bytes.extend_from_slice(text);
                waiting.lines = waiting.lines.saturating_add(lines);
                self.shared.filled.notify_one();
            }
            room
        })
        .await;
    }

    /// Whether all that was handed on is written.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.waiting().is_idle()
    }

    /// Waits until all that was handed on is written, or nothing can be written any more.
    pub(crate) async fn idle(&self) {
        self.when(|waiting| waiting.is_idle() || waiting.ended).await;
    }

    /// Waits until nothing can be written any more; [`BackgroundOutput::finish`] says why.
    pub(crate) async fn ended(&self) {
        self.when(|waiting| waiting.ended).await;
    }

    /// Looks whenever there is more room, until it is what is wanted.
    async fn when(&self, mut enough: impl FnMut(&mut Waiting) -> bool) {
        loop {
            let emptied = self.shared.emptied.notified();
            tokio::pin!(emptied);
            // Registered before the look, so that nothing is missed.
            emptied.as_mut().enable();
            if enough(&mut self.shared.waiting()) {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until everything is written, at most so long.
    pub(crate) async fn finish(self, patience: Duration) -> Written {
        self.shared.waiting().complete = true;
        self.shared.filled.notify_one();
        let result = match tokio::time::timeout(patience, self.end).await {
            Ok(Ok(result)) => result,
            _ => Err(Failure::failed("stdout is not read: not everything was written")),
        };
        let waiting = self.shared.waiting();
        Written { result, unwritten: waiting.lines.saturating_add(waiting.in_hand) }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Together what is there together, and at once what comes alone.
    fn write_all(&self, mut to: impl Write) -> Result<(), Failure> {
        loop {
            let mut waiting = self.waiting();
            waiting.in_hand = 0;
            waiting.writing = false;
            if waiting.bytes.is_empty() {
                self.emptied.notify_waiters();
            }
            while waiting.bytes.is_empty() {
                if waiting.complete {
                    return Ok(());
                }
                waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let bytes = std::mem::take(&mut waiting.bytes);
            waiting.in_hand = std::mem::take(&mut waiting.lines);
            waiting.writing = true;
            drop(waiting);
            self.emptied.notify_waiters();
            to.write_all(&bytes).and_then(|()| to.flush()).map_err(|error| failure(&error))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes each time that it is told to.
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

    fn megabyte() -> Object {
        Object::new().with("x", "y".repeat(1024 * 1024))
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_all_of_it_is_written() {
        let (go, permits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let output = BackgroundOutput::start_with(Slow(permits, written.clone()));
        let mut taken = 0;
        {
            let push = async {
                loop {
                    output.line(megabyte()).await;
                    taken += 1;
                }
            };
            tokio::pin!(push);
            // Nothing is written meanwhile, so it stops when there is no more room.
            std::future::poll_fn(|context| {
                assert!(push.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert!((7..=16).contains(&taken), "{taken}");
        assert!(output.shared.waiting().bytes.len() <= ROOM);
        for _ in 0..20 {
            go.send(()).unwrap();
        }
        output.idle().await;
        assert!(output.is_idle());
        let end = output.finish(Duration::MAX).await;
        assert!(end.result.is_ok());
        assert_eq!(end.unwritten, 0);
        assert_eq!(written.lock().unwrap().iter().filter(|byte| **byte == b'\n').count(), taken);
    }

    #[tokio::test]
    async fn what_was_not_written_is_counted() {
        let (go, permits) = mpsc::channel::<()>();
        let output = BackgroundOutput::start_with(Slow(permits, Arc::default()));
        for _ in 0..5 {
            output.line(Object::new()).await;
        }
        assert!(!output.is_idle());
        let end = output.finish(Duration::ZERO).await;
        assert_eq!(end.unwritten, 5);
        assert!(end.result.is_err());
        drop(go);
    }

    #[tokio::test]
    async fn text_is_written_as_it_is_and_counted_when_it_is_complete() {
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
    async fn the_end_of_stdout_is_told_and_keeps_nobody() {
        let (go, permits) = mpsc::channel::<()>();
        drop(go);
        let output = BackgroundOutput::start_with(Slow(permits, Arc::default()));
        output.line(Object::new()).await;
        output.ended().await;
        for _ in 0..20 {
            output.line(megabyte()).await;
        }
        assert!(matches!(output.finish(Duration::MAX).await.result, Err(Failure::StdoutClosed)));
    }
}
