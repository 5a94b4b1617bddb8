//! A program on a terminal.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "test code")]

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

const LIMIT: Duration = Duration::from_secs(30);

/// A running program whose stdout and stderr are a terminal.
pub struct Terminal {
    child: Child,
    master: File,
    output: Receiver<Vec<u8>>,
    /// What was shown so far, and how much of it was waited for.
    shown: String,
    seen: usize,
}

impl Terminal {
    pub fn start(mut command: Command, columns: u16, lines: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(path).unwrap();
        // Line breaks as they were written.
        let mut modes = tcgetattr(&terminal).unwrap();
        modes.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &modes).unwrap();
        let master = File::from(master);
        set_size(&master, columns, lines);
        command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let child = command.spawn().unwrap();
        // It has the only other end now.
        drop(command);
        let (sender, output) = channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when nobody has the terminal any more.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer.get(..count).unwrap().to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, master, output, shown: String::new(), seen: 0 }
    }

    pub fn resize(&mut self, columns: u16, lines: u16) {
        set_size(&self.master, columns, lines);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until a signal has stopped it, and it can be continued.
    pub fn is_stopped(&self) {
        let pid = Pid::from_child(&self.child);
        let deadline = Instant::now().checked_add(LIMIT).unwrap();
        while waitpid(Some(pid), WaitOptions::UNTRACED | WaitOptions::NOHANG).unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not stop: {:?}", self.shown);
            std::thread::yield_now();
        }
    }

    /// Waits until these words are shown, behind those that were waited for before, and gives all that was shown so
    /// far.
    pub fn shows(&mut self, words: &str) -> String {
        let deadline = Instant::now().checked_add(LIMIT).unwrap();
        loop {
            let unseen = self.shown.get(self.seen..).unwrap();
            if let Some(at) = unseen.find(words) {
                self.seen = self.seen.saturating_add(at).saturating_add(words.len());
                return self.shown.clone();
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{words:?} is not shown: {error}: {:?}", self.shown),
            }
        }
    }

    /// Waits for its good end, and gives all that was shown.
    pub fn end(mut self) -> String {
        let deadline = Instant::now().checked_add(LIMIT).unwrap();
        while let Ok(bytes) = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(Instant::now() < deadline, "it does not end: {:?}", self.shown);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:?}", self.shown);
        self.shown.clone()
    }
}

/// A test that failed leaves nothing running.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, columns: u16, lines: u16) {
    let size = Winsize { ws_col: columns, ws_row: lines, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}
