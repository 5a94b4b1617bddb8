//! Allocations of decoding and encoding, as counted by the allocator.

use crate::common::{Fixture, Phase, golden_values};
use allocation_counter::measure;
use bytes::BytesMut;
use zeek_bridge::data::Value;
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits, ValueRef, check_value, decode_value, encode_value};

#[test]
fn checking_a_data_message_allocates_nothing() {
    let mut messages = 0;
    for fixture in Fixture::all() {
        for frame in fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered) {
            let envelope = Envelope::decode(&frame.body()).unwrap();
            if envelope.kind == EnvelopeType::Data {
                let cost = measure(|| envelope.check(&Limits::DEFAULT).unwrap());
                assert_eq!(cost.count_total, 0, "{} frame {}", fixture.name, frame.index);
                messages += 1;
            }
        }
    }
    assert!(messages > 0);
}

#[test]
fn checking_a_golden_value_allocates_nothing() {
    for golden in golden_values() {
        let cost = measure(|| check_value(&golden.bytes, &Limits::DEFAULT).unwrap());
        assert_eq!(cost.count_total, 0, "{}", golden.name);
    }
}

#[test]
fn checking_containers_that_differ_only_at_the_end_allocates_nothing() {
    let table = |last: u64| Value::Table([(1u64, 0u64), (2, last)].into_iter().collect());
    let vector = |parts: &[Value]| Value::Vector(parts.to_vec());
    let set = |elements: Vec<Value>| Value::Set(elements.into_iter().collect());
    let value = set(vec![
        table(1),
        table(2),
        vector(&[table(1), Value::None]),
        vector(&[table(1), Value::Boolean(true)]),
        vector(&[table(1), Value::Boolean(true), Value::None]),
        set(vec![table(1), Value::Real(f64::INFINITY)]),
        set(vec![table(1), Value::Real(f64::NAN)]),
    ]);
    let mut bytes = Vec::new();
    encode_value(&value, &mut bytes).unwrap();
    let cost = measure(|| check_value(&bytes, &Limits::DEFAULT).unwrap());
    assert_eq!(cost.count_total, 0);
}

#[test]
fn borrowing_a_value_allocates_nothing() {
    for golden in golden_values() {
        let cost = measure(|| assert!(ValueRef::decode(&golden.bytes, &Limits::DEFAULT).is_ok()));
        assert_eq!(cost.count_total, 0, "{}", golden.name);
    }
}

/// Returns the number of allocations for a value: one for each string of more than 22 bytes, and for each container one for
/// the first 64 parts and one for each doubling.
fn allocations(value: &Value) -> u64 {
    let own = |parts: usize| {
        u64::from(parts > 0) + u64::from(parts.div_ceil(64).max(1).next_power_of_two().ilog2())
    };
    match value {
        Value::String(bytes) | Value::EnumValue(bytes) => u64::from(bytes.len() > 22),
        Value::Set(set) => own(set.len()) + set.iter().map(allocations).sum::<u64>(),
        Value::Table(table) => {
            own(table.len())
                + table.iter().map(|(key, value)| allocations(key) + allocations(value)).sum::<u64>()
        }
        Value::Vector(elements) => own(elements.len()) + elements.iter().map(allocations).sum::<u64>(),
        _ => 0,
    }
}

#[test]
fn decoding_allocates_only_for_containers_and_long_strings() {
    let mut most = 0;
    for golden in golden_values() {
        let mut value = None;
        let cost = measure(|| value = Some(decode_value(&golden.bytes, &Limits::DEFAULT).unwrap()));
        let expected = allocations(&value.unwrap());
        assert_eq!(cost.count_total, expected, "{}", golden.name);
        most = most.max(expected);
    }
    assert!(most > 1);
}

#[test]
fn encoding_into_a_reused_buffer_allocates_nothing() {
    let mut values: Vec<Value> =
        golden_values().iter().map(|golden| decode_value(&golden.bytes, &Limits::DEFAULT).unwrap()).collect();
    values.push(Value::Vector(values.clone()));
    values.push(Value::Vector(vec![Value::None; 100_000]));
    let mut bytes = BytesMut::new();
    for value in &values {
        bytes.clear();
        encode_value(value, &mut bytes).unwrap();
        bytes.clear();
        let cost = measure(|| encode_value(value, &mut bytes).unwrap());
        assert_eq!(cost.count_total, 0, "{value}");
    }
}

