//! Each mistake is told, in its line, with its mend; and all of them at once.

use super::mistakes;

/// Two links and rules for them, without mistakes. The first line is empty.
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

/// A rule that is good for the links above; it begins in line 8.
const RULE: &str = "[[rule]]\nname = \"r\"\nfrom = \"nodes\"\nto = \"agents\"\ntopics = \"t\"\n";

/// Asserts that there is one mistake, which begins so and has these words in it.
#[track_caller]
fn told(text: &str, start: &str, words: &str) {
    let mistakes = mistakes(text);
    let [mistake] = mistakes.as_slice() else { panic!("{start}: {words}: {mistakes:#?}") };
    assert!(
        mistake.starts_with(&format!("{start}: ")) && mistake.contains(words),
        "{start}: {words}: {mistake}"
    );
}

#[test]
fn the_files_to_be_spoilt_are_good() {
    assert_eq!(mistakes(&format!("{LINKS}{RULE}")), [""; 0]);
}

#[test]
fn mistakes_about_the_bridge() {
    let rest = format!("{LINKS}{RULE}");
    for (line, key, words) in [
        ("log = \"txt\"", "log", "did you mean `text`?"),
        ("log = 1", "log", "this is a number; give \"text\" or \"json\""),
        ("metrics = \"localhost:1\"", "metrics", "give an IP address with a port"),
        ("metrics = 9747", "metrics", "this is a number"),
        ("metrics = \"\"", "metrics", "this is empty"),
        ("drain = 10", "drain", "this is a number; give a time with its unit, such as \"10s\""),
        ("drain = \"10\"", "drain", "is no time"),
        ("drain = \"2h\"", "drain", "out of range"),
        (
            "answer_in_flight = \"yes\"",
            "answer_in_flight",
            "this is a text; give true or false, without quotes",
        ),
        ("status = \"C:\\run\"", "status", "there is a control character in \"C:\\run\""),
        ("metric = \"off\"", "metric", "there is no such key here; did you mean `metrics`?"),
        (
            "color = \"red\"",
            "color",
            "there are `log`, `metrics`, `status`, `drain`, `answer_in_flight` and `answer_denied`",
        ),
        ("answer_denied = 1", "answer_denied", "this is a number; give true or false"),
        ("\"a\\nb\" = 1", "\"a\\nb\"", "no such key"),
    ] {
        told(&format!("[bridge]\n{line}\n{rest}"), &format!("2: bridge.{key}"), words);
    }
    let long = format!("[bridge]\nstatus = \"/{}\"\n{rest}", "x".repeat(107));
    told(&long, "2: bridge.status", "has at most 107 bytes, and this one has 108");
    told(&format!("bridge = 1\n{rest}"), "1: bridge", "write [bridge]");
    told(&format!("[brige]\n{rest}"), "1: brige", "did you mean `bridge`?");
    told(
        &format!("[bridge]\nmetrics = \"127.0.0.1:2152\"\n{rest}"),
        "2: bridge.metrics",
        "cannot be listened on, as nodes listens on 127.0.0.1:2152; choose another port, or \"off\"",
    );
}

