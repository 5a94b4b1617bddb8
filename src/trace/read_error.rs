//! The reasons why a recording cannot be read.

use std::io;

/// The number of bytes at the beginning of a line of `frames.jsonl` that are buffered. The rest of a longer line is
/// skipped, because the JSON of a frame can be more than 30 times as large as the frame.
pub(super) const MAX_HEAD: usize = 1024 * 1024;

/// The reason why a recording cannot be read. The text of the error names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file cannot be opened.
    #[error("cannot open {name}: {source}; check its name and permissions")]
    Open {
        /// The name of the file.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The name of the file.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line of `frames.jsonl` is invalid.
    #[error("{name}, line {line}: {source}")]
    Index {
        /// The name of the file.
        name: String,
        /// The line number, from 1.
        line: u64,
        /// The reason.
        source: IndexError,
    },
}

/// The reason why a line of `frames.jsonl` is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The line is longer than 1 MiB, and its first MiB does not contain all of `from`, `t_us`, `offset` and `length`.
    #[error(
        "\"from\", \"t_us\", \"offset\" and \"length\" are not in the first {MAX_HEAD} bytes of the line"
    )]
    TooLong,
    /// The line is not a JSON object with the members `from`, `t_us`, `offset` and `length`.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// `from` is not the name of a side.
    #[error("\"from\" is neither connector nor listener")]
    UnknownSide,
    /// The frame is beyond the end of the bytes of its side.
    #[error("{file} is shorter than {bytes} bytes")]
    BeyondEnd {
        /// The name of the file with the bytes.
        file: &'static str,
        /// The end of the frame.
        bytes: u64,
    },
}
