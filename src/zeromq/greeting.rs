//! Greetings of ZMTP 3 (`PROTOCOL.md`, section 11).

use bytes::{BufMut, BytesMut};
use nom::bytes::streaming::take;
use nom::number::streaming::be_u8;

use super::config::Mechanism;
use super::error::Error;
use crate::data::one_line;
use crate::wire::ForeignProtocol;

/// The length of a greeting in bytes.
pub(super) const GREETING: usize = 64;

/// The signature of libzmq. A reader must ignore the eight bytes in the middle.
const SIGNATURE: [u8; 10] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];
const LAST_OF_SIGNATURE: usize = 9;
const MAJOR: usize = 10;
const VERSION: [u8; 2] = [3, 1];
/// The length of the name of the mechanism, padded with zeros.
const NAME: usize = 20;
/// The role in the mechanism, which libzmq does not set, and reserved bytes.
const REST: usize = 32;

/// The number of bytes that are enough to recognize a different protocol.
const RECOGNIZABLE: usize = 4;

/// Appends the signature and the major version. libzmq then sends its complete greeting.
pub(super) fn put_signature(out: &mut BytesMut) {
    out.put_slice(&SIGNATURE);
    out.put_u8(VERSION[0]);
}

/// Appends the rest of the greeting, with the name of a mechanism.
pub(super) fn put_rest(mechanism: &str, out: &mut BytesMut) {
    let name = mechanism.as_bytes();
    out.put_u8(VERSION[1]);
    out.put_slice(name);
    out.put_bytes(0, NAME.saturating_sub(name.len()).saturating_add(REST));
}

/// The major and minor version of ZMTP.
pub(super) type Version = [u8; 2];

/// The content of a greeting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeting<'a> {
    pub(super) version: Version,
    /// The name of the mechanism.
    pub(super) mechanism: &'a [u8],
    /// The role in the mechanism. libzmq always sends 0.
    pub(super) as_server: u8,
}

fn greeting(input: &[u8]) -> nom::IResult<&[u8], Greeting<'_>> {
    let (input, _) = take(SIGNATURE.len())(input)?;
    let (input, major) = be_u8(input)?;
    let (input, minor) = be_u8(input)?;
    let (input, name) = take(NAME)(input)?;
    let mechanism = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let (input, rest) = take(REST)(input)?;
    let as_server = rest.first().copied().unwrap_or_default();
    Ok((input, Greeting { version: [major, minor], mechanism, as_server }))
}

/// Reads the greeting at the start of `input`. Returns `None` if it is incomplete.
///
/// # Errors
/// Fails as soon as the bytes cannot be the start of a greeting of ZMTP 3.
pub(super) fn read_greeting(input: &[u8]) -> Result<Option<Greeting<'_>>, Error> {
    let first = input.first().copied().unwrap_or(SIGNATURE[0]);
    let last = input.get(LAST_OF_SIGNATURE).copied().unwrap_or(SIGNATURE[LAST_OF_SIGNATURE]);
    if first != SIGNATURE[0] {
        let Some(first) = input.get(..RECOGNIZABLE) else { return Ok(None) };
        return Err(Error::NotZmtp(ForeignProtocol::recognize(first)));
    }
    if last != SIGNATURE[LAST_OF_SIGNATURE] {
        return Err(Error::NotZmtp(None));
    }
    if let Some(&major) = input.get(MAJOR)
        && major < VERSION[0]
    {
        return Err(Error::Version(major));
    }
    // The parsers fail only because of incomplete input.
    Ok(greeting(input).ok().map(|(_, greeting)| greeting))
}

/// Returns whether the greeting at the start of `input` contains the version.
///
/// # Errors
/// As [`read_greeting`], for the bytes up to the version.
pub(super) fn has_version(input: &[u8]) -> Result<bool, Error> {
    let start = input.get(..=MAJOR);
    read_greeting(start.unwrap_or(input))?;
    Ok(start.is_some())
}

/// Checks the greeting at the start of `input`. Returns its version if it is complete.
///
/// # Errors
/// Fails as soon as the bytes cannot be the start of a greeting of ZMTP 3, or if the mechanism is a different one.
pub(super) fn check_greeting(input: &[u8], mechanism: &Mechanism) -> Result<Option<Version>, Error> {
    let Some(greeting) = read_greeting(input)? else { return Ok(None) };
    if greeting.mechanism != mechanism.name().as_bytes() {
        let peer = one_line(&String::from_utf8_lossy(greeting.mechanism));
        return Err(Error::Mechanism { peer, own: mechanism.into() });
    }
    Ok(Some(greeting.version))
}
