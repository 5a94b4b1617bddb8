//! Sockets: addresses and how to connect to them, TLS as Broker speaks it, the stream over either, the pump between a
//! stream and a peering (protocol section 3), and a probe of an address.

mod address;
mod connection;
mod dial;
mod frames;
mod input;
mod memory;
pub mod probe;
mod stream;
pub mod tls;

pub use address::{AddressError, HostPort, ResolveError};
pub use connection::{Connection, ConnectionFault, Progress};
pub use dial::{AttemptError, DialError, FailedAttempt, bind, dial};
#[cfg(any(feature = "bridge", test))]
pub(crate) use frames::FramesWriter;
pub(crate) use frames::{Frames, for_keeping};
pub use stream::Stream;
