//! Values as JSON: the shape of Broker's WebSocket interface, repaired where that one loses something.

#[cfg(test)]
mod tests;
mod write;

use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::{Deserializer, Map, Value as Json, json};

use super::{ByteString, MAX_DEPTH, Set, Step, Table, Timespan, Timestamp, Value, WrongType};

/// JSON that is not a value, or not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON at all; the words are the parser's, with line and column.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// More than [`MAX_DEPTH`] sets, tables and vectors inside one another, or brackets enough for that.
    #[error("nested too deep: at most {MAX_DEPTH} sets, tables and vectors may stand inside one another")]
    TooDeep,
    /// JSON of another shape; says where, what was expected and what was found.
    #[error(transparent)]
    WrongType(#[from] WrongType),
}

/// The brackets around the innermost content of the deepest value: three for each table (`{`, `[` and
/// the pair's `{`), the object and the `{}` of a `none`; and room for objects around the value.
const MAX_BRACKETS: usize = MAX_DEPTH.saturating_mul(3).saturating_add(2 + 8);

/// Parses JSON that values stand in, alone or inside of a few other objects and arrays.
///
/// `serde_json` of itself allows no more than 128 brackets inside one another, which a value can exceed.
/// Here the brackets are counted first, so that no text can exhaust the stack.
///
/// # Errors
/// [`JsonError::TooDeep`] and [`JsonError::Syntax`].
pub fn parse_json(text: impl AsRef<[u8]>) -> Result<Json, JsonError> {
    let text = text.as_ref();
    if deepest(text) > MAX_BRACKETS {
        return Err(JsonError::TooDeep);
    }
    let mut parser = Deserializer::from_slice(text);
    parser.disable_recursion_limit();
    let mut values = parser.into_iter();
    let syntax = |words: &dyn ToString| JsonError::Syntax(words.to_string());
    let first = values.next().ok_or_else(|| syntax(&"there is nothing"))?.map_err(|e| syntax(&e))?;
    match values.next() {
        None => Ok(first),
        Some(Ok(_)) => Err(syntax(&"more than one value")),
        Some(Err(error)) => Err(syntax(&error)),
    }
}

/// How many brackets are open at once, at most. Where the text is not JSON, this is right up to the
/// place at which a parser gives up.
fn deepest(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

impl Value {
    /// The value as JSON, in the shape of Broker's WebSocket interface, repaired where that one loses
    /// something. Recurses as deep as the value nests.
    ///
    /// Every value is an object that names its type and holds its content:
    ///
    /// | `@data-type` | content |
    /// | --- | --- |
    /// | `none` | `data`: `{}` |
    /// | `boolean` | `data`: `true` or `false` |
    /// | `count`, `integer` | `data`: a whole number |
    /// | `real` | `data`: a number with all its digits, or `"inf"`, `"-inf"`, `"nan"` |
    /// | `string`, `enum-value` | `data`: text; or, where the bytes are not UTF-8, `hex`: their hexadecimal digits |
    /// | `address`, `subnet`, `port` | `data`: text, such as `1.2.3.4`, `10.0.0.0/8`, `80/tcp` |
    /// | `timestamp`, `timespan` | `ns`: whole nanoseconds; a timespan is read from `data` as well, such as `"1500ms"` |
    /// | `set`, `vector` | `data`: an array of values |
    /// | `table` | `data`: an array of `{"key": value, "value": value}` |
    #[must_use]
    pub fn to_json(&self) -> Json {
        let values = |values: &[Value]| values.iter().map(Value::to_json).collect();
        let (key, content) = match self {
            Value::None => ("data", json!({})),
            Value::Boolean(boolean) => ("data", json!(boolean)),
            Value::Count(count) => ("data", json!(count)),
            Value::Integer(integer) => ("data", json!(integer)),
            Value::Real(real) if real.is_nan() => ("data", json!("nan")),
            Value::Real(real) if real.is_infinite() => ("data", json!(real.to_string())),
            Value::Real(real) => ("data", json!(real)),
            Value::String(bytes) | Value::EnumValue(bytes) => match bytes.as_str() {
                Some(text) => ("data", json!(text)),
                None => ("hex", json!(HEXLOWER_PERMISSIVE.encode(bytes.as_bytes()))),
            },
            Value::Address(address) => ("data", json!(address.to_string())),
            Value::Subnet(subnet) => ("data", json!(subnet.to_string())),
            Value::Port(port) => ("data", json!(port.to_string())),
            Value::Timestamp(timestamp) => ("ns", json!(timestamp.as_nanos())),
            Value::Timespan(timespan) => ("ns", json!(timespan.as_nanos())),
            Value::Set(set) => ("data", values(set.as_slice())),
            Value::Vector(elements) => ("data", values(elements)),
            Value::Table(table) => {
                let pair = |(k, v): &(Value, Value)| json!({"key": k.to_json(), "value": v.to_json()});
                ("data", table.iter().map(pair).collect())
            }
        };
        json!({"@data-type": self.type_name(), key: content})
    }

    /// Reads a value from its JSON, in the shape that [`Value::to_json`] describes. Other members of an
    /// object are skipped over, and the host bits of a subnet cleared, as Broker does; all else is checked.
    ///
    /// # Errors
    /// [`JsonError::TooDeep`] and [`JsonError::WrongType`].
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        read(json, 0)
    }

    /// Reads a value from the text of its JSON, with nothing but white space around it.
    ///
    /// # Errors
    /// All of [`JsonError`].
    pub fn from_json_text(text: impl AsRef<[u8]>) -> Result<Self, JsonError> {
        Value::from_json(&parse_json(text)?)
    }
}

