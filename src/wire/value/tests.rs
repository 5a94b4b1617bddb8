use proptest::prelude::*;

use super::loose::Loose;
use super::{ValueRef, decode_value, encode_value};
use crate::data::{MAX_DEPTH, Set, Step, Table, Value, arbitrary};
use crate::fuzzing::read_value;
use crate::wire::{DecodeReason, EncodeError, Limits};

const LIMITS: &Limits = &Limits::DEFAULT;

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_value(value, &mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn any_value_round_trips_through_all_three_readers(value in arbitrary::value()) {
        prop_assert_eq!(read_value(&encoded(&value), LIMITS), Ok(value));
    }

    #[test]
    fn any_encoding_of_a_value_is_accepted(value in arbitrary::value(), seed: u64) {
        prop_assert_eq!(read_value(&Loose::new(seed).write(&value), LIMITS), Ok(value));
    }

    #[test]
    fn a_duplicate_is_rejected_in_any_encoding(
        value in arbitrary::value(),
        seed: u64,
        place in 0..4usize,
    ) {
        if let Some(bytes) = Loose::new(seed).write_with_duplicate(&value, place) {
            let error = read_value(&bytes, LIMITS).unwrap_err();
            prop_assert!(
                matches!(error.reason(), DecodeReason::DuplicateElement | DecodeReason::DuplicateKey),
                "{}",
                error
            );
        }
    }

    #[test]
    fn any_truncated_value_is_an_error(value in arbitrary::value(), seed: u64) {
        let bytes = Loose::new(seed).write(&value);
        for cut in 0..bytes.len() {
            let error = read_value(&bytes[..cut], LIMITS).unwrap_err();
            prop_assert_eq!(error.reason(), &DecodeReason::Truncated, "cut at {}", cut);
        }
    }

    #[test]
    fn all_three_readers_agree_on_corrupted_values(
        value in arbitrary::value(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&value);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = read_value(&bytes, LIMITS);
    }
}

#[test]
fn nested_sets_are_compared_without_regard_to_order() {
    let pair = |a: u8, b: u8| [12, 2, 1, a, 1, b];
    let outer = |first: [u8; 6], second: [u8; 6]| [&[12, 2], &first[..], &second[..]].concat();
    for bytes in [outer(pair(0, 1), pair(0, 1)), outer(pair(0, 1), pair(1, 0)), outer(pair(1, 0), pair(0, 1))]
    {
        let error = read_value(&bytes, LIMITS).unwrap_err();
        assert_eq!((error.offset(), error.path().is_empty()), (0, true), "{bytes:?}");
        assert_eq!(error.reason(), &DecodeReason::DuplicateElement);
    }
}

#[test]
fn a_duplicate_container_is_found_whatever_value_follows_the_set() {
    for element in [&[12, 1, 0][..], &[13, 1, 0, 0], &[14, 1, 0]] {
        for next in [&[0][..], &[12, 0], &[13, 0], &[14, 0]] {
            let bytes = [&[14, 2, 12, 2], element, element, next].concat();
            let error = read_value(&bytes, LIMITS).unwrap_err();
            assert_eq!(error.reason(), &DecodeReason::DuplicateElement, "{bytes:?}");
        }
    }
}

#[test]
fn equal_values_with_different_bytes_are_duplicates() {
    // Pairs of encodings: true as 1 and as 2, a length in one byte and in two bytes, the same NaN twice, and two encodings
    // of one infinity.
    let real = |bits: u64| [&[4], &bits.to_be_bytes()[..]].concat();
    for (a, b) in [
        (vec![1, 1], vec![1, 2]),
        (vec![5, 1, b'x'], vec![5, 0x81, 0, b'x']),
        (real(u64::MAX), real(u64::MAX)),
        (real(0xfff0_0000_0000_0000), real(0x7ff8_0000_0000_0000)),
    ] {
        let set = [&[12, 2], &a[..], &b[..]].concat();
        assert_eq!(read_value(&set, LIMITS).unwrap_err().reason(), &DecodeReason::DuplicateElement, "{a:?}");
        let table = [&[13, 2], &a[..], &[0], &b[..], &[1, 1]].concat();
        assert_eq!(read_value(&table, LIMITS).unwrap_err().reason(), &DecodeReason::DuplicateKey, "{a:?}");
    }
}

