//! Every error has its line and its hint, and all errors are reported at once.

use super::errors;

/// Two valid links. The first line is empty.
const LINKS: &str = r#"
[link.agents]
connect = "127.0.0.1:2151"
tls = "off"
[link.nodes]
listen = "127.0.0.1:2152"
tls = "off"
"#;

pub(super) const RULES: &str = r#"
[[rule]]
name = "one"
from = "other"
to = "agents"
topics = ["a", "b"]
actions = { get_id_value = "*" }
"#;

/// A valid rule for the links above. It begins in line 8.
const RULE: &str = "[[rule]]\nname = \"r\"\nfrom = \"nodes\"\nto = \"agents\"\ntopics = \"t\"\n";

/// Asserts that there is exactly one error, at this line and key, that contains the expected text.
#[track_caller]
fn assert_reports(text: &str, start: &str, expected: &str) {
    let errors = errors(text);
    let [error] = errors.as_slice() else { panic!("{start}: {expected}: {errors:#?}") };
    assert!(
        error.starts_with(&format!("{start}: ")) && error.contains(expected),
        "{start}: {expected}: {error}"
    );
}

#[test]
fn the_configuration_without_changes_is_valid() {
    assert_eq!(errors(&format!("{LINKS}{RULE}")), [""; 0]);
}

#[test]
fn errors_in_the_bridge_table_are_reported() {
    let rest = format!("{LINKS}{RULE}");
    for (line, key, expected) in [
        ("log = \"txt\"", "log", "did you mean `text`?"),
        ("log = 1", "log", "expected \"text\" or \"json\", found a number"),
        ("http = \"localhost:1\"", "http", "use an IP address with a port"),
        ("http = 9747", "http", "found a number"),
        ("http = \"\"", "http", "the value is empty"),
        (
            "drain = 10",
            "drain",
            "expected a duration with its unit, such as \"10s\" or \"50ms\", from 0s to 1h, found a number",
        ),
        ("drain = \"10\"", "drain", "invalid duration \"10\""),
        ("drain = \"2h\"", "drain", "out of range"),
        (
            "answer_in_flight = \"yes\"",
            "answer_in_flight",
            "expected true or false (without quotes), found a string",
        ),
        ("status = \"C:\\run\"", "status", "status: control character in \"C:\\run\""),
        ("metric = \"off\"", "metric", "unknown key; did you mean `metrics`?"),
        (
            "color = \"red\"",
            "color",
            "use `log`, `http`, `metrics`, `http_token`, `http_tls`, `status`, `drain`, `answer_in_flight` or `answer_denied`",
        ),
        ("answer_denied = 1", "answer_denied", "expected true or false (without quotes), found a number"),
        ("\"a\\nb\" = 1", "\"a\\nb\"", "unknown key"),
    ] {
        assert_reports(&format!("[bridge]\n{line}\n{rest}"), &format!("2: bridge.{key}"), expected);
    }
    let long = format!("[bridge]\nstatus = \"/{}\"\n{rest}", "x".repeat(92));
    assert_reports(&long, "2: bridge.status", "the path has 93 bytes; the maximum is 92");
    assert_reports(&format!("bridge = 1\n{rest}"), "1: bridge", "write [bridge]");
    assert_reports(&format!("[brige]\n{rest}"), "1: brige", "did you mean `bridge`?");
    assert_reports(
        &format!("[bridge]\nhttp = \"127.0.0.1:2152\"\n{rest}"),
        "2: bridge.http",
        "conflicts with 127.0.0.1:2152, on which nodes listens; use another port, or \"off\"",
    );
}

