//! The codec: decodes and encodes frames, handshake messages, envelopes, data-store commands and values.
//!
//! [`cut_frame`] splits a stream into frames. The body of a complete frame is parsed with complete nom parsers. For these
//! parsers, input that is too short is an error, and not a request for more input.
//!
//! Every decoder enforces [`Limits`]. A count from the wire never determines the size of an allocation before the counted
//! bytes have been received.
//!
//! The rest of this page is the specification of the protocol (`src/PROTOCOL.md`). Comments in this crate refer to its
//! sections.
//!
#![doc = include_str!("../PROTOCOL.md")]

mod command;
mod envelope;
mod error;
mod error_code;
mod foreign;
mod frame;
mod handshake;
mod json;
mod limits;
mod prim;
#[cfg(test)]
mod specification;
mod value;

pub use command::{Command, CommandContent, EntityId};
pub use envelope::{Envelope, EnvelopeType, INITIAL_TTL, RESERVED_TOPIC, TOPIC_OFFSET, TYPE_OFFSET};
pub use error::{DecodeError, DecodeReason, EncodeError, PartsError};
pub(crate) use error::{Parsed, fail, finish, within};
pub use error_code::ErrorCode;
pub use foreign::ForeignProtocol;
pub(crate) use frame::cut_whole_frame;
pub use frame::{FrameError, LENGTH_FIELD, cut_frame, put_frame};
pub use handshake::{Handshake, MAGIC, PROTOCOL_VERSION};
pub use limits::Limits;
#[cfg(feature = "bridge")]
pub(crate) use value::RemainingValues;
pub(crate) use value::{Container, Head, Heads};
pub use value::{Elements, Pairs, ValueRef, check_value, decode_value, encode_value};
