//! Sockets: TLS as Broker speaks it, the stream it gives, the pump between a stream and a
//! peering (protocol section 3), and a look at what stands at an address.

mod connection;
mod frames;
mod input;
mod memory;
pub mod probe;
mod stream;
pub mod tls;

pub use connection::{Connection, ConnectionFault, Progress};
#[cfg(any(feature = "bridge", test))]
pub(crate) use frames::FramesWriter;
pub(crate) use frames::{Frames, for_keeping};
pub use stream::Stream;
