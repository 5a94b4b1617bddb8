//! Tracks which peers subscribe to a topic.

use std::sync::Arc;

use tokio::sync::watch;

use super::id::PeeringId;
use super::routing::Routes;
use crate::data::{EndpointId, Topic};

/// The peers that subscribe to a topic.
#[derive(Debug)]
pub(crate) struct TopicInterest {
    pub(super) routes: watch::Receiver<Arc<Routes>>,
    pub(super) topic: &'static Topic,
}

impl TopicInterest {
    /// Returns the peerings with peers that subscribe to the topic now. A peer that reconnects has a new [`PeeringId`].
    pub(crate) fn now(&mut self) -> Vec<(PeeringId, EndpointId)> {
        let routes = self.routes.borrow_and_update().clone();
        routes.peers(EndpointId::NIL, self.topic).map(|route| (route.peer.peering, route.peer.id)).collect()
    }

    /// Returns all established peerings.
    pub(crate) fn peers(&mut self) -> Vec<(PeeringId, EndpointId)> {
        let routes = self.routes.borrow_and_update();
        routes.peers.iter().map(|route| (route.peer.peering, route.peer.id)).collect()
    }

    /// Returns whether the peers may have changed since the last [`TopicInterest::now`].
    pub(crate) fn has_changed(&self) -> bool {
        self.routes.has_changed().unwrap_or(false)
    }

    /// Waits until the peers may have changed. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.routes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
