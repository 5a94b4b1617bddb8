//! Zeek Broker's native peering protocol (Zeek 5.0 to 9.0).
//!
//! Bytes travel one way up, commands one way down; a module uses only modules above it in this list:
//!
//! - [`data`]: what exists in Zeek's world;
//! - [`wire`]: bytes to types and back;
//! - [`zeek`]: events, logs and batches;
//! - [`peering`]: the handshake and the rules of a peering, without I/O;
//! - `net`: tcp, tls and the pump (feature `net`);
//! - `endpoint`: many peers, routing, subscribers (feature `net`);
//! - [`management`]: the Management framework's node API (its roles with feature `net`).
//!
//! The first four, and the types of [`management`], are built without tokio, sockets or a clock.

#[cfg(feature = "bridge")]
pub mod bridge;
pub mod data;
#[cfg(feature = "net")]
pub mod endpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod management;
#[cfg(feature = "net")]
pub mod net;
pub mod peering;
pub mod wire;
pub mod zeek;
