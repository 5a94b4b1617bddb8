//! Summaries of connections: endpoints, versions, filters, counts and errors.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{Table, presets};
use serde::{Serialize, Serializer};
use zeek_bridge::data::Filter;
use zeek_bridge::trace::{Content, Entry, Frame, Side};
use zeek_bridge::websocket;
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake, Limits};
use zeek_bridge::zeek::ZeekMessage;
use zeek_bridge::zeromq::{self, LogBatch};

use super::report::{About, Document, Report};
use crate::output::{Failure, Output, printable, to_line};

/// Maximum number of names, topics and errors that are kept per connection.
const MAX_KEPT: usize = 1000;

/// Maximum number of names, topics and errors in a table.
const MAX_SHOWN: usize = 20;

pub(super) struct Summary {
    output: Output,
    json: bool,
    connections: HashMap<u64, Both>,
    first: bool,
}

/// The order of the fields is their order in JSON.
#[derive(Default, Serialize)]
struct Both {
    #[serde(rename = "duration_us")]
    t_us: u64,
    connector: SideSummary,
    listener: SideSummary,
    error_count: u64,
    errors: Vec<String>,
}

/// The counts of one side. The order of the fields is their order in JSON.
#[derive(Default, Serialize)]
struct SideSummary {
    bytes: u64,
    /// The close code and reason of a WebSocket session, the status of a refused request, or the error that ends a session of
    /// ZeroMQ.
    closed: Option<String>,
    dropped: Option<String>,
    endpoint: Option<String>,
    /// Events by name, and all other messages by kind.
    events: BTreeMap<String, u64>,
    /// Each topic with the number of its subscriptions, which is 1 unless the protocol is that of ZeroMQ.
    #[serde(serialize_with = "topics")]
    filter: Option<BTreeMap<String, u64>>,
    frames: u64,
    others: BTreeMap<String, u64>,
    versions: Option<String>,
}

/// The line of JSON about a connection.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    connection: Document<'a>,
    #[serde(flatten)]
    both: Option<&'a Both>,
}

impl Summary {
    pub(super) fn new(output: Output, json: bool) -> Self {
        Summary { output, json, connections: HashMap::new(), first: true }
    }
}

impl Report for Summary {
    fn begin(&mut self, about: &About) -> Result<(), Failure> {
        self.connections.insert(about.number, Both::default());
        Ok(())
    }

    fn entry(&mut self, about: &About, entry: &Entry) -> Result<(), Failure> {
        if let Some(both) = self.connections.get_mut(&about.number) {
            both.add(entry);
        }
        Ok(())
    }

    fn end(&mut self, about: &About) -> Result<(), Failure> {
        let Some(both) = self.connections.remove(&about.number) else { return Ok(()) };
        if self.json {
            return self.output.line(&both.line(about));
        }
        if !std::mem::take(&mut self.first) {
            self.output.line(b"")?;
        }
        self.output.line(both.text(about).trim_end().as_bytes())
    }

    fn pause(&mut self) -> Result<(), Failure> {
        self.output.flush()
    }
}

