//! Recordings of connections: one reader and one writer.
//!
//! A recording is a folder with these files:
//!
//! | File | Content |
//! | --- | --- |
//! | `connector.bin` | all bytes from the side that opened the connection |
//! | `listener.bin` | all bytes from the side that accepted the connection |
//! | `frames.jsonl` | one JSON object for each frame of both sides, in the order in which the frames were completed |
//! | `meta.json` | start time, protocol, TLS, and whether the recording is complete |
//!
//! [`Writer`] writes such a folder, [`Reader`] reads it. Both use a [`Conversation`], which divides the bytes of the
//! two sides into frames, even if some bytes are missing, as in a packet capture. A [`FrameReader`] divides the bytes
//! of one side. All of them recognize Broker's protocol, the WebSocket API and Zeek's ZeroMQ back end by the first bytes of the
//! connection.
//!
//! ```
//! use zeek_bridge::trace::{Content, Conversation, Side};
//!
//! let mut conversation = Conversation::default();
//! let probe = b"\0\0\0\x05\x07ZEEK";
//! let entries: Vec<_> = conversation.input(Side::Listener, 0, probe).collect();
//! let frame = entries[0].frame.as_ref().unwrap();
//! assert!(matches!(frame.content, Ok(Content::Handshake(_))));
//! assert_eq!((frame.offset, frame.length()), (0, 9));
//! ```

mod conversation;
mod folder;
mod frame;
mod index;
mod json;
mod message;
mod meta;
mod read;
mod read_error;
mod resync;
mod session;
mod stream;
mod websocket;
mod write;
mod zeromq;

pub use conversation::{Conversation, Entry};
pub use folder::{contains_other_files, is_recording, recordings_in, remove};
pub use frame::{Content, Frame};
pub use meta::{Description, Meta};
pub use read::Reader;
pub use read_error::{IndexError, ReadError};
pub use stream::{FrameReader, StreamError, StreamFault};
pub use write::Writer;

pub use crate::peering::Side;
use crate::wire::Limits;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Broker's native protocol.
    Broker,
    /// Zeek's WebSocket API.
    WebSocket,
    /// The protocol of Zeek's ZeroMQ back end: ZMTP.
    ZeroMq,
}

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::Broker, Protocol::WebSocket, Protocol::ZeroMq];

    /// Returns the name in `meta.json`: `broker`, `websocket` or `zeromq`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Broker => "broker",
            Protocol::WebSocket => "websocket",
            Protocol::ZeroMq => "zeromq",
        }
    }
}

/// The limits of every frame. A [`FrameReader`] buffers at most one frame of the maximum size, plus the last input.
const LIMITS: &Limits = &Limits::DEFAULT;

fn to_u64(length: usize) -> u64 {
    length.try_into().unwrap_or(u64::MAX)
}
