//! The bridge: links to Zeek on one side and to other endpoints on the other, and rules that say what passes.
//!
//! Each link is an [`Endpoint`](crate::endpoint::Endpoint) of its own, with its own id, so that neither side hears of
//! the other's peers but through the rules. A message is heard in the task of its sender's connection, judged there by
//! its header and as much of its payload as the rules ask for, and pushed into the queues of the peers it goes to; its
//! payload is passed on as it came. The events of the node API are followed besides: see [`nodes`].
//!
//! Bridges recognize each other by their endpoint ids and give each message an id, so that every peer gets it once,
//! however the bridges are connected: they recognize each other and give each message an id. Of links in one group, one carries.

mod bundle;
mod chaos;
pub mod config;
mod delivered;
mod denied;
mod link;
mod log_create;
mod node_api;
pub mod nodes;
mod origin;
mod refusals;
mod relay;
pub mod rules;
mod running;
mod sides;
mod snapshot;
mod state;
mod table;
mod untold;

pub use running::{Bridge, Reloaded};
pub use snapshot::{Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RuleSnapshot, Snapshot};
