//! The handshake of a server.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use subtle::ConstantTimeEq;

use super::boxes::{Counters, SharedKey, TAG, nonce};
use super::command::{self, take};
use super::{AllowedClients, COOKIE, Channel, Error, KeyPair, PublicKey, VERSION, random};

/// The next step of a server's handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerStep {
    /// Send this WELCOME. The next command is INITIATE.
    Welcome(Bytes),
    /// The client has proved that it owns an allowed key.
    Established {
        /// Send this READY before any message.
        ready: Bytes,
        /// The name of the client in [`AllowedClients`].
        client: Arc<str>,
        /// The metadata of the client's INITIATE.
        metadata: Bytes,
        /// Encrypts and decrypts messages.
        channel: Channel,
    },
    /// The client owns a key that is not allowed. Close the connection. The ERROR is optional:
    ///
    /// - Without it, as in [`ZeroMq`](crate::zeromq::ZeroMq), clients connect again.
    /// - With it, as in libzmq, a client with libzmq does not connect again, and a node of Zeek 8.2 or later ends.
    Denied {
        /// The body of ERROR, with the status 400.
        error: Bytes,
        /// The long-term key of the client.
        key: PublicKey,
    },
}

/// The handshake of a server (`PROTOCOL.md`, section 13). It does no I/O.
///
/// Each command that the client sends is passed to [`Server::receive`]. All bodies are those of ZMTP command frames. The
/// caller limits the time of the handshake.
#[derive(Debug)]
pub struct Server {
    keys: KeyPair,
    clients: Arc<AllowedClients>,
    metadata: Bytes,
    /// The random values, if they are chosen before HELLO.
    random: Option<Box<ServerRandom>>,
    counters: Counters,
    state: State,
    /// The long-term key of the client, once the client has proved that it owns the key.
    client: Option<PublicKey>,
}

#[derive(Debug)]
enum State {
    /// Waiting for HELLO.
    New,
    /// WELCOME was returned for this short-term key of the client, with these values.
    Welcome(PublicKey, Box<ServerRandom>),
    Ended,
}

/// The random values of a server for one connection.
///
/// RFC 26 lets a server forget its state between WELCOME and INITIATE: the cookie contains the short-term keys, encrypted. This
/// server keeps its state, as libzmq does, so the cookie is random. It is valid once, and only on its connection.
pub(crate) struct ServerRandom {
    pub(crate) short_term: KeyPair,
    pub(crate) welcome_nonce: [u8; 16],
    pub(crate) cookie: [u8; COOKIE],
}

impl ServerRandom {
    fn generate() -> Result<Self, Error> {
        Ok(ServerRandom { short_term: KeyPair::generate()?, welcome_nonce: random()?, cookie: random()? })
    }
}

/// Omits the cookie, which is a secret until the end of the handshake.
impl fmt::Debug for ServerRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRandom").field("short_term", &self.short_term).finish_non_exhaustive()
    }
}

