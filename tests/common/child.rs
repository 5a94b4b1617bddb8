//! Child processes that never outlive their test, and waits that never block for ever.
//!
//! Every wait is for an event: a line, a connection, or the end of a process. `LIMIT` only turns a hang into a
//! failure with a message. A blocking call that has no timeout of its own runs in a thread (`within`), which is
//! left behind when the limit is exceeded: it ends with the test process.

#![allow(dead_code, reason = "each test uses what it needs")]
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Longer than any wait of a test that passes, on a machine that is busy with other things.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long a child of a failed test may take to end on SIGTERM, and with it what it has started, before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs `blocking` and returns its result. Panics with the name of what was waited for after `LIMIT`.
#[track_caller]
pub fn within<T: Send + 'static>(what: &str, blocking: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(blocking());
    });
    match done.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("waited {LIMIT:?} in vain for {what}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("no result from {what}"),
        },
    }
}

/// Waits for an event of an endpoint in this process.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let event = tokio::time::timeout(LIMIT, event).await;
    event.unwrap_or_else(|_| panic!("waited {LIMIT:?} in vain for {what}"))
}

/// Reports that a test, or a part of it, is not run. `println!` would be captured: nobody sees it of a test that passes.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Returns what remains to be read from a pipe of a child.
#[track_caller]
pub fn rest(mut pipe: impl Read + Send + 'static) -> Vec<u8> {
    within("the end of a pipe", move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The signal of this name, which is without SIG.
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

    /// Sends it a signal, by its name without SIG. No program is needed for it: `kill` is not on every machine.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        kill_process(Pid::from_child(&self.0), signal(name)).unwrap();
    }

    /// Waits for its end. It must not be blocked on output that nobody reads.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.end_within(LIMIT).unwrap_or_else(|| panic!("{:?} has not ended after {LIMIT:?}", self.0))
    }

    /// Waits for its end, and returns it with what remains of its output. Closes its stdin.
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
        // Observes the end without reaping: the process id stays this child's until `wait` below.
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
        // In a failed test it may have started programs, which only it can end.
        if thread::panicking() && matches!(self.0.try_wait(), Ok(None)) {
            let pid = Pid::from_child(&self.0);
            // One that is stopped handles no signal.
            let _ = kill_process(pid, Signal::TERM).and_then(|()| kill_process(pid, Signal::CONT));
            self.end_within(FAREWELL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
