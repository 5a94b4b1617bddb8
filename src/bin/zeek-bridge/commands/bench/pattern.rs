//! The messages of a benchmark. The event is encoded once, and only its number changes from message to message.

use bytes::BytesMut;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::{EncodeError, Envelope, LENGTH_FIELD, TOPIC_OFFSET, encode_value};
use zeek_bridge::zeek::{Event, ZeekMessage};
use zeek_bridge::zeromq::EventFormat;

use super::session::{DATA_MESSAGE, LAST, LENGTH_16, LENGTH_64, LONG, MASKED, MORE, TEXT};
use super::side::Protocol;

/// The name of the event. Its arguments are the id of the run, the number, and a string that fills the requested size.
const EVENT: &str = "ZeekBridge::bench";

/// The declaration of the event. A Zeek with a WebSocket server forwards only events that it declares.
pub(super) const DECLARATION: &str =
    "`global ZeekBridge::bench: event(run: count, number: count, padding: string);`";

/// The number in the event of message 0. It is large, so that all numbers have 19 decimal digits.
const FIRST_NUMBER: u64 = 1_000_000_000_000_000_000;

/// The largest number with 19 decimal digits.
const LAST_NUMBER: u64 = 9_999_999_999_999_999_999;

/// The number of decimal digits of each number.
const DIGITS: usize = 19;

/// The size of a number in Broker's binary form in bytes.
const NUMBER: usize = 8;

/// The offset of the topic in a Broker frame. A relay may change the fields before it.
const BEFORE_TOPIC: usize = LENGTH_FIELD + TOPIC_OFFSET;

/// The mask of published frames. A mask of zeros is valid and leaves the text as it is, so that numbers can be written into it.
/// The relay must apply it as any other mask.
const MASK: [u8; 4] = [0; 4];

/// The event of a benchmark.
#[derive(Debug)]
pub(super) struct Message {
    topic: Topic,
    run: u64,
    /// The length of the string.
    letters: usize,
    /// The size of its Broker frame in bytes.
    size: usize,
}

/// A frame with the event, in one protocol.
#[derive(Debug)]
pub(super) struct Pattern {
    protocol: Protocol,
    /// The frame of a publisher, or, in ZeroMQ, the frames of an event.
    frame: Vec<u8>,
    /// The offset of the content, which subscribers read: the complete frame or, in the WebSocket API and in ZeroMQ, the payload.
    content_at: usize,
    /// The offset of the number in the content.
    number_at: usize,
}

/// The reason why no message can have the requested size.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatternError {
    #[error("a message with this topic has at least {0} bytes; use a larger --size or a shorter --topic")]
    TooSmall(usize),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Message {
    /// Returns an event whose Broker frame has `size` bytes, including the length field. Some sizes are impossible, because the
    /// varbyte length of the string grows in steps. The frame is then one byte shorter.
    pub(super) fn new(topic: &Topic, size: usize, run: u64) -> Result<Self, PatternError> {
        let least = frame(topic, run, 0, 0)?.len();
        let room = size.checked_sub(least).ok_or(PatternError::TooSmall(least))?;
        // The varbyte length of the string takes one byte in the smallest frame, and up to four more.
        let mut letters = room;
        loop {
            let length = frame(topic, run, 0, letters)?.len();
            match length.checked_sub(size) {
                None | Some(0) => return Ok(Message { topic: topic.clone(), run, letters, size: length }),
                Some(over) => letters = letters.saturating_sub(over),
            }
        }
    }

    /// Returns the size of the Broker frame in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn pattern(&self, protocol: Protocol) -> Result<Pattern, PatternError> {
        let Message { topic, run, letters, .. } = self;
        let encode = |number| match protocol {
            Protocol::Broker => frame(topic, *run, number, *letters),
            Protocol::WebSocket => Ok(text(topic, *run, number, *letters)),
            Protocol::ZeroMq => payload(*run, number, *letters),
        };
        let (first, last) = (encode(0)?, encode(LAST_NUMBER.saturating_sub(FIRST_NUMBER))?);
        let number_at = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
        let (content_at, frame) = match protocol {
            Protocol::Broker => (0, first),
            Protocol::WebSocket => {
                let header = header(first.len());
                (header.len(), [header, first].concat())
            }
            Protocol::ZeroMq => {
                let parts = first_parts(topic, *run, first.len());
                (parts.len(), [parts, first].concat())
            }
        };
        Ok(Pattern { protocol, frame, content_at, number_at })
    }
}