impl Server {
    /// Returns the handshake of a new connection. `keys` is the long-term pair of the server, and `metadata` is sent in READY.
    #[must_use]
    pub fn new(keys: KeyPair, clients: Arc<AllowedClients>, metadata: Bytes) -> Self {
        let (random, counters, state) = (None, Counters::default(), State::New);
        Server { keys, clients, metadata, random, counters, state, client: None }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn with(
        keys: KeyPair,
        clients: Arc<AllowedClients>,
        metadata: Bytes,
        random: ServerRandom,
    ) -> Self {
        Server { random: Some(Box::new(random)), ..Server::new(keys, clients, metadata) }
    }

    /// Returns the long-term keys of the server and of a client that has proved to own its key.
    pub(crate) fn proved_keys(&self) -> Option<[PublicKey; 2]> {
        Some([*self.keys.public(), self.client?])
    }

    /// Handles the body of a command of the client.
    ///
    /// # Errors
    /// Fails if the command is not valid, or with [`Error::Random`] if the operating system returns no random bytes. The connection
    /// must then be closed, without an answer. After an error, and after [`ServerStep::Established`] or [`ServerStep::Denied`], every
    /// command is an error.
    pub fn receive(&mut self, body: &[u8]) -> Result<ServerStep, Error> {
        match mem::replace(&mut self.state, State::Ended) {
            State::New => self.hello(body),
            State::Welcome(client, random) => self.initiate(&client, &random, body),
            State::Ended => Err(command::unexpected(body, "the end of the connection")),
        }
    }

    fn hello(&mut self, body: &[u8]) -> Result<ServerStep, Error> {
        let invalid = Error::Length { command: "HELLO", length: body.len() };
        let mut rest = command::rest(body, command::HELLO, "HELLO")?;
        let version: [u8; 2] = take(&mut rest).ok_or(invalid.clone())?;
        if version != VERSION {
            let [major, minor] = version;
            return Err(Error::Version { major, minor });
        }
        let padding: [u8; 72] = take(&mut rest).ok_or(invalid.clone())?;
        let client = take(&mut rest).ok_or(invalid.clone())?;
        let short: [u8; 8] = take(&mut rest).ok_or(invalid.clone())?;
        let mut sealed: [u8; TAG + 64] = rest.try_into().map_err(|_| invalid)?;
        if padding != [0; 72] {
            return Err(Error::Padding);
        }
        let client = PublicKey::from_bytes(client).map_err(|_| Error::InvalidKey { command: "HELLO" })?;
        let key = SharedKey::new(&client, self.keys.secret());
        let opened = key.open(&nonce(b"CurveZMQHELLO---", &short), &mut sealed);
        let text = opened.ok_or(Error::WrongServerKey { key: *self.keys.public() })?;
        if text != [0; 64] {
            return Err(Error::Padding);
        }
        self.counters.record(short);

        // Short-term keys are created only for a client that knows the key of the server.
        let random = match self.random.take() {
            Some(random) => random,
            None => Box::new(ServerRandom::generate()?),
        };
        // WELCOME is shorter than HELLO, so a server cannot be used to amplify traffic.
        let long = &random.welcome_nonce;
        let mut sealed = BytesMut::zeroed(TAG);
        sealed.put_slice(random.short_term.public().as_bytes());
        sealed.put_slice(&random.cookie);
        key.seal(&nonce(b"WELCOME-", long), &mut sealed)?;
        let mut welcome = BytesMut::with_capacity(168);
        welcome.put_slice(command::WELCOME);
        welcome.put_slice(long);
        welcome.put_slice(&sealed);
        self.state = State::Welcome(client, random);
        Ok(ServerStep::Welcome(welcome.freeze()))
    }

    fn initiate(
        &mut self,
        client: &PublicKey,
        random: &ServerRandom,
        body: &[u8],
    ) -> Result<ServerStep, Error> {
        let invalid = Error::Length { command: "INITIATE", length: body.len() };
        let mut rest = command::rest(body, command::INITIATE, "INITIATE")?;
        let cookie: [u8; COOKIE] = take(&mut rest).ok_or(invalid.clone())?;
        let short: [u8; 8] = take(&mut rest).ok_or(invalid.clone())?;
        if rest.len() < TAG + 32 + 16 + VOUCH {
            return Err(invalid);
        }
        if !bool::from(cookie.ct_eq(&random.cookie)) {
            return Err(Error::Cookie);
        }
        self.counters.check(short)?;
        let key = SharedKey::new(client, random.short_term.secret());
        let mut sealed = BytesMut::from(rest);
        let opened = key.open(&nonce(b"CurveZMQINITIATE", &short), &mut sealed);
        let mut text = &*opened.ok_or(Error::NotAuthentic { command: "INITIATE" })?;
        self.counters.record(short);

        let long_term = take(&mut text).ok_or(invalid.clone())?;
        let long_term =
            PublicKey::from_bytes(long_term).map_err(|_| Error::InvalidKey { command: "INITIATE" })?;
        let vouch_nonce: [u8; 16] = take(&mut text).ok_or(invalid.clone())?;
        let vouch: [u8; VOUCH] = take(&mut text).ok_or(invalid)?;
        let metadata = Bytes::copy_from_slice(text);
        let vouch_key = SharedKey::new(&long_term, random.short_term.secret());
        if !self.is_vouched(client, &vouch_key, &vouch_nonce, vouch) {
            return Err(Error::Vouch { key: long_term });
        }
        self.client = Some(long_term);

        match self.clients.name(&long_term).cloned() {
            Some(client) => self.ready(key, client, metadata),
            None => Ok(ServerStep::Denied { error: Bytes::from_static(DENIED), key: long_term }),
        }
    }

    /// Returns whether the owner of a long-term key has vouched for the short-term key `client` on a connection to this server.
    fn is_vouched(
        &self,
        client: &PublicKey,
        key: &SharedKey,
        vouch_nonce: &[u8; 16],
        mut vouch: [u8; VOUCH],
    ) -> bool {
        let text = key.open(&nonce(b"VOUCH---", vouch_nonce), &mut vouch);
        let expected = client.as_bytes().iter().chain(self.keys.public().as_bytes());
        text.is_some_and(|text| text.iter().eq(expected))
    }

    fn ready(&mut self, key: SharedKey, client: Arc<str>, metadata: Bytes) -> Result<ServerStep, Error> {
        let short = self.counters.next()?;
        let mut sealed = BytesMut::zeroed(TAG);
        sealed.put_slice(&self.metadata);
        key.seal(&nonce(b"CurveZMQREADY---", &short), &mut sealed)?;
        let mut ready = BytesMut::new();
        ready.put_slice(command::READY);
        ready.put_slice(&short);
        ready.put_slice(&sealed);
        let channel = Channel::server(key, mem::take(&mut self.counters));
        Ok(ServerStep::Established { ready: ready.freeze(), client, metadata, channel })
    }
}

/// The length of the box of a vouch: the client's short-term key and the server's long-term key.
const VOUCH: usize = TAG + 32 + 32;

/// ERROR with the status of ZAP (RFC 27 of ZeroMQ) for a client that is not allowed.
const DENIED: &[u8] = b"\x05ERROR\x03400";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeromq::curve::{Client, SecretKey};

    #[test]
    fn nothing_is_chosen_for_a_client_that_does_not_know_the_key_of_the_server() {
        let keys = |seed| KeyPair::from(SecretKey::from_bytes([seed; 32]));
        let receive = |server: u8| {
            let mut new = Server::new(keys(1), Arc::default(), Bytes::new());
            let (_, hello) = Client::start(*keys(server).public(), keys(2), Bytes::new()).unwrap();
            let step = new.receive(&hello);
            (step.is_ok(), matches!(new.state, State::Welcome(..)), new.random.is_none())
        };
        assert_eq!(receive(3), (false, false, true));
        assert_eq!(receive(1), (true, true, true));
    }
}
