//! Rows of all types: round trips, and their JSON.

use super::{
    LogField, LogRow, LogValue, TypeTag, container, decode, encode, encode_again, field, header, json,
};
use crate::data::{Port, Protocol};
use crate::wire::EncodeError;

/// Returns values of all types that are not containers, with their JSON.
fn scalars() -> Vec<(TypeTag, LogValue<'static>, &'static str)> {
    let address = |text: &str| LogValue::Address(text.parse().unwrap());
    let subnet = |text: &str| LogValue::Subnet(text.parse().unwrap());
    let port = |number, protocol| LogValue::Port(Port::new(number, protocol));
    let values = vec![
        (LogValue::Bool(true), "true"),
        (LogValue::Bool(false), "false"),
        (LogValue::Int(i64::MIN), "-9223372036854775808"),
        (LogValue::Count(u64::MAX), "18446744073709551615"),
        (LogValue::Double(1e300), "1e+300"),
        (LogValue::Double(-0.0), "-0.0"),
        (LogValue::Time(1_795_950_359.279_339), "1795950359.279339"),
        (LogValue::Time(f64::NEG_INFINITY), "\"-inf\""),
        (LogValue::Interval(1e-6), "1e-6"),
        (LogValue::Interval(f64::INFINITY), "\"inf\""),
        (LogValue::String(b"a \"b\"\n\x1b"), r#""a \"b\"\n\u001b""#),
        (LogValue::String(b"\xff\0"), r#"{"hex":"ff00"}"#),
        (LogValue::String(b""), r#""""#),
        (LogValue::Enum(b"Notice::ACTION_LOG"), "\"Notice::ACTION_LOG\""),
        (LogValue::Func(b"f: function()"), "\"f: function()\""),
        (LogValue::File(b"a.txt"), "\"a.txt\""),
        (port(443, Protocol::Tcp), "443"),
        (port(65_535, Protocol::Icmp), "65535"),
        (address("192.0.2.1"), "\"192.0.2.1\""),
        (address("2001:db8::1"), "\"2001:db8::1\""),
        (subnet("10.1.0.0/16"), "\"10.1.0.0/16\""),
        (subnet("0.0.0.0/0"), "\"0.0.0.0/0\""),
        (subnet("2001:db8::/32"), "\"2001:db8::/32\""),
    ];
    let with_type = |(value, text): (LogValue<'static>, _)| (value.kind().unwrap(), value, text);
    values.into_iter().map(with_type).collect()
}

#[test]
fn values_of_each_type_round_trip() {
    for (kind, value, text) in scalars() {
        assert_eq!(json(field(kind), value.clone()), format!("{{\"f\":{text}}}"));
        let rows = [vec![value], vec![LogValue::Unset]];
        let bytes = encode(&header(vec![field(kind)]), &rows);
        let batch = decode(&bytes).unwrap();
        assert_eq!(batch.rows().map(LogRow::into_values).collect::<Vec<_>>(), rows);
        assert_eq!(encode_again(&batch), bytes);
    }
}

#[test]
fn sets_and_vectors_of_each_type_round_trip() {
    for (subtype, value, text) in scalars() {
        for kind in [TypeTag::Table, TypeTag::Vector] {
            let new = if kind == TypeTag::Table { LogValue::Set } else { LogValue::Vector };
            for (elements, text) in [
                (vec![], "[]".to_owned()),
                (vec![value.clone()], format!("[{text}]")),
                (vec![value.clone(), LogValue::Unset, value.clone()], format!("[{text},null,{text}]")),
            ] {
                let field = container(kind, subtype);
                assert_eq!(json(field, new(elements.clone())), format!("{{\"f\":{text}}}"));
                let row = vec![new(elements)];
                let bytes = encode(&header(vec![field]), std::slice::from_ref(&row));
                let batch = decode(&bytes).unwrap();
                assert_eq!(batch.rows().next().unwrap().values(), row);
                assert_eq!(encode_again(&batch), bytes);
            }
        }
    }
}

#[test]
fn the_bits_of_nan_are_kept() {
    let nan = f64::from_bits(0xfff8_0000_0000_0123);
    let bytes = encode(&header(vec![field(TypeTag::Time)]), &[vec![LogValue::Time(nan)]]);
    assert!(bytes.ends_with(&nan.to_bits().to_be_bytes()));
    assert_eq!(encode_again(&decode(&bytes).unwrap()), bytes);
    assert_eq!(json(field(TypeTag::Time), LogValue::Time(nan)), r#"{"f":"nan"}"#);
}

#[test]
fn members_are_the_fields_that_are_set_in_their_order() {
    let names = ["z", "a", "unset", "id.orig_h", "a"];
    let fields = names.map(|name| LogField { optional: true, ..LogField::new(name, TypeTag::Count) });
    let row = (0..5).map(|i| if i == 2 { LogValue::Unset } else { LogValue::Count(i) }).collect();
    let bytes = encode(&header(fields.to_vec()), &[row]);
    let batch = decode(&bytes).unwrap();
    let row = batch.rows().next().unwrap();
    let mut text = Vec::new();
    row.write_json(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), r#"{"z":0,"a":1,"id.orig_h":3,"a":4}"#);
    assert_eq!(row.get("a"), Some(&LogValue::Count(1)));
    assert_eq!(row.get("unset"), Some(&LogValue::Unset));
    assert_eq!(row.get("b"), None);
}

#[test]
fn a_field_name_that_is_not_utf8_is_escaped_as_a_key() {
    let field = LogField { name: b"a\xff\xc3\xa4\"", ..field(TypeTag::Count) };
    assert_eq!(json(field, LogValue::Count(1)), "{\"a\\\\xff\u{e4}\\\"\":1}");
}

#[test]
fn secondary_names_round_trip() {
    let field = LogField { secondary: Some(b"other"), optional: true, ..field(TypeTag::Bool) };
    let bytes = encode(&header(vec![field]), &[]);
    let batch = decode(&bytes).unwrap();
    assert_eq!((&batch.header().fields[..], batch.row_count()), (&[field][..], 0));
    assert_eq!(encode_again(&batch), bytes);
}

#[test]
fn a_mapped_ipv4_address_is_an_ipv4_address_as_in_zeek() {
    let row = vec![LogValue::Address("2001:db8::1".parse().unwrap())];
    let mut bytes = encode(&header(vec![field(TypeTag::Addr)]), &[row]);
    let start = bytes.len() - 16;
    bytes[start..].copy_from_slice(b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01");
    let batch = decode(&bytes).unwrap();
    let row = batch.rows().next().unwrap();
    assert_eq!(row.values(), [LogValue::Address("192.0.2.1".parse().unwrap())]);
}

#[test]
fn values_that_do_not_match_their_field_are_not_encoded() {
    let count = || LogValue::Count(1);
    let nested = || LogValue::Vector(vec![LogValue::Vector(vec![])]);
    let set = |elements| LogValue::Set(elements);
    let vector_of = |subtype| container(TypeTag::Vector, subtype);
    for (fields, row, expected) in [
        (vec![field(TypeTag::Int)], vec![count()], "whose type"),
        (vec![field(TypeTag::Count)], vec![set(vec![])], "whose type"),
        (vec![vector_of(TypeTag::Int)], vec![set(vec![])], "whose type"),
        (vec![vector_of(TypeTag::Int)], vec![LogValue::Vector(vec![count()])], "whose type"),
        (vec![vector_of(TypeTag::Int)], vec![nested()], "whose type"),
        (vec![vector_of(TypeTag::Vector)], vec![nested()], "cannot be in a log"),
        (vec![field(TypeTag::Record)], vec![LogValue::Unset], "cannot be in a log"),
        (vec![field(TypeTag::Vector)], vec![LogValue::Unset], "cannot be in a log"),
        (vec![field(TypeTag::Count)], vec![count(), count()], "exactly one value"),
        (vec![field(TypeTag::Count)], vec![], "exactly one value"),
        (vec![], vec![], "without fields"),
    ] {
        let error = header(fields).encode(&[row], &mut Vec::new()).unwrap_err();
        assert!(matches!(error, EncodeError::NotCarried { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn the_numbers_of_types_round_trip() {
    for (number, kind) in (0..).zip(TypeTag::ALL) {
        assert_eq!((kind.to_wire(), TypeTag::from_wire(number)), (number, Some(kind)), "{}", kind.name());
    }
    assert_eq!((TypeTag::from_wire(23), TypeTag::from_wire(u32::MAX)), (None, None));
}
