//! The configuration reference is complete, and its defaults are those of the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;
use zeek_bridge::bridge::config::BridgeConfig;

use crate::page::blocks;
use crate::program::Program;

pub(crate) const PAGE: &str = "src/guide/configuration.md";

const TEXT: &str = include_str!("../../src/guide/configuration.md");

/// A configuration with an unknown key in each table. The errors list the known keys.
const UNKNOWN_KEYS: &str = "
[bridge]
unknown_in_bridge = 1
http_tls = { unknown_in_http_tls = 1 }
[link.a]
connect = '127.0.0.1:1'
tls = 'off'
hub = true
unknown_in_link = 1
retry = { unknown_in_retry = 1 }
[link.a.limits]
unknown_in_limits = 1
[link.a.chaos]
unknown_in_chaos = 1
[link.b]
listen = 'ws://127.0.0.1:2'
[[link.b.token]]
unknown_in_token = 1
[link.c]
listen = 'zeromq://127.0.0.1:3'
[link.c.curve]
unknown_in_curve = 1
[[rule]]
name = 'a'
from = 'a'
to = 'a'
topics = '/'
unknown_in_rule = 1
";

/// The headings of the tables in the page, each with the path of the unknown key in its table.
const TABLES: &[(&str, &str)] = &[
    ("`[bridge]`", "bridge.unknown_in_bridge"),
    ("`http_tls`", "bridge.http_tls.unknown_in_http_tls"),
    ("`[link.NAME]`", "link.a.unknown_in_link"),
    ("`[[link.NAME.token]]`", "link.b.token.unknown_in_token"),
    ("`[link.NAME.curve]`", "link.c.curve.unknown_in_curve"),
    ("`retry`", "link.a.retry.unknown_in_retry"),
    ("`[link.NAME.limits]`", "link.a.limits.unknown_in_limits"),
    ("`[link.NAME.chaos]`", "link.a.chaos.unknown_in_chaos"),
    ("`[[rule]]`", "rule.a.unknown_in_rule"),
];

/// The rows of the table below each heading: the key and its default.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let row = Regex::new(r"(?m)^\| `([a-z_]+)` \| [^|]+ \| ([^|]+) \|").unwrap();
    let sections = TEXT.split("\n## ").skip(1).map(|section| {
        let heading = section.lines().next().unwrap().to_owned();
        let rows = row.captures_iter(section).map(|row| (row[1].to_owned(), row[2].to_owned()));
        (heading, rows.collect())
    });
    sections.collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.toml");
    fs::write(&path, UNKNOWN_KEYS).unwrap();
    let errors = Program::with([Path::new("check"), &path]).end().stderr;
    let documented = documented();
    assert_eq!(documented.len(), TABLES.len());
    let quoted = Regex::new("`([a-z_]+)`").unwrap();
    for (heading, unknown) in TABLES {
        let error = errors.lines().find(|line| line.contains(&format!(" {unknown}: ")));
        let error = error.unwrap_or_else(|| panic!("{unknown}: {errors}"));
        let mut known: Vec<String> = quoted.captures_iter(error).map(|found| found[1].to_owned()).collect();
        let mut keys: Vec<String> = documented[*heading].iter().map(|(key, _)| key.clone()).collect();
        known.sort();
        keys.sort();
        assert!(!keys.is_empty());
        assert_eq!(keys, known, "{heading}");
    }
}

/// The definition in the JSON Schema for each heading of the page.
const DEFINITIONS: &[(&str, &str)] = &[
    ("`[bridge]`", "bridge"),
    ("`http_tls`", "http_tls"),
    ("`[link.NAME]`", "link"),
    ("`[[link.NAME.token]]`", "token"),
    ("`[link.NAME.curve]`", "curve"),
    ("`retry`", "retry"),
    ("`[link.NAME.limits]`", "limits"),
    ("`[link.NAME.chaos]`", "chaos"),
    ("`[[rule]]`", "rule"),
];

