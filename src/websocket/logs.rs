//! Subscriptions to logs.

use crate::data::Topic;

/// The prefix of the topics on which Zeek writes logs.
const LOGS: &[u8] = b"zeek/logs/";

/// Returns whether a subscription to this prefix receives logs: `zeek/logs/conn`, `zeek/`, or the empty topic.
///
/// The WebSocket API has no logs. With such a subscription, a Zeek whose cluster back end is Broker terminates when it
/// writes its first log. This affects versions before 8.0.7, and 8.1.
#[must_use]
pub fn receives_logs(prefix: &Topic) -> bool {
    let prefix = prefix.as_bytes();
    LOGS.starts_with(prefix) || prefix.starts_with(LOGS)
}