#[test]
fn errors_have_an_offset_a_path_and_a_reason() {
    use DecodeReason as R;
    use Step::{SetElement, TableKey, TableValue, VectorElement};
    let cases: [(&[u8], usize, &[Step], R); 16] = [
        (&[], 0, &[], R::Truncated),
        (&[15], 0, &[], R::UnknownValueTag(15)),
        (&[2, 0, 0], 1, &[], R::Truncated),
        (&[0, 0, 0], 1, &[], R::Trailing(2)),
        (&[5, 3, b'a', b'b'], 2, &[], R::Truncated),
        (&[8, 0, 80, 4], 3, &[], R::UnknownProtocol(4)),
        (&[5, 0xff, 0xff, 0xff, 0xff, 0x10], 1, &[], R::VarbyteOverflow),
        (&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4, 95], 17, &[], R::InvalidPrefixLength(95)),
        (&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 129], 17, &[], R::InvalidPrefixLength(129)),
        (&[14, 2, 0], 2, &[], R::Truncated),
        (&[14, 4, 0, 0, 0, 13, 1, 2, 0], 8, &[VectorElement(3), TableKey(0)], R::Truncated),
        (&[12, 2, 0, 13, 1, 0, 99], 6, &[SetElement(1), TableValue(0)], R::UnknownValueTag(99)),
        (&[14, 2, 12, 2, 0, 0, 0], 2, &[VectorElement(0)], R::DuplicateElement),
        (&[14, 1, 13, 2, 0, 0, 0, 0], 2, &[VectorElement(0)], R::DuplicateKey),
        // The first error in the order of the wire is reported. Duplicates in a set are found at the end of the set.
        (&[12, 3, 0, 0, 99], 4, &[SetElement(2)], R::UnknownValueTag(99)),
        (&[14, 2, 12, 3, 1, 1, 0, 0, 99], 2, &[VectorElement(0)], R::DuplicateElement),
    ];
    for (bytes, offset, path, reason) in cases {
        let error = read_value(bytes, LIMITS).unwrap_err();
        assert_eq!(
            (error.offset(), error.path().steps().collect::<Vec<_>>(), error.reason()),
            (offset, path.to_vec(), &reason),
            "{bytes:?}"
        );
    }
    let error = read_value(&[14, 4, 0, 0, 0, 13, 1, 2, 0], LIMITS).unwrap_err();
    assert_eq!(error.to_string(), "byte 8, vector element 3, table key 0: unexpected end of input");
}

#[test]
fn the_path_of_an_error_contains_the_vectors_in_the_last_position() {
    use Step::{SetElement, VectorElement as Element};
    let vector = |before: usize| [&[14, u8::try_from(before + 1).unwrap()][..], &vec![0; before]].concat();
    let long = |before: usize| [&[14, 0x81, 1][..], &vec![0; before]].concat();
    // Each case is the beginning of a value, whose next byte is an unknown tag, and the path to that byte.
    for (mut bytes, path) in [
        (vector(0), vec![Element(0)]),
        ([vector(2), vector(0), vector(1)].concat(), vec![Element(2), Element(0), Element(1)]),
        // After an empty vector in the last position, the outer vector continues.
        ([&[14, 2], &vector(0)[..], &[14, 0]].concat(), vec![Element(1)]),
        ([&[12, 1], &vector(1)[..], &vector(2)].concat(), vec![SetElement(0), Element(1), Element(2)]),
        // A vector with more elements than are allocated at once, before and after other vectors.
        ([vector(1), long(128)].concat(), vec![Element(1), Element(128)]),
        ([long(128), vector(3)].concat(), vec![Element(128), Element(3)]),
        (
            [vector(1), long(70), vector(2), vector(3)].concat(),
            vec![Element(1), Element(70), Element(2), Element(3)],
        ),
    ] {
        bytes.push(99);
        let offset = bytes.len() - 1;
        bytes.resize(bytes.len() + 100, 0);
        let error = read_value(&bytes, LIMITS).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::UnknownValueTag(99), "{path:?}");
        assert_eq!((error.path().steps().collect::<Vec<_>>(), error.offset()), (path, offset));
    }
}

#[test]
fn only_utf8_strings_and_enum_labels_are_text() {
    for (bytes, text) in [
        (&[5, 2, b'h', b'i'][..], Some("hi")),
        (&[11, 2, b'h', b'i'], Some("hi")),
        (&[5, 0], Some("")),
        (&[5, 1, 0xff], None),
        (&[11, 1, 0xff], None),
        (&[0], None),
        (&[14, 1, 5, 1, b'x'], None),
    ] {
        assert_eq!(ValueRef::decode(bytes, LIMITS).unwrap().as_str(), text, "{bytes:?}");
    }
}

