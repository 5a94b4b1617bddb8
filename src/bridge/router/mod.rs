//! Forwarding between links: the receivers of each message, the counters of messages, and what happened recently.

pub(in crate::bridge) mod batch;
pub(in crate::bridge) mod busiest;
pub(in crate::bridge) mod core;
mod decision_cache;
pub(in crate::bridge) mod delivered;
pub(in crate::bridge) mod denials;
pub(in crate::bridge) mod flows;
pub(in crate::bridge) mod link_relay;
pub(in crate::bridge) mod links;
pub(in crate::bridge) mod log_create;
pub(in crate::bridge) mod origin;
pub(in crate::bridge) mod peer_counts;
pub(in crate::bridge) mod reason_counts;
pub(in crate::bridge) mod recent;
pub(in crate::bridge) mod report_interval;
pub(in crate::bridge) mod routed;
pub(in crate::bridge) mod sides;

pub use busiest::TopicRate;
pub use recent::RecentEntry;
