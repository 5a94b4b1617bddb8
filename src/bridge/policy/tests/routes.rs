//! The deciding rule for each link, and the filters of links.

use crate::bridge::LinkId;
use crate::bridge::RuleId;
use crate::bridge::policy::{Denial, Reason, RuleLink, Rules};
use crate::data::{Filter, Topic};
use crate::wire::Limits;

use super::support::*;

#[test]
fn the_first_matching_rule_decides_for_each_link() {
    let rules = Rules::new(
        LINKS,
        &[
            rule(|rule| (rule.to, rule.events) = (names(&["b"]), globs(&["e"]))),
            rule(|rule| (rule.to, rule.events) = (names(&["b", "c"]), globs(&["e", "f"]))),
            rule(|rule| rule.to = names(&["b", "c", "hub"])),
        ],
    );
    for (name, passes) in
        [("e", [(1, 0), (2, 1), (3, 2)]), ("f", [(1, 1), (2, 1), (3, 2)]), ("g", [(1, 2), (2, 2), (3, 2)])]
    {
        assert_eq!(event(name).outcome(&rules), Ok(passes.to_vec()), "{name}");
    }
}

#[test]
fn an_invalid_message_denied_by_a_rule_is_allowed_by_no_later_rule() {
    let strict = |to: &[&str]| rule(|rule| rule.to = names(to));
    let loose = |to: &[&str]| rule(|rule| (rule.to, rule.passthrough) = (names(to), true));
    let bad = response_of(result("w")[..5].to_vec());
    let links = |rules: &Rules| bad.decision(rules, |passes, decision| (passes, decision.denial));
    let denial =
        |rule| Some(Denial { reason: Reason::InvalidNodeApi, rule: Some(RuleId(rule)), invalid: true });

    let rules = Rules::new(LINKS, &[strict(&["b"]), loose(&["b"])]);
    assert_eq!(links(&rules), (vec![], denial(0)));
    let rules = Rules::new(LINKS, &[loose(&["b"]), strict(&["b"])]);
    assert_eq!(links(&rules), (vec![(1, 0)], None));
    // Rules allow the message for one link and deny it for a second link. The denial is reported.
    let rules = Rules::new(LINKS, &[strict(&["b"]), loose(&["b", "c"])]);
    assert_eq!(links(&rules), (vec![(2, 1)], denial(0)));
}

#[test]
fn a_message_allowed_to_one_link_has_no_denial_for_another() {
    let only = |to: &str, name: &str| rule(|rule| (rule.to, rule.events) = (names(&[to]), globs(&[name])));
    let rules = Rules::new(LINKS, &[only("b", "e"), only("c", "f")]);
    event("f").decision(&rules, |passes, decision| {
        assert_eq!((passes, decision.denial), (vec![(2, 1)], None));
    });
}

#[test]
fn the_denial_names_the_rule_that_matched_the_most_conditions() {
    let rules = Rules::new(
        LINKS,
        &[
            rule(|rule| rule.topics = vec![Topic::from_static("other")]),
            rule(|rule| rule.identities = vec![identity("subject:nobody")]),
            rule(|rule| rule.events = globs(&["e"])),
            rule(|rule| (rule.events, rule.nodes) = (globs(&[HELLO]), globs(&["w"]))),
            rule(|rule| (rule.events, rule.nodes) = (globs(&[HELLO]), globs(&["x"]))),
        ],
    );
    let denial = |incoming: Incoming| incoming.decision(&rules, |_, decision| decision.denial.unwrap());
    for (incoming, reason, rule) in [
        (hello("v"), Reason::NodeNotAllowed, Some(RuleId(3))),
        (response("w"), Reason::EventNotAllowed, Some(RuleId(2))),
        (command(NODE), Reason::CommandNotAllowed, Some(RuleId(1))),
        (hello("v").on("nothing"), Reason::NoRule, None),
    ] {
        assert_eq!(denial(incoming), Denial { reason, rule, invalid: false });
    }
}

#[test]
fn there_is_a_denial_for_each_link_that_a_message_does_not_reach() {
    let rules = Rules::new(
        LINKS,
        &[
            rule(|rule| rule.events = globs(&["e"])),
            rule(|rule| rule.to = names(&["c"])),
            rule(|rule| (rule.to, rule.topics) = (names(&["hub"]), vec![Topic::from_static("other")])),
        ],
    );
    let policy = rules.for_peer(LinkId(0), &by(None));
    let denials = |incoming: Incoming| policy.denials(&incoming.envelope, &Limits::DEFAULT);
    let event_not_allowed = Denial { reason: Reason::EventNotAllowed, rule: Some(RuleId(0)), invalid: false };
    assert_eq!(denials(event("f")), [(LinkId(1), Some(event_not_allowed)), (LinkId(3), None)]);
    assert_eq!(denials(event("e")), [(LinkId(3), None)]);
    assert_eq!(denials(event("e").on("other")), [(LinkId(1), None), (LinkId(2), None)]);

    // There is no rule to `c` and to the hub.
    let rules = Rules::new(LINKS, &[rule(|rule| rule.events = globs(&["e"]))]);
    let denials = rules.for_peer(LinkId(0), &by(None)).denials(&event("f").envelope, &Limits::DEFAULT);
    assert_eq!(denials, [(LinkId(1), Some(event_not_allowed))]);
}

