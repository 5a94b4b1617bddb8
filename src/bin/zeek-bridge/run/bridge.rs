//! The bridge as the daemon sees it.

use std::future::Future;
use std::path::Path;

use zeek_bridge::bridge::Snapshot;
use zeek_bridge::bridge::config::BridgeConfig;

/// A bridge that runs, and how it comes to run. Mistakes are for people, one a line.
pub(super) trait Running: Sized + Send + Sync + 'static {
    /// Reads a configuration, which comes with warnings, or tells every mistake in it.
    fn read(path: &Path) -> Result<(BridgeConfig, Vec<String>), Vec<String>>;

    /// Starts with it.
    fn start(config: BridgeConfig) -> impl Future<Output = Result<Self, Vec<String>>> + Send;

    /// Takes up another one, and says what changed; or changes nothing, and says why.
    fn reload(&self, config: BridgeConfig) -> impl Future<Output = Result<Vec<String>, Vec<String>>> + Send;

    /// How it is now.
    fn snapshot(&self) -> Snapshot;

    /// Drains its queues and leaves its peers, in the time that its configuration gives for that.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// Stands here until the library has the bridge.
#[derive(Debug)]
pub(super) enum Bridge {}

const ABSENT: &str = "the bridge is not part of this build";

impl Running for Bridge {
    fn read(path: &Path) -> Result<(BridgeConfig, Vec<String>), Vec<String>> {
        Err(vec![format!("{}: {ABSENT}", path.display())])
    }

    async fn start(_: BridgeConfig) -> Result<Self, Vec<String>> {
        Err(vec![ABSENT.into()])
    }

    async fn reload(&self, _: BridgeConfig) -> Result<Vec<String>, Vec<String>> {
        match *self {}
    }

    fn snapshot(&self) -> Snapshot {
        match *self {}
    }

    async fn shutdown(&self) {
        match *self {}
    }
}
