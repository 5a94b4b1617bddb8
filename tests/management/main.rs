//! Nodes and agents connected to each other over loopback. The tests wait for events, not for time.

#![cfg(feature = "cli")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod agents;
mod nodes;
mod support;
