//! The increase of the counters of a bridge between two samples.

use std::time::{Duration, Instant};

use zeek_bridge::bridge::Snapshot;

use crate::commands::run::Document;
use crate::increase::increases;

/// The state of a bridge, and when it was read.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) document: Document,
    pub(super) received: Instant,
}

/// The increase since the previous sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Increase {
    /// The increase of each counter. Everything that is not a counter is from the last sample.
    pub(super) counts: Snapshot,
    /// The time in which the counters increased.
    pub(super) time: Duration,
    /// Whether the bridge was restarted. The counts between the previous sample and the end of the old process are lost.
    pub(super) restarted: bool,
}

impl Increase {
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let restarted = before.document.started != now.document.started;
        let elapsed = now.received.saturating_duration_since(before.received);
        let nothing = Snapshot::default();
        let (old, time) = if restarted {
            // The uptime is rounded down to seconds.
            let up = Duration::from_secs(now.document.snapshot.uptime.saturating_add(1));
            (&nothing, elapsed.min(up))
        } else {
            (&before.document.snapshot, elapsed)
        };
        Increase { counts: increases(old, &now.document.snapshot), time, restarted }
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::bridge::FlowSnapshot;

    use super::*;
    use crate::commands::run::tests::snapshot;

    fn sample(snapshot: Snapshot, start: Instant, millis: u64) -> Sample {
        let document =
            Document { started: "2026-01-01T00:00:00.000Z".into(), version: "1.0.0".into(), snapshot };
        Sample { document, received: start + Duration::from_millis(millis) }
    }

    /// Returns two samples: the snapshot of the tests, and a snapshot two seconds later in which all counters are higher.
    fn samples() -> (Sample, Sample) {
        let start = Instant::now();
        let mut later = snapshot();
        later.uptime += 2;
        later.links[0].messages_in += 100;
        later.links[0].bytes_out += 7;
        later.links[0].dropped += 3;
        later.links[0].not_carried += 4;
        later.links[0].altered_strings += 6;
        later.links[0].refused.insert("no-rule".into(), 9);
        later.links[1].failures.insert("tls".into(), 2);
        later.flows[0].messages += 8;
        later.flows.insert(0, FlowSnapshot { from: "agents".into(), to: "nodes".into(), messages: 1 });
        later.rules[0].refused.insert("invalid_node_api".into(), 6);
        later.refused.insert("no-rule".into(), 9);
        later.refused.insert("no-link".into(), 1);
        later.latency.counts[1] += 5;
        later.answered_for.lost += 1;
        (sample(snapshot(), start, 0), sample(later, start, 2000))
    }

    #[test]
    fn an_increase_is_the_difference_of_two_samples() {
        let (before, now) = samples();
        let Increase { counts, time, restarted } = Increase::between(&before, &now);
        assert_eq!((time, restarted), (Duration::from_secs(2), false));
        let [agents, nodes] = &counts.links[..] else { panic!("{counts:?}") };
        assert_eq!((agents.messages_in, agents.messages_out, agents.bytes_out), (100, 0, 7));
        assert_eq!((agents.dropped, agents.malformed, agents.lost_to_chaos), (3, 0, 0));
        assert_eq!((agents.not_carried, agents.altered_strings), (4, 6));
        assert_eq!(nodes.failures, [("connect".into(), 0), ("tls".into(), 2)].into());
        assert_eq!(agents.refused, [("no-rule".into(), 2)].into());
        assert_eq!(counts.flows.iter().map(|flow| flow.messages).collect::<Vec<_>>(), [1, 8]);
        assert_eq!(counts.refused, [("no-link".into(), 1), ("no-rule".into(), 2)].into());
        assert_eq!(counts.rules[0].refused["invalid_node_api"], 4);
        assert_eq!(counts.latency.counts, [0, 5, 0]);
        assert_eq!((counts.answered_for.total(), counts.unanswered, counts.in_flight), (1, 0, 6));
    }

    #[test]
    fn after_a_restart_counters_count_from_zero_even_if_they_are_larger() {
        let (before, mut now) = samples();
        now.document.started = "2026-01-01T00:00:01.000Z".into();
        now.document.snapshot.uptime = 0;
        let increase = Increase::between(&before, &now);
        assert!(increase.restarted);
        assert_eq!(increase.counts, now.document.snapshot);
        // The new process has counted for at most a second.
        assert_eq!(increase.time, Duration::from_secs(1));
    }

    #[test]
    fn a_link_that_was_started_again_counts_from_zero() {
        let (before, mut now) = samples();
        now.document.snapshot.links[0].id = "own-3".into();
        let increase = Increase::between(&before, &now);
        assert!(!increase.restarted);
        assert_eq!(increase.counts.links[0], now.document.snapshot.links[0]);
        assert_eq!(increase.counts.links[1].failures["connect"], 0);
    }

    #[test]
    fn a_counter_that_falls_counts_from_zero() {
        let (before, mut now) = samples();
        now.document.snapshot.links[0].messages_in = 4;
        now.document.snapshot.latency.counts[0] = 1;
        let Increase { counts, .. } = Increase::between(&before, &now);
        assert_eq!(counts.links[0].messages_in, 4);
        assert_eq!(counts.latency.counts, [0, 5, 0]);
    }
}
