//! Conversion of Rust types to [`Value`] (`From`) and back ([`FromValue`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Address, ByteString, Path, Port, Set, Step, Subnet, Table, Timespan, Timestamp, Value};

/// The error for a value that has a different type than requested, or is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}expected {expected}, found {found}", .path.prefix())]
pub struct WrongType {
    path: Path,
    expected: Cow<'static, str>,
    found: Cow<'static, str>,
}

impl WrongType {
    /// Returns an error about the value itself; `found` usually is [`Value::type_name`].
    pub fn new(expected: impl Into<Cow<'static, str>>, found: impl Into<Cow<'static, str>>) -> Self {
        WrongType { path: Path::default(), expected: expected.into(), found: found.into() }
    }

    /// Adds `step` to the front of the path.
    #[must_use]
    pub fn within(mut self, step: Step) -> Self {
        self.path.prepend(step);
        self
    }

    /// Returns the path to the element.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the expected type.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Returns the actual type or value.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }
}

/// A Rust type that can be converted from a [`Value`]. The reverse is `Into<Value>`.
///
/// | Rust | Zeek |
/// | --- | --- |
/// | `bool` | `bool` |
/// | `u8` to `u64` | `count` |
/// | `i8` to `i64` | `int` |
/// | `f64` | `double` |
/// | [`String`], `&str`, [`ByteString`] | `string` |
/// | [`Address`], [`IpAddr`], [`Ipv4Addr`], [`Ipv6Addr`] | `addr` |
/// | [`Subnet`], [`Port`], [`Timestamp`], [`Timespan`] | `subnet`, `port`, `time`, `interval` |
/// | `Vec<T>`, `[T; N]` | `vector` |
/// | tuples of one to six | `record` (a vector with an element per field) |
/// | [`Set`], [`BTreeSet`], [`HashSet`] | `set` |
/// | [`Table`], [`BTreeMap`], [`HashMap`] | `table` |
/// | `Option<T>` | the type of `T`, or `none` for an unset field |
/// | [`Value`] | `any` |
///
/// - A number that is out of range is an error. Values are never rounded, or parsed from text.
/// - A `Vec<u8>` is a vector of counts. Use [`ByteString`] for bytes.
/// - `usize` is not supported, because its width depends on the machine.
/// - For an enum of Zeek, define a Rust enum. Implement `From` for [`Value`] with [`Value::enum_value`], and
///   `FromValue` for your enum with [`Value::as_enum_value`].
pub trait FromValue: Sized {
    /// Converts the value.
    ///
    /// # Errors
    /// Fails if the value, or a value nested in it, has a different type or is out of range.
    fn from_value(value: Value) -> Result<Self, WrongType>;
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, WrongType> {
        Ok(value)
    }
}

/// Implements the conversions of a Rust type that is the content of a variant of [`Value`].
macro_rules! content {
    ($($variant:ident($content:ty), $name:literal;)*) => {$(
        impl From<$content> for Value {
            fn from(content: $content) -> Self {
                Value::$variant(content)
            }
        }

        impl FromValue for $content {
            fn from_value(value: Value) -> Result<Self, WrongType> {
                match value {
                    Value::$variant(content) => Ok(content),
                    other => Err(WrongType::new($name, other.type_name())),
                }
            }
        }
    )*};
}

content! {
    Boolean(bool), "boolean";
    Count(u64), "count";
    Integer(i64), "integer";
    Real(f64), "real";
    String(ByteString), "string";
    Address(Address), "address";
    Subnet(Subnet), "subnet";
    Port(Port), "port";
    Timestamp(Timestamp), "timestamp";
    Timespan(Timespan), "timespan";
    Set(Set), "set";
    Table(Table), "table";
}

/// Implements the conversions of a number type with fewer bits than Broker's type.
macro_rules! narrow {
    ($wide:ty, $name:literal: $($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Value::from(<$wide>::from(number))
            }
        }

        impl FromValue for $number {
            fn from_value(value: Value) -> Result<Self, WrongType> {
                let wide = <$wide>::from_value(value)?;
                <$number>::try_from(wide).map_err(|_| {
                    let (min, max) = (<$number>::MIN, <$number>::MAX);
                    WrongType::new(format!(concat!($name, " from {} to {}"), min, max), wide.to_string())
                })
            }
        }
    )*};
}

