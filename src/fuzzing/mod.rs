//! The functions of the fuzz targets in `fuzz/`. They panic if a checked property is violated.
//!
//! They are part of the library, so that tests can run them with the committed seeds.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "fuzz targets report faults by panics"
)]

#[cfg(feature = "curve")]
mod curve;
mod decode;
mod json;
mod log_batch;
mod peering;
#[cfg(feature = "bridge")]
mod rules;
mod websocket;
mod zeromq;
#[cfg(feature = "curve")]
mod zeromq_curve;

#[cfg(feature = "curve")]
pub use curve::curve;
pub use json::json;
pub use log_batch::log_batch;
pub use peering::peering;
#[cfg(feature = "bridge")]
pub use rules::rules;
pub use websocket::websocket;
pub use zeromq::zeromq;
#[cfg(feature = "curve")]
pub use zeromq_curve::zeromq_curve;

use bytes::{BufMut, Bytes, BytesMut};

use crate::data::{Subnet, Value};
use crate::wire::{
    Command, DecodeError, Envelope, EnvelopeType, FrameError, Handshake, Limits, ValueRef, check_value,
    cut_frame, decode_value, encode_value, put_frame,
};

/// Limits that are small enough for a fuzzer to reach each of them.
const TIGHT: Limits = Limits {
    max_frame: 512,
    max_handshake_frame: 128,
    max_depth: 3,
    max_elements: 20,
    max_filter_bytes: 64,
    max_filter_topics: 3,
};

/// Decodes `bytes` in all three ways, and checks that they agree.
pub fn read_value(bytes: &[u8], limits: &Limits) -> Result<Value, DecodeError> {
    let owned = decode_value(bytes, limits);
    assert_eq!(check_value(bytes, limits), owned.as_ref().map(drop).map_err(Clone::clone));
    let borrowed = ValueRef::decode(bytes, limits);
    assert_eq!(borrowed.as_ref().map(|value| value.to_value()).map_err(Clone::clone), owned);
    assert_eq!(borrowed.map(walked), owned);
    owned
}

/// Converts a borrowed value by iterating over its elements.
fn walked(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Set(elements) => Value::Set(elements.map(walked).collect()),
        ValueRef::Table(pairs) => {
            Value::Table(pairs.map(|(key, value)| (walked(key), walked(value))).collect())
        }
        ValueRef::Vector(elements) => Value::Vector(elements.map(walked).collect()),
        scalar => scalar.to_value(),
    }
}

/// Decodes any bytes as a value.
pub fn value(input: &[u8]) {
    let read = read_value(input, &Limits::DEFAULT);
    match read_value(input, &TIGHT) {
        Ok(value) => assert_eq!(Ok(value), read),
        Err(error) => assert!(error.offset() <= input.len(), "{error}"),
    }
    match read {
        Ok(value) => check_round_trip(&value, input.len()),
        Err(error) => assert!(error.offset() <= input.len(), "{error}"),
    }
}

/// Checks that a value that was decoded from `length` bytes can be encoded and decoded again.
fn check_round_trip(value: &Value, length: usize) {
    let mut bytes = Vec::new();
    encode_value(value, &mut bytes).expect("a decoded value can be encoded");
    assert!(bytes.len() <= length, "an encoded value is not longer than its input");
    assert_eq!(read_value(&bytes, &Limits::DEFAULT).as_ref(), Ok(value));
    // The text of a subnet does not contain its host bits, which are zero in a valid message.
    if !has_host_bits(value) {
        assert_eq!(Value::from_json(&value.to_json()).as_ref(), Ok(value));
    }
}

fn has_host_bits(value: &Value) -> bool {
    match value {
        Value::Subnet(subnet) => Subnet::new(subnet.network(), subnet.length()) != Ok(*subnet),
        Value::Set(elements) => elements.iter().any(has_host_bits),
        Value::Table(pairs) => pairs.iter().any(|(key, value)| has_host_bits(key) || has_host_bits(value)),
        Value::Vector(elements) => elements.iter().any(has_host_bits),
        _ => false,
    }
}

/// Decodes any bytes as a handshake message.
pub fn handshake(input: &[u8]) {
    let read = Handshake::decode(input, &Limits::DEFAULT);
    match Handshake::decode(input, &TIGHT) {
        Ok(message) => assert_eq!(Ok(message), read),
        Err(error) => assert!(error.offset() <= input.len(), "{error}"),
    }
    let Ok(message) = read else { return };
    let mut out = BytesMut::new();
    message.encode(&mut out).expect("a decoded message can be encoded");
    let frame = only_frame(out);
    assert!(frame.len() <= input.len(), "an encoded message is not longer than its input");
    assert_eq!(Handshake::decode(&frame, &Limits::DEFAULT).as_ref(), Ok(&message));
    assert_eq!(message.to_json()["type"], message.name());
}

