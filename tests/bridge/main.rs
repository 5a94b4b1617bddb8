//! A bridge between real processes: agents on one side, nodes on the other.

#![cfg(all(unix, feature = "cli"))]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "test code"
)]

#[path = "../common/program.rs"]
mod program;
#[path = "../common/raw.rs"]
mod raw;

mod agent;
mod batches;
mod chaos;
mod cluster;
mod crashes;
mod hostile;
mod identities;
mod loops;
mod operation;
mod peers;
mod pressure;
mod reconnects;
mod relaying;
mod reload;
mod soak;
mod topologies;
mod validation;
