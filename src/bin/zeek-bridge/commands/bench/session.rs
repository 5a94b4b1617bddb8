//! The protocol of a load peer: its session, and the position of data messages in its input.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use zeek_bridge::data::{EndpointId, Filter};
use zeek_bridge::net::Url;
use zeek_bridge::peering::{Config, Event, Peering, Side as PeeringSide};
use zeek_bridge::websocket::{ClientConfig, WebSocket};
use zeek_bridge::wire::{EnvelopeType, LENGTH_FIELD, TYPE_OFFSET};

use super::side::Side;

/// The name of this program in the WebSocket API.
const APPLICATION: &str = concat!("zeek-bridge-bench/", env!("CARGO_PKG_VERSION"));

/// The offset of an envelope's type in its frame.
const TYPE_AT: usize = LENGTH_FIELD + TYPE_OFFSET;

/// The beginning of a data message in the WebSocket API, as all servers write it.
pub(super) const DATA_MESSAGE: &[u8] = br#"{"type":"data-message","topic":"#;

/// The fields of the first two bytes of a WebSocket frame (RFC 6455, section 5.2).
pub(super) const LAST: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(super) const MASKED: u8 = 0x80;
pub(super) const LENGTH_16: u8 = 126;
pub(super) const LENGTH_64: u8 = 127;

/// The session of a peer.
#[derive(Debug)]
pub(super) enum Session {
    Broker(Box<Peering>),
    WebSocket(Box<WebSocket>),
}

/// Calls a method that both sessions have.
macro_rules! call {
    ($session:expr, $method:ident($($argument:expr),*)) => {
        match $session {
            Session::Broker(session) => session.$method($($argument),*),
            Session::WebSocket(session) => session.$method($($argument),*),
        }
    };
}

impl Session {
    /// Returns the session of a client of `side`. `patience` is the limit for the handshake.
    pub(super) fn new(
        side: &Side,
        id: EndpointId,
        peer_id: EndpointId,
        filter: Filter,
        patience: Duration,
    ) -> Self {
        let common = Config {
            filter,
            handshake_timeout: patience,
            // `Load` has its own timeouts for expected messages.
            idle_timeout: None,
            ..Config::new(id, PeeringSide::Connector)
        };
        let now = Instant::now();
        match side.address.parse::<Url>() {
            Ok(url) if url.scheme().is_websocket() => {
                let config = ClientConfig {
                    common,
                    peer_id,
                    host: url.host_port().to_string(),
                    application: APPLICATION.to_owned(),
                    token: side.token.clone(),
                };
                Session::WebSocket(Box::new(WebSocket::client(config, now)))
            }
            _ => Session::Broker(Box::new(Peering::new(common, now))),
        }
    }

    pub(super) fn framing(&self) -> Framing {
        match self {
            Session::Broker(_) => Framing::Broker,
            Session::WebSocket(_) => Framing::WebSocket { in_message: false },
        }
    }

    pub(super) fn handle_input(&mut self, input: &mut BytesMut) {
        let _ = call!(self, handle_input(Instant::now(), input));
    }

    pub(super) fn handle_eof(&mut self) {
        call!(self, handle_eof());
    }

    pub(super) fn handle_timeout(&mut self) {
        call!(self, handle_timeout(Instant::now()));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        call!(self, poll_timeout())
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        call!(self, poll_event())
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        call!(self, poll_transmit())
    }

    pub(super) fn is_established(&self) -> bool {
        call!(self, is_established())
    }

    pub(super) fn admit(&mut self) {
        call!(self, admit());
    }

    pub(super) fn leave(&mut self) {
        call!(self, leave(Instant::now()));
    }
}

/// The frames of a protocol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    Broker,
    /// `in_message`: the last data message is fragmented, and its other fragments follow.
    WebSocket {
        in_message: bool,
    },
}

/// The frame at the beginning of the input. Lengths are those of complete frames in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A data message, or its first fragment. `head` is the beginning of the frame, or, in the WebSocket API, of its payload.
    Data { length: usize, head: &'a [u8] },
    /// A further fragment of a data message.
    Fragment { length: usize },
    /// Anything else.
    Other { length: usize },
    /// More input is needed.
    Incomplete,
}

