//! Memory use, as counted by the allocator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "test code"
)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "bridge")]
#[path = "../common/raw.rs"]
mod raw;

mod codec;
#[cfg(feature = "cli")]
mod idle;
#[cfg(feature = "bridge")]
mod relay;
