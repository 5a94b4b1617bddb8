//! Frames of RFC 6455 (section 5): their header, mask and close code.

use bytes::{BufMut, BytesMut};

use crate::wire::EncodeError;

/// The close codes that this crate sends (RFC 6455, section 7.4).
pub(super) const NORMAL: u16 = 1000;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const PROTOCOL: u16 = 1002;
pub(super) const INVALID_DATA: u16 = 1007;
pub(super) const POLICY: u16 = 1008;
pub(super) const TOO_BIG: u16 = 1009;
pub(super) const INTERNAL: u16 = 1011;

/// Represents a close frame without a code. It is never sent.
pub(super) const NO_CODE: u16 = 1005;

/// The maximum length of the payload of a close, ping or pong in bytes.
pub(super) const MAX_CONTROL: usize = 125;

/// The maximum length of a header in bytes: two bytes, eight bytes of length, four bytes of mask.
pub(super) const MAX_HEADER: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn to_wire(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a reserved bit is set")]
    Reserved,
    #[error("unknown opcode {0}")]
    Opcode(u8),
    #[error("a control frame is fragmented or longer than {MAX_CONTROL} bytes")]
    Control,
    #[error("a continuation frame without a preceding fragment")]
    NotStarted,
    #[error("a message starts before the previous one is complete")]
    NotFinished,
    #[error("a frame of a server is masked")]
    Masked,
    #[error("a message is longer than the limit of {limit} bytes")]
    TooLarge { limit: usize },
    #[error("a text message is not UTF-8")]
    Utf8,
    #[error("a close frame has a payload of 1 byte")]
    Close,
    #[error("a close frame has the code {0}, which may not be sent")]
    CloseCode(u16),
}

impl FrameError {
    /// Returns the code and text of the close frame, as Zeek sends them.
    pub(super) fn close(self) -> (u16, &'static str) {
        match self {
            FrameError::Reserved => (PROTOCOL, "Reserved bit used"),
            FrameError::TooLarge { .. } => (TOO_BIG, "Message too big"),
            FrameError::Utf8 => (INVALID_DATA, "Invalid frame payload data"),
            _ => (PROTOCOL, "Protocol error"),
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether this is the last frame of its message.
    pub(super) last: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    /// The length of the header in bytes.
    pub(super) length: usize,
    /// The length of the payload in bytes.
    pub(super) payload: u64,
}

impl Header {
    /// Reads the header at the start of `input`. `None` if it is incomplete.
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(FrameError::Reserved);
        }
        let last = first & FIN != 0;
        let number = first & OPCODE;
        let opcode = Opcode::from_wire(number).ok_or(FrameError::Opcode(number))?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let short = second & LENGTH;
        if opcode.is_control() && (!last || usize::from(short) > MAX_CONTROL) {
            return Err(FrameError::Control);
        }
        let (payload, rest) = match short {
            LENGTH_16 => match rest.split_first_chunk() {
                Some((length, rest)) => (u16::from_be_bytes(*length).into(), rest),
                None => return Ok(None),
            },
            LENGTH_64 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (short.into(), rest),
        };
        let (mask, rest) = match rest.split_first_chunk() {
            _ if second & MASKED == 0 => (None, rest),
            Some((mask, rest)) => (Some(*mask), rest),
            None => return Ok(None),
        };
        let length = input.len().saturating_sub(rest.len());
        Ok(Some(Header { last, opcode, mask, length, payload }))
    }

    /// Returns the length of header and payload in bytes, at most `usize::MAX`.
    pub(super) fn frame_length(&self) -> usize {
        usize::try_from(self.payload).unwrap_or(usize::MAX).saturating_add(self.length)
    }
}

