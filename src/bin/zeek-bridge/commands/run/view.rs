//! The state of the bridge, as the status socket, the HTTP server and the watchdog see it.

use std::sync::atomic::{AtomicBool, Ordering};

use zeek_bridge::bridge::Snapshot;

/// Read access to the state of the bridge.
pub(super) struct View {
    snapshot: Box<dyn Fn() -> Snapshot + Send + Sync>,
    stopping: AtomicBool,
}

impl View {
    pub(super) fn new(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        View { snapshot: Box::new(snapshot), stopping: AtomicBool::new(false) }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        (self.snapshot)()
    }

    /// Marks the bridge as stopping: from now on, it is reported as not ready.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
