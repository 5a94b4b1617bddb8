//! Parts of ZeroMQ's protocol, as Zeek's ZeroMQ cluster backend uses it.

#[cfg(feature = "curve")]
pub mod curve;
