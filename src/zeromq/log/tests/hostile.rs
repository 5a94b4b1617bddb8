//! Malformed batches.

use super::{LogBatch, LogField, LogRow, LogValue, TypeTag, container, decode, encode, field, header};
use crate::data::{Port, Protocol, Step};
use crate::wire::{DecodeReason, Limits};

/// The size of the names of the batches here. The number of fields is after them.
const NAMES: usize = 4 * 4 + 9 + 16 + 7 + 4;
/// The offset of the first field.
const FIELDS: usize = NAMES + 4;
/// The size of a field here: its name is one byte.
const FIELD: usize = 15;
/// The offset of the first row of a batch with one field.
const ROWS: usize = FIELDS + FIELD + 4;
/// The size of a value before its content.
const HEAD: usize = 9;

/// Returns a batch with one field and one row.
fn one(field: LogField<'static>, value: LogValue<'static>) -> Vec<u8> {
    encode(&header(vec![field]), &[vec![value]])
}

/// Replaces bytes, and returns the offset of the error, its path and its reason.
fn altered(batch: &[u8], at: usize, bytes: &[u8]) -> (usize, Vec<Step>, DecodeReason) {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let error = decode(&batch).expect_err("the batch is malformed");
    (error.offset(), error.path().steps().collect(), error.reason().clone())
}

/// Returns the path to the first value.
fn first() -> Vec<Step> {
    vec![Step::Row(0), Step::Column(0)]
}

#[test]
fn counts_that_the_bytes_cannot_contain_are_rejected_at_the_count() {
    let batch = one(field(TypeTag::Count), LogValue::Count(1));
    for count in [4, u32::MAX] {
        let too_large = DecodeReason::CountTooLarge(count.into());
        for at in [NAMES, ROWS - 4] {
            assert_eq!(altered(&batch, at, &count.to_be_bytes()), (at, vec![], too_large.clone()));
        }
    }
    for kind in [TypeTag::Table, TypeTag::Vector] {
        let empty = if kind == TypeTag::Table { LogValue::Set } else { LogValue::Vector }(vec![]);
        let batch = one(container(kind, TypeTag::Int), empty);
        let at = ROWS + HEAD;
        for count in [1, i64::MAX, -1, i64::MIN] {
            let reason = DecodeReason::CountTooLarge(u64::from_be_bytes(count.to_be_bytes()));
            assert_eq!(altered(&batch, at, &count.to_be_bytes()), (at, first(), reason));
        }
    }
}

#[test]
fn string_lengths_beyond_the_end_are_rejected() {
    let batch = one(field(TypeTag::String), LogValue::String(b"abc"));
    for (at, path) in [(ROWS + HEAD, first()), (0, vec![Step::Field("stream")])] {
        for length in [batch.len() as u32, u32::MAX] {
            let error = altered(&batch, at, &length.to_be_bytes());
            assert_eq!(error, (at + 4, path.clone(), DecodeReason::Truncated));
        }
    }
}

#[test]
fn rows_without_fields_are_rejected_without_a_loop() {
    let batch = encode(&header(vec![]), &[]);
    assert_eq!(decode(&batch).unwrap().rows().count(), 0);
    for count in [1, u32::MAX] {
        let reason = DecodeReason::RowsWithoutFields(count);
        assert_eq!(altered(&batch, FIELDS, &count.to_be_bytes()), (FIELDS, vec![], reason));
    }
}

#[test]
fn bytes_after_the_batch_are_rejected() {
    let batch = one(field(TypeTag::Count), LogValue::Count(1));
    let error = decode(&[&batch[..], &[0; 3]].concat()).unwrap_err();
    assert_eq!((error.offset(), error.reason()), (batch.len(), &DecodeReason::Trailing(3)));
    // The number of rows is 0, but there is a row.
    assert_eq!(altered(&batch, ROWS - 4, &[0; 4]), (ROWS, vec![], DecodeReason::Trailing(HEAD + 8)));
}

#[test]
fn types_that_cannot_be_in_a_log_are_rejected() {
    let count = one(field(TypeTag::Count), LogValue::Count(1));
    let vector = one(container(TypeTag::Vector, TypeTag::Int), LogValue::Unset);
    let kind = FIELDS + 6;
    let is_loggable = |number: &u32| TypeTag::from_wire(*number).is_some_and(TypeTag::is_loggable);
    for number in (0..=23).chain([u32::MAX]).filter(|number| !is_loggable(number)) {
        for (batch, at) in [(&count, kind), (&vector, kind), (&vector, kind + 4)] {
            let reason = DecodeReason::InvalidLogType(number);
            assert_eq!(altered(batch, at, &number.to_be_bytes()), (at, vec![Step::Column(0)], reason));
        }
    }
}

#[test]
fn containers_in_containers_are_rejected() {
    let at = FIELDS + 6 + 4;
    for kind in [TypeTag::Table, TypeTag::Vector] {
        let batch = one(container(kind, TypeTag::Int), LogValue::Unset);
        for inner in [TypeTag::Table, TypeTag::Vector] {
            let error = altered(&batch, at, &inner.to_wire().to_be_bytes());
            assert_eq!(error, (at, vec![Step::Column(0)], DecodeReason::TooDeep { limit: 1 }));
        }
    }
    // The type of the element is not the one that the field declares.
    let batch = one(container(TypeTag::Vector, TypeTag::Int), LogValue::Vector(vec![LogValue::Int(1)]));
    let element = ROWS + HEAD + 8;
    let path = [first(), vec![Step::VectorElement(0)]].concat();
    let reason = DecodeReason::LogTypeMismatch { found: "vector", expected: "int" };
    let vector = TypeTag::Vector.to_wire().to_be_bytes();
    assert_eq!(altered(&batch, element, &vector), (element, path, reason));
}

