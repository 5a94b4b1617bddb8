//! Sockets: TLS as Broker speaks it, and the stream it gives (protocol section 3).

mod stream;
pub mod tls;

pub use stream::Stream;