impl Framing {
    /// Returns the frame at the beginning of the input. The head of a data message has `head` bytes, or fewer if the frame is
    /// shorter.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], head: usize) -> Next<'a> {
        let next = match self {
            Framing::Broker => broker(input, head),
            Framing::WebSocket { in_message } => websocket(input, head, in_message),
        };
        next.unwrap_or(Next::Incomplete)
    }
}

fn broker(input: &[u8], head: usize) -> Option<Next<'_>> {
    let field = input.first_chunk::<LENGTH_FIELD>()?;
    let length = usize::try_from(u32::from_be_bytes(*field)).unwrap_or(usize::MAX);
    let length = length.saturating_add(LENGTH_FIELD);
    let head = input.get(..length.min(head.max(TYPE_AT.saturating_add(1))))?;
    let is_data = head.get(TYPE_AT) == Some(&EnvelopeType::Data.to_wire());
    Some(if is_data { Next::Data { length, head } } else { Next::Other { length } })
}

fn websocket<'a>(input: &'a [u8], head: usize, in_message: &mut bool) -> Option<Next<'a>> {
    let (&[first, second], rest) = input.split_first_chunk()?;
    let (payload, content) = match second & !MASKED {
        LENGTH_16 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        LENGTH_64 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), rest)
        }
        length => (length.into(), rest),
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    let header = input.len().saturating_sub(content.len());
    let length = header.saturating_add(mask).saturating_add(payload);
    let is_last = first & LAST != 0;
    let next = match first & OPCODE {
        CONTINUATION if *in_message => {
            *in_message = !is_last;
            Next::Fragment { length }
        }
        TEXT | BINARY => {
            let head = content.get(..payload.min(head.max(DATA_MESSAGE.len())))?;
            if head.starts_with(DATA_MESSAGE) {
                *in_message = !is_last;
                Next::Data { length, head }
            } else {
                Next::Other { length }
            }
        }
        _ => Next::Other { length },
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = br#"{"type":"data-message","topic":"/t","data":1}"#;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match u16::try_from(payload.len()) {
            Ok(length @ ..126) => frame.push(length.try_into().unwrap()),
            Ok(length) => frame.extend_from_slice(&[&[LENGTH_16], &length.to_be_bytes()[..]].concat()),
            Err(_) => {
                let length = u64::try_from(payload.len()).unwrap();
                frame.extend_from_slice(&[&[LENGTH_64], &length.to_be_bytes()[..]].concat());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn websocket() -> Framing {
        Framing::WebSocket { in_message: false }
    }

    #[test]
    fn data_messages_of_all_lengths_are_found() {
        for padding in [0, 100, 1000, 70_000] {
            let payload = [MESSAGE, &vec![b' '; padding]].concat();
            for first in [LAST | TEXT, LAST | BINARY] {
                let frame = frame(first, &payload);
                let expected = Next::Data { length: frame.len(), head: &payload[..40] };
                assert_eq!(websocket().next(&frame, 40), expected);
                let header = frame.len() - payload.len();
                for end in 0..header + 40 {
                    assert_eq!(websocket().next(&frame[..end], 40), Next::Incomplete, "{end}");
                }
            }
        }
    }

    #[test]
    fn fragments_follow_their_message_and_control_frames_may_be_between_them() {
        let mut framing = websocket();
        let ping = frame(LAST | 9, b"ping");
        let parts = [frame(TEXT, MESSAGE), ping.clone(), frame(CONTINUATION, b"x"), frame(LAST, b"y"), ping];
        let found = parts.each_ref().map(|part| match framing.next(part, 40) {
            Next::Data { .. } => "data",
            Next::Fragment { .. } => "fragment",
            Next::Other { .. } => "other",
            Next::Incomplete => "incomplete",
        });
        assert_eq!(found, ["data", "other", "fragment", "fragment", "other"]);
        assert_eq!(framing.next(&frame(LAST, b"z"), 40), Next::Other { length: 3 }, "no message to continue");
    }

    #[test]
    fn errors_and_short_messages_are_not_data() {
        let error = br#"{"type":"error","code":"c","context":"x"}"#;
        for payload in [&error[..], b"{}", b""] {
            let frame = frame(LAST | TEXT, payload);
            assert_eq!(websocket().next(&frame, 40), Next::Other { length: frame.len() });
        }
    }
}
