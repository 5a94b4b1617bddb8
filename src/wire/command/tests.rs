use super::{Command, CommandContent as C, EntityId};
use crate::data::{EndpointId, Step, Timespan, Value};
use crate::wire::{DecodeReason, EncodeError, Limits};

const LIMITS: &Limits = &Limits::DEFAULT;
const WHO: EntityId = EntityId { endpoint: EndpointId::from_bytes([7; 16]), object: 13 };
const PUBLISHER: EntityId = EntityId { endpoint: EndpointId::from_bytes([8; 16]), object: u64::MAX };

/// One command of each kind, in the order of the wire's numbers.
fn all_fourteen() -> [C; 14] {
    let (key, value) = (Value::Count(5), Value::Vector(vec![Value::None, Value::Boolean(true)]));
    let expiry = Some(Timespan::from_nanos(-1));
    let pair = |n| (Value::Count(n), value.clone());
    [
        C::Put { key: key.clone(), value: value.clone(), expiry, publisher: PUBLISHER },
        C::PutUnique {
            key: key.clone(),
            value: value.clone(),
            expiry: None,
            who: WHO,
            request: 9,
            publisher: PUBLISHER,
        },
        C::PutUniqueResult { inserted: true, who: WHO, request: 9, publisher: PUBLISHER },
        C::Erase { key: key.clone(), publisher: PUBLISHER },
        C::Expire { key: key.clone(), publisher: PUBLISHER },
        C::Add { key: key.clone(), value: value.clone(), init_type: 12, expiry, publisher: PUBLISHER },
        C::Subtract { key, value: value.clone(), expiry: None, publisher: PUBLISHER },
        C::Clear { publisher: PUBLISHER },
        C::AttachWriter { offset: 1, heartbeat_interval: 2 },
        C::Keepalive { sequence: 3 },
        C::CumulativeAck { sequence: 4 },
        C::Nack { sequences: (0..200).collect() },
        // The keys are not sorted, because a snapshot keeps the order in which its entries were received.
        C::AckClone { offset: 5, heartbeat_interval: 6, snapshot: vec![pair(2), pair(1)] },
        C::RetransmitFailed { sequence: 7 },
    ]
}

fn command(content: C) -> Command {
    Command { sequence: 1, sender: WHO, receiver: EntityId::default(), content }
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes).unwrap();
    bytes
}

/// The offset of the variant number: after the sequence and two entities.
const VARIANT: usize = 8 + 24 + 24;

#[test]
fn all_commands_round_trip_and_truncated_ones_are_errors() {
    for (number, content) in (0..).zip(all_fourteen()) {
        let command = command(content);
        let bytes = encoded(&command);
        assert_eq!(bytes[VARIANT], number);
        assert_eq!(Command::decode(&bytes, LIMITS).as_ref(), Ok(&command));
        for cut in 0..bytes.len() {
            let error = Command::decode(&bytes[..cut], LIMITS).unwrap_err();
            assert_eq!(error.reason(), &DecodeReason::Truncated, "{} cut at {cut}", command.content.name());
        }
        let error = Command::decode(&[&bytes[..], &[0]].concat(), LIMITS).unwrap_err();
        assert_eq!((error.offset(), error.reason()), (bytes.len(), &DecodeReason::Trailing(1)));
    }
}

/// Tests the only command that does not occur in any captured peering.
#[test]
fn a_failed_retransmission_is_encoded_as_variant_13_and_a_number() {
    let mut bytes = encoded(&command(C::Keepalive { sequence: 258 }));
    assert_eq!(bytes[VARIANT..], [9, 0, 0, 0, 0, 0, 0, 1, 2]);
    bytes[VARIANT] = 13;
    let read = Command::decode(&bytes, LIMITS).unwrap();
    assert_eq!(read.content, C::RetransmitFailed { sequence: 258 });
    assert!(read.to_string().ends_with(", none, retransmit_failed(258))"), "{read}");
}

#[test]
fn an_unknown_command_is_reported_with_its_number() {
    let mut bytes = encoded(&command(C::Keepalive { sequence: 1 }));
    bytes[VARIANT] = 14;
    let error = Command::decode(&bytes, LIMITS).unwrap_err();
    assert_eq!((error.offset(), error.reason()), (VARIANT, &DecodeReason::UnknownCommand(14)));
}

