//! Sockets: TLS as Broker speaks it, the stream it gives, and the pump between a stream and a
//! peering (protocol section 3).

mod connection;
mod stream;
pub mod tls;

pub use connection::{Connection, ConnectionFault, Progress};
pub use stream::Stream;
