//! One direction of a TCP connection, from segments in whatever order to bytes in theirs.

use std::collections::BTreeMap;

/// How many bytes wait for others that come before them, with what keeping them costs. Above, the others are given up.
const MAX_HELD: usize = 4 * 1024 * 1024;

/// What keeping a piece costs beside its bytes.
const PIECE: usize = 64;

/// How many segments of the connection may still come once the receiver has acknowledged what is missing here.
/// It is then not in the capture, or the capture is in disorder.
const PATIENCE: u32 = 64;

/// How far ahead of what is expected a segment may be: the largest window that TCP has.
const WINDOW: u64 = 1 << 30;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Bytes(&'a [u8]),
    /// So many bytes are not in the capture.
    Lost(u64),
    /// So many bytes were cut off when the packet was captured.
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

    fn cost(&self) -> usize {
        match self {
            Held::Bytes(bytes) => bytes.len().saturating_add(PIECE),
            Held::Cut(_) => PIECE,
        }
    }
}

/// What one side sends. Offsets count from the first byte behind its SYN, or the first that was captured.
#[derive(Default)]
pub(super) struct Stream {
    /// The sequence number of the byte that is expected.
    next: Option<u32>,
    /// Its offset.
    offset: u64,
    held: BTreeMap<u64, Held>,
    cost: usize,
    /// Up to where the receiver has everything.
    acked: u64,
    /// Where the stream ends.
    end: Option<u64>,
    /// How many segments came since the receiver has what is missing here.
    waited: u32,
}

impl Stream {
    /// Tells at which sequence number the first byte is.
    pub(super) fn starts_at(&mut self, seq: u32) {
        self.next.get_or_insert(seq);
    }

