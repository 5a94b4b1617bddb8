//! The head of a value: a complete scalar, or the tag and count of a container.

use super::super::error::{DecodeReason, Parsed, fail};
use super::super::prim::{array, blob, bytes16, u8, u16, u64, varbyte};
use super::{ValueRef, real};
use crate::data::{Address, Port, Protocol, Subnet, Timespan, Timestamp};

/// The kinds of container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Container {
    Set,
    Table,
    Vector,
}

pub(crate) enum Head<'a> {
    Scalar(ValueRef<'a>),
    /// A container and the number of its elements or pairs.
    Container(Container, usize),
}

/// The tags that readers handle without [`head`].
pub(super) mod tag {
    pub(in super::super) const STRING: u8 = 5;
    pub(in super::super) const ENUM_VALUE: u8 = 11;
    pub(in super::super) const SET: u8 = 12;
    pub(in super::super) const TABLE: u8 = 13;
    pub(in super::super) const VECTOR: u8 = 14;
}

/// Returns the size of a scalar's body, for scalars that are valid for all bytes.
#[inline(always)]
pub(super) fn plain_length(tag: u8) -> Option<usize> {
    const OTHER: u8 = u8::MAX;
    // A table, because a branch for each tag is often mispredicted.
    static LENGTHS: [u8; 16] =
        [0, 1, 8, 8, 8, OTHER, 16, OTHER, OTHER, 8, 8, OTHER, OTHER, OTHER, OTHER, OTHER];
    match LENGTHS.get(usize::from(tag)) {
        Some(&length) if length != OTHER => Some(usize::from(length)),
        _ => None,
    }
}

/// Reads the head of a value: a tag byte and the body (`PROTOCOL.md`, section 5).
///
/// | tag | type | body |
/// | --- | --- | --- |
/// | 0 | none | - |
/// | 1 | boolean | u8, 0 or not 0 |
/// | 2 | count | u64 |
/// | 3 | integer | i64 |
/// | 4 | real | 8 bytes, see [`real`] |
/// | 5 | string | varbyte length + bytes |
/// | 6 | address | 16 bytes |
/// | 7 | subnet | 16 bytes + u8 prefix length on the 128-bit form |
/// | 8 | port | u16 number + u8 protocol |
/// | 9 | timestamp | i64 nanoseconds |
/// | 10 | timespan | i64 nanoseconds |
/// | 11 | enum value | varbyte length + bytes |
/// | 12 | set | varbyte count + values |
/// | 13 | table | varbyte count + pairs |
/// | 14 | vector | varbyte count + values |
#[inline(always)]
pub(super) fn head(start: &[u8]) -> Parsed<'_, Head<'_>> {
    let (input, tag) = u8(start)?;
    let (rest, scalar) = match tag {
        0 => (input, ValueRef::None),
        1 => {
            let (rest, byte) = u8(input)?;
            (rest, ValueRef::Boolean(byte != 0))
        }
        2 => {
            let (rest, count) = u64(input)?;
            (rest, ValueRef::Count(count))
        }
        3 => {
            let (rest, integer) = i64(input)?;
            (rest, ValueRef::Integer(integer))
        }
        4 => {
            let (rest, bits) = u64(input)?;
            (rest, ValueRef::Real(real::unpack(bits)))
        }
        5 => {
            let (rest, bytes) = blob(input)?;
            (rest, ValueRef::String(bytes))
        }
        6 => {
            let (rest, bytes) = bytes16(input)?;
            (rest, ValueRef::Address(Address::from_bytes(bytes)))
        }
        7 => {
            let (after, bytes) = bytes16(input)?;
            let (rest, length) = u8(after)?;
            match Subnet::from_wire(Address::from_bytes(bytes), length) {
                Ok(subnet) => (rest, ValueRef::Subnet(subnet)),
                Err(_) => return fail(after, DecodeReason::InvalidPrefixLength(length)),
            }
        }
        8 => {
            let (after, number) = u16(input)?;
            let (rest, protocol) = u8(after)?;
            match Protocol::from_wire(protocol) {
                Some(protocol) => (rest, ValueRef::Port(Port::new(number, protocol))),
                None => return fail(after, DecodeReason::UnknownProtocol(protocol)),
            }
        }
        9 => {
            let (rest, nanos) = i64(input)?;
            (rest, ValueRef::Timestamp(Timestamp::from_nanos(nanos)))
        }
        10 => {
            let (rest, nanos) = i64(input)?;
            (rest, ValueRef::Timespan(Timespan::from_nanos(nanos)))
        }
        11 => {
            let (rest, bytes) = blob(input)?;
            (rest, ValueRef::EnumValue(bytes))
        }
        12 => return container(input, Container::Set),
        13 => return container(input, Container::Table),
        14 => return container(input, Container::Vector),
        _ => return fail(start, DecodeReason::UnknownValueTag(tag)),
    };
    Ok((rest, Head::Scalar(scalar)))
}

#[inline(always)]
fn container(input: &[u8], kind: Container) -> Parsed<'_, Head<'_>> {
    let (rest, count) = varbyte(input)?;
    Ok((rest, Head::Container(kind, count)))
}

#[inline(always)]
fn i64(input: &[u8]) -> Parsed<'_, i64> {
    let (rest, bytes) = array(input)?;
    Ok((rest, i64::from_be_bytes(bytes)))
}
