//! Zeek's data model: [`Value`] and its parts. The wire format is in [`crate::wire`].

mod access;
mod address;
#[cfg(test)]
pub(crate) mod arbitrary;
mod byte_string;
mod container;
mod convert;
mod display;
mod endpoint_id;
mod find;
mod json;
mod notation;
mod path;
mod port;
mod terminal;
mod time;
mod topic;

pub use address::{Address, InvalidSubnet, Subnet};
pub use byte_string::ByteString;
pub use container::{Set, Table};
pub use convert::{FromValue, WrongType};
pub use endpoint_id::{EndpointId, InvalidEndpointId};
pub(crate) use find::find_byte;
pub(crate) use json::AsJson;
pub use json::{
    JsonDocument, JsonElements, JsonError, JsonKind, JsonLimits, JsonMembers, JsonNode, parse_json,
};
pub use notation::{InvalidTimespan, InvalidTimestamp};
pub use path::{Path, Step};
pub use port::{InvalidPort, Port, Protocol};
pub use terminal::{escape_json, steers_terminal};
pub(crate) use terminal::{excerpt, one_line};
pub use time::{TimeOutOfRange, Timespan, Timestamp};
pub use topic::{Filter, InvalidTopic, Topic};

use std::cmp::Ordering;

/// Maximum nesting depth of containers in a [`Value`]. Zeek's types are nested far less deep.
///
/// Deeper values are rejected when they are decoded, encoded, or read from JSON, so that recursion cannot exhaust the
/// stack.
pub const MAX_DEPTH: usize = 128;

/// A value of one of Broker's fifteen types (`PROTOCOL.md`, section 5).
///
/// The order is total, and the same as in Broker's C++ implementation. Values are ordered by type, in the order of
/// [`Value::tag`], and then by content. Reals are compared with [`f64::total_cmp`], except that all NaNs are equal and
/// larger than any number. Equality is consistent with this order, so `-0.0` and `0.0` are different.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value: an unset `&optional` field of a record.
    #[default]
    None,
    /// `bool`.
    Boolean(bool),
    /// `count`.
    Count(u64),
    /// `int`.
    Integer(i64),
    /// `double`.
    Real(f64),
    /// `addr`.
    Address(Address),
    /// `subnet`.
    Subnet(Subnet),
    /// `port`.
    Port(Port),
    /// `time`.
    Timestamp(Timestamp),
    /// `interval`.
    Timespan(Timespan),
    /// `string`: bytes, usually text.
    // After `Timespan`, and not in the order of the tags: the variants that can own memory are the last ones, so that one
    // comparison finds the values that need not be dropped.
    String(ByteString),
    /// The label of an `enum` value, with its module: `Conn::LOG`.
    EnumValue(ByteString),
    /// `set`.
    Set(Set),
    /// `table`.
    Table(Table),
    /// `vector`, and every record.
    Vector(Vec<Value>),
}

impl Value {
    /// Returns the name of the type in Broker's JSON (`@data-type`).
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Value::None => "none",
            Value::Boolean(_) => "boolean",
            Value::Count(_) => "count",
            Value::Integer(_) => "integer",
            Value::Real(_) => "real",
            Value::String(_) => "string",
            Value::Address(_) => "address",
            Value::Subnet(_) => "subnet",
            Value::Port(_) => "port",
            Value::Timestamp(_) => "timestamp",
            Value::Timespan(_) => "timespan",
            Value::EnumValue(_) => "enum-value",
            Value::Set(_) => "set",
            Value::Table(_) => "table",
            Value::Vector(_) => "vector",
        }
    }

    /// Returns the tag of the type on the wire. Values of different types are ordered by this tag.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self {
            Value::None => 0,
            Value::Boolean(_) => 1,
            Value::Count(_) => 2,
            Value::Integer(_) => 3,
            Value::Real(_) => 4,
            Value::String(_) => 5,
            Value::Address(_) => 6,
            Value::Subnet(_) => 7,
            Value::Port(_) => 8,
            Value::Timestamp(_) => 9,
            Value::Timespan(_) => 10,
            Value::EnumValue(_) => 11,
            Value::Set(_) => 12,
            Value::Table(_) => 13,
            Value::Vector(_) => 14,
        }
    }

    /// Returns a `count`. `Value::from(7)` is an `int`, because a Rust literal is an `i32` by default.
    #[must_use]
    pub const fn count(count: u64) -> Self {
        Value::Count(count)
    }

    /// Returns an `int`.
    #[must_use]
    pub const fn int(integer: i64) -> Self {
        Value::Integer(integer)
    }

    /// Returns an enum value with this label, such as `Conn::LOG`.
    pub fn enum_value(label: impl Into<ByteString>) -> Self {
        Value::EnumValue(label.into())
    }
}

/// Compares like [`f64::total_cmp`], except that all NaNs are equal: the wire format has only one NaN.
pub(crate) fn compare_reals(a: f64, b: f64) -> Ordering {
    let one_nan = |x: f64| if x.is_nan() { f64::NAN.abs() } else { x };
    one_nan(a).total_cmp(&one_nan(b))
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        use Value as V;
        match (self, other) {
            (V::None, V::None) => Ordering::Equal,
            (V::Boolean(a), V::Boolean(b)) => a.cmp(b),
            (V::Count(a), V::Count(b)) => a.cmp(b),
            (V::Integer(a), V::Integer(b)) => a.cmp(b),
            (V::Real(a), V::Real(b)) => compare_reals(*a, *b),
            (V::String(a), V::String(b)) | (V::EnumValue(a), V::EnumValue(b)) => a.cmp(b),
            (V::Address(a), V::Address(b)) => a.cmp(b),
            (V::Subnet(a), V::Subnet(b)) => a.cmp(b),
            (V::Port(a), V::Port(b)) => a.cmp(b),
            (V::Timestamp(a), V::Timestamp(b)) => a.cmp(b),
            (V::Timespan(a), V::Timespan(b)) => a.cmp(b),
            (V::Set(a), V::Set(b)) => a.cmp(b),
            (V::Table(a), V::Table(b)) => a.cmp(b),
            (V::Vector(a), V::Vector(b)) => a.cmp(b),
            _ => self.tag().cmp(&other.tag()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}
