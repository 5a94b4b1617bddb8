//! Tests of log batches.

mod captures;
mod hostile;
mod rows;
mod specification;

use super::{LogBatch, LogField, LogHeader, LogRow, LogValue, TypeTag};
use crate::wire::{DecodeError, Limits};

/// Returns the header of a batch with these fields.
fn header(fields: Vec<LogField<'_>>) -> LogHeader<'_> {
    LogHeader { stream: b"Test::LOG", writer: b"Log::WRITER_NONE", filter: b"default", path: b"test", fields }
}

fn field(kind: TypeTag) -> LogField<'static> {
    LogField::new("f", kind)
}

fn container(kind: TypeTag, subtype: TypeTag) -> LogField<'static> {
    LogField { subtype, ..field(kind) }
}

fn encode(header: &LogHeader<'_>, rows: &[Vec<LogValue<'_>>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode(rows, &mut bytes).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Result<LogBatch<'_>, DecodeError> {
    LogBatch::decode(bytes, &Limits::DEFAULT)
}

/// Encodes the rows of a batch again.
fn encode_again(batch: &LogBatch<'_>) -> Vec<u8> {
    let rows: Vec<_> = batch.rows().map(LogRow::into_values).collect();
    assert_eq!(rows.len(), batch.row_count());
    encode(batch.header(), &rows)
}

/// Returns the JSON text of a row with one field.
fn json(field: LogField<'_>, value: LogValue<'_>) -> String {
    let bytes = encode(&header(vec![field]), &[vec![value]]);
    let batch = decode(&bytes).unwrap();
    let mut text = Vec::new();
    batch.rows().next().unwrap().write_json(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}
