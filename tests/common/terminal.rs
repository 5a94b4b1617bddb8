//! A terminal, of which a program is given the one end.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "test code")]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Only there so that a fault does not make the tests hang.
const LIMIT: Duration = Duration::from_secs(30);

pub struct Terminal {
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
        let (sender, written) = channel();
        std::thread::spawn(move || {
            let (mut own, mut chunk) = (File::from(own), [0; 4096]);
            // An error when nobody has the other end any more.
            while let Ok(count @ 1..) = own.read(&mut chunk) {
                if sender.send(chunk.get(..count).unwrap().to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { path, written, text: String::new() }
    }

    /// The end of a program.
    pub fn end(&self) -> Stdio {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap().into()
    }

    /// Whether these words have been written by now.
    pub fn has(&mut self, words: &str) -> bool {
        while let Ok(bytes) = self.written.try_recv() {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.text.contains(words)
    }

    /// All that is written until all programs at the other end are gone.
    pub fn all(mut self) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.written.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => return self.text,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:?}", self.text),
            }
        }
    }
}
