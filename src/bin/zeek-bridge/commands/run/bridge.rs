//! The bridge as the daemon sees it, so that the daemon can be tested without one.

use std::future::Future;

use zeek_bridge::bridge::config::{BridgeConfig, Diagnostics};
use zeek_bridge::bridge::{Bridge, Reloaded, Snapshot};

/// What [`Bridge`] does.
pub(super) trait Running: Sized + Send + Sync + 'static {
    /// Starts, or says everything that is in the way.
    fn start(config: BridgeConfig) -> impl Future<Output = Result<Self, Diagnostics>> + Send;

    /// Takes up another configuration and says what changed, or says everything that is in the way.
    fn reload(&self, config: BridgeConfig) -> impl Future<Output = Result<Reloaded, Diagnostics>> + Send;

    /// How it is now.
    fn snapshot(&self) -> Snapshot;

    /// Drains its queues and leaves its peers, in the time that its configuration gives for that.
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
