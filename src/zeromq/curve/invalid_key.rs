//! The error for a text that is not a key.

/// The length of a key in characters of Z85.
const TEXT: usize = 40;

/// The error for a text that is not a key. It contains no part of the text, which may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The text has a wrong number of bytes.
    #[error("not a CURVE key: it has {0} bytes; expected {TEXT} characters of Z85")]
    Length(usize),
    /// A character is not in the alphabet of Z85.
    #[error(
        "not a CURVE key: character {position} is not a character of Z85; expected {TEXT} characters of Z85"
    )]
    Character {
        /// The position, from 1.
        position: usize,
    },
    /// Five characters that do not encode four bytes.
    #[error(
        "not a CURVE key: the five characters before position {} are out of range; expected {TEXT} characters of Z85",
        position.saturating_add(1)
    )]
    Group {
        /// The position of the last of the five characters, from 1.
        position: usize,
    },
    /// The public key belongs to no secret key: a point of a low order such as zero, or an encoding that is not canonical.
    #[error("not a CURVE public key: no secret key has this public key; generate a new pair of keys")]
    Point,
}
