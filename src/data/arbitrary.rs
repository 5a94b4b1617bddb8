//! Strategies that generate arbitrary values, for property tests.

use proptest::collection::vec;
use proptest::num::f64;
use proptest::prelude::*;

use super::{Address, ByteString, Port, Protocol, Subnet, Timespan, Timestamp, Value};

/// Generates values of all types, nested a few levels deep. A set or a table can contain values of different types,
/// which the wire format allows.
///
/// The host bits of subnets are zero, because JSON cannot represent host bits.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 64, 8, |value| {
        prop_oneof![
            vec(value.clone(), 0..8).prop_map(Value::Vector),
            vec(value.clone(), 0..8).prop_map(|elements| Value::Set(elements.into_iter().collect())),
            vec((value.clone(), value), 0..8).prop_map(|pairs| Value::Table(pairs.into_iter().collect())),
        ]
    })
}

fn scalar() -> impl Strategy<Value = Value> {
    // Small numbers make duplicate elements and keys likely.
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Boolean),
        prop_oneof![0..4u64, any::<u64>()].prop_map(Value::Count),
        prop_oneof![-2..2i64, any::<i64>()].prop_map(Value::Integer),
        (f64::ANY | f64::INFINITE | f64::QUIET_NAN).prop_map(Value::Real),
        byte_string().prop_map(Value::String),
        prop_oneof![v4(), v6()].prop_map(Value::Address),
        subnet().prop_map(Value::Subnet),
        port().prop_map(Value::Port),
        any::<i64>().prop_map(|nanos| Value::Timestamp(Timestamp::from_nanos(nanos))),
        any::<i64>().prop_map(|nanos| Value::Timespan(Timespan::from_nanos(nanos))),
        byte_string().prop_map(Value::EnumValue),
    ]
}

fn byte_string() -> impl Strategy<Value = ByteString> {
    prop_oneof![
        "[a-c]{0,2}".prop_map(ByteString::from),
        any::<String>().prop_map(ByteString::from),
        vec(any::<u8>(), 0..200).prop_map(ByteString::from),
    ]
}

fn v4() -> impl Strategy<Value = Address> {
    any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).into())
}

fn v6() -> impl Strategy<Value = Address> {
    any::<[u8; 16]>().prop_map(Address::from_bytes)
}

fn subnet() -> impl Strategy<Value = Subnet> {
    prop_oneof![(v4(), 0..=32u8), (v6(), 0..=128u8)]
        .prop_filter_map("length fits", |(network, length)| Subnet::new(network, length).ok())
}

fn port() -> impl Strategy<Value = Port> {
    (any::<u16>(), 0..4u8).prop_map(|(number, wire)| Port::new(number, Protocol::from_wire(wire).unwrap()))
}
