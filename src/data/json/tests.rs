mod vectors;

use proptest::prelude::*;

use serde_json::json;

use super::read::TYPES;
use super::*;
use crate::data::{Timespan, Timestamp, arbitrary};

fn error(text: &str) -> String {
    Value::from_json_text(text).unwrap_err().to_string()
}

fn written(value: &Value) -> String {
    let mut text = Vec::new();
    value.write_json(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Returns whether two JSON values are equal. `1` and `1.0` are equal, `0` and `-0` are not.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            a == b
                || (a.is_f64() || b.is_f64()) && a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        _ => a == b,
    }
}

#[test]
fn every_golden_value_is_read_and_written_back() {
    let lines = include_str!("../../../fixtures/values.jsonl").lines();
    let mut count = 0;
    for line in lines {
        let line = parse_json(line).unwrap();
        let (name, json) = (&line["name"], &line["json"]);
        let value = Value::from_json(json).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(same(&value.to_json(), json), "{name}: {} for {json}", value.to_json());
        assert_eq!(written(&value), value.to_json().to_string(), "{name}");
        assert_eq!(Value::from_json_text(value.to_json().to_string()), Ok(value), "{name}");
        count += 1;
    }
    assert_eq!(count, 83);
}

/// Returns whether Broker's JSON differs for this fixture.
fn differs_in_broker(name: &str) -> bool {
    // Broker writes six digits after the point, and infinities without quotes.
    name.starts_with("real-")
        // Broker writes three digits after the point. Times before 1970 are one second too early.
        || ["timestamp-2022-04-10T07:00:00.123456789", "timestamp-before-epoch"].contains(&name)
        // Broker writes the raw bytes, which are not valid JSON.
        || ["string-nul-inside", "string-not-utf8"].contains(&name)
}

#[test]
fn values_have_the_same_json_as_in_brokers_library() {
    let lines = include_bytes!("../../../fixtures/json-v1/written.jsonl").split(|byte| *byte == b'\n');
    let mut compared = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let line = parse_json(line).unwrap();
        let name = line["name"].as_str().unwrap();
        let (hex, Some(text)) = (line["hex"].as_str().unwrap(), line["text"].as_str()) else { continue };
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let value = crate::wire::decode_value(&bytes, &crate::wire::Limits::DEFAULT).unwrap();
        if differs_in_broker(name) {
            continue;
        }
        // Broker pads reals with zeros.
        if text.contains("\"real\"") {
            assert!(same(&value.to_json(), &parse_json(text).unwrap()), "{name}");
        } else {
            assert_eq!(written(&value), text, "{name}");
        }
        assert_eq!(Value::from_json_text(text), Ok(value), "{name}");
        compared += 1;
    }
    assert!(compared >= 60, "{compared}");
}

proptest! {
    #[test]
    fn any_value_survives_a_round_trip(value in arbitrary::value()) {
        let text = value.to_json().to_string();
        prop_assert_eq!(written(&value), text.as_str());
        prop_assert_eq!(Value::from_json_text(&text), Ok(value), "{}", text);
    }

    #[test]
    fn bytes_of_any_length_are_written_as_hex(bytes in prop::collection::vec(128..=255u8, 0..1500)) {
        let value = Value::String(bytes.into());
        prop_assert_eq!(written(&value), value.to_json().to_string());
    }

    #[test]
    fn any_real_keeps_all_its_digits(real in proptest::num::f64::ANY) {
        let text = Value::Real(real).to_json().to_string();
        prop_assert_eq!(written(&Value::Real(real)), text.as_str());
        prop_assert_eq!(Value::from_json_text(&text), Ok(Value::Real(real)), "{}", text);
    }

    /// If reading succeeds, the value can be written and read again.
    #[test]
    fn any_json_is_read_or_rejected(
        data_type in prop::sample::select(TYPES.split(", ").collect::<Vec<_>>()),
        key in prop::sample::select(vec!["data", "hex", "ns"]),
        content in prop_oneof![
            Just("null".to_owned()), Just("true".to_owned()), Just("{}".to_owned()), Just("[]".to_owned()),
            Just("[[]]".to_owned()), Just("[{}]".to_owned()), any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| json!(n).to_string()), "[0-9a-f:./]{0,8}".prop_map(|t| json!(t).to_string()),
        ],
    ) {
        let text = format!(r#"{{"@data-type":"{data_type}","{key}":{content}}}"#);
        match Value::from_json_text(&text) {
            Ok(value) => {
                prop_assert_eq!(value.type_name(), data_type);
                prop_assert_eq!(Value::from_json(&value.to_json()), Ok(value));
            }
            Err(error) => prop_assert!(matches!(error, JsonError::WrongType(_)), "{}: {}", text, error),
        }
    }
}

