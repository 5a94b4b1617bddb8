//! Classes of events: a decision on one event must be the decision on every event of its class.

use bytes::Bytes;

use super::support::*;
use crate::bridge::policy::{EventClass, Rules};
use crate::data::{Timestamp, Topic, Value};
use crate::wire::{EnvelopeType, Limits, RemainingValues};
use crate::zeek::Event;

const SITE: &str = "zeek/site";

fn rules() -> Rules {
    Rules::new(LINKS, &[rule(|rule| rule.topics = vec![Topic::from_static("zeek/")])])
}

fn events() -> [Incoming; 2] {
    let nested = Value::Vector(vec![Value::Count(3), Value::String("text".into()), Value::Vector(vec![])]);
    let plain = Event::new("Site::report", vec![Value::Boolean(true), nested]);
    let stamped = plain.clone().with_network_timestamp(Timestamp::from_nanos(7));
    [plain, stamped].map(|event| Incoming::message(event).on(SITE))
}

fn name_in<'a>(class: &EventClass, message: &'a Incoming) -> Option<&'a [u8]> {
    let is_candidate = class.may_contain(&message.envelope);
    is_candidate.then(|| class.name_of(&message.envelope, &Limits::DEFAULT))?
}

/// Returns the name of the event if a message belongs to the class, and asserts that the rules decide in the same way.
fn member_name(class: &EventClass, message: &Incoming) -> Option<String> {
    let name = name_in(class, message);
    message.decision(&rules(), |passes, decision| {
        assert_eq!(decision.is_for_class, name.is_some(), "{:?}", message.envelope.payload);
        if name.is_some() {
            assert_eq!((passes, decision.event, decision.node), (vec![(1, 0)], name, None));
        }
    });
    name.map(|name| String::from_utf8(name.to_vec()).unwrap())
}

#[test]
fn events_with_the_same_topic_and_name_are_of_one_class() {
    for event in events() {
        let class = EventClass::of(&event.envelope).unwrap();
        assert_eq!(member_name(&class, &event).as_deref(), Some("Site::report"));
        assert!(!class.may_contain(&event.clone().on("zeek/other").envelope));
        let mut command = event.clone();
        command.envelope.kind = EnvelopeType::Command;
        assert!(!class.may_contain(&command.envelope));
    }
}

#[test]
fn a_changed_byte_never_makes_an_invalid_event_a_member() {
    let (mut members, mut others) = (0, 0);
    for event in events() {
        let class = EventClass::of(&event.envelope).unwrap();
        let payload = event.envelope.payload.clone();
        let name_ends = payload.windows(6).position(|bytes| bytes == b"report").unwrap() + 6;
        for at in name_ends..payload.len() {
            for byte in 0..=u8::MAX {
                let mut changed = payload.to_vec();
                changed[at] = byte;
                let changed = Incoming::bytes(SITE, EnvelopeType::Data, changed);
                *if member_name(&class, &changed).is_some() { &mut members } else { &mut others } += 1;
            }
            let cut = Incoming::bytes(SITE, EnvelopeType::Data, payload.slice(..at));
            assert_eq!(member_name(&class, &cut), None);
        }
        let longer = [&payload[..], &[0]].concat();
        assert_eq!(member_name(&class, &Incoming::bytes(SITE, EnvelopeType::Data, longer)), None);
    }
    assert!(members > 1000 && others > 1000, "{members} {others}");
}

#[test]
fn the_limits_are_those_of_the_message() {
    let [event, _] = events();
    let class = EventClass::of(&event.envelope).unwrap();
    for max_elements in 0..20 {
        for max_depth in 0..6 {
            let limits = Limits { max_elements, max_depth, ..Limits::DEFAULT };
            let is_member = class.name_of(&event.envelope, &limits).is_some();
            assert_eq!(is_member, event.envelope.check(&limits).is_ok(), "{max_elements} {max_depth}");
        }
    }
}

#[test]
fn decisions_that_depend_on_more_than_the_name_are_not_for_a_class() {
    let rules = rules();
    let is_for_class = |message: Incoming| message.decision(&rules, |_, decision| decision.is_for_class);
    assert!(is_for_class(events()[0].clone()));
    assert!(!is_for_class(Incoming::message(Event::new(HELLO, vec![Value::from("node")]))));
    assert!(!is_for_class(Incoming::value(&Value::Count(1))));
    assert!(!is_for_class(events()[0].clone().on("other/topic")), "no rule allows it");
    let mut last_hop = events()[0].clone();
    last_hop.envelope.ttl = 1;
    assert!(!is_for_class(last_hop));
}

#[test]
fn only_events_as_zeek_writes_them_have_a_class() {
    let class_of = |payload: &[u8]| {
        EventClass::of(&Incoming::bytes(SITE, EnvelopeType::Data, Bytes::copy_from_slice(payload)).envelope)
    };
    let payload = events()[0].envelope.payload.clone();
    assert!(class_of(&payload).is_some());
    let mut not_text = payload.to_vec();
    not_text[30] = 0xff;
    assert!(class_of(&not_text).is_none(), "the name is not UTF-8");
    for end in 0..21 {
        let mut changed = payload.to_vec();
        changed[end] ^= 0x40;
        assert!(class_of(&changed).is_none(), "{end}");
        assert!(class_of(&payload[..end]).is_none(), "{end}");
    }
    assert!(RemainingValues::new(&[], 2, 0, &Limits { max_elements: 1, ..Limits::DEFAULT }).is_none());
}
