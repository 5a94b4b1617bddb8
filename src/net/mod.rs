//! Sockets: TLS as Broker speaks it, the stream it gives, the pump between a stream and a
//! peering (protocol section 3), and a look at what stands at an address.

mod connection;
pub mod probe;
mod stream;
pub mod tls;

pub(crate) use connection::for_keeping;
pub use connection::{Connection, ConnectionFault, Progress};
pub use stream::Stream;