#[test]
fn errors_in_values_name_the_field() {
    let mut bytes = encoded(&command(all_fourteen()[0].clone()));
    // The variant is followed by the key (tag and u64), and then by the value. The value is a vector of two elements. The
    // second element is malformed.
    let fault = VARIANT + 1 + 9 + 3;
    bytes[fault] = 77;
    let error = Command::decode(&bytes, LIMITS).unwrap_err();
    assert_eq!(error.path().steps().collect::<Vec<_>>(), [Step::Field("value"), Step::VectorElement(1)]);
    assert_eq!((error.offset(), error.reason()), (fault, &DecodeReason::UnknownValueTag(77)));
}

#[test]
fn a_snapshot_with_a_duplicate_key_is_rejected() {
    let pair = || (Value::Count(1), Value::None);
    let other = (Value::Count(0), Value::None);
    let twice = C::AckClone { offset: 0, heartbeat_interval: 0, snapshot: vec![pair(), other, pair()] };
    let error = Command::decode(&encoded(&command(twice)), LIMITS).unwrap_err();
    // The count follows the offset and the interval.
    assert_eq!((error.offset(), error.reason()), (VARIANT + 1 + 10, &DecodeReason::DuplicateKey));
}

#[test]
fn the_element_limit_applies_to_all_values_of_a_command_together() {
    // The command has four values: the key, the value, and the two elements of the value.
    let bytes = encoded(&command(all_fourteen()[0].clone()));
    let within = |max_elements| Command::decode(&bytes, &Limits { max_elements, ..Limits::DEFAULT });
    assert!(within(4).is_ok());
    assert_eq!(within(3).unwrap_err().reason(), &DecodeReason::TooManyElements { limit: 3 });
}

#[test]
fn a_command_with_a_value_nested_too_deep_is_not_encoded() {
    let deep = (0..200).fold(Value::None, |inside, _| Value::Vector(vec![inside]));
    let command = command(C::Erase { key: deep, publisher: PUBLISHER });
    assert_eq!(command.encode(&mut Vec::new()), Err(EncodeError::TooDeep));
}

#[test]
fn an_expiry_is_displayed_in_its_largest_unit() {
    for (nanos, text) in [
        (None, "null"),
        (Some(0), "*0s"),
        (Some(1), "*1ns"),
        (Some(-1_500_000_000), "*-1500000000ns"),
        (Some(1_500), "*1.5us"),
        (Some(2_000_000), "*2ms"),
        (Some(1_000_000_000), "*1s"),
        (Some(1_234_567_891), "*1.234568s"),
        (Some(59_999_999_999), "*60s"),
        (Some(90_000_000_000), "*1.5min"),
        (Some(86_400_000_000_000), "*24h"),
        (Some(i64::MAX), "*2562047.788015h"),
    ] {
        let expiry = nanos.map(Timespan::from_nanos);
        let put = C::Put { key: Value::None, value: Value::None, expiry, publisher: EntityId::default() };
        let shown = put.to_string();
        assert!(shown.ends_with(&format!(", {text}, none)")), "{shown} instead of {text}");
    }
}

#[test]
fn only_an_entity_of_all_zeros_is_displayed_as_none() {
    assert_eq!(EntityId::default().to_string(), "none");
    assert_eq!(
        EntityId { endpoint: EndpointId::NIL, object: 3 }.to_string(),
        "3@00000000-0000-0000-0000-000000000000"
    );
}

#[test]
fn any_flag_except_0_is_true() {
    let expiring = |expiry| command(C::Put { key: Value::None, value: Value::None, expiry, publisher: WHO });
    let with = expiring(Some(Timespan::from_nanos(5)));
    let mut bytes = encoded(&with);
    // After the variant and two values of one byte.
    bytes[VARIANT + 3] = 2;
    assert_eq!(Command::decode(&bytes, LIMITS), Ok(with));

    let result = command(C::PutUniqueResult { inserted: true, who: WHO, request: 1, publisher: WHO });
    let mut bytes = encoded(&result);
    bytes[VARIANT + 1] = 0xff;
    assert_eq!(Command::decode(&bytes, LIMITS), Ok(result));
}
