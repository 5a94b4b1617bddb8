//! Buffers that a thread reads into and encodes into, again and again, and rules for what may keep them.
//!
//! A buffer belongs to the thread and not to a connection, so that an idle peer keeps none of it, however busy it was
//! before. The allocator would return the memory to the system, and fetch it again for the next read.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::wire::Envelope;

/// The size of one buffer in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// The length in bytes up to which a frame is copied, and up to which frames share one buffer. It is the maximum of one read:
/// a longer frame occupies a good part of the memory that it was read into ([`Input`](super::input::Input) begins a new buffer
/// after it), and its payload is not copied.
pub(super) const SHARED_BUFFER: usize = PIECE;

/// How many buffers a thread keeps: about as many as the queue and the connection of one peer hold when they are full of small
/// messages.
const MAX_KEPT: usize = 12;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty buffer of [`PIECE`] bytes: one that was used before and that nothing refers to any more, or a new one.
pub(super) fn take() -> BytesMut {
    // Fails while the thread ends.
    let kept = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        kept.iter_mut().rposition(|buffer| buffer.try_reclaim(PIECE)).map(|at| kept.swap_remove(at))
    });
    kept.ok().flatten().unwrap_or_else(|| BytesMut::with_capacity(PIECE))
}

/// Makes a buffer available to [`take`], once nothing refers to its content any more.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.push(buffer);
        }
    });
}

/// Returns how many bytes of a message's frame are copied when it is encoded: all, or those before a large payload.
pub(super) fn copied(envelope: &Envelope) -> usize {
    let length = envelope.frame_length();
    if length > SHARED_BUFFER { length.saturating_sub(envelope.payload.len()) } else { length }
}

/// Returns the same message in a form that may be kept: it keeps at most a few times its own length allocated.
///
/// The frames of one read share one buffer of up to 64 KiB, so that one small message could keep a thousand times its length
/// allocated. Small messages are therefore copied, which takes less time than reading them did. A frame as long as a full
/// read occupies a good part of its memory ([`Input`](super::input::Input) begins a new buffer after it), and is not copied.
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
