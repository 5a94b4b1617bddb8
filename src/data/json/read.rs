//! Conversion of JSON to values. Errors contain the path to the fault.

use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::{Map, Value as Json};

use super::{JsonError, MAX_DEPTH, Value};
use crate::data::{Address, ByteString, Port, Set, Step, Subnet, Table, Timespan, Timestamp, WrongType};

/// All values of `@data-type`.
pub(super) const TYPES: &str = "none, boolean, count, integer, real, string, address, subnet, port, timestamp, \
                                timespan, enum-value, set, table, vector";

/// Converts a value nested in `depth` containers. Recurses at most [`MAX_DEPTH`] times.
pub(super) fn value(json: &Json, depth: usize) -> Result<Value, JsonError> {
    let Some(object) = json.as_object() else {
        return Err(unexpected(r#"an object with "@data-type" and "data""#, json).into());
    };
    let data_type = member(object, "@data-type")?;
    let data = || member(object, "data");
    Ok(match data_type.as_str().unwrap_or_default() {
        "none" => match object.get("data") {
            Some(Json::Object(content)) if content.is_empty() => Value::None,
            Some(Json::Null) | None => Value::None,
            Some(other) => return Err(unexpected(r#""data" of a none to be {}"#, other).into()),
        },
        "boolean" => Value::Boolean(read_as(data()?, "true or false", Json::as_bool)?),
        "count" => Value::Count(read_as(data()?, "count: a whole number from 0 to 2^64 - 1", Json::as_u64)?),
        "integer" => {
            Value::Integer(read_as(data()?, "integer: a whole number from -2^63 to 2^63 - 1", Json::as_i64)?)
        }
        "real" => Value::Real(read_as(data()?, r#"real: a number, "inf", "-inf" or "nan""#, real)?),
        "string" => Value::String(bytes(object)?),
        "enum-value" => Value::EnumValue(bytes(object)?),
        "address" => Value::Address(address(data()?)?),
        "subnet" => Value::Subnet(subnet(data()?)?),
        "port" => Value::Port(port(data()?)?),
        "timestamp" => Value::Timestamp(match either(object, "ns", "data")? {
            ("ns", ns) => timestamp_of_nanos(ns)?,
            (_, text) => timestamp_of_text(text)?,
        }),
        "timespan" => Value::Timespan(match either(object, "ns", "data")? {
            ("ns", ns) => timespan_of_nanos(ns)?,
            (_, text) => timespan_of_text(text)?,
        }),
        "vector" => Value::Vector(elements(data()?, depth, Step::VectorElement)?),
        "set" => Value::Set(set(data()?, depth)?),
        "table" => Value::Table(table(data()?, depth)?),
        _ => return Err(unexpected(format!(r#""@data-type" to be one of {TYPES}"#), data_type).into()),
    })
}

pub(super) fn address(data: &Json) -> Result<Address, WrongType> {
    read_as(data, "an IPv4 or IPv6 address", parsed)
}

pub(super) fn subnet(data: &Json) -> Result<Subnet, WrongType> {
    read_as(data, "subnet: ADDRESS/LENGTH", parsed)
}

pub(super) fn port(data: &Json) -> Result<Port, WrongType> {
    read_as(data, "port: NUMBER/PROTOCOL with tcp, udp, icmp or ?", parsed)
}

pub(super) fn timestamp_of_nanos(ns: &Json) -> Result<Timestamp, WrongType> {
    read_as(ns, "timestamp: whole nanoseconds since 1970", Json::as_i64).map(Timestamp::from_nanos)
}

pub(super) fn timestamp_of_text(text: &Json) -> Result<Timestamp, WrongType> {
    read_as(text, "timestamp: ISO 8601 such as 2023-04-18T12:13:15.123Z, of the years 1678 to 2262", parsed)
}

pub(super) fn timespan_of_nanos(ns: &Json) -> Result<Timespan, WrongType> {
    read_as(ns, "timespan: whole nanoseconds", Json::as_i64).map(Timespan::from_nanos)
}

pub(super) fn timespan_of_text(text: &Json) -> Result<Timespan, WrongType> {
    read_as(text, "timespan: a number with ns, us, ms, s, min, h or d", parsed)
}

pub(super) fn set(data: &Json, depth: usize) -> Result<Set, JsonError> {
    let distinct = Set::from_distinct(elements(data, depth, Step::SetElement)?);
    Ok(distinct.ok_or_else(|| WrongType::new("a set of different elements", "two equal ones"))?)
}

pub(super) fn table(data: &Json, depth: usize) -> Result<Table, JsonError> {
    let distinct = Table::from_distinct(pairs(data, depth)?);
    Ok(distinct.ok_or_else(|| WrongType::new("a table with different keys", "two equal ones"))?)
}

fn elements(data: &Json, depth: usize, step: fn(usize) -> Step) -> Result<Vec<Value>, JsonError> {
    let (elements, depth) = array(data, depth)?;
    elements
        .iter()
        .enumerate()
        .map(|(i, element)| value(element, depth).map_err(|e| e.within(step(i))))
        .collect()
}

fn pairs(data: &Json, depth: usize) -> Result<Vec<(Value, Value)>, JsonError> {
    let (pairs, depth) = array(data, depth)?;
    pairs
        .iter()
        .enumerate()
        .map(|(i, pair)| {
            let part = |name, step: Step| {
                let pair =
                    pair.as_object().ok_or_else(|| unexpected(r#"a pair: {"key": .., "value": ..}"#, pair));
                let part = pair.and_then(|pair| member(pair, name)).map_err(JsonError::from);
                part.and_then(|part| value(part, depth)).map_err(|e| e.within(step))
            };
            Ok((part("key", Step::TableKey(i))?, part("value", Step::TableValue(i))?))
        })
        .collect()
}

/// Returns the elements of a container that is nested in `depth` other containers, and the depth of the elements.
fn array(data: &Json, depth: usize) -> Result<(&Vec<Json>, usize), JsonError> {
    if depth >= MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok((read_as(data, "an array", Json::as_array)?, depth.saturating_add(1)))
}

fn bytes(object: &Map<String, Json>) -> Result<ByteString, WrongType> {
    match either(object, "data", "hex")? {
        ("data", text) => read_as(text, "text", Json::as_str).map(ByteString::from),
        (_, digits) => hex(digits).map(ByteString::from),
    }
}

pub(super) fn hex(digits: &Json) -> Result<Vec<u8>, WrongType> {
    let decoded = |digits: &Json| HEXLOWER_PERMISSIVE.decode(digits.as_str()?.as_bytes()).ok();
    read_as(digits, "an even number of hexadecimal digits", decoded)
}

fn real(data: &Json) -> Option<f64> {
    match data.as_str() {
        None => data.as_f64(),
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        Some("nan") => Some(f64::NAN),
        Some(_) => None,
    }
}

pub(super) fn parsed<T: FromStr>(data: &Json) -> Option<T> {
    data.as_str()?.parse().ok()
}

/// Returns the result of `take` for the JSON. If `take` returns `None`, returns an error that contains `expected`.
pub(super) fn read_as<'a, T>(
    json: &'a Json,
    expected: &'static str,
    take: impl FnOnce(&'a Json) -> Option<T>,
) -> Result<T, WrongType> {
    take(json).ok_or_else(|| unexpected(expected, json))
}

pub(super) fn member<'a>(object: &'a Map<String, Json>, name: &str) -> Result<&'a Json, WrongType> {
    object.get(name).ok_or_else(|| WrongType::new(format!(r#"an object with "{name}""#), "none there"))
}

/// Returns the name and the content of the one of two members that is present. Fails if both are present or both are
/// missing.
fn either<'a>(
    object: &'a Map<String, Json>,
    one: &'static str,
    other: &'static str,
) -> Result<(&'static str, &'a Json), WrongType> {
    match (object.get(one), object.get(other)) {
        (Some(json), None) => Ok((one, json)),
        (None, Some(json)) => Ok((other, json)),
        (found, _) => {
            let found = if found.is_some() { "both" } else { "neither" };
            Err(WrongType::new(format!(r#"an object with "{one}" or "{other}""#), found))
        }
    }
}

/// The maximum number of characters of a text that an error quotes.
const MAX_QUOTED: usize = 40;

pub(super) fn unexpected(expected: impl Into<std::borrow::Cow<'static, str>>, found: &Json) -> WrongType {
    let found = match found {
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::String(text) => match text.char_indices().nth(MAX_QUOTED) {
            Some((end, _)) => format!("{:?} and more", text.get(..end).unwrap_or_default()),
            None => format!("{text:?}"),
        },
        scalar => scalar.to_string(),
    };
    WrongType::new(expected, found)
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
