//! Memory that a thread reads into and writes from, again and again.
//!
//! It belongs to the thread and not to a connection, so that a peer which says nothing keeps none of it, however busy it
//! was before. The allocator would give it back to the system, and take it anew for the next read.

use std::cell::RefCell;

use bytes::BytesMut;

/// The bytes of one piece.
pub(super) const PIECE: usize = 64 * 1024;

/// How many pieces a thread keeps: about as many as one peer's queue and connection hold, full of small messages.
const MOST_PIECES: usize = 12;

thread_local! {
    static USED: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// A whole piece, empty: one that was used before and is held by nobody any more, or a new one.
pub(super) fn take() -> BytesMut {
    // Not while the thread ends.
    let used = USED.try_with(|used| {
        let mut used = used.borrow_mut();
        used.iter_mut().rposition(|used| used.try_reclaim(PIECE)).map(|at| used.swap_remove(at))
    });
    used.ok().flatten().unwrap_or_else(|| BytesMut::with_capacity(PIECE))
}

/// Lets others use a piece, when nobody holds on to what was put there.
pub(super) fn give_back(mut piece: BytesMut) {
    piece.clear();
    let _ = USED.try_with(|used| {
        let mut used = used.borrow_mut();
        if used.len() < MOST_PIECES {
            used.push(piece);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_used_again_once_nobody_holds_what_is_in_it() {
        let mut piece = take();
        let memory = piece.as_ptr();
        piece.extend_from_slice(b"frame");
        let frame = piece.split().freeze();
        give_back(piece);
        let other = take();
        assert_ne!(other.as_ptr(), memory, "somebody holds it");
        drop(frame);
        let again = take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (memory, 0, PIECE));
    }
}
