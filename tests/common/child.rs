//! Child processes that do not outlive their test, and functions that wait with a time limit.
//!
//! Every wait is for an event: a line, a connection, or the end of a process. `LIMIT` only turns a hang into a failure
//! with a message. A blocking call that has no timeout runs in a thread (`within`). If the call exceeds the limit, the
//! thread is abandoned, and ends with the test process.

#![allow(dead_code, reason = "each test binary uses a part of this module")]
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Longer than any wait of a passing test, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The time between SIGTERM and SIGKILL after a failed test. In this time, the child can end itself and its own
/// children.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// Runs `blocking` in a thread and returns its result. After `LIMIT`, panics with `what` in the message.
#[track_caller]
pub fn within<T: Send + 'static>(what: &str, blocking: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(blocking());
    });
    match done.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("timed out after {LIMIT:?}: {what}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("no result from {what}"),
        },
    }
}

/// Waits for `event`. After `LIMIT`, panics with `what` in the message.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let event = tokio::time::timeout(LIMIT, event).await;
    event.unwrap_or_else(|_| panic!("timed out after {LIMIT:?}: {what}"))
}

/// Reports that a test, or a part of it, is skipped. The test harness would hide the output of `println!` if the test passes.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Reads a pipe of a child to its end.
#[track_caller]
pub fn rest(mut pipe: impl Read + Send + 'static) -> Vec<u8> {
    within("the end of a pipe", move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Returns the signal with the name `SIG{name}`.
fn signal(name: &str) -> Signal {
    match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "TERM" => Signal::TERM,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "TSTP" => Signal::TSTP,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        _ => panic!("SIG{name}: add it to the list of signals"),
    }
}

/// A child process that is killed and reaped when it is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    pub fn spawn(command: &mut Command) -> Self {
        Running(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Sends a signal, by its name without "SIG". Does not use the `kill` program, which is not on every machine.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        kill_process(Pid::from_child(&self.0), signal(name)).unwrap();
    }

    /// Waits for the end of the process. Times out if the process blocks on output that the test does not read.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.end_within(LIMIT).unwrap_or_else(|| panic!("{:?} has not ended after {LIMIT:?}", self.0))
    }

    /// Closes the stdin of the process and waits for the end of the process. Returns the exit status, and the output
    /// that was not read before.
    #[track_caller]
    pub fn output(mut self) -> Output {
        drop(self.0.stdin.take());
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let stderr = thread::spawn(move || stderr.map(rest).unwrap_or_default());
        let stdout = stdout.map(rest).unwrap_or_default();
        let stderr = stderr.join().unwrap();
        Output { status: self.end(), stdout, stderr }
    }

    fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.0.try_wait().unwrap() {
            return Some(status);
        }
        // With NOWAIT, the child is not reaped, so that its process id is not reused before the call of `wait` below.
        let pid = Pid::from_child(&self.0);
        let (sender, ended) = channel();
        thread::spawn(move || {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = sender.send(());
        });
        ended.recv_timeout(limit).ok()?;
        Some(self.0.wait().unwrap())
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test: let the child end the programs that it has started.
        if thread::panicking() && matches!(self.0.try_wait(), Ok(None)) {
            let pid = Pid::from_child(&self.0);
            // A stopped process handles SIGTERM only after SIGCONT.
            let _ = kill_process(pid, Signal::TERM).and_then(|()| kill_process(pid, Signal::CONT));
            self.end_within(TERM_GRACE);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
