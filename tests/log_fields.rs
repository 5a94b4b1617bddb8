//! Log fields must not contain Rust debug text, such as `Some(..)`.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the arguments of all calls of log macros.
fn calls(source: &str) -> Vec<&str> {
    let start = Regex::new(r"tracing::(?:trace|debug|info|warn|error|event|\w+_span|span)!\(").unwrap();
    let mut calls = Vec::new();
    for found in start.find_iter(source) {
        let mut open = 1;
        let rest = source.get(found.end()..).unwrap();
        let end = rest.find(|c| {
            open += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            open == 0
        });
        calls.push(rest.get(..end.unwrap()).unwrap());
    }
    calls
}

/// The peer chooses the text of a topic. The log quotes and escapes a topic only if the topic is passed as a string.
#[test]
fn every_topic_in_a_log_field_is_escaped() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let raw = Regex::new(r"%\s*[\w.&]*topic").unwrap();
    for file in files {
        for call in calls(&fs::read_to_string(&file).unwrap()) {
            assert!(!raw.is_match(call), "{}: {call}", file.display());
        }
    }
}

#[test]
fn no_log_field_is_debug_text() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    // `?peer`, `peer = ?..` and `{peer:?}`. The last form is allowed for strings, but this test cannot recognize
    // strings.
    let debug = Regex::new(r"(?:^|[,(=])\s*\?\s*[\w(]|field::debug|\{\w*:#?\?\}").unwrap();
    let mut count = 0;
    for file in files {
        for call in calls(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            assert!(!debug.is_match(call), "{}: {call}", file.display());
        }
    }
    assert!(count > 50, "only {count} calls were found");
}
