//! The handshake of a client.

use std::mem;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::boxes::{Counters, SharedKey, TAG, nonce};
use super::command::{self, take};
use super::{COOKIE, Channel, Error, KeyPair, PublicKey, VERSION, random};
use crate::data::one_line;

/// The next step of a client's handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientStep {
    /// Send this INITIATE. The next command is READY.
    Initiate(Bytes),
    /// The handshake is complete.
    Established {
        /// The metadata of the server's READY.
        metadata: Bytes,
        /// Encrypts and decrypts messages.
        channel: Channel,
    },
}

/// The handshake of a client (`PROTOCOL.md`, section 13). It does no I/O.
///
/// [`Client::start`] returns the body of HELLO, which the client sends first. Each command that the server sends is passed to
/// [`Client::receive`]. All bodies are those of ZMTP command frames. The caller limits the time of the handshake.
#[derive(Debug)]
pub struct Client {
    server: PublicKey,
    keys: KeyPair,
    metadata: Bytes,
    short_term: KeyPair,
    vouch_nonce: [u8; 16],
    counters: Counters,
    state: State,
}

#[derive(Debug)]
enum State {
    /// HELLO was returned. The shared key is that of the short-term key and the server's long-term key.
    Hello(SharedKey),
    /// INITIATE was returned. The shared key is that of the two short-term keys.
    Initiate(SharedKey),
    Ended,
}

/// The random values of a client for one connection.
pub(crate) struct ClientRandom {
    pub(crate) short_term: KeyPair,
    pub(crate) vouch_nonce: [u8; 16],
}

impl Client {
    /// Starts a handshake with the server that owns the key `server`. `keys` is the long-term pair of the client, and
    /// `metadata` is sent in INITIATE.
    ///
    /// Returns the client and the body of its HELLO.
    ///
    /// # Errors
    /// [`Error::Random`] if the operating system returns no random bytes.
    pub fn start(server: PublicKey, keys: KeyPair, metadata: Bytes) -> Result<(Self, Bytes), Error> {
        let random = ClientRandom { short_term: KeyPair::generate()?, vouch_nonce: random()? };
        Client::start_with(server, keys, metadata, random)
    }

    pub(crate) fn start_with(
        server: PublicKey,
        keys: KeyPair,
        metadata: Bytes,
        random: ClientRandom,
    ) -> Result<(Self, Bytes), Error> {
        let ClientRandom { short_term, vouch_nonce } = random;
        let mut counters = Counters::default();
        let short = counters.next()?;
        let key = SharedKey::new(&server, short_term.secret());
        let mut sealed = [0; TAG + 64];
        key.seal(&nonce(b"CurveZMQHELLO---", &short), &mut sealed)?;
        let mut hello = BytesMut::with_capacity(200);
        hello.put_slice(command::HELLO);
        hello.put_slice(&VERSION);
        hello.put_bytes(0, 72);
        hello.put_slice(short_term.public().as_bytes());
        hello.put_slice(&short);
        hello.put_slice(&sealed);
        let state = State::Hello(key);
        let client = Client { server, keys, metadata, short_term, vouch_nonce, counters, state };
        Ok((client, hello.freeze()))
    }

    /// Handles the body of a command of the server.
    ///
    /// # Errors
    /// Fails if the command is not valid, or if the server sends ERROR. The caller must then close the connection: a server that
    /// uses libzmq keeps it open after an ERROR. After an error, and after [`ClientStep::Established`], every command is an error.
    pub fn receive(&mut self, body: &[u8]) -> Result<ClientStep, Error> {
        match mem::replace(&mut self.state, State::Ended) {
            State::Hello(_) | State::Initiate(_) if body.starts_with(command::ERROR) => {
                Err(self.refused(body))
            }
            State::Hello(key) => self.welcome(&key, body),
            State::Initiate(key) => self.ready(key, body),
            State::Ended => Err(command::unexpected(body, "the end of the connection")),
        }
    }

    fn welcome(&mut self, key: &SharedKey, body: &[u8]) -> Result<ClientStep, Error> {
        let invalid = Error::Length { command: "WELCOME", length: body.len() };
        let mut rest = command::rest(body, command::WELCOME, "WELCOME")?;
        let long: [u8; 16] = take(&mut rest).ok_or(invalid.clone())?;
        let mut sealed: [u8; TAG + 32 + COOKIE] = rest.try_into().map_err(|_| invalid.clone())?;
        let opened = key.open(&nonce(b"WELCOME-", &long), &mut sealed);
        let mut text = &*opened.ok_or(Error::WrongServer { key: self.server })?;
        let server = take(&mut text).ok_or(invalid)?;
        let server = PublicKey::from_bytes(server).map_err(|_| Error::InvalidKey { command: "WELCOME" })?;
        let key = SharedKey::new(&server, self.short_term.secret());
        let initiate = self.initiate(&server, text, &key)?;
        self.state = State::Initiate(key);
        Ok(ClientStep::Initiate(initiate))
    }

    /// Returns an INITIATE for the short-term key `server`.
    fn initiate(&mut self, server: &PublicKey, cookie: &[u8], key: &SharedKey) -> Result<Bytes, Error> {
        let mut vouch = BytesMut::zeroed(TAG);
        vouch.put_slice(self.short_term.public().as_bytes());
        vouch.put_slice(self.server.as_bytes());
        SharedKey::new(server, self.keys.secret())
            .seal(&nonce(b"VOUCH---", &self.vouch_nonce), &mut vouch)?;

        let mut sealed = BytesMut::zeroed(TAG);
        sealed.put_slice(self.keys.public().as_bytes());
        sealed.put_slice(&self.vouch_nonce);
        sealed.put_slice(&vouch);
        sealed.put_slice(&self.metadata);
        let short = self.counters.next()?;
        key.seal(&nonce(b"CurveZMQINITIATE", &short), &mut sealed)?;

        let mut initiate = BytesMut::new();
        initiate.put_slice(command::INITIATE);
        initiate.put_slice(cookie);
        initiate.put_slice(&short);
        initiate.put_slice(&sealed);
        Ok(initiate.freeze())
    }

    fn ready(&mut self, key: SharedKey, body: &[u8]) -> Result<ClientStep, Error> {
        let invalid = Error::Length { command: "READY", length: body.len() };
        let mut rest = command::rest(body, command::READY, "READY")?;
        let short: [u8; 8] = take(&mut rest).ok_or(invalid.clone())?;
        if rest.len() < TAG {
            return Err(invalid);
        }
        self.counters.check(short)?;
        let mut sealed = BytesMut::from(rest);
        let opened = key.open(&nonce(b"CurveZMQREADY---", &short), &mut sealed);
        opened.ok_or(Error::NotAuthentic { command: "READY" })?;
        self.counters.record(short);
        sealed.advance(TAG);
        let channel = Channel::client(key, mem::take(&mut self.counters));
        Ok(ClientStep::Established { metadata: sealed.freeze(), channel })
    }

    /// Returns the error for an ERROR of the server. An ERROR is neither encrypted nor authenticated, so it must have no effect
    /// other than the end of the connection.
    fn refused(&self, body: &[u8]) -> Error {
        let invalid = Error::Length { command: "ERROR", length: body.len() };
        let rest = body.get(command::ERROR.len()..).and_then(<[u8]>::split_first);
        let Some((length, rest)) = rest else { return invalid };
        let Some(reason) = rest.get(..usize::from(*length)) else { return invalid };
        let reason = one_line(&String::from_utf8_lossy(reason));
        Error::Refused { key: *self.keys.public(), reason: reason.into() }
    }
}
