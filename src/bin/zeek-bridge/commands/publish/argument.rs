//! The arguments of an event on the command line: `TYPE:VALUE`, with the names of Zeek's types.

use std::str::FromStr;
use std::time::SystemTime;

use zeek_bridge::data::{Set, Table, Timespan, Timestamp, Value};
use zeek_bridge::zeek::{self, Event};

/// The types of arguments, for the help and for errors.
const TYPES: &str = "bool, int, count, double, string, addr, subnet, port, time, interval, enum, none, set[T], \
                     vector of T, record[T,T,..], table[K] of T, json";

/// The types of values without elements.
const SCALARS: [&str; 12] = [
    "bool", "int", "count", "double", "string", "addr", "subnet", "port", "time", "interval", "enum", "none",
];

/// Returns the payload of an event with this name and these arguments.
pub(super) fn event(name: &str, arguments: &[String]) -> Result<Value, String> {
    let numbered = (1u64..).zip(arguments);
    let args = numbered.map(|(n, text)| parse(text).map_err(|error| format!("argument {n}: {error}")));
    let args = args.collect::<Result<_, _>>()?;
    Ok(zeek::ZeekMessage::from(Event { name: name.to_owned(), args, metadata: None }).into_value())
}

/// Parses an argument, such as `count:7`, `set[port]:80/tcp,443/tcp` or `table[string] of count:a=1,b=2`.
///
/// The elements of a container are separated by commas. `\,`, `\=` and `\\` are these characters without a special meaning; any
/// other backslash is part of the element. A `json` argument is a value in the format of Broker's JSON, which can express every
/// value.
fn parse(argument: &str) -> Result<Value, String> {
    let (kind, text) = split_type(argument)?;
    match kind {
        Type::Scalar("json") => Value::from_json_text(text).map_err(|error| error.to_string()),
        Type::Scalar(scalar) => parse_scalar(scalar, text),
        Type::Container(container) => parse_container(&container, text),
    }
}

/// The type of an argument. The types in a container are checked later.
enum Type<'a> {
    Scalar(&'a str),
    Container(Container<'a>),
}

/// A container, and the types of its elements.
enum Container<'a> {
    Vector(&'a str),
    Set(Vec<&'a str>),
    Record(Vec<&'a str>),
    Table(Vec<&'a str>, &'a str),
}

/// Splits an argument at the colon after its type.
fn split_type(argument: &str) -> Result<(Type<'_>, &str), String> {
    let Some((kind, text)) = argument.split_once(':') else { return Err(no_type(argument)) };
    match type_of(kind) {
        Some(kind) => Ok((kind, text)),
        None if !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            Err(format!("{argument:?} has the unknown type {kind:?}; the types are {TYPES}"))
        }
        None => Err(no_type(argument)),
    }
}

fn no_type(argument: &str) -> String {
    format!("{argument:?} has no type; use string:TEXT, count:NUMBER, .. (types: {TYPES})")
}

/// Parses a type in Zeek's notation, such as `vector of count`. A record is written with the types of its fields.
fn type_of(kind: &str) -> Option<Type<'_>> {
    if SCALARS.contains(&kind) || kind == "json" {
        return Some(Type::Scalar(kind));
    }
    if let Some(element) = kind.strip_prefix("vector of ") {
        return Some(Type::Container(Container::Vector(element.trim())));
    }
    let (name, rest) = kind.split_once('[')?;
    let (inner, after) = rest.rsplit_once(']')?;
    let value = match after.trim() {
        "" => None,
        after => Some(after.strip_prefix("of ")?.trim()),
    };
    Some(Type::Container(match (name, value) {
        ("set", None) => Container::Set(types(inner)),
        ("record", None) => Container::Record(types(inner)),
        ("table", Some(value)) => Container::Table(types(inner), value),
        _ => return None,
    }))
}

/// Splits types at the commas that are not in brackets.
fn types(list: &str) -> Vec<&str> {
    let mut open = 0u64;
    let types = list.split(|char| {
        match char {
            '[' => open = open.saturating_add(1),
            ']' => open = open.saturating_sub(1),
            _ => {}
        }
        char == ',' && open == 0
    });
    types.map(str::trim).collect()
}

fn parse_container(container: &Container<'_>, text: &str) -> Result<Value, String> {
    // An empty text is a container without elements, except for a record, which has at least one field.
    let is_empty = text.is_empty() && !matches!(container, Container::Record(_));
    let elements = if is_empty { Vec::new() } else { split(text, ',') };
    match container {
        Container::Vector(kind) => parse_elements(element_type(kind)?, &elements).map(Value::Vector),
        Container::Set(kinds) => {
            let set: Set = parse_elements(single_type(kinds)?, &elements)?.into_iter().collect();
            if set.len() == elements.len() {
                Ok(Value::Set(set))
            } else {
                Err("two elements of the set are equal".into())
            }
        }
        Container::Record(kinds) => {
            let kinds = kinds.iter().map(|kind| element_type(kind)).collect::<Result<Vec<_>, _>>()?;
            if kinds.len() != elements.len() {
                let (fields, values) = (kinds.len(), elements.len());
                return Err(format!("the record has types: {fields}, but values: {values}"));
            }
            let fields = kinds.iter().zip(&elements).map(|(kind, text)| parse_element(kind, text));
            fields.collect::<Result<_, _>>().map(Value::Vector)
        }
        Container::Table(keys, value) => {
            let (key, value) = (single_type(keys)?, element_type(value)?);
            let pairs = elements.iter().map(|pair| match split(pair, '=').as_slice() {
                [one, other] => Ok((parse_element(key, one)?, parse_element(value, other)?)),
                _ => Err(format!("{pair:?} is not KEY=VALUE; write \\= for an = in a key or value")),
            });
            let table: Table = pairs.collect::<Result<_, String>>()?;
            if table.len() == elements.len() {
                Ok(Value::Table(table))
            } else {
                Err("two keys of the table are equal".into())
            }
        }
    }
}

/// Returns the type of the elements of a set or the keys of a table.
fn single_type<'a>(kinds: &[&'a str]) -> Result<&'a str, String> {
    match kinds {
        [kind] => element_type(kind),
        kinds => Err(format!(
            "a key or element that consists of several values ({}) is not supported; write the argument as json:VALUE",
            kinds.join(", ")
        )),
    }
}

