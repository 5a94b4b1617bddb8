//! Messages as lines of text.

use std::fmt::{self, Display};
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use zeek_bridge::data::Topic;
use zeek_bridge::zeek::Event;

use super::message::Part;
use super::readable::Readable;
use crate::output::{Line, PaddedColumn, rfc3339};

/// Maximum width of topics and of the subjects of certificates.
const MAX_WIDTH: usize = 40;

const TIME: Style = Style::new().dimmed();
const PEER: Style = Style::new().dimmed();
const TOPIC: Style = AnsiColor::Cyan.on_default();
const EVENT: Style = AnsiColor::Green.on_default().bold();
const LABEL: Style = AnsiColor::Magenta.on_default();
const PLAIN: Style = Style::new();

/// The columns at the beginning of each line of a message.
#[derive(Clone, Debug)]
pub(super) struct Origin<'a> {
    time: String,
    peer: String,
    identity: Option<String>,
    topic: &'a Topic,
}

impl<'a> Origin<'a> {
    /// Returns the origin of a message: time of arrival, peer, subject of its certificate if requested, and topic.
    pub(super) fn new(time: SystemTime, peer: String, identity: Option<String>, topic: &'a Topic) -> Self {
        Origin { time: time_of_day(time), peer, identity, topic }
    }
}

/// Returns the time of day in UTC, such as `14:05:09.123Z`.
fn time_of_day(time: SystemTime) -> String {
    let text = rfc3339(time).unwrap_or_default();
    text.split_once('T').map_or_else(|| "-".into(), |(_, time)| time.to_owned())
}

/// The widths of columns, which are kept from line to line.
#[derive(Debug)]
pub(super) struct Text {
    color: bool,
    identities: PaddedColumn,
    topics: PaddedColumn,
}

impl Text {
    pub(super) fn new(color: bool) -> Self {
        Text {
            color,
            identities: PaddedColumn::of_escaped_text(MAX_WIDTH),
            topics: PaddedColumn::of_words(MAX_WIDTH),
        }
    }

    /// Appends a line with at most `limit` columns.
    pub(super) fn line(
        &mut self,
        to: &mut String,
        origin: &Origin<'_>,
        part: Part<'_>,
        limit: Option<usize>,
    ) {
        let mut line = Line::new(to, limit, self.color);
        line.put(TIME, &origin.time);
        line.put(PLAIN, "  ");
        // Eight digits of an id distinguish peers.
        line.put(PEER, origin.peer.get(..8).unwrap_or(&origin.peer));
        line.put(PLAIN, "  ");
        if let Some(identity) = &origin.identity {
            self.identities.put(&mut line, PEER, identity);
        }
        self.topics.put(&mut line, TOPIC, origin.topic.to_str_lossy());
        write_part(&mut line, part);
        to.push('\n');
    }
}

/// Writes an event as a call. White space in its name is escaped, so that an event cannot look like a message of a different kind.
fn write_part(line: &mut Line<'_>, part: Part<'_>) {
    match part {
        Part::Event(event) => {
            line.put_word(EVENT, &event.name);
            line.put(PLAIN, Arguments(event));
        }
        Part::LogCreate(create) => {
            line.put(LABEL, "log create ");
            line.put_word(PLAIN, &create.stream);
            line.put(PLAIN, format_args!(" by {}: ", create.writer));
            line.put(PLAIN, format_args!("{}, {}", Readable(&create.writer_info), Readable(&create.fields)));
        }
        Part::LogWrite(write) => {
            line.put(LABEL, "log write ");
            line.put_word(PLAIN, &write.stream);
            line.put(PLAIN, " to ");
            line.put_word(PLAIN, &write.path);
            line.put(
                PLAIN,
                format_args!(" by {}: {} bytes of rows", write.writer, write.rows.as_bytes().len()),
            );
        }
        Part::Identifier(update) => {
            line.put(LABEL, "identifier ");
            line.put_word(PLAIN, &update.id);
            line.put(PLAIN, format_args!(" = {}", Readable(&update.value)));
        }
        Part::Value(value) => {
            line.put(LABEL, "value ");
            line.put(PLAIN, Readable(value));
        }
        Part::Nothing => line.put(LABEL, "empty batch"),
    }
}

struct Arguments<'a>(&'a Event);

