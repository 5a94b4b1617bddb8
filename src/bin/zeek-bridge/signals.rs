//! SIGINT and SIGTERM, which request the program to end. It ends gracefully at the first request.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::output::Failure;
use crate::runtime::spawn;

/// A signal that repeats the last one within this time belongs to the same request.
///
/// timeout(1) sends its signal twice: to its child, and to the process group that contains the child. The kernel merges the
/// two signals only while the first one is pending. If the second one counted as a new request, it would interrupt the
/// graceful end, and peers would see a lost connection instead of a BYE. A user who presses Ctrl-C a second time, because the
/// end takes too long, is slower than this.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// Receives signals that arrive after its creation. If a request arrives between two calls of `next`, the second call returns it.
pub(crate) struct Signals(mpsc::Receiver<()>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Interrupt,
    Terminate,
}

/// Distinguishes new requests from copies of a signal.
#[derive(Debug, Default)]
struct Requests {
    last: Option<(Kind, Instant)>,
}

impl Requests {
    fn is_new(&mut self, kind: Kind, now: Instant) -> bool {
        let copy = self
            .last
            .is_some_and(|(last, at)| last == kind && now.saturating_duration_since(at) < SAME_REQUEST);
        if !copy {
            self.last = Some((kind, now));
        }
        !copy
    }
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut received =
            Received::new().map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
        let (sender, receiver) = mpsc::channel(1);
        // A separate task reads the time of each signal, so that a copy is recognized even if the command is busy
        // between two calls of `next`.
        spawn(async move {
            let mut requests = Requests::default();
            loop {
                let kind = tokio::select! {
                    kind = received.next() => kind,
                    () = sender.closed() => return,
                };
                if requests.is_new(kind, Instant::now()) {
                    // If the channel is full, the command has not received the previous request yet.
                    let _ = sender.try_send(());
                } else {
                    tracing::debug!("ignored a copy of the last signal");
                }
            }
        });
        Ok(Signals(receiver))
    }

    /// Waits for the next request to end the program.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

struct Received {
    interrupt: Signal,
    terminate: Signal,
}

impl Received {
    fn new() -> io::Result<Self> {
        Ok(Received {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Kind {
        tokio::select! {
            _ = self.interrupt.recv() => Kind::Interrupt,
            _ = self.terminate.recv() => Kind::Terminate,
        }
    }
}

/// The signals that a terminal sends on Ctrl-Z (SIGTSTP) and Ctrl-\ (SIGQUIT), for commands that must restore the terminal first.
#[derive(Debug)]
pub(crate) struct TerminalSignals {
    stop: Signal,
    quit: Signal,
}

/// A request of the user of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TerminalSignal {
    Suspend,
    Quit,
}

impl TerminalSignals {
    /// Replaces the default actions of the signals. After this call, the caller must stop or end the process for each signal.
    pub(crate) fn new() -> io::Result<Self> {
        let stop = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
        Ok(TerminalSignals { stop, quit: signal(SignalKind::quit())? })
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) -> TerminalSignal {
        tokio::select! {
            _ = self.stop.recv() => TerminalSignal::Suspend,
            _ = self.quit.recv() => TerminalSignal::Quit,
        }
    }
}

/// Stops this process until it is continued.
pub(crate) fn suspend() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_signal_is_not_a_new_request() {
        let mut requests = Requests::default();
        let start = Instant::now();
        for (kind, millis, new) in [
            (Kind::Terminate, 0, true),
            (Kind::Terminate, 1, false),
            (Kind::Terminate, 499, false),
            (Kind::Terminate, 500, true),
            (Kind::Interrupt, 501, true),
            (Kind::Interrupt, 502, false),
            (Kind::Terminate, 503, true),
            (Kind::Terminate, 5000, true),
        ] {
            let now = start + Duration::from_millis(millis);
            assert_eq!(requests.is_new(kind, now), new, "{kind:?} after {millis} ms");
        }
    }
}
