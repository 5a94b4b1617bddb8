//! Everything that the program writes: data to stdout; errors, notices, progress and the log to stderr.

mod background;
mod escape;
pub(crate) mod exit;
mod json;
mod line;
pub(crate) mod log;
pub(crate) mod progress;
mod rate;
pub(crate) mod stderr;
mod stdout;

pub(crate) use background::BackgroundOutput;
pub(crate) use escape::{harmless, printable, steers};
pub(crate) use exit::{Exit, Failure};
pub(crate) use json::{identity_json, rfc3339, to_line, to_line_with};
pub(crate) use line::{Line, PaddedColumn};
pub(crate) use progress::Progress;
pub(crate) use rate::{json_rate, per_second, rate};
pub(crate) use stderr::Hold;
pub(crate) use stdout::{Output, stdout_closed};
