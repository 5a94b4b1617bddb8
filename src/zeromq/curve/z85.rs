//! Z85, the text form of binary keys (RFC 32 of ZeroMQ): five characters for four bytes.

use super::InvalidKey;

const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Returns the text of these bytes. Their number must be a multiple of 4.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(5).div_ceil(4));
    for chunk in bytes.as_chunks::<4>().0 {
        let value = u32::from_be_bytes(*chunk);
        for digit in
            [value / (85 * 85 * 85 * 85), value / (85 * 85 * 85), value / (85 * 85), value / 85, value]
        {
            let digit = usize::try_from(digit % 85).ok().and_then(|digit| DIGITS.get(digit));
            text.extend(digit.map(|digit| char::from(*digit)));
        }
    }
    text
}

/// Decodes a text into `bytes`, whose number must be a multiple of 4. The length of the text must match.
pub(super) fn decode(text: &[u8], bytes: &mut [u8]) -> Result<(), InvalidKey> {
    if text.len() != bytes.len().saturating_mul(5) / 4 {
        return Err(InvalidKey::Length(text.len()));
    }
    let mut position = 0_usize;
    for (group, chunk) in text.as_chunks::<5>().0.iter().zip(bytes.as_chunks_mut::<4>().0) {
        let mut value = 0_u64;
        for character in group {
            position = position.saturating_add(1);
            let digit = DIGITS.iter().zip(0_u64..).find(|(digit, _)| *digit == character);
            let (_, digit) = digit.ok_or(InvalidKey::Character { position })?;
            // Five digits are below 2^33.
            value = value.saturating_mul(85).saturating_add(digit);
        }
        let value = u32::try_from(value).map_err(|_| InvalidKey::Group { position })?;
        *chunk = value.to_be_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 32.
    const EXAMPLE: (&str, [u8; 8]) = ("HelloWorld", [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]);

    #[test]
    fn the_example_of_the_rfc_is_encoded_and_decoded() {
        assert_eq!(encode(&EXAMPLE.1), EXAMPLE.0);
        let mut bytes = [0; 8];
        decode(EXAMPLE.0.as_bytes(), &mut bytes).unwrap();
        assert_eq!(bytes, EXAMPLE.1);
    }

    #[test]
    fn the_smallest_and_the_largest_group_are_encoded_and_decoded() {
        for (value, text) in [([0; 4], "00000"), ([0xff; 4], "%nSc0"), ([0, 0, 0, 84], "0000#")] {
            assert_eq!(encode(&value), text);
            let mut bytes = [1; 4];
            decode(text.as_bytes(), &mut bytes).unwrap();
            assert_eq!(bytes, value);
        }
    }

    #[test]
    fn errors_name_the_position_or_the_length() {
        let error = |text: &str| decode(text.as_bytes(), &mut [0; 8]).unwrap_err();
        assert_eq!(error("HelloWorl"), InvalidKey::Length(9));
        assert_eq!(error("HelloWorld0"), InvalidKey::Length(11));
        assert_eq!(error("Hello orld"), InvalidKey::Character { position: 6 });
        assert_eq!(error("HelloWor~d"), InvalidKey::Character { position: 9 });
        // 2^32, one more than a group can hold.
        assert_eq!(error("00000%nSc1"), InvalidKey::Group { position: 10 });
        assert_eq!(error("#####00000"), InvalidKey::Group { position: 5 });
    }
}
