//! Whether what was published has reached the peers, as far as it can be known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use zeek_bridge::endpoint::{ConnectError, Endpoint, Status};
use zeek_bridge::peering::CloseReason;

/// How long the status of the last peer may take to arrive after a shutdown.
const LAST_STATUS: Duration = Duration::from_secs(1);

/// How far the publishing has come, in lines of the input.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last line that is, or was, to be published.
    tried: AtomicU64,
    /// The last line that some peering has taken.
    taken: AtomicU64,
    /// Held while a line is given to the peerings, until it is known whether one has taken it.
    publishing: Mutex<()>,
}

impl Progress {
    pub(crate) fn try_line(&self, number: u64) {
        self.tried.store(number, Ordering::SeqCst);
    }

    /// To be held from before a line is given to the peerings until [`Progress::line_taken`]. A peer may read the line and
    /// leave before this side notes that it was taken; its leaving is only looked at afterwards.
    pub(crate) async fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().await
    }

    pub(crate) fn line_taken(&self, number: u64) {
        self.taken.store(number, Ordering::SeqCst);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Watches what becomes of the peers.
pub(crate) struct Handover {
    progress: Arc<Progress>,
    fates: watch::Receiver<Fates>,
}

/// What became of the peers so far.
#[derive(Debug, Default)]
struct Fates {
    standing: u64,
    /// How many peerings ended in a way in which messages can get lost, after something was published.
    broken: u64,
    /// Why the first of them did.
    why: Option<String>,
    /// The last line that may have been given to one of them.
    until: u64,
    /// What had been taken when a peer left of its own will, before everything was published. It need not have
    /// read all that waited for it.
    left: Option<u64>,
}

impl Handover {
    pub(crate) fn watch(endpoint: &Endpoint, progress: Arc<Progress>) -> Self {
        let mut status = endpoint.status();
        let (sender, fates) = watch::channel(Fates::default());
        let tried = progress.clone();
        tokio::spawn(async move {
            while let Some(status) = status.recv().await {
                let _settled = tried.publishing().await;
                // Perhaps a line too many: it can be tried, and taken by nobody yet.
                let (tried, taken) = (tried.tried.load(Ordering::SeqCst), tried.taken());
                sender.send_modify(|fates| fates.update(&status, tried, taken));
            }
        });
        Handover { progress, fates }
    }

    /// After a shutdown: what may be lost, in words.
    pub(crate) async fn lost(mut self) -> Option<String> {
        let _ = tokio::time::timeout(LAST_STATUS, self.fates.wait_for(|fates| fates.standing == 0)).await;
        let tried = self.progress.tried.load(Ordering::SeqCst);
        self.fates.borrow().lost(tried, self.progress.taken())
    }
}

impl Fates {
    fn update(&mut self, status: &Status, tried: u64, taken: u64) {
        match status {
            Status::PeerAdded { .. } => {
                self.standing = self.standing.saturating_add(1);
                return;
            }
            // It was left after everything was written to it, and reads that before it confirms or leaves.
            Status::PeerRemoved {
                error: None | Some(ConnectError::Closed(CloseReason::PeerLeft)), ..
            } => {}
            Status::PeerLost { error: ConnectError::Closed(CloseReason::PeerLeft), unsent: 0, .. } => {
                self.left = Some(self.left.unwrap_or(0).max(taken));
            }
            Status::PeerLost { error, .. } | Status::PeerRemoved { error: Some(error), .. } => {
                if tried > 0 {
                    self.broken = self.broken.saturating_add(1);
                    self.why.get_or_insert_with(|| error.to_string());
                    self.until = tried;
                }
            }
            _ => return,
        }
        self.standing = self.standing.saturating_sub(1);
    }

    /// `tried` is the last line of all, `taken` the last that some peering has taken.
    fn lost(&self, tried: u64, taken: u64) -> Option<String> {
        let unread = |until: u64| {
            format!("no line up to line {until} is known to have been read, and any of them may be lost")
        };
        if self.broken > 0 {
            let (broken, why) = (self.broken, self.why.as_deref().unwrap_or_default());
            return Some(format!(
                "peerings that broke: {broken} ({why}): over them, {}",
                unread(self.until.min(taken))
            ));
        }
        if self.standing > 0 && tried > 0 {
            return Some(format!(
                "peers that could not be left in order: {}: {}",
                self.standing,
                unread(tried)
            ));
        }
        // One that left after the last line had been given to it is taken to have read what it wanted.
        let left = self.left.filter(|left| (1..tried).contains(left))?;
        Some(format!("a peer left before everything was published: over its peering, {}", unread(left)))
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::EndpointId;
    use zeek_bridge::net::tls::Tls;

    use super::*;

    fn added() -> Status {
        Status::PeerAdded { peer: EndpointId::NIL, address: "a:1".into(), identity: None }
    }

    fn lost(reason: CloseReason) -> Status {
        let error = ConnectError::Closed(reason);
        Status::PeerLost { peer: EndpointId::NIL, address: "a:1".into(), error, unsent: 0 }
    }

    fn removed(error: Option<ConnectError>) -> Status {
        Status::PeerRemoved { peer: EndpointId::NIL, address: "a:1".into(), error }
    }

    fn told(statuses: &[(Status, u64)], tried: u64) -> Option<String> {
        let mut fates = Fates::default();
        statuses.iter().for_each(|(status, tried)| fates.update(status, *tried, *tried));
        fates.lost(tried, tried)
    }

    #[test]
    fn what_may_be_lost_is_told_by_its_lines() {
        assert_eq!(told(&[(added(), 0), (removed(None), 9)], 9), None);
        assert_eq!(told(&[(added(), 0), (lost(CloseReason::Lost), 0)], 0), None, "nothing was published");
        let text = told(&[(added(), 0), (lost(CloseReason::Lost), 7), (added(), 8), (removed(None), 9)], 9);
        let text = text.unwrap();
        assert!(text.contains("peerings that broke: 1 (") && text.contains("up to line 7 "), "{text}");
        let overflow = ConnectError::Overflow { dropped: 3 };
        let text = told(&[(added(), 0), (removed(Some(overflow)), 7)], 9).unwrap();
        assert!(text.contains("3 messages for it were dropped"), "{text}");
    }

    #[test]
    fn a_peer_that_left_in_the_middle_has_not_read_everything() {
        let left = || lost(CloseReason::PeerLeft);
        let text = told(&[(added(), 0), (left(), 990), (added(), 990), (removed(None), 1000)], 1000).unwrap();
        assert!(text.contains("a peer left before") && text.contains("up to line 990 "), "{text}");
        assert_eq!(told(&[(added(), 0), (left(), 1000)], 1000), None);
        let error = ConnectError::Closed(CloseReason::PeerLeft);
        let early = Status::PeerLost { peer: EndpointId::NIL, address: "a:1".into(), error, unsent: 990 };
        assert!(told(&[(added(), 0), (early, 1000)], 1000).unwrap().contains("peerings that broke: 1 "));
        assert_eq!(told(&[(added(), 0), (left(), 0), (added(), 0), (removed(None), 9)], 9), None);
    }

    /// As a tap does with --count.
    #[tokio::test]
    async fn a_peer_that_leaves_with_the_last_line_is_not_looked_at_before_the_line_is_known_to_be_taken() {
        let (publisher, tap) = (Endpoint::new().unwrap(), Endpoint::new().unwrap());
        let address = tap.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr().to_string();
        let progress = Arc::new(Progress::default());
        let mut seen = publisher.status();
        let handover = Handover::watch(&publisher, progress.clone());
        publisher.connect(&address, Tls::Off, None).first_attempt().await.unwrap();
        progress.try_line(1);
        progress.line_taken(1);
        progress.try_line(2);
        let publishing = progress.publishing().await;
        tap.shutdown().await;
        while !matches!(seen.recv().await.unwrap(), Status::PeerLost { .. }) {}
        // The watcher runs now, if it can.
        tokio::task::yield_now().await;
        progress.line_taken(2);
        drop(publishing);
        publisher.shutdown().await;
        assert_eq!(handover.lost().await, None);
    }

    #[test]
    fn a_peer_that_could_not_be_left_may_have_read_nothing() {
        assert!(told(&[(added(), 0)], 3).unwrap().contains("up to line 3 "));
        assert_eq!(told(&[(added(), 0)], 0), None);
    }
}
