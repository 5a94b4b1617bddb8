//! Sockets:
//!
//! - addresses, and how to connect to them;
//! - TLS as Broker uses it (`PROTOCOL.md`, section 3);
//! - a stream, which is plain TCP or TLS;
//! - a connection, which moves bytes between a stream and a session;
//! - a probe, which identifies the service at an address.

mod address;
mod address_error;
mod batch;
mod broker;
mod connection;
mod connection_fault;
mod dial;
mod encoder;
mod exposure;
mod frames;
mod input;
mod memory;
#[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only bridges forward messages"))]
mod original;
mod output;
pub mod probe;
mod session;
mod stream;
mod task;
mod timer;
pub mod tls;
mod to_address;
mod url;
mod websocket;
mod zeromq;

pub use address::{HostPort, ResolveError};
pub use address_error::AddressError;
pub(crate) use batch::Batch;
#[cfg(feature = "bridge")]
pub(crate) use batch::Published;
#[cfg(feature = "bridge")]
pub(crate) use batch::Room;
#[cfg(test)]
pub(crate) use broker::BROKER;
pub use connection::{Connection, Progress};
pub use connection_fault::ConnectionFault;
pub use dial::{AttemptError, DialError, FailedAttempt, bind, dial};
pub(crate) use dial::{bind_logger, bind_proxy, dial_host, dial_with_address};
pub(crate) use encoder::Encoder;
pub use exposure::Exposure;
pub(crate) use frames::Frames;
pub(crate) use memory::for_keeping;
#[cfg(all(test, feature = "bridge"))]
pub(crate) use session::sealed;
pub use session::{Format, Session};
pub(crate) use session::{Losses, Sender};
pub use stream::Stream;
pub(crate) use task::{boxed, spawn};
pub(crate) use timer::{after, sleep_until, std_after};
pub use to_address::ToAddress;
pub use url::{Scheme, Url};
