//! The names of commands.

use super::Error;

pub(super) const HELLO: &[u8] = b"\x05HELLO";
pub(super) const WELCOME: &[u8] = b"\x07WELCOME";
pub(super) const INITIATE: &[u8] = b"\x08INITIATE";
pub(super) const READY: &[u8] = b"\x05READY";
pub(super) const ERROR: &[u8] = b"\x05ERROR";
pub(super) const MESSAGE: &[u8] = b"\x07MESSAGE";

/// Returns the bytes after the name of the expected command.
pub(super) fn rest<'a>(body: &'a [u8], name: &[u8], expected: &'static str) -> Result<&'a [u8], Error> {
    body.strip_prefix(name).ok_or_else(|| unexpected(body, expected))
}

/// Returns the error for a command that is not valid at this point.
pub(super) fn unexpected(body: &[u8], expected: &'static str) -> Error {
    Error::Unexpected { received: describe(body), expected }
}

/// Returns the name of a command.
fn describe(body: &[u8]) -> &'static str {
    let known = [
        (HELLO, "HELLO"),
        (WELCOME, "WELCOME"),
        (INITIATE, "INITIATE"),
        (READY, "READY"),
        (ERROR, "ERROR"),
        (MESSAGE, "MESSAGE"),
    ];
    known.into_iter().find(|(name, _)| body.starts_with(name)).map_or("an unknown command", |(_, text)| text)
}

/// Splits `N` bytes off the front.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}