#[test]
fn mistakes_about_links() {
    for (line, key, words) in [
        ("faces = \"zeek\"", "faces", "there are `agents` and `nodes`"),
        ("listen = \"0.0.0.0:1\"", "listen", "connect is here as well"),
        ("hub = \"yes\"", "hub", "give true or false"),
        ("retry = \"1s\"", "retry", "give a table, such as { first"),
        ("retry = { first = \"0s\" }", "retry.first", "out of range"),
        ("retry = { cap = \"100ms\" }", "retry.cap", "shorter than the first, 1s"),
        ("retry = { last = \"1s\" }", "retry.last", "no such key"),
        (
            "when_full = \"drop\"",
            "when_full",
            "there are `drop-oldest`, `drop-newest`, `disconnect` and `block`",
        ),
        ("when_full = \"drop_oldest\"", "when_full", "did you mean `drop-oldest`?"),
        ("limits = 3", "limits", "write [link.NAME.limits]"),
        ("limits.peers = 0", "limits.peers", "0 is out of range; give a whole number from 1"),
        ("limits.peers = -3", "limits.peers", "-3 is out of range"),
        ("limits.peers = 1.5", "limits.peers", "give a whole number"),
        ("limits.peers = 99999999999999999999999", "limits.peers", "out of range"),
        ("limits.connects_per_second = 0", "limits.connects_per_second", "out of range"),
        ("limits.frame = \"32 miles\"", "limits.frame", "is no size; give a size such as \"32MiB\""),
        ("limits.frame = \"3GiB\"", "limits.frame", "out of range; give a size"),
        ("limits.frame = 10", "limits.frame", "from 1.0 KiB to 2.0 GiB"),
        ("limits.frame = true", "limits.frame", "this is true or false"),
        ("limits.depth = 129", "limits.depth", "from 1 to 128"),
        ("limits.queue = 0", "limits.queue", "out of range"),
        ("limits.queue_bytes = 0", "limits.queue_bytes", "out of range"),
        ("limits.quue = 1", "limits.quue", "did you mean `queue`?"),
        ("chaos.drop = 1.1", "chaos.drop", "1.1 is no share; give a share from 0.0 to 1.0"),
        ("chaos.drop = -1", "chaos.drop", "-1 is no share"),
        ("chaos.duplicate = nan", "chaos.duplicate", "nan is no share"),
        ("chaos.corrupt = \"1%\"", "chaos.corrupt", "this is a text"),
        ("chaos.delay = \"2h\"", "chaos.delay", "out of range"),
        ("chaos.lose = 0.5", "chaos.lose", "no such key"),
        ("ca-file = \"a\"", "ca-file", "did you mean `cafile`?"),
        ("allow = \"DNS:*\"", "allow", "peers show certificates only in mutual TLS"),
    ] {
        let text = LINKS.replacen("tls = \"off\"", &format!("tls = \"off\"\n{line}"), 1);
        told(&format!("{text}{RULE}"), &format!("5: link.agents.{key}"), words);
    }
}

#[test]
fn mistakes_about_where_a_link_is() {
    for (line, words) in [
        ("connect = []", "this list is empty"),
        ("connect = 2151", "give \"HOST:PORT\", such as \"10.0.0.5:2151\", or a list of such"),
        ("connect = \"agent\"", "there is no port; give HOST:PORT"),
        ("connect = \"agent:0\"", "nobody can be reached at port 0"),
        ("connect = \"::1:2151\"", "an IPv6 address must be in brackets"),
        ("connect = [\"agent:1\", 2]", "this is a number"),
        ("connect = [\"agent:1\", \"agent:1\"]", "in the list already"),
        ("connect = [\"agent:1\", \"agent:2\"]\nlimits.peers = 1", "it connects to 2, and limits.peers is 1"),
    ] {
        let text = LINKS.replacen("connect = \"127.0.0.1:2151\"", line, 1);
        told(&format!("{text}{RULE}"), "3: link.agents.connect", words);
    }
    let nowhere = LINKS.replacen("connect = \"127.0.0.1:2151\"\n", "", 1);
    told(&format!("{nowhere}{RULE}"), "2: link.agents.connect", "neither connect nor listen is here");
    for (address, words) in [
        (
            "127.0.0.1:2152",
            "127.0.0.1:2152 cannot be listened on, as agents listens on 127.0.0.1:2152 already",
        ),
        ("0.0.0.0:2152", "as agents listens on 0.0.0.0:2152 already"),
    ] {
        let text = LINKS.replacen("connect = \"127.0.0.1:2151\"", &format!("listen = \"{address}\""), 1);
        told(&format!("{text}{RULE}"), "6: link.nodes.listen", words);
    }
    // That metrics are somewhere without being told is no reason to point at them.
    let metrics = LINKS.replacen("127.0.0.1:2152", "0.0.0.0:9747", 1);
    told(&format!("{metrics}{RULE}"), "6: link.nodes.listen", "choose another port here, or for metrics");
    let twice = LINKS.replacen("\"127.0.0.1:2152\"", "[\"127.0.0.1:2152\", \"0.0.0.0:2152\"]", 1);
    told(&format!("{twice}{RULE}"), "6: link.nodes.listen", "as this link listens on 127.0.0.1:2152");
    // Of a list, the line is that of the element.
    let lines = LINKS.replacen("\"127.0.0.1:2151\"", "[\n\"a:1\",\n\"b\"\n]", 1);
    told(&format!("{lines}{RULE}"), "5: link.agents.connect", "there is no port");
}

