//! Zeek's ZeroMQ cluster back end.

mod log;

pub use log::{LogBatch, LogField, LogHeader, LogRow, LogRows, LogValue, TypeTag};