#[test]
fn values_are_read_from_json() {
    let v4 = "1.2.3.4".parse().unwrap();
    for (json, value) in [
        (json!({"@data-type": "none"}), Value::None),
        (json!({"@data-type": "none", "data": null}), Value::None),
        (json!({"@data-type": "real", "data": 1}), Value::Real(1.0)),
        (json!({"@data-type": "real", "data": "-inf"}), Value::Real(f64::NEG_INFINITY)),
        (json!({"@data-type": "string", "hex": "61fF"}), Value::String(b"a\xff"[..].into())),
        (json!({"@data-type": "string", "hex": ""}), Value::String("".into())),
        (json!({"@data-type": "enum-value", "hex": "ff"}), Value::enum_value(&b"\xff"[..])),
        (json!({"@data-type": "address", "data": "::ffff:1.2.3.4"}), Value::Address(v4)),
        (json!({"@data-type": "subnet", "data": "10.1.2.3/8"}), Value::Subnet("10.0.0.0/8".parse().unwrap())),
        (
            json!({"@data-type": "timespan", "data": "1500ms"}),
            Value::Timespan(Timespan::from_nanos(1_500_000_000)),
        ),
        (json!({"@data-type": "timestamp", "ns": -1}), Value::Timestamp(Timestamp::from_nanos(-1))),
        (
            json!({"@data-type": "timestamp", "data": "2023-04-18T14:13:15.5+02:00"}),
            Value::Timestamp(Timestamp::from_nanos(1_681_819_995_500_000_000)),
        ),
        (
            json!({"@data-type": "timespan", "data": "-1500us"}),
            Value::Timespan(Timespan::from_nanos(-1_500_000)),
        ),
        (json!({"type": "data-message", "topic": "/t", "@data-type": "count", "data": 1}), Value::Count(1)),
    ] {
        assert_eq!(Value::from_json(&json), Ok(value), "{json}");
    }
    assert_eq!(Value::from_json_text(" {\"@data-type\":\"real\",\"data\":-0}\n"), Ok(Value::Real(-0.0)));
}

#[test]
fn elements_may_have_any_order() {
    let count = |n: u64| json!({"@data-type": "count", "data": n});
    let set = json!({"@data-type": "set", "data": [count(2), count(1)]});
    assert_eq!(Value::from_json(&set), Ok(Value::Set([1u64, 2].into_iter().collect())));
    let pair = |n: u64| json!({"key": count(n), "value": count(0)});
    let table = json!({"@data-type": "table", "data": [pair(2), pair(1)]});
    assert_eq!(Value::from_json(&table), Ok(Value::Table([(1u64, 0u64), (2, 0)].into_iter().collect())));
}