#[test]
fn errors_in_links_are_reported() {
    for (line, key, expected) in [
        ("faces = \"zeek\"", "faces", "use `agents` or `nodes`"),
        ("listen = \"0.0.0.0:1\"", "listen", "the link has both connect and listen"),
        ("hub = \"yes\"", "hub", "expected true or false"),
        ("retry = \"1s\"", "retry", "expected a table, found a string; write { first"),
        ("retry = { first = \"0s\" }", "retry.first", "out of range"),
        ("retry = { cap = \"100ms\" }", "retry.cap", "the maximum wait is shorter than the first, 1s"),
        ("retry = { last = \"1s\" }", "retry.last", "unknown key"),
        ("when_full = \"drop\"", "when_full", "use `drop-oldest`, `drop-newest`, `disconnect` or `block`"),
        ("when_full = \"drop_oldest\"", "when_full", "did you mean `drop-oldest`?"),
        ("limits = 3", "limits", "write [link.NAME.limits]"),
        ("limits.peers = 0", "limits.peers", "0 is out of range; use an integer from 1"),
        ("limits.peers = -3", "limits.peers", "-3 is out of range"),
        ("limits.peers = 1.5", "limits.peers", "expected an integer"),
        ("limits.peers = 99999999999999999999999", "limits.peers", "out of range"),
        ("limits.connects_per_second = 0", "limits.connects_per_second", "out of range"),
        (
            "limits.frame = \"32 miles\"",
            "limits.frame",
            "invalid size \"32 miles\"; use a size such as \"32MiB\"",
        ),
        ("limits.frame = \"3GiB\"", "limits.frame", "out of range; use a size"),
        ("limits.frame = 10", "limits.frame", "from 1.0 KiB to 2.0 GiB"),
        ("limits.frame = true", "limits.frame", "found a boolean"),
        ("limits.depth = 129", "limits.depth", "from 1 to 128"),
        ("limits.queue = 0", "limits.queue", "out of range"),
        ("limits.queue_bytes = 0", "limits.queue_bytes", "out of range"),
        ("limits.quue = 1", "limits.quue", "did you mean `queue`?"),
        ("chaos.drop = 1.1", "chaos.drop", "1.1 is out of range; use a fraction from 0.0 to 1.0"),
        ("chaos.drop = -1", "chaos.drop", "-1 is out of range"),
        ("chaos.duplicate = nan", "chaos.duplicate", "nan is out of range"),
        ("chaos.corrupt = \"1%\"", "chaos.corrupt", "found a string"),
        ("chaos.delay = \"2h\"", "chaos.delay", "out of range"),
        ("chaos.lose = 0.5", "chaos.lose", "unknown key"),
        ("ca-file = \"a\"", "ca-file", "did you mean `cafile`?"),
        ("allow = \"DNS:*\"", "allow", "the peers of this link present no certificate and no token"),
    ] {
        let text = LINKS.replacen("tls = \"off\"", &format!("tls = \"off\"\n{line}"), 1);
        assert_reports(&format!("{text}{RULE}"), &format!("5: link.agents.{key}"), expected);
    }
}

#[test]
fn errors_in_the_addresses_of_a_link_are_reported() {
    for (line, expected) in [
        ("connect = []", "the list is empty"),
        ("connect = 2151", "expected \"HOST:PORT\", such as \"10.0.0.5:2151\", or a list of these"),
        ("connect = \"agent\"", "there is no port; give HOST:PORT"),
        ("connect = \"agent:0\"", "port 0 is not valid for a connection"),
        ("connect = \"::1:2151\"", "an IPv6 address must be in brackets"),
        ("connect = [\"agent:1\", 2]", "found a number"),
        ("connect = [\"agent:1\", \"agent:1\"]", "duplicate element"),
        ("connect = [\"agent:1\", \"agent:2\"]\nlimits.peers = 1", "2 addresses, but limits.peers is 1"),
    ] {
        let text = LINKS.replacen("connect = \"127.0.0.1:2151\"", line, 1);
        assert_reports(&format!("{text}{RULE}"), "3: link.agents.connect", expected);
    }
    let nowhere = LINKS.replacen("connect = \"127.0.0.1:2151\"\n", "", 1);
    assert_reports(
        &format!("{nowhere}{RULE}"),
        "2: link.agents.connect",
        "the link has neither connect nor listen; set",
    );
    for (address, expected) in [
        ("127.0.0.1:2152", "127.0.0.1:2152 conflicts with 127.0.0.1:2152, on which agents listens"),
        ("0.0.0.0:2152", "127.0.0.1:2152 conflicts with 0.0.0.0:2152, on which agents listens"),
    ] {
        let text = LINKS.replacen("connect = \"127.0.0.1:2151\"", &format!("listen = \"{address}\""), 1);
        assert_reports(&format!("{text}{RULE}"), "6: link.nodes.listen", expected);
    }
    // The file does not set the address, so the error is reported at the link.
    let taken = LINKS.replacen("127.0.0.1:2152", "0.0.0.0:9747", 1);
    assert_reports(&format!("{taken}{RULE}"), "6: link.nodes.listen", "use another port here, or for http");
    let twice = LINKS.replacen("\"127.0.0.1:2152\"", "[\"127.0.0.1:2152\", \"0.0.0.0:2152\"]", 1);
    assert_reports(
        &format!("{twice}{RULE}"),
        "6: link.nodes.listen",
        "conflicts with 127.0.0.1:2152, on which this link listens",
    );
    // An error in a list has the line of the element.
    let lines = LINKS.replacen("\"127.0.0.1:2151\"", "[\n\"a:1\",\n\"b\"\n]", 1);
    assert_reports(&format!("{lines}{RULE}"), "5: link.agents.connect", "there is no port");
}

