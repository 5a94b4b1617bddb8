//! The examples of the specification, and of Zeek's own tests.

use data_encoding::HEXLOWER;

use super::{LogField, LogValue, TypeTag, decode, encode_again, header};

/// Returns the text of the block of this language in `PROTOCOL.md`.
fn block(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let mut parts = include_str!("../../../PROTOCOL.md").split(&start);
    let text = parts.nth(1).unwrap_or_else(|| panic!("there is no block {language}"));
    assert_eq!(parts.next(), None, "there is a second block {language}");
    text.split("```").next().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    HEXLOWER.decode(digits.as_bytes()).unwrap()
}

#[test]
fn the_example_of_the_specification_decodes_and_encodes() {
    let bytes = bytes(block("hex-log"));
    assert_eq!(bytes.len(), 175);
    let batch = decode(&bytes).unwrap();
    let names = [("ts", TypeTag::Time), ("node", TypeTag::String), ("message", TypeTag::String)];
    let mut expected = header(names.map(|(name, kind)| LogField::new(name, kind)).to_vec());
    (expected.stream, expected.writer) = (b"Cluster::LOG", b"Log::WRITER_ASCII");
    expected.path = b"cluster";
    assert_eq!(batch.header(), &expected);
    let rows: Vec<_> = batch.rows().collect();
    let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
    assert_eq!(row.values(), [LogValue::Time(1.0), LogValue::String(b"worker-1"), LogValue::String(b"up")]);
    let mut text = Vec::new();
    row.write_json(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), block("json-log").trim_end());
    assert_eq!(encode_again(&batch), bytes);
}

/// From `serializer/binary-serialization-format/Serializer.cc` of Zeek. Its subtypes are 22, which no node sends.
#[test]
fn the_batch_of_zeeks_own_unit_test_is_decoded() {
    let bytes = bytes(
        "0000000c 4c6f673a3a554e4b4e4f574e 00000010 4c6f673a3a5752495445525f4e4f4e45
         00000007 64656661756c74 00000007 6d792d70617468
         00000001 00 00000002 7473 00000005 00000016 00
         00000002 00000005 00000016 01 3ff0000000000000 00000005 00000016 01 4000000000000000",
    );
    assert_eq!(bytes.len(), 116);
    let batch = decode(&bytes).unwrap();
    let times: Vec<_> = batch.rows().map(|row| row.get("ts").cloned()).collect();
    assert_eq!(times, [Some(LogValue::Time(1.0)), Some(LogValue::Time(2.0))]);
    assert_eq!(batch.header().path, b"my-path");
    assert_eq!(batch.header().fields[0].subtype, TypeTag::Error);
}
