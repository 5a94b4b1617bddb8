//! The lines of `publish`: events, or values in the format of Broker's JSON.

use zeek_bridge::data::{JsonDocument, JsonElements, JsonKind, JsonLimits, JsonNode, Value};
use zeek_bridge::zeek::{self, Event};

/// The valid formats of a line, for error messages.
const FORMATS: &str =
    r#"expected {"event": NAME, "args": [VALUE..]} or a value {"@data-type": .., "data": ..}"#;

/// Parses the payload of a line.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    let document = JsonDocument::parse(text, &JsonLimits::DEFAULT).map_err(|error| error.to_string())?;
    let line = document.root();
    if line.kind() != JsonKind::Object {
        return Err(format!("not an object; {FORMATS}"));
    }
    if line.get("@data-type").is_some() {
        return value(line);
    }
    if let Some(bare) = line.get("value") {
        reject_others(line, &["value"])?;
        return value(bare);
    }
    event(line).map(|event| zeek::ZeekMessage::from(event).into_value())
}

fn event(line: JsonNode<'_>) -> Result<Event, String> {
    let name = match line.get("event") {
        Some(name) => text(name).filter(|name| !name.is_empty()).ok_or("\"event\" is not a name")?,
        None => return Err(format!("the key \"event\" is missing; {FORMATS}")),
    };
    let args = match line.get("args") {
        Some(args) => {
            let args = args.elements().ok_or("\"args\" is not an array of values")?;
            numbered("argument", args, value)?
        }
        None => Vec::new(),
    };
    let metadata = match line.get("metadata") {
        Some(entries) if entries.kind() != JsonKind::Null => {
            let entries = entries.elements();
            let entries =
                entries.ok_or("\"metadata\" is not an array of {\"id\": COUNT, \"value\": VALUE}")?;
            Some(numbered("metadata entry", entries, metadata)?)
        }
        _ => None,
    };
    reject_others(line, &["event", "args", "metadata"])?;
    Ok(Event { name, args, metadata })
}

/// Returns the text of a string, if it is UTF-8.
fn text(string: JsonNode<'_>) -> Option<String> {
    String::from_utf8(string.as_bytes()?.into_owned()).ok()
}

fn metadata(entry: JsonNode<'_>) -> Result<(u64, Value), String> {
    let id = entry.get("id").and_then(JsonNode::as_u64).ok_or("its \"id\" is not a count")?;
    Ok((id, value(entry.get("value").ok_or("it has no \"value\"")?)?))
}

/// Converts a value in the format of Broker's JSON. Strings, booleans and null need no `@data-type`, because each of them has
/// only one type, unlike a number.
fn value(json: JsonNode<'_>) -> Result<Value, String> {
    reject_bare_numbers(json)?;
    json.to_inferred_value().map_err(|error| error.to_string())
}

/// Rejects a number without a type, and names the possible types. Everything else that is invalid is reported by
/// [`JsonNode::to_inferred_value`]. The recursion is bounded by [`JsonDocument::parse`], which limits the depth.
fn reject_bare_numbers(json: JsonNode<'_>) -> Result<(), String> {
    match json.kind() {
        JsonKind::Number => {
            let possible = match (json.as_u64(), json.as_i64()) {
                (Some(_), _) => "count, integer or real",
                (None, Some(_)) => "integer or real",
                (None, None) => "real",
            };
            let number = String::from_utf8_lossy(json.text());
            Err(format!(
                "{number} has no type; use {{\"@data-type\": TYPE, \"data\": {number}}}, where TYPE is {possible}"
            ))
        }
        JsonKind::Object => {
            let data_type = json.get("@data-type").and_then(JsonNode::as_bytes);
            let mut elements = json.get("data").and_then(JsonNode::elements).into_iter().flatten();
            match data_type.as_deref() {
                Some(b"vector" | b"set") => elements.try_for_each(reject_bare_numbers),
                Some(b"table") => elements.try_for_each(|pair| {
                    let mut parts = ["key", "value"].into_iter().filter_map(|part| pair.get(part));
                    parts.try_for_each(reject_bare_numbers)
                }),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Parses all items. Errors contain the kind and number of the item.
fn numbered<T>(
    what: &str,
    list: JsonElements<'_>,
    read: impl Fn(JsonNode<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let numbered = (1u64..).zip(list);
    numbered.map(|(n, json)| read(json).map_err(|error| format!("{what} {n}: {error}"))).collect()
}

/// The members that `tap` adds.
const ADDED: [&str; 4] = ["time", "peer", "identity", "topic"];

fn reject_others(line: JsonNode<'_>, known: &[&str]) -> Result<(), String> {
    let is_known = |name: &[u8]| ADDED.iter().chain(known).any(|known| known.as_bytes() == name);
    match line.members().into_iter().flatten().find(|(name, _)| !is_known(name)) {
        None => Ok(()),
        Some((name, _)) => Err(format!("unknown member {:?}; {FORMATS}", String::from_utf8_lossy(&name))),
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{ByteString, Timespan, Timestamp};

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
                "argument 2: 7 has no type; use {\"@data-type\": TYPE, \"data\": 7}, where TYPE is count, integer or real",
            ),
            (r#"{"event":"e","args":[-7]}"#, ", where TYPE is integer or real"),
            (r#"{"event":"e","args":[1.5]}"#, ", where TYPE is real"),
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
        assert!(parse(b"{\"event\":\"\xff\"}").unwrap_err().contains("not a name"));
    }

    #[test]
    fn lines_are_read_as_zeek_writes_them() {
        let text = b"{\"event\":\"e\",\"args\":[\"\xff\\v\x01\",{\"@data-type\":\"real\",\"data\":-inf}]}";
        let expected = Event::new("e", (ByteString::from(&b"\xff\x0b\x01"[..]), f64::NEG_INFINITY));
        assert_eq!(parse(text), Ok(zeek::ZeekMessage::from(expected).into_value()));
    }
}