narrow!(u64, "count": u8, u16, u32);
narrow!(i64, "integer": i8, i16, i32);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, WrongType> {
        String::from_utf8(ByteString::from_value(value)?.into_bytes())
            .map_err(|_| WrongType::new("string of UTF-8", "string of other bytes"))
    }
}

impl From<IpAddr> for Value {
    fn from(ip: IpAddr) -> Self {
        Value::Address(ip.into())
    }
}

impl FromValue for IpAddr {
    fn from_value(value: Value) -> Result<Self, WrongType> {
        Address::from_value(value).map(|address| address.to_ip())
    }
}

/// Implements the conversions of [`Ipv4Addr`] or [`Ipv6Addr`].
macro_rules! ip {
    ($($ip:ty, $variant:ident, $expected:literal;)*) => {$(
        impl From<$ip> for Value {
            fn from(ip: $ip) -> Self {
                Value::Address(ip.into())
            }
        }

        impl FromValue for $ip {
            fn from_value(value: Value) -> Result<Self, WrongType> {
                match IpAddr::from_value(value)? {
                    IpAddr::$variant(ip) => Ok(ip),
                    other => Err(WrongType::new($expected, other.to_string())),
                }
            }
        }
    )*};
}

ip! {
    Ipv4Addr, V4, "IPv4 address";
    Ipv6Addr, V6, "IPv6 address";
}

/// Implements `TryFrom` for scalars. It cannot be implemented for containers, because that would conflict with the
/// standard library's implementations.
macro_rules! try_from {
    ($($type:ty),*) => {$(
        impl TryFrom<Value> for $type {
            type Error = WrongType;

            fn try_from(value: Value) -> Result<Self, WrongType> {
                FromValue::from_value(value)
            }
        }
    )*};
}

