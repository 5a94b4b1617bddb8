//! The description of a message in a log line.

use crate::bridge::policy::{Reason, Refusal, Rules};
use crate::data::Value;
use crate::wire::EnvelopeType;
use crate::zeek::Event;

use super::smuggling::{outer, vector};
use super::support::*;

/// Returns the fields of the log line in their order, and the fault.
fn refusal(incoming: &Incoming) -> String {
    incoming.decision(&default_rules(), |_, decision| text(decision.refusal(Reason::Malformed, None)))
}

fn text(refusal: Refusal) -> String {
    let Refusal { text, rule, topic, event, action, node, request } = refusal;
    let fields = [
        ("rule", rule),
        ("topic", topic),
        ("event", event),
        ("action", action),
        ("node", node),
        ("request", request),
    ];
    let fields = fields.map(|(name, value)| value.map(|value| format!("{name} {value:?}")));
    let fault = text.strip_prefix("the payload is invalid").unwrap();
    format!("{}{fault}", fields.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[test]
fn the_log_line_describes_the_message_and_its_fault() {
    let api = "Management::Node::API";
    for (incoming, expected) in [
        (hello("w"), format!(r#"topic "{NODE}", event "{HELLO}", node "w""#)),
        (response("w"), format!(r#"topic "{NODE}", event "{RESPONSE}", node "w", request "r""#)),
        (
            request(&["get_id_value", "x"], &["v", "w"]),
            format!(r#"topic "{NODE}", event "{REQUEST}", action "get_id_value x", node "v w", request "r""#),
        ),
        (
            request(&[], &["1", "2", "3", "4", "5", "6"]),
            format!(r#"topic "{NODE}", event "{REQUEST}", node "1 2 3 4 and 2 more", request "r""#),
        ),
        (event("e"), format!(r#"topic "{NODE}", event "e""#)),
        (
            Incoming::message(Event::new(HELLO, ())),
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
        (
            request(&["get id", ""], &["v"]),
            format!(r#"topic "{NODE}", event "{REQUEST}", action "\"get id\" \"\"", node "v", request "r""#),
        ),
        (Incoming::value(&Value::None), format!(r#"topic "{NODE}": not a vector"#)),
        (
            Incoming::value(&outer(1u64, 1u64, Value::None)),
            format!(r#"topic "{NODE}": the event is not a vector"#),
        ),
        (
            Incoming::value(&outer(1u64, 5u64, Value::None)),
            format!(r#"topic "{NODE}": the batch is not a vector"#),
        ),
        (Incoming::value(&outer(2u64, 2u64, vector([]))), format!(r#"topic "{NODE}": the version is not 1"#)),
        (
            Incoming::bytes(NODE, EnvelopeType::Data, vec![99]),
            // The position is counted from the start of the frame.
            format!(r#"topic "{NODE}": byte 57: unknown value tag 99"#),
        ),
        // No rule has the topic, so the payload is not inspected.
        (event("e").on("x"), r#"topic "x""#.to_string()),
        (Incoming::bytes("x", EnvelopeType::Data, vec![99]), r#"topic "x""#.to_string()),
    ] {
        assert_eq!(refusal(&incoming), expected);
    }
}

#[test]
fn text_from_a_peer_is_escaped_and_truncated_in_a_log_line() {
    let odd = "a\nb\u{1b}[31m\u{202e}\"\\\u{fc}";
    assert_eq!(
        refusal(&hello(odd)),
        format!(r#"topic "{NODE}", event "{HELLO}", node "a\nb\u{{1b}}[31m\u{{202e}}\"\\ü""#)
    );
    let bytes = Value::String(vec![b'a', 0, 0xff].into());
    let incoming = Incoming::value(&Value::Vector(vec![
        1u64.into(),
        1u64.into(),
        Value::Vector(vec![bytes, Value::Vector(vec![])]),
    ]));
    assert_eq!(
        refusal(&incoming),
        format!(r#"topic "{NODE}", event "a\0\\xff": the name of the event is not a UTF-8 string"#)
    );

    let long = &*"\n".repeat(1_000_000);
    let most = [hello(long), request(&[long; 9], &[long]).over("b"), response(long), event(long)]
        .iter()
        .map(|incoming| refusal(incoming).len())
        .max();
    assert!(most < Some(4096), "{most:?}");
    // This text is truncated inside a character.
    let cut = refusal(&event(&format!("x{}", "\u{fc}".repeat(1000))));
    assert!(cut.contains("... (2001 bytes)"), "{cut}");
}

#[test]
fn the_log_line_contains_only_inspected_parts() {
    let rules = Rules::new(LINKS, &[rule(|rule| rule.identities = vec![identity("subject:nobody")])]);
    let incoming = hello("w").by(&WORKER);
    incoming.decision(&rules, |_, decision| {
        assert_eq!(decision.node, None);
        let refusal = decision.refusal(Reason::Malformed, Some("workers"));
        assert_eq!(text(refusal), format!(r#"rule "workers", topic "{NODE}""#));
    });
}
