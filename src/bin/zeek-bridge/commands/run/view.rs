//! The state of the bridge, as the status socket, the HTTP server and the watchdog see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeek_bridge::bridge::Snapshot;

use crate::output::rfc3339;

/// The document that clients of the status socket receive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// The time when the process started, in UTC. If it changes, the bridge was restarted.
    #[serde(default)]
    pub(crate) started: String,
    /// The version of the program.
    #[serde(default)]
    pub(crate) version: String,
    #[serde(flatten)]
    pub(crate) snapshot: Snapshot,
}

/// Read access to the state of the bridge.
pub(super) struct View {
    snapshot: Box<dyn Fn() -> Snapshot + Send + Sync>,
    started: String,
    stopping: AtomicBool,
}

impl View {
    pub(super) fn new(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let started = rfc3339(SystemTime::now()).unwrap_or_default();
        View { snapshot: Box::new(snapshot), started, stopping: AtomicBool::new(false) }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        (self.snapshot)()
    }

    pub(super) fn document(&self) -> Document {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Document { started: self.started.clone(), version, snapshot: self.snapshot() }
    }

    /// Marks the bridge as stopping: from now on, it is reported as not ready.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
