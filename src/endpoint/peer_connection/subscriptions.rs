//! The subscriptions on a connection of a ZeroMQ cluster whose proxy is this endpoint.

use std::iter;

use super::{ConnectionOutcome, PeerConnection};
use crate::endpoint::connect_error::ConnectError;
use crate::endpoint::protocol::Protocol;
use crate::endpoint::zeromq::{Publisher, Subscriber};
use crate::net::Session;
use crate::peering::Side;
use crate::zeromq::{SocketType, SubscriptionChange};

/// The role of a peer in the cluster.
pub(super) enum Member {
    Subscriber(Subscriber),
    Publisher(Publisher),
}

impl<S: Session> PeerConnection<S> {
    /// Adds an established peer to the cluster, if this endpoint is the proxy.
    pub(super) fn join_cluster(&mut self) {
        let cluster = &self.context.cluster;
        self.member = match (self.side, self.protocol) {
            (Side::Listener, Protocol::ZeroMq(SocketType::XPub)) => {
                Some(Member::Subscriber(cluster.subscriber()))
            }
            (Side::Listener, Protocol::ZeroMq(SocketType::XSub)) => {
                Some(Member::Publisher(cluster.publisher()))
            }
            _ => None,
        };
    }

    /// Passes changes of a subscriber on to the publishers of the cluster. The routes already contain the new filter, so the
    /// events that publishers send from now on reach the subscriber.
    ///
    /// # Errors
    /// Fails if the subscriptions of all subscribers together are too long.
    pub(super) fn pass_on_subscriptions(&mut self, first: SubscriptionChange) -> Result<(), ConnectError> {
        let Some(Member::Subscriber(subscriber)) = &mut self.member else { return Ok(()) };
        let others = iter::from_fn(|| self.connection.next_subscription());
        let applied = subscriber.apply(iter::once(first).chain(others));
        applied.map_err(|too_long| ConnectError::TooManySubscriptions { limit: too_long.limit })
    }

    /// Sends the subscriptions of the cluster to a publisher until the stream does not keep up. Returns the outcome if the
    /// connection has to end.
    pub(super) fn send_subscriptions(&mut self) -> Option<ConnectionOutcome> {
        let Some(Member::Publisher(publisher)) = &mut self.member else { return None };
        let mut checked = publisher.check();
        while checked.is_ok() && !self.leaving && !self.connection.is_backlogged() {
            match publisher.next() {
                Ok(Some(change)) => {
                    if let Err(error) = self.connection.send_subscription(&change) {
                        tracing::debug!("a subscription was not sent: {error}");
                    }
                }
                Ok(None) => break,
                Err(unread) => checked = Err(unread),
            }
        }
        let error = checked.err().map(|unread| ConnectError::UnreadSubscriptions { limit: unread.limit })?;
        Some(self.end(Some(error)))
    }
}

/// Waits until there may be something to send to a publisher. May never resolve.
pub(super) async fn changed(member: &mut Option<Member>) {
    match member {
        Some(Member::Publisher(publisher)) => publisher.changed().await,
        Some(Member::Subscriber(_)) | None => std::future::pending().await,
    }
}
