//! Tracks whether published lines have reached the peers, as far as this can be known.
//!
//! The protocols have no acknowledgements. A peer has certainly received everything only in these cases:
//!
//! - A Broker peer: the peering ended with BYE, from either side, after everything was sent.
//! - A server of the WebSocket API: the server answered the close frame of this side. A server that closes the connection itself
//!   may not read any more. Only a server of this crate reads everything before it leaves, like a Broker peer.
//! - The proxy of a ZeroMQ cluster: the proxy closed the connection after this side did.
//!
//! If a connection ended in a different way, all lines that were sent to its peer may be lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use zeek_bridge::data::EndpointId;
use zeek_bridge::endpoint::{ConnectError, Endpoint, Status};
use zeek_bridge::peering::CloseReason;

use crate::runtime::spawn;

/// Maximum time for the status of the last peer to arrive after a shutdown.
const LAST_STATUS: Duration = Duration::from_secs(1);

/// The source of the published messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Lines of stdin.
    Lines,
    /// One event on the command line, which counts as line 1.
    Event,
}

/// The progress of publishing, in line numbers of the input.
#[derive(Debug)]
pub(super) struct Progress {
    input: Input,
    /// The last line that publishing was started for.
    attempted: AtomicU64,
    /// The last line that was queued for at least one peer.
    published: AtomicU64,
    /// Held while a line is published, until `published` is updated.
    publishing: Mutex<()>,
}

impl Progress {
    pub(super) fn new(input: Input) -> Self {
        Progress {
            input,
            attempted: AtomicU64::new(0),
            published: AtomicU64::new(0),
            publishing: Mutex::new(()),
        }
    }

    pub(super) fn input(&self) -> Input {
        self.input
    }

    pub(super) fn start_line(&self, number: u64) {
        self.attempted.store(number, Ordering::SeqCst);
    }

    /// Lock this before a line is published, and hold it until [`Progress::line_published`] was called. A peer may receive the
    /// line and leave before that call. The end of its peering is evaluated only after the lock is released, so that the line
    /// is not reported as lost.
    pub(super) async fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().await
    }

    pub(super) fn line_published(&self, number: u64) {
        self.published.store(number, Ordering::SeqCst);
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::SeqCst)
    }
}

/// Watches the ends of all peerings.
pub(super) struct Delivery {
    progress: Arc<Progress>,
    ends: watch::Receiver<Ends>,
}

/// The number of established peerings, and the results of the peerings that have ended.
#[derive(Debug, Default)]
struct Ends {
    established: u64,
    /// The number of peerings that were lost after something was published.
    lost: u64,
    /// The error of the first lost peering.
    error: Option<String>,
    /// The number of the last line that may have been sent over a lost peering.
    until: u64,
    /// The peers that may leave without having read everything: ZeroMQ peers, and servers of the WebSocket API that do not use this
    /// crate.
    servers: HashSet<EndpointId>,
    /// The last line that was published when a peer left. This peer may have left without reading all lines queued for it.
    left: Option<u64>,
    /// The number of errors that peers have reported, and the first one.
    notices: u64,
    notice: Option<String>,
}

impl Delivery {
    pub(super) fn watch(endpoint: &Endpoint, progress: Arc<Progress>) -> Self {
        let mut status = endpoint.status();
        let (sender, ends) = watch::channel(Ends::default());
        let watched = progress.clone();
        spawn(async move {
            while let Some(status) = status.recv().await {
                let _publishing = watched.publishing().await;
                // It is unknown whether the attempted line was sent to a peer, so the report may contain one line too many.
                let (attempted, published) = (watched.attempted.load(Ordering::SeqCst), watched.published());
                sender.send_modify(|ends| ends.update(&status, attempted, published));
            }
        });
        Delivery { progress, ends }
    }

    /// Describes the lines that may be lost, and the errors that peers have reported. Must be called after the shutdown of
    /// the endpoint.
    pub(super) async fn problems(mut self) -> Vec<String> {
        let _ = tokio::time::timeout(LAST_STATUS, self.ends.wait_for(|ends| ends.established == 0)).await;
        let attempted = self.progress.attempted.load(Ordering::SeqCst);
        let ends = self.ends.borrow();
        let lost = ends.describe(self.progress.input(), attempted, self.progress.published());
        ends.reported().into_iter().chain(lost).collect()
    }
}

