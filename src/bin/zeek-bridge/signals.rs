//! SIGINT and SIGTERM, which end a command gracefully, and SIGTSTP.

use std::io;

use crate::exit::Failure;

/// Receives signals from the time it is created.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::try_new().map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))
    }

    #[cfg(unix)]
    fn try_new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(not(unix))]
    fn try_new() -> io::Result<Self> {
        Ok(Signals {})
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// SIGTSTP, which the terminal sends on Ctrl-Z, for commands that must restore the terminal before they stop.
#[derive(Debug)]
pub(crate) struct Suspend {
    #[cfg(unix)]
    stop: tokio::signal::unix::Signal,
}

impl Suspend {
    /// Handles the signal. From now on, the caller must stop the process.
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::try_new().map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))
    }

    #[cfg(unix)]
    fn try_new() -> io::Result<Self> {
        let kind = tokio::signal::unix::SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw());
        Ok(Suspend { stop: tokio::signal::unix::signal(kind)? })
    }

    #[cfg(not(unix))]
    fn try_new() -> io::Result<Self> {
        Ok(Suspend {})
    }

    /// Waits for the signal.
    pub(crate) async fn asked(&mut self) {
        #[cfg(unix)]
        let _ = self.stop.recv().await;
        #[cfg(not(unix))]
        std::future::pending::<()>().await;
    }

    /// Stops this process until it is continued.
    pub(crate) fn now() {
        #[cfg(unix)]
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
}
