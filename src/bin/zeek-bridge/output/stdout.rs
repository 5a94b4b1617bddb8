//! Buffered stdout for commands that do nothing else while they write.

use std::io::{self, Stdout, Write};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::exit::Failure;
use super::progress::Aside;
use crate::blocking::Blocking;

/// The number of bytes that are written together.
const BUFFERED: usize = 8 * 1024;

/// Buffered stdout. Writes block if stdout is not read.
pub(crate) struct Output {
    stdout: Aside<Blocking<Stdout>>,
    /// Complete lines, so that the progress line never appears within one.
    lines: Vec<u8>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Output { stdout: Aside(Blocking(io::stdout())), lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        if self.lines.len() < BUFFERED { Ok(()) } else { self.flush() }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let result = self.stdout.write_all(&self.lines).and_then(|()| self.stdout.flush());
        // Discard the lines: a failed write is not repeated.
        self.lines.clear();
        self.lines.shrink_to(BUFFERED);
        result.map_err(|error| failure(&error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Waits until the reader of stdout closes it. Never returns if stdout is a file.
pub(crate) async fn stdout_closed() {
    let (sender, closed) = oneshot::channel();
    // `poll` blocks until then. The thread ends with the process.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        loop {
            // Without requested events, only errors and hangups are reported.
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut watched, None) {
                Err(Errno::INTR) => {}
                Ok(_) => return sender.send(()),
                Err(_) => return Ok(()),
            }
        }
    });
    if closed.await.is_err() {
        std::future::pending().await
    }
}

/// Maps an error of a write to stdout to a failure.
pub(crate) fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    }
}