impl Ends {
    /// Describes the errors that peers have reported. An error of the WebSocket API does not identify its message.
    fn reported(&self) -> Option<String> {
        let notice = self.notice.as_ref()?;
        Some(if self.notices == 1 {
            notice.clone()
        } else {
            format!("{notice} (errors in total: {})", self.notices)
        })
    }

    fn update(&mut self, status: &Status, attempted: u64, published: u64) {
        match status {
            Status::PeerAdded { peer, protocol, .. } => {
                self.established = self.established.saturating_add(1);
                // ZeroMQ has no message with which a peer confirms that it has read everything.
                if protocol.zeromq().is_some()
                    || protocol
                        .websocket()
                        .is_some_and(|peer| may_leave_unread(peer.is_server, peer.version.as_deref()))
                {
                    self.servers.insert(*peer);
                }
                return;
            }
            Status::PeerNotice { notice, .. } => {
                self.notices = self.notices.saturating_add(1);
                self.notice.get_or_insert_with(|| notice.to_string());
                return;
            }
            // This side left after it had sent everything. The peer reads everything before it confirms the BYE or leaves.
            Status::PeerRemoved { error: None, .. } => {}
            Status::PeerRemoved {
                peer, error: Some(ConnectError::Closed(CloseReason::PeerLeft)), ..
            } if !self.servers.contains(peer) => {}
            Status::PeerLost {
                peer, error: ConnectError::Closed(CloseReason::PeerLeft), unsent: 0, ..
            } if !self.servers.contains(peer) => {
                self.left = Some(self.left.unwrap_or(0).max(published));
            }
            Status::PeerLost { error, .. } | Status::PeerRemoved { error: Some(error), .. } => {
                if attempted > 0 {
                    self.lost = self.lost.saturating_add(1);
                    self.error.get_or_insert_with(|| error.to_string());
                    self.until = attempted;
                }
            }
            _ => return,
        }
        if let Status::PeerLost { peer, .. } | Status::PeerRemoved { peer, .. } = status {
            // Each connection to these peers has a new id, so the set would grow with each of them.
            self.servers.remove(peer);
        }
        self.established = self.established.saturating_sub(1);
    }

    fn describe(&self, input: Input, attempted: u64, published: u64) -> Option<String> {
        let unconfirmed = |until: u64| match until {
            _ if input == Input::Event => "delivery of the event is unconfirmed".to_owned(),
            1 => "delivery of line 1 is unconfirmed".to_owned(),
            until => format!("delivery of lines 1 to {until} is unconfirmed"),
        };
        // If no line was published, the attempted line was not sent to the lost peer.
        let until = self.until.min(published);
        if self.lost > 0 && until > 0 {
            let (lost, error) = (self.lost, self.error.as_deref().unwrap_or_default());
            return Some(format!("lost peerings: {lost} ({error}); {}", unconfirmed(until)));
        }
        if self.established > 0 && attempted > 0 {
            let established = self.established;
            return Some(format!(
                "peers that did not confirm the end of the peering: {established}; {}",
                unconfirmed(attempted)
            ));
        }
        // If a peer left after the last line was sent to it, the line is not reported as lost. Example: `tap --count`.
        let left = self.left.filter(|left| (1..attempted).contains(left))?;
        Some(format!("a peer left before everything was published; {}", unconfirmed(left)))
    }
}

/// Returns whether a peer of the WebSocket API may leave without having read everything.
fn may_leave_unread(is_server: bool, version: Option<&str>) -> bool {
    is_server && !version.is_some_and(|version| version.starts_with("zeek-bridge/"))
}

#[cfg(test)]
mod tests {
    use zeek_bridge::endpoint::PeerProtocol;
    use zeek_bridge::net::tls::Tls;

    use super::*;

    fn added() -> Status {
        Status::PeerAdded {
            peer: EndpointId::NIL,
            address: "a:1".into(),
            identity: None,
            protocol: PeerProtocol::Broker,
        }
    }

    fn lost(reason: CloseReason) -> Status {
        let error = ConnectError::Closed(reason);
        Status::PeerLost { peer: EndpointId::NIL, address: "a:1".into(), error, unsent: 0 }
    }

    fn removed(error: Option<ConnectError>) -> Status {
        Status::PeerRemoved { peer: EndpointId::NIL, address: "a:1".into(), error }
    }

