//! The messages of a benchmark. The event is encoded once, and only its number changes from message to message.

use bytes::BytesMut;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::{EncodeError, Envelope, LENGTH_FIELD, TOPIC_OFFSET};
use zeek_bridge::zeek::{Event, ZeekMessage};

/// The name of the event. Its arguments are the id of the run, the number, and a string that fills the requested size.
const EVENT: &str = "ZeekBridge::bench";

/// The size of a number in bytes.
const NUMBER: usize = 8;

/// The offset of the topic in a frame. A relay may change the fields before it.
const BEFORE_TOPIC: usize = LENGTH_FIELD + TOPIC_OFFSET;

/// The frame, and the offset of the number in it.
#[derive(Debug)]
pub(super) struct Pattern {
    frame: Vec<u8>,
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

impl Pattern {
    /// Returns a frame of `size` bytes, including the length field. Some sizes are impossible, because the varbyte length of the
    /// string grows in steps. The frame is then one byte shorter.
    pub(super) fn new(topic: &Topic, size: usize, run: u64) -> Result<Self, PatternError> {
        let least = frame(topic, run, 0, 0)?;
        let room = size.checked_sub(least.len()).ok_or(PatternError::TooSmall(least.len()))?;
        let numbered = frame(topic, run, u64::MAX, 0)?;
        let number_at = least.iter().zip(&numbered).take_while(|(a, b)| a == b).count();
        // The varbyte length of the string takes one byte in the smallest frame, and up to four more.
        let mut letters = room;
        loop {
            let frame = frame(topic, run, 0, letters)?;
            match frame.len().checked_sub(size) {
                None | Some(0) => return Ok(Pattern { frame, number_at }),
                Some(over) => letters = letters.saturating_sub(over),
            }
        }
    }

    /// Returns the size of the frame in bytes.
    pub(super) fn size(&self) -> usize {
        self.frame.len()
    }

    /// Returns the number of bytes at the beginning of a frame that [`Pattern::number`] needs.
    pub(super) fn head(&self) -> usize {
        self.number_at.saturating_add(NUMBER)
    }

    /// Returns `count` frames, for [`Pattern::count_from`].
    pub(super) fn frames(&self, count: usize) -> Vec<u8> {
        self.frame.repeat(count)
    }

    /// Numbers the frames, beginning with `first`. Returns one more than the last number.
    pub(super) fn count_from(&self, first: u64, frames: &mut [u8]) -> u64 {
        let mut next = first;
        for frame in frames.chunks_exact_mut(self.size()) {
            if let Some(number) = frame.get_mut(self.number_at..).and_then(<[u8]>::first_chunk_mut) {
                *number = next.to_be_bytes();
            }
            next = next.saturating_add(1);
        }
        next
    }

    /// Returns the message number in a frame of `length` bytes that begins with `head`. Returns `None` if the frame does not belong
    /// to this benchmark.
    pub(super) fn number(&self, length: usize, head: &[u8]) -> Option<u64> {
        let same = BEFORE_TOPIC..self.number_at;
        if length != self.size() || head.get(same.clone())? != self.frame.get(same)? {
            return None;
        }
        head.get(self.number_at..)?.first_chunk().copied().map(u64::from_be_bytes)
    }
}

fn frame(topic: &Topic, run: u64, number: u64, letters: usize) -> Result<Vec<u8>, EncodeError> {
    let event = Event::new(EVENT, vec![Value::Count(run), Value::Count(number), "x".repeat(letters).into()]);
    // A relay replaces the sender with its own id.
    let sender = EndpointId::from_bytes([0xff; 16]);
    let mut frame = BytesMut::new();
    Envelope::data(sender, topic.clone(), &ZeekMessage::from(event).into_value())?.encode(&mut frame)?;
    Ok(frame.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zeek_bridge::wire::Limits;

    use super::*;

    const TOPIC: Topic = Topic::from_static("/t");

    fn event(frame: &[u8]) -> Event {
        let envelope = Envelope::decode(&Bytes::copy_from_slice(&frame[LENGTH_FIELD..])).unwrap();
        assert_eq!(envelope.topic, TOPIC);
        match ZeekMessage::from_value(envelope.value(&Limits::DEFAULT).unwrap()).unwrap() {
            ZeekMessage::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frames_have_the_requested_size() {
        let least = Pattern::new(&TOPIC, 1_000, 0).unwrap().frame.len() - 1_000
            + frame(&TOPIC, 0, 0, 0).unwrap().len();
        let mut short = 0;
        for size in (least..1_000).chain([16_383, 65_536, 3_000_000]) {
            let pattern = Pattern::new(&TOPIC, size, 0).unwrap();
            assert!(size - pattern.size() <= 1, "{size}");
            short += size - pattern.size();
            event(&pattern.frame);
        }
        assert_eq!(short, 1, "only where the length of the string grows from one byte to two");
        let error = Pattern::new(&TOPIC, least - 1, 0).unwrap_err().to_string();
        assert!(error.contains(&format!("at least {least} bytes")), "{error}");
    }

    #[test]
    fn frames_are_numbered_and_read_back() {
        let pattern = Pattern::new(&TOPIC, 223, 7).unwrap();
        let mut frames = pattern.frames(3);
        assert_eq!(pattern.count_from(254, &mut frames), 257);
        for (number, frame) in (254..).zip(frames.chunks(223)) {
            assert_eq!(pattern.number(frame.len(), &frame[..pattern.head()]), Some(number));
            let args: (u64, u64, String) = event(frame).args_as().unwrap();
            assert_eq!((args.0, args.1), (7, number));
        }
    }

    #[test]
    fn only_fields_that_a_relay_changes_may_differ() {
        let pattern = Pattern::new(&TOPIC, 223, 7).unwrap();
        let number = |frame: &[u8]| pattern.number(frame.len(), &frame[..pattern.head()]);
        let mut relayed = pattern.frame.clone();
        relayed[LENGTH_FIELD..LENGTH_FIELD + 16].fill(1);
        relayed[BEFORE_TOPIC - 1] -= 1;
        assert_eq!(number(&relayed), Some(0));
        for other in [
            Pattern::new(&TOPIC, 223, 8).unwrap(),
            Pattern::new(&TOPIC, 224, 7).unwrap(),
            Pattern::new(&Topic::from_static("/u"), 223, 7).unwrap(),
        ] {
            assert_eq!(number(&other.frame), None);
        }
        assert_eq!(pattern.number(223, &pattern.frame[..pattern.head() - 1]), None);
    }
}
