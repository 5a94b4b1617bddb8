//! Metrics in the text format of OpenMetrics.
//!
//! Label values are names of links and rules, reasons and causes. They are defined by the configuration or by this program,
//! so that a peer cannot create time series.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use zeek_bridge::bridge::{AnsweredFor, Latency, LinkSnapshot, Snapshot};

/// The media type of [`text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Encodes a snapshot.
pub(super) fn text(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zeek_bridge");
    registry.register_collector(Box::new(Scrape(snapshot)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape(Snapshot);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Snapshot {
            uptime,
            links,
            rules,
            nodes,
            refused,
            in_flight,
            answered_for,
            unanswered,
            forgotten,
            latency,
            // These are for people: they have too many different labels for metrics.
            flows: _,
            requests: _,
            busiest: _,
            recent: _,
        } = &self.0;
        let mut families = Families(encoder);
        families.build_info()?;
        families.uptime(*uptime)?;
        families.links(links)?;

        let by_link = links.iter().flat_map(|link| {
            let reason = |reason: &str| vec![("link", label(&link.name)), ("reason", reason.into())];
            [
                (reason("queue_full"), link.dropped),
                (reason("not_carried"), link.not_carried),
                (reason("chaos"), link.lost_to_chaos),
            ]
        });
        let refused = refused.iter().map(|(reason, count)| (vec![("reason", label(reason))], *count));
        let help = "Messages that were not forwarded. With the label link: messages to the peers of this link that were dropped.";
        families.counters("drops", help, by_link.chain(refused))?;

        let rule = |name: &str| vec![("rule", label(name))];
        let passed = rules.iter().map(|each| (rule(&each.name), each.passed));
        families.counters(
            "rule_passed",
            "Messages that a rule allowed, once for each link that they were forwarded to.",
            passed,
        )?;
        let invalid = rules.iter().map(|each| (rule(&each.name), each.invalid));
        let help = "Messages that matched a rule but were invalid.";
        families.counters("rule_invalid", help, invalid)?;
        let refused = rules.iter().flat_map(|each| {
            let labels = |reason: &str| vec![("rule", label(&each.name)), ("reason", label(reason))];
            each.refused.iter().map(move |(reason, count)| (labels(reason), *count))
        });
        let help = "Messages that were not forwarded, by the rule that was closest to allowing them.";
        families.counters("rule_refused", help, refused)?;

        families.gauge("nodes", "Nodes that are connected through the bridge.", nodes.len())?;
        families.gauge("requests_in_flight", "Requests without a response yet.", *in_flight)?;
        let AnsweredFor { denied, lost, no_answer, forgotten: dropped } = *answered_for;
        let answered_for =
            [("denied", denied), ("lost", lost), ("no_answer", no_answer), ("forgotten", dropped)];
        let answered_for = answered_for.map(|(reason, count)| (vec![("reason", reason.to_owned())], count));
        let help = "Failures that the bridge sent in place of a node: the rules denied the request, the connection of the node \
                    was lost, the node did not answer or was not connected, or the request was dropped.";
        families.counters("answered_for", help, answered_for)?;
        let help = "Responses of nodes that did not arrive in time and for which the bridge sent no failure.";
        families.counters("unanswered", help, [(Vec::new(), *unanswered)])?;
        let help =
            "Pending requests that were dropped because the requests of their owner used too much memory.";
        families.counters("forgotten", help, [(Vec::new(), *forgotten)])?;
        families.latency(latency)
    }
}

type Labels = Vec<(&'static str, String)>;

/// Writes metric families, one after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        metric_type: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, metric_type)
    }

    fn build_info(&mut self) -> fmt::Result {
        let openssl = if cfg!(feature = "openssl") { "true" } else { "false" };
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("openssl", openssl)];
        self.family("build", "The program.", MetricType::Info)?.encode_info(&labels)
    }

    fn uptime(&mut self, seconds: u64) -> fmt::Result {
        let help = "The time since the bridge was started.";
        self.0
            .encode_descriptor("uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&seconds)
    }

    fn gauge<V: TryInto<u64>>(&mut self, name: &str, help: &str, value: V) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    fn gauges<V: TryInto<u64>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        for (labels, value) in values {
            // The text format has signed numbers only.
            let value = value.try_into().ok().and_then(|value: u64| i64::try_from(value).ok());
            labelled(&mut family, &labels, |metric| metric.encode_gauge(&value.unwrap_or(i64::MAX)))?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (labels, value) in values {
            labelled(&mut family, &labels, |metric| {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
            })?;
        }
        Ok(())
    }

    fn links(&mut self, links: &[LinkSnapshot]) -> fmt::Result {
        let of = |link: &LinkSnapshot| vec![("link", label(&link.name))];
        let way = |link: &LinkSnapshot, way: &str| [of(link), vec![("direction", way.into())]].concat();

        self.gauges("peers", "Peers of a link.", links.iter().map(|link| (of(link), link.peers.len())))?;
        let sockets = links.iter().flat_map(|link| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for socket in link.peers.iter().filter_map(|peer| peer.socket.as_deref()) {
                let count = counts.entry(socket).or_default();
                *count = count.saturating_add(1);
            }
            let labels = move |socket: &str| [of(link), vec![("socket", label(socket))]].concat();
            counts.into_iter().map(move |(socket, count)| (labels(socket), count))
        });
        self.gauges("zeromq_peers", "Peers of a link that speak ZeroMQ, by their socket.", sockets)?;
        let help = "1 if a link has all its outgoing peerings and listens on all its addresses, otherwise 0.";
        self.gauges("link_ready", help, links.iter().map(|link| (of(link), u64::from(link.ready))))?;

        let expiry = links.iter().filter_map(|link| Some((of(link), link.certificate_expires?)));
        let help = "The time at which the certificate of a link expires, in seconds since 1970.";
        self.gauges("certificate_expiry_timestamp_seconds", help, expiry)?;

        let messages = links
            .iter()
            .flat_map(|link| [(way(link, "in"), link.messages_in), (way(link, "out"), link.messages_out)]);
        self.counters("messages", "Messages from (in) and to (out) the peers of a link.", messages)?;
        let bytes = links
            .iter()
            .flat_map(|link| [(way(link, "in"), link.bytes_in), (way(link, "out"), link.bytes_out)]);
        self.counters("bytes", "Bytes of frames from (in) and to (out) the peers of a link.", bytes)?;

        let fullest = links
            .iter()
            .map(|link| (of(link), link.peers.iter().map(|peer| peer.queued).max().unwrap_or_default()));
        self.gauges(
            "queue_fill_messages",
            "The number of messages in the fullest queue of a peer.",
            fullest,
        )?;
        let fullest = links.iter().map(|link| {
            (of(link), link.peers.iter().map(|peer| peer.queued_bytes).max().unwrap_or_default())
        });
        self.gauges("queue_fill_bytes", "The number of bytes in the fullest queue of a peer.", fullest)?;

        let overflows = links.iter().map(|link| (of(link), link.overflows));
        self.counters("overflows", "Peers that were disconnected because their queue was full.", overflows)?;
        let altered = links.iter().map(|link| (of(link), link.altered_strings));
        let help = "Strings that are not UTF-8 and were changed for WebSocket clients of a link.";
        self.counters("strings_altered", help, altered)?;
        let malformed = links.iter().map(|link| (of(link), link.malformed));
        self.counters("malformed", "Messages from peers that could not be decoded.", malformed)?;
        let failures = links.iter().flat_map(|link| {
            let cause = move |cause: &str| [of(link), vec![("cause", label(cause))]].concat();
            link.failures.iter().map(move |(name, count)| (cause(name), *count))
        });
        self.counters("handshake_failures", "Failed connection attempts and handshakes.", failures)
    }

    fn latency(&mut self, latency: &Latency) -> fmt::Result {
        let help = "The time from reading a message to passing it to the socket, for a sample of messages.";
        let count = latency.counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        // The encoder writes f64::MAX as +Inf.
        let bounds = latency.bounds.iter().copied().chain([f64::MAX]);
        let counts = latency.counts.iter().copied().chain(std::iter::repeat(0));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        self.0
            .encode_descriptor("relay_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(latency.sum, count, &buckets, None)
    }
}

