//! A peer that sends arbitrary frames over a TCP socket.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zeek_bridge::data::{EndpointId, Filter, Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake, Limits, PROTOCOL_VERSION, cut_frame};

/// Longer than any wait of a passing test.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Raw {
    pub(crate) id: EndpointId,
    pub(crate) stream: TcpStream,
    input: BytesMut,
    /// The endpoint id of the other side, once it is known.
    pub(crate) peer: Option<EndpointId>,
}

impl Raw {
    /// Connects without sending anything.
    pub(crate) async fn open(id: EndpointId, address: SocketAddr) -> Self {
        Self::on(id, TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn on(id: EndpointId, stream: TcpStream) -> Self {
        Raw { id, stream, input: BytesMut::new(), peer: None }
    }

    /// Connects and establishes a peering.
    pub(crate) async fn connect(id: EndpointId, address: SocketAddr, topics: &[&'static str]) -> Self {
        let mut raw = Self::open(id, address).await;
        raw.send_handshake(&raw.hello()).await;
        raw.handshake(topics).await;
        raw
    }

    /// Accepts a connection and establishes a peering.
    pub(crate) async fn accept(id: EndpointId, listener: &TcpListener, topics: &[&'static str]) -> Self {
        let accepted = timeout(LIMIT, listener.accept()).await.expect("no incoming connection");
        let mut raw = Self::on(id, accepted.unwrap().0);
        raw.send_handshake(&Handshake::Probe).await;
        raw.handshake(topics).await;
        raw
    }

    pub(crate) fn hello(&self) -> Handshake {
        Handshake::Hello { sender: self.id, min_version: PROTOCOL_VERSION, max_version: PROTOCOL_VERSION }
    }

    /// Performs the handshake and returns the other side's filter.
    pub(crate) async fn handshake(&mut self, topics: &[&'static str]) -> Filter {
        let filter: Filter = topics.iter().map(|topic| Topic::from_static(topic)).collect();
        let mut theirs = Filter::new();
        loop {
            match self.next_handshake().await {
                Handshake::Probe => {}
                Handshake::Hello { sender, .. } => {
                    self.peer = Some(sender);
                    if self.id < sender {
                        let (sender, version) = (self.id, PROTOCOL_VERSION);
                        self.send_handshake(&Handshake::VersionSelect { sender, version }).await;
                        self.send_handshake(&Handshake::OriginatorSyn(filter.clone())).await;
                    } else {
                        self.send_handshake(&self.hello()).await;
                    }
                }
                Handshake::VersionSelect { sender, .. } => self.peer = Some(sender),
                Handshake::OriginatorSyn(filter_of_peer) => {
                    theirs = filter_of_peer;
                    self.send_handshake(&Handshake::ResponderSynAck(filter.clone())).await;
                }
                Handshake::ResponderSynAck(filter_of_peer) => {
                    self.send_handshake(&Handshake::OriginatorAck).await;
                    return filter_of_peer;
                }
                Handshake::OriginatorAck => return theirs,
                refused @ Handshake::DropConn { .. } => panic!("{refused:?}"),
            }
        }
    }

    pub(crate) async fn send_handshake(&mut self, message: &Handshake) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes).unwrap();
        self.bytes(&bytes).await;
    }

    pub(crate) async fn send(&mut self, envelope: &Envelope) {
        let mut bytes = BytesMut::new();
        envelope.encode(&mut bytes).unwrap();
        self.bytes(&bytes).await;
    }

    /// Publishes a string.
    pub(crate) async fn publish(&mut self, topic: &'static str, text: &str) {
        let value = Value::String(text.into());
        self.send(&Envelope::data(self.id, Topic::from_static(topic), &value).unwrap()).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        timeout(LIMIT, self.stream.write_all(bytes)).await.expect("the peer stopped reading").unwrap();
    }

    /// Returns the next frame, or `None` at the end of the stream or an error.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = cut_frame(&mut self.input, usize::MAX).unwrap() {
                return Some(frame);
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.input)).await;
            if read.expect("no frame, and the connection is still open").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Returns the next handshake message.
    pub(crate) async fn next_handshake(&mut self) -> Handshake {
        let frame = self.frame().await.expect("a handshake message");
        Handshake::decode(&frame, &Limits::DEFAULT).unwrap()
    }

    /// Returns the next envelope, or `None` at the end of the stream.
    pub(crate) async fn envelope(&mut self) -> Option<Envelope> {
        Some(Envelope::decode(&self.frame().await?).unwrap())
    }

    /// Returns the next envelope of this type and discards others.
    pub(crate) async fn envelope_of(&mut self, kind: EnvelopeType) -> Envelope {
        loop {
            let envelope = self.envelope().await.expect("an envelope");
            if envelope.kind == kind {
                return envelope;
            }
        }
    }

    /// Returns the string in the next data message.
    pub(crate) async fn text(&mut self) -> String {
        let envelope = self.envelope_of(EnvelopeType::Data).await;
        match envelope.value(&Limits::DEFAULT).unwrap() {
            Value::String(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the other side has read everything that was sent to it. Discards all envelopes that are received in the
    /// meantime.
    pub(crate) async fn settle(&mut self) {
        let peer = self.peer.expect("a peering");
        let token = Bytes::from_static(b"settle");
        self.send(&Envelope::ping(self.id, peer, token.clone())).await;
        while self.envelope_of(EnvelopeType::Pong).await.payload != token {}
    }
}
