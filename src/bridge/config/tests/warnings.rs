//! Tests of the warnings.

use super::{ConfigFile, FILE, LINKS_FOR_DEFAULT_RULES};

pub(super) fn warnings(text: &str) -> Vec<String> {
    let file = ConfigFile::parse(text, FILE).unwrap();
    let shown = |warning: &super::Diagnostic| {
        warning.to_string().strip_prefix("/etc/zb/bridge.toml:").unwrap().to_owned()
    };
    file.warnings().iter().map(shown).collect()
}

const MUTUAL: &str = "cafile = \"a\"\ncertificate = \"b\"\nkeyfile = \"c\"";

/// Two links and a rule without warnings.
const QUIET: &str = r#"
[link.a]
connect = "127.0.0.1:1"
tls = "off"
[link.b]
listen = "localhost:2"
tls = "off"
[[rule]]
name = "r"
from = "a"
to = ["a", "b"]
topics = ["t", "u"]
"#;

const FROM_A: &str = "[[rule]]\nname = \"s\"\nfrom = \"a\"\nto = \"b\"\ntopics = \"v\"\n";

#[track_caller]
fn assert_warns(text: &str, start: &str, expected: &str) {
    let warnings = warnings(text);
    let [warning] = warnings.as_slice() else { panic!("{start}: {expected}: {warnings:#?}") };
    assert!(
        warning.starts_with(&format!("{start}: ")) && warning.contains(expected),
        "{start}: {expected}: {warning}"
    );
}

#[test]
fn a_harmless_configuration_has_no_warnings() {
    assert_eq!(warnings(QUIET), [""; 0]);
    let far = QUIET.replace("127.0.0.1:1", "agent.example:1").replacen("tls = \"off\"", MUTUAL, 1);
    assert_eq!(warnings(&far), [""; 0]);
    assert_eq!(warnings(&QUIET.replacen("\"off\"", "\"anonymous\"", 1)), [""; 0]);
}

#[test]
fn dangerous_settings_cause_a_warning() {
    let add = |line: &str| QUIET.replacen("tls = \"off\"", &format!("tls = \"off\"\n{line}"), 1);
    for (text, start, expected) in [
        (QUIET.replace("127.0.0.1:1", "10.0.0.1:1"), "4: link.a.tls", "no TLS at 10.0.0.1:1"),
        (
            QUIET.replace("\"localhost:2\"", "[\"localhost:2\", \"[::]:3\"]"),
            "7: link.b.tls",
            "no TLS at [::]:3",
        ),
        (
            QUIET.replace("127.0.0.1:1", "10.0.0.1:1").replacen("\"off\"", "\"anonymous\"", 1),
            "4: link.a.tls",
            "anonymous TLS at 10.0.0.1:1 is encrypted, but unauthenticated",
        ),
        (add("chaos = { drop = 0.1 }"), "5: link.a.chaos", "faults are injected"),
        (
            add("limits = { connects_per_second = 3 }"),
            "5: link.a.limits.connects_per_second",
            "accepts no connections",
        ),
        (QUIET.replace("localhost:2\"", "localhost:2\"\nretry = {}"), "7: link.b.retry", "never connects"),
        (
            QUIET.replace("localhost:2", "127.0.0.1:1"),
            "3: link.a.connect",
            "link b of this bridge listens on 127.0.0.1:1",
        ),
        (
            QUIET.replace("to = [\"a\", \"b\"]", "to = \"b\"").replacen("\"off\"", "\"off\"\nhub = true", 1),
            "5: link.a.hub",
            "its peers do not receive each other's messages",
        ),
        (format!("{QUIET}passthrough = true"), "13: rule.r.passthrough", "unchecked"),
        (format!("[bridge]\nhttp = \"0.0.0.0:1\"{QUIET}"), "2: bridge.http", "can read the metrics"),
        (
            format!(
                "{QUIET}[[rule]]\nname = \"s\"\nfrom = \"a\"\nto = [\"b\", \"a\"]\ntopics = [\"u\", \"t\"]"
            ),
            "13: rule.s.name",
            "rule r above is the same",
        ),
        (
            QUIET
                .replacen("tls = \"off\"", MUTUAL, 1)
                .replace("from = \"a\"", "from = [\"a\", \"b\"]\nidentities = \"DNS:*\""),
            "13: rule.r.identities",
            "the peers of b present no certificate",
        ),
        (
            QUIET.replace("[\"t\", \"u\"]", "[\"t/*\"]"),
            "12: rule.r.topics",
            "`*` in t/* is an ordinary character",
        ),
        (
            QUIET
                .replacen("connect = \"127.0.0.1:1\"\ntls = \"off\"", "listen = \"ws://127.0.0.1:1\"", 1)
                .replacen("tls = \"off\"", MUTUAL, 1)
                .replace("from = \"a\"", "from = [\"a\", \"b\"]\nidentities = \"DNS:*\""),
            "12: rule.r.identities",
            "the peers of a present no certificate and no token",
        ),
        (
            QUIET
                .replacen(
                    "connect = \"127.0.0.1:1\"\ntls = \"off\"",
                    "listen = \"ws://127.0.0.1:1\"\ntoken = [{ name = \"soar\", file = \"f\" }]",
                    1,
                )
                .replace("from = \"a\"", "from = \"a\"\nidentities = [\"token:so*\", \"token:siem\"]"),
            "11: rule.r.identities",
            "no link in from has a token that token:siem matches",
        ),
        (
            format!("[link.c]\nconnect = \"ws://127.0.0.1:9\"\n{QUIET}")
                .replace("from = \"a\"", "from = \"c\"")
                + FROM_A,
            "13: rule.r.to",
            "if c and a lead to the same cluster",
        ),
    ] {
        assert_warns(&text, start, expected);
    }
    let accepted = format!("[link.c]\nconnect = \"ws://127.0.0.1:9\"\nloop = \"accepted\"\n{QUIET}");
    assert_eq!(warnings(&(accepted.replace("from = \"a\"", "from = \"c\"") + FROM_A)), [""; 0]);
    assert_warns(LINKS_FOR_DEFAULT_RULES, "15: link.other.connect", "no rule uses this link");
}

