//! The lines of `publish`: events, or values in the format of Broker's JSON.

use serde_json::{Map, Value as Json, json};
use zeek_bridge::data::{Value, parse_json};
use zeek_bridge::zeek::{self, Event};

/// The valid formats of a line, for error messages.
const FORMATS: &str =
    r#"expected {"event": NAME, "args": [VALUE..]} or a value {"@data-type": .., "data": ..}"#;

/// Parses the payload of a line.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    let json = parse_json(text).map_err(|error| error.to_string())?;
    let Json::Object(mut object) = json else {
        return Err(format!("not an object; {FORMATS}"));
    };
    if object.contains_key("@data-type") {
        return value(Json::Object(object));
    }
    // `tap` adds these members.
    object.remove("time");
    object.remove("peer");
    object.remove("identity");
    object.remove("topic");
    if let Some(bare) = object.remove("value") {
        reject_others(&object)?;
        return value(bare);
    }
    event(object).map(|event| zeek::ZeekMessage::from(event).into_value())
}

fn event(mut object: Map<String, Json>) -> Result<Event, String> {
    let name = match object.remove("event") {
        Some(Json::String(name)) if !name.is_empty() => name,
        Some(_) => return Err("\"event\" is not a name".into()),
        None => return Err(format!("the key \"event\" is missing; {FORMATS}")),
    };
    let args = match object.remove("args") {
        Some(Json::Array(args)) => numbered("argument", args, value)?,
        Some(_) => return Err("\"args\" is not an array of values".into()),
        None => Vec::new(),
    };
    let metadata = match object.remove("metadata") {
        Some(Json::Array(entries)) => Some(numbered("metadata entry", entries, metadata)?),
        Some(Json::Null) | None => None,
        Some(_) => return Err("\"metadata\" is not an array of {\"id\": COUNT, \"value\": VALUE}".into()),
    };
    reject_others(&object)?;
    Ok(Event { name, args, metadata })
}

fn metadata(mut entry: Json) -> Result<(u64, Value), String> {
    let id = entry.get("id").and_then(Json::as_u64).ok_or("its \"id\" is not a count")?;
    let content = entry.get_mut("value").ok_or("it has no \"value\"")?;
    Ok((id, value(content.take())?))
}

/// Converts a value in the format of Broker's JSON. Strings, booleans and null need no `@data-type`, because each of them has
/// only one type, unlike a number.
fn value(mut json: Json) -> Result<Value, String> {
    add_types(&mut json)?;
    Value::from_json(&json).map_err(|error| error.to_string())
}

/// Adds the missing types. The recursion is bounded by [`parse_json`], which limits the depth. What is invalid is left as it is, for
/// [`Value::from_json`] to report.
fn add_types(json: &mut Json) -> Result<(), String> {
    match json {
        Json::Null => *json = json!({"@data-type": "none"}),
        Json::Bool(_) => *json = json!({"@data-type": "boolean", "data": json.take()}),
        Json::String(_) => *json = json!({"@data-type": "string", "data": json.take()}),
        Json::Number(number) => {
            let possible = match (number.is_u64(), number.is_i64()) {
                (true, _) => "count, or integer or real",
                (false, true) => "integer, or real",
                (false, false) => "real",
            };
            return Err(format!(
                "{number} has no type; use {{\"@data-type\": TYPE, \"data\": {number}}} with {possible}"
            ));
        }
        Json::Object(object) => {
            let is_table = match object.get("@data-type").and_then(Json::as_str) {
                Some("vector" | "set") => false,
                Some("table") => true,
                _ => return Ok(()),
            };
            for element in object.get_mut("data").and_then(Json::as_array_mut).into_iter().flatten() {
                if is_table {
                    let mut part = |name| element.get_mut(name).map_or(Ok(()), add_types);
                    part("key").and_then(|()| part("value"))?;
                } else {
                    add_types(element)?;
                }
            }
        }
        Json::Array(_) => {}
    }
    Ok(())
}

/// Parses all items. Errors contain the kind and number of the item.
fn numbered<T>(
    what: &str,
    list: Vec<Json>,
    read: impl Fn(Json) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let numbered = (1u64..).zip(list);
    numbered.map(|(n, json)| read(json).map_err(|error| format!("{what} {n}: {error}"))).collect()
}

