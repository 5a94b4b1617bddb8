//! The format of the events that are published to a cluster.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::config::ZeroMqConfig;
use crate::zeromq::EventFormat;

/// The format of the events that this endpoint publishes, if the settings contain none. It is the format of the first received event.
///
/// Later events do not change it. Otherwise, one publisher with another format could change the format for all nodes at any time.
#[derive(Debug)]
pub(in crate::endpoint) struct ClusterFormat {
    settings: Arc<watch::Sender<ZeroMqConfig>>,
    first: OnceLock<EventFormat>,
}

impl ClusterFormat {
    pub(in crate::endpoint) fn new(settings: Arc<watch::Sender<ZeroMqConfig>>) -> Arc<Self> {
        Arc::new(ClusterFormat { settings, first: OnceLock::new() })
    }

    /// Records the format of a received event.
    pub(in crate::endpoint) fn note(&self, format: EventFormat) {
        self.first.get_or_init(|| format);
    }

    /// Returns the format of the first received event. `None` before the first event, or if the settings contain a format.
    pub(in crate::endpoint) fn learned(&self) -> Option<EventFormat> {
        let first = self.first.get()?;
        self.settings.borrow().format.is_none().then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_decides_unless_the_settings_do() {
        let settings = Arc::new(watch::Sender::new(ZeroMqConfig::default()));
        let format = ClusterFormat::new(settings.clone());
        assert_eq!(format.learned(), None);
        format.note(EventFormat::Json);
        format.note(EventFormat::Binary);
        assert_eq!(format.learned(), Some(EventFormat::Json));
        settings.send_modify(|settings| settings.format = Some(EventFormat::Binary));
        assert_eq!(format.learned(), None);
    }
}