#[test]
fn writing_json_allocates_nothing() {
    let write = |value: &Value| measure(|| value.write_json(&mut std::io::sink()).unwrap()).count_total;
    for golden in golden_values() {
        let value = decode_value(&golden.bytes, &Limits::DEFAULT).unwrap();
        assert_eq!(write(&value), 0, "{}", golden.name);
    }
    assert_eq!(write(&Value::Vector(vec![Value::None; 100_000])), 0);
}

#[test]
fn decoding_an_envelope_copies_nothing() {
    let fixture = Fixture::load("all-types");
    let frames = || fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered);
    let largest = frames().max_by_key(|frame| frame.bytes.len()).unwrap().body();
    assert!(largest.len() > 10_000);
    let cost = measure(|| drop(Envelope::decode(&largest).unwrap()));
    // The only allocation is a reference count for the frame, regardless of its size.
    assert!(cost.bytes_total < 100, "{cost:?}");
}

/// Encodes `count` as a varbyte of five bytes.
fn five_byte_count(tag: u8, count: u32) -> Vec<u8> {
    let group = |shift: u32| u8::try_from((count >> shift) & 0x7f).unwrap() | 0x80;
    vec![tag, group(0), group(7), group(14), group(21), u8::try_from(count >> 28).unwrap()]
}

#[test]
fn decoding_a_wrong_element_count_needs_little_memory() {
    for tag in [5, 11, 12, 13, 14] {
        for count in [1_000, u32::MAX] {
            let bytes = five_byte_count(tag, count);
            let cost = measure(|| drop(decode_value(&bytes, &Limits::DEFAULT).unwrap_err()));
            // The allocations are the initial capacity for elements, and the error.
            assert!(cost.bytes_total < 5_000, "tag {tag}, count {count}: {cost:?}");
        }
    }
}

#[test]
fn decoding_nested_wrong_element_counts_needs_little_memory() {
    // The maximum number of nested containers. Each has a count of 1,000,000 elements, and 1,000,000 bytes follow the
    // last count.
    // All these counts are wrong, but this is detected only at the end of the input.
    for tag in [12, 13, 14] {
        let size = 1_000_000;
        let mut bytes = Vec::new();
        while bytes.len() < 6 * Limits::DEFAULT.max_depth {
            bytes.extend(five_byte_count(tag, size));
        }
        bytes.resize(bytes.len() + usize::try_from(size).unwrap(), 0xff);
        let cost = measure(|| drop(decode_value(&bytes, &Limits::DEFAULT).unwrap_err()));
        assert!(cost.bytes_max < 1_000_000, "tag {tag}: {cost:?}");
    }
}

#[test]
fn the_memory_of_a_message_is_bounded_by_the_limits() {
    let limit = Limits::DEFAULT.max_elements;
    let vector = |count: usize, element: &[u8]| {
        [five_byte_count(14, u32::try_from(count).unwrap()), element.repeat(count)].concat()
    };
    for (what, bytes) in [
        ("nones", vector(limit - 1, &[0])),
        ("strings", vector(limit - 1, &[5, 1, b'x'])),
        ("empty sets", vector(limit - 1, &[12, 0])),
        ("pairs", vector(limit / 4 - 1, &[13, 1, 0, 0])),
        // Each inner vector has one element more than a power of two. In this case, a vector that doubles its capacity
        // wastes the most memory.
        ("vectors", vector(limit / 130 - 1, &vector(129, &[0]))),
    ] {
        let mut value = None;
        let cost = measure(|| value = Some(decode_value(&bytes, &Limits::DEFAULT).unwrap()));
        let (kept, most) = (u64::try_from(cost.bytes_current).unwrap(), cost.bytes_max);
        let strings = u64::try_from(bytes.len()).unwrap();
        println!(
            "{what}: {strings} bytes on the wire, {kept} bytes in memory, at most {most} bytes during decoding"
        );
        assert!(kept <= (64 << 20) + strings, "{what}: {kept}");
        assert!(most <= (96 << 20) + strings, "{what}: {most}");
    }
}