try_from!(bool, u8, u16, u32, u64, i8, i16, i32, i64, f64, String, ByteString);
try_from!(Address, IpAddr, Ipv4Addr, Ipv6Addr, Subnet, Port, Timestamp, Timespan, Set, Table);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Self {
        option.map_or(Value::None, Into::into)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, WrongType> {
        match value {
            Value::None => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(elements: Vec<T>) -> Self {
        Value::Vector(elements.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(elements: [T; N]) -> Self {
        Value::Vector(elements.into_iter().map(Into::into).collect())
    }
}

fn vector(value: Value) -> Result<Vec<Value>, WrongType> {
    match value {
        Value::Vector(elements) => Ok(elements),
        other => Err(WrongType::new("vector", other.type_name())),
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, WrongType> {
        let elements = vector(value)?.into_iter().enumerate();
        elements
            .map(|(i, e)| T::from_value(e).map_err(|error| error.within(Step::VectorElement(i))))
            .collect()
    }
}

/// Implements the conversions of a collection that becomes a set.
macro_rules! set {
    ($collection:ident, $bound:ident $(, $hasher:ident: $build:ident)?) => {
        impl<T: Into<Value> $(, $hasher)?> From<$collection<T $(, $hasher)?>> for Value {
            fn from(elements: $collection<T $(, $hasher)?>) -> Self {
                Value::Set(elements.into_iter().map(Into::into).collect())
            }
        }

        impl<T: FromValue + Eq + $bound $(, $hasher: $build + Default)?> FromValue
            for $collection<T $(, $hasher)?>
        {
            fn from_value(value: Value) -> Result<Self, WrongType> {
                let elements = Set::from_value(value)?.into_iter().enumerate();
                elements
                    .map(|(i, e)| T::from_value(e).map_err(|error| error.within(Step::SetElement(i))))
                    .collect()
            }
        }
    };
}

set!(BTreeSet, Ord);
set!(HashSet, Hash, S: BuildHasher);

/// Implements the conversions of a collection that becomes a table.
macro_rules! table {
    ($collection:ident, $bound:ident $(, $hasher:ident: $build:ident)?) => {
        impl<K: Into<Value>, V: Into<Value> $(, $hasher)?> From<$collection<K, V $(, $hasher)?>> for Value {
            fn from(pairs: $collection<K, V $(, $hasher)?>) -> Self {
                Value::Table(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
            }
        }

        impl<K: FromValue + Eq + $bound, V: FromValue $(, $hasher: $build + Default)?> FromValue
            for $collection<K, V $(, $hasher)?>
        {
            fn from_value(value: Value) -> Result<Self, WrongType> {
                let pairs = Table::from_value(value)?.into_iter().enumerate();
                pairs
                    .map(|(i, (key, value))| {
                        Ok((
                            K::from_value(key).map_err(|error| error.within(Step::TableKey(i)))?,
                            V::from_value(value).map_err(|error| error.within(Step::TableValue(i)))?,
                        ))
                    })
                    .collect()
            }
        }
    };
}

table!(BTreeMap, Ord);
table!(HashMap, Hash, S: BuildHasher);

/// Implements the conversions of tuples, which become records.
macro_rules! tuple {
    ($count:literal: $($type:ident $name:ident $index:literal),*) => {
        impl<$($type: Into<Value>),*> From<($($type,)*)> for Value {
            fn from(($($name,)*): ($($type,)*)) -> Self {
                Value::Vector(vec![$($name.into()),*])
            }
        }

        impl<$($type: FromValue),*> FromValue for ($($type,)*) {
            fn from_value(value: Value) -> Result<Self, WrongType> {
                let elements = vector(value)?;
                let [$($name),*] = <[Value; $count]>::try_from(elements).map_err(|elements| {
                    let found = format!("vector of length {}", elements.len());
                    WrongType::new(concat!("vector of length ", $count), found)
                })?;
                Ok(($(
                    $type::from_value($name).map_err(|error| error.within(Step::VectorElement($index)))?,
                )*))
            }
        }
    };
}

tuple!(1: A a 0);
tuple!(2: A a 0, B b 1);
tuple!(3: A a 0, B b 1, C c 2);
tuple!(4: A a 0, B b 1, C c 2, D d 3);
tuple!(5: A a 0, B b 1, C c 2, D d 3, E e 4);
tuple!(6: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::data::Protocol;

    /// Asserts that `rust` converts to `value` and back.
    fn assert_round_trip<T: Into<Value> + FromValue + Clone + PartialEq + Debug>(rust: T, value: Value) {
        assert_eq!(rust.clone().into(), value);
        assert_eq!(T::from_value(value), Ok(rust));
    }

    fn error<T: FromValue + Debug>(value: impl Into<Value>) -> String {
        T::from_value(value.into()).unwrap_err().to_string()
    }

    #[test]
    fn scalars_round_trip() {
        assert_round_trip(Value::None, Value::None);
        assert_round_trip(true, Value::Boolean(true));
        assert_round_trip(u8::MAX, Value::Count(255));
        assert_round_trip(u16::MAX, Value::Count(65_535));
        assert_round_trip(u32::MAX, Value::Count(4_294_967_295));
        assert_round_trip(u64::MAX, Value::Count(u64::MAX));
        assert_round_trip(i8::MIN, Value::Integer(-128));
        assert_round_trip(i16::MIN, Value::Integer(-32_768));
        assert_round_trip(i32::MIN, Value::Integer(-2_147_483_648));
        assert_round_trip(i64::MIN, Value::Integer(i64::MIN));
        assert_round_trip(-0.5, Value::Real(-0.5));
        assert_round_trip("text".to_owned(), Value::String("text".into()));
        assert_round_trip(ByteString::from(&b"\xff"[..]), Value::String(b"\xff"[..].into()));
        assert_round_trip(Port::new(53, Protocol::Udp), Value::Port(Port::new(53, Protocol::Udp)));
        assert_round_trip(Timestamp::from_nanos(-1), Value::Timestamp(Timestamp::from_nanos(-1)));
        assert_round_trip(Timespan::from_nanos(7), Value::Timespan(Timespan::from_nanos(7)));
        let subnet: Subnet = "10.0.0.0/8".parse().unwrap();
        assert_round_trip(subnet, Value::Subnet(subnet));
        assert_eq!(Value::from("text"), Value::String("text".into()));
        assert_eq!(u16::try_from(Value::Count(7)), Ok(7));
    }

    #[test]
    fn both_kinds_of_address_round_trip() {
        let v4: Address = "1.2.3.4".parse().unwrap();
        let v6: Address = "2001:db8::1".parse().unwrap();
        assert_round_trip(v4, Value::Address(v4));
        assert_round_trip(v4.to_ip(), Value::Address(v4));
        assert_round_trip(Ipv4Addr::new(1, 2, 3, 4), Value::Address(v4));
        assert_round_trip("2001:db8::1".parse::<Ipv6Addr>().unwrap(), Value::Address(v6));
        assert_eq!(error::<Ipv4Addr>(v6), "expected IPv4 address, found 2001:db8::1");
        assert_eq!(error::<Ipv6Addr>(v4), "expected IPv6 address, found 1.2.3.4");
        assert_eq!(error::<Ipv6Addr>(1u64), "expected address, found count");
    }

    #[test]
    fn containers_round_trip() {
        let counts = vec![Value::Count(1), Value::Count(2)];
        let pairs: Table = [("a", 1u64), ("b", 2)].into_iter().collect();
        let set: Set = counts.iter().cloned().collect();
        assert_round_trip(vec![1u64, 2], Value::Vector(counts.clone()));
        assert_round_trip(vec![1u8, 2], Value::Vector(counts.clone()));
        assert_round_trip(Vec::<u64>::new(), Value::Vector(vec![]));
        assert_round_trip(BTreeSet::from([2u64, 1]), Value::Set(set.clone()));
        assert_round_trip(HashSet::<u64>::from([2, 1]), Value::Set(set.clone()));
        assert_round_trip(set.clone(), Value::Set(set));
        assert_round_trip(
            BTreeMap::from([("b".to_owned(), 2u64), ("a".to_owned(), 1)]),
            Value::Table(pairs.clone()),
        );
        assert_round_trip(
            HashMap::from([("b".to_owned(), 2u64), ("a".to_owned(), 1)]),
            Value::Table(pairs.clone()),
        );
        assert_round_trip(pairs.clone(), Value::Table(pairs));
        assert_eq!(Value::from([1u64, 2]), Value::Vector(counts));
    }

    #[test]
    fn an_unset_field_is_none() {
        assert_round_trip(Some(1u64), Value::Count(1));
        assert_round_trip(None::<u64>, Value::None);
        assert_round_trip(vec![Some(true), None], Value::Vector(vec![Value::Boolean(true), Value::None]));
        assert_eq!(error::<Option<u64>>("x"), "expected count, found string");
        assert_eq!(error::<u64>(Value::None), "expected count, found none");
    }

    #[test]
    fn tuples_are_records() {
        let value = |n: u64| Value::Vector((1..=n).map(Value::Count).collect());
        assert_round_trip((1u64,), value(1));
        assert_round_trip((1u64, 2u8), value(2));
        assert_round_trip((1u64, 2u8, 3u16), value(3));
        assert_round_trip((1u64, 2u8, 3u16, 4u32), value(4));
        assert_round_trip((1u64, 2u8, 3u16, 4u32, Some(5u64)), value(5));
        assert_round_trip((1u64, 2u8, 3u16, 4u32, Some(5u64), Value::Count(6)), value(6));
        assert_eq!(error::<(u64, u64)>(value(3)), "expected vector of length 2, found vector of length 3");
        assert_eq!(error::<(u64, u64)>(1u64), "expected vector, found count");
    }

    #[test]
    fn values_of_another_type_or_out_of_range_are_rejected() {
        assert_eq!(error::<u8>(256u64), "expected count from 0 to 255, found 256");
        assert_eq!(error::<i8>(-129i64), "expected integer from -128 to 127, found -129");
        assert_eq!(error::<u64>(1i64), "expected count, found integer");
        assert_eq!(error::<f64>(1u64), "expected real, found count");
        assert_eq!(error::<String>(Value::enum_value("A::B")), "expected string, found enum-value");
        let bytes = ByteString::from(&b"\xff"[..]);
        assert_eq!(error::<String>(bytes), "expected string of UTF-8, found string of other bytes");
    }

    #[test]
    fn errors_have_a_path() {
        type Deep = (u64, Vec<BTreeMap<u64, HashSet<String>>>);
        let key: Table = [("k", 1u64)].into_iter().collect();
        let value: Table = [(1u64, Set::from_iter(["a"])), (2, Set::from_iter([7u64]))].into_iter().collect();
        assert_eq!(
            error::<Deep>((1u64, vec![value.clone(), key])),
            "vector element 1, vector element 0, table value 1, set element 0: expected string, found count"
        );
        let key: Table = [("k", 1u64)].into_iter().collect();
        let wrong = Vec::<BTreeMap<u64, u64>>::from_value(vec![key].into()).unwrap_err();
        assert_eq!((wrong.expected(), wrong.found()), ("count", "string"));
        assert_eq!(wrong.path().to_string(), "vector element 0, table key 0");
    }
}
