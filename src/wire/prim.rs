//! Parsers and writers of the basic elements (`PROTOCOL.md`, section 1).
//!
//! The parsers have the signature of nom parsers. The parsers of integers and slices are written by hand, because decoding a
//! value with nom's own parsers takes a seventh more time.

use bytes::BufMut;

use super::error::{DecodeReason, EncodeError, Parsed, fail, within};
use super::limits::Limits;
use crate::data::{EndpointId, Filter, Step, Topic};

#[inline]
pub(super) fn u8(input: &[u8]) -> Parsed<'_, u8> {
    match input.split_first() {
        Some((byte, rest)) => Ok((rest, *byte)),
        None => fail(input, DecodeReason::Truncated),
    }
}

#[inline]
pub(super) fn u16(input: &[u8]) -> Parsed<'_, u16> {
    let (rest, bytes) = array(input)?;
    Ok((rest, u16::from_be_bytes(bytes)))
}

#[inline]
pub(super) fn u64(input: &[u8]) -> Parsed<'_, u64> {
    let (rest, bytes) = array(input)?;
    Ok((rest, u64::from_be_bytes(bytes)))
}

/// Reads 16 bytes.
#[inline]
pub(super) fn bytes16(input: &[u8]) -> Parsed<'_, [u8; 16]> {
    array(input)
}

#[inline]
pub(super) fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    match input.split_first_chunk::<N>() {
        Some((bytes, rest)) => Ok((rest, *bytes)),
        None => fail(input, DecodeReason::Truncated),
    }
}

#[inline]
pub(super) fn endpoint_id(input: &[u8]) -> Parsed<'_, EndpointId> {
    let (input, bytes) = bytes16(input)?;
    Ok((input, EndpointId::from_bytes(bytes)))
}

/// Reads a varbyte: 7 bits in each byte, least significant group first. The high bit is set in all bytes except the last.
///
/// Over-long forms are accepted, as by Broker's C++ implementation. More than 32 bits are rejected.
#[inline]
pub(super) fn varbyte(input: &[u8]) -> Parsed<'_, usize> {
    // Almost all lengths are below 128.
    if let Some((&byte, rest)) = input.split_first()
        && byte < 0x80
    {
        return Ok((rest, usize::from(byte)));
    }
    long_varbyte(input)
}

#[cold]
fn long_varbyte(start: &[u8]) -> Parsed<'_, usize> {
    let mut input = start;
    let mut value = 0u32;
    for shift in [0u32, 7, 14, 21, 28] {
        let (rest, byte) = u8(input)?;
        input = rest;
        let group = u32::from(byte & 0x7f);
        if shift == 28 && (group > 0x0f || byte >= 0x80) {
            break;
        }
        value |= group << shift;
        if byte < 0x80 {
            // This fails only on a 16-bit target, whose memory is too small for such a frame anyway.
            return match usize::try_from(value) {
                Ok(value) => Ok((input, value)),
                Err(_) => fail(start, DecodeReason::VarbyteOverflow),
            };
        }
    }
    fail(start, DecodeReason::VarbyteOverflow)
}

/// Reads a varbyte length, and then that many bytes.
#[inline]
pub(super) fn blob(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, length) = varbyte(input)?;
    bytes(rest, length)
}

/// Reads `length` bytes.
#[inline]
pub(super) fn bytes(input: &[u8], length: usize) -> Parsed<'_, &[u8]> {
    match input.split_at_checked(length) {
        Some((bytes, rest)) => Ok((rest, bytes)),
        None => fail(input, DecodeReason::Truncated),
    }
}

/// Reads a filter: a varbyte count, and then for each topic a varbyte length and that many bytes.
///
/// The topics are copied, so storing a filter does not keep the receive buffer in memory.
pub(super) fn filter<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a, Filter> {
    let (mut rest, count) = varbyte(input)?;
    if count > limits.max_filter_topics {
        return fail(input, DecodeReason::FilterTooLarge { count, limit: limits.max_filter_topics });
    }
    let mut topics = Vec::new();
    for index in 0..count {
        let (after, bytes) = blob(rest).map_err(within(Step::FilterTopic(index)))?;
        let Ok(topic) = Topic::new(bytes.to_vec()) else {
            return fail(rest, DecodeReason::TopicTooLong(bytes.len()))
                .map_err(within(Step::FilterTopic(index)));
        };
        topics.push(topic);
        rest = after;
        if input.len().saturating_sub(rest.len()) > limits.max_filter_bytes {
            return fail(input, DecodeReason::FilterTooLong { limit: limits.max_filter_bytes });
        }
    }
    Ok((rest, topics.into_iter().collect()))
}

/// Writes a length as a varbyte.
pub(super) fn put_varbyte(
    out: &mut impl BufMut,
    what: &'static str,
    length: usize,
) -> Result<(), EncodeError> {
    let Ok(mut value) = u32::try_from(length) else {
        return Err(EncodeError::TooLong { what, length, max: u32::MAX.try_into().unwrap_or(usize::MAX) });
    };
    loop {
        let [.., group] = (value & 0x7f).to_be_bytes();
        value >>= 7;
        if value == 0 {
            out.put_u8(group);
            return Ok(());
        }
        out.put_u8(group | 0x80);
    }
}

pub(super) fn put_blob(out: &mut impl BufMut, what: &'static str, bytes: &[u8]) -> Result<(), EncodeError> {
    put_varbyte(out, what, bytes.len())?;
    out.put_slice(bytes);
    Ok(())
}

pub(super) fn put_filter(out: &mut impl BufMut, filter: &Filter) -> Result<(), EncodeError> {
    put_varbyte(out, "filter", filter.topics().len())?;
    for topic in filter.topics() {
        put_blob(out, "topic", topic.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::error::finish;
    use super::*;

    fn read(bytes: &[u8]) -> Result<usize, DecodeReason> {
        finish(bytes, varbyte(bytes)).map_err(|e| e.reason().clone())
    }

    #[test]
    fn varbytes_of_every_length_round_trip() {
        for (value, length) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (2_097_151, 3),
            (2_097_152, 4),
            (268_435_455, 4),
            (268_435_456, 5),
            (4_294_967_295, 5),
        ] {
            let mut out = Vec::new();
            put_varbyte(&mut out, "test", value).unwrap();
            assert_eq!(out.len(), length, "{value}");
            assert_eq!(read(&out), Ok(value));
            for cut in 0..out.len() {
                assert_eq!(read(&out[..cut]), Err(DecodeReason::Truncated), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn over_long_varbytes_are_accepted_and_too_large_ones_rejected() {
        assert_eq!(read(&[0x80, 0x00]), Ok(0));
        assert_eq!(read(&[0xff, 0x80, 0x80, 0x80, 0x00]), Ok(127));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(DecodeReason::VarbyteOverflow));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(DecodeReason::VarbyteOverflow));
    }

    #[test]
    fn a_length_above_32_bits_is_not_encoded() {
        let mut out = Vec::new();
        let length = 4_294_967_296;
        assert!(matches!(put_varbyte(&mut out, "test", length), Err(EncodeError::TooLong { .. })));
        assert!(out.is_empty());
    }
}
