//! The protocol of a load peer: its session, and the position of data messages in its input.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use zeek_bridge::data::{EndpointId, Filter};
use zeek_bridge::net::{Scheme, Url};
use zeek_bridge::peering::{Config, Event, Peering, Side as PeeringSide};
use zeek_bridge::websocket::{ClientConfig, WebSocket};
use zeek_bridge::wire::{EnvelopeType, LENGTH_FIELD, TYPE_OFFSET};
use zeek_bridge::zeromq::{self, EventFormat, Mechanism, SocketType, ZeroMq};

use super::side::{PeerRole, Side};

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

/// The flags of a ZeroMQ frame (`PROTOCOL.md`, section 11).
pub(super) const MORE: u8 = 1;
pub(super) const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// The session of a peer.
#[derive(Debug)]
pub(super) enum Session {
    Broker(Box<Peering>),
    WebSocket(Box<WebSocket>),
    ZeroMq(Box<ZeroMq>),
}

/// Calls a method that all sessions have.
macro_rules! call {
    ($session:expr, $method:ident($($argument:expr),*)) => {
        match $session {
            Session::Broker(session) => session.$method($($argument),*),
            Session::WebSocket(session) => session.$method($($argument),*),
            Session::ZeroMq(session) => session.$method($($argument),*),
        }
    };
}

