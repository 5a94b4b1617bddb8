//! The output of the demo for people: a line for each event, and a table of the comparisons at the end.

use anstyle::{AnsiColor, Style};
use zeek_bridge::management::{DispatchRequest, NodeMessage};
use zeek_bridge::zeek::Event;

use super::report::{Comparison, Entry, Part};
use crate::output::Line;

const TITLE: Style = Style::new().bold();
const NAME: Style = AnsiColor::Cyan.on_default();
const QUIET: Style = Style::new().dimmed();
const SAME: Style = AnsiColor::Green.on_default();
const DIFFERENT: Style = AnsiColor::Red.on_default().bold();
const PLAIN: Style = Style::new();

/// The width of a name, which is at least that of `worker-01`.
const NAME_WIDTH: usize = 9;
/// The width of a request in the table.
const REQUEST_WIDTH: usize = 40;
/// Maximum number of characters of an answer's data.
const MAX_DATA: usize = 60;

/// Formats the entries as lines.
#[derive(Debug)]
pub(super) struct Text {
    color: bool,
    /// The number of columns of the terminal, if stdout is one.
    limit: Option<usize>,
    part: Option<Part>,
    rows: Vec<Row>,
}

/// A request and the results of its comparisons.
#[derive(Debug)]
struct Row {
    request: String,
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    part: Part,
    node: String,
    /// The answer of Zeek, and our answer if it differs.
    text: String,
    is_same: bool,
}

impl Text {
    pub(super) fn new(color: bool, limit: Option<usize>) -> Self {
        Text { color, limit, part: None, rows: Vec::new() }
    }

    /// Returns the lines of an entry. Comparisons have none until [`Text::table`].
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> String {
        let mut to = String::new();
        match entry {
            Entry::Event { part, from, to: receiver, event } => {
                self.begin(*part, &mut to);
                let mut line = Line::new(&mut to, self.limit, self.color);
                line.put(PLAIN, "  ");
                line.put_word(NAME, from);
                line.fill(NAME_WIDTH.saturating_add(3));
                line.put(QUIET, "-> ");
                line.put_word(NAME, receiver);
                line.fill(NAME_WIDTH.saturating_mul(2).saturating_add(8));
                line.put(PLAIN, described(event));
                to.push('\n');
            }
            Entry::Comparison { part, comparison } => self.compare(*part, comparison),
        }
        to
    }

    /// Appends the title of a part before its first event.
    fn begin(&mut self, part: Part, to: &mut String) {
        if self.part == Some(part) {
            return;
        }
        if self.part.is_some() {
            to.push('\n');
        }
        self.part = Some(part);
        let title = match part {
            Part::CapturedAgent => "The captured agent of Zeek 8.0.9 queries a Rust node, over mutual TLS",
            Part::RustAgent => "A Rust agent sends the same requests to two Rust nodes, over mutual TLS",
        };
        Line::new(to, self.limit, self.color).put(TITLE, title);
        to.push('\n');
    }

    fn compare(&mut self, part: Part, comparison: &Comparison<'_>) {
        let text = match &comparison.here {
            None => comparison.zeek.clone(),
            Some(here) => format!("{here}, Zeek: {}", comparison.zeek),
        };
        let cell = Cell { part, node: comparison.node.to_owned(), text, is_same: comparison.agrees };
        // All requests in the recording have the same action, get_id_value. It is left out, so that the table has room.
        let request = request(comparison.request);
        let request = request.strip_prefix("get_id_value ").unwrap_or(&request).to_owned();
        match self.rows.iter_mut().find(|row| row.request == request) {
            Some(row) => row.cells.push(cell),
            None => self.rows.push(Row { request, cells: vec![cell] }),
        }
    }

