//! Rules for routes into and out of ZeroMQ clusters.

use crate::bridge::config::RuleConfig;
use crate::bridge::policy::{Reason, RuleLink, Rules, ZeroMqSide};
use crate::bridge::{LinkId, RuleId};
use crate::data::{Topic, Value};
use crate::wire::EnvelopeType;
use crate::zeek::{Event, ZeekMessage};

use super::support::*;

const BROKER: usize = 0;
const CLUSTER: usize = 1;
const PROXY: usize = 2;
const PLAIN: usize = 3;

/// The links `broker`, `cluster` (a proxy to which the bridge connects), `proxy`, and `plain` (like `cluster`, without translated
/// topics).
fn rules(rules: &[RuleConfig]) -> Rules {
    let side = |maps_topics, is_proxy| Some(ZeroMqSide { maps_topics, is_proxy });
    let links = [
        ("broker", None),
        ("cluster", side(true, false)),
        ("proxy", side(true, true)),
        ("plain", side(false, false)),
    ];
    let links = links.map(|(name, zeromq)| RuleLink { name, hub: name == "proxy", group: None, zeromq });
    Rules::of_links(links.into_iter(), rules)
}

fn between(from: &str, to: &str, topics: &[&'static str]) -> RuleConfig {
    rule(|rule| {
        (rule.from, rule.to) = (names(&[from]), names(&[to]));
        rule.topics = topics.iter().map(|topic| Topic::from_static(topic)).collect();
    })
}

fn over(incoming: Incoming, link: usize) -> Incoming {
    Incoming { link, ..incoming }
}

fn filter(rules: &Rules, link: usize) -> Vec<String> {
    rules.filter(LinkId(link)).topics().iter().map(Topic::to_string).collect()
}

#[test]
fn topics_of_rules_match_both_forms_if_a_link_translates_topics() {
    let forms = ["zeek/cluster/worker", "zeek.cluster.worker"];
    for topic in forms {
        let all = ["broker", "cluster", "proxy", "plain"];
        for (from, source) in all.into_iter().enumerate() {
            for (to, target) in all.into_iter().enumerate() {
                if from == to && from != PROXY {
                    continue;
                }
                let rules = rules(&[between(source, target, &[topic])]);
                let maps = [from, to].iter().any(|link| [CLUSTER, PROXY].contains(link));
                for received in forms {
                    let outcome = over(event("e").on(received), from).outcome(&rules);
                    let expected =
                        if maps || received == topic { Ok(vec![(to, 0)]) } else { Err(Reason::NoRule) };
                    assert_eq!(outcome, expected, "{received} from {source} to {target}, {topic}");
                }
            }
        }
    }
    let rules = rules(&[between("broker", "cluster", &["zeek.cluster.node.a."])]);
    assert_eq!(event("e").on("zeek/cluster/node/a/").outcome(&rules), Ok(vec![(CLUSTER, 0)]));
    assert_eq!(event("e").on("zeek/cluster/node/b/").outcome(&rules), Err(Reason::NoRule));
}

#[test]
fn links_subscribe_to_both_forms_and_never_to_node_ids() {
    let topics = ["zeek/cluster/worker", "zeek.cluster.nodeid.", "t"];
    let rules = rules(&[
        between("broker", "cluster", &topics),
        between("cluster", "broker", &topics),
        between("plain", "broker", &topics),
        between("proxy", "broker", &["t", "zeek.cluster.nodeid.x."]),
        between("proxy", "proxy", &["u"]),
    ]);
    assert_eq!(
        filter(&rules, BROKER),
        ["t", "zeek.cluster.nodeid.", "zeek.cluster.worker", "zeek/cluster/worker"]
    );
    assert_eq!(filter(&rules, CLUSTER), ["t", "zeek.cluster.worker", "zeek/cluster/worker"]);
    assert_eq!(filter(&rules, PLAIN), ["t", "zeek/cluster/worker"]);
    // Publishers receive the subscriptions of the subscribers, so the bridge needs none between them.
    assert_eq!(filter(&rules, PROXY), ["t"]);
}

#[test]
fn events_of_one_cluster_do_not_leave_it() {
    let rules = rules(&[rule(|rule| {
        (rule.from, rule.to) =
            (names(&["broker", "cluster", "proxy"]), names(&["broker", "cluster", "proxy"]));
        (rule.topics, rule.passthrough) = (vec![Topic::from_static("")], true);
    })]);
    for (name, topic) in [
        ("Cluster::hello", "t"),
        ("Cluster::Backend::ZeroMQ::hello", "t"),
        ("Cluster::Experimental::node_fully_connected", "zeek.cluster.manager"),
        ("e", "zeek.cluster.nodeid.a."),
        ("e", "zeek/cluster/nodeid/a/"),
    ] {
        let incoming = event(name).on(topic);
        for link in [BROKER, CLUSTER] {
            over(incoming.clone(), link).decision(&rules, |passes, decision| {
                let denial = decision.denial.unwrap();
                assert_eq!((passes, denial.reason), (vec![], Reason::ClusterOnly), "{name} on {topic}");
                assert_eq!((denial.rule, denial.invalid), (Some(RuleId(0)), false));
                let refusal = decision.refusal(denial.reason, None);
                assert_eq!(refusal.topic.as_deref(), Some(topic), "the topic as it was received");
            });
        }
        // Within the cluster, a rule allows them.
        assert_eq!(over(incoming, PROXY).outcome(&rules), Ok(vec![(PROXY, 0)]), "{name} on {topic}");
    }
    // The encoder leaves out the events of a batch.
    let hello = || ZeekMessage::from(Event::new("Cluster::hello", (1u64,)));
    let batch = Incoming::message(ZeekMessage::Batch(vec![hello()])).on("t");
    assert_eq!(batch.outcome(&rules), Ok(vec![(CLUSTER, 0), (PROXY, 0)]));
    // A payload that cannot be read could contain such an event.
    let unreadable = Incoming::bytes("t", EnvelopeType::Data, [14, 1, 99].to_vec());
    assert_eq!(unreadable.outcome(&rules), Err(Reason::Malformed));
    assert_eq!(
        over(unreadable, PROXY).outcome(&rules),
        Ok(vec![(PROXY, 0)]),
        "passthrough within the cluster"
    );
    assert_eq!(command("t").outcome(&rules), Err(Reason::CommandNotAllowed));
}

const SENDER: &str = "zeromq_a_h_1_N";
const RECEIVER: &str = "zeek.cluster.nodeid.zeromq_b_h.example_1_N.";

/// Returns an event to a node id that the sender [`SENDER`] has published to the proxy.
fn to_node(name: &str, args: Vec<Value>) -> Incoming {
    let event = Incoming::message(Event::new(name, args)).on(RECEIVER);
    Incoming { sender: Some(SENDER), ..over(event, PROXY) }
}

fn strings<T: AsRef<[u8]>>(strings: &[T]) -> Vec<Value> {
    strings.iter().map(|text| Value::String(text.as_ref().into())).collect()
}

#[test]
fn hellos_between_nodes_of_a_proxy_need_no_rule() {
    let rules = rules(&[between("proxy", "proxy", &["t"])]);
    for name in ["Cluster::hello", "Cluster::Backend::ZeroMQ::hello"] {
        let hello = to_node(name, strings(&["worker-1", SENDER]));
        hello.decision(&rules, |passes, decision| {
            assert_eq!((passes, decision.denial), (vec![(PROXY, RuleId::NONE.0)], None), "{name}");
        });
        assert_eq!(over(hello.clone(), CLUSTER).outcome(&rules), Err(Reason::NoRule));
        for topic in ["zeek.cluster.node.a.", "zeek.cluster.nodeid", "zeek/cluster/nodeid/a/"] {
            let outcome = hello.clone().on(topic).outcome(&rules);
            assert_eq!(outcome, Err(Reason::NoRule), "{name} on {topic}");
        }
    }
    let batch = vec![Event::new("Cluster::hello", strings(&["worker-1", SENDER])).into()];
    for other in [
        to_node("Cluster::Experimental::node_fully_connected", strings(&["worker-1", SENDER])),
        to_node("Cluster::hello2", strings(&["worker-1", SENDER])),
        Incoming::message(ZeekMessage::Batch(batch)),
        Incoming::value(&Value::None),
    ] {
        let other = Incoming { sender: Some(SENDER), ..over(other.on(RECEIVER), PROXY) };
        assert_eq!(other.outcome(&rules), Err(Reason::NoRule));
    }
}

#[test]
fn a_hello_without_a_rule_contains_only_a_name_and_the_id_of_its_sender() {
    let rules = rules(&[between("proxy", "proxy", &["t"])]);
    let hello = |args| to_node("Cluster::hello", args);
    let valid = hello(strings(&["worker-1", SENDER]));
    let name = |length: usize| strings(&["x".repeat(length).as_str(), SENDER]);
    let fits = 1024 - SENDER.len();
    for allowed in [valid.clone(), hello(strings(&["", SENDER])), hello(name(fits))] {
        assert_eq!(allowed.outcome(&rules), Ok(vec![(PROXY, RuleId::NONE.0)]));
    }
    let with_metadata = |length: usize| {
        let metadata = Value::Vector(vec![Value::Count(7), Value::String("x".repeat(length).into())]);
        let event = vec![
            Value::String("Cluster::hello".into()),
            Value::Vector(strings(&["worker-1", SENDER])),
            Value::Vector(vec![metadata]),
        ];
        let message = vec![Value::Count(1), Value::Count(1), Value::Vector(event)];
        let message = Incoming::value(&Value::Vector(message)).on(RECEIVER);
        Incoming { sender: Some(SENDER), ..over(message, PROXY) }
    };
    assert_eq!(with_metadata(10).outcome(&rules), Ok(vec![(PROXY, RuleId::NONE.0)]));
    for (case, denied) in [
        ("no arguments", hello(vec![])),
        ("one argument", hello(strings(&[SENDER]))),
        ("three arguments", hello(strings(&["worker-1", SENDER, "secret"]))),
        ("a count as the name", hello(vec![Value::Count(1), Value::String(SENDER.into())])),
        ("a list as the id", hello(vec![Value::String("a".into()), Value::Vector(strings(&[SENDER]))])),
        ("an enum label as the id", hello(vec![Value::String("a".into()), Value::EnumValue(SENDER.into())])),
        ("the id of another node", hello(strings(&["worker-1", "zeromq_b_h_1_N"]))),
        ("a part of the sender's id", hello(strings(&["worker-1", &SENDER[1..]]))),
        ("the arguments exchanged", hello(strings(&[SENDER, "worker-1"]))),
        ("a name that is too long", hello(name(fits + 1))),
        ("too much metadata", with_metadata(2000)),
        ("no sender", Incoming { sender: None, ..valid.clone() }),
        ("no receiver", valid.clone().on("zeek.cluster.nodeid.")),
        ("an empty receiver", valid.clone().on("zeek.cluster.nodeid..")),
        ("no dot at the end", valid.clone().on("zeek.cluster.nodeid.zeromq_b_h_1_N")),
    ] {
        assert_eq!(denied.outcome(&rules), Err(Reason::InvalidHello), "{case}");
    }
    let mut long = valid.clone();
    long.envelope.topic = Topic::from(format!("zeek.cluster.nodeid.{}.", "x".repeat(1024)));
    assert_eq!(long.outcome(&rules), Err(Reason::InvalidHello));
}

#[test]
fn a_rule_for_the_topic_may_allow_any_hello() {
    let rules = rules(&[between("proxy", "proxy", &["zeek.cluster.nodeid."])]);
    let hello = to_node("Cluster::hello", strings(&["worker-1", "zeromq_b_h_1_N"]));
    assert_eq!(hello.outcome(&rules), Ok(vec![(PROXY, 0)]));
}
