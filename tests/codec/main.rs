//! Codec, messages and peering against captures of real Zeeks and Brokers.

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

mod fixtures;
mod fuzz_seeds;
mod replay;
#[cfg(feature = "serde")]
mod serde;
mod zeek_messages;
