//! `encode`: JSON to bytes of the protocol.

use bytes::BytesMut;
use data_encoding::HEXLOWER;
use serde_json::Value as Json;
use zeek_bridge::data::{JsonError, Value};
use zeek_bridge::wire::encode_value;

use crate::args::EncodeArgs;
use crate::exit::Failure;
use crate::input;
use crate::output::{Object, Output};

pub(crate) fn run(args: &EncodeArgs) -> Result<(), Failure> {
    let mut lines = input::open(args.file.as_deref())?.lines();
    let mut output = Output::new();
    let (mut read, mut bad) = (0u64, 0u64);
    while let Some(line) = lines.next()? {
        read = read.saturating_add(1);
        match encode(&line.text) {
            Ok(bytes) => output.line(&HEXLOWER.encode(&bytes))?,
            Err((error, offset)) => {
                bad = bad.saturating_add(1);
                let object = Object::new().with("error", error).with("offset", offset);
                output.line(&object.with("line", line.number).into_line())?;
            }
        }
        if lines.may_wait() {
            output.flush()?;
        }
    }
    output.flush()?;
    match bad {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{bad} of {read} lines could not be encoded"))),
    }
}

/// The bytes, or what is wrong and in which byte of the line, as far as that is known.
fn encode(line: &[u8]) -> Result<BytesMut, (String, Option<u64>)> {
    let value = Value::from_json_text(line).map_err(|error| (error.to_string(), offset(line, &error)))?;
    let mut bytes = BytesMut::new();
    encode_value(&value, &mut bytes).map_err(|error| (error.to_string(), None))?;
    Ok(bytes)
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
