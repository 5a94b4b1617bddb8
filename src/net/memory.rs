//! Reusable buffers of a thread, for reading and encoding, and the rules for how long data may keep them allocated.
//!
//! A buffer belongs to the thread and not to a connection, so an idle peer keeps no buffer, even if it was busy before.
//! Without reuse, the allocator would return the memory to the system after each read, and request it again for the
//! next one.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::wire::Envelope;

/// The size of one buffer in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// The maximum length in bytes of a frame that is copied, and of frames that share one buffer. It is the maximum length of
/// one read.
///
/// The payload of a longer frame is not copied. Such a frame occupies a large part of the memory that it was read into,
/// because [`Input`](super::input::Input) begins a new buffer after it.
pub(super) const SHARED_BUFFER: usize = PIECE;

/// The maximum number of buffers that a thread keeps. One peer needs about this number when its queue and its connection
/// are full of messages of about 1 kB.
pub(super) const MAX_KEPT: usize = 32;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty buffer of [`PIECE`] bytes: a used buffer to which there are no more references, or a new buffer.
pub(super) fn take() -> BytesMut {
    // Fails while the thread ends.
    let kept = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        kept.iter_mut().rposition(|buffer| buffer.try_reclaim(PIECE)).map(|at| kept.swap_remove(at))
    });
    kept.ok().flatten().unwrap_or_else(|| BytesMut::with_capacity(PIECE))
}

/// Makes a buffer available to [`take`] as soon as there is no reference to its content. Pass only buffers whose memory is
/// [`PIECE`] bytes long: the thread keeps this memory, and a larger one would be usable while there are references to it.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.push(buffer);
        }
    });
}

/// Returns the number of bytes that are copied when a message is encoded. This is the complete frame or, if the payload is
/// large, only the part before the payload.
pub(super) fn copied(envelope: &Envelope) -> usize {
    let length = envelope.frame_length();
    if length > SHARED_BUFFER { length.saturating_sub(envelope.payload.len()) } else { length }
}

/// Returns the same message in a form that may be stored. The returned message keeps at most a few times its own length
/// allocated.
///
/// The frames of one read share one buffer of up to 64 KiB, so that one small message could keep a thousand times its
/// length allocated. Small messages are therefore copied. The copy takes less time than reading the message did.
///
/// A frame that is as long as a full read is not copied. It occupies a large part of its memory, because
/// [`Input`](super::input::Input) begins a new buffer after it.
pub(crate) fn for_keeping(envelope: Envelope) -> Envelope {
    if envelope.frame_length() < SHARED_BUFFER { envelope.detached() } else { envelope }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_reused_once_nothing_refers_to_its_content() {
        let mut buffer = take();
        let memory = buffer.as_ptr();
        buffer.extend_from_slice(b"frame");
        let frame = buffer.split().freeze();
        give_back(buffer);
        let other = take();
        assert_ne!(other.as_ptr(), memory, "the frame refers to it");
        drop(frame);
        let again = take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (memory, 0, PIECE));
    }
}
