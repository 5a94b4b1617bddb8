//! CURVE (`PROTOCOL.md`, section 13).

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::Progress;
use crate::peering::{COPIED, Output};
use crate::zeromq::command::check_metadata;
use crate::zeromq::config::SocketType;
use crate::zeromq::curve::{
    AllowedClients, Channel, Client, ClientStep, Error as CurveError, Flags, KeyPair, PublicKey, Server,
    ServerStep,
};
use crate::zeromq::error::{Awaited, Error};
use crate::zeromq::frame::{
    Frame, FrameError, FrameKind, MAX_HEADER, header_length, put_frame, put_part_header, take_header,
};

/// The handshake, and then the keys of the session.
#[derive(Debug)]
pub(in crate::zeromq) enum Curve {
    Client(Client),
    Server(Server),
    Established {
        channel: Channel,
        /// The name of the client, if this side is the server.
        client: Option<Arc<str>>,
        /// The long-term keys of the server and the client, if this side is the server.
        keys: Option<[PublicKey; 2]>,
    },
}

impl Curve {
    /// Returns the state of a client and the body of its HELLO.
    pub(super) fn client(
        server: PublicKey,
        keys: KeyPair,
        metadata: Bytes,
    ) -> Result<(Self, Bytes), CurveError> {
        let (client, hello) = Client::start(server, keys, metadata)?;
        Ok((Curve::Client(client), hello))
    }

    /// Returns the state of a server.
    pub(super) fn server(keys: KeyPair, clients: Arc<AllowedClients>, metadata: Bytes) -> Self {
        Curve::Server(Server::new(keys, clients, metadata))
    }

    /// Handles a command of the handshake, and queues the answer. A server checks everything before it queues READY: libzmq
    /// sends messages as soon as it has received it.
    pub(super) fn handle_handshake(
        &mut self,
        frame: &Frame,
        socket: SocketType,
        out: &mut BytesMut,
    ) -> Result<Progress, Error> {
        if !frame.is_command {
            return Err(Error::NotACommand);
        }
        let (peer, channel, client, keys) = match self {
            Curve::Client(client) => match client.receive(&frame.body)? {
                ClientStep::Initiate(initiate) => {
                    put_frame(out, FrameKind::Command, initiate);
                    return Ok(Progress::Awaiting(Awaited::CurveReady));
                }
                ClientStep::Established { metadata, channel } => {
                    (check_metadata("READY", &metadata, socket)?, channel, None, None)
                }
            },
            Curve::Server(server) => match server.receive(&frame.body)? {
                ServerStep::Welcome(welcome) => {
                    put_frame(out, FrameKind::Command, welcome);
                    return Ok(Progress::Awaiting(Awaited::Initiate));
                }
                ServerStep::Established { ready, client, metadata, channel } => {
                    let peer = check_metadata("INITIATE", &metadata, socket)?;
                    put_frame(out, FrameKind::Command, ready);
                    (peer, channel, Some(client), server.proved_keys())
                }
                // A node of Zeek 8.2 or later would end if it received the ERROR. Without it, the node connects again.
                ServerStep::Denied { error: _, key } => return Err(Error::ClientNotAllowed { key }),
            },
            Curve::Established { .. } => return Err(Error::NotEncrypted),
        };
        *self = Curve::Established { channel, client, keys };
        Ok(Progress::Complete { socket: peer })
    }

    /// Decrypts a frame in its memory.
    pub(super) fn open(&mut self, frame: Frame) -> Result<Frame, Error> {
        let Curve::Established { channel, .. } = self else { return Err(Error::NoKeys) };
        if frame.more || frame.is_command {
            return Err(Error::NotEncrypted);
        }
        let mut body = frame.body;
        let Flags { more, command } = channel.open_in_place(&mut body)?;
        if more && command {
            return Err(FrameError::CommandWithMore.into());
        }
        let length = header_length(body.len()).saturating_add(body.len());
        Ok(Frame { more, is_command: command, body, length })
    }

    /// Encrypts and queues a frame. Copies the body once.
    pub(super) fn send(&mut self, kind: FrameKind, body: impl Buf, out: &mut Output) -> Result<(), Error> {
        let Curve::Established { channel, .. } = self else { return Err(Error::NoKeys) };
        let flags = Flags { more: kind == FrameKind::PartBeforeMore, command: kind == FrameKind::Command };
        let length = body.remaining().saturating_add(Channel::OVERHEAD);
        if length <= COPIED {
            put_part_header(out.buffer(), false, length);
            channel.seal_into(flags, body, out.buffer())?;
        } else {
            let mut sealed = BytesMut::with_capacity(length.saturating_add(MAX_HEADER));
            put_part_header(&mut sealed, false, length);
            channel.seal_into(flags, body, &mut sealed)?;
            out.push_encoded(sealed.freeze());
        }
        Ok(())
    }

    /// Encrypts and queues frames that are encoded without security.
    pub(super) fn send_encoded(&mut self, pieces: [Bytes; 2], out: &mut Output) -> Result<(), Error> {
        let [first, second] = pieces;
        let mut frames = first.chain(second);
        while frames.has_remaining() {
            let (kind, size) = take_header(&mut frames).ok_or(Error::IncompleteFrame)?;
            if size > frames.remaining() {
                return Err(Error::IncompleteFrame);
            }
            self.send(kind, (&mut frames).take(size), out)?;
        }
        Ok(())
    }

    /// Returns the name of the client, if this side is the server and the client has proved that it owns its key.
    pub(in crate::zeromq) fn client_name(&self) -> Option<&Arc<str>> {
        match self {
            Curve::Established { client, .. } => client.as_ref(),
            Curve::Client(_) | Curve::Server(_) => None,
        }
    }

    /// Returns the long-term keys of the server and the client, if this side is the server and the client has proved that it owns its key.
    pub(in crate::zeromq) fn proved_keys(&self) -> Option<[PublicKey; 2]> {
        match self {
            Curve::Established { keys, .. } => *keys,
            Curve::Client(_) | Curve::Server(_) => None,
        }
    }
}
