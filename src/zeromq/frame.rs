//! Frames of ZMTP (`PROTOCOL.md`, section 11): `flags u8` · `size u8 or u64` · `size` bytes.

use bytes::{Buf, BufMut, BytesMut};
use nom::IResult;
use nom::bytes::streaming::take;

/// The flag of a part that is not the last one of its message.
const MORE: u8 = 0x01;
/// The flag of a size of 8 bytes.
const LONG: u8 = 0x02;
/// The flag of a command.
const COMMAND: u8 = 0x04;

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Whether more parts of the same message follow.
    pub(super) more: bool,
    pub(super) is_command: bool,
    pub(super) body: BytesMut,
    /// The length in bytes with the header.
    pub(super) length: usize,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Whether more parts of the same message follow.
    pub(super) more: bool,
    pub(super) is_command: bool,
    /// The length of the header in bytes.
    pub(super) length: usize,
    /// The length of the body in bytes.
    pub(super) body: usize,
}

/// The kind of a frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A part of a message that is not its last one.
    #[cfg_attr(
        not(feature = "curve"),
        allow(dead_code, reason = "only parts to encrypt are sent one by one")
    )]
    PartBeforeMore,
    /// The last part of a message.
    LastPart,
    Command,
}

/// The header of a frame is invalid, so the boundaries of frames in a stream are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("unknown flags {0:#04x}")]
    Flags(u8),
    #[error("a command with the flag MORE")]
    CommandWithMore,
    #[error("a frame of {size} bytes, more than the limit of {limit}")]
    TooLarge { size: u64, limit: usize },
}

/// Reads the flags and the size. Incomplete input is an error of the kind [`nom::Err::Incomplete`].
///
/// Each event of a proxy has four headers, and `take` needs far fewer instructions than nom's parsers of numbers.
fn header(input: &[u8]) -> IResult<&[u8], (u8, u64), ()> {
    let (input, flags) = take(1usize)(input)?;
    let flags = flags.first().copied().unwrap_or_default();
    let (input, size) = take(if flags & LONG == 0 { 1usize } else { 8 })(input)?;
    Ok((input, (flags, size.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)))))
}

/// Reads the header of the frame at the start of `input`. Returns `None` if it is incomplete. The body may be missing.
///
/// # Errors
/// Fails if the flags are invalid or the body is longer than `limit`.
pub(super) fn read_header(input: &[u8], limit: usize) -> Result<Option<Header>, FrameError> {
    match input.first() {
        Some(&flags) if flags & !(MORE | LONG | COMMAND) != 0 => return Err(FrameError::Flags(flags)),
        Some(flags) if flags & (MORE | COMMAND) == MORE | COMMAND => return Err(FrameError::CommandWithMore),
        _ => {}
    }
    // The parsers of the header fail only because of incomplete input.
    let Ok((rest, (flags, size))) = header(input) else { return Ok(None) };
    let body = match usize::try_from(size) {
        Ok(body) if body <= limit => body,
        _ => return Err(FrameError::TooLarge { size, limit }),
    };
    let length = input.len().saturating_sub(rest.len());
    Ok(Some(Header { more: flags & MORE != 0, is_command: flags & COMMAND != 0, length, body }))
}

/// Removes the first complete frame from `input`. Returns `None` if it is incomplete. Copies nothing, and reserves nothing.
///
/// # Errors
/// Fails if the flags are invalid or the body is longer than `limit`.
pub(super) fn cut(input: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some(header) = read_header(input, limit)? else { return Ok(None) };
    let length = header.length.saturating_add(header.body);
    if input.len() < length {
        return Ok(None);
    }
    input.advance(header.length);
    let body = input.split_to(header.body);
    Ok(Some(Frame { more: header.more, is_command: header.is_command, body, length }))
}

/// Returns the end of the frame at the start of `frames`, and whether its size has 8 bytes. The body may be missing.
#[cfg(any(feature = "net", test))]
pub(super) fn end_of_first(frames: &[u8]) -> Option<(usize, bool)> {
    let (rest, (flags, size)) = header(frames).ok()?;
    let header = frames.len().saturating_sub(rest.len());
    Some((header.saturating_add(usize::try_from(size).ok()?), flags & LONG != 0))
}

/// Appends the header of a part of a message, with the shortest size.
pub(super) fn put_part_header(out: &mut BytesMut, more: bool, size: usize) {
    put_header(out, if more { MORE } else { 0 }, size);
}

/// Appends the header of a part that is not the last one of its message, with a size of 8 bytes.
pub(super) fn put_long_part_header(out: &mut BytesMut, size: usize) {
    out.put_u8(MORE | LONG);
    out.put_u64(u64::try_from(size).unwrap_or(u64::MAX));
}

/// Appends a frame, with the shortest size.
pub(super) fn put_frame(out: &mut BytesMut, kind: FrameKind, body: impl Buf) {
    let flags = match kind {
        FrameKind::PartBeforeMore => MORE,
        FrameKind::LastPart => 0,
        FrameKind::Command => COMMAND,
    };
    put_header(out, flags, body.remaining());
    out.put(body);
}

