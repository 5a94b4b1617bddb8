//! Codec, messages and peering against captures of real Zeeks and Brokers.

#[path = "../common/mod.rs"]
mod common;

mod fixtures;
mod fuzz_seeds;
mod replay;
#[cfg(feature = "serde")]
mod serde;
mod zeek_messages;
