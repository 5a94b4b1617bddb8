//! Every log batch that real nodes sent, from `fixtures/zeromq`.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};

use super::{LogBatch, LogField, LogRow, LogValue, TypeTag, decode, encode_again};

fn lines(path: &Path) -> Vec<Json> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A captured batch: its bytes, and its content according to the fixture.
struct Captured {
    name: String,
    bytes: Vec<u8>,
    content: Json,
}

fn captured() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("logs.jsonl").exists());
    folders.sort();
    let mut all = Vec::new();
    for folder in folders {
        let frames = lines(&folder.join("frames.jsonl"));
        for log in lines(&folder.join("logs.jsonl")) {
            let first = frames.iter().position(|frame| frame["log"] == log["index"]).unwrap();
            // The parts of one message follow each other on their connection.
            let parts: Vec<_> = frames[first..]
                .iter()
                .filter(|frame| frame["connection"] == log["connection"] && frame["from"] == log["from"])
                .take(4)
                .map(|frame| part(&folder, frame))
                .collect();
            let [kind, _sender, format, bytes] = &parts[..] else { panic!("{} parts", parts.len()) };
            assert_eq!((&kind[..], &format[..]), (&b"log-write"[..], &b"zeek-bin-serializer"[..]));
            let name = format!("{}, batch {}", folder.display(), log["index"]);
            all.push(Captured { name, bytes: bytes.clone(), content: log["batch"].clone() });
        }
    }
    all
}

/// Returns the body of a frame.
fn part(folder: &Path, frame: &Json) -> Vec<u8> {
    let number = |name: &str| usize::try_from(frame[name].as_u64().unwrap()).unwrap();
    let file = format!("{}-{}.bin", frame["connection"].as_str().unwrap(), frame["from"].as_str().unwrap());
    let stream = fs::read(folder.join(file)).unwrap();
    let head = if number("flags") & 2 == 0 { 2 } else { 9 };
    stream[number("offset") + head..number("offset") + number("length")].to_vec()
}

/// Returns the batch in the format of `logs.jsonl`.
fn golden(batch: &LogBatch<'_>) -> Json {
    let header = batch.header();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let fields: Vec<_> = header
        .fields
        .iter()
        .map(|field| {
            assert_eq!(field.secondary, None);
            json!({
                "name": text(field.name),
                "type": field.kind.to_wire(),
                "subtype": field.subtype.to_wire(),
                "optional": field.optional,
            })
        })
        .collect();
    let rows: Vec<Vec<_>> = batch
        .rows()
        .map(|row| {
            header.fields.iter().zip(row.values()).map(|(f, v)| golden_value(f.kind, f.subtype, v)).collect()
        })
        .collect();
    json!({
        "stream": text(header.stream),
        "writer": text(header.writer),
        "filter": text(header.filter),
        "path": text(header.path),
        "fields": fields,
        "rows": rows,
    })
}

fn golden_value(kind: TypeTag, subtype: TypeTag, value: &LogValue<'_>) -> Json {
    let mut object = json!({ "type": kind.to_wire(), "subtype": 0 });
    let (name, content) = match value {
        LogValue::Unset => ("present", json!(false)),
        LogValue::Bool(bool) => ("int", json!(u8::from(*bool))),
        LogValue::Int(number) => ("int", json!(number)),
        LogValue::Count(number) => ("count", json!(number)),
        LogValue::Double(real) | LogValue::Time(real) | LogValue::Interval(real) => {
            let name = if real.is_nan() { "nan".to_owned() } else { real.to_string() };
            ("double", if real.is_finite() { json!(real) } else { json!(name) })
        }
        LogValue::String(bytes) | LogValue::Enum(bytes) | LogValue::Func(bytes) | LogValue::File(bytes) => {
            match std::str::from_utf8(bytes) {
                Ok(text) => ("text", json!(text)),
                Err(_) => ("hex", json!(HEXLOWER.encode(bytes))),
            }
        }
        LogValue::Port(port) => {
            object["proto"] = json!(port.protocol.to_wire());
            ("port", json!(port.number))
        }
        LogValue::Address(address) => ("addr", json!(address.to_string())),
        LogValue::Subnet(subnet) => {
            object["prefix"] = json!(subnet.wire_length());
            ("addr", json!(subnet.network().to_string()))
        }
        LogValue::Set(elements) | LogValue::Vector(elements) => {
            let golden = |element| golden_value(subtype, TypeTag::Void, element);
            ("elements", elements.iter().map(golden).collect())
        }
    };
    object[name] = content;
    object
}

#[test]
fn captured_batches_have_the_recorded_values_and_encode_to_their_bytes() {
    let batches = captured();
    assert!(batches.len() >= 22, "{} batches", batches.len());
    let mut kinds = Vec::new();
    for Captured { name, bytes, content } in &batches {
        let batch = decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&golden(&batch), content, "{name}");
        assert_eq!(&encode_again(&batch), bytes, "{name}");
        kinds.extend(batch.rows().flat_map(LogRow::into_values).filter_map(|value| value.kind()));
    }
    kinds.sort_unstable();
    kinds.dedup();
    let loggable: Vec<_> = TypeTag::ALL.into_iter().filter(|kind| kind.is_loggable()).collect();
    assert_eq!(kinds, loggable, "each type is in a capture");
}

#[test]
fn every_prefix_of_a_captured_batch_is_rejected() {
    for Captured { name, bytes, .. } in captured() {
        for end in 0..bytes.len() {
            let error = decode(&bytes[..end]).expect_err(&name);
            assert!(error.offset() <= end, "{name}, cut at {end}: {error}");
        }
    }
}

#[test]
fn the_json_of_a_captured_row_has_the_fields_that_are_set() {
    for Captured { name, bytes, .. } in captured() {
        let batch = decode(&bytes).unwrap();
        for row in batch.rows() {
            let mut text = Vec::new();
            row.write_json(&mut text).unwrap();
            let json: serde_json::Map<String, Json> = serde_json::from_slice(&text).unwrap();
            let fields = batch.header().fields.iter().zip(row.values());
            // The keys of `Map` are sorted.
            let mut names: Vec<_> = fields
                .filter(|(_, value)| **value != LogValue::Unset)
                .map(|(LogField { name, .. }, _)| std::str::from_utf8(name).unwrap())
                .collect();
            names.sort_unstable();
            assert_eq!(json.keys().collect::<Vec<_>>(), names, "{name}");
        }
    }
}
