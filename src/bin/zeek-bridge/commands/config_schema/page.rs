//! The manual page of the configuration, in section 5.

use std::io;

use clap_mangen::roff::{Inline, Roff, bold, roman};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::SCHEMA;

/// The tables in the order of the page: the heading, and the name of the definition in the schema.
const TABLES: [(&str, &str); 9] = [
    ("[bridge]", "bridge"),
    ("http_tls", "http_tls"),
    ("[link.NAME]", "link"),
    ("[[link.NAME.token]]", "token"),
    ("[link.NAME.curve]", "curve"),
    ("retry", "retry"),
    ("[link.NAME.limits]", "limits"),
    ("[link.NAME.chaos]", "chaos"),
    ("[[rule]]", "rule"),
];

/// The types that have a definition of their own.
const TYPES: [&str; 7] = ["duration", "size", "name", "pattern", "identity", "share", "key"];

const DESCRIPTION: &str = "The file of zeek-bridge run is in TOML. zeek-bridge check reports all errors in it at once, and \
                           zeek-bridge init writes a commented example. An unknown key is an error. Paths are relative to the \
                           directory of the file. A list can be written as a single value if it has one element.";

#[derive(Deserialize)]
struct Schema {
    #[serde(rename = "$defs")]
    definitions: Map<String, Json>,
}

/// Returns the page `zeek-bridge.toml(5)`. `source` is the name and version of the program.
pub(crate) fn page(source: &str) -> Vec<u8> {
    let mut page = Vec::new();
    // Cannot fail: it writes to memory, and a test reads the schema.
    if let Ok(schema) = serde_json::from_str::<Schema>(SCHEMA) {
        let _ = render(&schema, source, &mut page);
    }
    page
}

fn render(schema: &Schema, source: &str, to: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("TH", ["zeek-bridge.toml", "5", "", source, "zeek-bridge"]);
    roff.control("SH", ["NAME"])
        .text([roman("zeek-bridge.toml - configuration of a bridge between groups of Zeek processes")]);
    roff.control("SH", ["DESCRIPTION"]).text([roman(DESCRIPTION)]);
    roff.control("SH", ["TYPES"]);
    for name in TYPES {
        let definition = schema.definitions.get(name);
        item(
            &mut roff,
            vec![bold(name)],
            definition.and_then(|json| text(json, "description")).unwrap_or_default(),
        );
    }
    for (heading, name) in TABLES {
        roff.control("SH", [heading]);
        let Some(definition) = schema.definitions.get(name) else { continue };
        if let Some(description) = text(definition, "description") {
            roff.text([roman(description)]);
        }
        let required = definition.get("required").and_then(Json::as_array);
        for (key, json) in definition.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let is_required = required.is_some_and(|required| required.iter().any(|name| name == key));
            let default = match json.get("default") {
                Some(default) => format!(", default {default}"),
                None if is_required => ", required".to_owned(),
                None => String::new(),
            };
            let term = vec![bold(key), roman(format!(" ({}{default})", type_name(json)))];
            item(&mut roff, term, text(json, "description").unwrap_or_default());
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "zeek-bridge-run(1), zeek-bridge-check(1), zeek-bridge-init(1), zeek-bridge-config-schema(1)",
    )]);
    roff.to_writer(to)
}

fn item(roff: &mut Roff, term: Vec<Inline>, description: &str) {
    roff.control("TP", []).text(term).text([roman(description)]);
}

fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Json::as_str)
}

/// Describes the type of a value.
fn type_name(json: &Json) -> String {
    if let Some(name) = text(json, "$ref").and_then(|reference| reference.rsplit('/').next()) {
        return if TYPES.contains(&name) { name.to_owned() } else { "table".to_owned() };
    }
    if let Some(values) = json.get("enum").and_then(Json::as_array) {
        return values.iter().map(Json::to_string).collect::<Vec<_>>().join(" or ");
    }
    if text(json, "type") == Some("array") {
        return "list of tables".to_owned();
    }
    if let Some([element, ..]) = json.get("anyOf").and_then(Json::as_array).map(Vec::as_slice) {
        let name = type_name(element);
        return match name.strip_suffix('y') {
            Some(stem) => format!("list of {stem}ies"),
            None => format!("list of {name}s"),
        };
    }
    let number = |key| json.get(key).and_then(Json::as_u64);
    match (text(json, "type"), number("minimum"), number("maximum")) {
        (Some("integer"), Some(least), Some(most)) => format!("{least} to {most}"),
        (Some("object"), ..) => "table".to_owned(),
        (Some(name), ..) => name.to_owned(),
        (None, ..) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_describes_every_key_of_the_schema() {
        let schema: Schema = serde_json::from_str(SCHEMA).unwrap();
        let page = String::from_utf8(page("zeek-bridge 1.0")).unwrap();
        let mut count = 0;
        for name in schema.definitions.keys() {
            let is_listed = TYPES.contains(&name.as_str()) || TABLES.iter().any(|(_, table)| table == name);
            assert!(is_listed, "{name}");
            for key in
                schema.definitions[name].get("properties").and_then(Json::as_object).into_iter().flatten()
            {
                assert!(page.contains(&format!("\\fB{}\\fR (", key.0)), "{}", key.0);
                count += 1;
            }
        }
        assert!(count > 40, "{count}");
    }

    #[test]
    fn types_are_described_in_words() {
        for (json, expected) in [
            (r##"{"$ref":"#/$defs/duration"}"##, "duration"),
            (r##"{"$ref":"#/$defs/retry"}"##, "table"),
            (r#"{"enum":["text","json"]}"#, "\"text\" or \"json\""),
            (r#"{"anyOf":[{"type":"string"},{"type":"array"}]}"#, "list of strings"),
            (r##"{"anyOf":[{"$ref":"#/$defs/identity"},{"type":"array"}]}"##, "list of identities"),
            (r#"{"type":"integer","minimum":1,"maximum":15}"#, "1 to 15"),
            (r#"{"type":"boolean"}"#, "boolean"),
        ] {
            assert_eq!(type_name(&serde_json::from_str(json).unwrap()), expected);
        }
    }
}