#[test]
fn mistakes_about_tls() {
    let tls = |keys: &str| format!("{}{RULE}", LINKS.replacen("tls = \"off\"", keys, 1));
    for (keys, start, words) in [
        ("", "2: link.agents.tls", "TLS or not?"),
        ("tls_backend = \"rustls\"", "2: link.agents.tls", "Choose tls = \"anonymous\""),
        ("tls = \"on\"", "4: link.agents.tls", "there are `off`, `anonymous` and `mutual`"),
        ("tls = \"of\"", "4: link.agents.tls", "did you mean `off`?"),
        ("tls = false", "4: link.agents.tls", "give \"off\" or \"anonymous\" or \"mutual\""),
        ("tls = \"off\"\ncafile = \"a\"", "5: link.agents.cafile", "does not go with tls = \"off\""),
        (
            "tls = \"off\"\ntls_backend = \"auto\"",
            "5: link.agents.tls_backend",
            "does not go with tls = \"off\"",
        ),
        (
            "tls = \"anonymous\"\nkeyfile = \"a\"",
            "5: link.agents.keyfile",
            "does not go with tls = \"anonymous\"",
        ),
        ("tls = \"anonymous\"\ntls_backend = \"rustls\"", "5: link.agents.tls_backend", "only OpenSSL has"),
        (
            "tls_backend = \"gnutls\"\ntls = \"anonymous\"",
            "4: link.agents.tls_backend",
            "`rustls` and `openssl`",
        ),
        (
            "cafile = \"a\"\ncertificate = \"b\"",
            "2: link.agents.keyfile",
            "all three, and this one is missing",
        ),
        ("certificate = \"a\"\nkeyfile = \"b\"", "2: link.agents.cafile", "cafile (or capath)"),
        ("capath = \"a\"\nkeyfile = \"b\"", "2: link.agents.certificate", "all three"),
        ("cafile = \"\"\ncertificate = \"b\"\nkeyfile = \"c\"", "4: link.agents.cafile", "this is empty"),
        ("cafile = [\"a\"]\ncertificate = \"b\"\nkeyfile = \"c\"", "4: link.agents.cafile", "this is a list"),
        (
            "cafile = \"a\"\ncertificate = \"b\"\nkeyfile = \"c\"\nallow = [\"CN=x\"]",
            "7: link.agents.allow",
            "give \"subject:CN=x\"",
        ),
        (
            "cafile = \"a\"\ncertificate = \"b\"\nkeyfile = \"c\"\nallow = []",
            "7: link.agents.allow",
            "is empty",
        ),
    ] {
        told(&tls(keys), start, words);
    }
    assert_eq!(mistakes(&tls("tls = \"mutual\"")).len(), 3);
}