impl Session {
    /// Returns the session of a client of `side`. `patience` is the limit for the handshake.
    pub(super) fn new(
        side: &Side,
        role: PeerRole,
        id: EndpointId,
        peer_id: EndpointId,
        filter: Filter,
        patience: Duration,
    ) -> Self {
        let common = common(PeeringSide::Connector, id, filter, patience);
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
            Ok(url) if url.scheme() == Scheme::ZeroMq => {
                let socket = match role {
                    PeerRole::Publisher => SocketType::XPub,
                    PeerRole::Subscriber => SocketType::XSub,
                };
                let (mechanism, format) = (Mechanism::Null, EventFormat::default());
                let config = zeromq::Config {
                    common,
                    socket,
                    own_id: id,
                    peer_id,
                    mechanism,
                    format,
                    reports_subscriptions: false,
                };
                Session::ZeroMq(Box::new(ZeroMq::new(config, now)))
            }
            _ => Session::Broker(Box::new(Peering::new(common, now))),
        }
    }

    /// Returns the session of a peer of Broker's protocol that accepted its connection.
    pub(super) fn accepted(id: EndpointId, filter: Filter, patience: Duration) -> Self {
        let config = common(PeeringSide::Listener, id, filter, patience);
        Session::Broker(Box::new(Peering::new(config, Instant::now())))
    }

    pub(super) fn framing(&self) -> Framing {
        match self {
            Session::Broker(_) => Framing::Broker,
            Session::WebSocket(_) => Framing::WebSocket { in_message: false },
            Session::ZeroMq(_) => Framing::ZeroMq { in_message: false },
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

fn common(side: PeeringSide, id: EndpointId, filter: Filter, patience: Duration) -> Config {
    Config {
        filter,
        handshake_timeout: patience,
        // `Load` has its own timeouts for expected messages.
        idle_timeout: None,
        ..Config::new(id, side)
    }
}

/// The frames of a protocol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    Broker,
    /// `in_message`: the previous frame was a fragment of a data message, and further fragments follow.
    WebSocket {
        in_message: bool,
    },
    /// `in_message`: the previous frame was a part of a message that is not an event, and further parts follow.
    ZeroMq {
        in_message: bool,
    },
}

/// The frame at the beginning of the input. Lengths are those of complete frames in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A data message, or its first fragment. `head` is the beginning of the frame, or, in the WebSocket API and in ZeroMQ, of its
    /// payload.
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
            Framing::ZeroMq { in_message } => zeromq(input, head, in_message),
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

/// The header of a ZeroMQ frame.
struct FrameHeader {
    flags: u8,
    /// The length of the header in bytes.
    header: usize,
    /// The length of the body in bytes.
    body: usize,
}

impl FrameHeader {
    fn read(input: &[u8]) -> Option<Self> {
        let (flags, rest) = input.split_first()?;
        let (header, body) = if flags & LONG == 0 {
            (2, (*rest.first()?).into())
        } else {
            (9, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap_or(usize::MAX))
        };
        Some(FrameHeader { flags: flags & !LONG, header, body })
    }

    fn length(&self) -> usize {
        self.header.saturating_add(self.body)
    }
}

/// An event has four parts. All other frames are for the session: commands, subscriptions and other messages.
fn zeromq<'a>(input: &'a [u8], head: usize, in_message: &mut bool) -> Option<Next<'a>> {
    let first = FrameHeader::read(input)?;
    let other = Next::Other { length: first.length() };
    if *in_message || first.flags != MORE {
        if first.flags & COMMAND == 0 {
            *in_message = first.flags & MORE != 0;
        }
        return Some(other);
    }
    let mut start = first.length();
    for expected in [MORE, MORE, 0] {
        let part = input.get(start..)?;
        let frame = FrameHeader::read(part)?;
        if frame.flags != expected {
            *in_message = true;
            return Some(other);
        }
        if expected == 0 {
            let head = part.get(frame.header..)?.get(..frame.body.min(head))?;
            return Some(Next::Data { length: start.saturating_add(frame.length()), head });
        }
        start = start.saturating_add(frame.length());
    }
    None
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

    fn parts(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let frame = |(flags, body): &(u8, &[u8])| match u8::try_from(body.len()) {
            Ok(length) => [&[*flags, length], *body].concat(),
            Err(_) => {
                let length = u64::try_from(body.len()).unwrap().to_be_bytes();
                [&[flags | LONG], &length[..], body].concat()
            }
        };
        parts.iter().map(frame).collect::<Vec<_>>().concat()
    }

    /// Returns the lengths of the frames in the input, and whether they are data.
    fn zeromq_frames(mut input: &[u8]) -> Vec<(bool, usize)> {
        let (mut framing, mut found) = (Framing::ZeroMq { in_message: false }, Vec::new());
        loop {
            let (is_data, length) = match framing.next(input, 8) {
                Next::Data { length, .. } => (true, length),
                Next::Other { length } => (false, length),
                Next::Incomplete => return found,
                Next::Fragment { .. } => panic!("ZeroMQ has no fragments"),
            };
            found.push((is_data, length));
            input = &input[length..];
        }
    }

    #[test]
    fn zeromq_events_are_found_at_each_length() {
        for length in [0, 5, 8, 300, 70_000] {
            let payload = vec![7; length];
            let event = parts(&[(MORE, b"topic"), (MORE, b"sender"), (MORE, b"format"), (0, &payload)]);
            let head = length.min(8);
            let expected = Next::Data { length: event.len(), head: &payload[..head] };
            let mut framing = Framing::ZeroMq { in_message: false };
            assert_eq!(framing.next(&event, 8), expected);
            for end in 0..event.len() - length + head {
                assert_eq!(framing.next(&event[..end], 8), Next::Incomplete, "{length} {end}");
            }
        }
    }

    #[test]
    fn other_zeromq_frames_are_for_the_session() {
        let event: &[(u8, &[u8])] = &[(MORE, b"t"), (MORE, b"s"), (MORE, b"f"), (0, b"payload")];
        let others: [&[(u8, &[u8])]; 5] = [
            &[(0, b"\x01topic")],
            &[(COMMAND, b"\x04PING")],
            &[(MORE, b"a"), (0, b"b")],
            &[(MORE, b"a"), (MORE, b"b"), (MORE, b"c"), (MORE, b"d"), (0, b"e")],
            &[(MORE, b"a"), (COMMAND, b"\x04PING"), (MORE, b"c"), (0, b"d")],
        ];
        for other in others {
            let found = zeromq_frames(&[parts(other), parts(event)].concat());
            let mut expected: Vec<_> = other.iter().map(|(_, body)| (false, 2 + body.len())).collect();
            expected.push((true, parts(event).len()));
            assert_eq!(found, expected, "{other:?}");
        }
    }
}
