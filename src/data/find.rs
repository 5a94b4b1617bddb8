//! Fast search in text.

/// The number of bytes that are tested together.
const BLOCK: usize = 16;

/// Returns the position of the first byte that `is_wanted` accepts.
///
/// Tests blocks of bytes without a branch for each byte. The compiler uses vector instructions for them.
#[inline]
pub(crate) fn find_byte(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let has_none = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, byte| found | is_wanted(*byte));
    let skipped = blocks.iter().take_while(has_none).count().saturating_mul(BLOCK);
    let found = bytes.get(skipped..)?.iter().position(|byte| is_wanted(*byte))?;
    Some(skipped.saturating_add(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_found_at_every_position() {
        for length in 0..3 * BLOCK {
            let mut text = vec![b'a'; length];
            assert_eq!(find_byte(&text, |byte| byte == b'"'), None);
            for at in (0..length).rev() {
                text[at] = b'"';
                assert_eq!(find_byte(&text, |byte| byte == b'"'), Some(at));
            }
        }
    }
}