impl Both {
    fn add(&mut self, entry: &Entry) {
        self.t_us = self.t_us.max(entry.t_us);
        let side = match entry.from {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        };
        let error = match &entry.frame {
            Ok(frame) => {
                side.add(frame);
                frame.content.as_ref().err().map(|error| (frame.offset, error.to_string()))
            }
            Err(error) => Some((error.offset, error.to_string())),
        };
        if let Some((offset, error)) = error {
            self.error_count = self.error_count.saturating_add(1);
            if self.errors.len() < MAX_KEPT {
                self.errors.push(format!("{}, byte {offset}: {error}", entry.from.name()));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.connector.frames == 0 && self.listener.frames == 0 && self.error_count == 0
    }

    fn line(&self, about: &About) -> Vec<u8> {
        to_line(&Line { connection: about.document(), both: (!self.is_empty()).then_some(self) })
    }

    fn text(&self, about: &About) -> String {
        let mut text = printable(&about.name);
        if let Some(start) = about.start() {
            text = format!("{text}  {start}");
        }
        if !self.is_empty() {
            text = format!("{text}  {:?}", Duration::from_micros(self.t_us));
        }
        if let Some(remarks) = about.remarks() {
            text = format!("{text}\n  {}", printable(&remarks));
        }
        if self.is_empty() {
            return text;
        }
        let (connector, listener) = (&self.connector, &self.listener);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["", "CONNECTOR", "LISTENER"]);
        let mut row = |name: &str, one: String, other: String| {
            if !(one.is_empty() && other.is_empty()) {
                table.add_row([printable(name), printable(&one), printable(&other)]);
            }
        };
        let text_of = |text: &Option<String>| text.clone().unwrap_or_default();
        row("endpoint", text_of(&connector.endpoint), text_of(&listener.endpoint));
        row("versions", text_of(&connector.versions), text_of(&listener.versions));
        row("filter", connector.filter_text(), listener.filter_text());
        row("dropped", text_of(&connector.dropped), text_of(&listener.dropped));
        row("closed", text_of(&connector.closed), text_of(&listener.closed));
        row("frames", connector.frames.to_string(), listener.frames.to_string());
        let size = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
        row("bytes", size(connector.bytes), size(listener.bytes));
        for (prefix, one, other) in
            [("", &connector.others, &listener.others), ("event ", &connector.events, &listener.events)]
        {
            let mut names: Vec<(u64, &String)> = one
                .keys()
                .chain(other.keys().filter(|name| !one.contains_key(*name)))
                .map(|name| (count(one, name).saturating_add(count(other, name)), name))
                .collect();
            names.sort_by_key(|(count, name)| (std::cmp::Reverse(*count), *name));
            for (_, name) in names.iter().take(MAX_SHOWN) {
                row(&format!("{prefix}{name}"), count(one, name).to_string(), count(other, name).to_string());
            }
            if names.len() > MAX_SHOWN {
                let more = names.len().saturating_sub(MAX_SHOWN);
                row(&format!("and {more} more: see --format json"), "..".into(), "..".into());
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((2, 0));
        }
        text = format!("{text}\n{}", table.trim_fmt());
        for error in self.errors.iter().take(MAX_SHOWN) {
            text = format!("{text}\n  error: {}", printable(error));
        }
        match self.error_count.saturating_sub(MAX_SHOWN.try_into().unwrap_or(0)) {
            0 => text,
            more => format!("{text}\n  and {more} more errors"),
        }
    }
}

fn count(of: &BTreeMap<String, u64>, name: &str) -> u64 {
    of.get(name).copied().unwrap_or(0)
}

impl SideSummary {
    fn add(&mut self, frame: &Frame) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(frame.length());
        match &frame.content {
            Ok(Content::Handshake(message)) => self.add_handshake(message),
            Ok(Content::Envelope(envelope)) => self.add_envelope(envelope),
            Ok(Content::WebSocket(part)) => self.add_websocket(part),
            Ok(Content::ZeroMq(part)) => self.add_zeromq(part),
            Err(_) => {}
        }
    }

    fn add_handshake(&mut self, message: &Handshake) {
        match message {
            Handshake::Hello { sender, min_version, max_version } => {
                self.endpoint = Some(sender.to_string());
                self.versions = Some(format!("{min_version} to {max_version}"));
            }
            Handshake::VersionSelect { sender, version } => {
                self.endpoint = Some(sender.to_string());
                let offered = self.versions.take().map(|offered| offered + ", ").unwrap_or_default();
                self.versions = Some(format!("{offered}chose {version}"));
            }
            Handshake::OriginatorSyn(filter) | Handshake::ResponderSynAck(filter) => self.set_filter(filter),
            Handshake::DropConn { sender, code, description } => {
                self.endpoint = Some(sender.to_string());
                let description = String::from_utf8_lossy(description.as_bytes());
                self.dropped = Some(format!("{description} ({})", code.0));
            }
            Handshake::Probe | Handshake::OriginatorAck => {}
        }
    }

    fn add_envelope(&mut self, envelope: &Envelope) {
        if self.endpoint.is_none() {
            self.endpoint = Some(envelope.sender.to_string());
        }
        match envelope.kind {
            EnvelopeType::Data => {
                let value = envelope.value(&Limits::DEFAULT).ok();
                self.add_message(value.and_then(|value| ZeekMessage::from_value(value).ok()).as_ref());
            }
            EnvelopeType::RoutingUpdate => {
                if let Ok(filter) = envelope.filter(&Limits::DEFAULT) {
                    self.set_filter(&filter);
                }
                add(&mut self.others, "routing_update");
            }
            EnvelopeType::Command => {
                let name = envelope.command(&Limits::DEFAULT).map(|command| command.content.name());
                add(&mut self.others, &format!("store {}", name.unwrap_or("command")));
            }
            kind @ (EnvelopeType::Ping | EnvelopeType::Pong) => add(&mut self.others, &kind.to_string()),
        }
    }

    /// Adds a part of a WebSocket session. The subscriptions are the filter of the client.
    fn add_websocket(&mut self, part: &websocket::Part) {
        use websocket::Part;
        match part {
            Part::Subscriptions(filter) => self.set_filter(filter),
            Part::Ack { endpoint, version } => {
                self.endpoint = Some(endpoint.clone());
                self.versions = Some(version.clone());
            }
            Part::Message(envelope) => {
                let value = envelope.value(&Limits::DEFAULT).ok();
                self.add_message(value.and_then(|value| ZeekMessage::from_value(value).ok()).as_ref());
            }
            Part::Response { status, .. } if *status != 101 => {
                self.closed = Some(format!("HTTP status {status}"))
            }
            Part::Close { code, reason } => {
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                let reason = String::from_utf8_lossy(reason);
                self.closed = Some(format!("{code} {reason}").trim_end().to_owned());
            }
            Part::Error(notice) => add(&mut self.others, &format!("error {}", notice.code)),
            Part::Ping(_) => add(&mut self.others, "ping"),
            Part::Pong(_) => add(&mut self.others, "pong"),
            _ => {}
        }
    }

    /// Adds a part of a session of ZeroMQ. The endpoint is the type of the socket.
    fn add_zeromq(&mut self, part: &zeromq::Part) {
        use zeromq::Part;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match part {
            Part::Greeting { version: [major, minor], mechanism, .. } => {
                self.versions = Some(format!("{major}.{minor} {mechanism}"));
            }
            Part::Ready(properties) => {
                let socket = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"Socket-Type"));
                self.endpoint = socket.map(|(_, socket)| text(socket));
            }
            Part::Subscription { subscribe, topic, .. } => self.subscribe(*subscribe, text(topic)),
            Part::Event { envelope, .. } => {
                let value = envelope.value(&Limits::DEFAULT).ok();
                self.add_message(value.and_then(|value| ZeekMessage::from_value(value).ok()).as_ref());
            }
            Part::Logs { batch, .. } => {
                if let Ok(batch) = LogBatch::decode(batch, &Limits::DEFAULT) {
                    let rows = batch.row_count().try_into().unwrap_or(u64::MAX);
                    add_count(&mut self.others, &format!("log rows {}", text(batch.header().path)), rows);
                }
            }
            Part::Error(reason) => self.closed = Some(text(reason)),
            Part::Ping(_) => add(&mut self.others, "ping"),
            Part::Pong(_) => add(&mut self.others, "pong"),
            Part::Encrypted => add(&mut self.others, "encrypted message"),
            _ => {}
        }
    }

    fn subscribe(&mut self, subscribe: bool, topic: String) {
        let filter = self.filter.get_or_insert_default();
        if subscribe {
            add(filter, &topic);
        } else if let Some(count) = filter.get_mut(&topic) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                filter.remove(&topic);
            }
        }
    }

    fn add_message(&mut self, message: Option<&ZeekMessage>) {
        match message {
            Some(ZeekMessage::Event(event)) => add(&mut self.events, &event.name),
            Some(ZeekMessage::Batch(messages)) => {
                messages.iter().for_each(|message| self.add_message(Some(message)));
            }
            Some(ZeekMessage::LogCreate(_)) => add(&mut self.others, "log create"),
            Some(ZeekMessage::LogWrite(_)) => add(&mut self.others, "log write"),
            Some(ZeekMessage::IdentifierUpdate(_)) => add(&mut self.others, "identifier update"),
            None => add(&mut self.others, "value"),
        }
    }

    fn set_filter(&mut self, filter: &Filter) {
        let topics = filter.topics().iter().take(MAX_KEPT);
        self.filter =
            Some(topics.map(|topic| (String::from_utf8_lossy(topic.as_bytes()).into_owned(), 1)).collect());
    }

    fn filter_text(&self) -> String {
        let Some(filter) = &self.filter else { return String::new() };
        let mut shown: Vec<&str> = filter.keys().take(MAX_SHOWN).map(String::as_str).collect();
        if filter.len() > MAX_SHOWN {
            shown.push("..");
        }
        if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
    }
}

