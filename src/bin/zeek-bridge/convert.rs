//! Conversion of each line of the input to a line of output, for `decode` and `encode`.

use std::path::Path;

use serde::Serialize;

use crate::input;
use crate::output::{Failure, Output, harmless, progress, to_line};

/// An error in a line, with its byte offset if known. For JSON, this is the offset in the line. For hex, it is the offset in the
/// decoded bytes.
#[derive(Serialize)]
pub(crate) struct Fault {
    pub(crate) error: String,
    pub(crate) offset: Option<u64>,
}

/// The JSON that is printed for an invalid line.
#[derive(Serialize)]
struct InvalidLine {
    #[serde(flatten)]
    fault: Fault,
    line: u64,
}

/// Prints the result of `convert` for each line, or `{"error", "offset", "line"}`. `done` is the past participle for messages.
pub(crate) fn convert(
    file: Option<&Path>,
    done: &str,
    convert: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Failure> {
    let input = input::open(file)?;
    // No progress is shown if input or output is visible on the terminal.
    let input = if progress::is_free(file) { input.shown() } else { input };
    let mut lines = input.lines();
    let mut output = Output::new();
    let (mut read, mut bad) = (0u64, 0u64);
    while let Some(line) = lines.next()? {
        read = read.saturating_add(1);
        let mut converted = Vec::new();
        let result = match &line.text {
            Ok(text) => convert(text, &mut converted),
            Err(error) => Err(Fault { error: error.to_string(), offset: None }),
        };
        match result {
            Ok(()) => output.line(&harmless(converted))?,
            Err(fault) => {
                bad = bad.saturating_add(1);
                output.line(&to_line(&InvalidLine { fault, line: line.number }))?;
            }
        }
        if lines.may_wait() {
            output.flush()?;
        }
    }
    output.flush()?;
    match bad {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{bad} of {read} lines could not be {done}"))),
    }
}
