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

/// Of the links with these names.
fn add_to(text: &str, links: &[&str], line: &str) -> String {
    links.iter().fold(text.to_owned(), |text, link| {
        text.replace(&format!("[link.{link}]\n"), &format!("[link.{link}]\n{line}\n"))
    })
}

#[test]
fn a_topic_that_can_return_is_told_with_its_way() {
    warned(
        CYCLE,
        "14: rule.all.to",
        "a message on topic /t from local goes to x; if the other side of x is connected to that of y, it returns over y \
         and goes to local again by this rule: local -> x -> y -> local.",
    );
    let events = format!("{CYCLE}events = [\"A::*\", \"B::c\"]");
    warned(&events, "14: rule.all.to", "event A::* on topic /t from local goes to x");
    let two_rules = CYCLE
        .replace("to = [\"local\", \"x\", \"y\"]", "to = [\"x\", \"y\"]")
        .replace("from = [\"local\", \"x\", \"y\"]", "from = \"local\"")
        + "[[rule]]\nname = \"back\"\nfrom = [\"x\", \"y\"]\nto = \"local\"\ntopics = \"/t/more\"\n";
    let warnings = warnings(&two_rules);
    assert!(
        warnings[0].contains("on topic /t/more from local goes to x")
            && warnings[0].contains("by the rule back:"),
        "{warnings:#?}"
    );
}

#[test]
fn a_topic_that_cannot_return_is_not_warned_about() {
    for text in [
        add_to(CYCLE, &["x", "y"], "group = \"pair\""),
        add_to(CYCLE, &["local", "x", "y"], "ttl = 1"),
        CYCLE
            .replace("to = [\"local\", \"x\", \"y\"]", "to = [\"x\", \"y\"]")
            .replace("\"local\", \"x\", \"y\"]", "\"local\"]"),
        // What goes out is another event than what comes in.
        CYCLE
            .replace("to = [\"local\", \"x\", \"y\"]", "to = [\"x\", \"y\"]")
            .replace("\"local\", \"x\", \"y\"]", "\"local\"]")
            + "events = \"A::*\"\n[[rule]]\nname = \"back\"\nfrom = [\"x\", \"y\"]\nto = \"local\"\ntopics = \"/t\"\nevents = [\"B::*\", \"Ax\"]\n",
    ] {
        assert_eq!(warnings(&text), [""; 0], "{text}");
    }
}

#[test]
fn a_group_of_one_connecting_link_is_told() {
    let text = add_to(QUIET, &["a"], "group = \"pear\"");
    warned(&text, "3: link.a.group", "no other link is in the group pear");
}
