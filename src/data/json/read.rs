//! Conversion of JSON to values. Errors contain the path to the fault.

use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::source::Source;
use super::{JsonError, Value};
use crate::data::{Address, ByteString, Port, Set, Step, Subnet, Table, Timespan, Timestamp, WrongType};

/// All values of `@data-type`.
pub(super) const TYPES: &str = "none, boolean, count, integer, real, string, address, subnet, port, timestamp, \
                                timespan, enum-value, set, table, vector";

/// How values are read.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    max_depth: usize,
    /// The number of further containers that may be nested here.
    depth: usize,
    infers_types: bool,
}

impl Rules {
    /// Containers may be nested `max_depth` deep.
    pub(super) fn new(max_depth: usize) -> Self {
        Rules { max_depth, depth: max_depth, infers_types: false }
    }

    /// Accepts strings, booleans and null without `@data-type`.
    pub(super) fn with_inference(self) -> Self {
        Rules { infers_types: true, ..self }
    }

    fn in_container(self) -> Result<Self, JsonError> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Rules { depth, ..self }),
            None => Err(JsonError::TooDeep { limit: self.max_depth }),
        }
    }
}

/// Converts a value. Recurses as deep as the rules allow containers to be nested.
pub(super) fn value<'a>(json: impl Source<'a>, rules: Rules) -> Result<Value, JsonError> {
    if !json.is_object() {
        let inferred = if rules.infers_types { inferred(json) } else { None };
        return inferred.ok_or_else(|| unexpected(r#"an object with "@data-type" and "data""#, json).into());
    }
    let data_type = member(json, "@data-type")?;
    let data = || member(json, "data");
    let name = data_type.string().unwrap_or_default();
    Ok(match std::str::from_utf8(&name).unwrap_or_default() {
        "none" => match json.member("data") {
            Some(other) if !other.is_null() && !other.is_empty_object() => {
                return Err(unexpected(r#""data" of a none to be {}"#, other).into());
            }
            _ => Value::None,
        },
        "boolean" => Value::Boolean(read_as(data()?, "true or false", Source::boolean)?),
        "count" => {
            Value::Count(read_as(data()?, "count: a whole number from 0 to 2^64 - 1", Source::unsigned)?)
        }
        "integer" => Value::Integer(read_as(
            data()?,
            "integer: a whole number from -2^63 to 2^63 - 1",
            Source::signed,
        )?),
        "real" => Value::Real(read_as(data()?, r#"real: a number, "inf", "-inf" or "nan""#, real)?),
        "string" => Value::String(bytes(json)?),
        "enum-value" => Value::EnumValue(bytes(json)?),
        "address" => Value::Address(address(data()?)?),
        "subnet" => Value::Subnet(subnet(data()?)?),
        "port" => Value::Port(port(data()?)?),
        "timestamp" => Value::Timestamp(match either(json, "ns", "data")? {
            ("ns", ns) => timestamp_of_nanos(ns)?,
            (_, text) => timestamp_of_text(text)?,
        }),
        "timespan" => Value::Timespan(match either(json, "ns", "data")? {
            ("ns", ns) => timespan_of_nanos(ns)?,
            (_, text) => timespan_of_text(text)?,
        }),
        "vector" => Value::Vector(elements(data()?, rules, Step::VectorElement)?),
        "set" => Value::Set(set(data()?, rules)?),
        "table" => Value::Table(table(data()?, rules)?),
        _ => return Err(unexpected(format!(r#""@data-type" to be one of {TYPES}"#), data_type).into()),
    })
}

fn inferred<'a>(json: impl Source<'a>) -> Option<Value> {
    if json.is_null() {
        return Some(Value::None);
    }
    let string = || json.string().map(|bytes| Value::String((&*bytes).into()));
    json.boolean().map(Value::Boolean).or_else(string)
}

pub(super) fn address<'a>(data: impl Source<'a>) -> Result<Address, WrongType> {
    read_as(data, "an IPv4 or IPv6 address", parsed)
}

pub(super) fn subnet<'a>(data: impl Source<'a>) -> Result<Subnet, WrongType> {
    read_as(data, "subnet: ADDRESS/LENGTH", parsed)
}

pub(super) fn port<'a>(data: impl Source<'a>) -> Result<Port, WrongType> {
    read_as(data, "port: NUMBER/PROTOCOL with tcp, udp, icmp or ?", parsed)
}

pub(super) fn timestamp_of_nanos<'a>(ns: impl Source<'a>) -> Result<Timestamp, WrongType> {
    read_as(ns, "timestamp: whole nanoseconds since 1970", Source::signed).map(Timestamp::from_nanos)
}

pub(super) fn timestamp_of_text<'a>(text: impl Source<'a>) -> Result<Timestamp, WrongType> {
    read_as(text, "timestamp: ISO 8601 such as 2023-04-18T12:13:15.123Z, of the years 1678 to 2262", parsed)
}

pub(super) fn timespan_of_nanos<'a>(ns: impl Source<'a>) -> Result<Timespan, WrongType> {
    read_as(ns, "timespan: whole nanoseconds", Source::signed).map(Timespan::from_nanos)
}

pub(super) fn timespan_of_text<'a>(text: impl Source<'a>) -> Result<Timespan, WrongType> {
    read_as(text, "timespan: a number with ns, us, ms, s, min, h or d", parsed)
}

pub(super) fn set<'a>(data: impl Source<'a>, rules: Rules) -> Result<Set, JsonError> {
    let distinct = Set::from_distinct(elements(data, rules, Step::SetElement)?);
    Ok(distinct.ok_or_else(|| WrongType::new("a set of different elements", "two equal ones"))?)
}

