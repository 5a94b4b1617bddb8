//! The results of the demo: every event, and for every request whether the answer equals the answer of Zeek.

use zeek_bridge::management::{DispatchRequest, ManagementResult};
use zeek_bridge::zeek::Event;

use crate::output::{Failure, Object};

/// One of the two parts of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    CapturedAgent,
    RustAgent,
}

impl Part {
    /// Returns the name in the JSON output.
    fn name(self) -> &'static str {
        match self {
            Part::CapturedAgent => "captured-agent",
            Part::RustAgent => "rust-agent",
        }
    }
}

/// An event, or the comparison of an answer.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    Event { part: Part, from: &'a str, to: &'a str, event: &'a Event },
    Comparison { part: Part, comparison: &'a Comparison<'a> },
}

/// The comparison of a node's answer to a request with the answer of the captured node.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    pub(super) node: &'a str,
    pub(super) request: &'a DispatchRequest,
    /// The answer of the captured node.
    pub(super) zeek: String,
    pub(super) here: String,
    /// The fields that differ.
    pub(super) differences: Vec<&'static str>,
}

impl Entry<'_> {
    pub(super) fn to_json(&self) -> Object {
        match self {
            Entry::Event { part, from, to, event } => {
                let object = Object::new().with("link", part.name()).with("from", *from).with("to", *to);
                object.with("event", event.name.as_str()).with_values("args", &event.args)
            }
            Entry::Comparison { part, comparison } => {
                let object = Object::new()
                    .with("link", part.name())
                    .with("node", comparison.node)
                    .with("action", comparison.request.action.as_slice())
                    .with("zeek", comparison.zeek.as_str())
                    .with("agrees", comparison.differences.is_empty());
                if comparison.differences.is_empty() {
                    return object;
                }
                object
                    .with("here", comparison.here.as_str())
                    .with("differs", comparison.differences.as_slice())
            }
        }
    }
}

/// Prints the entries of a part and counts the results.
pub(super) struct Report<'a> {
    print: &'a mut dyn FnMut(Entry<'_>) -> Result<(), Failure>,
    part: Part,
    agreed: usize,
    disagreed: usize,
}

/// The numbers of answers that equal the answers of Zeek, and of answers that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) agreed: usize,
    pub(super) disagreed: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(part: Part, print: &'a mut dyn FnMut(Entry<'_>) -> Result<(), Failure>) -> Self {
        Report { print, part, agreed: 0, disagreed: 0 }
    }

    pub(super) fn event(&mut self, from: &str, to: &str, event: &Event) -> Result<(), Failure> {
        (self.print)(Entry::Event { part: self.part, from, to, event })
    }

    /// Compares an answer of `node` with the answer of the real node. `None` means that there was no answer.
    pub(super) fn verdict(
        &mut self,
        node: &str,
        request: &DispatchRequest,
        zeek: Option<&ManagementResult>,
        here: Option<&ManagementResult>,
    ) -> Result<(), Failure> {
        let differences = differences(zeek, here);
        let count = if differences.is_empty() { &mut self.agreed } else { &mut self.disagreed };
        *count = count.saturating_add(1);
        let comparison = &Comparison { node, request, zeek: summary(zeek), here: summary(here), differences };
        (self.print)(Entry::Comparison { part: self.part, comparison })
    }

    pub(super) fn counts(&self) -> Verdict {
        Verdict { agreed: self.agreed, disagreed: self.disagreed }
    }
}

/// Returns the fields in which an answer differs from Zeek's. The request id is not compared, because each agent makes its own ids,
/// and accepts only answers with these ids.
fn differences(zeek: Option<&ManagementResult>, here: Option<&ManagementResult>) -> Vec<&'static str> {
    let (zeek, here) = match (zeek, here) {
        (None, None) => return Vec::new(),
        (Some(zeek), Some(here)) => (zeek, here),
        _ => return vec!["whether there is an answer"],
    };
    [
        ("success", zeek.is_success() == here.is_success()),
        ("instance", zeek.instance() == here.instance()),
        ("data", zeek.data() == here.data()),
        ("error", zeek.error() == here.error()),
        ("node", zeek.node() == here.node()),
    ]
    .into_iter()
    .filter_map(|(field, same)| (!same).then_some(field))
    .collect()
}

/// Returns a short description of an answer.
fn summary(result: Option<&ManagementResult>) -> String {
    match result {
        None => "silent".into(),
        Some(result) if result.is_success() => "success".into(),
        Some(result) => format!("failure: {}", result.error().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{FromValue, Value};

    use super::*;

    #[test]
    fn every_field_except_the_id_is_compared() {
        let text = |text: &str| Value::String(text.into());
        let fields = |reqid: &str| {
            vec![text(reqid), Value::Boolean(true), Value::None, text("1"), Value::None, text("n")]
        };
        let result = |fields: Vec<Value>| ManagementResult::from_value(Value::Vector(fields)).unwrap();
        let zeek = result(fields("a"));
        assert_eq!(differences(Some(&zeek), Some(&result(fields("b")))), [""; 0]);
        for (at, other, name) in [
            (1, Value::Boolean(false), "success"),
            (2, text("agent"), "instance"),
            (3, text("1.0"), "data"),
            (3, Value::None, "data"),
            (4, text(""), "error"),
            (5, text("m"), "node"),
        ] {
            let mut changed = fields("a");
            changed[at] = other;
            assert_eq!(differences(Some(&zeek), Some(&result(changed))), [name]);
        }
    }

    #[test]
    fn an_entry_is_a_line_of_json() {
        let line = |entry: Entry<'_>| String::from_utf8(entry.to_json().into_line()).unwrap();
        let event = &Event::new("e", (1u64,)).with_metadata([(1, 2u64)]);
        assert_eq!(
            line(Entry::Event { part: Part::CapturedAgent, from: "a", to: "b", event }),
            r#"{"link":"captured-agent","from":"a","to":"b","event":"e","args":[{"@data-type":"count","data":1}]}"#
        );
        let request =
            &DispatchRequest { reqid: "r".into(), action: vec!["a".into(), "b".into()], nodes: [].into() };
        let entry = |here: &str, differences| {
            let (zeek, here) = ("success".to_owned(), here.to_owned());
            let comparison = &Comparison { node: "n", request, zeek, here, differences };
            line(Entry::Comparison { part: Part::RustAgent, comparison })
        };
        assert_eq!(
            entry("success", vec![]),
            r#"{"link":"rust-agent","node":"n","action":["a","b"],"zeek":"success","agrees":true}"#
        );
        assert_eq!(
            entry("silent", vec!["data", "error"]),
            r#"{"link":"rust-agent","node":"n","action":["a","b"],"zeek":"success","agrees":false,"here":"silent","differs":["data","error"]}"#
        );
    }

    #[test]
    fn a_missing_answer_differs_from_any_answer() {
        let result = ManagementResult::failure("a", "n", "no");
        assert!(differences(None, None).is_empty());
        assert!(!differences(None, Some(&result)).is_empty());
        assert!(!differences(Some(&result), None).is_empty());
    }
}
