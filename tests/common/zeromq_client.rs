//! A client of a ZeroMQ proxy on a plain socket. It does not use the session of this crate.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::zeromq_proxy::{change, frame, handshake, message, put_frame};

/// The time limit for each wait.
const LONG: Duration = Duration::from_secs(60);

/// One connection of a client.
pub struct Client(pub TcpStream);

impl Client {
    /// Connects with this socket, such as `XPUB`, and completes the handshake.
    pub fn connect(address: SocketAddr, socket: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        handshake(&mut stream, socket, "NULL").expect("the handshake is completed");
        Client(stream)
    }

    pub fn send(&mut self, parts: &[&[u8]]) {
        self.0.write_all(&message(parts)).unwrap();
    }

    pub fn subscribe(&mut self, topic: &str) {
        self.0.write_all(&change(1, topic.as_bytes())).unwrap();
    }

    pub fn cancel(&mut self, topic: &str) {
        self.0.write_all(&change(0, topic.as_bytes())).unwrap();
    }

    /// Returns the parts of the next message. `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        loop {
            let (flags, body) = frame(&mut self.0)?;
            if flags & 4 != 0 {
                // On a slow machine, a client may be silent for so long that it is pinged.
                let context = body.strip_prefix(b"\x04PING").and_then(|ping| ping.get(2..));
                let context = context.unwrap_or_else(|| panic!("another command than PING: {body:?}"));
                let mut pong = Vec::new();
                put_frame(4, &[&b"\x04PONG"[..], context].concat(), &mut pong);
                self.0.write_all(&pong).ok()?;
                continue;
            }
            parts.push(body);
            if flags & 1 == 0 {
                return Some(parts);
            }
        }
    }

    /// Returns the next change of subscriptions that a publisher receives: `+` or `-`, and the topic.
    pub fn change(&mut self) -> String {
        let parts = self.next().expect("a change of subscriptions");
        let [body] = &parts[..] else { panic!("a message to a publisher: {parts:?}") };
        let (first, topic) = body.split_first().unwrap();
        format!("{}{}", ["-", "+"][usize::from(*first)], String::from_utf8_lossy(topic))
    }

    /// Returns these many changes.
    pub fn changes(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.change()).collect()
    }

    /// Waits for the end of the stream, and discards the bytes before it.
    pub fn until_closed(mut self) {
        let mut bytes = [0; 4096];
        while !matches!(self.0.read(&mut bytes), Ok(0) | Err(_)) {}
    }
}
