//! Following who wants a topic, for the roles.

use std::sync::Arc;

use tokio::sync::watch;

use super::id::PeeringId;
use super::routing::Routes;
use crate::data::{EndpointId, Topic};

/// Who wants a topic, and when that changes.
#[derive(Debug)]
pub(crate) struct TopicInterest {
    pub(super) routes: watch::Receiver<Arc<Routes>>,
    pub(super) topic: &'static Topic,
}

impl TopicInterest {
    /// The peerings over which the topic is wanted now. A peer that comes back has another [`PeeringId`].
    pub(crate) fn now(&mut self) -> Vec<(PeeringId, EndpointId)> {
        let routes = self.routes.borrow_and_update().clone();
        routes.peers(EndpointId::NIL, self.topic).map(|route| (route.peer.peering, route.peer.id)).collect()
    }

    /// All established peerings, whatever is wanted over them.
    pub(crate) fn peers(&mut self) -> Vec<(PeeringId, EndpointId)> {
        let routes = self.routes.borrow_and_update();
        routes.peers.iter().map(|route| (route.peer.peering, route.peer.id)).collect()
    }

    /// Whether it may be different from what it was at the last [`TopicInterest::now`].
    pub(crate) fn has_changed(&self) -> bool {
        self.routes.has_changed().unwrap_or(false)
    }

    /// Waits until it may be different.
    pub(crate) async fn changed(&mut self) {
        if self.routes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
