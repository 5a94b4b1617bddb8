//! Notifications to systemd, by the datagrams of sd_notify(3). Without systemd, nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use zeek_bridge::bridge::Snapshot;

use super::view::View;
use crate::environment;
use crate::runtime::spawn;

/// The time allowed for leaving the peers, after the queues are drained.
const LEAVING: Duration = Duration::from_secs(10);

/// The minimum interval of watchdog notifications.
const SHORTEST: Duration = Duration::from_millis(10);

/// Reports that the bridge is running and its configuration is applied.
pub(super) fn ready(snapshot: &Snapshot) {
    notify(&[NotifyState::Ready, NotifyState::Status(&status(snapshot))]);
}

/// Reports the start of a reload. A call of [`ready`] must follow, also after a failed reload.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot read the clock to notify systemd of a reload: {error}"),
    }
}

/// Reports the start of a shutdown, and how long it may take: `drain` for the queues, and the time to leave the peers.
pub(super) fn stopping(drain: Duration) {
    let bound = drain.saturating_add(LEAVING).as_micros().try_into().unwrap_or(u32::MAX);
    let status = NotifyState::Status("draining the queues and leaving the peers");
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(bound), status]);
}

/// Reports that the bridge is alive.
pub(super) fn alive(snapshot: &Snapshot) {
    notify(&[NotifyState::Watchdog, NotifyState::Status(&status(snapshot))]);
}

fn notify(states: &[NotifyState<'_>]) {
    // sd_notify(3) does nothing if the variable is not set; an empty one counts as not set.
    if environment::var("NOTIFY_SOCKET").is_none() {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify systemd at NOTIFY_SOCKET: {error}");
    }
}

fn status(snapshot: &Snapshot) -> String {
    let ready = snapshot.links.iter().filter(|link| link.ready).count();
    let peers = snapshot.links.iter().fold(0, |sum: usize, link| sum.saturating_add(link.peers.len()));
    format!("{ready} of {} links ready, {peers} peers", snapshot.links.len())
}

/// Checks that the bridge is alive, at the interval that systemd requires.
pub(super) struct Watchdog {
    view: Arc<View>,
    interval: Option<Interval>,
    check: Option<JoinHandle<Snapshot>>,
}

impl Watchdog {
    /// Uses the interval of WATCHDOG_USEC in the environment.
    pub(super) fn new(view: Arc<View>) -> Self {
        Self::with(view, sd_notify::watchdog_enabled())
    }

    fn with(view: Arc<View>, limit: Option<Duration>) -> Self {
        let every = limit.and_then(|limit| limit.checked_div(2)).filter(|every| !every.is_zero());
        let interval = every.map(|every| {
            let mut interval = interval(every.max(SHORTEST));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Watchdog { view, interval, check: None }
    }

    /// Waits for the next check and for its result. The check takes a snapshot in a separate task. Its success shows that the
    /// runtime still schedules tasks, and that no lock of the bridge is held forever. Cancel safe.
    pub(super) async fn alive(&mut self) -> Snapshot {
        let Some(interval) = &mut self.interval else { return std::future::pending().await };
        loop {
            if let Some(check) = &mut self.check {
                let result = check.await;
                self.check = None;
                match result {
                    Ok(snapshot) => return snapshot,
                    Err(error) => {
                        tracing::error!("the watchdog cannot read the state of the bridge: {error}")
                    }
                }
            }
            interval.tick().await;
            let view = self.view.clone();
            self.check = Some(spawn(async move { view.snapshot() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_checks_the_bridge_at_half_of_the_time_limit() {
        let view = Arc::new(View::new(crate::commands::run::tests::snapshot));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_secs(30)));
        let start = Instant::now();
        let snapshot = watchdog.alive().await;
        assert_eq!(status(&snapshot), "1 of 2 links ready, 2 peers");
        assert_eq!(start.elapsed().as_secs(), 0);
        // Cancelling does not lose a check.
        timeout(Duration::from_secs(1), watchdog.alive()).await.unwrap_err();
        watchdog.alive().await;
        assert_eq!(start.elapsed().as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bridge_without_snapshot_is_not_alive() {
        let broken = Arc::new(AtomicBool::new(true));
        let state = broken.clone();
        let view = Arc::new(View::new(move || {
            assert!(!state.load(Ordering::Relaxed), "broken");
            Snapshot::default()
        }));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_secs(2)));
        timeout(Duration::from_secs(100), watchdog.alive()).await.unwrap_err();
        broken.store(false, Ordering::Relaxed);
        watchdog.alive().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_locked_bridge_is_not_alive() {
        let (started, mut check_started) = tokio::sync::mpsc::unbounded_channel();
        let (unlock, locked) = std::sync::mpsc::channel();
        let locked = std::sync::Mutex::new(locked);
        let view = Arc::new(View::new(move || {
            started.send(()).unwrap();
            locked.lock().unwrap().recv().unwrap();
            Snapshot::default()
        }));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_secs(3600)));
        tokio::select! {
            _ = watchdog.alive() => panic!("alive"),
            started = check_started.recv() => started.unwrap(),
        }
        unlock.send(()).unwrap();
        watchdog.alive().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_tiny_time_limit_does_not_cause_a_busy_loop() {
        let view = Arc::new(View::new(Snapshot::default));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_nanos(2)));
        let start = Instant::now();
        for _ in 0..=100 {
            watchdog.alive().await;
        }
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watchdog_nothing_is_checked() {
        for limit in [None, Some(Duration::ZERO), Some(Duration::from_nanos(1))] {
            let view = Arc::new(View::new(|| panic!("checked")));
            let mut watchdog = Watchdog::with(view, limit);
            timeout(Duration::from_secs(100), watchdog.alive()).await.unwrap_err();
        }
    }
}