    /// Whether everything up to the side's FIN was given.
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| end <= self.offset)
    }

    /// Bytes of memory that are held.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Takes a segment of this side: its sequence number, its bytes, how many more it had, and whether it is the last.
    pub(super) fn segment(
        &mut self,
        seq: u32,
        bytes: &[u8],
        cut: usize,
        fin: bool,
        give: &mut impl FnMut(Piece<'_>),
    ) {
        self.starts_at(seq);
        let Some(start) = self.position(seq) else { return };
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let cut_at = start.saturating_add(length);
        let end = cut_at.saturating_add(cut.try_into().unwrap_or(i64::MAX));
        if let (true, Ok(end)) = (fin, u64::try_from(end)) {
            self.end.get_or_insert(end);
        }
        if let Some((start, bytes)) = self.news(start, bytes) {
            if start == self.offset {
                self.advance(long(bytes.len()));
                give(Piece::Bytes(bytes));
            } else {
                self.hold(start, Held::Bytes(bytes.to_vec()));
            }
        }
        if let Ok(at) = u64::try_from(cut_at)
            && cut > 0
        {
            self.hold(at, Held::Cut(long(cut)));
        }
        self.drain(give);
        while self.cost > MAX_HELD {
            self.give_up_hole(give);
        }
    }

    /// Takes that the receiver has everything before a sequence number.
    pub(super) fn acknowledged(&mut self, ack: u32) {
        self.starts_at(ack);
        if let Some(at) = self.position(ack).and_then(|at| u64::try_from(at).ok()) {
            self.acked = self.acked.max(at);
        }
    }

    /// Takes that a segment of the connection, of either side, was seen to its end.
    pub(super) fn tick(&mut self, give: &mut impl FnMut(Piece<'_>)) {
        if self.held.first_key_value().is_some_and(|(start, _)| *start <= self.acked) {
            self.waited = self.waited.saturating_add(1);
            if self.waited > PATIENCE {
                self.give_up_hole(give);
            }
        } else {
            self.waited = 0;
        }
    }

    /// Takes that nothing more comes.
    pub(super) fn finish(&mut self, give: &mut impl FnMut(Piece<'_>)) {
        while !self.held.is_empty() {
            self.give_up_hole(give);
        }
        // A FIN counts as a byte, and may be what was acknowledged.
        let acked = self.end.map_or(self.acked, |end| self.acked.min(end));
        let missing = acked.saturating_sub(self.offset);
        if missing > 1 {
            self.advance(missing);
            give(Piece::Lost(missing));
        }
    }

    /// The offset of a sequence number, if it is a plausible one. It may be before the beginning.
    fn position(&self, seq: u32) -> Option<i64> {
        let ahead = i64::from(seq.wrapping_sub(self.next?).cast_signed());
        let most = i64::try_from(WINDOW).unwrap_or(i64::MAX);
        (ahead <= most).then(|| i64::try_from(self.offset).unwrap_or(i64::MAX).saturating_add(ahead))
    }

    /// What of `bytes` was not given yet, and where it stands.
    fn news<'a>(&self, start: i64, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let offset = i64::try_from(self.offset).ok()?;
        let known = usize::try_from(offset.saturating_sub(start)).unwrap_or(0);
        let news = bytes.get(known..).filter(|news| !news.is_empty())?;
        Some((u64::try_from(start.max(offset)).ok()?, news))
    }

    fn hold(&mut self, start: u64, held: Held) {
        if start.saturating_add(held.length()) <= self.offset {
            return;
        }
        // Bytes are better than to know that they were cut off; more of them are better than fewer.
        let worse = match (self.held.get(&start), &held) {
            (None, _) | (Some(Held::Cut(_)), Held::Bytes(_)) => false,
            (Some(Held::Bytes(_)), Held::Cut(_)) => true,
            (Some(there), _) => there.length() >= held.length(),
        };
        if worse {
            return;
        }
        self.cost = self.cost.saturating_add(held.cost());
        if let Some(old) = self.held.insert(start, held) {
            self.cost = self.cost.saturating_sub(old.cost());
        }
    }

    fn advance(&mut self, count: u64) {
        self.offset = self.offset.saturating_add(count);
        let step = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0);
        self.next = self.next.map(|next| next.wrapping_add(step));
        self.waited = 0;
    }

    /// Gives what is held and follows what was given.
    fn drain(&mut self, give: &mut impl FnMut(Piece<'_>)) {
        while let Some(first) = self.held.first_entry()
            && *first.key() <= self.offset
        {
            let (start, held) = first.remove_entry();
            self.cost = self.cost.saturating_sub(held.cost());
            let known = self.offset.saturating_sub(start);
            match held {
                Held::Bytes(bytes) => {
                    let news = usize::try_from(known).ok().and_then(|known| bytes.get(known..));
                    let news = news.unwrap_or_default();
                    if !news.is_empty() {
                        self.advance(long(news.len()));
                        give(Piece::Bytes(news));
                    }
                }
                Held::Cut(count) => {
                    // As far as nobody else has the bytes.
                    let end = start.saturating_add(count);
                    let until = self.held.first_key_value().map_or(end, |(next, _)| end.min(*next));
                    let missing = until.saturating_sub(self.offset);
                    if until < end {
                        self.hold(until, Held::Cut(end.saturating_sub(until)));
                    }
                    if missing > 0 {
                        self.advance(missing);
                        give(Piece::Cut(missing));
                    }
                }
            }
        }
    }

    /// Goes on with the first that is held.
    fn give_up_hole(&mut self, give: &mut impl FnMut(Piece<'_>)) {
        if let Some((start, _)) = self.held.first_key_value() {
            let missing = start.saturating_sub(self.offset);
            if missing > 0 {
                self.advance(missing);
                give(Piece::Lost(missing));
            }
            self.drain(give);
        }
    }
}

fn long(length: usize) -> u64 {
    length.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of segments: their sequence numbers, bytes, and how many were cut off.
    fn given(segments: &[(u32, &[u8], usize)], acked: u32) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut missing) = (Vec::new(), Vec::new());
        let mut give = |piece: Piece<'_>| match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            other => missing.push(format!("{other:?}")),
        };
        let mut stream = Stream::default();
        stream.starts_at(0);
        for (seq, bytes, cut) in segments {
            stream.segment(*seq, bytes, *cut, false, &mut give);
        }
        stream.acknowledged(acked);
        stream.finish(&mut give);
        assert_eq!(stream.cost(), 0);
        (bytes, missing)
    }

    #[test]
    fn the_longer_of_two_pieces_is_kept() {
        for pieces in [[(2, &b"cd"[..], 0), (2, b"cdef", 0)], [(2, b"cdef", 0), (2, b"cd", 0)]] {
            let (bytes, missing) = given(&[pieces[0], pieces[1], (0, b"ab", 0)], 0);
            assert_eq!((bytes.as_slice(), missing.len()), (&b"abcdef"[..], 0));
        }
    }

    #[test]
    fn what_was_cut_off_may_come_again_whole() {
        let (bytes, missing) = given(&[(2, b"c", 3), (3, b"def", 0), (0, b"ab", 0)], 6);
        assert_eq!((bytes.as_slice(), missing.len()), (&b"abcdef"[..], 0));
        let (bytes, missing) = given(&[(0, b"ab", 3), (5, b"f", 0)], 6);
        assert_eq!((bytes.as_slice(), missing), (&b"abf"[..], vec!["Cut(3)".to_owned()]));
    }

    #[test]
    fn what_the_receiver_has_and_nobody_saw_is_lost() {
        let (bytes, missing) = given(&[(0, b"ab", 0), (4, b"ef", 0)], 9);
        assert_eq!((bytes.as_slice(), missing), (&b"abef"[..], vec!["Lost(2)".into(), "Lost(3)".into()]));
    }

    #[test]
    fn no_more_waits_than_there_is_room_for() {
        let mut stream = Stream::default();
        stream.starts_at(0);
        let (mut lost, mut count) = (0, 0);
        for number in 0..10_000u32 {
            let seq = number.wrapping_mul(1000).wrapping_add(5);
            stream.segment(seq, &[7; 999], 0, false, &mut |piece| match piece {
                Piece::Bytes(bytes) => count += bytes.len(),
                Piece::Lost(bytes) => lost += bytes,
                Piece::Cut(_) => panic!("nothing was cut"),
            });
            assert!(stream.cost() <= MAX_HELD);
        }
        assert!(lost > 5000 && count > 5_000_000, "{lost} {count}");
    }
}