impl Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, value) in self.0.args.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Readable(value))?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeek_bridge::data::Value;
    use zeek_bridge::management::NotifyNodeHello;
    use zeek_bridge::zeek::{IdentifierUpdate, LogCreate};

    use super::super::message::tests::log_write;
    use super::*;

    static TOPIC_OF_NODES: Topic = Topic::from_static("zeek/management/node");
    const PEER_ID: &str = "ff392598-2bff-472c-99d1-f3de7d8eca28";

    fn line_of(text: &mut Text, topic: &Topic, part: Part<'_>, limit: Option<usize>) -> String {
        // 2009-02-13 23:31:30.25 UTC
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_250);
        let mut to = String::new();
        text.line(&mut to, &Origin::new(time, PEER_ID.into(), None, topic), part, limit);
        let line = to.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line:?}");
        line.to_owned()
    }

    fn line(part: Part<'_>) -> String {
        line_of(&mut Text::new(false), &TOPIC_OF_NODES, part, None)
    }

    const HEAD: &str = "23:31:30.250Z  ff392598  zeek/management/node  ";

    #[test]
    fn each_kind_of_message_has_its_line() {
        let hello = Event::from(NotifyNodeHello { node: "worker-01".into() });
        let event = Event::new("e", (1u64, "a b", Value::None, vec!["x"]));
        let create = LogCreate {
            stream: "Conn::LOG".into(),
            writer: "Log::WRITER_ASCII".into(),
            writer_info: Value::from(["conn"]),
            fields: Value::from(["ts"]),
        };
        let update = IdentifierUpdate { id: "Site::n".into(), value: Value::Count(5) };
        let write = log_write();
        for (part, expected) in [
            (Part::Event(&hello), "Management::Node::API::notify_node_hello(worker-01)"),
            (Part::Event(&event), "e(1, a b, nil, (x))"),
            (Part::Event(&Event::new("e", ())), "e()"),
            (Part::Event(&Event::new(r"e\", (r"\u{1b}", "\u{1b}", 1e-320))), r"e\\(\\u{1b}, \u{1b}, 1e-320)"),
            (Part::LogCreate(&create), "log create Conn::LOG by Log::WRITER_ASCII: (conn), (ts)"),
            (Part::LogWrite(&write), "log write Conn::LOG to conn by Log::WRITER_ASCII: 5 bytes of rows"),
            (Part::Identifier(&update), "identifier Site::n = 5"),
            (Part::Value(&Value::from((1u64, true))), "value (1, T)"),
            (Part::Nothing, "empty batch"),
        ] {
            assert_eq!(line(part), format!("{HEAD}{expected}"));
        }
    }

    #[test]
    fn content_from_a_peer_neither_affects_the_terminal_nor_starts_a_line() {
        let evil = "a\u{1b}[2J\r\nb\u{202e}c\u{9b}31m\u{7}\u{2028}";
        let escaped = r"a\u{1b}[2J\r\nb\u{202e}c\u{9b}31m\u{7}\u{2028}";
        let event = Event::new(evil, [evil]);
        assert_eq!(line(Part::Event(&event)), format!("{HEAD}{escaped}({escaped})"));
        let update = IdentifierUpdate { id: evil.into(), value: evil.into() };
        let mut write = log_write();
        (write.stream, write.writer, write.path) = (evil.into(), evil.into(), evil.into());
        let create = LogCreate {
            stream: evil.into(),
            writer: evil.into(),
            writer_info: evil.into(),
            fields: evil.into(),
        };
        let value = Value::from(evil);
        let topic = Topic::from(evil);
        for part in [
            Part::Event(&event),
            Part::Identifier(&update),
            Part::LogWrite(&write),
            Part::LogCreate(&create),
            Part::Value(&value),
        ] {
            let line = line_of(&mut Text::new(false), &topic, part, None);
            assert!(!line.contains(crate::output::steers), "{line:?}");
        }
    }

    #[test]
    fn nothing_else_looks_like_an_event() {
        assert_eq!(line(Part::Event(&Event::new("value 5", ()))), format!(r"{HEAD}value\u{{20}}5()"));
        assert_eq!(line(Part::Value(&"ping()".into())), format!("{HEAD}value ping()"));
        let topic = Topic::from_static("a  ping()");
        let line = line_of(&mut Text::new(false), &topic, Part::Nothing, None);
        assert!(line.ends_with(r"a\u{20}\u{20}ping()  empty batch"), "{line}");
    }

    #[test]
    fn columns_are_aligned_and_lines_are_cut_at_the_width_of_the_terminal() {
        let (mut text, event) = (Text::new(false), Event::new("ping", ["x".repeat(100)]));
        let mut line =
            |topic: &str, limit| line_of(&mut text, &Topic::from(topic), Part::Event(&event), limit);
        assert_eq!(line("/a", Some(40)), "23:31:30.250Z  ff392598  /a  ping(xxxxx…");
        assert_eq!(line("/longer", Some(40)), "23:31:30.250Z  ff392598  /longer  ping(…");
        assert_eq!(line("/a", Some(40)), "23:31:30.250Z  ff392598  /a       ping(…");
        assert_eq!(line("/a", Some(20)), "23:31:30.250Z  ff39…");
        assert_eq!(line("/a", None).len(), "23:31:30.250Z  ff392598  /a       ping()".len() + 100);
    }

    #[test]
    fn a_line_has_colors_if_requested() {
        let mut text = Text::new(true);
        let line = line_of(&mut text, &TOPIC_OF_NODES, Part::Event(&Event::new("ping", [1u64])), None);
        let expected = "\u{1b}[2m23:31:30.250Z\u{1b}[0m  \u{1b}[2mff392598\u{1b}[0m  \
             \u{1b}[36mzeek/management/node\u{1b}[0m  \u{1b}[1m\u{1b}[32mping\u{1b}[0m(1)";
        assert_eq!(line, expected);
    }

    #[test]
    fn the_subject_of_a_peer_is_after_its_id() {
        let mut to = String::new();
        let identity = Some("CN=worker 1".to_owned());
        let origin = Origin::new(SystemTime::UNIX_EPOCH, PEER_ID.into(), identity, &TOPIC_OF_NODES);
        Text::new(false).line(&mut to, &origin, Part::Nothing, None);
        assert_eq!(to, "00:00:00.000Z  ff392598  CN=worker 1  zeek/management/node  empty batch\n");
    }

    #[test]
    fn a_time_out_of_range_is_not_an_error() {
        assert_eq!(time_of_day(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "-");
        assert_eq!(time_of_day(SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000)), "-");
    }
}
