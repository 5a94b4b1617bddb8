//! Log batches of Zeek's serializer `zeek-bin-serializer` (`PROTOCOL.md`, section 12).

mod decode;
mod encode;
mod json;
#[cfg(test)]
mod tests;
mod type_tag;
mod value;

pub use decode::LogRows;
pub use type_tag::TypeTag;
pub use value::LogValue;

/// A batch of log rows that borrows from its encoded bytes.
///
/// [`LogBatch::decode`] checks the complete batch. [`LogBatch::rows`] then decodes one row at a time, so that only one row
/// is in memory in decoded form.
///
/// ```
/// use zeek_bridge::wire::Limits;
/// use zeek_bridge::zeromq::{LogBatch, LogField, LogHeader, LogValue, TypeTag};
///
/// let fields = vec![LogField::new("ts", TypeTag::Time), LogField::new("message", TypeTag::String)];
/// let header = LogHeader {
///     stream: b"Cluster::LOG",
///     writer: b"Log::WRITER_ASCII",
///     filter: b"default",
///     path: b"cluster",
///     fields,
/// };
/// let mut bytes = Vec::new();
/// header.encode(&[vec![LogValue::Time(1.0), LogValue::String(b"up")]], &mut bytes)?;
///
/// let batch = LogBatch::decode(&bytes, &Limits::DEFAULT)?;
/// assert_eq!(batch.header(), &header);
/// for row in batch.rows() {
///     assert_eq!(row.get("message"), Some(&LogValue::String(b"up")));
///     let mut text = Vec::new();
///     row.write_json(&mut text)?;
///     assert_eq!(text, br#"{"ts":1.0,"message":"up"}"#);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogBatch<'a> {
    header: LogHeader<'a>,
    /// The checked bytes of the rows.
    rows: &'a [u8],
    row_count: usize,
}

impl<'a> LogBatch<'a> {
    /// Returns the names of the batch and the fields of its rows.
    #[must_use]
    pub fn header(&self) -> &LogHeader<'a> {
        &self.header
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.row_count
    }
}

/// The names of a batch and the fields of its rows. The names are text in Zeek, but any bytes are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader<'a> {
    /// The log stream, an enum label: `Conn::LOG`.
    pub stream: &'a [u8],
    /// The writer, an enum label: `Log::WRITER_ASCII`.
    pub writer: &'a [u8],
    /// The filter of the stream: `default`.
    pub filter: &'a [u8],
    /// The path: `conn`. For most writers, it is the name of the file without its extension.
    pub path: &'a [u8],
    /// The fields of each row, in order.
    pub fields: Vec<LogField<'a>>,
}

/// The name and type of a field. A field of a nested record has the names of both: `id.orig_h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogField<'a> {
    /// The name. Names may occur more than once in a batch.
    pub name: &'a [u8],
    /// The second name, which only input readers use. Zeek does not send it.
    pub secondary: Option<&'a [u8]>,
    /// The type. It is a type for which [`TypeTag::is_loggable`] is true.
    pub kind: TypeTag,
    /// The type of the elements if `kind` is a set or vector. Otherwise, it has no meaning; Zeek sends [`TypeTag::Void`].
    pub subtype: TypeTag,
    /// Whether the field is `&optional`. Other fields can be unset too, for example in a nested record that is unset.
    pub optional: bool,
}

impl<'a> LogField<'a> {
    /// Returns a field that is not optional, and that is not a set or vector.
    #[must_use]
    pub fn new(name: &'a str, kind: TypeTag) -> Self {
        let name = name.as_bytes();
        LogField { name, secondary: None, kind, subtype: TypeTag::Void, optional: false }
    }
}

/// A decoded row of a [`LogBatch`].
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow<'a, 'b> {
    fields: &'b [LogField<'a>],
    values: Vec<LogValue<'a>>,
}

impl<'a, 'b> LogRow<'a, 'b> {
    /// Returns the fields of the batch.
    #[must_use]
    pub fn fields(&self) -> &'b [LogField<'a>] {
        self.fields
    }

    /// Returns the values: one for each field, in the same order.
    #[must_use]
    pub fn values(&self) -> &[LogValue<'a>] {
        &self.values
    }

    /// Converts the row to its values.
    #[must_use]
    pub fn into_values(self) -> Vec<LogValue<'a>> {
        self.values
    }

    /// Returns the value of the first field with this name, or `None` if there is no such field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LogValue<'a>> {
        let index = self.fields.iter().position(|field| field.name == name.as_bytes())?;
        self.values.get(index)
    }
}
