//! The state of a bridge with rates: as lines of text and as JSON.

use std::cmp::Reverse;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use zeek_bridge::bridge::{FlowSnapshot, Latency, LinkSnapshot, Snapshot};

use super::rates::Increase;
use super::table::{Kind, Table, cut, escaped};
use super::text::{bytes, link_problems, state};
use crate::commands::run::Document;
use crate::latency::{Percentile, percentile, samples, summary};
use crate::output::{json_rate, per_second, rate, rfc3339};
use crate::terminal::Order;

/// A column of the table of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Link,
    In,
    Out,
    Bytes,
    Drops,
}

impl Column {
    /// Returns the column that this key sorts by.
    pub(super) fn of_key(key: char) -> Option<Self> {
        Some(match key {
            'l' => Column::Link,
            'i' => Column::In,
            'o' => Column::Out,
            'b' => Column::Bytes,
            'd' => Column::Drops,
            _ => return None,
        })
    }
}

/// The use of a line, which determines its style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Text,
    Heading,
    /// A change of the bridge, such as its end.
    Notice,
}

/// A view of the last sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// The increase of the counters, if there is an earlier sample.
    pub(super) increase: Option<&'a Increase>,
    /// The last change of the bridge.
    pub(super) notice: Option<&'a str>,
    /// False if the bridge is not reachable any more.
    pub(super) is_current: bool,
    /// The order of the links that the user selected; `None` for the order of the configuration.
    pub(super) order: Option<Order<Column>>,
}

impl View<'_> {
    /// Returns the lines, each with at most `width` columns.
    pub(super) fn lines(&self, width: usize) -> Vec<(Role, String)> {
        let state = state(self.snapshot);
        let state = if self.is_current { state } else { format!("last state: {state}") };
        let text = [state, self.requests(), self.latency()];
        let mut lines: Vec<(Role, String)> = text.iter().map(|line| (Role::Text, cut(line, width))).collect();
        lines.extend(self.notice.map(|notice| (Role::Notice, cut(&escaped(notice), width))));
        for table in [self.links(), self.problems()] {
            let table = table.lines(width);
            if !table.is_empty() {
                lines.push((Role::Text, String::new()));
            }
            let roles = [Role::Heading].into_iter().chain(std::iter::repeat(Role::Text));
            lines.extend(roles.zip(table));
        }
        lines
    }

    fn requests(&self) -> String {
        let per_second = |counter: fn(&Snapshot) -> u64| {
            let rate = self.increase.map(|increase| rate(counter(&increase.counts), increase.time));
            rate.map_or_else(|| "-".into(), |rate| format!("{rate}/s"))
        };
        let answered = per_second(|counts| counts.answered_for.total());
        let late = per_second(|counts| counts.unanswered.saturating_add(counts.forgotten));
        let in_flight = self.snapshot.in_flight;
        format!(
            "requests in flight: {in_flight}; answered on behalf of nodes: {answered}; unanswered: {late}"
        )
    }

    fn latency(&self) -> String {
        let recent = self.increase.map(|increase| &increase.counts.latency);
        if let Some((recent, summary)) = recent.and_then(|recent| Some((recent, summary(recent)?))) {
            return format!("relay latency: {summary} (samples in this interval: {})", samples(recent));
        }
        match summary(&self.snapshot.latency) {
            Some(summary) => format!("relay latency: no samples in this interval; since the start {summary}"),
            None => "relay latency: no samples yet".into(),
        }
    }

    fn links(&self) -> Table {
        let mark = |heading: &str, column| {
            let order = self.order.filter(|order| order.column == column);
            heading.chars().chain(order.map(|order| order.mark(column == Column::Link))).collect::<String>()
        };
        let mut table = Table::new([
            (mark("LINK", Column::Link), Kind::Text, 0),
            ("READY".into(), Kind::Number, 0),
            ("PEERS".into(), Kind::Number, 0),
            (mark("IN/S", Column::In), Kind::Number, 7),
            (mark("OUT/S", Column::Out), Kind::Number, 7),
            (mark("BYTES-IN/S", Column::Bytes), Kind::Number, 11),
            (mark("BYTES-OUT/S", Column::Bytes), Kind::Number, 12),
            (mark("DROPS/S", Column::Drops), Kind::Number, 8),
        ]);
        for (link, increase) in self.sorted_links() {
            let per_second = |counter: fn(&LinkSnapshot) -> u64, show: fn(u64, &Increase) -> String| match (
                increase,
                self.increase,
            ) {
                (Some(link), Some(increase)) => show(counter(link), increase),
                _ => "-".into(),
            };
            let messages = |counter| per_second(counter, |count, increase| rate(count, increase.time));
            let volume = |counter| {
                per_second(counter, |count, increase| bytes(self::per_second(count, increase.time)))
            };
            table.row([
                link.name.clone(),
                if link.ready { "yes" } else { "no" }.into(),
                link.peers.len().to_string(),
                messages(|link| link.messages_in),
                messages(|link| link.messages_out),
                volume(|link| link.bytes_in),
                volume(|link| link.bytes_out),
                messages(drops),
            ]);
        }
        table
    }

    /// Returns the links with their increase. Links with equal values are in the order of the configuration.
    fn sorted_links(&self) -> Vec<(&LinkSnapshot, Option<&LinkSnapshot>)> {
        let increases = self.increase.map_or(&[][..], |increase| &increase.counts.links).iter().map(Some);
        let increases = increases.chain(std::iter::repeat(None));
        let mut links: Vec<_> = self.snapshot.links.iter().zip(increases).collect();
        let Some(order) = self.order else { return links };
        let key = |increase: Option<&LinkSnapshot>| {
            increase.map(|link| match order.column {
                Column::Link => 0,
                Column::In => link.messages_in,
                Column::Out => link.messages_out,
                Column::Bytes => link.bytes_in.saturating_add(link.bytes_out),
                Column::Drops => drops(link),
            })
        };
        match (order.column, order.reversed) {
            (Column::Link, false) => links.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name)),
            (Column::Link, true) => links.sort_by(|(a, _), (b, _)| b.name.cmp(&a.name)),
            (_, false) => links.sort_by_key(|(_, increase)| Reverse(key(*increase))),
            (_, true) => links.sort_by_key(|(_, increase)| key(*increase)),
        }
        links
    }

    /// Returns the drops, denials and failures by reason, highest rate first.
    fn problems(&self) -> Table {
        let mut rows = problems(self.snapshot);
        let recent = self.increase.map(|increase| problems(&increase.counts)).unwrap_or_default();
        let recent = |link: &str, reason: &str| {
            let found = recent.iter().find(|(other, name, _)| *other == link && name == reason);
            found.map_or(0, |(_, _, count)| *count)
        };
        rows.retain(|(_, _, total)| *total > 0);
        rows.sort_by_key(|(link, reason, total)| Reverse((recent(link, reason), *total)));
        let mut table = Table::new([
            ("LINK", Kind::Text, 0),
            ("DROPS, DENIALS, FAILURES", Kind::Text, 32),
            ("RATE/S", Kind::Number, 7),
            ("TOTAL", Kind::Number, 8),
        ]);
        for (link, reason, total) in &rows {
            let rate = self.increase.map(|increase| rate(recent(link, reason), increase.time));
            let rate = rate.unwrap_or_else(|| "-".into());
            let link = if link.is_empty() { "-" } else { link };
            table.row([link, reason, &rate, &total.to_string()]);
        }
        table
    }
}

