//! What systemd is told, if it is there: by the datagrams of sd_notify(3).

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use zeek_bridge::bridge::Snapshot;

use super::doors::View;
use crate::environment;

/// What leaving takes beyond the time for the queues.
const LEAVING: Duration = Duration::from_secs(10);

/// However short the watchdog's time is, it is not told more often.
const SHORTEST: Duration = Duration::from_millis(10);

/// It runs, with its configuration in effect.
pub(super) fn ready(snapshot: &Snapshot) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status(snapshot))]);
}

/// It reads its configuration anew; [`ready`] follows in any case.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("no clock to tell systemd of the reload by: {error}"),
    }
}

/// It ends, and may take so long to drain its queues.
pub(super) fn stopping(drain: Duration) {
    let bound = drain.saturating_add(LEAVING).as_micros().try_into().unwrap_or(u32::MAX);
    let status = NotifyState::Status("draining the queues and leaving the peers");
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(bound), status]);
}

/// It lives.
pub(super) fn alive(snapshot: &Snapshot) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(&status(snapshot))]);
}

fn tell(states: &[NotifyState<'_>]) {
    // sd_notify(3) returns without an error where the variable is not set; an empty one counts as that.
    if environment::set("NOTIFY_SOCKET").is_none() {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot reach systemd at NOTIFY_SOCKET: {error}");
    }
}

fn status(snapshot: &Snapshot) -> String {
    let ready = snapshot.links.iter().filter(|link| link.ready).count();
    let peers = snapshot.links.iter().fold(0, |sum: usize, link| sum.saturating_add(link.peers.len()));
    format!("{ready} of {} links ready, {peers} peers", snapshot.links.len())
}

/// Asks whether the bridge lives, as often as systemd wants to hear of it.
pub(super) struct Watchdog {
    view: Arc<View>,
    interval: Option<Interval>,
    check: Option<JoinHandle<Snapshot>>,
}

impl Watchdog {
    /// As often as WATCHDOG_USEC in the environment says.
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

    /// Waits until it is time, and then until the bridge has shown that it lives: the threads do what they are
    /// given, and what the bridge keeps is not locked for ever. May be dropped and called again at any time.
    pub(super) async fn alive(&mut self) -> Snapshot {
        let Some(interval) = &mut self.interval else { return std::future::pending().await };
        loop {
            if let Some(check) = &mut self.check {
                let answer = check.await;
                self.check = None;
                match answer {
                    Ok(snapshot) => return snapshot,
                    Err(error) => tracing::error!("the bridge does not say how it is: {error}"),
                }
            }
            interval.tick().await;
            let view = self.view.clone();
            self.check = Some(tokio::spawn(async move { view.snapshot() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_asks_the_bridge_at_half_of_its_time() {
        let view = Arc::new(View::new(crate::commands::run::tests::snapshot));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_secs(30)));
        let start = Instant::now();
        let snapshot = watchdog.alive().await;
        assert_eq!(status(&snapshot), "1 of 2 links ready, 2 peers");
        assert_eq!(start.elapsed().as_secs(), 0);
        // To be interrupted does no harm.
        timeout(Duration::from_secs(1), watchdog.alive()).await.unwrap_err();
        watchdog.alive().await;
        assert_eq!(start.elapsed().as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bridge_that_cannot_answer_is_not_alive() {
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
    async fn while_the_bridge_is_locked_it_is_not_alive() {
        let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
        let (unlock, locked) = std::sync::mpsc::channel();
        let locked = std::sync::Mutex::new(locked);
        let view = Arc::new(View::new(move || {
            asked.send(()).unwrap();
            locked.lock().unwrap().recv().unwrap();
            Snapshot::default()
        }));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_secs(3600)));
        tokio::select! {
            _ = watchdog.alive() => panic!("alive"),
            asked = was_asked.recv() => asked.unwrap(),
        }
        unlock.send(()).unwrap();
        watchdog.alive().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_nobody_can_keep_keeps_nobody_busy() {
        let view = Arc::new(View::new(Snapshot::default));
        let mut watchdog = Watchdog::with(view, Some(Duration::from_nanos(2)));
        let start = Instant::now();
        for _ in 0..=100 {
            watchdog.alive().await;
        }
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watchdog_nothing_is_asked() {
        for limit in [None, Some(Duration::ZERO), Some(Duration::from_nanos(1))] {
            let view = Arc::new(View::new(|| panic!("asked")));
            let mut watchdog = Watchdog::with(view, limit);
            timeout(Duration::from_secs(100), watchdog.alive()).await.unwrap_err();
        }
    }
}