#[test]
fn errors_in_tls_settings_are_reported() {
    let tls = |keys: &str| format!("{}{RULE}", LINKS.replacen("tls = \"off\"", keys, 1));
    for (keys, start, expected) in [
        ("", "2: link.agents.tls", "the link does not choose its TLS"),
        ("tls_backend = \"rustls\"", "2: link.agents.tls", "set tls = \"anonymous\""),
        ("tls = \"on\"", "4: link.agents.tls", "use `off`, `anonymous` or `mutual`"),
        ("tls = \"of\"", "4: link.agents.tls", "did you mean `off`?"),
        ("tls = false", "4: link.agents.tls", "expected \"off\" or \"anonymous\" or \"mutual\""),
        ("tls = \"off\"\ncafile = \"a\"", "5: link.agents.cafile", "not valid with tls = \"off\""),
        (
            "tls = \"off\"\ntls_backend = \"auto\"",
            "5: link.agents.tls_backend",
            "not valid with tls = \"off\"",
        ),
        (
            "tls = \"anonymous\"\nkeyfile = \"a\"",
            "5: link.agents.keyfile",
            "not valid with tls = \"anonymous\"",
        ),
        (
            "tls = \"anonymous\"\ntls_backend = \"rustls\"",
            "5: link.agents.tls_backend",
            "only OpenSSL supports anonymous TLS",
        ),
        (
            "tls_backend = \"gnutls\"\ntls = \"anonymous\"",
            "4: link.agents.tls_backend",
            "`rustls` or `openssl`",
        ),
        (
            "cafile = \"a\"\ncertificate = \"b\"",
            "2: link.agents.keyfile",
            "the key is missing; mutual TLS requires",
        ),
        ("certificate = \"a\"\nkeyfile = \"b\"", "2: link.agents.cafile", "cafile (or capath)"),
        (
            "capath = \"a\"\nkeyfile = \"b\"",
            "2: link.agents.certificate",
            "the key is missing; mutual TLS requires",
        ),
        (
            "cafile = \"\"\ncertificate = \"b\"\nkeyfile = \"c\"",
            "4: link.agents.cafile",
            "the value is empty",
        ),
        ("cafile = [\"a\"]\ncertificate = \"b\"\nkeyfile = \"c\"", "4: link.agents.cafile", "found a list"),
        (
            "cafile = \"a\"\ncertificate = \"b\"\nkeyfile = \"c\"\nallow = [\"CN=x\"]",
            "7: link.agents.allow",
            "use \"subject:CN=x\"",
        ),
        (
            "cafile = \"a\"\ncertificate = \"b\"\nkeyfile = \"c\"\nallow = []",
            "7: link.agents.allow",
            "is empty",
        ),
    ] {
        assert_reports(&tls(keys), start, expected);
    }
    assert_eq!(errors(&tls("tls = \"mutual\"")).len(), 3);
}

