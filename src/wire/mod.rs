//! Bytes to types and back: frames, handshake messages, envelopes, data-store commands, values.
//!
//! Frames are cut first ([`cut_frame`]); what stands in a complete frame is parsed with complete
//! nom parsers, so that input that is too short has one meaning: malformed. Every decoder keeps
//! to [`Limits`]; no allocation is sized by a number from the wire before the bytes for it are there.

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
mod value;

pub use command::{Command, CommandContent, EntityId};
pub use envelope::{Envelope, EnvelopeType, INITIAL_TTL, RESERVED_TOPIC};
pub use error::{DecodeError, DecodeReason, EncodeError};
pub use error_code::ErrorCode;
pub use foreign::ForeignProtocol;
pub use frame::{FrameError, LENGTH_FIELD, cut_frame, put_frame};
pub use handshake::{Handshake, MAGIC, PROTOCOL_VERSION};
pub use limits::Limits;
pub use value::{Elements, Pairs, ValueRef, check_value, decode_value, encode_value};
