//! The lines of the log. The fields of an event's spans (such as `link`, `peer` and `address`) are part of its line, as if
//! they were fields of the event itself.

use std::fmt::Write;

use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use zeek_bridge::bridge::config::LogFormat;

use super::super::escape::{harmless, printable};
use super::fields::{FieldValue, Fields, MESSAGE};

/// Formats each event as a line, and passes the line to `write`. The text is escaped, so that it cannot affect a terminal or
/// start a new line.
pub(super) struct Log<W> {
    pub(super) format: LogFormat,
    pub(super) color: bool,
    /// Whether lines contain the target: the module of the program that writes them.
    pub(super) target: bool,
    pub(super) write: W,
}

impl<S, W> Layer<S> for Log<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.add_missing(of_span);
            }
        }
        let mut time = String::new();
        // Cannot fail: it writes to memory.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let line = match self.format {
            LogFormat::Json => self.json(&time, event.metadata(), &fields),
            _ => self.text(&time, event.metadata(), &fields).into_bytes(),
        };
        (self.write)(&line);
    }
}

impl<W> Log<W> {
    /// Formats a line for people: `TIME LEVEL message field=value`.
    fn text(&self, time: &str, metadata: &Metadata<'_>, fields: &Fields) -> String {
        let level = *metadata.level();
        let [dim, italic, color, reset] = match self.color {
            true => ["\x1b[2m", "\x1b[3m", color(level), "\x1b[0m"],
            false => [""; 4],
        };
        let mut line = format!("{dim}{time}{reset} {color}{level:>5}{reset}");
        // Cannot fail: it writes to memory.
        if self.target {
            let _ = write!(line, " {dim}{}:{reset}", metadata.target());
        }
        for (name, value) in fields.iter() {
            let value = printable(&match value {
                FieldValue::Scalar(value) => value.to_string(),
                FieldValue::Quoted(text) if name != MESSAGE => format!("{text:?}"),
                FieldValue::Quoted(text) | FieldValue::Formatted(text) => text.clone(),
            });
            let _ = match name {
                MESSAGE => write!(line, " {value}"),
                name => write!(line, " {italic}{name}{reset}{dim}={reset}{value}"),
            };
        }
        line.push('\n');
        line
    }

    /// Formats a line for programs: a JSON object.
    fn json(&self, time: &str, metadata: &Metadata<'_>, fields: &Fields) -> Vec<u8> {
        const OWN: [&str; 3] = ["timestamp", "level", "target"];
        let target = self.target.then(|| (OWN[2], metadata.target().into()));
        let fields = fields.iter().filter(|(name, _)| !OWN.contains(name)).map(|(name, value)| {
            let value = match value {
                FieldValue::Scalar(value) => value.clone(),
                FieldValue::Quoted(text) | FieldValue::Formatted(text) => text.as_str().into(),
            };
            (name, value)
        });
        let own = [(OWN[0], time.into()), (OWN[1], metadata.level().as_str().into())];
        let mut line = String::new();
        for (index, (name, value)) in own.into_iter().chain(fields).chain(target).enumerate() {
            let separator = if index == 0 { '{' } else { ',' };
            // Cannot fail: it writes to memory.
            let _ = write!(line, "{separator}{}:{value}", Value::from(name));
        }
        let mut line = harmless(line.into_bytes());
        line.extend_from_slice(b"}\n");
        line
    }
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Returns the logged lines, without the time.
    fn logged(format: LogFormat, color: bool, events: impl FnOnce()) -> String {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let to = written.clone();
        let write = move |line: &[u8]| to.lock().unwrap().extend_from_slice(line);
        let log = Log { format, color, target: false, write };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), events);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").unwrap().replace_all(&written, "TIME").into_owned()
    }

    const HOSTILE: &str = "\u{1b}[2J\nTIME ERROR \u{9b}\u{202e}x";

    fn hostile() {
        let span = tracing::info_span!("peer", link = "a", peer = %HOSTILE, id = tracing::field::Empty);
        span.record("id", tracing::field::debug(HOSTILE));
        span.in_scope(|| tracing::warn!(node = HOSTILE, count = 2, "lost {HOSTILE}"));
    }

    #[test]
    fn text_of_peers_can_neither_steer_the_terminal_nor_start_a_line() {
        let text = logged(LogFormat::Text, false, hostile);
        assert_eq!(
            text,
            concat!(
                r"TIME  WARN lost \u{1b}[2J\nTIME ERROR \u{9b}\u{202e}x",
                r#" node="\u{1b}[2J\nTIME ERROR \u{9b}\u{202e}x" count=2 link="a""#,
                r" peer=\u{1b}[2J\nTIME ERROR \u{9b}\u{202e}x",
                r#" id="\u{1b}[2J\nTIME ERROR \u{9b}\u{202e}x""#,
                "\n"
            )
        );
        let json = logged(LogFormat::Json, false, hostile);
        assert!(
            json.ends_with("}\n") && !json.trim_end().chars().any(super::super::super::steers),
            "{json:?}"
        );
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["peer"], HOSTILE);
        assert_eq!(json["message"], format!("lost {HOSTILE}"));
    }

    #[test]
    fn a_field_that_occurs_several_times_is_written_once() {
        let events = || {
            let outer = tracing::info_span!("outer", link = "a", address = %"127.0.0.1:1");
            let inner = outer.in_scope(|| tracing::info_span!("inner", link = "b", peer = %"p"));
            inner.in_scope(|| {
                tracing::info!("text");
                tracing::info!(peer = %"q", level = 1, "text");
            });
        };
        assert_eq!(
            logged(LogFormat::Text, false, events),
            "TIME  INFO text link=\"a\" address=127.0.0.1:1 peer=p\n\
             TIME  INFO text peer=q level=1 link=\"a\" address=127.0.0.1:1\n"
        );
        assert_eq!(
            logged(LogFormat::Json, false, events),
            concat!(
                r#"{"timestamp":"TIME","level":"INFO","message":"text","link":"a","address":"127.0.0.1:1","peer":"p"}"#,
                "\n",
                r#"{"timestamp":"TIME","level":"INFO","message":"text","peer":"q","link":"a","address":"127.0.0.1:1"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_level_and_the_names_of_fields_have_colors() {
        let text = logged(LogFormat::Text, true, || tracing::error!(n = 1, "text"));
        assert_eq!(
            text,
            "\u{1b}[2mTIME\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m text \u{1b}[3mn\u{1b}[0m\u{1b}[2m=\u{1b}[0m1\n"
        );
    }
}