#[test]
fn errors_in_rules_are_reported() {
    let rule = |line: &str| format!("{LINKS}{RULE}{line}\n");
    for (line, key, expected) in [
        ("events = []", "events", "the list is empty, so nothing can match"),
        ("events = \"\"", "events", "the value is empty"),
        ("events = [\"a b\"]", "events", "white space in \"a b\""),
        ("nodes = 3", "nodes", "expected the name of a node"),
        ("nodes = \"a\"\nevents = \"other\"", "nodes", "only the events of Management::Node::API name nodes"),
        ("actions = [\"get_id_value\"]", "actions", "write each action with a list"),
        ("actions = {}", "actions", "the table is empty"),
        ("actions = { get_id_value = [] }", "actions.get_id_value", "the list is empty"),
        ("actions = { x = [\"a\", \"a\"] }", "actions.x", "duplicate element"),
        ("actions = { x = [[\"a\"], \"a\"] }", "actions.x", "duplicate element"),
        ("actions = { x = [[\"...\", \"a\"]] }", "actions.x", "move it to the end of its list"),
        ("actions = { x = [[\"a\", 1]] }", "actions.x", "expected a pattern for the only argument, such as"),
        ("actions = { x = [[\"a\", 1]] }", "actions.x", "allows any further ones, found a number"),
        ("actions = { x = [[[\"a\"]]] }", "actions.x", "expected a pattern for the only argument, such as"),
        ("actions = { x = [[[\"a\"]]] }", "actions.x", "allows any further ones, found a list"),
        ("actions = { x = [[\"a b\"]] }", "actions.x", "white space in \"a b\""),
        ("actions = { x = 1 }", "actions.x", "expected a pattern for the only argument"),
        (
            "actions = { get_id_value = \"*\" }\nevents = \"*hello\"",
            "actions",
            "add \"Management::Node::API::node_dispatch_request\"",
        ),
        ("identities = \"DNS:*\"", "identities", "present no certificate, no token and no CURVE key"),
        ("commands = 1", "commands", "expected true or false"),
        ("events = \"*\"\ncommands = true", "events", "data-store commands (commands = true) have no events"),
        ("passthru = true", "passthru", "did you mean `passthrough`?"),
    ] {
        assert_reports(&rule(line), &format!("13: rule.r.{key}"), expected);
    }
    for (from, with, start, expected) in [
        ("name = \"r\"\n", "", "8: rule.1.name", "the rule has no name"),
        (
            "name = \"r\"",
            "name = \"r s\"",
            "9: rule.1.name",
            "invalid name; use 1 to 64 letters, digits, `-` and `_`",
        ),
        ("name = \"r\"", "name = 1", "9: rule.1.name", "found a number"),
        ("from = \"nodes\"\n", "", "8: rule.r.from", "the rule has no from"),
        ("to = \"agents\"\n", "", "8: rule.r.to", "the rule has no to"),
        ("topics = \"t\"\n", "", "8: rule.r.topics", "the rule has no topics"),
        ("topics = \"t\"", "topics = []", "12: rule.r.topics", "the list is empty"),
        ("topics = \"t\"", "topics = \"<$>/local/a\"", "12: rule.r.topics", "never leave an endpoint"),
        ("from = \"nodes\"", "from = \"node\"", "10: rule.r.from", "no link \"node\"; did you mean `nodes`?"),
        ("to = \"agents\"", "to = [\"zeek\"]", "11: rule.r.to", "use `agents` or `nodes`"),
        ("to = \"agents\"", "to = [\"agents\", \"agents\"]", "11: rule.r.to", "duplicate element"),
        (
            "to = \"agents\"",
            "to = \"nodes\"",
            "8: rule.r",
            "which is not a hub; set hub = true in [link.nodes]",
        ),
        ("[[rule]]", "[rule]", "8: rule", "write [[rule]], in double brackets"),
    ] {
        assert_reports(&format!("{LINKS}{}", RULE.replacen(from, with, 1)), start, expected);
    }
    assert_reports(&format!("{LINKS}{RULE}{RULE}"), "14: rule.2.name", "an earlier rule has the same name");
    let topic = "t".repeat(65_536);
    assert_reports(
        &format!("{LINKS}{}", RULE.replacen("\"t\"", &format!("{topic:?}"), 1)),
        "12: rule.r.topics",
        "65535",
    );
    assert_reports(&format!("rule = []\n{LINKS}"), "1: rule", "the list is empty");
    assert_reports(&format!("rule = [1]\n{LINKS}"), "1: rule", "write [[rule]]");
}

#[test]
fn a_rule_within_a_hub_is_valid() {
    let hub = LINKS.replacen("[link.nodes]", "[link.nodes]\nhub = true", 1);
    assert_eq!(errors(&format!("{hub}{}", RULE.replace("\"agents\"", "\"nodes\""))), [""; 0]);
    let both = RULE
        .replace("\"agents\"", "[\"agents\", \"nodes\"]")
        .replace("\"nodes\"\n", "[\"agents\", \"nodes\"]\n");
    assert_eq!(errors(&format!("{LINKS}{both}")), [""; 0]);
}

#[test]
fn the_default_rules_require_links_to_agents_and_nodes() {
    let faced =
        |faces: &str| LINKS.replacen("tls = \"off\"", &format!("tls = \"off\"\nfaces = \"{faces}\""), 1);
    let [agents, nodes] = [faced("agents"), faced("nodes")].map(|text| errors(&text));
    for (errors, word) in [(agents, "nodes"), (nodes, "agents")] {
        let [error] = errors.as_slice() else { panic!("{errors:#?}") };
        assert!(error.contains(&format!("require a link with faces = \"{word}\"")), "{error}");
    }
    assert_eq!(errors(LINKS).len(), 2);
    // With an invalid `faces`, it is unknown which of the two links is missing, so only the invalid value is reported.
    assert_eq!(errors(&faced("x")).len(), 1);
}

