//! What this reader accepts, compared with what Broker's own library accepts, and with `serde_json`.

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use crate::data::arbitrary;

/// A reading that intentionally differs from Broker's: the text of `data`, and the value that this reader returns, or
/// `None` if it rejects the text.
fn differences() -> Vec<(&'static str, &'static str, Option<Json>)> {
    let real = |data: Json| Some(json!({"@data-type": "real", "data": data}));
    vec![
        // Broker rejects numbers whose integer part exceeds 64 bits.
        ("real", "18446744073709551616.0", real(json!(18446744073709551616.0))),
        ("real", "99999999999999999999.0", real(json!(99999999999999999999.0))),
        // Broker calculates these two wrongly, and drops the sign of zero.
        ("real", "1.7976931348623157e308", real(json!(f64::MAX))),
        ("real", "4.9e-324", real(json!(5e-324))),
        ("real", "-0.0", real(json!(-0.0))),
        // Broker writes these but does not read them.
        ("real", "-nan", real(json!("nan"))),
        ("real", "inf", real(json!("inf"))),
        ("real", "-inf", real(json!("-inf"))),
        // Programs often write a real without a fraction as an integer.
        ("real", "7", real(json!(7.0))),
        ("real", "-7", real(json!(-7.0))),
        // Not numbers in JSON.
        ("real", "+1.5", None),
        ("real", ".5", None),
        ("real", "5.", None),
        ("count", "01", None),
        ("count", "+1", None),
        ("integer", "+5", None),
        // The content of a none is checked.
        ("none", "5", None),
        ("none", "[]", None),
        ("none", "\"x\"", None),
        // Broker reads an escaped slash as a question mark.
        ("string", r#""a\/b""#, Some(json!({"@data-type": "string", "data": "a/b"}))),
        // Broker ends the text at a NUL.
        ("string", "\"raw \0 nul\"", Some(json!({"@data-type": "string", "data": "raw \0 nul"}))),
        // Days are a unit of Zeek.
        ("timespan", r#""1d""#, Some(json!({"@data-type": "timespan", "ns": 86_400_000_000_000_i64}))),
        // Broker calculates with doubles.
        (
            "timespan",
            r#""9223372036854775807ns""#,
            Some(json!({"@data-type": "timespan", "ns": 9_223_372_036_854_775_807_i64})),
        ),
        ("timespan", r#""9223372036854775808ns""#, None),
        // Broker accepts nine digits.
        (
            "timestamp",
            r#""2023-04-18T14:13:14.1234567891""#,
            Some(json!({"@data-type": "timestamp", "ns": 1_681_827_194_123_456_789_i64})),
        ),
        // Broker's times overflow.
        ("timestamp", r#""2300-01-01T00:00:00""#, None),
        ("timestamp", r#""1600-01-01T00:00:00""#, None),
        // ISO 8601 and RFC 3339 allow a space.
        (
            "timestamp",
            r#""2023-04-18 14:13:14""#,
            Some(json!({"@data-type": "timestamp", "ns": 1_681_827_194_000_000_000_i64})),
        ),
        // Broker replaces what is missing or invalid, and port numbers overflow.
        ("port", r#""0/unknown""#, None),
        ("port", r#""80""#, None),
        ("port", r#""65536/tcp""#, None),
        ("port", r#""-1/tcp""#, None),
        ("port", r#""80/TCP""#, None),
        ("port", r#""80/sctp""#, None),
        ("port", r#""/tcp""#, None),
        ("port", r#""80/""#, None),
        ("port", r#""x/tcp""#, None),
        // Some systems read a leading zero as octal.
        ("address", r#""01.2.3.4""#, None),
        // Broker replaces subnets that are too long by ::/0, and ignores what follows the length.
        ("subnet", r#""10.0.0.0/33""#, None),
        ("subnet", r#""::/129""#, None),
        ("subnet", r#""10.0.0.0/8x""#, None),
        // An IPv4 subnet has a length of at most 32.
        ("subnet", r#""::ffff:10.0.0.0/104""#, None),
    ]
}

#[test]
fn texts_are_read_as_by_brokers_library_except_for_the_listed_differences() {
    let mut differences = differences();
    let mut compared = 0;
    for line in include_str!("../../../../fixtures/json-v1/read.jsonl").lines() {
        let line = parse_json(line).unwrap();
        let text = match line["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => data_encoding::HEXLOWER.decode(line["text_hex"].as_str().unwrap().as_bytes()).unwrap(),
        };
        let broker = line.get("value").map(|value| Value::from_json(value).unwrap());
        let read = Value::from_json_text(&text).ok();
        let listed = differences.iter().position(|(data_type, data, _)| {
            text == format!(r#"{{"@data-type":"{data_type}","data":{data}}}"#).as_bytes()
        });
        let expected = match listed.map(|index| differences.remove(index)) {
            Some((.., ours)) => {
                let ours = ours.map(|ours| Value::from_json(&ours).unwrap());
                assert_ne!(ours, broker, "not a difference: {}", text.escape_ascii());
                ours
            }
            // Broker's library reads C strings.
            None if text.ends_with(b"\0") => None,
            None => broker,
        };
        assert_eq!(read, expected, "{}", text.escape_ascii());
        compared += 1;
    }
    assert_eq!(compared, 196);
    assert_eq!(differences, [], "not in the fixture");
}

#[test]
fn every_text_that_brokers_library_writes_is_read() {
    let mut read = 0;
    for line in include_str!("../../../../fixtures/json-v1/written.jsonl").lines() {
        let line = parse_json(line).unwrap();
        let text = match (&line["text"], &line["text_hex"]) {
            (Json::String(text), _) => text.as_bytes().to_vec(),
            (_, hex) => data_encoding::HEXLOWER.decode(hex.as_str().unwrap().as_bytes()).unwrap(),
        };
        let bytes = data_encoding::HEXLOWER.decode(line["hex"].as_str().unwrap().as_bytes()).unwrap();
        let value = crate::wire::decode_value(&bytes, &crate::wire::Limits::DEFAULT).unwrap();
        let name = line["name"].as_str().unwrap();
        // Broker's text has fewer digits of a real or a timestamp than the value.
        let is_rounded = name.starts_with("real-") || name.starts_with("timestamp-");
        let found = Value::from_json_text(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if is_rounded {
            assert_eq!(found.type_name(), value.type_name(), "{name}");
        } else {
            assert_eq!(found, value, "{name}");
        }
        read += 1;
    }
    assert_eq!(read, 83);
}

#[test]
fn numbers_that_are_not_json_are_only_read_as_reals() {
    for number in ["inf", "-inf", "nan", "-nan"] {
        let with = |data_type: &str| format!(r#"{{"@data-type":"{data_type}","data":{number}}}"#);
        assert!(matches!(Value::from_json_text(with("real")), Ok(Value::Real(_))), "{number}");
        for data_type in ["string", "count", "integer", "boolean", "none", "timestamp", "enum-value"] {
            let error = Value::from_json_text(with(data_type)).unwrap_err().to_string();
            assert!(error.ends_with(&format!("found {number}")), "{data_type}: {error}");
        }
    }
    let large = |text: &str| Value::from_json_text(format!(r#"{{"@data-type":"real","data":{text}}}"#));
    assert_eq!(large("1e400"), Ok(Value::Real(f64::INFINITY)));
    assert_eq!(large("-1e400"), Ok(Value::Real(f64::NEG_INFINITY)));
    assert_eq!(large(&format!("-{}.0", "9".repeat(400))), Ok(Value::Real(f64::NEG_INFINITY)));
}

#[test]
fn the_first_of_two_members_with_the_same_name_counts() {
    let text = br#"{"@data-type":"count","data":1,"data":"x","@data-type":"string","\u0064ata":2}"#;
    assert_eq!(Value::from_json_text(text), Ok(Value::Count(1)));
    let text = br#"{"\u0064ata":2,"\u0040data-type":"count","data":1}"#;
    assert_eq!(Value::from_json_text(text), Ok(Value::Count(2)));
}

#[test]
fn a_message_can_be_read_member_by_member() {
    let text = b"{\"type\":\"data-message\", \"topic\":\"/t\xff\",\"@data-type\":\"vector\",\"data\":[
        {\"@data-type\":\"string\",\"data\":\"\x80\\v\"}],\"more\":[[],{}],\"ok\":true,\"n\":7,\"z\":null}";
    let document = JsonDocument::parse(text, &JsonLimits::DEFAULT).unwrap();
    let root = document.root();
    assert_eq!(root.get("topic").unwrap().as_bytes().as_deref(), Some(&b"/t\xff"[..]));
    assert_eq!(root.to_value(), Ok(Value::from([Value::String(b"\x80\x0b"[..].into())])));
    let kinds: Vec<_> = root.members().unwrap().map(|(_, value)| value.kind()).collect();
    use JsonKind::{Array, Boolean, Null, Number, Object, String};
    assert_eq!(kinds, [String, String, String, Array, Array, Boolean, Number, Null]);
    let more: Vec<_> = root.get("more").unwrap().elements().unwrap().map(JsonNode::kind).collect();
    assert_eq!(more, [Array, Object]);
    assert_eq!(root.get("ok").unwrap().as_bool(), Some(true));
    assert_eq!(root.get("n").unwrap().as_u64(), Some(7));
    assert_eq!(root.get("n").unwrap().as_bytes(), None);
    assert_eq!(root.get("type").unwrap().as_u64(), None);
    assert!(root.get("Topic").is_none() && root.get("ok").unwrap().get("x").is_none());
}

#[test]
fn strings_booleans_and_null_can_be_read_without_a_type() {
    let text = br#"{"@data-type":"vector","data":["a",true,null,{"@data-type":"set","data":[false]}]}"#;
    let document = JsonDocument::parse(text, &JsonLimits::DEFAULT).unwrap();
    let set = Value::Set([false].into_iter().collect());
    let expected = Value::from([Value::from("a"), Value::from(true), Value::None, set]);
    assert_eq!(document.root().to_inferred_value(), Ok(expected));
    let error = document.root().to_value().unwrap_err().to_string();
    assert_eq!(error, r#"vector element 0: expected an object with "@data-type" and "data", found "a""#);
    let document = JsonDocument::parse(b"[7]", &JsonLimits::DEFAULT).unwrap();
    for node in document.root().elements().unwrap().chain([document.root()]) {
        assert!(node.to_inferred_value().is_err());
    }
}

#[test]
fn every_prefix_of_a_text_is_rejected() {
    let text = b"{\"@data-type\":\"table\",\"data\":[{\"key\":{\"@data-type\":\"string\",\"data\":\"\xff\\u00e9\\\"\"},
        \"value\":{\"@data-type\":\"vector\",\"data\":[{\"@data-type\":\"real\",\"data\":-1.5e+3},{\"@data-type\":
        \"real\",\"data\":-inf},{\"@data-type\":\"boolean\",\"data\":false},{\"data\":{},\"@data-type\":\"none\"}]}}]}";
    assert!(Value::from_json_text(text).is_ok());
    for length in 0..text.len() {
        let error = Value::from_json_text(&text[..length]);
        assert!(matches!(&error, Err(JsonError::Syntax { offset, .. }) if *offset <= length), "{error:?}");
    }
}

/// Replaces escapes by raw control characters. Zeek writes these, although they are not valid in JSON.
fn as_zeek_writes(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    for (escape, raw) in [("\\u000b", "\\v"), ("\\u0001", "\u{1}"), ("\\t", "\t"), ("\\n", "\n")] {
        // An escaped backslash before the escape would change its meaning.
        if !text.contains("\\\\") {
            text = text.replace(escape, raw);
        }
    }
    text.into_bytes()
}

proptest! {
    #[test]
    fn any_value_is_read_from_text_with_raw_control_characters(value in arbitrary::value()) {
        let text = as_zeek_writes(&value.to_json().to_string());
        prop_assert_eq!(Value::from_json_text(&text), Ok(value));
    }

    #[test]
    fn any_bytes_between_quotes_are_kept(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, b'"' | b'\\')).collect();
        let text = [b"{\"@data-type\":\"string\",\"data\":\"", &bytes[..], b"\"}"].concat();
        prop_assert_eq!(Value::from_json_text(text), Ok(Value::String(bytes.into())));
    }

    /// What `serde_json` accepts is accepted, and read the same way.
    #[test]
    fn texts_are_accepted_if_serde_json_accepts_them(text in "[\\[\\]{}\",:0-9a-e.\\\\u+\\- \n]{0,24}") {
        let ours = JsonDocument::parse(text.as_bytes(), &JsonLimits::DEFAULT).map(|document| document.root().kind());
        match serde_json::from_str::<Json>(&text) {
            Ok(json) => {
                let kind = match json {
                    Json::Null => JsonKind::Null,
                    Json::Bool(_) => JsonKind::Boolean,
                    Json::Number(_) => JsonKind::Number,
                    Json::String(_) => JsonKind::String,
                    Json::Array(_) => JsonKind::Array,
                    Json::Object(_) => JsonKind::Object,
                };
                prop_assert_eq!(ours, Ok(kind));
            }
            // Control characters in strings, and numbers that are too large, are accepted.
            Err(error) if text.contains('\n') || error.to_string().contains("out of range") => {}
            Err(error) => prop_assert!(ours.is_err(), "{}", error),
        }
    }

    #[test]
    fn damaged_text_is_read_or_rejected(
        value in arbitrary::value(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut text = value.to_json().to_string().into_bytes();
        for (index, byte) in damage {
            let index = index.index(text.len());
            text[index] = byte;
        }
        if let Ok(value) = Value::from_json_text(&text) {
            prop_assert_eq!(Value::from_json(&value.to_json()), Ok(value));
        }
    }
}
