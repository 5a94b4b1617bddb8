//! `encode`: JSON to bytes of the protocol.

use std::path::PathBuf;

use bytes::BytesMut;
use clap::Args;
use data_encoding::HEXLOWER;
use zeek_bridge::data::{JsonError, Value};
use zeek_bridge::wire::encode_value;

use crate::convert::{Fault, convert};
use crate::output::Failure;

/// Encode JSON to bytes of the protocol
///
/// Each line of JSON is a value, {"@data-type": .., "data": ..}. Prints one line of hex for each value. `decode --value` accepts
/// these lines. For an invalid line, prints {"error", "offset", "line"} and continues with the next line.
#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    // Earlier versions required it.
    #[arg(long = "value", hide = true)]
    _value: bool,
    /// The file with lines of JSON. If it is omitted or -, stdin is read
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &EncodeArgs) -> Result<(), Failure> {
    convert(args.file.as_deref(), "encoded", encode)
}

/// Encodes a line to hex.
fn encode(line: &[u8], to: &mut Vec<u8>) -> Result<(), Fault> {
    let value = Value::from_json_text(line)
        .map_err(|error| Fault { error: error.to_string(), offset: offset(&error) })?;
    let mut bytes = BytesMut::new();
    encode_value(&value, &mut bytes).map_err(|error| Fault { error: error.to_string(), offset: None })?;
    *to = HEXLOWER.encode(&bytes).into_bytes();
    Ok(())
}

/// Returns the offset of a syntax error. Errors in valid JSON contain the path of the value instead.
fn offset(error: &JsonError) -> Option<u64> {
    let JsonError::Syntax { offset, .. } = error else { return None };
    (*offset).try_into().ok()
}