#[test]
fn a_file_without_links_has_one_error() {
    assert_reports("", "1: link", "there is no link");
    assert_reports("[link]", "1: link.NAME", "there is no link");
    assert_reports("link = 3", "1: link", "write [link.NAME]");
    assert_reports("[[link]]\n", "1: link", "write [link.NAME]");
    assert_reports(
        &format!("{LINKS}{RULE}[link]\na = 1\n")
            .replace("[link]", "[link.\"x y\"]")
            .replace("a = 1\n", "listen = \"[::1]:5\"\ntls = \"off\"\n"),
        "13: link.\"x y\"",
        "invalid name; use 1 to 64 letters, digits, `-` and `_`",
    );
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let text = r#"[bridge]
log = "xml"
[link.agents]
connect = "agent"
cafile = "a"
[link.nodes]
listen = "0.0.0.0:2151"
tls = "off"
[link.nodes.limits]
frame = "none"
depth = 1000
[[rule]]
name = "a"
from = "agnets"
to = "nodes"
[[rule]]
name = "a"
from = "nodes"
to = "agents"
topics = ["<$>/local/x"]
event = "e"
"#;
    let expected = [
        "2: bridge.log: ",
        "3: link.agents.certificate: ",
        "3: link.agents.keyfile: ",
        "4: link.agents.connect: ",
        "10: link.nodes.limits.frame: ",
        "11: link.nodes.limits.depth: ",
        "12: rule.a.topics: ",
        "14: rule.a.from: ",
        "17: rule.2.name: ",
        "20: rule.a.topics: ",
        "21: rule.a.event: ",
    ];
    let errors = errors(text);
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.starts_with(start), "{start}: {error}");
    }
}

#[test]
fn syntax_errors_are_reported_together_with_other_errors() {
    let text = r#"[link.agents]
connect = "127.0.0.1:2151"
tls = off
hub = "yes"
hub = true
[link.nodes
listen = "127.0.0.1:2152"
[[rule]]
name = "x
topics = [1, 2
from = "nobody"
"#;
    let errors = errors(text);
    let starts: Vec<&str> = errors.iter().map(|error| error.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["3:7:", "4:", "5:1:", "6:12:", "9:10:", "11:1:"], "{errors:#?}");
    assert!(errors[0].contains("invalid TOML: string values must be quoted"), "{}", errors[0]);
    assert!(
        errors[1].contains("link.agents.hub: expected true or false (without quotes), found a string"),
        "{}",
        errors[1]
    );
    assert!(errors[2].contains("duplicate key `hub`; remove one of them"), "{}", errors[2]);
    assert!(errors[3].contains("unclosed table"), "{}", errors[3]);
}

#[test]
fn two_links_with_the_same_name_are_a_syntax_error() {
    let text = format!("{LINKS}{RULE}[link.nodes]\nhub = true\n");
    assert_reports(&text, "13:7", "duplicate key `nodes`; remove one of them, or rename it");
}

#[test]
fn columns_are_counted_in_characters() {
    assert_reports("x = 'ää' b\n", "1:10", "invalid TOML");
}

#[test]
fn errors_in_groups_and_ttls_are_reported() {
    let with = |agents: &str, nodes: &str, rule: &str| {
        let links = LINKS.replace("[link.agents]\n", &format!("[link.agents]\n{agents}"));
        links.replace("[link.nodes]\n", &format!("[link.nodes]\n{nodes}")) + rule
    };
    assert_reports(&with("ttl = 0\n", "", RULE), "3: link.agents.ttl", "use an integer from 1 to 15");
    assert_reports(&with("ttl = 16\n", "", RULE), "3: link.agents.ttl", "use an integer from 1 to 15");
    assert_reports(&with("group = \"a b\"\n", "", RULE), "3: link.agents.group", "1 to 64 letters, digits");
    assert_reports(
        &with("hub = true\ngroup = \"a\"\n", "", RULE),
        "2: link.agents",
        "hub and group contradict each other",
    );
    let both = with("group = \"a\"\n", "group = \"a\"\n", RULE);
    assert_reports(
        &both,
        "10: rule.r",
        "nodes and agents are in group a, whose links forward nothing to each other",
    );
}
