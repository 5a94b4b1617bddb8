//! The commands that turn each line into another.

use std::path::Path;

use crate::input;
use crate::output::{self, Failure, Object, Output, progress};

/// What is wrong with a line, and in which byte of it or of what it stands for, as far as that is known.
pub(crate) struct Fault {
    pub(crate) error: String,
    pub(crate) offset: Option<u64>,
}

/// Prints for each line what `convert` writes, or `{"error", "offset", "line"}`.
pub(crate) fn convert(
    file: Option<&Path>,
    done: &str,
    convert: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Failure> {
    let input = input::open(file)?;
    // What is typed in, or comes by as it is read, is its own progress.
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
            Ok(()) => output.line(&output::harmless(converted))?,
            Err(Fault { error, offset }) => {
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
        _ => Err(Failure::failed(format!("{bad} of {read} lines could not be {done}"))),
    }
}
