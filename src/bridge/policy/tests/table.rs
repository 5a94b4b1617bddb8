//! A table of rules of each kind, with messages that they allow and similar messages that they deny.

use crate::bridge::config::{IdentityPattern, RuleConfig};
use crate::bridge::policy::{MAX_NAME, Reason, Rules};
use crate::data::Value;
use crate::wire::EnvelopeType;
use crate::zeek::{Event, IdentifierUpdate, ZeekMessage};

use super::support::*;

struct Row {
    what: &'static str,
    rule: RuleConfig,
    allowed: Vec<Incoming>,
    denied: Vec<(Incoming, Reason)>,
}

fn row(
    what: &'static str,
    change: impl FnOnce(&mut RuleConfig),
    allowed: Vec<Incoming>,
    denied: Vec<(Incoming, Reason)>,
) -> Row {
    Row { what, rule: rule(change), allowed, denied }
}

fn rows() -> Vec<Row> {
    use Reason as R;
    let log = || Incoming::value(&Value::Vector(vec![1u64.into(), 3u64.into(), Value::Vector(vec![])]));
    let update = || Incoming::message(IdentifierUpdate { id: "x".into(), value: Value::None });
    let batch = |events: Vec<Event>| {
        Incoming::message(ZeekMessage::Batch(events.into_iter().map(Into::into).collect()))
    };
    let long = || "w".repeat(MAX_NAME + 1);
    vec![
        row(
            "from",
            |_| {},
            vec![hello("w")],
            vec![
                (hello("w").over("b"), R::NoRule),
                (hello("w").over("c"), R::NoRule),
                (hello("w").over("hub"), R::NoRule),
            ],
        ),
        row("to: nowhere", |rule| rule.to = vec![], vec![], vec![(hello("w"), R::NoRule)]),
        row(
            "to: an unknown link",
            |rule| rule.to = names(&["nowhere"]),
            vec![],
            vec![(hello("w"), R::NoRule)],
        ),
        row("to: its own link", |rule| rule.to = names(&["a"]), vec![], vec![(hello("w"), R::NoRule)]),
        row(
            "to: the same link, which is a hub",
            |rule| (rule.from, rule.to) = (names(&["hub"]), names(&["hub"])),
            vec![hello("w").over("hub")],
            vec![(hello("w"), R::NoRule)],
        ),
        row(
            "topics are prefixes",
            |rule| rule.topics = vec!["x/".into(), "y".into()],
            vec![hello("w").on("x/"), hello("w").on("x/a"), hello("w").on("y"), hello("w").on("yes")],
            vec![
                (hello("w").on("x"), R::NoRule),
                (hello("w").on("X/a"), R::NoRule),
                (hello("w").on(" x/a"), R::NoRule),
                (hello("w").on(""), R::NoRule),
            ],
        ),
        row(
            "topics: all",
            |rule| rule.topics = vec!["".into()],
            vec![hello("w").on(""), hello("w").on("x")],
            vec![
                (hello("w").on("<$>/local/x"), R::LocalTopic),
                (command("store/<$>/data/master"), R::CommandNotAllowed),
                (Incoming::bytes("<$>", EnvelopeType::Ping, "x"), R::NoRule),
            ],
        ),
        row("topics: none", |rule| rule.topics = vec![], vec![], vec![(hello("w"), R::NoRule)]),
        row(
            "any message",
            |_| {},
            vec![event("e"), hello("w"), log(), update(), batch(vec![Event::new("e", ())])],
            vec![
                (Incoming::bytes(NODE, EnvelopeType::Data, vec![]), R::Malformed),
                (Incoming::bytes(NODE, EnvelopeType::Data, vec![99]), R::Malformed),
                (Incoming::bytes(NODE, EnvelopeType::Data, vec![0, 0]), R::Malformed),
                (command(NODE), R::CommandNotAllowed),
            ],
        ),
        row(
            "events: a name",
            |rule| rule.events = globs(&["My::event"]),
            vec![
                event("My::event"),
                batch(vec![Event::new("My::event", ())]),
                batch(vec![Event::new("My::event", ()), Event::new("My::event", ())]),
            ],
            vec![
                (event("My::event2"), R::EventNotAllowed),
                (event("my::event"), R::EventNotAllowed),
                (event("My::even"), R::EventNotAllowed),
                (event(" My::event"), R::EventNotAllowed),
                (event("My::event\0"), R::EventNotAllowed),
                (event(""), R::EventNotAllowed),
                (hello("w"), R::EventNotAllowed),
                (update(), R::EventNotAllowed),
                (log(), R::EventNotAllowed),
                (batch(vec![]), R::EventNotAllowed),
                (batch(vec![Event::new("My::event", ()), Event::new("other", ())]), R::EventNotAllowed),
                (Incoming::value(&Value::None), R::Malformed),
                (Incoming::bytes(NODE, EnvelopeType::Data, vec![99]), R::Malformed),
            ],
        ),
        row(
            "events: globs",
            |rule| rule.events = globs(&["My::*", "?"]),
            vec![event("My::event"), event("My::"), event("e"), event("\u{fc}")],
            vec![
                (event("Your::event"), R::EventNotAllowed),
                (event("xMy::event"), R::EventNotAllowed),
                (event("ee"), R::EventNotAllowed),
                (event(&format!("My::{}", long())), R::EventNotAllowed),
                (hello("w"), R::EventNotAllowed),
            ],
        ),
        row(
            "events: any",
            |rule| rule.events = globs(&["*"]),
            vec![event("e"), hello("w")],
            vec![(update(), R::EventNotAllowed), (Incoming::value(&"e".into()), R::Malformed)],
        ),
        row(
            "nodes of hellos",
            |rule| (rule.events, rule.nodes) = (globs(&[HELLO]), globs(&["worker-?", "manager"])),
            vec![hello("worker-1"), hello("manager")],
            vec![
                (hello("worker-10"), R::NodeNotAllowed),
                (hello("Worker-1"), R::NodeNotAllowed),
                (hello(""), R::NodeNotAllowed),
                (hello("manager\0"), R::NodeNotAllowed),
                (response("manager"), R::EventNotAllowed),
                (event("e"), R::EventNotAllowed),
            ],
        ),
        row(
            "nodes of responses",
            |rule| rule.nodes = globs(&["worker-*"]),
            vec![response("worker-1"), hello("worker-1")],
            vec![
                (response("manager"), R::NodeNotAllowed),
                (response(&format!("worker-{}", long())), R::NodeNotAllowed),
                (response_of([&result("w")[..5], &[Value::None]].concat()), R::InvalidNodeApi),
                (event("e"), R::EventNotAllowed),
                (update(), R::EventNotAllowed),
                (batch(vec![Event::new("e", ())]), R::EventNotAllowed),
                (Incoming::value(&Value::None), R::Malformed),
            ],
        ),
        row(
            "nodes of requests",
            |rule| rule.nodes = globs(&["worker-*", "logger"]),
            vec![request(&["x"], &["worker-1"]), request(&["x"], &["logger", "worker-1", "worker-2"])],
            vec![
                (request(&["x"], &["manager"]), R::NodeNotAllowed),
                (request(&["x"], &["worker-1", "manager"]), R::NodeNotAllowed),
                (request(&["x"], &[]), R::NodeNotAllowed),
            ],
        ),
        row(
            "actions",
            |rule| {
                rule.actions = actions(&[("get_id_value", &["Cluster::*", "peer_description"])]);
                let commands = rule.actions.get_or_insert_default();
                commands.insert("reload".to_owned(), vec![arguments(&[])]);
                commands.insert("never".to_owned(), vec![]);
            },
            vec![
                request(&["get_id_value", "Cluster::node"], &[]),
                request(&["get_id_value", "peer_description"], &["w"]),
                request(&["reload"], &[]),
                hello("w"),
                response("w"),
            ],
            vec![
                (request(&["get_id_value", "Site::local_nets"], &[]), R::ActionNotAllowed),
                (request(&["get_id_value", "peer_description\0"], &[]), R::ActionNotAllowed),
                (request(&["get_id_value", "Site::x", "Cluster::node"], &[]), R::ActionNotAllowed),
                (request(&["get_id_value"], &[]), R::ActionNotAllowed),
                // Zeek's own action ignores the extra argument, but other nodes may use it.
                (request(&["get_id_value", "Cluster::node", "more"], &[]), R::ActionNotAllowed),
                (request(&["get_id_value", "Cluster::node", ""], &[]), R::ActionNotAllowed),
                (request(&["never"], &[]), R::ActionNotAllowed),
                (request(&["never", ""], &[]), R::ActionNotAllowed),
                (request(&["Get_id_value", "Cluster::node"], &[]), R::ActionNotAllowed),
                (request(&["reload", ""], &[]), R::ActionNotAllowed),
                (request(&["reload", "x"], &[]), R::ActionNotAllowed),
                (request(&["", "Cluster::node"], &[]), R::ActionNotAllowed),
                (request(&[], &[]), R::ActionNotAllowed),
                (event("e"), R::EventNotAllowed),
                (update(), R::EventNotAllowed),
            ],
        ),
        row(
            "actions: * allows any single argument",
            |rule| rule.actions = actions(&[("get_id_value", &["*"])]),
            vec![request(&["get_id_value"], &[]), request(&["get_id_value", "x"], &[])],
            vec![
                (request(&["reload"], &[]), R::ActionNotAllowed),
                (request(&["get_id_value", "x", "y"], &[]), R::ActionNotAllowed),
            ],
        ),
        row(
            "actions: a pattern for each argument",
            |rule| {
                let alternatives = [&["Site::*", "json", "?"][..], &["Cluster::*", "..."], &["peer"]];
                let alternatives = alternatives.map(arguments).into();
                rule.actions = Some([("get".to_owned(), alternatives)].into());
            },
            vec![
                request(&["get", "Site::x", "json", "1"], &[]),
                request(&["get", "Cluster::node"], &[]),
                request(&["get", "Cluster::node", "", "reboot", &long()], &[]),
                request(&["get", "peer"], &[]),
            ],
            vec![
                (request(&["get", "Site::x", "json", "12"], &[]), R::ActionNotAllowed),
                (request(&["get", "Site::x", "xml", "1"], &[]), R::ActionNotAllowed),
                (request(&["get", "Site::x", "json", "1", "2"], &[]), R::ActionNotAllowed),
                (request(&["get", "Site::x", "json"], &[]), R::ActionNotAllowed),
                (request(&["get", "json", "Site::x", "1"], &[]), R::ActionNotAllowed),
                (request(&["get", &format!("Cluster::{}", long())], &[]), R::ActionNotAllowed),
                (request(&["get", "peer", "x"], &[]), R::ActionNotAllowed),
                (request(&["get"], &[]), R::ActionNotAllowed),
            ],
        ),
        row(
            "actions: ... allows any number of arguments",
            |rule| rule.actions = Some([("get".to_owned(), vec![arguments(&["..."])])].into()),
            vec![request(&["get"], &[]), request(&["get", "x", "y"], &[])],
            vec![(request(&["set", "x"], &[]), R::ActionNotAllowed)],
        ),
        row(
            "actions: a missing argument counts as empty",
            |rule| rule.actions = Some([("get".to_owned(), vec![arguments(&["x", "*"])])].into()),
            vec![request(&["get", "x"], &[]), request(&["get", "x", "y"], &[])],
            vec![(request(&["get"], &[]), R::ActionNotAllowed)],
        ),
        row(
            "actions: none",
            |rule| rule.actions = actions(&[]),
            vec![hello("w")],
            vec![(request(&["get_id_value", "x"], &[]), R::ActionNotAllowed)],
        ),
        row(
            "nodes and actions",
            |rule| (rule.nodes, rule.actions) = (globs(&["w"]), actions(&[("x", &["y"])])),
            vec![request(&["x", "y"], &["w"])],
            vec![
                (request(&["x", "y"], &["v"]), R::NodeNotAllowed),
                (request(&["x", "z"], &["w"]), R::ActionNotAllowed),
            ],
        ),
        row(
            "identities: a subject",
            |rule| rule.identities = vec![identity("subject:CN=worker-1,O=Example")],
            vec![hello("w").by(&WORKER)],
            vec![(hello("w").by(&NAMELESS), R::IdentityNotAllowed), (hello("w"), R::IdentityNotAllowed)],
        ),
        row(
            "identities: subjects by a glob",
            |rule| rule.identities = vec![identity("subject:CN=worker-*,O=Example")],
            vec![hello("w").by(&WORKER), hello("w").by(&NAMELESS)],
            vec![(hello("w"), R::IdentityNotAllowed)],
        ),
        row(
            "identities: a subjectAltName",
            |rule| rule.identities = vec![identity("DNS:worker-?.example")],
            vec![hello("w").by(&WORKER)],
            vec![(hello("w").by(&NAMELESS), R::IdentityNotAllowed), (hello("w"), R::IdentityNotAllowed)],
        ),
        row(
            "identities: another kind of subjectAltName",
            |rule| rule.identities = vec![identity("IP:worker-?.example"), identity("email:*")],
            vec![],
            vec![(hello("w").by(&WORKER), R::IdentityNotAllowed)],
        ),
        row(
            "identities: one of two patterns matches",
            |rule| rule.identities = vec![identity("DNS:other"), identity("IP:192.0.2.1")],
            vec![hello("w").by(&WORKER)],
            vec![(hello("w").by(&NAMELESS), R::IdentityNotAllowed)],
        ),
        row(
            "identities: a certificate",
            |rule| rule.identities = vec![IdentityPattern::Sha256(NAMELESS.sha256)],
            vec![hello("w").by(&NAMELESS)],
            vec![(hello("w").by(&WORKER), R::IdentityNotAllowed), (hello("w"), R::IdentityNotAllowed)],
        ),
        row(
            "commands",
            |rule| (rule.commands, rule.topics) = (true, vec!["store/".into()]),
            vec![command("store/<$>/data/master")],
            vec![
                (command("other/<$>/data/master"), R::NoRule),
                (hello("w").on("store/<$>/data/master"), R::DataNotAllowed),
                (Incoming::bytes("store/x", EnvelopeType::Command, vec![0; 7]), R::Malformed),
                (command("store/x").over("b"), R::NoRule),
            ],
        ),
        row(
            "commands by an identity",
            |rule| (rule.commands, rule.identities) = (true, vec![identity("subject:CN=worker-1,*")]),
            vec![command(NODE).by(&WORKER)],
            vec![(command(NODE).by(&NAMELESS), R::IdentityNotAllowed)],
        ),
        row(
            "a rule with commands and events matches nothing",
            |rule| (rule.commands, rule.events) = (true, globs(&["*"])),
            vec![],
            vec![(command(NODE), R::CommandNotAllowed), (event("e"), R::DataNotAllowed)],
        ),
    ]
}