fn reject_others(object: &Map<String, Json>) -> Result<(), String> {
    match object.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("unknown member {name:?}; {FORMATS}")),
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{Timespan, Timestamp};

    use super::*;

    fn event_of(text: &str) -> Event {
        match zeek::ZeekMessage::from_value(parse(text.as_bytes()).unwrap()) {
            Ok(zeek::ZeekMessage::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_has_a_name_arguments_and_optional_metadata() {
        assert_eq!(event_of(r#"{"event":"e"}"#), Event::new("e", ()));
        let text = r#"{"event":"e","args":[{"@data-type":"count","data":7}],"metadata":null}"#;
        assert_eq!(event_of(text), Event::new("e", (7u64,)));
        let text = r#"{"time":"t","peer":"p","topic":"t","event":"e","args":[],
                       "metadata":[{"id":1,"value":{"@data-type":"timestamp","ns":5}}]}"#;
        assert_eq!(event_of(text), Event::new("e", ()).with_network_timestamp(Timestamp::from_nanos(5)));
    }

    #[test]
    fn strings_and_booleans_need_no_type() {
        let text = r#"{"event":"e","args":["a \u00e9",true]}"#;
        assert_eq!(event_of(text), Event::new("e", ("a \u{e9}", true)));
    }

    #[test]
    fn strings_booleans_and_null_need_no_type_in_containers() {
        let text = r#"{"event":"e","args":[null,{"@data-type":"vector","data":["a",null,
            {"@data-type":"set","data":[true]},
            {"@data-type":"table","data":[{"key":"k","value":{"@data-type":"vector","data":["v"]}}]}]}]}"#;
        let full = r#"{"event":"e","args":[{"@data-type":"none"},{"@data-type":"vector","data":[
            {"@data-type":"string","data":"a"},{"@data-type":"none"},
            {"@data-type":"set","data":[{"@data-type":"boolean","data":true}]},
            {"@data-type":"table","data":[{"key":{"@data-type":"string","data":"k"},
            "value":{"@data-type":"vector","data":[{"@data-type":"string","data":"v"}]}}]}]}]}"#;
        assert_eq!(event_of(text), event_of(full));
    }

    #[test]
    fn times_are_parsed_in_the_format_of_brokers_json() {
        for (data_type, text, value) in [
            (
                "timestamp",
                "2023-04-18T12:13:15.000",
                Value::Timestamp(Timestamp::from_nanos(1_681_819_995_000_000_000)),
            ),
            (
                "timestamp",
                "2023-04-18T14:13:15.5+02:00",
                Value::Timestamp(Timestamp::from_nanos(1_681_819_995_500_000_000)),
            ),
            ("timespan", "12s", Value::Timespan(Timespan::from_nanos(12_000_000_000))),
            ("timespan", "-1500us", Value::Timespan(Timespan::from_nanos(-1_500_000))),
        ] {
            let line = format!(r#"{{"event":"e","args":[{{"@data-type":"{data_type}","data":"{text}"}}]}}"#);
            assert_eq!(event_of(&line).args, [value], "{text}");
        }
    }

    #[test]
    fn a_bare_value_is_published_unchanged() {
        for text in [
            r#"{"@data-type":"count","data":7}"#,
            r#"{"peer":"p","identity":null,"topic":"t","value":{"@data-type":"count","data":7}}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(Value::Count(7)), "{text}");
        }
    }

    #[test]
    fn invalid_lines_are_reported() {
        for (text, message) in [
            ("", "not JSON"),
            (
                r#"{"event":"e","args":["a",7]}"#,
                "argument 2: 7 has no type; use {\"@data-type\": TYPE, \"data\": 7} with count, or",
            ),
            (r#"{"event":"e","args":[-7]}"#, " with integer, or real"),
            (r#"{"event":"e","args":[1.5]}"#, " with real"),
            (r#"{"event":"e","args":[{"@data-type":"vector","data":[7]}]}"#, "argument 1: 7 has no type"),
            ("{", "not JSON"),
            ("\u{0}", "not JSON"),
            ("7", "not an object"),
            ("{}", "the key \"event\" is missing"),
            (r#"{"event":7}"#, "not a name"),
            (r#"{"event":""}"#, "not a name"),
            (r#"{"event":"e","args":{}}"#, "\"args\" is not an array"),
            (r#"{"event":"e","args":[{"@data-type":"none"},7]}"#, "argument 2: "),
            (r#"{"event":"e","arg":[]}"#, "unknown member \"arg\""),
            (r#"{"event":"e","metadata":{}}"#, "\"metadata\" is not an array"),
            (r#"{"event":"e","metadata":[{"id":-1}]}"#, "metadata entry 1: its \"id\""),
            (r#"{"event":"e","metadata":[{"id":1}]}"#, "metadata entry 1: it has no \"value\""),
            (r#"{"value":{"@data-type":"none"},"args":[]}"#, "unknown member \"args\""),
            (r#"{"@data-type":"nonsense"}"#, "@data-type"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
        assert!(parse(b"{\"event\":\"\xff\"}").unwrap_err().contains("not JSON"));
    }
}
