//! CurveZMQ, the encryption of ZeroMQ (RFC 26 of ZeroMQ, as libzmq implements it; `PROTOCOL.md`, section 13).
//!
//! This module does no I/O and reads no clock. [`Client`] and [`Server`] are the two sides of a handshake: the bodies of command
//! frames in, bodies of command frames out. A handshake ends with a [`Channel`], which encrypts and decrypts messages.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::{Bytes, BytesMut};
//! use zeek_bridge::zeromq::curve::{
//!     AllowedClients, Client, ClientStep, Flags, KeyPair, Server, ServerStep,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (server_keys, client_keys) = (KeyPair::generate()?, KeyPair::generate()?);
//! let clients: AllowedClients = (*client_keys.public(), "worker-1").into();
//!
//! let mut server = Server::new(server_keys.clone(), Arc::new(clients), Bytes::from_static(b"server"));
//! let (mut client, hello) =
//!     Client::start(*server_keys.public(), client_keys, Bytes::from_static(b"client"))?;
//!
//! let ServerStep::Welcome(welcome) = server.receive(&hello)? else { unreachable!() };
//! let ClientStep::Initiate(initiate) = client.receive(&welcome)? else { unreachable!() };
//! let ServerStep::Established { ready, client: name, channel: mut at_server, .. } =
//!     server.receive(&initiate)?
//! else {
//!     unreachable!()
//! };
//! let ClientStep::Established { channel: mut at_client, .. } = client.receive(&ready)? else {
//!     unreachable!()
//! };
//! assert_eq!(&*name, "worker-1");
//!
//! let sealed = at_client.seal(Flags::default(), b"ping")?;
//! let (flags, data) = at_server.open(BytesMut::from(sealed))?;
//! assert_eq!((flags, &*data), (Flags::default(), &b"ping"[..]));
//! # Ok(())
//! # }
//! ```

pub(crate) mod boxes;
mod channel;
mod client;
mod command;
mod error;
mod invalid_key;
mod keys;
mod server;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
mod z85;

use std::io;

pub use channel::{Channel, Flags};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use client::ClientRandom;
pub use client::{Client, ClientStep};
pub use error::Error;
pub use invalid_key::InvalidKey;
pub use keys::{AllowedClients, KeyPair, PublicKey, SecretKey};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use server::ServerRandom;
pub use server::{Server, ServerStep};

/// The version of CurveZMQ: 1.0.
const VERSION: [u8; 2] = [1, 0];

/// The length of a cookie: a nonce and a box.
const COOKIE: usize = 96;

/// Returns random bytes of the operating system.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