/// Encodes a metric of a family. Without labels, there must be no empty label set.
fn labelled(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(family) } else { encode(&mut family.encode_family(labels)?) }
}

/// Escapes the value of a label, which the encoder writes between quotes unchanged.
fn label(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use zeek_bridge::bridge::{NodeSnapshot, PeerSnapshot, RuleSnapshot};

    use super::*;
    use crate::commands::run::tests::snapshot;

    /// Checks that each line is valid OpenMetrics and each name is declared before its samples. Returns the samples.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let body = text.strip_suffix("# EOF\n").unwrap();
        let mut types: Vec<(&str, &str)> = Vec::new();
        let mut samples = BTreeMap::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                match (words.next().unwrap(), words.next().unwrap(), words.next().unwrap()) {
                    ("TYPE", name, kind) => {
                        assert!(types.iter().all(|(other, _)| *other != name), "{name} twice");
                        types.push((name, kind));
                    }
                    ("HELP", _, help) => assert!(help.ends_with('.'), "{help}"),
                    ("UNIT", name, unit) => assert!(name.ends_with(unit)),
                    other => panic!("{other:?}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, kind) = types.last().unwrap();
            let suffixes: &[&str] = match *kind {
                "gauge" => &[""],
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                other => panic!("{other}"),
            };
            let labelled = sample.split('{').next().unwrap();
            let suffix = labelled.strip_prefix(name).unwrap_or_else(|| panic!("{sample} under {name}"));
            assert!(suffixes.contains(&suffix), "{sample} is not a {kind}");
            assert!(name.starts_with("zeek_bridge_"), "{name}");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{sample} twice");
        }
        samples
    }

    #[test]
    fn the_sockets_of_zeromq_peers_are_counted() {
        let mut with_sockets = snapshot();
        let peer = |socket: &str| PeerSnapshot { socket: Some(socket.to_owned()), ..PeerSnapshot::default() };
        with_sockets.links[0].peers.extend([peer("XPUB"), peer("XSUB"), peer("XPUB")]);
        let samples = parse(&text(with_sockets).unwrap());
        let count =
            |socket| samples[&format!(r#"zeek_bridge_zeromq_peers{{link="agents",socket="{socket}"}}"#)];
        assert_eq!([count("XPUB"), count("XSUB")], [2.0, 1.0]);
    }

    #[test]
    fn a_snapshot_is_encoded_as_metrics() {
        let samples = parse(&text(snapshot()).unwrap());
        for (sample, value) in [
            (r#"uptime_seconds"#, 3725.0),
            (r#"peers{link="agents"}"#, 2.0),
            (r#"peers{link="nodes"}"#, 0.0),
            (r#"link_ready{link="agents"}"#, 1.0),
            (r#"link_ready{link="nodes"}"#, 0.0),
            (r#"certificate_expiry_timestamp_seconds{link="nodes"}"#, 1_800_000_000.0),
            (r#"messages_total{link="agents",direction="in"}"#, 10.0),
            (r#"messages_total{link="agents",direction="out"}"#, 20.0),
            (r#"bytes_total{link="agents",direction="in"}"#, 1000.0),
            (r#"bytes_total{link="agents",direction="out"}"#, 2000.0),
            (r#"drops_total{link="agents",reason="queue_full"}"#, 5.0),
            (r#"drops_total{link="agents",reason="not_carried"}"#, 8.0),
            (r#"drops_total{link="agents",reason="chaos"}"#, 12.0),
            (r#"strings_altered_total{link="agents"}"#, 16.0),
            (r#"drops_total{reason="no-rule"}"#, 7.0),
            (r#"queue_fill_messages{link="agents"}"#, 9.0),
            (r#"queue_fill_bytes{link="agents"}"#, 4096.0),
            (r#"overflows_total{link="agents"}"#, 1.0),
            (r#"malformed_total{link="agents"}"#, 3.0),
            (r#"handshake_failures_total{link="nodes",cause="connect"}"#, 4.0),
            (r#"rule_passed_total{rule="hellos"}"#, 11.0),
            (r#"rule_invalid_total{rule="hellos"}"#, 2.0),
            (r#"rule_refused_total{rule="hellos",reason="invalid_node_api"}"#, 2.0),
            (r#"rule_refused_total{rule="hellos",reason="node_not_allowed"}"#, 1.0),
            (r#"nodes"#, 1.0),
            (r#"requests_in_flight"#, 6.0),
            (r#"answered_for_total{reason="denied"}"#, 1.0),
            (r#"answered_for_total{reason="lost"}"#, 2.0),
            (r#"answered_for_total{reason="no_answer"}"#, 4.0),
            (r#"answered_for_total{reason="forgotten"}"#, 1.0),
            (r#"unanswered_total"#, 14.0),
            (r#"forgotten_total"#, 15.0),
            (r#"relay_latency_seconds_bucket{le="0.001"}"#, 3.0),
            (r#"relay_latency_seconds_bucket{le="0.01"}"#, 5.0),
            (r#"relay_latency_seconds_bucket{le="+Inf"}"#, 6.0),
            (r#"relay_latency_seconds_count"#, 6.0),
            (r#"relay_latency_seconds_sum"#, 0.5),
        ] {
            assert_eq!(samples.get(&format!("zeek_bridge_{sample}")), Some(&value), "{sample}: {samples:#?}");
        }
        assert!(samples.keys().any(|sample| sample.starts_with("zeek_bridge_build_info{version=\"")));
        let expiries = samples.keys().filter(|sample| sample.contains("certificate_expiry"));
        assert_eq!(expiries.count(), 1, "{samples:#?}");
    }

    #[test]
    fn an_empty_bridge_has_metrics() {
        let samples = parse(&text(Snapshot::default()).unwrap());
        assert_eq!(samples["zeek_bridge_relay_latency_seconds_bucket{le=\"+Inf\"}"], 0.0);
    }

    #[test]
    fn peers_cannot_create_series_and_names_are_escaped() {
        let names = |snapshot: Snapshot| parse(&text(snapshot).unwrap()).into_keys().collect::<BTreeSet<_>>();
        let before = snapshot();
        let mut after = before.clone();
        for id in 0..100 {
            after.links[0].peers.push(PeerSnapshot { id: id.to_string(), ..PeerSnapshot::default() });
            after.nodes.push(NodeSnapshot { name: id.to_string(), ..NodeSnapshot::default() });
        }
        assert_eq!(names(before.clone()), names(after));
        let mut hostile = before;
        hostile.rules = vec![RuleSnapshot { name: "a\"} 1\nb\\".into(), ..RuleSnapshot::default() }];
        let expected = r#"zeek_bridge_rule_passed_total{rule="a\"} 1\nb\\"}"#;
        assert!(names(hostile).contains(expected));
    }
}
