//! JSON text from a peer.

use serde_json::Value as Json;

use crate::data::{JsonDocument, JsonError, JsonLimits, JsonNode, Value};

/// Limits that are small enough for a fuzzer to reach each of them.
const TIGHT: JsonLimits = JsonLimits { max_depth: 2, max_nodes: 40 };

/// Reads any bytes as JSON text.
pub fn json(input: &[u8]) {
    let read = read(input, &JsonLimits::DEFAULT);
    match self::read(input, &TIGHT) {
        Err(JsonError::TooDeep { .. } | JsonError::TooManyNodes { .. }) => {}
        tight => assert_eq!(tight, read, "smaller limits change the result only to an error about a limit"),
    }
    match &read {
        Ok(value) => {
            let json = value.to_json();
            assert_eq!(Value::from_json(&json).as_ref(), Ok(value));
            assert_eq!(Value::from_json_text(json.to_string()).as_ref(), Ok(value));
        }
        Err(JsonError::Syntax { offset, .. }) => {
            assert!(*offset <= input.len());
            assert!(serde_json::from_slice::<Json>(input).is_err(), "all JSON is accepted");
        }
        Err(_) => {}
    }
}

fn read(text: &[u8], limits: &JsonLimits) -> Result<Value, JsonError> {
    let document = JsonDocument::parse(text, limits)?;
    let root = document.root();
    assert_eq!(root.text(), text.trim_ascii(), "the root is the whole text");
    check_nesting(root);
    root.to_value()
}

/// Checks that each node is part of the text of its parent. The recursion is bounded by [`JsonDocument::parse`], which
/// limits the depth.
fn check_nesting(node: JsonNode<'_>) {
    let (members, elements) = (node.members().into_iter().flatten(), node.elements().into_iter().flatten());
    let mut length = 0_usize;
    for part in members.map(|(_, value)| value).chain(elements) {
        length = length.saturating_add(part.text().len());
        assert!(length < node.text().len(), "nodes do not overlap");
        check_nesting(part);
    }
}
