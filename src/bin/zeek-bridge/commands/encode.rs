//! `encode`: JSON to bytes of the protocol.

use std::path::PathBuf;

use bytes::BytesMut;
use clap::Args;
use data_encoding::HEXLOWER;
use serde_json::Value as Json;
use zeek_bridge::data::{JsonError, Value};
use zeek_bridge::wire::encode_value;

use crate::convert::{Fault, convert};
use crate::output::Failure;

/// Encode JSON to bytes of the protocol
///
/// One line of hex for each line of JSON, which `decode` accepts. An invalid line gives {"error", "offset", "line"}, and
/// encoding continues with the next line.
#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    /// Encode values in the format of Broker's JSON, {"@data-type": .., "data": ..}
    #[arg(long, required = true)]
    value: bool,
    /// The file with lines of JSON; stdin without it, or for -
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &EncodeArgs) -> Result<(), Failure> {
    convert(args.file.as_deref(), "encoded", encode)
}

/// The bytes in hex, or what is wrong and in which byte of the line, as far as that is known.
fn encode(line: &[u8], to: &mut Vec<u8>) -> Result<(), Fault> {
    let value = Value::from_json_text(line)
        .map_err(|error| Fault { error: error.to_string(), offset: offset(line, &error) })?;
    let mut bytes = BytesMut::new();
    encode_value(&value, &mut bytes).map_err(|error| Fault { error: error.to_string(), offset: None })?;
    *to = HEXLOWER.encode(&bytes).into_bytes();
    Ok(())
}

/// Where a text stops being JSON. In JSON of the wrong shape the error names the way instead.
fn offset(line: &[u8], error: &JsonError) -> Option<u64> {
    let JsonError::Syntax(words) = error else { return None };
    let error = serde_json::from_slice::<Json>(line).err()?;
    // A text that nests deeper than serde_json reads by default may be wrong elsewhere.
    (error.to_string() == words.strip_prefix("not JSON: ").unwrap_or(words))
        .then(|| error.column().saturating_sub(1).try_into().ok())
        .flatten()
}