    /// Returns the table of all comparisons: a line for each request, and below it each answer that differs from Zeek's.
    pub(super) fn table(&self) -> String {
        let mut to = String::from("\n");
        let mut line = Line::new(&mut to, self.limit, self.color);
        line.put(TITLE, "Requested value");
        line.fill(REQUEST_WIDTH);
        line.put(TITLE, "Zeek's answer, and comparisons");
        to.push('\n');
        for row in &self.rows {
            let mut line = Line::new(&mut to, self.limit, self.color);
            line.put(PLAIN, &row.request);
            line.fill(REQUEST_WIDTH);
            let same = row.cells.iter().filter(|cell| cell.is_same).count();
            let all = row.cells.len();
            let mut answers: Vec<&str> =
                row.cells.iter().filter(|cell| cell.is_same).map(|cell| cell.text.as_str()).collect();
            answers.sort_unstable();
            answers.dedup();
            line.put(PLAIN, answers.join(" or "));
            let style = if same == all { SAME } else { DIFFERENT };
            line.put(style, format_args!("  {same} of {all} same"));
            to.push('\n');
            for cell in row.cells.iter().filter(|cell| !cell.is_same) {
                let mut line = Line::new(&mut to, self.limit, self.color);
                line.put(PLAIN, "  ");
                line.put_word(NAME, &cell.node);
                let agent = match cell.part {
                    Part::CapturedAgent => "captured agent",
                    Part::RustAgent => "Rust agent",
                };
                line.put(DIFFERENT, format_args!(" to the {agent}: {}", cell.text));
                to.push('\n');
            }
        }
        to
    }
}

/// Describes an event of the node API in a few words.
fn described(event: &Event) -> String {
    match NodeMessage::parse(event) {
        Ok(Some(NodeMessage::Hello(_))) => "hello".to_owned(),
        Ok(Some(NodeMessage::Request(asked))) => request(&asked),
        Ok(Some(NodeMessage::Response(response))) => {
            let result = response.result();
            match (result.is_success(), result.error()) {
                (true, _) => match result.data() {
                    Some(data) => format!("success {}", shortened(&data.to_str_lossy())),
                    None => "success".to_owned(),
                },
                (false, error) => format!("failure: {}", error.unwrap_or_default()),
            }
        }
        _ => event.to_string(),
    }
}

/// Cuts a text that is too long for a line.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_DATA) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Describes a request: its action and, if it is not for all nodes, the nodes that it is addressed to.
fn request(request: &DispatchRequest) -> String {
    let action = request.action.join(" ");
    if request.nodes.is_empty() {
        return action;
    }
    let nodes = request.nodes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("{action} (to {nodes})")
}

#[cfg(test)]
mod tests {
    use zeek_bridge::management::NotifyNodeHello;

    use super::*;

    fn asked(nodes: &[&str]) -> DispatchRequest {
        DispatchRequest {
            reqid: "1".into(),
            action: vec!["get_id_value".into(), "a".into()],
            nodes: nodes.iter().map(|node| (*node).into()).collect(),
        }
    }

    #[test]
    fn each_event_is_a_line_below_the_title_of_its_part() {
        let mut text = Text::new(false, Some(60));
        let hello = Event::from(NotifyNodeHello { node: "n\u{1b}".into() });
        let request = Event::from(asked(&["n"]));
        let part = Part::RustAgent;
        let mut lines = text.entry(&Entry::Event { part, from: "n\u{1b}", to: "agent", event: &hello });
        lines += &text.entry(&Entry::Event { part, from: "agent", to: "n", event: &request });
        let expected = "A Rust agent sends the same requests to two Rust nodes, ove…\n  \
                        n\\u{1b}   -> agent      hello\n  agent     -> n          get_id_value a (to n)\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_table_has_a_line_for_each_request_and_each_difference() {
        let mut text = Text::new(false, None);
        let request = asked(&[]);
        for (node, here, differences) in [("a", None, vec![]), ("b", Some("silent".into()), vec!["data"])] {
            let comparison = &Comparison {
                node,
                request: &request,
                zeek: "success".into(),
                agrees: here.is_none(),
                here,
                differences,
            };
            assert_eq!(text.entry(&Entry::Comparison { part: Part::CapturedAgent, comparison }), "");
        }
        let table = text.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[2..],
            [
                &format!("{:REQUEST_WIDTH$}success  1 of 2 same", "a"),
                "  b to the captured agent: silent, Zeek: success",
            ]
        );
    }
}
