//! Reassembles one direction of a TCP connection from segments in any order.

use std::collections::BTreeMap;

/// Maximum memory for the bytes after a gap, in bytes. If they need more, the gap is reported as lost.
const MAX_MEMORY: usize = 4 * 1024 * 1024;

/// Approximate memory of a buffered piece in addition to its bytes.
const PIECE: usize = 64;

/// If the receiver has acknowledged the bytes of a gap, the capture lacks them, or contains them later. After this number of
/// additional segments, they are reported as lost.
const MAX_WAIT: u32 = 64;

/// Maximum distance of a segment from the expected one: the largest window of TCP.
const WINDOW: u64 = 1 << 30;

/// The next part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Bytes(&'a [u8]),
    /// This number of bytes is not in the capture.
    Lost(u64),
    /// This number of bytes was truncated when the packet was captured.
    Cut(u64),
}

enum Held {
    Bytes(Vec<u8>),
    Cut(u64),
}

impl Held {
    fn length(&self) -> u64 {
        match self {
            Held::Bytes(bytes) => long(bytes.len()),
            Held::Cut(count) => *count,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Held::Bytes(bytes) => bytes.len().saturating_add(PIECE),
            Held::Cut(_) => PIECE,
        }
    }
}

/// The bytes of one side. Offsets count from the first byte after the side's SYN or, without a SYN, from the first captured
/// byte.
#[derive(Default)]
pub(super) struct Stream {
    /// The sequence number of the next expected byte.
    next: Option<u32>,
    /// The offset of the next expected byte.
    offset: u64,
    /// Pieces after a gap, by offset.
    held: BTreeMap<u64, Held>,
    memory: usize,
    /// The offset up to which the receiver has acknowledged all bytes.
    acked: u64,
    /// The offset of the end of the stream.
    end: Option<u64>,
    /// The number of segments since the receiver acknowledged the gap.
    waited: u32,
}

impl Stream {
    /// Sets the sequence number of the first byte, unless it is known.
    pub(super) fn starts_at(&mut self, seq: u32) {
        self.next.get_or_insert(seq);
    }

    /// Returns whether everything up to the side's FIN was returned.
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| end <= self.offset)
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Adds a segment of this side: its sequence number, its bytes, the number of bytes that were not captured, and whether it
    /// is the last.
    pub(super) fn segment(
        &mut self,
        seq: u32,
        bytes: &[u8],
        cut: usize,
        fin: bool,
        sink: &mut impl FnMut(Piece<'_>),
    ) {
        self.starts_at(seq);
        let Some(start) = self.position(seq) else { return };
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let cut_at = start.saturating_add(length);
        let end = cut_at.saturating_add(cut.try_into().unwrap_or(i64::MAX));
        if let (true, Ok(end)) = (fin, u64::try_from(end)) {
            self.end.get_or_insert(end);
        }
        if let Some((start, bytes)) = self.new_part(start, bytes) {
            if start == self.offset {
                self.advance(long(bytes.len()));
                sink(Piece::Bytes(bytes));
            } else {
                self.hold(start, Held::Bytes(bytes.to_vec()));
            }
        }
        if let Ok(at) = u64::try_from(cut_at)
            && cut > 0
        {
            self.hold(at, Held::Cut(long(cut)));
        }
        self.drain(sink);
        while self.memory > MAX_MEMORY {
            self.skip_gap(sink);
        }
    }

    /// Records that the receiver has acknowledged everything before a sequence number.
    pub(super) fn acknowledged(&mut self, ack: u32) {
        self.starts_at(ack);
        if let Some(at) = self.position(ack).and_then(|at| u64::try_from(at).ok()) {
            self.acked = self.acked.max(at);
        }
    }

    /// Called after each segment of either side.
    pub(super) fn tick(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if self.held.first_key_value().is_some_and(|(start, _)| *start <= self.acked) {
            self.waited = self.waited.saturating_add(1);
            if self.waited > MAX_WAIT {
                self.skip_gap(sink);
            }
        } else {
            self.waited = 0;
        }
    }

    /// Ends the stream: no more segments follow.
    pub(super) fn finish(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        while !self.held.is_empty() {
            self.skip_gap(sink);
        }
        // A FIN counts as one byte. The receiver may have acknowledged this byte, which is not missing.
        let acked = self.end.map_or(self.acked, |end| self.acked.min(end));
        let missing = acked.saturating_sub(self.offset);
        if missing > 1 {
            self.advance(missing);
            sink(Piece::Lost(missing));
        }
    }

    /// Returns the offset of a sequence number, if it is within the window. It may be before the first byte.
    fn position(&self, seq: u32) -> Option<i64> {
        let ahead = i64::from(seq.wrapping_sub(self.next?).cast_signed());
        let most = i64::try_from(WINDOW).unwrap_or(i64::MAX);
        (ahead <= most).then(|| i64::try_from(self.offset).unwrap_or(i64::MAX).saturating_add(ahead))
    }

    /// Returns the part of `bytes` that was not passed on yet, and the offset of this part.
    fn new_part<'a>(&self, start: i64, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let offset = i64::try_from(self.offset).ok()?;
        let known = usize::try_from(offset.saturating_sub(start)).unwrap_or(0);
        let part = bytes.get(known..).filter(|part| !part.is_empty())?;
        Some((u64::try_from(start.max(offset)).ok()?, part))
    }

    fn hold(&mut self, start: u64, held: Held) {
        if start.saturating_add(held.length()) <= self.offset {
            return;
        }
        // Prefer captured bytes to truncated ones, and a longer piece to a shorter one.
        let is_worse = match (self.held.get(&start), &held) {
            (None, _) | (Some(Held::Cut(_)), Held::Bytes(_)) => false,
            (Some(Held::Bytes(_)), Held::Cut(_)) => true,
            (Some(known), _) => known.length() >= held.length(),
        };
        if is_worse {
            return;
        }
        self.memory = self.memory.saturating_add(held.memory());
        if let Some(old) = self.held.insert(start, held) {
            self.memory = self.memory.saturating_sub(old.memory());
        }
    }

    fn advance(&mut self, count: u64) {
        self.offset = self.offset.saturating_add(count);
        let step = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0);
        self.next = self.next.map(|next| next.wrapping_add(step));
        self.waited = 0;
    }

    /// Passes on the held pieces that follow the current offset without a gap.
    fn drain(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        while let Some(first) = self.held.first_entry()
            && *first.key() <= self.offset
        {
            let (start, held) = first.remove_entry();
            self.memory = self.memory.saturating_sub(held.memory());
            let known = self.offset.saturating_sub(start);
            match held {
                Held::Bytes(bytes) => {
                    let part = usize::try_from(known).ok().and_then(|known| bytes.get(known..));
                    let part = part.unwrap_or_default();
                    if !part.is_empty() {
                        self.advance(long(part.len()));
                        sink(Piece::Bytes(part));
                    }
                }
                Held::Cut(count) => {
                    // Report only up to the next held piece, which may contain the bytes that were truncated here.
                    let end = start.saturating_add(count);
                    let until = self.held.first_key_value().map_or(end, |(next, _)| end.min(*next));
                    let missing = until.saturating_sub(self.offset);
                    if until < end {
                        self.hold(until, Held::Cut(end.saturating_sub(until)));
                    }
                    if missing > 0 {
                        self.advance(missing);
                        sink(Piece::Cut(missing));
                    }
                }
            }
        }
    }

    /// Reports the gap as lost and continues with the first held piece.
    fn skip_gap(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if let Some((start, _)) = self.held.first_key_value() {
            let missing = start.saturating_sub(self.offset);
            if missing > 0 {
                self.advance(missing);
                sink(Piece::Lost(missing));
            }
            self.drain(sink);
        }
    }
}

