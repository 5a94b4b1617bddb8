//! Runs a program on a pseudo-terminal.

#![allow(dead_code, reason = "each test binary uses a part of this module")]
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::program::child::{LIMIT, Running};

/// A pseudo-terminal. The test holds the controlling end; programs get the other end.
pub struct Terminal {
    own: File,
    path: String,
    written: Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    pub fn new() -> Self {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&own).unwrap();
        unlockpt(&own).unwrap();
        let path = ptsname(&own, Vec::new()).unwrap().into_string().unwrap();
        let own = File::from(own);
        let (sender, written) = channel();
        let mut reader = own.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Fails when all programs have closed the other end.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk.get(..count).unwrap().to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { own, path, written, text: String::new() }
    }

    /// Opens the other end for a program.
    pub fn end(&self) -> Stdio {
        self.other().into()
    }

    fn other(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
    }

    pub fn resize(&mut self, columns: u16, lines: u16) {
        let size = Winsize { ws_col: columns, ws_row: lines, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.own, size).unwrap();
    }

    /// Returns whether this text has been written by now.
    pub fn has(&mut self, words: &str) -> bool {
        while let Ok(bytes) = self.written.try_recv() {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.text.contains(words)
    }

    /// Waits for more output. Returns `false` at the end of the output.
    fn more(&mut self, deadline: Instant) -> bool {
        match self.written.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("no more output: {:?}", self.text),
        }
        true
    }

    /// Returns all output, after all programs have closed the other end.
    pub fn all(mut self) -> String {
        self.until_gone();
        self.text
    }

    fn until_gone(&mut self) {
        let deadline = Instant::now() + LIMIT;
        while self.more(deadline) {}
    }
}

/// A running program whose stdout and stderr are a terminal.
pub struct OnTerminal {
    child: Running,
    terminal: Terminal,
    size: (u16, u16),
    /// The length of the output up to the end of the text that [`OnTerminal::shows`] found last.
    seen: usize,
}

impl OnTerminal {
    pub fn start(command: Command, columns: u16, lines: u16) -> Self {
        Self::start_on(Terminal::new(), command, columns, lines)
    }

    fn start_on(mut terminal: Terminal, mut command: Command, columns: u16, lines: u16) -> Self {
        let other = terminal.other();
        // Do not convert line breaks.
        let mut modes = tcgetattr(&other).unwrap();
        modes.make_raw();
        tcsetattr(&other, OptionalActions::Now, &modes).unwrap();
        terminal.resize(columns, lines);
        command.stdout(other.try_clone().unwrap()).stderr(other);
        // `command` is dropped at the end of this function. After that, only the program has the other end open.
        let child = Running::spawn(&mut command);
        OnTerminal { child, terminal, size: (columns, lines), seen: 0 }
    }

    /// Starts a program whose stdin is the terminal as well, so that it can read keys.
    pub fn with_keys(mut command: Command, columns: u16, lines: u16) -> Self {
        let terminal = Terminal::new();
        command.stdin(terminal.end());
        Self::start_on(terminal, command, columns, lines)
    }

    /// Sends keys to the program.
    pub fn press(&mut self, keys: &str) {
        self.terminal.own.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.terminal.resize(columns, lines);
        self.size = (columns, lines);
    }

    /// Waits until this text is on the screen, and returns the lines of the screen.
    pub fn screen_shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut screen = vt100::Parser::new(self.size.1, self.size.0, 0);
            screen.process(self.terminal.text.as_bytes());
            let shown = screen.screen().contents();
            if shown.contains(text) {
                return shown;
            }
            assert!(
                self.terminal.more(deadline),
                "the program ended without {text:?} on the screen: {shown:?}"
            );
        }
    }

    pub fn signal(&self, name: &str) {
        self.child.signal(name);
    }

    /// Waits until a signal has stopped the program, so that it can be continued.
    pub fn is_stopped(&self) {
        let pid = Pid::from_child(&self.child);
        let deadline = Instant::now() + LIMIT;
        while waitpid(Some(pid), WaitOptions::UNTRACED | WaitOptions::NOHANG).unwrap().is_none() {
            assert!(Instant::now() < deadline, "the program is not stopped: {:?}", self.terminal.text);
            std::thread::yield_now();
        }
    }

    /// Waits until this text is written after the text that the previous call found. Returns all output so far.
    pub fn shows(&mut self, words: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = &self.terminal.text;
            if let Some(at) = text.get(self.seen..).unwrap().find(words) {
                self.seen += at + words.len();
                return text.clone();
            }
            assert!(
                self.terminal.more(deadline),
                "the program ended without {words:?}: {:?}",
                self.terminal.text
            );
        }
    }

    /// Waits for the end of the program with exit code 0, and returns all that was shown.
    pub fn end(self) -> String {
        self.end_with(0)
    }

    /// Waits for the end of the program with this exit code, and returns all that was shown.
    pub fn end_with(mut self, code: i32) -> String {
        self.terminal.until_gone();
        let status = self.child.end();
        assert_eq!(status.code(), Some(code), "{:?}", self.terminal.text);
        self.terminal.text.clone()
    }
}
