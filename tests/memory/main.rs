//! Memory use, as counted by the allocator.

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