/// Checks the type of an element of a container.
fn element_type(kind: &str) -> Result<&str, String> {
    if SCALARS.contains(&kind) {
        Ok(kind)
    } else if type_of(kind).is_some() {
        Err(format!("{kind} in a container is not supported; write the argument as json:VALUE"))
    } else {
        Err(unknown_type(kind))
    }
}

fn unknown_type(kind: &str) -> String {
    format!("unknown type {kind:?}; the types are {TYPES}")
}

fn parse_elements(kind: &str, elements: &[String]) -> Result<Vec<Value>, String> {
    elements.iter().map(|text| parse_element(kind, text)).collect()
}

fn parse_element(kind: &str, text: &str) -> Result<Value, String> {
    parse_scalar(kind, &unescaped(text))
}

fn parse_scalar(kind: &str, text: &str) -> Result<Value, String> {
    match kind {
        "bool" => match text {
            "T" | "true" => Ok(Value::Boolean(true)),
            "F" | "false" => Ok(Value::Boolean(false)),
            _ => Err(invalid(kind, text, "T or F")),
        },
        "int" => parsed(kind, text, "a whole number from -2^63 to 2^63 - 1").map(Value::Integer),
        "count" => parsed(kind, text, "a whole number from 0 to 2^64 - 1").map(Value::Count),
        // `parse` turns a number that is too large into infinity.
        "double" => match parsed::<f64>(kind, text, "a number")? {
            real if real.is_infinite() && text.contains(|char: char| char.is_ascii_digit()) => {
                Err(invalid(kind, text, "a number of at most 1.8e308, or inf"))
            }
            real => Ok(Value::Real(real)),
        },
        "string" => Ok(Value::from(text)),
        "addr" => parsed(kind, text, "an IPv4 or IPv6 address without brackets").map(Value::Address),
        "subnet" => parsed(kind, text, "ADDRESS/LENGTH").map(Value::Subnet),
        "port" => parsed(kind, text, "NUMBER/tcp, NUMBER/udp, NUMBER/icmp or NUMBER/?").map(Value::Port),
        "time" => parse_time(text).map(Value::Timestamp),
        "interval" => parse_interval(text).map(Value::Timespan).ok_or_else(|| {
            invalid(
                kind,
                text,
                "seconds, or a number with ns, us, ms, s, min, h or d, or with usec, msec, sec, hr or day",
            )
        }),
        "enum" if !text.is_empty() => Ok(Value::EnumValue(text.into())),
        "enum" => Err(invalid(kind, text, "a name, such as Notice::ACTION_LOG")),
        "none" if text.is_empty() => Ok(Value::None),
        "none" => Err("none: has no value; leave out the text after the colon".into()),
        _ => Err(unknown_type(kind)),
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = match text {
        "now" => Timestamp::try_from(SystemTime::now()).ok(),
        _ => text.parse().ok().or_else(|| {
            // Zeek writes times as seconds since 1970.
            parse_seconds(text).map(|since| Timestamp::from_nanos(since.as_nanos()))
        }),
    };
    time.ok_or_else(|| invalid("time", text, "2026-11-29T12:00:00Z, seconds since 1970, or now"))
}

/// Parses seconds, or a number with a unit of Broker's JSON or of Zeek, such as `10min`, `1.5 hrs` or `1 day`.
fn parse_interval(text: &str) -> Option<Timespan> {
    let unit = text.rsplit(|char: char| char.is_ascii_digit() || char == '.').next().unwrap_or_default();
    let number = text.strip_suffix(unit)?;
    let unit = match unit.trim_start() {
        "" if unit.is_empty() => "s",
        "usec" | "usecs" => "us",
        "msec" | "msecs" => "ms",
        "sec" | "secs" => "s",
        "mins" => "min",
        "hr" | "hrs" => "h",
        "day" | "days" => "d",
        other => other,
    };
    format!("{number}{unit}").parse().ok()
}

/// Parses a number without a unit as seconds.
fn parse_seconds(text: &str) -> Option<Timespan> {
    if text.ends_with(|last: char| last.is_ascii_digit()) { format!("{text}s").parse().ok() } else { None }
}

fn parsed<T: FromStr>(kind: &str, text: &str, expected: &str) -> Result<T, String> {
    text.parse().map_err(|_| invalid(kind, text, expected))
}

fn invalid(kind: &str, text: &str, expected: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i']) { "an" } else { "a" };
    format!("{text:?} is not {article} {kind}; expected {expected}")
}

/// Splits at each separator that has no backslash before it. The backslashes stay.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char == separator {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(char);
            if char == '\\' {
                part.extend(chars.next());
            }
        }
    }
    parts
}