#[test]
fn a_rule_with_an_identity_applies_only_to_peers_with_that_certificate() {
    // A peer can respond only for its own node.
    let own = |name: &str| {
        rule(|rule| {
            (rule.identities, rule.nodes) = (vec![identity(&format!("subject:CN={name},*"))], globs(&[name]));
        })
    };
    let rules = Rules::new(LINKS, &[own("worker-1"), own("worker-2")]);
    for incoming in [hello, response] {
        assert_eq!(incoming("worker-1").by(&WORKER).outcome(&rules), Ok(vec![(1, 0)]));
        assert_eq!(incoming("worker-2").by(&NAMELESS).outcome(&rules), Ok(vec![(1, 1)]));
        assert_eq!(incoming("worker-2").by(&WORKER).outcome(&rules), Err(Reason::NodeNotAllowed));
        assert_eq!(incoming("worker-1").outcome(&rules), Err(Reason::IdentityNotAllowed));
    }
}

#[test]
fn the_filter_of_a_link_has_the_topics_of_its_usable_rules() {
    let with = |from: &[&str], to: &[&str], topic: &'static str| {
        rule(|rule| {
            (rule.from, rule.to) = (names(from), names(to));
            rule.topics = vec![Topic::from_static(topic)];
        })
    };
    let rules = Rules::new(
        LINKS,
        &[
            with(&["a", "b"], &["c"], "x/y"),
            with(&["a"], &["b"], "x/"),
            with(&["a"], &["a"], "to itself"),
            with(&["a"], &["nowhere"], "to nowhere"),
            with(&["hub"], &["hub"], "h"),
            with(&["nowhere"], &["a"], "from nowhere"),
        ],
    );
    let filter = |topics: &[&'static str]| topics.iter().map(|topic| Topic::from_static(topic)).collect();
    let announced: Vec<Filter> = (0..5).map(|link| rules.filter(LinkId(link))).collect();
    assert_eq!(announced, [filter(&["x/"]), filter(&["x/y"]), filter(&[]), filter(&["h"]), filter(&[])]);
}

#[test]
fn an_event_may_reach_a_link_if_a_rule_to_the_link_has_its_topic_and_name() {
    let rules = Rules::new(
        LINKS,
        &[
            rule(|rule| rule.events = globs(&["x", "*hello"])),
            rule(|rule| (rule.to, rule.commands) = (names(&["c"]), true)),
            rule(|rule| (rule.from, rule.to) = (names(&["c"]), names(&["hub"]))),
        ],
    );
    for (link, topic, event, expected) in [
        (1, NODE, HELLO, true),
        (1, NODE, REQUEST, false),
        (1, "zeek/management", HELLO, false),
        (0, NODE, HELLO, false),
        // Commands are not events.
        (2, NODE, HELLO, false),
        // A rule without `events`, for messages from a different link.
        (3, NODE, REQUEST, true),
        (4, NODE, HELLO, false),
    ] {
        let found = rules.may_reach(LinkId(link), &Topic::from_static(topic), event);
        assert_eq!(found, expected, "{link} {topic} {event}");
    }
}

#[test]
fn a_message_is_not_forwarded_within_a_group() {
    let all = names(&["a", "b", "c", "d", "hub"]);
    let links = [("a", "g"), ("b", "g"), ("c", "h"), ("d", ""), ("hub", "")];
    let links = links.map(|(name, group)| RuleLink {
        name,
        hub: name == "hub",
        group: Some(group).filter(|group| !group.is_empty()),
        zeromq: None,
    });
    let rules =
        Rules::of_links(links.into_iter(), &[rule(|rule| (rule.from, rule.to) = (all.clone(), all.clone()))]);
    for (link, expected) in
        [&[2, 3, 4][..], &[2, 3, 4], &[0, 1, 3, 4], &[0, 1, 2, 4], &[0, 1, 2, 3, 4]].iter().enumerate()
    {
        let incoming = Incoming { link, ..event("e") };
        let expected = expected.iter().map(|to| (*to, 0)).collect();
        assert_eq!(incoming.outcome(&rules), Ok(expected), "{link}");
    }
}

#[test]
fn an_unknown_link_has_no_rules() {
    let mut incoming = hello("w");
    incoming.link = LINKS.len();
    assert_eq!(incoming.outcome(&Rules::new(LINKS, &[rule(|_| {})])), Err(Reason::NoRule));
}

#[test]
fn each_reason_has_a_different_name() {
    let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(Reason::ALL.is_sorted());
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
}
