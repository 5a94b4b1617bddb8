//! Frames (`PROTOCOL.md`, section 1): `u32 length` + `length` bytes. The format is the same in every phase.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::EncodeError;
use super::foreign::ForeignProtocol;

/// The bytes of the length field.
pub const LENGTH_FIELD: usize = 4;

/// The boundaries of frames in a stream are lost. Nothing after this point can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length of 0.
    #[error("a frame of length 0")]
    Empty,
    /// A length beyond the limit.
    #[error("{}", TooLarge(*.length, *.limit, *.protocol))]
    TooLarge {
        /// The value of the length field.
        length: u32,
        /// The limit.
        limit: usize,
        /// The protocol that the peer speaks instead of Broker's, if its first bytes are recognized.
        protocol: Option<ForeignProtocol>,
    },
}

struct TooLarge(u32, usize, Option<ForeignProtocol>);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLarge(length, limit, protocol) = self;
        match protocol {
            // The bytes that were read as a length are in fact bytes of that protocol.
            Some(protocol) => protocol.fmt(f),
            None => write!(f, "a frame of {length} bytes, more than the limit of {limit}"),
        }
    }
}

/// Removes the first complete frame from `buffer`, and returns its bytes without the length field. Returns `None` if the
/// frame is incomplete. Copies nothing.
///
/// # Errors
/// Fails if the length field is 0 or greater than `limit`, in bytes.
pub fn cut_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let mut frame = cut_whole_frame(buffer, limit)?;
    if let Some(frame) = &mut frame {
        frame.advance(LENGTH_FIELD);
    }
    Ok(frame)
}

/// Like [`cut_frame`]. Returns the frame with its length field.
#[inline]
pub(crate) fn cut_whole_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(first) = buffer.first_chunk::<LENGTH_FIELD>().copied() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(first);
    let size = match usize::try_from(length) {
        Ok(0) => return Err(FrameError::Empty),
        Ok(size) if size <= limit => size,
        _ => {
            let protocol = ForeignProtocol::recognize(buffer);
            return Err(FrameError::TooLarge { length, limit, protocol });
        }
    };
    if buffer.len().saturating_sub(LENGTH_FIELD) < size {
        return Ok(None);
    }
    Ok(Some(buffer.split_to(size.saturating_add(LENGTH_FIELD)).freeze()))
}

/// Appends a frame to `out`: reserves the length field, calls `body` to write the content, and fills in the length.
///
/// # Errors
/// Fails if `body` fails or the frame is too long for its length field. `out` is then unchanged.
pub fn put_frame(
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_u32(0);
    let written = body(out).and_then(|()| {
        let length = out.len().saturating_sub(start).saturating_sub(LENGTH_FIELD);
        frame_length(length)
    });
    match written {
        Ok(length) => {
            if let Some(field) = out.get_mut(start..).and_then(|tail| tail.first_chunk_mut()) {
                *field = length.to_be_bytes();
            }
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Returns the value of the length field.
pub(super) fn frame_length(length: usize) -> Result<u32, EncodeError> {
    // The maximum that Broker's C++ implementation accepts.
    const MAX: u32 = (1 << 31) - 5;
    match u32::try_from(length) {
        Ok(length) if length <= MAX => Ok(length),
        _ => Err(EncodeError::TooLong { what: "frame", length, max: MAX.try_into().unwrap_or(usize::MAX) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_complete_for_any_division_of_the_input() {
        let mut stream = BytesMut::new();
        for body in [&b"a"[..], &[0; 300]] {
            put_frame(&mut stream, |out| {
                out.put_slice(body);
                Ok(())
            })
            .unwrap();
        }
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in stream {
            buffer.put_u8(byte);
            while let Some(frame) = cut_frame(&mut buffer, 300).unwrap() {
                seen.push(frame.len());
            }
        }
        assert_eq!(seen, [1, 300]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn impossible_lengths_end_the_stream_at_once() {
        let cut = |bytes: &[u8]| cut_frame(&mut bytes.into(), 1000);
        assert_eq!(cut(&[0, 0, 0, 0]), Err(FrameError::Empty));
        assert_eq!(cut(&[0, 0, 3, 0xe8]), Ok(None));
        assert!(matches!(cut(&[0, 0, 3, 0xe9]), Err(FrameError::TooLarge { length: 1001, .. })));
        assert_eq!(cut(&[0xff, 0xff, 0xff]), Ok(None));
    }

    #[test]
    fn other_protocols_are_named_in_the_error() {
        for (first, word) in [
            (&b"\x16\x03\x01\x02"[..], "TLS"),
            (b"GET ", "HTTP"),
            (b"SSH-", "SSH"),
            (b"\xff\0\0\0\0\0\0\0\x01\x7f", "ZeroMQ"),
        ] {
            let error = cut_frame(&mut first.into(), 1000).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert!(!error.to_string().contains("a frame of"), "{error}");
        }
    }

    #[test]
    fn a_frame_may_be_as_long_as_broker_accepts_and_no_longer() {
        let max = 2_147_483_643;
        assert_eq!(frame_length(max), Ok(2_147_483_643));
        let length = max + 1;
        assert_eq!(frame_length(length), Err(EncodeError::TooLong { what: "frame", length, max }));
    }

    #[test]
    fn a_failed_body_leaves_the_output_unchanged() {
        let mut out = BytesMut::from(&b"before"[..]);
        let result = put_frame(&mut out, |out| {
            out.put_slice(b"half");
            Err(EncodeError::TooDeep)
        });
        assert_eq!(result, Err(EncodeError::TooDeep));
        assert_eq!(out, b"before"[..]);
    }
}
