//! Zeek's messages as v1 JSON (`PROTOCOL.md`, section 10), as the WebSocket API and the ZeroMQ back end use them.

mod dialect;
mod read;
mod text;
mod write;

pub use dialect::BinaryText;
pub(crate) use dialect::Dialect;
pub(crate) use read::{NotAnEvent, checked_event, json_limits};
pub(crate) use text::{Text, put_string};
pub(crate) use write::{MAX_LENGTH, put_value};
