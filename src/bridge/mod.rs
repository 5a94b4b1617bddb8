//! The bridge: links to Zeek on one side and to other endpoints on the other, and rules that say what passes.
//!
//! Each link is an [`Endpoint`](crate::endpoint::Endpoint) of its own, with its own id, so that neither side hears of
//! the other's peers but through the rules. A message is heard in the task of its sender's connection, decision there by
//! its header and as much of its payload as the rules ask for, and pushed into the queues of the peers it goes to; its
//! payload is passed on as it came. The events of the node API are followed besides: see [`management::registry`].
//!
//! Bridges recognize each other by their endpoint ids and give each message an id, so that every peer gets it once,
//! however the bridges are connected. Of several links in one group, one carries the messages.

mod chaos;
pub mod config;
mod link;
mod management;
pub(crate) mod policy;
mod router;
mod snapshot;
mod state;
mod supervisor;

pub use snapshot::{Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RuleSnapshot, Snapshot};
pub use supervisor::{Bridge, Reloaded};