#[test]
fn the_remaining_number_of_elements_and_pairs_is_known() {
    let ValueRef::Table(mut pairs) = ValueRef::decode(&[13, 2, 1, 0, 0, 1, 1, 0], LIMITS).unwrap() else {
        panic!("not a table");
    };
    let ValueRef::Set(mut elements) = ValueRef::decode(&[12, 2, 1, 0, 1, 1], LIMITS).unwrap() else {
        panic!("not a set");
    };
    for left in [2, 1, 0] {
        assert_eq!((pairs.len(), elements.len()), (left, left));
        assert_eq!((pairs.next().is_some(), elements.next().is_some()), (left > 0, left > 0));
    }
}

#[test]
fn a_borrowed_value_above_the_default_limits_is_copied_completely() {
    let limits = Limits { max_depth: 2 * MAX_DEPTH, max_elements: 2 * LIMITS.max_elements, ..*LIMITS };
    let deep = [&[14, 1].repeat(MAX_DEPTH + 2)[..], &[0]].concat();
    let many = encoded(&Value::Vector(vec![Value::None; LIMITS.max_elements + 1]));
    for bytes in [deep, many] {
        let copy = ValueRef::decode(&bytes, &limits).unwrap().to_value();
        assert!(decode_value(&bytes, &limits) == Ok(copy), "{} bytes", bytes.len());
    }
}

/// Returns `depth` nested containers.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::None, |inside, level| match level % 3 {
        0 => Value::Vector(vec![inside]),
        1 => Value::Set([inside].into_iter().collect::<Set>()),
        _ => Value::Table([(Value::None, inside)].into_iter().collect::<Table>()),
    })
}

#[test]
fn containers_may_be_nested_up_to_the_limit() {
    let bytes = encoded(&nested(MAX_DEPTH));
    assert_eq!(read_value(&bytes, LIMITS), Ok(nested(MAX_DEPTH)));
    for deeper in [&[12, 1][..], &[13, 1, 0], &[13, 1], &[14, 1]] {
        let mut bytes = [deeper, &bytes].concat();
        bytes.push(0);
        let error = read_value(&bytes, LIMITS).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::TooDeep { limit: MAX_DEPTH }, "{deeper:?}");
        assert_eq!(error.path().steps().count(), MAX_DEPTH, "{deeper:?}");
    }
    let limits = Limits { max_depth: 2, ..Limits::DEFAULT };
    assert_eq!(read_value(&encoded(&nested(2)), &limits), Ok(nested(2)));
    let error = read_value(&encoded(&nested(3)), &limits).unwrap_err();
    assert_eq!(error.reason(), &DecodeReason::TooDeep { limit: 2 });
    assert_eq!(error.path().steps().collect::<Vec<_>>(), [Step::TableValue(0), Step::SetElement(0)]);
}

#[test]
fn a_value_nested_too_deep_is_not_encoded() {
    let mut out = Vec::new();
    assert_eq!(encode_value(&nested(MAX_DEPTH), &mut out), Ok(()));
    for deeper in 1..=3 {
        assert_eq!(encode_value(&nested(MAX_DEPTH + deeper), &mut out), Err(EncodeError::TooDeep));
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    for tag in [12, 13, 14] {
        let bytes = [tag, 1].repeat(500_000);
        assert!(decode_value(&bytes, LIMITS).is_err());
        let error = read_value(&bytes, LIMITS).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::TooDeep { limit: MAX_DEPTH });
    }
}

#[test]
fn nested_values_count_toward_the_element_limit() {
    // There are seven values: the outer vector, its four elements, and the key and value of the table.
    let value = Value::Vector(vec![
        Value::None,
        Value::Table([(Value::Count(1), Value::Count(2))].into_iter().collect::<Table>()),
        Value::None,
        Value::None,
    ]);
    let bytes = encoded(&value);
    let within = |max_elements| read_value(&bytes, &Limits { max_elements, ..Limits::DEFAULT });
    assert_eq!(within(7), Ok(value));
    // The error is at the first element or pair of the container that exceeds the limit.
    for (limit, offset, path) in
        [(6, 5, &[Step::VectorElement(1)][..]), (5, 5, &[Step::VectorElement(1)]), (4, 2, &[]), (0, 0, &[])]
    {
        let error = within(limit).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::TooManyElements { limit });
        assert_eq!(
            (error.offset(), error.path().steps().collect::<Vec<_>>()),
            (offset, path.to_vec()),
            "{limit}"
        );
    }
}