pub(super) fn table<'a>(data: impl Source<'a>, rules: Rules) -> Result<Table, JsonError> {
    let distinct = Table::from_distinct(pairs(data, rules)?);
    Ok(distinct.ok_or_else(|| WrongType::new("a table with different keys", "two equal ones"))?)
}

fn elements<'a>(
    data: impl Source<'a>,
    rules: Rules,
    step: fn(usize) -> Step,
) -> Result<Vec<Value>, JsonError> {
    let rules = rules.in_container()?;
    array(data)?
        .enumerate()
        .map(|(i, element)| value(element, rules).map_err(|e| e.within(step(i))))
        .collect()
}

fn pairs<'a>(data: impl Source<'a>, rules: Rules) -> Result<Vec<(Value, Value)>, JsonError> {
    let rules = rules.in_container()?;
    array(data)?
        .enumerate()
        .map(|(i, pair)| {
            let part = |name, step: Step| {
                let pair = if pair.is_object() {
                    Ok(pair)
                } else {
                    Err(unexpected(r#"a pair: {"key": .., "value": ..}"#, pair))
                };
                let part = pair.and_then(|pair| member(pair, name)).map_err(JsonError::from);
                part.and_then(|part| value(part, rules)).map_err(|e| e.within(step))
            };
            Ok((part("key", Step::TableKey(i))?, part("value", Step::TableValue(i))?))
        })
        .collect()
}

fn array<'a, S: Source<'a>>(data: S) -> Result<impl Iterator<Item = S>, WrongType> {
    data.elements().ok_or_else(|| unexpected("an array", data))
}

fn bytes<'a>(object: impl Source<'a>) -> Result<ByteString, WrongType> {
    match either(object, "data", "hex")? {
        ("data", text) => read_as(text, "text", Source::string).map(|bytes| (&*bytes).into()),
        (_, digits) => hex(digits).map(ByteString::from),
    }
}

pub(super) fn hex<'a>(digits: impl Source<'a>) -> Result<Vec<u8>, WrongType> {
    read_as(digits, "an even number of hexadecimal digits", |digits| {
        HEXLOWER_PERMISSIVE.decode(&digits.string()?).ok()
    })
}

fn real<'a>(data: impl Source<'a>) -> Option<f64> {
    match data.string().as_deref() {
        None => data.real(),
        Some(b"inf") => Some(f64::INFINITY),
        Some(b"-inf") => Some(f64::NEG_INFINITY),
        Some(b"nan") => Some(f64::NAN),
        Some(_) => None,
    }
}

pub(super) fn parsed<'a, T: FromStr>(data: impl Source<'a>) -> Option<T> {
    std::str::from_utf8(&data.string()?).ok()?.parse().ok()
}

/// Returns the result of `take` for the JSON. If `take` returns `None`, returns an error that contains `expected`.
pub(super) fn read_as<'a, S: Source<'a>, T>(
    json: S,
    expected: &'static str,
    take: impl FnOnce(S) -> Option<T>,
) -> Result<T, WrongType> {
    take(json).ok_or_else(|| unexpected(expected, json))
}

pub(super) fn member<'a, S: Source<'a>>(object: S, name: &str) -> Result<S, WrongType> {
    let missing = || WrongType::new(format!(r#"an object with "{name}""#), "no such member");
    object.member(name).ok_or_else(missing)
}

/// Returns the name and the content of the one of two members that is present. Fails if both are present or both are
/// missing.
fn either<'a, S: Source<'a>>(
    object: S,
    one: &'static str,
    other: &'static str,
) -> Result<(&'static str, S), WrongType> {
    match (object.member(one), object.member(other)) {
        (Some(json), None) => Ok((one, json)),
        (None, Some(json)) => Ok((other, json)),
        (found, _) => {
            let found = if found.is_some() { "both" } else { "neither" };
            Err(WrongType::new(format!(r#"an object with "{one}" or "{other}""#), found))
        }
    }
}

pub(super) fn unexpected<'a>(
    expected: impl Into<std::borrow::Cow<'static, str>>,
    found: impl Source<'a>,
) -> WrongType {
    WrongType::new(expected, found.description())
}

impl JsonError {
    /// Returns the error with `step` added to the front of its path.
    fn within(self, step: Step) -> Self {
        match self {
            JsonError::WrongType(error) => JsonError::WrongType(error.within(step)),
            other => other,
        }
    }
}
