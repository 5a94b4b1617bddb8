//! Zeek Broker's native peering protocol (Zeek 5.0 to 9.0): from its bytes up to the nodes and agents of Zeek's
//! Management framework, and a bridge between them.
//!
//! # A node
//!
//! This program acts as a cluster node: it sends a hello to its agent and answers the agent's requests.
//!
#![cfg_attr(feature = "net", doc = "```")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use zeek_bridge::prelude::*;
//!
//! # use zeek_bridge::management::{ALL_NODES, REQUEST_TIMEOUT};
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let agent = "127.0.0.1:2151";
//!     # let there = Endpoint::new()?;
//!     # let agent = there.listen("127.0.0.1:0", Tls::Off).await?.local_addr();
//!     let endpoint = Endpoint::new()?;
//!     let node = Node::start(endpoint.clone(), "worker-01", async |action: String, args: Vec<String>| {
//!         match action.as_str() {
//!             "echo" => Ok(Some(serde_json::json!(args).into())),
//!             _ => Err(DispatchError::UnknownAction(action)),
//!         }
//!     })
//!     .await;
//!     let mut events = node.events();
//!     endpoint.connect_with_retry(agent, Tls::Off, Retry::default());
//!     # let asked = tokio::spawn(async move {
//!     #     let agent = Agent::start(there).await;
//!     #     agent.wait_for_nodes(|nodes| !nodes.is_empty()).await;
//!     #     agent.dispatch(["echo", "hello"], ALL_NODES, REQUEST_TIMEOUT).await
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
//! `src/guide/library.md` is an introduction, and `examples` has complete programs. The [`prelude`] exports the items that
//! these programs need.
//!
//! More examples: [an agent][agent]; [types for your own events and records](zeek); [publishing and subscribing][endpoint];
//! [a peering without sockets or tokio](peering::Peering); [a bridge][bridge].
//!
//! # Layers
//!
//! A module uses only modules below it in this list. Received bytes are passed to the modules above, and commands to the
//! modules below.
//!
//! ```text
//!  bridge        links, and rules for what is forwarded between them, from a TOML file
//!  management    the Management framework: the roles of node and agent; its events and records (those without net)
//!  endpoint      many peers: routing, subscribers, reconnecting
//!  net           sockets: TCP, TLS, and the loop that moves bytes between a stream and a peering
//! ------------------------------------------------- below: no tokio, no sockets, no clock
//!  trace         recordings of connections: a reader and a writer
//!  zeromq        one connection of Zeek's ZeroMQ cluster back end; bytes and time in, bytes and events out
//!  websocket     one session of Zeek's WebSocket API; bytes and time in, bytes and events out
//!  peering       one peering: handshake and established state; bytes and time in, bytes and events out
//!  zeek          Zeek's messages: events, log records, batches
//!  wire          encoding and decoding of frames, handshake messages, envelopes and values
//!  data          values: the types of Zeek's script language
//! ```
//!
//! To find a fault, first find its layer: the bytes ([`wire`]), the protocol rules ([`peering`]), the sockets
//! ([`net`][net]) or the routing ([`endpoint`][endpoint]).
//!
//! Every layer limits the memory and time that a peer can use. The limits are [`wire::Limits`] and named constants.
//!
//! # Features
//!
//! | Feature | What it adds |
//! | --- | --- |
//! | (none) | [`data`], [`wire`], [`zeek`], [`peering`], [`websocket`], [`zeromq`], [`trace`], and the events and records of [`management`] |
//! | `net` | [`net`][net], [`endpoint`][endpoint], and the roles of [`management`]; tokio and rustls |
//! | `openssl` | OpenSSL in addition to rustls, for Zeek's default of anonymous TLS and for certificates that rustls rejects; includes `net`. Needs OpenSSL's headers |
//! | `openssl-vendored` | `openssl`, with an OpenSSL that is built from source; needs a C compiler, make and perl |
//! | `bridge` | [`bridge`][bridge]; includes `net` |
//! | `cli` | the program `zeek-bridge`; includes `bridge` and `serde`. **On by default**: disable it when you use the library |
//! | `curve` | [`zeromq::curve`][curve], the encryption of ZeroMQ |
//! | `stream` | `Stream` of futures-core for subscriptions, see [`endpoint`][endpoint]; includes `net` |
//! | `serde` | `Serialize` and `Deserialize` for [`data::Value`] and its parts, in the format of [`data::Value::to_json`] |
//! | `fuzzing` | the bodies of the fuzz targets; not part of the public interface |
//!
//! The dependencies of the node above:
//!
//! ```toml
//! [dependencies]
//! serde_json = "1"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! zeek-bridge = { version = "0.2", default-features = false, features = ["net"] }
//! ```
//!
#![cfg_attr(feature = "net", doc = "[agent]: management::Agent")]
#![cfg_attr(feature = "net", doc = "[endpoint]: mod@endpoint")]
#![cfg_attr(feature = "net", doc = "[net]: mod@net")]
#![cfg_attr(not(feature = "net"), doc = "[agent]: #features\n[endpoint]: #features\n[net]: #features")]
#![cfg_attr(feature = "bridge", doc = "[bridge]: mod@bridge")]
#![cfg_attr(not(feature = "bridge"), doc = "[bridge]: #features")]
#![cfg_attr(feature = "curve", doc = "[curve]: mod@zeromq::curve")]
#![cfg_attr(not(feature = "curve"), doc = "[curve]: #features")]
// No input from the network may cause a panic. Tests may.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::todo,
        clippy::unwrap_used,
        missing_debug_implementations,
        missing_docs,
        unnameable_types,
        unreachable_pub
    )
)]
// On docs.rs, each item shows the feature that it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Unit tests also include `tests/common` as a module, and `tests/common` refers to the crate by its name.
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
pub mod prelude;
pub mod trace;
pub mod websocket;
pub mod wire;
pub mod zeek;
pub mod zeromq;
