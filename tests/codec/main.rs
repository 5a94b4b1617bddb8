//! Tests of the codec, messages and peering with captured traffic of Zeek and Broker.

#[path = "../common/mod.rs"]
mod common;

mod fixtures;
mod fuzz_seeds;
mod replay;
#[cfg(feature = "serde")]
mod serde;
mod zeek_messages;
