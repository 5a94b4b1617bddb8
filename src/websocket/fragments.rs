//! Frames from a stream, and messages from fragments (RFC 6455, section 5.4).

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{FrameError, Header, Opcode, apply_mask};

/// The parts of a message that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    partial: Option<(Opcode, BytesMut)>,
}

impl Fragments {
    /// Returns whether there is no incomplete message.
    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_none()
    }

    /// Returns the number of bytes of the incomplete message.
    pub(super) fn len(&self) -> usize {
        self.partial.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// Removes the first frame from `input`, and the mask from its payload. `None` if the frame is incomplete. Fails as
    /// soon as a message would be longer than `limit`, before its payload is received.
    pub(super) fn cut(
        &self,
        input: &mut BytesMut,
        limit: usize,
    ) -> Result<Option<(Header, Bytes)>, FrameError> {
        let Some(header) = Header::read(input)? else { return Ok(None) };
        if !header.opcode.is_control() {
            match (header.opcode, &self.partial) {
                (Opcode::Continuation, None) => return Err(FrameError::NotStarted),
                (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::NotFinished),
                _ => {}
            }
            let room = limit.saturating_sub(self.len());
            if usize::try_from(header.payload).map_or(true, |payload| payload > room) {
                return Err(FrameError::TooLarge { limit });
            }
        }
        if input.len() < header.frame_length() {
            return Ok(None);
        }
        let mut frame = input.split_to(header.frame_length());
        frame.advance(header.length);
        if let Some(mask) = header.mask {
            apply_mask(mask, &mut frame);
        }
        Ok(Some((header, frame.freeze())))
    }

    /// Adds a data frame that [`Fragments::cut`] has returned. Returns the message if it is complete.
    pub(super) fn add(&mut self, header: &Header, payload: Bytes) -> Option<(Opcode, Bytes)> {
        match (self.partial.take(), header.last) {
            (None, true) => Some((header.opcode, payload)),
            (None, false) => {
                self.partial = Some((header.opcode, BytesMut::from(&*payload)));
                None
            }
            (Some((opcode, mut bytes)), last) => {
                bytes.extend_from_slice(&payload);
                if last {
                    return Some((opcode, bytes.freeze()));
                }
                self.partial = Some((opcode, bytes));
                None
            }
        }
    }
}
