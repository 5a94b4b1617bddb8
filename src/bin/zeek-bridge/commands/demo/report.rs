//! The results of the demo: every event, and for every request whether the answer equals the answer of Zeek.

use serde::{Serialize, Serializer};
use zeek_bridge::data::Value;
use zeek_bridge::management::{DispatchRequest, ManagementResult};
use zeek_bridge::zeek::Event;

use crate::output::{Failure, to_line};

/// One of the two parts of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    CapturedAgent,
    RustAgent,
}

/// An event, or the comparison of an answer.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    Event { part: Part, from: &'a str, to: &'a str, event: &'a Event },
    Comparison { part: Part, comparison: &'a Comparison<'a> },
}

/// The comparison of a node's answer to a request with the answer of the captured node.
#[derive(Debug, Serialize)]
pub(super) struct Comparison<'a> {
    pub(super) node: &'a str,
    #[serde(rename = "action", serialize_with = "action")]
    pub(super) request: &'a DispatchRequest,
    /// The answer of the captured node.
    pub(super) zeek: String,
    pub(super) agrees: bool,
    /// The answer of the node, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) here: Option<String>,
    /// The fields that differ.
    #[serde(rename = "differs", skip_serializing_if = "Vec::is_empty")]
    pub(super) differences: Vec<&'static str>,
}
/// An entry as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    link: Part,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Event { from: &'a str, to: &'a str, event: &'a str, args: &'a [Value] },
    Comparison(&'a Comparison<'a>),
}

impl Entry<'_> {
    pub(super) fn to_line(&self) -> Vec<u8> {
        let (link, content) = match *self {
            Entry::Event { part, from, to, event: Event { name, args, .. } } => {
                (part, Content::Event { from, to, event: name, args })
            }
            Entry::Comparison { part, comparison } => (part, Content::Comparison(comparison)),
        };
        to_line(&Line { link, content })
    }
}

fn action<S: Serializer>(request: &DispatchRequest, to: S) -> Result<S::Ok, S::Error> {
    request.action.serialize(to)
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
        let agrees = differences.is_empty();
        let count = if agrees { &mut self.agreed } else { &mut self.disagreed };
        *count = count.saturating_add(1);
        let here = (!agrees).then(|| summary(here));
        let comparison = &Comparison { node, request, zeek: summary(zeek), agrees, here, differences };
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
    use zeek_bridge::data::FromValue;

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
        let line = |entry: Entry<'_>| String::from_utf8(entry.to_line()).unwrap();
        let event = &Event::new("e", (1u64,)).with_metadata([(1, 2u64)]);
        assert_eq!(
            line(Entry::Event { part: Part::CapturedAgent, from: "a", to: "b", event }),
            r#"{"link":"captured-agent","from":"a","to":"b","event":"e","args":[{"@data-type":"count","data":1}]}"#
        );
        let request =
            &DispatchRequest { reqid: "r".into(), action: vec!["a".into(), "b".into()], nodes: [].into() };
        let entry = |here: Option<&str>, differences| {
            let (zeek, here) = ("success".to_owned(), here.map(str::to_owned));
            let comparison =
                &Comparison { node: "n", request, zeek, agrees: here.is_none(), here, differences };
            line(Entry::Comparison { part: Part::RustAgent, comparison })
        };
        assert_eq!(
            entry(None, vec![]),
            r#"{"link":"rust-agent","node":"n","action":["a","b"],"zeek":"success","agrees":true}"#
        );
        assert_eq!(
            entry(Some("silent"), vec!["data", "error"]),
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