    fn described(statuses: &[(Status, u64)], attempted: u64) -> Option<String> {
        let mut ends = Ends::default();
        statuses.iter().for_each(|(status, line)| ends.update(status, *line, *line));
        ends.describe(Input::Lines, attempted, attempted)
    }

    #[test]
    fn lines_that_may_be_lost_are_named() {
        assert_eq!(described(&[(added(), 0), (removed(None), 9)], 9), None);
        assert_eq!(
            described(&[(added(), 0), (lost(CloseReason::Lost), 0)], 0),
            None,
            "nothing was published"
        );
        let text =
            described(&[(added(), 0), (lost(CloseReason::Lost), 7), (added(), 8), (removed(None), 9)], 9);
        let text = text.unwrap();
        assert!(text.contains("lost peerings: 1 (") && text.contains("lines 1 to 7 "), "{text}");
        let overflow = ConnectError::Overflow { dropped: 3 };
        let text = described(&[(added(), 0), (removed(Some(overflow)), 7)], 9).unwrap();
        assert!(text.contains("3 messages for it were dropped"), "{text}");
    }

    #[test]
    fn an_event_of_the_command_line_has_no_line_number() {
        let mut ends = Ends::default();
        for status in [added(), lost(CloseReason::Lost)] {
            ends.update(&status, 1, 1);
        }
        let text = ends.describe(Input::Event, 1, 1).unwrap();
        assert!(text.ends_with("; delivery of the event is unconfirmed"), "{text}");
    }

    #[test]
    fn a_peer_is_forgotten_after_its_end() {
        for end in [lost(CloseReason::PeerLeft), removed(None)] {
            let mut ends = Ends::default();
            ends.update(&added(), 0, 0);
            ends.servers.insert(EndpointId::NIL);
            ends.update(&end, 3, 3);
            assert!(ends.servers.is_empty());
            assert_eq!(ends.lost, u64::from(matches!(end, Status::PeerLost { .. })));
        }
    }

    #[test]
    fn nothing_is_lost_if_nothing_was_published() {
        let mut ends = Ends::default();
        ends.update(&added(), 0, 0);
        ends.update(&lost(CloseReason::Lost), 1, 0);
        assert_eq!(ends.describe(Input::Lines, 1, 0), None);
    }

    #[test]
    fn a_peer_that_left_early_has_not_received_everything() {
        let left = || lost(CloseReason::PeerLeft);
        let text =
            described(&[(added(), 0), (left(), 990), (added(), 990), (removed(None), 1000)], 1000).unwrap();
        assert!(text.contains("a peer left before") && text.contains("lines 1 to 990 "), "{text}");
        assert_eq!(described(&[(added(), 0), (left(), 1000)], 1000), None);
        let error = ConnectError::Closed(CloseReason::PeerLeft);
        let early = Status::PeerLost { peer: EndpointId::NIL, address: "a:1".into(), error, unsent: 990 };
        assert!(described(&[(added(), 0), (early, 1000)], 1000).unwrap().contains("lost peerings: 1 "));
        assert_eq!(described(&[(added(), 0), (left(), 0), (added(), 0), (removed(None), 9)], 9), None);
    }

    /// `tap --count` leaves after the last message.
    #[tokio::test]
    async fn a_peer_that_leaves_is_evaluated_after_the_current_line_is_published() {
        let (publisher, tap) = (Endpoint::new().unwrap(), Endpoint::new().unwrap());
        let address = tap.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr().to_string();
        let progress = Arc::new(Progress::new(Input::Lines));
        let mut seen = publisher.status();
        let delivery = Delivery::watch(&publisher, progress.clone());
        publisher.connect(&address, Tls::Off).await.unwrap();
        progress.start_line(1);
        progress.line_published(1);
        progress.start_line(2);
        let publishing = progress.publishing().await;
        tap.shutdown().await;
        while !matches!(seen.recv().await.unwrap(), Status::PeerLost { .. }) {}
        // Let the watcher run. It has no effect if it waits for the lock.
        tokio::task::yield_now().await;
        progress.line_published(2);
        drop(publishing);
        publisher.shutdown().await;
        assert!(delivery.problems().await.is_empty());
    }

    #[test]
    fn a_peer_that_did_not_confirm_the_end_may_have_received_nothing() {
        assert!(described(&[(added(), 0)], 3).unwrap().contains("lines 1 to 3 "));
        assert_eq!(described(&[(added(), 0)], 0), None);
    }
}