#[test]
fn mistakes_about_rules() {
    let rule = |line: &str| format!("{LINKS}{RULE}{line}\n");
    for (line, key, words) in [
        ("events = []", "events", "this list is empty, so that nothing could ever match"),
        ("events = \"\"", "events", "this is empty"),
        ("events = [\"a b\"]", "events", "there is white space in \"a b\""),
        ("nodes = 3", "nodes", "give the name of a node"),
        (
            "nodes = \"a\"\nevents = \"other\"",
            "nodes",
            "only the events of Management::Node::API speak of nodes",
        ),
        ("actions = [\"get_id_value\"]", "actions", "give a table of the commands"),
        ("actions = {}", "actions", "this table is empty"),
        ("actions = { get_id_value = [] }", "actions.get_id_value", "this list is empty"),
        ("actions = { x = [\"a\", \"a\"] }", "actions.x", "in the list already"),
        ("actions = { x = [[\"a\"], \"a\"] }", "actions.x", "in the list already"),
        ("actions = { x = [[\"...\", \"a\"]] }", "actions.x", "put it last in its list"),
        (
            "actions = { x = [[\"a\", 1]] }",
            "actions.x",
            "this is a number; give a pattern for the only argument",
        ),
        (
            "actions = { x = [[[\"a\"]]] }",
            "actions.x",
            "this is a list; give a pattern for the only argument",
        ),
        ("actions = { x = [[\"a b\"]] }", "actions.x", "there is white space"),
        ("actions = { x = 1 }", "actions.x", "give a pattern for the only argument"),
        (
            "actions = { get_id_value = \"*\" }\nevents = \"*hello\"",
            "actions",
            "add \"Management::Node::API::node_dispatch_request\"",
        ),
        ("identities = \"DNS:*\"", "identities", "only in mutual TLS, which no link in from has"),
        ("commands = 1", "commands", "give true or false"),
        ("events = \"*\"\ncommands = true", "events", "for data-store commands, which have no such thing"),
        ("passthru = true", "passthru", "did you mean `passthrough`?"),
    ] {
        told(&rule(line), &format!("13: rule.r.{key}"), words);
    }
    for (from, with, start, words) in [
        ("name = \"r\"\n", "", "8: rule.1.name", "a rule has a name"),
        ("name = \"r\"", "name = \"r s\"", "9: rule.1.name", "letters, digits, `-` and `_`"),
        ("name = \"r\"", "name = 1", "9: rule.1.name", "this is a number"),
        ("from = \"nodes\"\n", "", "8: rule.r.from", "messages may come from"),
        ("to = \"agents\"\n", "", "8: rule.r.to", "messages may go to"),
        ("topics = \"t\"\n", "", "8: rule.r.topics", "prefixes of topics are missing"),
        ("topics = \"t\"", "topics = []", "12: rule.r.topics", "list is empty"),
        ("topics = \"t\"", "topics = \"<$>/local/a\"", "12: rule.r.topics", "never leave an endpoint"),
        ("from = \"nodes\"", "from = \"node\"", "10: rule.r.from", "no link \"node\"; did you mean `nodes`?"),
        ("to = \"agents\"", "to = [\"zeek\"]", "11: rule.r.to", "there are `agents` and `nodes`"),
        ("to = \"agents\"", "to = [\"agents\", \"agents\"]", "11: rule.r.to", "in the list already"),
        (
            "to = \"agents\"",
            "to = \"nodes\"",
            "8: rule.r",
            "which is no hub; write hub = true in [link.nodes]",
        ),
        ("[[rule]]", "[rule]", "8: rule", "write [[rule]], in double brackets"),
    ] {
        told(&format!("{LINKS}{}", RULE.replacen(from, with, 1)), start, words);
    }
    told(&format!("{LINKS}{RULE}{RULE}"), "14: rule.2.name", "has this name already");
    let topic = "t".repeat(65_536);
    told(
        &format!("{LINKS}{}", RULE.replacen("\"t\"", &format!("{topic:?}"), 1)),
        "12: rule.r.topics",
        "65535",
    );
    told(&format!("rule = []\n{LINKS}"), "1: rule", "this list is empty");
    told(&format!("rule = [1]\n{LINKS}"), "1: rule", "write [[rule]]");
}

