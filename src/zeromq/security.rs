//! The security of a session: the differences between the mechanisms after the greetings.
//!
//! A session calls [`Security::begin`] when both greetings are exchanged, then [`Security::handle_handshake`] for each frame until
//! the type of the peer's socket is known, then [`Security::open`] for each received frame and the other methods to send.

#[cfg(feature = "curve")]
mod curve;

use bytes::{Buf, Bytes, BytesMut};

use super::command::{Command, SOCKET_TYPE, check_metadata, put_property};
use super::config::{Mechanism, SocketType};
use super::error::{Awaited, Error};
use super::frame::{Frame, FrameKind, put_frame};
use crate::data::one_line;
use crate::peering::Output;
#[cfg(feature = "curve")]
pub(super) use curve::Curve;

/// The security of a session, and its keys.
#[derive(Debug)]
pub(super) enum Security {
    /// No security. Also the initial state, before the greetings are exchanged.
    Null,
    #[cfg(feature = "curve")]
    Curve(Box<Curve>),
}

/// The progress of a handshake.
#[derive(Debug)]
pub(super) enum Progress {
    /// This command must follow.
    #[cfg(feature = "curve")]
    Awaiting(Awaited),
    /// The handshake is complete.
    Complete {
        /// The type of the peer's socket.
        socket: &'static str,
    },
}

impl Security {
    /// Queues the first command of the handshake, if this side sends it. Returns the command that the peer must send.
    pub(super) fn begin(
        mechanism: &Mechanism,
        socket: SocketType,
        out: &mut BytesMut,
    ) -> Result<(Self, Awaited), Error> {
        match mechanism {
            Mechanism::Null => {
                let ready = Buf::chain(&b"\x05READY"[..], metadata(socket));
                put_frame(out, FrameKind::Command, ready);
                Ok((Security::Null, Awaited::Ready))
            }
            #[cfg(feature = "curve")]
            Mechanism::CurveClient { server, keys } => {
                let (curve, hello) = Curve::client(*server, keys.clone(), metadata(socket))?;
                put_frame(out, FrameKind::Command, hello);
                Ok((Security::Curve(Box::new(curve)), Awaited::Welcome))
            }
            #[cfg(feature = "curve")]
            Mechanism::CurveServer { keys, clients } => {
                let curve = Curve::server(keys.clone(), clients.clone(), metadata(socket));
                Ok((Security::Curve(Box::new(curve)), Awaited::Hello))
            }
        }
    }

    /// Handles a frame of the handshake, and queues the answer.
    pub(super) fn handle_handshake(
        &mut self,
        frame: &Frame,
        socket: SocketType,
        out: &mut BytesMut,
    ) -> Result<Progress, Error> {
        #[cfg(not(feature = "curve"))]
        let _ = out;
        match self {
            Security::Null => null_ready(frame, socket),
            #[cfg(feature = "curve")]
            Security::Curve(curve) => curve.handle_handshake(frame, socket, out),
        }
    }

    /// Returns the maximum number of bytes by which encryption makes a frame longer.
    pub(super) fn overhead(&self) -> usize {
        match self {
            Security::Null => 0,
            #[cfg(feature = "curve")]
            Security::Curve(_) => super::curve::Channel::OVERHEAD,
        }
    }

    /// Decrypts a frame of an established session. Without security, returns the frame unchanged.
    pub(super) fn open(&mut self, frame: Frame) -> Result<Frame, Error> {
        match self {
            Security::Null => Ok(frame),
            #[cfg(feature = "curve")]
            Security::Curve(curve) => curve.open(frame),
        }
    }

    /// Queues a frame of an established session.
    pub(super) fn send(&mut self, kind: FrameKind, body: impl Buf, out: &mut Output) -> Result<(), Error> {
        match self {
            Security::Null => {
                put_frame(out.buffer(), kind, body);
                Ok(())
            }
            #[cfg(feature = "curve")]
            Security::Curve(curve) => curve.send(kind, body, out),
        }
    }

    /// Queues complete messages that are encoded without security. Both pieces together consist of complete frames.
    pub(super) fn send_encoded(&mut self, pieces: [Bytes; 2], out: &mut Output) -> Result<(), Error> {
        match self {
            Security::Null => {
                pieces.into_iter().for_each(|piece| out.push_encoded(piece));
                Ok(())
            }
            #[cfg(feature = "curve")]
            Security::Curve(curve) => curve.send_encoded(pieces, out),
        }
    }
}

/// Returns the properties of this side.
fn metadata(socket: SocketType) -> Bytes {
    let mut metadata = BytesMut::new();
    put_property(&mut metadata, SOCKET_TYPE, socket.name());
    metadata.freeze()
}

/// Handles the only frame of a handshake without security.
fn null_ready(frame: &Frame, socket: SocketType) -> Result<Progress, Error> {
    if !frame.is_command {
        return Err(Error::NotReady { received: "a message".into() });
    }
    match Command::read(&frame.body)? {
        Command::Ready { metadata } => {
            Ok(Progress::Complete { socket: check_metadata("READY", metadata, socket)? })
        }
        Command::Error { reason } => Err(reported(reason)),
        command => Err(Error::NotReady { received: format!("the command {}", command.name()) }),
    }
}

/// Returns the error for an ERROR without encryption.
pub(super) fn reported(reason: &[u8]) -> Error {
    Error::Reported(one_line(&String::from_utf8_lossy(reason)))
}
