//! What is told of a replay: each difference in a line.

use zeek_bridge::data::Topic;

use super::compare::Seen;
use crate::exit::Failure;
use crate::output::{Object, Output, printable};

/// How much of a value people are shown.
const SHOWN: usize = 400;

/// One difference.
pub(super) struct Finding {
    /// The recorded frame.
    pub(super) frame: Option<u64>,
    pub(super) topic: Option<Topic>,
    pub(super) what: What,
    pub(super) at: String,
    pub(super) recorded: Seen,
    pub(super) came: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Both are there, and not the same.
    Differs,
    /// It did not come.
    Missing,
    /// It was not recorded.
    Extra,
    /// It came before something of the same topic that it should have come behind.
    Order,
    /// The live side subscribes to something else.
    Filter,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Differs => "differs",
            What::Missing => "missing",
            What::Extra => "extra",
            What::Order => "order",
            What::Filter => "filter",
        }
    }
}

/// How much of each there was.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Frames that were sent.
    pub(super) said: u64,
    /// Frames that came and were compared with one that was recorded.
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
        let line = if self.json { object(finding).into_line() } else { words(finding).into_bytes() };
        self.output.line(&line)?;
        // Whoever looks on sees it when it happens.
        self.output.flush()
    }

    /// The last line.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        let Counts { said, compared, differences } = self.counts;
        let line = if self.json {
            Object::new()
                .with("said", said)
                .with("compared", compared)
                .with("differences", differences)
                .into_line()
        } else {
            let differences = match differences {
                0 => "no difference".to_owned(),
                1 => "1 difference".to_owned(),
                count => format!("{count} differences"),
            };
            format!("{said} frames said, {compared} that came compared: {differences}").into_bytes()
        };
        self.output.line(&line)?;
        self.output.flush()
    }
}

fn object(finding: &Finding) -> Object {
    let head = Object::new()
        .with("frame", finding.frame)
        .with("topic", finding.topic.as_ref().map(|topic| crate::output::text(topic.as_bytes())))
        .with("what", finding.what.name())
        .with("at", finding.at.as_str());
    let seen = |object: Object, name: &'static str, seen: &Seen| match seen {
        Seen::Nothing => object.with(name, serde_json::Value::Null),
        Seen::Value(value) => object.with_value(name, value),
        Seen::Words(words) => object.with(name, words.as_str()),
    };
    seen(seen(head, "recorded", &finding.recorded), "came", &finding.came)
}

fn words(finding: &Finding) -> String {
    let place = match finding.frame {
        Some(frame) => format!("frame {frame}"),
        None => "not recorded".to_owned(),
    };
    let topic = finding.topic.as_ref().map(|topic| format!(", {}", topic.to_str_lossy())).unwrap_or_default();
    let (recorded, came) = (shown(&finding.recorded), shown(&finding.came));
    let what = match finding.what {
        What::Differs => format!("recorded {recorded}, came {came}"),
        What::Missing => format!("recorded {recorded}, and did not come"),
        What::Extra => format!("came {came}"),
        What::Order => format!("came before what is recorded before it: {came}"),
        What::Filter => format!("recorded {recorded}, came {came}"),
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