#[test]
fn a_rule_within_a_hub_is_none_of_them() {
    let hub = LINKS.replacen("[link.nodes]", "[link.nodes]\nhub = true", 1);
    assert_eq!(mistakes(&format!("{hub}{}", RULE.replace("\"agents\"", "\"nodes\""))), [""; 0]);
    let both = RULE
        .replace("\"agents\"", "[\"agents\", \"nodes\"]")
        .replace("\"nodes\"\n", "[\"agents\", \"nodes\"]\n");
    assert_eq!(mistakes(&format!("{LINKS}{both}")), [""; 0]);
}

#[test]
fn the_default_rules_take_both_sides() {
    let faced =
        |faces: &str| LINKS.replacen("tls = \"off\"", &format!("tls = \"off\"\nfaces = \"{faces}\""), 1);
    let [agents, nodes] = [faced("agents"), faced("nodes")].map(|text| mistakes(&text));
    for (mistakes, word) in [(agents, "nodes"), (nodes, "agents")] {
        let [mistake] = mistakes.as_slice() else { panic!("{mistakes:#?}") };
        assert!(mistake.contains(&format!("a link that faces {word}, which none does")), "{mistake}");
    }
    assert_eq!(mistakes(LINKS).len(), 2);
    // Which it is meant to be is not known, so no more is said.
    assert_eq!(mistakes(&faced("x")).len(), 1);
}

#[test]
fn a_file_without_links_is_one_mistake() {
    told("", "1: link", "there is no link");
    told("[link]", "1: link.NAME", "there is no link");
    told("link = 3", "1: link", "write [link.NAME]");
    told("[[link]]\n", "1: link", "write [link.NAME]");
    told(
        &format!("{LINKS}{RULE}[link]\na = 1\n")
            .replace("[link]", "[link.\"x y\"]")
            .replace("a = 1\n", "listen = \"[::1]:5\"\ntls = \"off\"\n"),
        "13: link.\"x y\"",
        "letters, digits",
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
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
    let mistakes = mistakes(text);
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(start), "{start}: {mistake}");
    }
}

#[test]
fn faults_of_syntax_are_told_together_with_what_else_is_sure() {
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
    let mistakes = mistakes(text);
    let starts: Vec<&str> = mistakes.iter().map(|mistake| mistake.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["3:7:", "4:", "5:1:", "6:12:", "9:10:", "11:1:"], "{mistakes:#?}");
    assert!(mistakes[0].contains("this is not TOML: string values must be quoted"), "{}", mistakes[0]);
    assert!(mistakes[1].contains("link.agents.hub: this is a text"), "{}", mistakes[1]);
    assert!(mistakes[2].contains("`hub` is there already: keep one of them"), "{}", mistakes[2]);
    assert!(mistakes[3].contains("unclosed table"), "{}", mistakes[3]);
}

#[test]
fn two_links_of_one_name_are_a_fault_of_syntax() {
    let text = format!("{LINKS}{RULE}[link.nodes]\nhub = true\n");
    told(&text, "13:7", "`nodes` is there already: keep one of them, or call it something else");
}

#[test]
fn columns_are_counted_in_letters() {
    told("x = 'ää' b\n", "1:10", "not TOML");
}

#[test]
fn mistakes_about_groups_and_ttl() {
    let with = |agents: &str, nodes: &str, rule: &str| {
        let links = LINKS.replace("[link.agents]\n", &format!("[link.agents]\n{agents}"));
        links.replace("[link.nodes]\n", &format!("[link.nodes]\n{nodes}")) + rule
    };
    told(&with("ttl = 0\n", "", RULE), "3: link.agents.ttl", "give a whole number from 1 to 15");
    told(&with("ttl = 16\n", "", RULE), "3: link.agents.ttl", "give a whole number from 1 to 15");
    told(&with("group = \"a b\"\n", "", RULE), "3: link.agents.group", "64 letters, digits");
    told(
        &with("hub = true\ngroup = \"a\"\n", "", RULE),
        "2: link.agents",
        "hub and group contradict each other",
    );
    let both = with("group = \"a\"\n", "group = \"a\"\n", RULE);
    told(
        &both,
        "10: rule.r",
        "nodes and agents are in the group a, and nothing passes between links of a group",
    );
}
