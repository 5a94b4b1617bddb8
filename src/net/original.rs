//! The frames of messages as they were received from a ZeroMQ cluster. The messages of a batch that returns to the same cluster are
//! sent in these bytes: they are neither encoded nor copied.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// The frames of a message as they were received.
#[derive(Clone, Debug)]
pub(crate) struct Original<'a> {
    /// The memory that contains the frames of this message and of others.
    pub(super) memory: &'a Bytes,
    pub(super) range: Range<usize>,
    /// The start and the length of the buffer that `memory` keeps allocated.
    pub(super) allocation: (usize, usize),
}

/// The frames of all messages of a batch, if they are adjacent in one piece of memory. Otherwise, those of none.
#[derive(Debug, Default)]
pub(super) struct Originals {
    memory: Bytes,
    allocation: (usize, usize),
    ranges: VecDeque<Range<usize>>,
}

impl Originals {
    /// Records the frames of a message that is added to a batch of `length` messages and has room for `capacity` messages.
    pub(super) fn push(&mut self, original: Option<Original<'_>>, length: usize, capacity: usize) {
        let Some(Original { memory, range, allocation }) = original else {
            if self.is_complete() {
                self.clear();
            }
            return;
        };
        if length == 0 {
            self.clear();
            self.ranges.reserve(capacity);
            self.memory = memory.clone();
            self.allocation = allocation;
        } else if !self.ends_before(length, memory, &range) {
            return self.clear();
        }
        self.ranges.push_back(range);
    }

    /// Returns whether the frames of all `length` messages are known, and `range` of `memory` is next to the last of them.
    fn ends_before(&self, length: usize, memory: &Bytes, range: &Range<usize>) -> bool {
        self.ranges.len() == length
            && self.memory.as_ptr() == memory.as_ptr()
            && self.ranges.back().is_some_and(|last| last.end == range.start)
    }

    /// Removes the frames of the first message. They can still be returned by [`Originals::at`].
    pub(super) fn pop(&mut self) -> Option<Range<usize>> {
        self.ranges.pop_front()
    }

    /// Returns the frames at a position that [`Originals::pop`] has returned.
    pub(super) fn at(&self, range: Range<usize>) -> Original<'_> {
        Original { memory: &self.memory, range, allocation: self.allocation }
    }

    /// Returns whether the frames of all messages are known.
    pub(super) fn is_complete(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Returns the frames of all messages, and the start and the length of the buffer that they keep allocated.
    pub(super) fn joined(&self) -> Option<(Bytes, (usize, usize))> {
        let all = self.ranges.front()?.start..self.ranges.back()?.end;
        Some((self.memory.slice(all), self.allocation))
    }

    /// Forgets all frames, and releases their memory. Keeps the memory of the list.
    pub(super) fn clear(&mut self) {
        self.memory = Bytes::new();
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOCATION: (usize, usize) = (1, 2);

    fn original(memory: &Bytes, range: Range<usize>) -> Option<Original<'_>> {
        Some(Original { memory, range, allocation: ALLOCATION })
    }

    #[test]
    fn adjacent_frames_are_joined_without_a_copy() {
        let memory = Bytes::from_static(b"abcdef");
        let mut originals = Originals::default();
        for (length, range) in [1..2, 2..4, 4..5].into_iter().enumerate() {
            originals.push(original(&memory, range), length, 0);
        }
        let (joined, allocation) = originals.joined().unwrap();
        assert_eq!((&*joined, joined.as_ptr(), allocation), (&b"bcde"[..], memory[1..].as_ptr(), ALLOCATION));
        let first = originals.pop().unwrap();
        assert_eq!((first.clone(), originals.at(first).range), (1..2, 1..2));
        assert_eq!(&*originals.joined().unwrap().0, b"cde");
        originals.clear();
        assert!(originals.joined().is_none() && originals.pop().is_none() && !originals.is_complete());
    }

    #[test]
    fn frames_that_are_not_adjacent_are_not_used() {
        let (memory, other) = (Bytes::from_static(b"abcdef"), Bytes::copy_from_slice(b"abcdef"));
        for second in [original(&memory, 3..4), original(&memory, 0..1), original(&other, 2..3), None] {
            let mut originals = Originals::default();
            originals.push(original(&memory, 1..2), 0, 0);
            originals.push(second.clone(), 1, 0);
            assert!(originals.joined().is_none(), "{second:?}");
            // Not even if the frames of later messages are adjacent.
            originals.push(original(&memory, 2..3), 2, 0);
            originals.push(original(&memory, 3..4), 3, 0);
            assert!(originals.joined().is_none(), "{second:?}");
            // The next batch begins.
            originals.push(original(&memory, 4..5), 0, 0);
            assert_eq!(&*originals.joined().unwrap().0, b"e");
        }
    }
}
