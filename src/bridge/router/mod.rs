//! Forwarding between links: which peers a message goes to, and what is counted of those that go nowhere.

pub(in crate::bridge) mod batch;
pub(in crate::bridge) mod delivered;
pub(in crate::bridge) mod denials;
pub(in crate::bridge) mod link_relay;
pub(in crate::bridge) mod links;
pub(in crate::bridge) mod log_create;
pub(in crate::bridge) mod origin;
pub(in crate::bridge) mod sides;
