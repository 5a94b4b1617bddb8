//! A minimal client and a minimal server of the WebSocket API on a plain TCP connection. They send and receive single frames.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::fmt::Display;

use data_encoding::BASE64;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connected client.
pub struct RawClient(TcpStream);

/// A frame: the opcode and the payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// Sends a request with these additional header lines, each with its line ending. Returns the connection and the head of the
/// answer.
pub async fn request(address: impl Display, headers: &str) -> (TcpStream, String) {
    let address = address.to_string();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let request = format!(
        "GET /v1/messages/json HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    (stream, String::from_utf8(head).unwrap())
}

impl RawClient {
    /// Connects, subscribes, and waits for the acknowledgement.
    pub async fn connect(address: impl Display, headers: &str, topics: &[&str]) -> Self {
        let (stream, head) = request(address, headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut client = RawClient(stream);
        client.send(serde_json::to_string(topics).unwrap()).await;
        let ack = client.text().await;
        assert!(ack.starts_with(r#"{"type":"ack","#), "{ack}");
        client
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let length = u16::try_from(text.len()).unwrap();
        let mut frame = vec![0x80 | TEXT];
        match u8::try_from(length) {
            Ok(short @ ..=125) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        // With this mask, the payload is unchanged.
        frame.extend([0; 4]);
        frame.extend(text);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Receives a frame. Returns `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<Frame> {
        read_frame(&mut self.0).await
    }

    /// Receives the next text frame. Ignores pings.
    pub async fn text(&mut self) -> String {
        loop {
            let frame = self.frame().await.expect("a text frame");
            match frame.opcode {
                TEXT => return String::from_utf8(frame.payload).expect("valid UTF-8"),
                PING => {}
                _ => panic!("{frame:?}"),
            }
        }
    }
}

/// Reads a frame, and removes its mask. Returns `None` at the end of the stream.
async fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let opcode = stream.read_u8().await.ok()? & 0xf;
    let second = stream.read_u8().await.ok()?;
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        length => length.into(),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut mask).await.ok()?;
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(Frame { opcode, payload })
}

/// A server with one client.
pub struct RawServer(TcpStream);

impl RawServer {
    /// Reads the request of a client, and answers it.
    pub async fn upgrade(mut stream: TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key")).unwrap().1;
        let accept = BASE64.encode(&Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(response.as_bytes()).await.unwrap();
        RawServer(stream)
    }

    /// Like [`RawServer::upgrade`], and answers the subscriptions.
    pub async fn accept(stream: TcpStream) -> Self {
        let mut server = Self::upgrade(stream).await;
        assert!(server.frame().await.unwrap().payload.starts_with(b"["));
        server.send_all([(TEXT, &br#"{"type":"ack","endpoint":"e","version":"1"}"#[..])]).await;
        server
    }

    /// Sends frames with one write.
    pub async fn send_all(&mut self, frames: impl IntoIterator<Item = (u8, &'_ [u8])>) {
        let mut bytes = Vec::new();
        for (opcode, payload) in frames {
            bytes.push(0x80 | opcode);
            match u8::try_from(payload.len()) {
                Ok(short @ ..=125) => bytes.push(short),
                _ => {
                    bytes.push(126);
                    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
                }
            }
            bytes.extend(payload);
        }
        self.0.write_all(&bytes).await.unwrap();
    }

    /// Receives a frame. Returns `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<Frame> {
        read_frame(&mut self.0).await
    }

    /// Ends the stream to the client.
    pub async fn end(&mut self) {
        self.0.shutdown().await.unwrap();
    }
}