/// Removes the backslashes before special characters, which [`split`] leaves.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = if char == '\\' { chars.next_if(|next| [',', '=', '\\'].contains(next)) } else { None };
        plain.push(escaped.unwrap_or(char));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_of_zeek_has_a_notation() {
        for (argument, json) in [
            ("bool:T", r#"{"@data-type":"boolean","data":true}"#),
            ("bool:false", r#"{"@data-type":"boolean","data":false}"#),
            ("int:-5", r#"{"@data-type":"integer","data":-5}"#),
            ("count:18446744073709551615", r#"{"@data-type":"count","data":18446744073709551615}"#),
            ("double:-inf", r#"{"@data-type":"real","data":"-inf"}"#),
            ("string:", r#"{"@data-type":"string","data":""}"#),
            ("string:a:b,c\\", r#"{"@data-type":"string","data":"a:b,c\\"}"#),
            ("addr:2001:db8::1", r#"{"@data-type":"address","data":"2001:db8::1"}"#),
            ("subnet:10.0.0.0/8", r#"{"@data-type":"subnet","data":"10.0.0.0/8"}"#),
            ("port:80/tcp", r#"{"@data-type":"port","data":"80/tcp"}"#),
            ("time:2023-04-18T12:13:15.5Z", r#"{"@data-type":"timestamp","data":"2023-04-18T12:13:15.5"}"#),
            ("time:1681819995.5", r#"{"@data-type":"timestamp","data":"2023-04-18T12:13:15.5"}"#),
            ("interval:1.5", r#"{"@data-type":"timespan","data":"1500ms"}"#),
            ("interval:2min", r#"{"@data-type":"timespan","data":"120s"}"#),
            ("interval:2 mins", r#"{"@data-type":"timespan","data":"120s"}"#),
            ("interval:5usecs", r#"{"@data-type":"timespan","data":"5us"}"#),
            ("interval:1.5 msec", r#"{"@data-type":"timespan","data":"1500us"}"#),
            ("interval:-3secs", r#"{"@data-type":"timespan","data":"-3s"}"#),
            ("interval:1.5 hr", r#"{"@data-type":"timespan","data":"5400s"}"#),
            ("interval:1 day", r#"{"@data-type":"timespan","data":"86400s"}"#),
            ("double:1.5", r#"{"@data-type":"real","data":1.5}"#),
            ("enum:Notice::ACTION_LOG", r#"{"@data-type":"enum-value","data":"Notice::ACTION_LOG"}"#),
            ("none:", r#"{"@data-type":"none"}"#),
            (
                "set[port]:80/tcp,443/tcp",
                r#"{"@data-type":"set","data":[{"@data-type":"port","data":"80/tcp"},{"@data-type":"port","data":"443/tcp"}]}"#,
            ),
            ("set[port]:", r#"{"@data-type":"set","data":[]}"#),
            (
                r"vector of string:a\,b,c\\,C:\temp\",
                r#"{"@data-type":"vector","data":[{"@data-type":"string","data":"a,b"},{"@data-type":"string","data":"c\\"},{"@data-type":"string","data":"C:\\temp\\"}]}"#,
            ),
            (
                "record[string, count]:a,7",
                r#"{"@data-type":"vector","data":[{"@data-type":"string","data":"a"},{"@data-type":"count","data":7}]}"#,
            ),
            (
                r"table[string] of count:a\=b=1",
                r#"{"@data-type":"table","data":[{"key":{"@data-type":"string","data":"a=b"},"value":{"@data-type":"count","data":1}}]}"#,
            ),
            ("record[none]:", r#"{"@data-type":"vector","data":[{"@data-type":"none"}]}"#),
            ("vector of count:7", r#"{"@data-type":"vector","data":[{"@data-type":"count","data":7}]}"#),
            (
                "table[string] of double:a=1",
                r#"{"@data-type":"table","data":[{"key":{"@data-type":"string","data":"a"},"value":{"@data-type":"real","data":1.0}}]}"#,
            ),
            (
                r#"json:{"@data-type":"vector","data":[{"@data-type":"set","data":[]}]}"#,
                r#"{"@data-type":"vector","data":[{"@data-type":"set","data":[]}]}"#,
            ),
        ] {
            assert_eq!(parse(argument), Ok(Value::from_json_text(json).unwrap()), "{argument}");
        }
    }

    #[test]
    fn time_now_is_the_current_time() {
        let before = Timestamp::try_from(SystemTime::now()).unwrap();
        let Ok(Value::Timestamp(now)) = parse("time:now") else { panic!("not a time") };
        assert!(before <= now && now <= Timestamp::try_from(SystemTime::now()).unwrap());
    }

    #[test]
    fn an_invalid_argument_is_explained() {
        for (argument, message) in [
            ("7", "no type"),
            ("", "no type"),
            ("http://a", "unknown type \"http\""),
            ("strng:a", "unknown type \"strng\""),
            ("set:a", "unknown type \"set\""),
            ("bool[T]:a", "no type"),
            ("double:1e400", "at most 1.8e308"),
            ("real:1", "unknown type \"real\""),
            ("bool:yes", "expected T or F"),
            ("count:-1", "from 0 to"),
            ("count: 1", "from 0 to"),
            ("int:1.5", "from -2^63"),
            ("double:", "a number"),
            ("addr:[::1]", "without brackets"),
            ("subnet:10.0.0.0", "ADDRESS/LENGTH"),
            ("port:80", "NUMBER/tcp"),
            ("time:yesterday", "or now"),
            ("interval:1x", "ns, us"),
            ("enum:", "a name"),
            ("none:x", "leave out"),
            ("set[count]:1,1", "are equal"),
            ("set[count]:1,x", "\"x\" is not a count"),
            ("set[number]:1", "unknown type \"number\""),
            ("vector of set[count]:1", "json:VALUE"),
            ("vector[count]:1", "no type"),
            ("record[count]:1,2", "types: 1, but values: 2"),
            ("table[count]:1", "no type"),
            ("table[count] of count:1", "not KEY=VALUE"),
            ("table[count] of count:1=2,1=3", "two keys"),
            ("int:x", "\"x\" is not an int; "),
            ("interval:x", "\"x\" is not an interval; "),
            ("interval:1 ", "is not an interval"),
            ("set[nonsense]:", "unknown type \"nonsense\""),
            (
                "set[addr,port]:10.0.0.1",
                "several values (addr, port) is not supported; write the argument as json:VALUE",
            ),
            ("table[addr,port] of count:", "several values (addr, port)"),
            ("record[count,record[addr,enum]]:1,2", "record[addr,enum] in a container is not supported"),
            ("vector of record[addr,enum]:1", "record[addr,enum] in a container is not supported"),
            ("table[count] of vector of count:1=2", "vector of count in a container is not supported"),
            ("json:7", "@data-type"),
            ("json:{", "not JSON"),
        ] {
            let error = parse(argument).unwrap_err();
            assert!(error.contains(message), "{argument}: {error}");
        }
    }
}
