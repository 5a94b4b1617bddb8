//! The lines of the log. The fields of an event's spans (such as `link`, `peer` and `address`) are part of its line, as if
//! they were fields of the event itself.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines for people: `TIME LEVEL message field=value`.
pub(super) struct Text {
    /// Whether lines contain the target: the module of the program that writes them.
    pub(super) target: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let [dim, color, reset] = match writer.has_ansi_escapes() {
            true => ["\x1b[2m", color(level), "\x1b[0m"],
            false => [""; 3],
        };
        write!(writer, "{dim}")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "{reset} {color}{level:>5}{reset} ")?;
        if self.target {
            write!(writer, "{dim}{}:{reset} ", event.metadata().target())?;
        }
        context.format_fields(writer.by_ref(), event)?;
        for_each_span(context, |fields| write!(writer, " {fields}"))?;
        writeln!(writer)
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

/// Lines for programs: one JSON object each. Needs span fields in JSON.
pub(super) struct Json {
    /// As in [`Text::target`].
    pub(super) target: bool,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        fields.insert("timestamp", time.into());
        fields.insert("level", event.metadata().level().as_str().into());
        event.record(&mut fields);
        for_each_span(context, |span| {
            let span: Map<String, Value> = serde_json::from_str(span).unwrap_or_default();
            span.into_iter().for_each(|(name, value)| fields.insert(&name, value));
            Ok(())
        })?;
        if self.target {
            fields.insert("target", event.metadata().target().into());
        }
        for (index, (name, value)) in fields.0.iter().enumerate() {
            let separator = if index == 0 { '{' } else { ',' };
            write!(writer, "{separator}{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

/// Calls `write` with the formatted fields of each span around the current event, the innermost last.
fn for_each_span<S, N>(
    context: &FmtContext<'_, S, N>,
    mut write: impl FnMut(&str) -> fmt::Result,
) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let Some(scope) = context.event_scope() else { return Ok(()) };
    for span in scope.from_root() {
        let extensions = span.extensions();
        if let Some(fields) = extensions.get::<FormattedFields<N>>()
            && !fields.is_empty()
        {
            write(fields.as_str())?;
        }
    }
    Ok(())
}

/// The fields of one line, in their order. The first field of a name is kept.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn insert(&mut self, name: &str, value: Value) {
        if !self.0.iter().any(|(other, _)| other == name) {
            self.0.push((name.to_owned(), value));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field.name(), format!("{value:?}").into());
    }
}