/// Every `@data-type` there is.
const TYPES: &str = "none, boolean, count, integer, real, string, address, subnet, port, timestamp, \
                     timespan, enum-value, set, table, vector";

/// A value that stands inside of `depth` containers. Recurses at most [`MAX_DEPTH`] times.
fn read(json: &Json, depth: usize) -> Result<Value, JsonError> {
    let Some(object) = json.as_object() else {
        return Err(wrong(r#"an object with "@data-type" and "data""#, json).into());
    };
    let data_type = member(object, "@data-type")?;
    let data = || member(object, "data");
    Ok(match data_type.as_str().unwrap_or_default() {
        "none" => match object.get("data") {
            Some(Json::Object(content)) if content.is_empty() => Value::None,
            Some(Json::Null) | None => Value::None,
            Some(other) => return Err(wrong(r#""data" of a none to be {}"#, other).into()),
        },
        "boolean" => Value::Boolean(taken(data()?, "true or false", Json::as_bool)?),
        "count" => Value::Count(taken(data()?, "count: a whole number from 0 to 2^64 - 1", Json::as_u64)?),
        "integer" => {
            Value::Integer(taken(data()?, "integer: a whole number from -2^63 to 2^63 - 1", Json::as_i64)?)
        }
        "real" => Value::Real(taken(data()?, r#"real: a number, "inf", "-inf" or "nan""#, real)?),
        "string" => Value::String(bytes(object)?),
        "enum-value" => Value::EnumValue(bytes(object)?),
        "address" => Value::Address(taken(data()?, "an IPv4 or IPv6 address", parsed)?),
        "subnet" => Value::Subnet(taken(data()?, "subnet: ADDRESS/LENGTH", parsed)?),
        "port" => Value::Port(taken(data()?, "port: NUMBER/PROTOCOL with tcp, udp, icmp or ?", parsed)?),
        "timestamp" => {
            let expected = r#"timestamp: "ns" with whole nanoseconds since 1970"#;
            let ns = object.get("ns").ok_or_else(|| WrongType::new(expected, r#"no "ns""#))?;
            Value::Timestamp(Timestamp::from_nanos(taken(ns, expected, Json::as_i64)?))
        }
        "timespan" => Value::Timespan(match either(object, "ns", "data")? {
            ("ns", ns) => Timespan::from_nanos(taken(ns, "timespan: whole nanoseconds", Json::as_i64)?),
            (_, text) => taken(text, "timespan: a whole number with ns, us, ms, s, min, h or d", parsed)?,
        }),
        "vector" => Value::Vector(elements(data()?, depth, Step::VectorElement)?),
        "set" => Set::from_distinct(elements(data()?, depth, Step::SetElement)?)
            .map(Value::Set)
            .ok_or_else(|| WrongType::new("a set of different elements", "two equal ones"))?,
        "table" => Table::from_distinct(pairs(data()?, depth)?)
            .map(Value::Table)
            .ok_or_else(|| WrongType::new("a table with different keys", "two equal ones"))?,
        _ => return Err(wrong(format!(r#""@data-type" to be one of {TYPES}"#), data_type).into()),
    })
}

fn elements(data: &Json, depth: usize, step: fn(usize) -> Step) -> Result<Vec<Value>, JsonError> {
    let (elements, depth) = array(data, depth)?;
    elements
        .iter()
        .enumerate()
        .map(|(i, element)| read(element, depth).map_err(|e| e.within(step(i))))
        .collect()
}

fn pairs(data: &Json, depth: usize) -> Result<Vec<(Value, Value)>, JsonError> {
    let (pairs, depth) = array(data, depth)?;
    pairs
        .iter()
        .enumerate()
        .map(|(i, pair)| {
            let part = |name, step: Step| {
                let pair = pair.as_object().ok_or_else(|| wrong(r#"a pair: {"key": .., "value": ..}"#, pair));
                let part = pair.and_then(|pair| member(pair, name)).map_err(JsonError::from);
                part.and_then(|part| read(part, depth)).map_err(|e| e.within(step))
            };
            Ok((part("key", Step::TableKey(i))?, part("value", Step::TableValue(i))?))
        })
        .collect()
}

/// The content of a container that stands inside of `depth` others, and the depth in there.
fn array(data: &Json, depth: usize) -> Result<(&Vec<Json>, usize), JsonError> {
    if depth >= MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok((taken(data, "an array", Json::as_array)?, depth.saturating_add(1)))
}

fn bytes(object: &Map<String, Json>) -> Result<ByteString, WrongType> {
    match either(object, "data", "hex")? {
        ("data", text) => taken(text, "text", Json::as_str).map(ByteString::from),
        (_, hex) => {
            let decoded = |hex: &Json| HEXLOWER_PERMISSIVE.decode(hex.as_str()?.as_bytes()).ok();
            taken(hex, "an even number of hexadecimal digits", decoded).map(ByteString::from)
        }
    }
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

fn parsed<T: FromStr>(data: &Json) -> Option<T> {
    data.as_str()?.parse().ok()
}

/// What `take` takes out of the JSON, or an error.
fn taken<'a, T>(
    json: &'a Json,
    expected: &'static str,
    take: impl FnOnce(&'a Json) -> Option<T>,
) -> Result<T, WrongType> {
    take(json).ok_or_else(|| wrong(expected, json))
}

fn member<'a>(object: &'a Map<String, Json>, name: &str) -> Result<&'a Json, WrongType> {
    object.get(name).ok_or_else(|| WrongType::new(format!(r#"an object with "{name}""#), "none there"))
}

/// The one member of these two that is there, with its name.
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

/// How much of a text an error repeats.
const SHOWN: usize = 40;

fn wrong(expected: impl Into<std::borrow::Cow<'static, str>>, found: &Json) -> WrongType {
    let found = match found {
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::String(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{:?} and more", text.get(..end).unwrap_or_default()),
            None => format!("{text:?}"),
        },
        scalar => scalar.to_string(),
    };
    WrongType::new(expected, found)
}

impl JsonError {
    /// The same error, seen from the container that a step leads into.
    fn within(self, step: Step) -> Self {
        match self {
            JsonError::WrongType(error) => JsonError::WrongType(error.within(step)),
            other => other,
        }
    }
}