#[test]
fn invalid_values_are_refused_with_the_reason() {
    let with = |data_type: &str, rest: &str| error(&format!(r#"{{"@data-type":"{data_type}",{rest}}}"#));
    for (found, expected) in [
        (error("5"), r#"expected an object with "@data-type" and "data", found 5"#),
        (error("{}"), r#"expected an object with "@data-type", found no such member"#),
        (error(r#"{"@data-type":"count"}"#), r#"expected an object with "data", found no such member"#),
        (with("none", r#""data":0"#), r#"expected "data" of a none to be {}, found 0"#),
        (with("boolean", r#""data":1"#), "expected true or false, found 1"),
        (with("count", r#""data":-1"#), "expected count: a whole number from 0 to 2^64 - 1, found -1"),
        (with("count", r#""data":1.0"#), "expected count: a whole number from 0 to 2^64 - 1, found 1.0"),
        (
            with("integer", r#""data":9223372036854775808"#),
            "expected integer: a whole number from -2^63 to 2^63 - 1, found 9223372036854775808",
        ),
        (
            with("real", r#""data":"infinity""#),
            r#"expected real: a number, "inf", "-inf" or "nan", found "infinity""#,
        ),
        (with("string", r#""data":7"#), "expected text, found 7"),
        (with("string", r#""text":"""#), r#"expected an object with "data" or "hex", found neither"#),
        (with("string", r#""data":"","hex":"""#), r#"expected an object with "data" or "hex", found both"#),
        (with("string", r#""hex":"abc""#), r#"expected an even number of hexadecimal digits, found "abc""#),
        (with("enum-value", r#""hex":"xy""#), r#"expected an even number of hexadecimal digits, found "xy""#),
        (with("address", r#""data":"1.2.3""#), r#"expected an IPv4 or IPv6 address, found "1.2.3""#),
        (with("subnet", r#""data":"1.2.3.4/33""#), r#"expected subnet: ADDRESS/LENGTH, found "1.2.3.4/33""#),
        (
            with("port", r#""data":"65536/tcp""#),
            r#"expected port: NUMBER/PROTOCOL with tcp, udp, icmp or ?, found "65536/tcp""#,
        ),
        (with("timestamp", r#""text":"""#), r#"expected an object with "ns" or "data", found neither"#),
        (
            with("timestamp", r#""data":"2022-04-31T07:00:00.000""#),
            r#"expected timestamp: ISO 8601 such as 2023-04-18T12:13:15.123Z, of the years 1678 to 2262, found "2022-04-31T07:00:00.000""#,
        ),
        (
            with("timestamp", r#""data":1681827194"#),
            "expected timestamp: ISO 8601 such as 2023-04-18T12:13:15.123Z, of the years 1678 to 2262, found 1681827194",
        ),
        (with("timestamp", r#""ns":1.5"#), "expected timestamp: whole nanoseconds since 1970, found 1.5"),
        (
            with("timespan", r#""data":"5m""#),
            r#"expected timespan: a number with ns, us, ms, s, min, h or d, found "5m""#,
        ),
        (with("timespan", r#""ns":"5""#), r#"expected timespan: whole nanoseconds, found "5""#),
        (with("vector", r#""data":{}"#), "expected an array, found an object"),
        (with("string", r#""data":["x"]"#), "expected text, found an array"),
    ] {
        assert_eq!(found, expected);
    }
    let unknown = with("counter", r#""data":1"#);
    assert_eq!(unknown, format!(r#"expected "@data-type" to be one of {TYPES}, found "counter""#));
    let long = with("address", &format!(r#""data":"{}""#, "é".repeat(50)));
    assert!(long.ends_with(&format!(r#"found "{}" and more"#, "é".repeat(40))), "{long}");
}

#[test]
fn equal_elements_and_keys_are_rejected() {
    let count = json!({"@data-type": "count", "data": 1});
    let set = json!({"@data-type": "set", "data": [count, count]}).to_string();
    assert_eq!(error(&set), "expected a set of different elements, found two equal ones");
    let pair = json!({"key": count, "value": count});
    let table = json!({"@data-type": "table", "data": [pair, pair]}).to_string();
    assert_eq!(error(&table), "expected a table with different keys, found two equal ones");
}

#[test]
fn an_error_contains_the_path() {
    let (good, bad) = (json!({"@data-type": "count", "data": 1}), json!({"@data-type": "count"}));
    let table = |pair| json!({"@data-type": "table", "data": [pair]});
    let within = |inner| error(&json!({"@data-type": "vector", "data": [good, inner]}).to_string());
    let what = r#"expected an object with "data", found no such member"#;
    let key = within(table(json!({"key": bad, "value": good})));
    assert_eq!(key, format!("vector element 1, table key 0: {what}"));
    let value = within(table(json!({"key": good, "value": bad})));
    assert_eq!(value, format!("vector element 1, table value 0: {what}"));
    let element = within(json!({"@data-type": "set", "data": [good, bad]}));
    assert_eq!(element, format!("vector element 1, set element 1: {what}"));
    let pair = r#"vector element 1, table key 0: expected a pair: {"key": .., "value": ..}, found 3"#;
    assert_eq!(within(table(json!(3))), pair);
    let half = r#"vector element 1, table value 0: expected an object with "value", found no such member"#;
    assert_eq!(within(table(json!({"key": good}))), half);
}

#[test]
fn invalid_json_is_refused_with_its_position() {
    for (text, expected) in [
        ("", "not JSON: the text is empty at line 1 column 1"),
        (" \n", "not JSON: the text is empty at line 2 column 1"),
        ("{\n\"a\" 1}", "not JSON: expected `:` at line 2 column 5"),
        ("{} {}", "not JSON: expected the end of the text at line 1 column 4"),
        ("{}x", "not JSON: expected the end of the text at line 1 column 3"),
        ("\u{feff}{}", "not JSON: expected a value at line 1 column 1"),
        ("[1,]", "not JSON: expected a value at line 1 column 4"),
        ("[1 2]", "not JSON: expected `,` or `]` at line 1 column 4"),
        ("[1}", "not JSON: expected `,` or `]` at line 1 column 3"),
        ("[}", "not JSON: expected a value at line 1 column 2"),
        ("{]", "not JSON: expected a key or `}` at line 1 column 2"),
        ("{1:2}", "not JSON: expected a key or `}` at line 1 column 2"),
        ("{\"a\":1,}", "not JSON: expected a key at line 1 column 8"),
        ("{\"a\":1]", "not JSON: expected `,` or `}` at line 1 column 7"),
        ("[01]", "not JSON: expected a value at line 1 column 2"),
        ("[1.]", "not JSON: expected a value at line 1 column 2"),
        ("[.5]", "not JSON: expected a value at line 1 column 2"),
        ("[+5]", "not JSON: expected a value at line 1 column 2"),
        ("[1e]", "not JSON: expected a value at line 1 column 2"),
        ("[-]", "not JSON: expected a value at line 1 column 2"),
        ("[truely]", "not JSON: expected `,` or `]` at line 1 column 6"),
        ("[NaN]", "not JSON: expected a value at line 1 column 2"),
        ("[infinity]", "not JSON: expected `,` or `]` at line 1 column 5"),
        ("[\"a\nb", "not JSON: unexpected end in a string at line 2 column 2"),
        ("[\"\\x41\"]", "not JSON: invalid escape in a string at line 1 column 3"),
        ("[", "not JSON: unexpected end at line 1 column 2"),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
    assert!(matches!(parse_json(b"\"\xff\""), Err(JsonError::Syntax { .. })));
    assert!(matches!(parse_json("{\n\"a\": inf}"), Err(JsonError::Syntax { offset: 7, .. })));
    let error = Value::from_json_text("{\n\"a\" 1}").unwrap_err();
    assert!(matches!(error, JsonError::Syntax { offset: 6, .. }), "{error:?}");
}

/// Returns `value` inside `depth` vectors or tables.
fn nested(depth: usize, value: Value, table: bool) -> Value {
    (0..depth).fold(value, |value, _| {
        if table { Value::Table([(0u64, value)].into_iter().collect()) } else { Value::from([value]) }
    })
}

#[test]
fn the_deepest_value_is_read_and_a_deeper_one_rejected() {
    for table in [false, true] {
        let deepest = nested(MAX_DEPTH, Value::None, table);
        let json = deepest.to_json();
        // In the input of the program, a value is inside two more levels.
        let line = parse_json(json!({"event": "e", "args": [json]}).to_string()).unwrap();
        assert_eq!(Value::from_json(&line["args"][0]), Ok(deepest));
        let deeper = nested(MAX_DEPTH + 1, Value::None, table).to_json();
        assert_eq!(Value::from_json(&deeper), Err(JsonError::TooDeep { limit: MAX_DEPTH }));
        assert_eq!(Value::from_json_text(deeper.to_string()), Err(JsonError::TooDeep { limit: MAX_DEPTH }));
    }
}

#[test]
fn a_million_brackets_do_not_exhaust_the_stack() {
    for open in ["[", "{\"a\":", "{\"@data-type\":\"vector\",\"data\":["] {
        assert_eq!(
            Value::from_json_text(open.repeat(1_000_000)),
            Err(JsonError::TooDeep { limit: MAX_DEPTH })
        );
    }
}

#[test]
fn brackets_in_strings_are_not_counted() {
    for text in ["[".repeat(1_000), "\"]}".repeat(1_000), "\\[".repeat(1_000)] {
        let brackets = Value::String(text.into());
        assert_eq!(Value::from_json_text(brackets.to_json().to_string()), Ok(brackets));
    }
}

#[test]
fn limits_apply_to_the_depth_of_containers_and_to_the_number_of_nodes() {
    let value = nested(3, Value::Count(1), true);
    let text = value.to_json().to_string();
    let read = |max_depth, max_nodes| {
        let document = JsonDocument::parse(text.as_bytes(), &JsonLimits { max_depth, max_nodes })?;
        document.root().to_value()
    };
    // Each table has eight nodes besides its value: object, type and its key, content and its key, pair and its two keys,
    // and the five nodes of its key.
    let nodes = 3 * (8 + 5) + 5;
    assert_eq!(read(3, nodes), Ok(value));
    assert_eq!(read(3, nodes - 1), Err(JsonError::TooManyNodes { limit: nodes - 1 }));
    assert_eq!(read(2, nodes), Err(JsonError::TooDeep { limit: 2 }));
    let deepest = nested(MAX_DEPTH + 1, Value::None, false).to_json().to_string();
    let limits = JsonLimits { max_depth: usize::MAX, ..JsonLimits::DEFAULT };
    let document = JsonDocument::parse(deepest.as_bytes(), &limits).unwrap();
    assert_eq!(document.root().to_value(), Err(JsonError::TooDeep { limit: MAX_DEPTH }));
}
