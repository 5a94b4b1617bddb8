//! The parts of the output that may differ between a page and a run.

use std::sync::LazyLock;

use regex::Regex;

/// Patterns for output that differs between runs, and the text by which it is replaced before the comparison.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        // The time of a log line. The pages omit it.
        (r"^\d{4}-\d\d-\d\dT[\d:.]+Z +", ""),
        // The time of an event, and the first digits of the sender's id.
        (r"^\d\d:\d\d:\d\d\.\d{3}Z +[0-9a-f]{8} ", "CLOCK ID "),
        // The time of a message as JSON.
        (r#""time":"\d{4}-\d\d-\d\dT[\d:.]+Z""#, "\"time\":\"TIME\""),
        // Endpoint ids and request ids.
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
        // Fingerprints of the certificates that the tests create.
        (r"\bsha256:[0-9a-f]{64}\b", "sha256:FINGERPRINT"),
        // Pseudonyms of redacted strings.
        (r"\bs-[0-9a-f]{16}\b", "s-PSEUDONYM"),
        // Names of recordings.
        (r"\b\d{8}T\d{6}Z-[0-9a-f]{8}\b", "TIME-RUN"),
        // The end of a certificate's validity, and the directory of the session.
        (r"\bvalid until \d{4}-\d\d-\d\d\b", "valid until DATE"),
        (r#"(^|[ "])/[^ "]*/pki/"#, "$1/etc/zeek/pki/"),
        // Loopback addresses: each session has its own, which also replaces 0.0.0.0 in the page.
        (r"\b127(\.\d+){3}\b|\b0\.0\.0\.0\b", "127.0.0.1"),
        // Ports of connecting peers.
        (r"\b127\.0\.0\.1:\d{5}\b", "127.0.0.1:PORT"),
        // Durations.
        (r"\b\d+(\.\d+)? ?(ns|µs|ms|s)\b", "DURATION"),
        // The numbers of recorded frames and bytes. The order of the endpoint ids decides whether a handshake has one
        // more frame.
        (r#""(frames|connector|listener)":\d+"#, "\"$1\":N"),
        // The width of table columns.
        (r" {2,}", " "),
    ];
    rules.map(|(from, to)| (Regex::new(from).unwrap(), to)).into()
});

/// Replaces the parts of a line that may differ.
pub(crate) fn comparable(line: &str) -> String {
    let replaced =
        RULES.iter().fold(line.to_owned(), |line, (from, to)| from.replace_all(&line, *to).into_owned());
    replaced.trim_end().to_owned()
}

/// Returns whether the lines match the shown lines. `...` matches any number of lines.
pub(crate) fn matches_shown(shown: &[String], lines: &[String]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=lines.len()).any(|passed| matches_shown(rest, &lines[passed..]))
        }
        Some((first, rest)) => lines.first() == Some(first) && matches_shown(rest, &lines[1..]),
    }
}

#[test]
fn only_variable_parts_are_ignored() {
    let same = |one: &str, other: &str| comparable(one) == comparable(other);
    assert!(same(
        "INFO hello peer=30214fc6-0215-4eca-affa-06ece26be2e4 at 127.0.0.1:12345",
        "2026-11-28T14:39:46.283299Z  INFO hello peer=dc93b00a-d79e-5c20-a6b6-f360d043470a at 127.3.2.1:54321"
    ));
    assert!(same("up 1s  2.5ms", "up 20s 133µs"));
    assert!(same(r#"{"frames":11,"bytes":{"connector":1}}"#, r#"{"frames":12,"bytes":{"connector":24}}"#));
    for (one, other) in
        [("listening on 127.0.0.1:2151", "listening on 127.0.0.1:2152"), ("1 peer", "2 peers"), ("s", "m")]
    {
        assert!(!same(one, other), "{one} and {other}");
    }
}

#[test]
fn three_dots_match_any_lines() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(
        matches_shown(&lines("a ... d"), &lines("a b c d"))
            && matches_shown(&lines("a ... d"), &lines("a d"))
    );
    assert!(!matches_shown(&lines("a ... d"), &lines("a b c")) && !matches_shown(&lines("a"), &lines("a b")));
}