/// Decodes any bytes as an envelope.
pub fn envelope(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    let envelope = match Envelope::decode(&frame) {
        Ok(envelope) => envelope,
        Err(error) => return assert!(error.offset() <= input.len(), "{error}"),
    };
    let mut complete = BytesMut::new();
    envelope.encode(&mut complete).expect("a decoded envelope can be encoded");
    assert_eq!(complete.len(), envelope.frame_length());
    let mut parts = BytesMut::new();
    envelope.encode_header_as(envelope.sender, &mut parts).expect("a decoded header can be encoded");
    parts.put_slice(&envelope.payload);
    assert_eq!(complete, parts);
    assert_eq!(envelope.detached(), envelope);
    assert_eq!(only_frame(complete), frame, "an envelope has only one encoding");

    payload(&envelope, &TIGHT);
    payload(&envelope, &Limits::DEFAULT);
}

/// Checks that all ways to decode the payload agree.
fn payload(envelope: &Envelope, limits: &Limits) {
    let checked = envelope.check(limits);
    let header = envelope.payload_offset();
    if let Err(error) = &checked {
        assert!((header..=header + envelope.payload.len()).contains(&error.offset()), "{error}");
    }
    let read = match envelope.kind {
        EnvelopeType::Data => {
            envelope.value(limits).map(|value| check_round_trip(&value, envelope.payload.len()))
        }
        EnvelopeType::Command => envelope.command(limits).map(|command| {
            let mut bytes = Vec::new();
            command.encode(&mut bytes).expect("a decoded command can be encoded");
            assert!(bytes.len() <= envelope.payload.len());
            assert_eq!(Command::decode(&bytes, limits), Ok(command));
        }),
        EnvelopeType::RoutingUpdate => envelope.filter(limits).map(|filter| {
            let again = Envelope::routing_update(envelope.sender, envelope.receiver, &filter)
                .expect("a decoded filter can be encoded");
            assert!(again.payload.len() <= envelope.payload.len());
            assert_eq!(again.filter(limits), Ok(filter));
        }),
        EnvelopeType::Ping | EnvelopeType::Pong => Ok(()),
    };
    assert_eq!(checked, read);
    assert_eq!(envelope.to_json(limits).map(drop), read);
}

fn only_frame(mut stream: BytesMut) -> Bytes {
    let frame = cut_frame(&mut stream, usize::MAX).expect("the length is not 0").expect("a complete frame");
    assert!(stream.is_empty());
    frame
}

/// Splits a stream into frames twice, first from the complete stream and then from chunks, and compares the results. The
/// input consists of the number of chunk sizes, the sizes (one byte each, used in turn), and the stream.
pub fn frames(input: &[u8]) {
    let Some((&count, input)) = input.split_first() else { return };
    let (sizes, stream) = input.split_at(input.len().min(count.into()));
    let limit = TIGHT.max_frame;

    let mut buffer = BytesMut::from(stream);
    let (at_once, end) = cut_all(&mut buffer, limit);

    let mut chunked = BytesMut::new();
    let mut frames = Vec::new();
    let mut last = Ok(());
    let mut rest = stream;
    let mut sizes = sizes.iter().map(|size| usize::from(*size).max(1)).cycle();
    while !rest.is_empty() && last.is_ok() {
        let (chunk, remaining) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
        rest = remaining;
        chunked.put_slice(chunk);
        let (more, end) = cut_all(&mut chunked, limit);
        frames.extend(more);
        last = end;
    }
    assert_eq!(frames, at_once);
    if rest.is_empty() {
        assert_eq!(last, end);
    } else {
        // Ignore the recognized protocol, because it depends on the number of bytes received so far. With chunks, this
        // number is smaller when the error is found.
        assert_eq!(without_protocol(last), without_protocol(end));
    }
    chunked.put_slice(rest);
    assert_eq!(chunked, buffer, "the same bytes are left over");

    let mut again = BytesMut::new();
    for frame in &frames {
        put_frame(&mut again, |out| {
            out.put_slice(frame);
            Ok(())
        })
        .expect("a frame within the limit");
    }
    again.put_slice(&buffer);
    assert_eq!(again, stream, "no bytes are lost or added");
}