impl Pattern {
    /// Returns the size of a published frame in bytes.
    pub(super) fn size(&self) -> usize {
        self.frame.len()
    }

    /// Returns the size of an event in bytes: of all its frames or, in the WebSocket API, of the JSON.
    pub(super) fn event_size(&self) -> usize {
        match self.protocol {
            Protocol::Broker | Protocol::ZeroMq => self.frame.len(),
            Protocol::WebSocket => self.frame.len().saturating_sub(self.content_at),
        }
    }

    /// Returns the length in bytes of the prefix of the content that [`Pattern::number`] needs.
    pub(super) fn head(&self) -> usize {
        self.number_at.saturating_add(match self.protocol {
            Protocol::Broker | Protocol::ZeroMq => NUMBER,
            Protocol::WebSocket => DIGITS,
        })
    }

    /// Returns `count` frames, for [`Pattern::count_from`].
    pub(super) fn frames(&self, count: usize) -> Vec<u8> {
        self.frame.repeat(count)
    }

    /// Numbers the frames, beginning with `first`. Returns one more than the last number.
    pub(super) fn count_from(&self, first: u64, frames: &mut [u8]) -> u64 {
        let at = self.content_at.saturating_add(self.number_at);
        let mut next = first;
        for frame in frames.chunks_exact_mut(self.size()) {
            let number = frame.get_mut(at..).unwrap_or_default();
            let value = FIRST_NUMBER.saturating_add(next);
            match self.protocol {
                Protocol::Broker | Protocol::ZeroMq => {
                    if let Some(number) = number.first_chunk_mut() {
                        *number = value.to_be_bytes();
                    }
                }
                Protocol::WebSocket => {
                    if let Some(digits) = number.first_chunk_mut() {
                        write_digits(value, digits);
                    }
                }
            }
            next = next.saturating_add(1);
        }
        next
    }

    /// Returns the message number in a frame of `length` bytes whose content begins with `head`. Returns `None` if the frame does
    /// not belong to this benchmark.
    ///
    /// The length of a frame of the WebSocket API is not checked, because a relay may add metadata and split messages. The length of
    /// an event in ZeroMQ is not checked either, because a relay may replace the sender.
    pub(super) fn number(&self, length: usize, head: &[u8]) -> Option<u64> {
        let content = self.frame.get(self.content_at..)?;
        let same = match self.protocol {
            Protocol::Broker if length != self.size() => return None,
            Protocol::Broker => BEFORE_TOPIC..self.number_at,
            Protocol::WebSocket | Protocol::ZeroMq => 0..self.number_at,
        };
        if head.get(same.clone())? != content.get(same)? {
            return None;
        }
        let number = head.get(self.number_at..)?;
        let value = match self.protocol {
            Protocol::Broker | Protocol::ZeroMq => u64::from_be_bytes(*number.first_chunk()?),
            Protocol::WebSocket => read_digits(number.first_chunk()?)?,
        };
        value.checked_sub(FIRST_NUMBER)
    }
}

fn event(run: u64, number: u64, letters: usize) -> Value {
    let number = FIRST_NUMBER.saturating_add(number);
    let args = vec![Value::Count(run), Value::Count(number), "x".repeat(letters).into()];
    ZeekMessage::from(Event::new(EVENT, args)).into_value()
}

fn frame(topic: &Topic, run: u64, number: u64, letters: usize) -> Result<Vec<u8>, EncodeError> {
    // A relay replaces the sender with its own id.
    let sender = EndpointId::from_bytes([0xff; 16]);
    let mut frame = BytesMut::new();
    Envelope::data(sender, topic.clone(), &event(run, number, letters))?.encode(&mut frame)?;
    Ok(frame.into())
}

