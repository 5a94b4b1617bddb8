//! What Zeek says over Broker: events, log records, batches (protocol section 6).
//!
//! A data payload from Zeek is a [`Value`](crate::data::Value) of a certain shape; [`Message`] is what it means.
//! Arguments are `Value`s, or Rust types by way of [`IntoArgs`] and [`FromArgs`]; Zeek's records and
//! events are declared with [`zeek_record!`](crate::zeek_record) and [`zeek_event!`](crate::zeek_event).

mod args;
mod event;
mod fields;
mod log;
mod message;
mod parts;
mod record;

pub use args::{ArgsError, FromArgs, IntoArgs};
pub use event::{Event, EventError, METADATA_NETWORK_TIMESTAMP, METADATA_USER_START};
#[doc(hidden)]
pub use fields::Fields;
pub use log::{IdentifierUpdate, LogCreate, LogWrite};
pub use message::{MAX_BATCH_DEPTH, Message, MessageError};
