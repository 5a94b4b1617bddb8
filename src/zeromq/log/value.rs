//! Values of log rows.

use super::TypeTag;
use crate::data::{Address, Port, Subnet};

/// A value of a row, or an element of a set or vector. Strings borrow from the bytes of the batch.
///
/// Reals are compared as `f64`, so a value that contains NaN is not equal to itself.
#[derive(Clone, Debug, PartialEq)]
pub enum LogValue<'a> {
    /// No value: an `&optional` field that is not set, or a hole in a vector.
    Unset,
    /// A `bool`.
    Bool(bool),
    /// An `int`.
    Int(i64),
    /// A `count`.
    Count(u64),
    /// A `double`.
    Double(f64),
    /// A `time`, in seconds since 1970.
    Time(f64),
    /// An `interval`, in seconds.
    Interval(f64),
    /// A `string`: any bytes.
    String(&'a [u8]),
    /// The label of an `enum` value.
    Enum(&'a [u8]),
    /// A function: its name, its type and its body, as Zeek prints them.
    Func(&'a [u8]),
    /// The name of a `file`.
    File(&'a [u8]),
    /// A `port`.
    Port(Port),
    /// An `addr`.
    Address(Address),
    /// A `subnet`.
    Subnet(Subnet),
    /// A `set`, in the order of the wire. The elements are not sets or vectors.
    Set(Vec<LogValue<'a>>),
    /// A `vector`. The elements are not sets or vectors.
    Vector(Vec<LogValue<'a>>),
}

impl LogValue<'_> {
    /// Returns the type, or `None` if the value is unset.
    #[must_use]
    pub const fn kind(&self) -> Option<TypeTag> {
        Some(match self {
            LogValue::Unset => return None,
            LogValue::Bool(_) => TypeTag::Bool,
            LogValue::Int(_) => TypeTag::Int,
            LogValue::Count(_) => TypeTag::Count,
            LogValue::Double(_) => TypeTag::Double,
            LogValue::Time(_) => TypeTag::Time,
            LogValue::Interval(_) => TypeTag::Interval,
            LogValue::String(_) => TypeTag::String,
            LogValue::Enum(_) => TypeTag::Enum,
            LogValue::Func(_) => TypeTag::Func,
            LogValue::File(_) => TypeTag::File,
            LogValue::Port(_) => TypeTag::Port,
            LogValue::Address(_) => TypeTag::Addr,
            LogValue::Subnet(_) => TypeTag::Subnet,
            LogValue::Set(_) => TypeTag::Table,
            LogValue::Vector(_) => TypeTag::Vector,
        })
    }
}
