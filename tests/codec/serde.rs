//! `serde` for values and their parts. The structure, errors and limits are the same as in the crate's own JSON.

use crate::common::golden_values;
use ::serde::de::DeserializeOwned;
use ::serde::{Deserialize, Serialize};
use serde_json::{Deserializer, json};
use zeek_bridge::data::{
    Address, ByteString, EndpointId, Filter, MAX_DEPTH, Port, Set, Subnet, Table, Timespan, Timestamp, Topic,
    Value,
};

/// Deserializes without the depth limit of `serde_json`, because the deepest values exceed it.
fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let mut from = Deserializer::from_str(text);
    from.disable_recursion_limit();
    T::deserialize(&mut from)
}

fn error<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    serde_json::from_str::<T>(text).unwrap_err().to_string()
}

#[test]
fn serde_reads_and_writes_every_golden_value_like_the_json_of_the_crate() {
    let mut too_deep_for_serde_json = Vec::new();
    for golden in golden_values() {
        let name = &golden.name;
        let value = Value::from_json(&golden.json).unwrap();
        let text = serde_json::to_string(&value).unwrap();
        let mut own = Vec::new();
        value.write_json(&mut own).unwrap();
        assert_eq!(text.as_bytes(), own, "{name}");
        assert_eq!(serde_json::to_value(&value).unwrap(), value.to_json(), "{name}");
        assert_eq!(read::<Value>(&text).unwrap(), value, "{name}");
        assert_eq!(serde_json::from_value::<Value>(golden.json).unwrap(), value, "{name}");
        match serde_json::from_str::<Value>(&text) {
            Ok(read) => assert_eq!(read, value, "{name}"),
            Err(error) => {
                assert!(error.to_string().starts_with("recursion limit exceeded"), "{name}: {error}");
                too_deep_for_serde_json.push(golden.name);
            }
        }
    }
    assert_eq!(too_deep_for_serde_json, ["vector-nested-64"]);
}

