//! The bridge as the daemon sees it.

use std::future::Future;
use std::path::Path;

use zeek_bridge::bridge::config::{BridgeConfig, ConfigFile, Mistake};
use zeek_bridge::bridge::{Bridge, Snapshot};

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

impl Running for Bridge {
    fn read(path: &Path) -> Result<(BridgeConfig, Vec<String>), Vec<String>> {
        let file = ConfigFile::read(path);
        let warnings = file.warnings();
        let (config, _) = file.into_result().map_err(in_words)?;
        Ok((config, in_words(warnings)))
    }

    async fn start(config: BridgeConfig) -> Result<Self, Vec<String>> {
        Bridge::start(config).await.map_err(in_words)
    }

    async fn reload(&self, config: BridgeConfig) -> Result<Vec<String>, Vec<String>> {
        Bridge::reload(self, config).await.map_err(in_words)
    }

    fn snapshot(&self) -> Snapshot {
        Bridge::snapshot(self)
    }

    async fn shutdown(&self) {
        Bridge::shutdown(self).await;
    }
}

fn in_words(mistakes: Vec<Mistake>) -> Vec<String> {
    mistakes.iter().map(ToString::to_string).collect()
}