/// Cuts all complete frames.
fn cut_all(buffer: &mut BytesMut, limit: usize) -> (Vec<Bytes>, Result<(), FrameError>) {
    let mut frames = Vec::new();
    loop {
        match cut_frame(buffer, limit) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

fn without_protocol(mut end: Result<(), FrameError>) -> Result<(), FrameError> {
    if let Err(FrameError::TooLarge { protocol, .. }) = &mut end {
        *protocol = None;
    }
    end
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn run_over_seeds(target: &str, mut body: impl FnMut(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            println!("{}", seed.display());
            body(&fs::read(seed).unwrap());
        }
    }

    /// Runs a target with random changes of its seeds: a small replacement for the fuzzer, which runs with all other tests.
    fn run_over_changed_seeds(name: &str, target: fn(&[u8])) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 16).unwrap()
        };
        run_over_seeds(name, |seed| {
            for _ in 0..50 {
                let mut changed = seed.to_vec();
                for _ in 0..1 + random() % 4 {
                    let at = random() % changed.len();
                    match random() % 4 {
                        0 => changed[at] ^= 1 << (random() % 8),
                        1 => changed[at] = u8::try_from(random() % 256).unwrap(),
                        2 => changed.truncate(at.max(1)),
                        _ => changed.extend_from_within(at..),
                    }
                }
                target(&changed);
            }
        });
    }

    #[test]
    fn every_seed_of_a_peering_passes() {
        run_over_seeds("peering", super::peering);
    }

    /// A small replacement for the fuzzer. It runs with all other tests.
    #[test]
    fn thousands_of_random_operations_on_peerings_pass() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let input: Vec<u8> = (0..64)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_be_bytes()[0]
                })
                .collect();
            super::peering(&input);
        }
    }

    #[cfg(feature = "bridge")]
    #[test]
    fn every_seed_of_the_rules_passes() {
        run_over_seeds("rules", super::rules);
    }

    #[test]
    fn every_seed_of_a_websocket_passes() {
        run_over_seeds("websocket", super::websocket);
    }

    #[test]
    fn every_seed_of_zeromq_passes() {
        run_over_seeds("zeromq", super::zeromq);
    }

    #[cfg(feature = "curve")]
    #[test]
    fn seeds_of_encrypted_zeromq_sessions_pass() {
        run_over_seeds("zeromq_curve", super::zeromq_curve);
        run_over_changed_seeds("zeromq_curve", super::zeromq_curve);
    }

    #[test]
    fn seeds_of_a_websocket_with_random_changes_pass() {
        run_over_changed_seeds("websocket", super::websocket);
    }

    #[test]
    fn seeds_of_zeromq_with_random_changes_pass() {
        run_over_changed_seeds("zeromq", super::zeromq);
    }

    #[test]
    fn every_seed_of_a_log_batch_passes() {
        run_over_seeds("log_batch", super::log_batch);
    }

    #[test]
    fn seeds_of_a_log_batch_with_random_changes_pass() {
        run_over_changed_seeds("log_batch", super::log_batch);
    }

    #[cfg(feature = "curve")]
    #[test]
    fn every_seed_of_curve_passes() {
        run_over_seeds("curve", super::curve);
    }

    /// A small replacement for the fuzzer: random settings and changes.
    #[cfg(feature = "curve")]
    #[test]
    fn random_changes_of_curve_commands_pass() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..500 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            super::curve(&state.to_be_bytes()[..4]);
        }
    }

    #[test]
    fn every_seed_of_a_value_passes() {
        run_over_seeds("value", super::value);
    }

    #[test]
    fn every_seed_of_json_text_passes() {
        run_over_seeds("json", super::json);
    }

    #[test]
    fn every_seed_of_an_envelope_passes() {
        run_over_seeds("envelope", super::envelope);
    }

    #[test]
    fn every_seed_of_a_handshake_message_passes() {
        run_over_seeds("handshake", super::handshake);
    }

    #[test]
    fn every_seed_of_a_stream_of_frames_passes() {
        run_over_seeds("frames", super::frames);
    }

    #[test]
    fn streams_of_other_protocols_have_the_same_result_in_chunks() {
        let zmtp_or_not = |last| [0xff, 0, 0, 0, 0, 0, 0, 0, 1, last, 0, 0];
        for stream in
            [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/1.1", &zmtp_or_not(0x7f), &zmtp_or_not(0)]
        {
            for chunk in 1..=16 {
                super::frames(&[&[1, chunk], stream].concat());
            }
        }
    }
}
