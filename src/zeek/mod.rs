//! Zeek's messages: events, log records and batches (`PROTOCOL.md`, section 6).
//!
//! A data payload from Zeek is a [`Value`](crate::data::Value) in a fixed format, which [`ZeekMessage`] represents.
//! Arguments of events are `Value`s, or Rust types that are converted with [`IntoArgs`] and [`FromArgs`]. Declare
//! Zeek's records and events with [`zeek_record!`](crate::zeek_record) and [`zeek_event!`](crate::zeek_event):
//!
//! ```
//! use std::collections::BTreeSet;
//! use zeek_bridge::data::{Address, Port};
//! use zeek_bridge::wire::{Limits, decode_value, encode_value};
//! use zeek_bridge::zeek::ZeekMessage;
//! use zeek_bridge::{zeek_event, zeek_record};
//!
//! zeek_record! {
//!     /// In Zeek: `type Host: record { addr: addr; services: set[port]; note: string &optional; };`
//!     #[derive(Clone, Debug, PartialEq)]
//!     pub struct Host {
//!         pub addr: Address,
//!         pub services: BTreeSet<Port>,
//!         pub note: Option<String>,
//!     }
//! }
//!
//! zeek_event! {
//!     /// In Zeek, in a module Example: `global host_seen: event(host: Host, times: count);`
//!     #[derive(Clone, Debug, PartialEq)]
//!     pub struct HostSeen("Example::host_seen") {
//!         pub host: Host,
//!         pub times: u64,
//!     }
//! }
//!
//! let services = BTreeSet::from(["443/tcp".parse()?, "53/udp".parse()?]);
//! let seen = HostSeen { host: Host { addr: "10.0.0.7".parse()?, services, note: None }, times: 3 };
//!
//! // Encode a message for publishing:
//! let value = ZeekMessage::from(seen.clone()).into_value();
//! let mut bytes = Vec::new();
//! encode_value(&value, &mut bytes)?;
//!
//! // Decode a received message:
//! match ZeekMessage::from_value(decode_value(&bytes, &Limits::DEFAULT)?)? {
//!     ZeekMessage::Event(event) => assert_eq!(HostSeen::try_from(event)?, seen),
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod args;
mod display;
mod event;
pub(crate) mod events;
mod extract;
mod fields;
mod log;
mod message;
mod payload;
mod record;
pub(crate) mod v1;

pub use args::{ArgsError, FromArgs, IntoArgs};
pub use event::{Event, EventError, METADATA_NETWORK_TIMESTAMP, METADATA_USER_START};
#[doc(hidden)]
pub use fields::Fields;
pub use log::{IdentifierUpdate, LogCreate, LogWrite};
pub use message::{MAX_BATCH_DEPTH, MessageError, ZeekMessage};
pub use payload::IntoPayload;
