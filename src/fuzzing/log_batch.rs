//! Log batches of the ZeroMQ back end.

use serde_json::{Map, Value as Json};

use super::TIGHT;
use crate::wire::{DecodeError, DecodeReason, Limits};
use crate::zeromq::{LogBatch, LogRow, LogValue};

/// Decodes any bytes as a log batch.
pub fn log_batch(input: &[u8]) {
    let encoded = encode_again(input, &Limits::DEFAULT);
    match encode_again(input, &TIGHT) {
        Err(error) if matches!(error.reason(), DecodeReason::TooManyElements { .. }) => {}
        tight => {
            assert_eq!(tight, encoded, "smaller limits change the result only to an error about a limit")
        }
    }
    match encoded {
        Ok(bytes) => {
            assert!(bytes.len() <= input.len(), "an encoded batch is not longer than its input");
            assert_eq!(encode_again(&bytes, &Limits::DEFAULT).as_ref(), Ok(&bytes));
        }
        Err(error) => assert!(error.offset() <= input.len(), "{error}"),
    }
}

/// Decodes a batch, checks its rows, and encodes them. The result is compared as bytes, because NaN is not equal to itself.
fn encode_again(input: &[u8], limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let batch = LogBatch::decode(input, limits)?;
    let header = batch.header();
    let values = header.fields.len().saturating_mul(batch.row_count());
    assert!(header.fields.len() + values <= limits.max_elements, "the number of values is limited");
    let rows: Vec<_> = batch.rows().inspect(check_row).map(LogRow::into_values).collect();
    assert_eq!(rows.len(), batch.row_count(), "a checked batch has all its rows");
    let mut bytes = Vec::new();
    header.encode(&rows, &mut bytes).expect("a decoded batch can be encoded");
    Ok(bytes)
}

/// Checks the types and the JSON of a row.
fn check_row(row: &LogRow<'_, '_>) {
    assert_eq!(row.values().len(), row.fields().len());
    let mut set = 0;
    for (field, value) in row.fields().iter().zip(row.values()) {
        assert!(value.kind().is_none_or(|kind| kind == field.kind));
        if let LogValue::Set(elements) | LogValue::Vector(elements) = value {
            assert!(elements.iter().filter_map(LogValue::kind).all(|kind| kind == field.subtype));
        }
        set += usize::from(*value != LogValue::Unset);
    }
    let mut text = Vec::new();
    row.write_json(&mut text).expect("writing to memory does not fail");
    let json: Map<String, Json> = serde_json::from_slice(&text).expect("a row is a JSON object");
    // Fields can have the same name.
    assert!(json.len() <= set && json.is_empty() == (set == 0), "the members are the fields that are set");
}