/// Serializes the topics of a filter.
fn topics<S: Serializer>(filter: &Option<BTreeMap<String, u64>>, to: S) -> Result<S::Ok, S::Error> {
    filter.as_ref().map(|filter| filter.keys().collect::<Vec<_>>()).serialize(to)
}

/// Counts a name. Names beyond the maximum are counted together.
fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    add_count(counts, name, 1);
}

fn add_count(counts: &mut BTreeMap<String, u64>, name: &str, more: u64) {
    let name = if counts.len() < MAX_KEPT || counts.contains_key(name) { name } else { "(others)" };
    match counts.get_mut(name) {
        Some(count) => *count = count.saturating_add(more),
        None => {
            counts.insert(name.to_owned(), more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Protocol;
    use super::*;

    #[test]
    fn a_summary_is_a_line_of_json() {
        let about =
            About { number: 1, name: "a".into(), start_ns: None, protocol: Protocol::Broker, note: None };
        let line = |both: &Both| String::from_utf8(both.line(&about)).unwrap();
        let mut both = Both::default();
        assert_eq!(line(&both), r#"{"connection":"a","protocol":"broker"}"#);
        both.connector.frames = 2;
        both.connector.filter = Some([("/t".into(), 1)].into());
        add(&mut both.connector.events, "e");
        both.error_count = 1;
        both.errors.push("listener, byte 3: bad".into());
        assert_eq!(
            line(&both),
            r#"{"connection":"a","protocol":"broker","duration_us":0,"connector":{"bytes":0,"closed":null,"dropped":null,"endpoint":null,"events":{"e":1},"filter":["/t"],"frames":2,"others":{},"versions":null},"listener":{"bytes":0,"closed":null,"dropped":null,"endpoint":null,"events":{},"filter":null,"frames":0,"others":{},"versions":null},"error_count":1,"errors":["listener, byte 3: bad"]}"#
        );
    }
}
