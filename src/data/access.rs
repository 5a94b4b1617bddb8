//! Accessors of [`Value`]. They return `None` if the value has a different type.

use super::{Address, Port, Set, Subnet, Table, Timespan, Timestamp, Value};

/// Defines an accessor for a variant whose content is `Copy`.
macro_rules! copied {
    ($($name:ident: $variant:ident($content:ty), $what:literal;)*) => {
        /// Returns the content if the value has this type.
        impl Value {
            $(
                #[doc = concat!("The ", $what, ", if this is one.")]
                #[must_use]
                pub const fn $name(&self) -> Option<$content> {
                    match self {
                        Value::$variant(content) => Some(*content),
                        _ => None,
                    }
                }
            )*
        }
    };
}

copied! {
    as_bool: Boolean(bool), "`bool`";
    as_count: Count(u64), "`count`";
    as_integer: Integer(i64), "`int`";
    as_real: Real(f64), "`double`";
    as_address: Address(Address), "`addr`";
    as_subnet: Subnet(Subnet), "`subnet`";
    as_port: Port(Port), "`port`";
    as_timestamp: Timestamp(Timestamp), "`time`";
    as_timespan: Timespan(Timespan), "`interval`";
}

impl Value {
    /// Returns whether this is `none`, the value of an unset field.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// Returns the text if the value is a `string` and its bytes are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(string) => string.as_str(),
            _ => None,
        }
    }

    /// Returns the bytes if the value is a `string`.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(string) => Some(string.as_bytes()),
            _ => None,
        }
    }

    /// Returns the label if the value is an enum value and its label is UTF-8.
    #[must_use]
    pub fn as_enum_value(&self) -> Option<&str> {
        match self {
            Value::EnumValue(label) => label.as_str(),
            _ => None,
        }
    }

    /// Returns the set if the value is a `set`.
    #[must_use]
    pub const fn as_set(&self) -> Option<&Set> {
        match self {
            Value::Set(set) => Some(set),
            _ => None,
        }
    }

    /// Returns the table if the value is a `table`.
    #[must_use]
    pub const fn as_table(&self) -> Option<&Table> {
        match self {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Returns the elements if the value is a `vector`. These are the fields if it represents a record.
    #[must_use]
    pub fn as_vector(&self) -> Option<&[Value]> {
        match self {
            Value::Vector(elements) => Some(elements),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ByteString, Protocol};

    #[test]
    fn each_accessor_returns_a_value_only_for_its_type() {
        let address: Address = "1.2.3.4".parse().unwrap();
        let subnet: Subnet = "10.0.0.0/8".parse().unwrap();
        let port = Port::new(80, Protocol::Tcp);
        let (time, span) = (Timestamp::from_nanos(1), Timespan::from_nanos(2));
        let (set, table) = (Set::new(), Table::new());
        let elements = vec![Value::None];
        let values = [
            Value::None,
            Value::Boolean(true),
            Value::Count(1),
            Value::Integer(-1),
            Value::Real(0.5),
            Value::String("text".into()),
            Value::Address(address),
            Value::Subnet(subnet),
            Value::Port(port),
            Value::Timestamp(time),
            Value::Timespan(span),
            Value::enum_value("Conn::LOG"),
            Value::Set(set.clone()),
            Value::Table(table.clone()),
            Value::Vector(elements.clone()),
        ];
        for (i, value) in values.iter().enumerate() {
            let answers = [
                value.is_none(),
                value.as_bool() == Some(true),
                value.as_count() == Some(1),
                value.as_integer() == Some(-1),
                value.as_real() == Some(0.5),
                value.as_str() == Some("text") && value.as_bytes() == Some(b"text"),
                value.as_address() == Some(address),
                value.as_subnet() == Some(subnet),
                value.as_port() == Some(port),
                value.as_timestamp() == Some(time),
                value.as_timespan() == Some(span),
                value.as_enum_value() == Some("Conn::LOG"),
                value.as_set() == Some(&set),
                value.as_table() == Some(&table),
                value.as_vector() == Some(&elements[..]),
            ];
            for (j, answer) in answers.into_iter().enumerate() {
                assert_eq!(answer, i == j, "accessor {j} on {value:?}");
            }
            assert_eq!(value.as_bytes().is_some(), i == 5, "{value:?}");
        }
    }

    #[test]
    fn as_str_is_none_for_strings_that_are_not_utf8() {
        let string = Value::String(ByteString::from(&b"\xff"[..]));
        assert_eq!((string.as_str(), string.as_bytes()), (None, Some(&b"\xff"[..])));
        assert_eq!(Value::enum_value(&b"\xff"[..]).as_enum_value(), None);
    }
}
