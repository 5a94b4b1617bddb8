//! The bridge: links to Zeek on one side and to other endpoints on the other, and rules that say what passes.
//!
//! Each link is an [`Endpoint`](crate::endpoint::Endpoint) of its own, with its own id, so that neither side hears of
//! the other's peers but through the rules.

pub mod config;
pub mod nodes;
mod snapshot;

pub use snapshot::{Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RuleSnapshot, Snapshot};
