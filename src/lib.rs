//! Zeek Broker's native peering protocol (Zeek 5.0 to 9.0): from its bytes up to the nodes and agents of Zeek's
//! Management framework, and a bridge between them.
//!
//! # A node
//!
//! A stand-in for a node of a cluster: it says hello to its agent, and answers what it is asked.
//!
#![cfg_attr(feature = "net", doc = "```")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use zeek_bridge::endpoint::{Endpoint, Retry};
//! use zeek_bridge::management::{DispatchError, Node};
//! use zeek_bridge::net::tls::Tls;
//!
//! # use zeek_bridge::management::{Agent, NodeEvent, REQUEST_TIMEOUT};
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let agent = "127.0.0.1:2151";
//!     # let there = Endpoint::new()?;
//!     # let agent = &there.listen("127.0.0.1:0", Tls::Off).await?.local_addr().to_string();
//!     let endpoint = Endpoint::new()?;
//!     let node = Node::start(endpoint.clone(), "worker-01", async |action: String, args: Vec<String>| {
//!         match action.as_str() {
//!             "echo" => Ok(Some(serde_json::json!(args).into())),
//!             _ => Err(DispatchError::UnknownAction(action)),
//!         }
//!     })
//!     .await;
//!     let mut events = node.events();
//!     endpoint.connect(agent, Tls::Off, Some(Retry::default()));
//!     # let asked = tokio::spawn(async move {
//!     #     let agent = Agent::start(there).await;
//!     #     agent.wait_for_nodes(|nodes| !nodes.is_empty()).await;
//!     #     let action = vec!["echo".to_owned(), "hello".to_owned()];
//!     #     agent.dispatch(action, ["worker-01".to_owned()].into(), REQUEST_TIMEOUT).await
//!     # });
//!     while let Some(event) = events.recv().await {
//!         println!("{event:?}");
//!         # if matches!(event, NodeEvent::Answered { .. }) {
//!         #     break;
//!         # }
//!     }
//!     # let answers = asked.await??.answers;
//!     # assert_eq!(answers["worker-01"].json(), Some(Ok(serde_json::json!(["hello"]))));
//!     Ok(())
//! }
//! ```
//!
//! More of them: [an agent][agent]; [events and records of one's own](zeek), [published and heard][endpoint]; [a
//! peering without sockets or tokio](peering::Peering); [a bridge][bridge] from a file.
//!
//! # Layers
//!
//! Bytes travel one way up, commands one way down. A module uses only modules below it.
//!
//! ```text
//!  bridge        links and the rules of what passes between them, from a TOML file
//!  management    the Management framework: the roles of node and agent; its events and records (those without net)
//!  endpoint      many peers: routing, subscribers, connecting again
//!  net           sockets: TCP, TLS, the pump between a stream and a peering
//! ------------------------------------------------- below: no tokio, no sockets, no clock
//!  peering       one peering: the handshake and the rules; bytes and time in, bytes and events out
//!  zeek          events, log records, batches: what values mean to Zeek
//!  wire          frames, handshake messages, envelopes, values: bytes to types and back
//!  data          values and their parts: what exists in Zeek's world
//! ```
//!
//! A fault is looked for in the same way: is it in the bytes ([`wire`]), the rules ([`peering`]), the sockets
//! ([`net`][net]) or the routing ([`endpoint`][endpoint])? What a peer can make this side spend is bounded in every layer, by
//! [`wire::Limits`] and by constants named where they hold.
//!
//! # Features
//!
//! | Feature | What it adds |
//! | --- | --- |
//! | (none) | [`data`], [`wire`], [`zeek`], [`peering`], and the events and records of [`management`] |
//! | `net` | [`net`][net], [`endpoint`][endpoint], and the roles of [`management`]; tokio and rustls |
//! | `openssl` | OpenSSL beside rustls, for the anonymous TLS of a Zeek with nothing configured, and for what rustls refuses; with `net`. Needs OpenSSL's headers |
//! | `openssl-vendored` | `openssl`, with an OpenSSL that is built along; needs a C compiler, make and perl |
//! | `bridge` | [`bridge`][bridge]; with `net` |
//! | `cli` | the program `zeek-bridge`, and nothing in the library; with `bridge`. **On by default**: a library turns it off |
//! | `serde` | `Serialize` and `Deserialize` for [`data::Value`] and its parts, in the shape of [`data::Value::to_json`] |
//! | `fuzzing` | the bodies of the fuzz targets; no part of the public interface |
//!
//! So a program that is a node has in its `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! serde_json = "1"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! zeek-bridge = { version = "0.1", default-features = false, features = ["net"] }
//! ```
//!
#![cfg_attr(feature = "net", doc = "[agent]: management::Agent")]
#![cfg_attr(feature = "net", doc = "[endpoint]: mod@endpoint")]
#![cfg_attr(feature = "net", doc = "[net]: mod@net")]
#![cfg_attr(not(feature = "net"), doc = "[agent]: #features\n[endpoint]: #features\n[net]: #features")]
#![cfg_attr(feature = "bridge", doc = "[bridge]: mod@bridge")]
#![cfg_attr(not(feature = "bridge"), doc = "[bridge]: #features")]
// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

// `tests/common` is also a module of unit tests, and refers to the crate by its name.
#[cfg(test)]
extern crate self as zeek_bridge;

#[cfg(feature = "bridge")]
pub mod bridge;
pub mod data;
#[cfg(feature = "net")]
pub mod endpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(doc)]
pub mod guide;
pub mod management;
#[cfg(feature = "net")]
pub mod net;
pub mod peering;
pub mod wire;
pub mod zeek;
