//! What may differ between the page and a run of it.

use std::sync::LazyLock;

use regex::Regex;

/// What is never the same twice, and what it is compared as.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        // The time at which a line was logged, which the page leaves out.
        (r"^\d{4}-\d\d-\d\dT[\d:.]+Z +", ""),
        // When something came, and the first digits of the endpoint id from which.
        (r"^\d\d:\d\d:\d\d\.\d{3}Z +[0-9a-f]{8} ", "CLOCK ID "),
        // Endpoint ids, and ids of requests.
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
        // Certificates that are made for the day.
        (r"\bsha256:[0-9a-f]{64}\b", "sha256:FINGERPRINT"),
        // Pseudonyms of a recording's texts.
        (r"\bs-[0-9a-f]{16}\b", "s-PSEUDONYM"),
        // Names of recordings.
        (r"\b\d{8}T\d{6}Z-[0-9a-f]{8}\b", "TIME-RUN"),
        // Sessions have loopback addresses of their own; and 0.0.0.0 is not listened on here.
        (r"\b127(\.\d+){3}\b|\b0\.0\.0\.0\b", "127.0.0.1"),
        // Where a peer connects from.
        (r"\b127\.0\.0\.1:\d{5}\b", "127.0.0.1:PORT"),
        // How long something took.
        (r"\b\d+(\.\d+)? ?(ns|µs|ms|s)\b", "DURATION"),
        // How much was recorded: one handshake has a frame more than another, by whose id is smaller.
        (r#""(frames|connector|listener)":\d+"#, "\"$1\":N"),
        // How wide the columns of a table are.
        (r" {2,}", " "),
    ];
    rules.map(|(from, to)| (Regex::new(from).unwrap(), to)).into()
});

/// A line as it is compared.
pub(crate) fn comparable(line: &str) -> String {
    let replaced =
        RULES.iter().fold(line.to_owned(), |line, (from, to)| from.replace_all(&line, *to).into_owned());
    replaced.trim_end().to_owned()
}

/// Whether lines are those that are shown, where `...` may be any.
pub(crate) fn fits(shown: &[String], lines: &[String]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "..." => (0..=lines.len()).any(|passed| fits(rest, &lines[passed..])),
        Some((first, rest)) => lines.first() == Some(first) && fits(rest, &lines[1..]),
    }
}

#[test]
fn what_differs_by_nature_is_the_same_and_nothing_else() {
    let same = |one: &str, other: &str| comparable(one) == comparable(other);
    assert!(same(
        "INFO hello peer=30214fc6-0215-4eca-affa-06ece26be2e4 at 127.0.0.1:12345",
        "2026-11-28T14:39:46.283299Z  INFO hello peer=dc93b00a-d79e-5c20-a6b6-f360d043470a at 127.3.2.1:54321"
    ));
    assert!(same("up 1s  2.5ms", "up 20s 133µs"));
    assert!(same(r#"{"frames":11,"bytes":{"connector":1}}"#, r#"{"frames":12,"bytes":{"connector":24}}"#));
    for (one, other) in
        [("listening on 127.0.0.1:2151", "listening on 127.0.0.1:2150"), ("1 peer", "2 peers"), ("s", "m")]
    {
        assert!(!same(one, other), "{one} and {other}");
    }
}

#[test]
fn three_dots_are_any_lines() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a ... d"), &lines("a b c d")) && fits(&lines("a ... d"), &lines("a d")));
    assert!(!fits(&lines("a ... d"), &lines("a b c")) && !fits(&lines("a"), &lines("a b")));
}