/// Returns the event in Broker's binary form.
fn payload(run: u64, number: u64, letters: usize) -> Result<Vec<u8>, EncodeError> {
    let mut payload = BytesMut::new();
    encode_value(&event(run, number, letters), &mut payload)?;
    Ok(payload.into())
}

/// Returns the first three parts of an event in ZeroMQ, and the header of the payload, which has `length` bytes.
fn first_parts(topic: &Topic, run: u64, length: usize) -> Vec<u8> {
    let sender = format!("zeek-bridge-bench-{run:016x}");
    let mut parts = Vec::new();
    for part in [topic.as_bytes(), sender.as_bytes(), EventFormat::default().name().as_bytes()] {
        put_part_header(MORE, part.len(), &mut parts);
        parts.extend_from_slice(part);
    }
    put_part_header(0, length, &mut parts);
    parts
}

fn put_part_header(flags: u8, length: usize, to: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(length) => to.extend([flags, length]),
        Err(_) => {
            to.push(flags | LONG);
            to.extend(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
}

/// Returns the event as the JSON that Zeek and zeek-bridge write (`PROTOCOL.md`, section 10).
fn text(topic: &Topic, run: u64, number: u64, letters: usize) -> Vec<u8> {
    let mut text = DATA_MESSAGE.to_vec();
    text.extend_from_slice(serde_json::Value::from(topic.to_str_lossy()).to_string().as_bytes());
    text.push(b',');
    let mut value = Vec::new();
    // Writing to memory does not fail.
    let _ = event(run, number, letters).write_json(&mut value);
    text.extend_from_slice(value.strip_prefix(b"{").unwrap_or(&value));
    text
}

/// Returns the header of a client's frame.
fn header(length: usize) -> Vec<u8> {
    let length = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..LENGTH_16), _) => vec![MASKED | short],
        (_, Ok(medium)) => [&[MASKED | LENGTH_16], &medium.to_be_bytes()[..]].concat(),
        _ => [&[MASKED | LENGTH_64], &u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes()[..]].concat(),
    };
    [&[LAST | TEXT], &length[..], &MASK].concat()
}

fn write_digits(mut value: u64, digits: &mut [u8; DIGITS]) {
    for digit in digits.iter_mut().rev() {
        *digit = u8::try_from(value % 10).map_or(b'0', |digit| digit.saturating_add(b'0'));
        value /= 10;
    }
}

