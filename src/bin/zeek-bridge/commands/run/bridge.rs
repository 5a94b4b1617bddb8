//! The part of the bridge that the daemon uses, as a trait, so that the daemon can be tested without a bridge.

use std::future::Future;

use zeek_bridge::bridge::config::{BridgeConfig, Diagnostics};
use zeek_bridge::bridge::{Bridge, Reloaded, Snapshot};

/// A running bridge. See the methods of [`Bridge`].
pub(super) trait Running: Sized + Send + Sync + 'static {
    /// Starts, or returns all errors.
    fn start(config: BridgeConfig) -> impl Future<Output = Result<Self, Diagnostics>> + Send;

    /// Applies a new configuration. Returns the changes, or all errors.
    fn reload(&self, config: BridgeConfig) -> impl Future<Output = Result<Reloaded, Diagnostics>> + Send;

    /// Returns the current state.
    fn snapshot(&self) -> Snapshot;

    /// Drains the queues and leaves the peers, within the `drain` time of the configuration.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

impl Running for Bridge {
    async fn start(config: BridgeConfig) -> Result<Self, Diagnostics> {
        Bridge::start(config).await
    }

    async fn reload(&self, config: BridgeConfig) -> Result<Reloaded, Diagnostics> {
        Bridge::reload(self, config).await
    }

    fn snapshot(&self) -> Snapshot {
        Bridge::snapshot(self)
    }

    async fn shutdown(&self) {
        Bridge::shutdown(self).await;
    }
}
