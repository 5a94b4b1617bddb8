//! What is allowed, and yet told.

use super::{ConfigFile, FILE, MISSION};

fn warnings(text: &str) -> Vec<String> {
    let file = ConfigFile::parse(text, FILE).unwrap();
    let shown = |warning: &super::Mistake| {
        warning.to_string().strip_prefix("/etc/zb/bridge.toml:").unwrap().to_owned()
    };
    file.warnings().iter().map(shown).collect()
}

const MUTUAL: &str = "cafile = \"a\"\ncertificate = \"b\"\nkeyfile = \"c\"";

/// Two links and a rule, about which there is nothing to say.
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

#[track_caller]
fn warned(text: &str, start: &str, words: &str) {
    let warnings = warnings(text);
    let [warning] = warnings.as_slice() else { panic!("{start}: {words}: {warnings:#?}") };
    assert!(
        warning.starts_with(&format!("{start}: ")) && warning.contains(words),
        "{start}: {words}: {warning}"
    );
}

#[test]
fn nothing_is_said_where_there_is_nothing_to_say() {
    assert_eq!(warnings(QUIET), [""; 0]);
    let far = QUIET.replace("127.0.0.1:1", "agent.example:1").replacen("tls = \"off\"", MUTUAL, 1);
    assert_eq!(warnings(&far), [""; 0]);
}

#[test]
fn what_is_dangerous_is_told() {
    let add = |line: &str| QUIET.replacen("tls = \"off\"", &format!("tls = \"off\"\n{line}"), 1);
    for (text, start, words) in [
        (QUIET.replace("127.0.0.1:1", "10.0.0.1:1"), "4: link.a.tls", "without TLS"),
        (QUIET.replace("\"localhost:2\"", "[\"localhost:2\", \"[::]:3\"]"), "7: link.b.tls", "at [::]:3"),
        (QUIET.replacen("\"off\"", "\"anonymous\"", 1), "4: link.a.tls", "unauthenticated"),
        (add("chaos = { drop = 0.1 }"), "5: link.a.chaos", "faults are put into"),
        (
            add("limits = { connects_per_second = 3 }"),
            "5: link.a.limits.connects_per_second",
            "nobody connects",
        ),
        (QUIET.replace("localhost:2\"", "localhost:2\"\nretry = {}"), "7: link.b.retry", "does not connect"),
        (
            QUIET.replace("localhost:2", "127.0.0.1:1"),
            "3: link.a.connect",
            "where the link b of this bridge listens",
        ),
        (
            QUIET.replace("to = [\"a\", \"b\"]", "to = \"b\"").replacen("\"off\"", "\"off\"\nhub = true", 1),
            "5: link.a.hub",
            "its peers do not hear each other",
        ),
        (format!("{QUIET}passthrough = true"), "13: rule.r.passthrough", "unchecked"),
        (format!("[bridge]\nmetrics = \"0.0.0.0:1\"{QUIET}"), "2: bridge.metrics", "can read the metrics"),
        (
            format!(
                "{QUIET}[[rule]]\nname = \"s\"\nfrom = \"a\"\nto = [\"b\", \"a\"]\ntopics = [\"u\", \"t\"]"
            ),
            "13: rule.s.name",
            "the rule r above says the same",
        ),
        (
            QUIET
                .replacen("tls = \"off\"", MUTUAL, 1)
                .replace("from = \"a\"", "from = [\"a\", \"b\"]\nidentities = \"DNS:*\""),
            "13: rule.r.identities",
            "the peers of b show no certificate",
        ),
    ] {
        warned(&text, start, words);
    }
    warned(MISSION, "15: link.other.connect", "no rule is for this link");
}

#[test]
fn rules_that_differ_are_not_the_same() {
    for change in ["events = \"e\"", "nodes = \"n\"", "actions = { a = \"*\" }", "commands = true"] {
        let text = format!(
            "{QUIET}[[rule]]\nname = \"s\"\nfrom = \"a\"\nto = [\"b\", \"a\"]\ntopics = [\"u\", \"t\"]\n{change}\n"
        );
        assert_eq!(warnings(&text), [""; 0], "{change}");
    }
}
