//! The increase of the counters of a bridge between two snapshots.

use std::collections::BTreeMap;

use zeek_bridge::bridge::{FlowSnapshot, Latency, LinkSnapshot, Snapshot};

/// Returns the increase of a counter. If the counter is lower than before, it was reset and has counted from zero.
fn increase(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn each(before: &BTreeMap<String, u64>, now: &mut BTreeMap<String, u64>) {
    for (reason, count) in now {
        *count = increase(before.get(reason).copied().unwrap_or(0), *count);
    }
}

/// Returns `now` with the increase of each counter since `before`.
pub(crate) fn increases(before: &Snapshot, now: &Snapshot) -> Snapshot {
    let mut counts = now.clone();
    for link in &mut counts.links {
        // A link that was restarted has a new id, and its counters start from zero.
        if let Some(before) = before.links.iter().find(|before| before.id == link.id) {
            subtract(before, link);
        }
    }
    for rule in &mut counts.rules {
        if let Some(before) = before.rules.iter().find(|before| before.name == rule.name) {
            rule.passed = increase(before.passed, rule.passed);
            rule.invalid = increase(before.invalid, rule.invalid);
            each(&before.refused, &mut rule.refused);
        }
    }
    for flow in &mut counts.flows {
        let same = |other: &&FlowSnapshot| (&other.from, &other.to) == (&flow.from, &flow.to);
        let before = before.flows.iter().find(same).map_or(0, |before| before.messages);
        flow.messages = increase(before, flow.messages);
    }
    each(&before.refused, &mut counts.refused);
    let (before_for, now_for) = (&before.answered_for, &mut counts.answered_for);
    now_for.denied = increase(before_for.denied, now_for.denied);
    now_for.lost = increase(before_for.lost, now_for.lost);
    now_for.no_answer = increase(before_for.no_answer, now_for.no_answer);
    now_for.forgotten = increase(before_for.forgotten, now_for.forgotten);
    counts.unanswered = increase(before.unanswered, now.unanswered);
    counts.forgotten = increase(before.forgotten, now.forgotten);
    counts.latency = measured(&before.latency, &now.latency);
    counts
}

fn subtract(before: &LinkSnapshot, link: &mut LinkSnapshot) {
    let counters = [
        (before.messages_in, &mut link.messages_in),
        (before.messages_out, &mut link.messages_out),
        (before.bytes_in, &mut link.bytes_in),
        (before.bytes_out, &mut link.bytes_out),
        (before.malformed, &mut link.malformed),
        (before.dropped, &mut link.dropped),
        (before.not_carried, &mut link.not_carried),
        (before.altered_strings, &mut link.altered_strings),
        (before.overflows, &mut link.overflows),
        (before.lost_to_chaos, &mut link.lost_to_chaos),
    ];
    for (before, count) in counters {
        *count = increase(before, *count);
    }
    each(&before.failures, &mut link.failures);
    each(&before.refused, &mut link.refused);
}

/// Returns the latency of the messages since the previous sample. The histogram is the sum over all links, so it becomes smaller if
/// a link is removed. It then must not count from zero, as that would include all earlier messages of the remaining links.
fn measured(before: &Latency, now: &Latency) -> Latency {
    if before.bounds != now.bounds {
        return now.clone();
    }
    let old = before.counts.iter().copied().chain(std::iter::repeat(0));
    let counts = now.counts.iter().zip(old).map(|(now, before)| now.saturating_sub(before)).collect();
    Latency { bounds: now.bounds.clone(), counts, sum: (now.sum - before.sum).max(0.0) }
}