/// The maximum length of a header in bytes.
#[cfg(feature = "curve")]
pub(super) const MAX_HEADER: usize = 9;

/// Returns the length of the header of a body of `size` bytes.
#[cfg(feature = "curve")]
pub(super) fn header_length(size: usize) -> usize {
    if size <= usize::from(u8::MAX) { 2 } else { MAX_HEADER }
}

/// Consumes the header of a frame that this side has encoded. Returns the kind and the size, or `None` if it is incomplete.
#[cfg(feature = "curve")]
pub(super) fn take_header(frames: &mut impl Buf) -> Option<(FrameKind, usize)> {
    let flags = frames.try_get_u8().ok()?;
    let size =
        if flags & LONG == 0 { frames.try_get_u8().ok()?.into() } else { frames.try_get_u64().ok()? };
    let kind = match flags & (MORE | COMMAND) {
        0 => FrameKind::LastPart,
        MORE => FrameKind::PartBeforeMore,
        _ => FrameKind::Command,
    };
    Some((kind, usize::try_from(size).ok()?))
}

/// Appends the header of the last part of a message, with a size of 8 bytes that [`set_last_size`] sets.
pub(super) fn put_last_part_header(out: &mut BytesMut) {
    out.put_u8(LONG);
    out.put_u64(0);
}

/// Sets the size in the header that [`put_last_part_header`] has appended. It is the number of bytes of `out` from `body` on.
pub(super) fn set_last_size(out: &mut BytesMut, body: usize) {
    let size = u64::try_from(out.len().saturating_sub(body)).unwrap_or(u64::MAX).to_be_bytes();
    if let Some(field) = out.get_mut(body.saturating_sub(size.len())..body) {
        field.copy_from_slice(&size);
    }
}

/// Replaces the header at `at`, which [`put_long_part_header`] has appended, by one with a size of one byte. The size must be
/// less than 256.
pub(super) fn shorten_part_header(out: &mut BytesMut, at: usize) {
    /// The first bytes of the size.
    const REMOVED: usize = 7;
    let length = out.len().saturating_sub(REMOVED);
    let Some(frame) = out.get_mut(at..).filter(|frame| frame.len() > REMOVED) else { return };
    frame.copy_within(REMOVED.., 0);
    // The two bytes that remain of the header are the flags and the last byte of the size.
    if let Some(flags) = frame.first_mut() {
        *flags = MORE;
    }
    out.truncate(length);
}

fn put_header(out: &mut BytesMut, flags: u8, size: usize) {
    match u8::try_from(size) {
        Ok(size) => out.put_slice(&[flags, size]),
        Err(_) => {
            out.put_u8(flags | LONG);
            out.put_u64(u64::try_from(size).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let (mut input, mut frames) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            input.put_u8(*byte);
            while let Some(frame) = cut(&mut input, 1000)? {
                frames.push(frame);
            }
        }
        assert!(input.is_empty(), "an incomplete frame");
        Ok(frames)
    }

    #[test]
    fn sizes_have_one_byte_or_eight() {
        for size in [0, 1, 255, 256, 1000] {
            let mut out = BytesMut::new();
            put_part_header(&mut out, true, size);
            assert_eq!(out.len(), if size <= 255 { 2 } else { 9 }, "{size}");
            out.put_bytes(7, size);
            let frames = cut_all(&out).unwrap();
            let body = BytesMut::from(&vec![7; size][..]);
            assert_eq!(frames, [Frame { more: true, is_command: false, body, length: out.len() }]);
            assert_eq!(end_of_first(&out), Some((out.len(), size > 255)));
        }
    }

    #[test]
    fn a_short_frame_may_have_a_long_size() {
        let mut out = BytesMut::new();
        put_long_part_header(&mut out, 1);
        out.put_u8(7);
        assert_eq!(cut_all(&out).unwrap().remove(0).body, [7][..]);
    }

    #[test]
    fn invalid_headers_are_refused_before_the_body_arrives() {
        let mut largest = vec![2];
        largest.extend(u64::MAX.to_be_bytes());
        let mut highest_bit = vec![6];
        highest_bit.extend((1_u64 << 63).to_be_bytes());
        let mut above_limit = vec![3];
        above_limit.extend(1001_u64.to_be_bytes());
        let limit = 1000;
        for (bytes, error) in [
            (&[8][..], FrameError::Flags(8)),
            (&[0x80, 0], FrameError::Flags(0x80)),
            (&[0xff], FrameError::Flags(0xff)),
            (&[5, 0], FrameError::CommandWithMore),
            (&[7], FrameError::CommandWithMore),
            (&above_limit, FrameError::TooLarge { size: 1001, limit }),
            (&largest, FrameError::TooLarge { size: u64::MAX, limit }),
            (&highest_bit, FrameError::TooLarge { size: 1 << 63, limit }),
        ] {
            assert_eq!(cut(&mut bytes.into(), limit), Err(error), "{bytes:x?}");
        }
    }
}