#[test]
fn values_of_another_type_than_their_field_are_rejected() {
    for value in [LogValue::Count(1), LogValue::Unset] {
        let batch = one(field(TypeTag::Count), value);
        let mismatch = DecodeReason::LogTypeMismatch { found: "int", expected: "count" };
        assert_eq!(altered(&batch, ROWS, &2u32.to_be_bytes()), (ROWS, first(), mismatch));
        let mut bytes = batch.clone();
        bytes[ROWS + 3] = 2;
        let text =
            format!("byte {ROWS}, row 0, column 0: log value of type int, but its field declares count");
        assert_eq!(decode(&bytes).unwrap_err().to_string(), text);
        let unknown = DecodeReason::InvalidLogType(23);
        assert_eq!(altered(&batch, ROWS, &23u32.to_be_bytes()), (ROWS, first(), unknown));
    }
}

#[test]
fn the_subtype_of_a_value_is_ignored() {
    let mut batch = one(field(TypeTag::Count), LogValue::Count(1));
    batch[ROWS + 4..ROWS + 8].copy_from_slice(&[0xff; 4]);
    assert_eq!(decode(&batch).unwrap().rows().next().unwrap().values(), [LogValue::Count(1)]);
}

#[test]
fn flags_other_than_0_and_1_are_rejected() {
    let batch = one(field(TypeTag::Count), LogValue::Count(1));
    let in_field = vec![Step::Column(0)];
    for (at, path) in [(FIELDS, in_field.clone()), (FIELDS + FIELD - 1, in_field), (ROWS + HEAD - 1, first())]
    {
        for byte in [2, 0xff] {
            assert_eq!(altered(&batch, at, &[byte]), (at, path.clone(), DecodeReason::InvalidFlag(byte)));
        }
    }
}

#[test]
fn a_bool_is_true_if_its_number_is_not_0() {
    let mut batch = one(field(TypeTag::Bool), LogValue::Bool(false));
    for byte in [1, 2, 0xff] {
        batch[ROWS + HEAD] = byte;
        assert_eq!(decode(&batch).unwrap().rows().next().unwrap().values(), [LogValue::Bool(true)]);
    }
}

#[test]
fn ports_out_of_range_are_rejected() {
    let batch = one(field(TypeTag::Port), LogValue::Port(Port::new(65_535, Protocol::Icmp)));
    let at = ROWS + HEAD;
    for number in [65_536, u64::MAX] {
        let reason = DecodeReason::InvalidLogPort { number, protocol: 3 };
        assert_eq!(altered(&batch, at, &number.to_be_bytes()), (at, first(), reason));
    }
    for protocol in [4, 256, u32::MAX] {
        let reason = DecodeReason::InvalidLogPort { number: 65_535, protocol };
        assert_eq!(altered(&batch, at + 8, &protocol.to_be_bytes()), (at, first(), reason));
    }
}

#[test]
fn addresses_and_subnets_that_do_not_exist_are_rejected() {
    let batch = one(field(TypeTag::Addr), LogValue::Address("192.0.2.1".parse().unwrap()));
    let at = ROWS + HEAD;
    for family in [0, 5, 10, 0xff] {
        let reason = DecodeReason::UnknownAddressFamily(family);
        assert_eq!(altered(&batch, at, &[family]), (at, first(), reason));
    }
    for (subnet, lengths) in [("192.0.2.0/24", &[0, 24, 95, 129, 255][..]), ("2001:db8::/32", &[129, 255])] {
        let batch = one(field(TypeTag::Subnet), LogValue::Subnet(subnet.parse().unwrap()));
        for &length in lengths {
            let reason = DecodeReason::InvalidPrefixLength(length);
            assert_eq!(altered(&batch, at, &[length]), (at, first(), reason));
        }
    }
}

#[test]
fn the_number_of_fields_and_values_is_limited() {
    let fields = vec![field(TypeTag::Count), container(TypeTag::Vector, TypeTag::Count)];
    let vector = LogValue::Vector(vec![LogValue::Count(2), LogValue::Count(3)]);
    let rows = vec![vec![LogValue::Count(1), vector]; 3];
    let batch = encode(&header(fields), &rows);
    // Two fields, two values in each row, and two elements in each row.
    let needed = 2 + 3 * (2 + 2);
    for max_elements in 0..needed {
        let limits = Limits { max_elements, ..Limits::DEFAULT };
        let error = LogBatch::decode(&batch, &limits).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::TooManyElements { limit: max_elements });
    }
    let limits = Limits { max_elements: needed, ..Limits::DEFAULT };
    let batch = LogBatch::decode(&batch, &limits).unwrap();
    assert_eq!(batch.rows().map(LogRow::into_values).collect::<Vec<_>>(), rows);
}

#[test]
fn fields_and_values_take_a_few_times_their_bytes() {
    // The documentation of `LogBatch::decode` and `LogBatch::rows` states these factors.
    assert!(size_of::<LogField<'_>>() < 3 * (FIELD - 1));
    assert!(size_of::<LogValue<'_>>() <= 4 * HEAD);
    // A vector has no room for more than its elements.
    for count in [1, 5, 1000] {
        let vector = LogValue::Vector(vec![LogValue::Unset; count]);
        let batch = encode(&header(vec![container(TypeTag::Vector, TypeTag::Count)]), &[vec![vector]]);
        let batch = LogBatch::decode(&batch, &Limits::DEFAULT).unwrap();
        let row = batch.rows().next().unwrap().into_values();
        let [LogValue::Vector(elements)] = &row[..] else { panic!("{row:?}") };
        assert_eq!((elements.len(), elements.capacity()), (count, count));
    }
}
