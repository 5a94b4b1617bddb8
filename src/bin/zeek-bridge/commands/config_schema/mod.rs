//! `config-schema`: the JSON Schema of a bridge's configuration. The manual page of the configuration is generated from it, too.

mod page;

use clap::Args;

use crate::output::{Failure, Output};
pub(crate) use page::page;

/// The keys of the configuration with their types, defaults and meanings. The configuration guide has the same content.
const SCHEMA: &str = include_str!("schema.json");

/// Print the JSON Schema of the configuration
///
/// Editors use it for completion and checks: save it, and write `#:schema FILE` in the first line of the configuration. Only
/// `check` finds all errors, such as rules that name an unknown link.
#[derive(Debug, Args)]
pub(crate) struct ConfigSchemaArgs {}

pub(crate) fn run() -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(SCHEMA.trim_end().as_bytes()).and_then(|()| output.flush())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use zeek_bridge::bridge::config::BridgeConfig;

    use super::*;

    /// Returns whether `value` matches `rule`, for the keywords that lists and tables of the schema use.
    fn matches(schema: &Json, rule: &Json, value: &Json) -> bool {
        if let Some(reference) = rule["$ref"].as_str() {
            return matches(schema, &schema["$defs"][reference.rsplit('/').next().unwrap()], value);
        }
        if let Some(choices) = rule["anyOf"].as_array() {
            return choices.iter().any(|choice| matches(schema, choice, value));
        }
        let has_at_least = |keyword: &str, length: usize| {
            rule[keyword].as_u64().is_none_or(|least| least <= u64::try_from(length).unwrap())
        };
        match (rule["type"].as_str().unwrap(), value) {
            ("string", Json::String(text)) => has_at_least("minLength", text.len()),
            ("array", Json::Array(elements)) => {
                has_at_least("minItems", elements.len())
                    && elements.iter().all(|element| matches(schema, &rule["items"], element))
            }
            ("object", Json::Object(entries)) => {
                has_at_least("minProperties", entries.len())
                    && entries.values().all(|entry| matches(schema, &rule["additionalProperties"], entry))
            }
            _ => false,
        }
    }

    fn is_valid(text: &str) -> bool {
        BridgeConfig::parse(text, "bridge.toml").is_ok()
    }

    #[test]
    fn the_schema_accepts_the_actions_and_lists_that_check_accepts() {
        let schema: Json = serde_json::from_str(SCHEMA).unwrap();
        let properties = &schema["$defs"]["rule"]["properties"];
        for (key, value, accepted) in [
            ("actions", json!({"a": "Site::*"}), true),
            ("actions", json!({"a": ["Site::*", "Cluster::node"]}), true),
            ("actions", json!({"a": [["Site::*"]], "b": [[]]}), true),
            ("actions", json!({"a": [["Site::*", "json"], ["Cluster::*", "..."], "*"]}), true),
            ("actions", json!({"a": []}), false),
            ("actions", json!({"a": [""]}), false),
            ("actions", json!({"a": [[["b"]]]}), false),
            ("actions", json!({"a": 1}), false),
            ("actions", json!({}), false),
            ("nodes", json!(["worker-*"]), true),
            ("nodes", json!([]), false),
            ("events", json!([]), false),
            ("topics", json!([]), false),
            ("topics", json!([""]), true),
            ("from", json!([]), false),
        ] {
            let toml = match &value {
                Json::Object(entries) => {
                    let entries: Vec<_> =
                        entries.iter().map(|(name, entry)| format!("{name} = {entry}")).collect();
                    format!("{{ {} }}", entries.join(", "))
                }
                list => list.to_string(),
            };
            let mut rule =
                format!("{key} = {toml}\n[link.x]\nlisten = '127.0.0.1:1'\ntls = 'off'\nhub = true\n");
            for (other, value) in [("topics", "'/'"), ("from", "'x'"), ("to", "'x'")] {
                if other != key {
                    rule = format!("{other} = {value}\n{rule}");
                }
            }
            let text = format!("[[rule]]\nname = 'r'\n{rule}");
            assert_eq!(is_valid(&text), accepted, "{text}");
            assert_eq!(matches(&schema, &properties[key], &value), accepted, "{key} = {value}");
        }
    }
}
