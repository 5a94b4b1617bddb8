//! Security mechanisms: what differs between them after the greetings.
//!
//! A session calls [`Mechanism::begin`] when both greetings are exchanged, then [`Mechanism::handle_command`] for each command
//! until it returns the metadata, then [`Mechanism::open`] for each frame.

use bytes::BytesMut;

use super::command::{Command, SOCKET_TYPE, put_property};
use super::config::SocketType;
use super::error::Error;
use super::frame::{Frame, put_command};

/// The security mechanism of a session.
#[derive(Debug)]
pub(super) enum Mechanism {
    /// No security.
    Null,
}

impl Mechanism {
    /// Returns the name in the greeting.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Mechanism::Null => "NULL",
        }
    }

    /// Queues the first command of this side.
    pub(super) fn begin(&mut self, socket: SocketType, out: &mut BytesMut) {
        match self {
            Mechanism::Null => {
                let mut metadata = BytesMut::new();
                put_property(&mut metadata, SOCKET_TYPE, socket.name());
                put_command(out, b"READY", &metadata);
            }
        }
    }

    /// Handles a command of the handshake. Returns the metadata of the peer if the handshake is complete.
    pub(super) fn handle_command<'a>(&mut self, command: Command<'a>) -> Result<Option<&'a [u8]>, Error> {
        match (self, command) {
            (Mechanism::Null, Command::Ready { metadata }) => Ok(Some(metadata)),
            (_, command) => Err(Error::NotReady { received: format!("the command {}", command.name()) }),
        }
    }

    /// Returns a frame of an established session in the form of [`Mechanism::Null`].
    pub(super) fn open(&mut self, frame: Frame) -> Result<Frame, Error> {
        match self {
            Mechanism::Null => Ok(frame),
        }
    }
}