#[test]
fn the_structure_in_a_binary_format_is_the_same_as_in_json() {
    for golden in golden_values() {
        let value = Value::from_json(&golden.json).unwrap();
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).unwrap();
        let tree: ciborium::Value =
            ciborium::de::from_reader_with_recursion_limit(&bytes[..], 1_000).unwrap();
        let keys: Vec<_> = tree.as_map().unwrap().iter().map(|(key, _)| key.as_text().unwrap()).collect();
        assert_eq!(keys.first(), Some(&"@data-type"), "{}", golden.name);
        let read: Value = ciborium::de::from_reader_with_recursion_limit(&bytes[..], 1_000).unwrap();
        assert_eq!(read, value, "{}", golden.name);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Parts {
    address: Address,
    subnet: Subnet,
    port: Port,
    timestamp: Timestamp,
    timespan: Timespan,
    set: Set,
    table: Table,
    text: ByteString,
    bytes: ByteString,
    topic: Topic,
    filter: Filter,
    id: EndpointId,
    values: Vec<Value>,
    unset: Option<Address>,
}

#[test]
fn parts_have_the_same_structure_as_in_a_value() {
    let odd = Topic::new(&b"\xff/a"[..]).unwrap();
    let parts = Parts {
        address: "1.2.3.4".parse().unwrap(),
        subnet: "10.0.0.0/8".parse().unwrap(),
        port: "80/tcp".parse().unwrap(),
        timestamp: Timestamp::from_nanos(-1),
        timespan: Timespan::from_nanos(1_500_000_000),
        set: [1u64].into_iter().collect(),
        table: [("a", true)].into_iter().collect(),
        text: "text".into(),
        bytes: b"a\xff"[..].into(),
        topic: Topic::from_static("zeek/"),
        filter: [odd, Topic::from_static("/b")].into_iter().collect(),
        id: "dc93b00a-d79e-5c20-a6b6-f360d043470a".parse().unwrap(),
        values: vec![Value::None],
        unset: None,
    };
    let json = json!({
        "address": "1.2.3.4",
        "subnet": "10.0.0.0/8",
        "port": "80/tcp",
        "timestamp": "1969-12-31T23:59:59.999999999",
        "timespan": "1500ms",
        "set": [{"@data-type": "count", "data": 1}],
        "table": [{
            "key": {"@data-type": "string", "data": "a"},
            "value": {"@data-type": "boolean", "data": true},
        }],
        "text": "text",
        "bytes": {"hex": "61ff"},
        "topic": "zeek/",
        "filter": ["/b", {"hex": "ff2f61"}],
        "id": "dc93b00a-d79e-5c20-a6b6-f360d043470a",
        "values": [{"@data-type": "none", "data": {}}],
        "unset": null,
    });
    assert_eq!(serde_json::to_value(&parts).unwrap(), json);
    let text = serde_json::to_string(&parts).unwrap();
    assert_eq!(serde_json::from_str::<Parts>(&text).unwrap(), parts);
    assert_eq!(serde_json::from_str::<Timespan>("1500000000").unwrap(), parts.timespan);
}

#[test]
fn an_error_contains_the_path_and_the_line() {
    let text =
        r#"{"@data-type":"vector","data":[{"@data-type":"set","data":[{"@data-type":"count","data":-1}]}]}"#;
    assert_eq!(
        error::<Value>(text),
        "vector element 0, set element 0: expected count: a whole number from 0 to 2^64 - 1, found -1"
    );
    assert_eq!(error::<Value>("{\"@data-type\" 1}"), "expected `:` at line 1 column 15");
    assert_eq!(error::<Address>("\"1.2.3\""), r#"expected an IPv4 or IPv6 address, found "1.2.3""#);
    assert_eq!(error::<Timespan>("1.5"), "expected timespan: whole nanoseconds, found 1.5");
    assert_eq!(error::<Set>(r#"[{"@data-type":"count"}]"#).split(": ").next(), Some("set element 0"));
    assert_eq!(error::<ByteString>("7"), r#"expected text or {"hex": ..}, found 7"#);
    assert_eq!(error::<Filter>(r#"["/a", 7]"#), r#"filter topic 1: expected text or {"hex": ..}, found 7"#);
    let long = serde_json::to_string(&"x".repeat(65_536)).unwrap();
    assert_eq!(error::<Topic>(&long), "expected a topic of at most 65535 bytes, found 65536");
    assert_eq!(
        error::<EndpointId>("\"dc93b00a\""),
        r#"expected an endpoint id: xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, found "dc93b00a""#
    );
}

/// Returns a value inside `depth` tables. Of all containers, tables need the most brackets.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::None, |value, _| Value::Table([(0u64, value)].into_iter().collect()))
}

#[test]
fn the_deepest_value_is_read_and_a_deeper_one_rejected() {
    let deepest = nested(MAX_DEPTH);
    assert_eq!(read::<Value>(&serde_json::to_string(&deepest).unwrap()).unwrap(), deepest);
    assert_eq!(serde_json::from_value::<Value>(deepest.to_json()).unwrap(), deepest);
    let deeper = serde_json::to_string(&nested(MAX_DEPTH + 1)).unwrap();
    let refusal = "nested too deep: sets, tables and vectors may be nested at most 128 deep";
    assert_eq!(read::<Value>(&deeper).unwrap_err().to_string(), refusal);
}

/// Tests the depth limit of this crate, and that of `serde_json`.
#[test]
fn a_million_brackets_do_not_exhaust_the_stack() {
    for open in ["[", "{\"a\":", "{\"@data-type\":\"vector\",\"data\":["] {
        let text = open.repeat(1_000_000);
        assert!(read::<Value>(&text).unwrap_err().to_string().starts_with("nested too deep"), "{open}");
        assert!(read::<Set>(&text).unwrap_err().to_string().starts_with("nested too deep"), "{open}");
        assert!(error::<Value>(&text).starts_with("recursion limit exceeded"), "{open}");
    }
}
