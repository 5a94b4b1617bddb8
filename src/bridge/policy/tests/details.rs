//! What is said of a message in a log.

use crate::bridge::policy::Rules;
use crate::data::Value;
use crate::wire::EnvelopeType;
use crate::zeek::Event;

use super::support::*;

fn detail(said: &Said) -> String {
    said.decision(&default_rules(), |_, decision| decision.detail().to_string())
}

#[test]
fn a_detail_says_who_what_and_where() {
    let api = "Management::Node::API";
    for (said, expected) in [
        (hello("w"), format!(r#"topic "{NODE}", event "{HELLO}", node "w""#)),
        (response("w"), format!(r#"topic "{NODE}", event "{RESPONSE}", node "w", request "r""#)),
        (
            request(&["get_id_value", "x"], &["v", "w"]),
            format!(
                r#"topic "{NODE}", event "{REQUEST}", action "get_id_value" "x", nodes "v" "w", request "r""#
            ),
        ),
        (
            request(&[], &["1", "2", "3", "4", "5", "6"]),
            format!(
                r#"topic "{NODE}", event "{REQUEST}", action none, nodes "1" "2" "3" "4" and 2 more, request "r""#
            ),
        ),
        (event("e"), format!(r#"topic "{NODE}", event "e""#)),
        (
            Said::message(Event::new(HELLO, ())),
            format!(
                r#"topic "{NODE}", event "{HELLO}": {api}::notify_node_hello: expected 1 argument, found 0"#
            ),
        ),
        (
            response_of(vec![]),
            format!(
                r#"topic "{NODE}", event "{RESPONSE}": {api}::node_dispatch_response: argument 2 (result): expected 6 fields, found 0"#
            ),
        ),
        (Said::value(&Value::None), format!(r#"topic "{NODE}": not a vector"#)),
        (
            Said::bytes(NODE, EnvelopeType::Data, vec![99]),
            // Counted from the start of the frame.
            format!(r#"topic "{NODE}": byte 57: unknown value tag 99"#),
        ),
        // Nobody looked.
        (event("e").on("x"), r#"topic "x""#.to_string()),
        (Said::bytes("x", EnvelopeType::Data, vec![99]), r#"topic "x""#.to_string()),
    ] {
        assert_eq!(detail(&said), expected);
    }
    let worker = detail(&event("e").by(&WORKER));
    let identity = "CN=worker-1,O=Example (DNS:worker-1.example, IP:192.0.2.1) sha256:";
    assert!(worker.starts_with(&format!(r#"topic "{NODE}", event "e", from "{identity}"#)), "{worker}");
}

#[test]
fn what_the_peer_says_cannot_break_a_line_or_fill_a_log() {
    let odd = "a\nb\u{1b}[31m\u{202e}\"\\\u{fc}";
    assert_eq!(
        detail(&hello(odd)),
        format!(r#"topic "{NODE}", event "{HELLO}", node "a\nb\u{{1b}}[31m\u{{202e}}\"\\ü""#)
    );
    let bytes = Value::String(vec![b'a', 0, 0xff].into());
    let said = Said::value(&Value::Vector(vec![
        1u64.into(),
        1u64.into(),
        Value::Vector(vec![bytes, Value::Vector(vec![])]),
    ]));
    assert_eq!(detail(&said), format!(r#"topic "{NODE}", event "a\0\xff": the event's name is no text"#));

    let long = &*"\n".repeat(1_000_000);
    let most = [hello(long), request(&[long; 9], &[long]).over("b"), response(long), event(long)]
        .iter()
        .map(|said| detail(said).len())
        .max();
    assert!(most < Some(4096), "{most:?}");
    // Cut inside of a letter.
    let cut = detail(&event(&format!("x{}", "\u{fc}".repeat(1000))));
    assert!(cut.contains("... (2001 bytes)"), "{cut}");
}

#[test]
fn whatever_the_rule_nothing_is_said_that_was_not_looked_at() {
    let rules = Rules::new(LINKS, &[rule(|rule| rule.identities = vec![identity("subject:nobody")])]);
    let said = hello("w").by(&WORKER);
    said.decision(&rules, |_, decision| {
        assert_eq!(decision.node, None);
        assert!(decision.detail().to_string().starts_with(&format!(r#"topic "{NODE}", from "CN=worker-1"#)));
    });
}