#[test]
fn each_rule_allows_its_matches_and_denies_similar_messages() {
    for Row { what, rule, allowed, denied } in rows() {
        let rules = Rules::new(LINKS, std::slice::from_ref(&rule));
        let to = LINKS.iter().position(|(name, _)| rule.to.first().is_some_and(|to| to == name));
        for (index, incoming) in allowed.iter().enumerate() {
            assert_eq!(incoming.outcome(&rules), Ok(vec![(to.unwrap(), 0)]), "{what}: allowed {index}");
        }
        for (index, (incoming, reason)) in denied.iter().enumerate() {
            assert_eq!(incoming.outcome(&rules), Err(*reason), "{what}: denied {index}");
        }
        // Without the rule, all messages are denied.
        let none = Rules::new(LINKS, &[]);
        for incoming in allowed.iter().chain(denied.iter().map(|(incoming, _)| incoming)) {
            assert!(matches!(incoming.outcome(&none), Err(Reason::NoRule | Reason::LocalTopic)), "{what}");
        }
    }
}

#[test]
fn a_message_whose_ttl_is_used_up_is_denied() {
    let rules = Rules::new(LINKS, &[rule(|_| {})]);
    for (ttl, outcome) in [(0, Err(Reason::Ttl)), (1, Err(Reason::Ttl)), (2, Ok(vec![(1, 0)]))] {
        let mut incoming = hello("w");
        incoming.envelope.ttl = ttl;
        assert_eq!(incoming.outcome(&rules), outcome);
    }
}
