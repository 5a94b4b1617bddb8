//! Log streams and identifier updates.

use super::{MessageError, extract};
use crate::data::{ByteString, Value};

/// Announces a log stream and its columns to a peer, before the first [`LogWrite`] (`PROTOCOL.md`, section 6).
///
/// `[stream enum, writer enum, writer info, fields]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCreate {
    /// The label of the stream, such as `Conn::LOG`.
    pub stream: ByteString,
    /// The label of the writer, such as `Log::WRITER_ASCII`.
    pub writer: ByteString,
    /// Path, rotation and options of the writer, as sent by Zeek.
    pub writer_info: Value,
    /// Names and types of the columns, as sent by Zeek.
    pub fields: Value,
}

impl LogCreate {
    pub(super) fn from_content(content: Value) -> Result<Self, MessageError> {
        let [stream, writer, writer_info, fields] = extract::elements("log create", content)?;
        Ok(LogCreate {
            stream: extract::enum_label("log create stream", stream)?,
            writer: extract::enum_label("log create writer", writer)?,
            writer_info,
            fields,
        })
    }

    pub(super) fn into_content(self) -> Value {
        Value::Vector(vec![
            Value::EnumValue(self.stream),
            Value::EnumValue(self.writer),
            self.writer_info,
            self.fields,
        ])
    }
}

/// Rows of a log stream (`PROTOCOL.md`, section 6).
///
/// `[stream enum, writer enum, path string, serialized rows string]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWrite {
    /// The label of the stream, such as `Conn::LOG`.
    pub stream: ByteString,
    /// The label of the writer, such as `Log::WRITER_ASCII`.
    pub writer: ByteString,
    /// The path of the log, such as `conn`.
    pub path: ByteString,
    /// The rows in Zeek's own serialization; opaque to this crate.
    pub rows: ByteString,
}

impl LogWrite {
    pub(super) fn from_content(content: Value) -> Result<Self, MessageError> {
        let [stream, writer, path, rows] = extract::elements("log write", content)?;
        Ok(LogWrite {
            stream: extract::enum_label("log write stream", stream)?,
            writer: extract::enum_label("log write writer", writer)?,
            path: extract::string("log write path", path)?,
            rows: extract::string("log write rows", rows)?,
        })
    }

    pub(super) fn into_content(self) -> Value {
        Value::Vector(vec![
            Value::EnumValue(self.stream),
            Value::EnumValue(self.writer),
            Value::String(self.path),
            Value::String(self.rows),
        ])
    }
}

/// Announces the new value of a global variable (`PROTOCOL.md`, section 6).
///
/// `[id string, value]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentifierUpdate {
    /// The variable's name, with its module.
    pub id: ByteString,
    /// The new value.
    pub value: Value,
}

impl IdentifierUpdate {
    pub(super) fn from_content(content: Value) -> Result<Self, MessageError> {
        let [id, value] = extract::elements("identifier update", content)?;
        Ok(IdentifierUpdate { id: extract::string("identifier update id", id)?, value })
    }

    pub(super) fn into_content(self) -> Value {
        Value::Vector(vec![Value::String(self.id), self.value])
    }
}
