//! The data of the page and the API, and their viewers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::access::RefusalLog;
use super::cache::{Cache, Failed, in_blocking_thread};
use super::events::{Feed, frame};
use super::frames::{status_frame, unix_time};
use super::history::{History, INTERVAL};
use super::settings::Settings;
use crate::commands::run::serve::Task;
use crate::commands::run::view::View;

/// The maximum number of viewers.
pub(super) const VIEWERS: usize = 8;

/// The time between two documents for viewers.
const PERIOD: Duration = Duration::from_secs(1);

/// The state that all connections share. It survives a reload that moves or changes the server.
pub(in crate::commands::run) struct Site {
    pub(super) view: Arc<View>,
    settings: watch::Sender<Arc<Settings>>,
    /// Reloads the certificates in use when their files change.
    watcher: Mutex<Option<Task>>,
    history: Arc<Mutex<History>>,
    status_cache: Cache,
    history_cache: Cache,
    viewers: Arc<Semaphore>,
    /// Notified when a viewer arrives.
    arrived: Notify,
    pub(super) refusals: RefusalLog,
    /// The last frame of each event. Viewers that are slow skip frames.
    status_frame: watch::Sender<Bytes>,
    sample_frame: watch::Sender<Bytes>,
}

impl Site {
    pub(in crate::commands::run) fn new(view: Arc<View>, settings: Settings) -> Self {
        let settings = watch::Sender::new(Arc::new(settings));
        Site {
            view,
            watcher: Mutex::new(watch_certificates(&settings)),
            settings,
            history: Arc::default(),
            status_cache: Cache::default(),
            history_cache: Cache::default(),
            viewers: Arc::new(Semaphore::new(VIEWERS)),
            arrived: Notify::new(),
            refusals: RefusalLog::default(),
            status_frame: watch::Sender::default(),
            sample_frame: watch::Sender::default(),
        }
    }

    /// Changes the settings for new connections. Viewers must connect again if the new settings may refuse them. Returns whether
    /// the settings are different.
    pub(in crate::commands::run) fn set_settings(&self, settings: Settings) -> bool {
        let is_different = self.settings.send_if_modified(|current| {
            let is_different = settings.is_different(current);
            *current = Arc::new(settings);
            is_different
        });
        *lock(&self.watcher) = watch_certificates(&self.settings);
        is_different
    }

    /// Describes what is served, with the scheme of the URL.
    pub(in crate::commands::run) fn services(&self) -> String {
        self.settings.borrow().services()
    }

    /// Returns the settings. The receiver is notified when they may refuse a client that the previous ones accepted.
    pub(super) fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Returns `/api/v1/status`.
    pub(super) async fn status(&self) -> Result<Bytes, Failed> {
        let view = self.view.clone();
        let make = move || {
            let mut json = serde_json::to_vec(&view.document())?;
            json.push(b'\n');
            Ok(json)
        };
        self.status_cache.get(make).await
    }

    /// Returns `/api/v1/history`.
    pub(super) async fn history(&self) -> Result<Bytes, Failed> {
        let history = self.history.clone();
        self.history_cache.get(move || lock(&history).json(usize::MAX)).await
    }

    /// Registers a viewer, which is cut when `settings` are notified. Returns `None` if there are too many.
    pub(super) fn feed(&self, settings: watch::Receiver<Arc<Settings>>) -> Option<Feed> {
        let permit = self.viewers.clone().try_acquire_owned().ok()?;
        let feed = Feed::new(self.status_frame.subscribe(), self.sample_frame.subscribe(), settings, permit);
        self.arrived.notify_one();
        Some(feed)
    }

    /// Makes the events for viewers, and the history. Never returns.
    pub(super) async fn run(&self) {
        tokio::join!(self.publish_status(), self.sample());
    }

    /// Publishes the event `status` every second while there is a viewer.
    async fn publish_status(&self) {
        loop {
            if self.status_frame.receiver_count() == 0 {
                // Without viewers, nothing is made, and no memory is used.
                self.status_frame.send_replace(Bytes::new());
                self.arrived.notified().await;
                continue;
            }
            let view = self.view.clone();
            match in_blocking_thread(move || status_frame(&view)).await {
                Ok(frame) => drop(self.status_frame.send_replace(frame)),
                Err(error) => tracing::error!("cannot make the status for viewers: {error}"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Adds a sample to the history at each interval, and publishes it as the event `sample`.
    async fn sample(&self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            self.status_cache.expire();
            self.history_cache.expire();
            let now = Instant::now();
            let elapsed = now.saturating_duration_since(last);
            last = now;
            let (view, history) = (self.view.clone(), self.history.clone());
            let make = move || {
                let snapshot = view.snapshot();
                let mut history = lock(&history);
                match history.add(snapshot, elapsed, unix_time()) {
                    true => history.json(1).map(|json| frame("sample", &json)),
                    false => Ok(Vec::new()),
                }
            };
            match in_blocking_thread(make).await {
                Ok(frame) if !frame.is_empty() => drop(self.sample_frame.send_replace(frame)),
                Ok(_) => {}
                Err(error) => tracing::error!("cannot add a sample to the history: {error}"),
            }
        }
    }
}

/// Watches the files of the certificates. When they change, viewers are cut, because the new certificates may refuse them.
fn watch_certificates(settings: &watch::Sender<Arc<Settings>>) -> Option<Task> {
    let current = settings.borrow().clone();
    let settings = settings.clone();
    current.watch_certificates(move || settings.send_modify(|_| {}))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
