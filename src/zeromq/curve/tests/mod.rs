//! Tests of keys, and of complete handshakes.

mod captures;
mod handshake;
mod hostile;
mod keys;
mod messages;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::client::ClientRandom;
use super::server::ServerRandom;
use super::*;

/// Returns a pair of keys that is the same in every run.
fn keys(seed: u8) -> KeyPair {
    SecretKey::from_bytes([seed; 32]).into()
}

const SERVER: u8 = 1;
const CLIENT: u8 = 2;
const SERVER_SHORT_TERM: u8 = 3;
const CLIENT_SHORT_TERM: u8 = 4;

const CLIENT_METADATA: &[u8] = b"\x0bSocket-Type\x00\x00\x00\x04XSUB";
const SERVER_METADATA: &[u8] = b"\x0bSocket-Type\x00\x00\x00\x04XPUB";

fn allowed() -> Arc<AllowedClients> {
    Arc::new((*keys(CLIENT).public(), "worker-1").into())
}

/// Returns a server that has always the same keys and allows [`CLIENT`].
fn server() -> Server {
    let random =
        ServerRandom { short_term: keys(SERVER_SHORT_TERM), welcome_nonce: [5; 16], cookie: [6; COOKIE] };
    Server::with(keys(SERVER), allowed(), Bytes::from_static(SERVER_METADATA), random)
}

/// Returns a client that has always the same short-term keys, and its HELLO.
fn client_with(server: u8, client: u8) -> (Client, Bytes) {
    let random = ClientRandom { short_term: keys(CLIENT_SHORT_TERM), vouch_nonce: [7; 16] };
    let metadata = Bytes::from_static(CLIENT_METADATA);
    Client::start_with(*keys(server).public(), keys(client), metadata, random).unwrap()
}

fn client() -> (Client, Bytes) {
    client_with(SERVER, CLIENT)
}

fn welcome_of(step: Result<ServerStep, Error>) -> Bytes {
    match step {
        Ok(ServerStep::Welcome(welcome)) => welcome,
        other => panic!("{other:?}"),
    }
}

fn initiate_of(step: Result<ClientStep, Error>) -> Bytes {
    match step {
        Ok(ClientStep::Initiate(initiate)) => initiate,
        other => panic!("{other:?}"),
    }
}

/// The two ends of an established connection.
struct Established {
    name: Arc<str>,
    client_metadata: Bytes,
    server_metadata: Bytes,
    client: Channel,
    server: Channel,
}

/// Both sides after INITIATE, and READY.
struct Initiated {
    client: Client,
    ready: Bytes,
    name: Arc<str>,
    metadata: Bytes,
    channel: Channel,
}

fn initiated() -> Initiated {
    let ((mut client, hello), mut server) = (client(), server());
    let welcome = welcome_of(server.receive(&hello));
    let initiate = initiate_of(client.receive(&welcome));
    match server.receive(&initiate) {
        Ok(ServerStep::Established { ready, client: name, metadata, channel }) => {
            Initiated { client, ready, name, metadata, channel }
        }
        other => panic!("{other:?}"),
    }
}

fn established() -> Established {
    let Initiated { mut client, ready, name, metadata, channel } = initiated();
    match client.receive(&ready) {
        Ok(ClientStep::Established { metadata: server_metadata, channel: at_client }) => Established {
            name,
            client_metadata: metadata,
            server_metadata,
            client: at_client,
            server: channel,
        },
        other => panic!("{other:?}"),
    }
}

fn open(channel: &mut Channel, body: &[u8]) -> Result<(Flags, Bytes), Error> {
    channel.open(BytesMut::from(body))
}