/// Returns the drops of a link.
fn drops(link: &LinkSnapshot) -> u64 {
    [link.not_carried, link.lost_to_chaos, link.malformed].into_iter().fold(link.dropped, u64::saturating_add)
}

/// Returns the drops and failures of links, and the denials of the bridge with an empty name of a link.
fn problems(snapshot: &Snapshot) -> Vec<(&str, String, u64)> {
    let denials = snapshot.refused.iter().map(|(reason, count)| ("", format!("denied: {reason}"), *count));
    let of_links = snapshot.links.iter().flat_map(|link| {
        link_problems(link).into_iter().map(|(reason, count)| (link.name.as_str(), reason, count))
    });
    of_links.chain(denials).collect()
}

/// A line of JSON: the state of the bridge, or the error if the state could not be read. If there is an earlier sample, it also
/// contains the rates per second.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    time: Option<String>,
    interval: Option<f64>,
    restarted: bool,
    error: Option<&'a str>,
    rates: Option<Json>,
    status: Option<&'a Document>,
}

pub(super) fn json<'a>(
    time: SystemTime,
    document: Result<&'a Document, &'a str>,
    increase: Option<&Increase>,
) -> Line<'a> {
    Line {
        time: rfc3339(time),
        interval: increase.map(|increase| increase.time.as_secs_f64()),
        restarted: increase.is_some_and(|increase| increase.restarted),
        error: document.err(),
        rates: increase.map(rates),
        status: document.ok(),
    }
}

fn rates(increase: &Increase) -> Json {
    let Increase { counts, time, .. } = increase;
    let rate = |count: u64| json_rate(count, *time);
    let by_reason = |counts: &std::collections::BTreeMap<String, u64>| {
        Json::Object(
            counts.iter().map(|(reason, count)| (reason.clone(), rate(*count).into())).collect::<Map<_, _>>(),
        )
    };
    let link = |link: &LinkSnapshot| {
        json!({
            "name": link.name,
            "messages_in": rate(link.messages_in),
            "messages_out": rate(link.messages_out),
            "bytes_in": per_second(link.bytes_in, *time),
            "bytes_out": per_second(link.bytes_out, *time),
            "malformed": rate(link.malformed),
            "dropped": rate(link.dropped),
            "not_carried": rate(link.not_carried),
            "altered_strings": rate(link.altered_strings),
            "overflows": rate(link.overflows),
            "lost_to_chaos": rate(link.lost_to_chaos),
            "failures": by_reason(&link.failures),
            "refused": by_reason(&link.refused),
        })
    };
    let flow =
        |flow: &FlowSnapshot| json!({"from": flow.from, "to": flow.to, "messages": rate(flow.messages)});
    let rules = counts.rules.iter().map(|rule| json!({"name": rule.name, "passed": rate(rule.passed)}));
    json!({
        "links": counts.links.iter().map(link).collect::<Json>(),
        "rules": rules.collect::<Json>(),
        "flows": counts.flows.iter().map(flow).collect::<Json>(),
        "refused": by_reason(&counts.refused),
        "answered_for": rate(counts.answered_for.total()),
        "unanswered": rate(counts.unanswered),
        "forgotten": rate(counts.forgotten),
        "latency": {
            "samples": samples(&counts.latency),
            "p50": seconds(&counts.latency, 50),
            "p99": seconds(&counts.latency, 99),
        },
    })
}

/// Returns an upper bound of a percentile in seconds, if there is one.
fn seconds(latency: &Latency, percent: u8) -> Option<f64> {
    match percentile(latency, percent)? {
        Percentile::AtMost(seconds) => Some(seconds),
        Percentile::MoreThan(_) => None,
    }
}