/// Applies or removes a mask.
pub(super) fn apply_mask(mask: [u8; 4], payload: &mut [u8]) {
    // Eight bytes at a time, because the compiler turns this into few instructions.
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Some(chunk) = chunk.first_chunk_mut::<8>() {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Returns the header for an unfragmented message in a buffer, and the length of the header.
fn header(opcode: Opcode, length: usize, mask: Option<[u8; 4]>) -> ([u8; MAX_HEADER], usize) {
    let mut bytes = [0; MAX_HEADER];
    let mut room = bytes.as_mut_slice();
    room.put_u8(FIN | opcode.to_wire());
    let masked = if mask.is_some() { MASKED } else { 0 };
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..LENGTH_16), _) => room.put_u8(masked | short),
        (_, Ok(medium)) => {
            room.put_u8(masked | LENGTH_16);
            room.put_u16(medium);
        }
        _ => {
            room.put_u8(masked | LENGTH_64);
            room.put_u64(u64::try_from(length).unwrap_or(u64::MAX));
        }
    }
    room.put_slice(mask.as_ref().map_or(&[][..], |mask| mask));
    let unused = room.len();
    (bytes, MAX_HEADER.saturating_sub(unused))
}

/// Appends a complete message. `write` appends the payload and returns the opcode. If `write` fails, nothing is appended.
pub(super) fn put_message(
    out: &mut BytesMut,
    mask: Option<[u8; 4]>,
    write: impl FnOnce(&mut BytesMut) -> Result<Opcode, EncodeError>,
) -> Result<(), EncodeError> {
    // Room for the header of most messages. It is adjusted if the message is shorter or longer.
    let room = 4usize.saturating_add(mask.map_or(0, |mask| mask.len()));
    let start = out.len();
    let content = start.saturating_add(room);
    out.resize(content, 0);
    let opcode = match write(out) {
        Ok(opcode) => opcode,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    let payload = out.len().saturating_sub(content);
    let (bytes, length) = header(opcode, payload, mask);
    let adjusted = start.saturating_add(length);
    if adjusted > content {
        out.resize(out.len().saturating_add(adjusted.saturating_sub(content)), 0);
    }
    if adjusted != content {
        out.copy_within(content..content.saturating_add(payload), adjusted);
        out.truncate(adjusted.saturating_add(payload));
    }
    if let Some(room) = out.get_mut(start..adjusted)
        && let Some(bytes) = bytes.get(..length)
    {
        room.copy_from_slice(bytes);
    }
    if let (Some(mask), Some(payload)) = (mask, out.get_mut(adjusted..)) {
        apply_mask(mask, payload);
    }
    Ok(())
}

/// Appends a control frame. The payload is cut off after [`MAX_CONTROL`] bytes.
pub(super) fn put_control(out: &mut BytesMut, mask: Option<[u8; 4]>, opcode: Opcode, payload: &[u8]) {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    // Cannot fail, because the closure never fails.
    let _ = put_message(out, mask, |out| {
        out.put_slice(payload);
        Ok(opcode)
    });
}

/// Appends a close frame with a code and a text.
pub(super) fn put_close(out: &mut BytesMut, mask: Option<[u8; 4]>, code: u16, text: &str) {
    put_control(out, mask, Opcode::Close, &[&code.to_be_bytes(), text.as_bytes()].concat());
}

/// Reads the payload of a close frame: the code, or [`NO_CODE`] if there is none, and the text.
pub(super) fn read_close(payload: &[u8]) -> Result<(u16, &[u8]), FrameError> {
    match payload.split_first_chunk() {
        Some((code, text)) => Ok((u16::from_be_bytes(*code), text)),
        None if payload.is_empty() => Ok((NO_CODE, &[])),
        None => Err(FrameError::Close),
    }
}

/// Like [`read_close`]. Fails for codes that may not be sent (RFC 6455, section 7.4).
pub(super) fn read_valid_close(payload: &[u8]) -> Result<(u16, &[u8]), FrameError> {
    match read_close(payload)? {
        (code @ (..1000 | 1004..=1006 | 1015 | 5000..), _) if !payload.is_empty() => {
            Err(FrameError::CloseCode(code))
        }
        close => Ok(close),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 5.7, and all lengths up to several times eight bytes.
    #[test]
    fn a_mask_is_applied_to_every_byte() {
        let mut hello = *b"Hello";
        apply_mask([0x37, 0xfa, 0x21, 0x3d], &mut hello);
        assert_eq!(hello, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        for length in 0..40 {
            let mut payload = vec![0; length];
            apply_mask([1, 2, 3, 4], &mut payload);
            assert_eq!(payload, [1, 2, 3, 4].into_iter().cycle().take(length).collect::<Vec<_>>());
        }
    }
}
