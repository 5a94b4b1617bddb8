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
mod cluster;
mod hostile;
mod loops;
mod mission;
mod peers;
mod reload;
mod soak;
