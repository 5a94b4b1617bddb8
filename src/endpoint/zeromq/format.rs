//! The format of the events that are published to a cluster.

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::config::ZeroMqConfig;
use crate::zeromq::EventFormat;

/// The format of the events that this endpoint publishes, if the settings contain none: that of the first event that it has received.
///
/// Later events do not change it. Otherwise, one publisher with another format could change the format for all nodes at any time.
#[derive(Debug)]
pub(in crate::endpoint) struct ClusterFormat {
    settings: Arc<RwLock<ZeroMqConfig>>,
    first: OnceLock<EventFormat>,
}

impl ClusterFormat {
    pub(in crate::endpoint) fn new(settings: Arc<RwLock<ZeroMqConfig>>) -> Arc<Self> {
        Arc::new(ClusterFormat { settings, first: OnceLock::new() })
    }

    /// Records the format of a received event.
    pub(in crate::endpoint) fn note(&self, format: EventFormat) {
        self.first.get_or_init(|| format);
    }

    /// Returns the format of the first received event. `None` before the first event, or if the settings contain a format.
    pub(in crate::endpoint) fn learned(&self) -> Option<EventFormat> {
        let first = self.first.get()?;
        self.settings.read().format.is_none().then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_decides_unless_the_settings_do() {
        let settings = Arc::new(RwLock::new(ZeroMqConfig::default()));
        let format = ClusterFormat::new(settings.clone());
        assert_eq!(format.learned(), None);
        format.note(EventFormat::Json);
        format.note(EventFormat::Binary);
        assert_eq!(format.learned(), Some(EventFormat::Json));
        settings.write().format = Some(EventFormat::Binary);
        assert_eq!(format.learned(), None);
    }
}