fn read_digits(digits: &[u8; DIGITS]) -> Option<u64> {
    digits.iter().try_fold(0, |value: u64, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zeek_bridge::wire::{Limits, decode_value};

    use super::super::session::{Framing, Next};
    use super::*;

    const TOPIC: Topic = Topic::from_static("/t");

    fn event(frame: &[u8]) -> Event {
        let envelope = Envelope::decode(&Bytes::copy_from_slice(&frame[LENGTH_FIELD..])).unwrap();
        assert_eq!(envelope.topic, TOPIC);
        event_of_value(envelope.value(&Limits::DEFAULT).unwrap())
    }

    const PROTOCOLS: [Protocol; 3] = [Protocol::Broker, Protocol::WebSocket, Protocol::ZeroMq];

    fn pattern(topic: &Topic, size: usize, run: u64, protocol: Protocol) -> Pattern {
        Message::new(topic, size, run).unwrap().pattern(protocol).unwrap()
    }

    /// Returns the content of a published frame, as a subscriber receives it.
    fn content(pattern: &Pattern) -> Vec<u8> {
        pattern.frame[pattern.content_at..].to_vec()
    }

    #[test]
    fn frames_have_the_requested_size() {
        let least = frame(&TOPIC, 0, 0, 0).unwrap().len();
        let mut short = 0;
        for size in (least..1_000).chain([16_383, 65_536, 3_000_000]) {
            let pattern = pattern(&TOPIC, size, 0, Protocol::Broker);
            assert!(size - pattern.size() <= 1, "{size}");
            short += size - pattern.size();
            event(&pattern.frame);
        }
        assert_eq!(
            short, 1,
            "one frame is short: the one whose varbyte length of the string would grow from one byte to two"
        );
        let error = Message::new(&TOPIC, least - 1, 0).unwrap_err().to_string();
        assert!(error.contains(&format!("at least {least} bytes")), "{error}");
    }

    #[test]
    fn frames_are_numbered_and_read_back() {
        for protocol in PROTOCOLS {
            let pattern = pattern(&TOPIC, 223, 7, protocol);
            let mut frames = pattern.frames(3);
            assert_eq!(pattern.count_from(254, &mut frames), 257);
            for (number, frame) in (254..).zip(frames.chunks(pattern.size())) {
                let content = &frame[pattern.content_at..];
                assert_eq!(pattern.number(frame.len(), &content[..pattern.head()]), Some(number));
                let event = match protocol {
                    Protocol::Broker => event(frame),
                    Protocol::WebSocket => event_of_text(content),
                    Protocol::ZeroMq => event_of_value(decode_value(content, &Limits::DEFAULT).unwrap()),
                };
                let args: (u64, u64, String) = event.args_as().unwrap();
                assert_eq!((args.0, args.1), (7, FIRST_NUMBER + number));
            }
        }
    }

    fn event_of_text(text: &[u8]) -> Event {
        let json: serde_json::Value = serde_json::from_slice(text).unwrap();
        assert_eq!(json["topic"], "/t");
        event_of_value(Value::from_json(&json).unwrap())
    }

    fn event_of_value(value: Value) -> Event {
        match ZeekMessage::from_value(value).unwrap() {
            ZeekMessage::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_in_zeromq_has_four_parts() {
        for size in [150, 1200] {
            let pattern = pattern(&TOPIC, size, 7, Protocol::ZeroMq);
            let mut framing = Framing::ZeroMq { in_message: false };
            let next = framing.next(&pattern.frame, pattern.head());
            let Next::Data { length, head } = next else { panic!("{next:?}") };
            assert_eq!((length, pattern.number(length, head)), (pattern.event_size(), Some(0)));
        }
    }

    #[test]
    fn all_numbers_have_19_digits() {
        assert_eq!([FIRST_NUMBER, LAST_NUMBER].map(|number| number.to_string().len()), [DIGITS; 2]);
        for value in [FIRST_NUMBER, FIRST_NUMBER + 1_234_567_890, LAST_NUMBER] {
            let mut digits = [0; DIGITS];
            write_digits(value, &mut digits);
            assert_eq!((&digits[..], read_digits(&digits)), (value.to_string().as_bytes(), Some(value)));
        }
        assert_eq!(read_digits(b"123456789012345678,"), None);
    }

    #[test]
    fn only_fields_that_a_relay_changes_may_differ() {
        for protocol in PROTOCOLS {
            let pattern_of = |topic: Topic, size, run| pattern(&topic, size, run, protocol);
            let pattern = pattern_of(TOPIC, 223, 7);
            let number = |content: &[u8]| pattern.number(content.len(), &content[..pattern.head()]);
            let mut relayed = content(&pattern);
            if protocol == Protocol::Broker {
                relayed[LENGTH_FIELD..LENGTH_FIELD + 16].fill(1);
                relayed[BEFORE_TOPIC - 1] -= 1;
            } else {
                relayed.extend_from_slice(b" ");
            }
            assert_eq!(number(&relayed), Some(0));
            assert_eq!(number(&content(&pattern_of(TOPIC, 223, 8))), None);
            if protocol != Protocol::ZeroMq {
                // In ZeroMQ, the topic is not a part of the content.
                assert_eq!(number(&content(&pattern_of(Topic::from_static("/u"), 223, 7))), None);
            }
            assert_eq!(pattern.number(223, &content(&pattern)[..pattern.head() - 1]), None);
        }
        let broker = pattern(&TOPIC, 223, 7, Protocol::Broker);
        assert_eq!(broker.number(224, &content(&broker)), None);
    }
}
