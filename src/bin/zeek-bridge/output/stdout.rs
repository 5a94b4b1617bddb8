//! Buffered stdout for commands that do nothing else while they write.

use std::io::{self, Stdout, Write};

use super::exit::Failure;
use super::progress::Aside;
use crate::blocking::Blocking;

/// How much waits to be written together.
const TOGETHER: usize = 8 * 1024;

/// Stdout for a command that does nothing else meanwhile.
pub(crate) struct Output {
    stdout: Aside<Blocking<Stdout>>,
    /// Whole lines, so that a line of progress never stands in the middle of one.
    lines: Vec<u8>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Output { stdout: Aside(Blocking(io::stdout())), lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        if self.lines.len() < TOGETHER { Ok(()) } else { self.flush() }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let result = self.stdout.write_all(&self.lines).and_then(|()| self.stdout.flush());
        // What could not be written is not tried again.
        self.lines.clear();
        self.lines.shrink_to(TOGETHER);
        result.map_err(|error| failure(&error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Why stdout could not be written to.
pub(crate) fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    }
}