#[test]
fn different_rules_cause_no_warning() {
    for change in ["events = \"e\"", "nodes = \"n\"", "actions = { a = \"*\" }", "commands = true"] {
        let text = format!(
            "{QUIET}[[rule]]\nname = \"s\"\nfrom = \"a\"\nto = [\"b\", \"a\"]\ntopics = [\"u\", \"t\"]\n{change}\n"
        );
        assert_eq!(warnings(&text), [""; 0], "{change}");
    }
}

/// Three links, and one rule from all to all.
const CYCLE: &str = r#"
[link.local]
listen = "127.0.0.1:1"
tls = "off"
[link.x]
listen = "127.0.0.1:2"
tls = "off"
[link.y]
listen = "127.0.0.1:3"
tls = "off"
[[rule]]
name = "all"
from = ["local", "x", "y"]
to = ["local", "x", "y"]
topics = ["/t"]
"#;

/// Adds a line to the links with these names.
fn add_to(text: &str, links: &[&str], line: &str) -> String {
    links.iter().fold(text.to_owned(), |text, link| {
        text.replace(&format!("[link.{link}]\n"), &format!("[link.{link}]\n{line}\n"))
    })
}

#[test]
fn a_topic_whose_messages_can_return_is_reported_with_the_path() {
    assert_warns(
        CYCLE,
        "14: rule.all.to",
        "a message on topic /t from local is sent to x; if the other side of x is connected to that of y, it returns over y \
         and is sent to local by this rule: local -> x -> y -> local;",
    );
    let events = format!("{CYCLE}events = [\"A::*\", \"B::c\"]");
    assert_warns(&events, "14: rule.all.to", "event A::* on topic /t from local is sent to x");
    let two_rules = CYCLE
        .replace("to = [\"local\", \"x\", \"y\"]", "to = [\"x\", \"y\"]")
        .replace("from = [\"local\", \"x\", \"y\"]", "from = \"local\"")
        + "[[rule]]\nname = \"back\"\nfrom = [\"x\", \"y\"]\nto = \"local\"\ntopics = \"/t/more\"\n";
    let warnings = warnings(&two_rules);
    assert!(
        warnings[0].contains("on topic /t/more from local is sent to x")
            && warnings[0].contains("by rule back:"),
        "{warnings:#?}"
    );
}

#[test]
fn a_ttl_is_suggested_only_if_the_protocol_has_one() {
    let ends_with = |text: &str, hint: &str| {
        let warnings = warnings(text);
        let cycle = warnings.iter().find(|warning| warning.contains("from local is sent to x"));
        assert!(cycle.is_some_and(|warning| warning.ends_with(hint)), "{warnings:#?}");
    };
    ends_with(CYCLE, "set ttl = 1 in local");
    let without_ttl =
        CYCLE.replace("listen = \"127.0.0.1:2\"\ntls = \"off\"", "listen = \"ws://127.0.0.1:2\"");
    ends_with(&without_ttl, "set the same group in both");
}

#[test]
fn a_topic_whose_messages_cannot_return_causes_no_warning() {
    for text in [
        add_to(CYCLE, &["x", "y"], "group = \"pair\""),
        add_to(CYCLE, &["local", "x", "y"], "ttl = 1"),
        CYCLE
            .replace("to = [\"local\", \"x\", \"y\"]", "to = [\"x\", \"y\"]")
            .replace("\"local\", \"x\", \"y\"]", "\"local\"]"),
        // No event matches both rules.
        CYCLE
            .replace("to = [\"local\", \"x\", \"y\"]", "to = [\"x\", \"y\"]")
            .replace("\"local\", \"x\", \"y\"]", "\"local\"]")
            + "events = \"A::*\"\n[[rule]]\nname = \"back\"\nfrom = [\"x\", \"y\"]\nto = \"local\"\ntopics = \"/t\"\nevents = [\"B::*\", \"Ax\"]\n",
    ] {
        assert_eq!(warnings(&text), [""; 0], "{text}");
    }
}

#[test]
fn a_group_with_a_single_link_that_connects_causes_a_warning() {
    let text = add_to(QUIET, &["a"], "group = \"pear\"");
    assert_warns(&text, "3: link.a.group", "no other link is in group pear");
}