fn long(length: usize) -> u64 {
    length.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reassembles `segments`, each with its sequence number, its bytes and its number of truncated bytes. Returns the bytes
    /// and the gaps.
    fn reassembled(segments: &[(u32, &[u8], usize)], acked: u32) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut missing) = (Vec::new(), Vec::new());
        let mut sink = |piece: Piece<'_>| match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            other => missing.push(format!("{other:?}")),
        };
        let mut stream = Stream::default();
        stream.starts_at(0);
        for (seq, bytes, cut) in segments {
            stream.segment(*seq, bytes, *cut, false, &mut sink);
        }
        stream.acknowledged(acked);
        stream.finish(&mut sink);
        assert_eq!(stream.memory(), 0);
        (bytes, missing)
    }

    #[test]
    fn the_longer_of_two_pieces_is_kept() {
        for pieces in [[(2, &b"cd"[..], 0), (2, b"cdef", 0)], [(2, b"cdef", 0), (2, b"cd", 0)]] {
            let (bytes, missing) = reassembled(&[pieces[0], pieces[1], (0, b"ab", 0)], 0);
            assert_eq!((bytes.as_slice(), missing.len()), (&b"abcdef"[..], 0));
        }
    }

    #[test]
    fn truncated_bytes_may_be_retransmitted() {
        let (bytes, missing) = reassembled(&[(2, b"c", 3), (3, b"def", 0), (0, b"ab", 0)], 6);
        assert_eq!((bytes.as_slice(), missing.len()), (&b"abcdef"[..], 0));
        let (bytes, missing) = reassembled(&[(0, b"ab", 3), (5, b"f", 0)], 6);
        assert_eq!((bytes.as_slice(), missing), (&b"abf"[..], vec!["Cut(3)".to_owned()]));
    }

    #[test]
    fn acknowledged_bytes_that_were_not_captured_are_lost() {
        let (bytes, missing) = reassembled(&[(0, b"ab", 0), (4, b"ef", 0)], 9);
        assert_eq!((bytes.as_slice(), missing), (&b"abef"[..], vec!["Lost(2)".into(), "Lost(3)".into()]));
    }

    #[test]
    fn the_memory_of_pieces_after_a_gap_is_bounded() {
        let mut stream = Stream::default();
        stream.starts_at(0);
        let (mut lost, mut count) = (0, 0);
        for number in 0..10_000u32 {
            let seq = number.wrapping_mul(1000).wrapping_add(5);
            stream.segment(seq, &[7; 999], 0, false, &mut |piece| match piece {
                Piece::Bytes(bytes) => count += bytes.len(),
                Piece::Lost(bytes) => lost += bytes,
                Piece::Cut(_) => panic!("nothing was truncated"),
            });
            assert!(stream.memory() <= MAX_MEMORY);
        }
        assert!(lost > 5000 && count > 5_000_000, "{lost} {count}");
    }
}
