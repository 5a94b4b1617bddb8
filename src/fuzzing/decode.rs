//! Decoding of a stream in chunks.

use crate::trace::{Conversation, Entry, Protocol, Side};
use crate::wire::Limits;

/// Returns the bytes in chunks of these sizes, used in turn, or all at once if there are no sizes.
pub(super) fn chunks<'a>(mut rest: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().map(|size| usize::from(*size).max(1)).cycle();
    std::iter::from_fn(move || {
        let (chunk, remaining) = rest.split_at(sizes.next().unwrap_or(usize::MAX).min(rest.len()));
        rest = remaining;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Decodes a stream as that of a recording. If it is not `established`, the protocol is recognized by the first bytes. Returns the offset and the JSON of each entry.
pub(super) fn decode(
    protocol: Protocol,
    side: Side,
    established: bool,
    stream: &[u8],
    sizes: &[u8],
) -> Vec<String> {
    let mut conversation =
        if established { Conversation::continued(protocol) } else { Conversation::default() };
    let mut entries = Vec::new();
    let mut add = |entry: Entry| {
        let mut text = Vec::new();
        entry.write_members(&mut text);
        entries.push(String::from_utf8(text).expect("the JSON of a frame is text"));
    };
    for chunk in chunks(stream, sizes) {
        conversation.input(side, 0, chunk).for_each(&mut add);
        // A message, and a frame of it.
        let bound = Limits::DEFAULT.max_frame.saturating_mul(2);
        assert!(conversation.buffered() <= bound, "at most one incomplete message is buffered");
    }
    conversation.end(0).for_each(&mut add);
    entries
}