/// Returns the text of Markdown as a plain sentence, without links and code marks.
fn sentence(markdown: &str) -> String {
    let links = Regex::new(r"\[([^\]]+)\]\([^)]+\)").unwrap();
    let text = links.replace_all(markdown.trim(), "$1").replace('`', "");
    let (first, rest) = text.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

#[test]
fn the_json_schema_has_the_keys_defaults_and_meanings_of_the_page() {
    let end = Program::run("config-schema", "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let schema: serde_json::Value = serde_json::from_str(&end.stdout.join("\n")).unwrap();
    let row = Regex::new(r"(?m)^\| `([a-z_]+)` \| ([^|]+) \| ([^|]+) \| (.+) \|$").unwrap();
    for (heading, definition) in DEFINITIONS {
        let section = TEXT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
        let definition = &schema["$defs"][definition];
        let properties = definition["properties"].as_object().unwrap();
        let mut keys = Vec::new();
        for row in row.captures_iter(section) {
            let (key, default) = (row[1].to_owned(), row[3].trim().to_owned());
            let property = &properties[&key];
            assert_eq!(property["description"], sentence(&row[4]), "{heading} {key}");
            let documented = default.strip_prefix('`').and_then(|default| default.strip_suffix('`'));
            match documented.filter(|default| !default.starts_with('$') && !default.contains('`')) {
                Some(default) => assert_eq!(property["default"].to_string(), default, "{heading} {key}"),
                None => assert!(property.get("default").is_none(), "{heading} {key}"),
            }
            let required =
                definition["required"].as_array().is_some_and(|keys| keys.contains(&key.clone().into()));
            assert_eq!(required, default == "required", "{heading} {key}");
            keys.push(key);
        }
        keys.sort();
        assert_eq!(keys, properties.keys().cloned().collect::<Vec<_>>(), "{heading}");
    }
}

#[test]
fn a_configuration_that_sets_the_documented_defaults_is_unchanged() {
    let read = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bridge.toml");
        fs::write(&path, text).unwrap();
        let mut config = BridgeConfig::read(path.to_str().unwrap()).unwrap();
        // The default status socket depends on the environment.
        config.operation.status_socket = None;
        config
    };
    let links = |more: &str| {
        let link = |name, faces, port| {
            format!("[link.{name}]\nfaces = '{faces}'\nlisten = '127.0.0.1:{port}'\ntls = 'off'\n")
        };
        format!("{}{more}{}", link("nodes", "nodes", 1), link("agents", "agents", 2))
    };
    let documented = documented();
    let table = |heading: &str, is_set: fn(&str) -> bool| -> String {
        let rows = documented[heading].iter().filter_map(|(key, default)| {
            let value = default.strip_prefix('`')?.split('`').next()?;
            is_set(value).then(|| format!("{key} = {value}\n"))
        });
        rows.collect()
    };
    let any = |value: &str| !value.starts_with('$');
    let without = read(&links(""));
    let mut count = 0;
    for (heading, header) in [
        ("`[bridge]`", "[bridge]\n"),
        ("`[link.NAME]`", ""),
        ("`[link.NAME.limits]`", "[link.nodes.limits]\n"),
        ("`[link.NAME.chaos]`", "[link.nodes.chaos]\n"),
        ("`retry`", "[link.nodes.retry]\n"),
    ] {
        let keys = table(
            heading,
            if heading == "`[link.NAME]`" {
                |value| !value.contains("mutual") && value != "\"auto\""
            } else {
                any
            },
        );
        count += keys.lines().count();
        assert_eq!(read(&links(&format!("{header}{keys}"))), without, "{heading}: {keys}");
    }
    assert!(count > 15, "{count}");
    let [bridge, .., limits, _] =
        &blocks(TEXT).into_iter().filter(|block| block.kind == "toml").collect::<Vec<_>>()[..]
    else {
        panic!("blocks are missing")
    };
    for block in [bridge, limits] {
        assert_eq!(read(&links(&block.text)), without, "line {}", block.line);
    }
}
