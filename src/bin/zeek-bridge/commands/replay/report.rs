//! The report of a replay: one line for each difference.

use serde::Serialize;
use zeek_bridge::data::Topic;

use super::compare::Seen;
use crate::output::{Failure, Output, printable, to_line};

/// Maximum number of characters of a value in the text report.
const SHOWN: usize = 400;

/// A difference.
#[derive(Serialize)]
pub(super) struct Finding {
    /// The recorded frame.
    pub(super) frame: Option<u64>,
    pub(super) topic: Option<Topic>,
    #[serde(rename = "what")]
    pub(super) kind: DifferenceKind,
    pub(super) at: String,
    pub(super) recorded: Seen,
    #[serde(rename = "came")]
    pub(super) received: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DifferenceKind {
    /// The frame was recorded and received, with different content.
    Differs,
    /// The recorded frame was not received.
    Missing,
    /// The received frame is not in the recording.
    Extra,
    /// Two frames of the same topic were received in the opposite order of the recording.
    Order,
    /// The live side has different subscriptions.
    Filter,
}

/// The counts of a replay.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    /// Frames that were sent.
    #[serde(rename = "said")]
    pub(super) sent: u64,
    /// Received frames that were compared with a recorded one.
    pub(super) compared: u64,
    pub(super) differences: u64,
}

pub(super) struct Report {
    output: Output,
    json: bool,
    pub(super) counts: Counts,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Report { output: Output::new(), json, counts: Counts::default() }
    }

    pub(super) fn finding(&mut self, finding: &Finding) -> Result<(), Failure> {
        self.counts.differences = self.counts.differences.saturating_add(1);
        let line = if self.json { to_line(finding) } else { words(finding).into_bytes() };
        self.output.line(&line)?;
        // Flush, so that a difference is visible at once.
        self.output.flush()
    }

    /// Writes the last line.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        let Counts { sent, compared, differences } = self.counts;
        let line = if self.json {
            to_line(&self.counts)
        } else {
            let differences = match differences {
                0 => "no difference".to_owned(),
                1 => "1 difference".to_owned(),
                count => format!("{count} differences"),
            };
            format!("sent {sent} frames, compared {compared} received: {differences}").into_bytes()
        };
        self.output.line(&line)?;
        self.output.flush()
    }
}

fn words(finding: &Finding) -> String {
    let place = match finding.frame {
        Some(frame) => format!("frame {frame}"),
        None => "not recorded".to_owned(),
    };
    let topic = finding.topic.as_ref().map(|topic| format!(", {}", topic.to_str_lossy())).unwrap_or_default();
    let (recorded, received) = (shown(&finding.recorded), shown(&finding.received));
    let what = match finding.kind {
        DifferenceKind::Differs => format!("recorded {recorded}, received {received}"),
        DifferenceKind::Missing => format!("recorded {recorded}, not received"),
        DifferenceKind::Extra => format!("received {received}"),
        DifferenceKind::Order => format!("received out of order: {received}"),
        DifferenceKind::Filter => format!("recorded {recorded}, received {received}"),
    };
    printable(&format!("{place}{topic}, {}: {what}", finding.at))
}

fn shown(seen: &Seen) -> String {
    let text = match seen {
        Seen::Nothing => "nothing".to_owned(),
        Seen::Value(value @ zeek_bridge::data::Value::String(_)) => format!("{:?}", value.to_string()),
        Seen::Value(value) => value.to_string(),
        Seen::Words(words) => words.clone(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::Value;

    use super::*;

    #[test]
    fn a_difference_is_a_line_of_json() {
        let finding = |topic: Option<&[u8]>, kind, recorded, received| Finding {
            frame: topic.map(|_| 3),
            topic: topic.map(|topic| Topic::new(topic.to_vec()).unwrap()),
            kind,
            at: "a.args[0]".into(),
            recorded,
            received,
        };
        let words = || Seen::Words("text".into());
        for (finding, expected) in [
            (
                finding(Some(b"/t"), DifferenceKind::Differs, Seen::Value(Value::Count(1)), words()),
                r#"{"frame":3,"topic":"/t","what":"differs","at":"a.args[0]","recorded":{"@data-type":"count","data":1},"came":"text"}"#,
            ),
            (
                finding(Some(b"\xff"), DifferenceKind::Missing, words(), Seen::Nothing),
                r#"{"frame":3,"topic":{"hex":"ff"},"what":"missing","at":"a.args[0]","recorded":"text","came":null}"#,
            ),
            (
                finding(None, DifferenceKind::Extra, Seen::Nothing, words()),
                r#"{"frame":null,"topic":null,"what":"extra","at":"a.args[0]","recorded":null,"came":"text"}"#,
            ),
            (
                finding(None, DifferenceKind::Order, words(), words()),
                r#"{"frame":null,"topic":null,"what":"order","at":"a.args[0]","recorded":"text","came":"text"}"#,
            ),
            (
                finding(None, DifferenceKind::Filter, words(), words()),
                r#"{"frame":null,"topic":null,"what":"filter","at":"a.args[0]","recorded":"text","came":"text"}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(to_line(&finding)).unwrap(), expected);
        }
    }
}
