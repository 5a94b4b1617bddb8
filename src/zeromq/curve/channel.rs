//! Messages on an established connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::boxes::{Counters, SharedKey, TAG, nonce};
use super::{Error, command};

/// The flags inside a message box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// More parts of the same message follow.
    pub more: bool,
    /// The data is a command, such as SUBSCRIBE, and not a part of a message.
    pub command: bool,
}

impl Flags {
    const MORE: u8 = 1;
    const COMMAND: u8 = 2;

    fn to_byte(self) -> u8 {
        (if self.more { Self::MORE } else { 0 }) | (if self.command { Self::COMMAND } else { 0 })
    }

    /// Ignores the other bits, as libzmq does.
    fn from_byte(byte: u8) -> Self {
        Flags { more: byte & Self::MORE != 0, command: byte & Self::COMMAND != 0 }
    }
}

/// Encrypts and decrypts the messages of an established connection (`PROTOCOL.md`, section 13).
#[derive(Debug)]
pub struct Channel {
    key: SharedKey,
    counters: Counters,
    /// The prefix of the nonces that this side sends.
    send_prefix: &'static [u8; 16],
    /// The prefix of the nonces that this side receives.
    receive_prefix: &'static [u8; 16],
}

/// The bytes before the box: the name of the command and the short nonce.
const HEADER: usize = command::MESSAGE.len() + 8;

impl Channel {
    /// The number of bytes by which the body of a MESSAGE is longer than its data.
    pub const OVERHEAD: usize = HEADER + TAG + 1;

    pub(super) fn client(key: SharedKey, counters: Counters) -> Self {
        Channel { key, counters, send_prefix: b"CurveZMQMESSAGEC", receive_prefix: b"CurveZMQMESSAGES" }
    }

    pub(super) fn server(key: SharedKey, counters: Counters) -> Self {
        Channel { key, counters, send_prefix: b"CurveZMQMESSAGES", receive_prefix: b"CurveZMQMESSAGEC" }
    }

    /// Returns the body of a MESSAGE with this data. It is the body of a frame without the flags MORE and COMMAND.
    ///
    /// # Errors
    /// [`Error::Exhausted`] after 2^64 - 1 commands. [`Error::TooLong`] if the data is too long for the cipher.
    pub fn seal(&mut self, flags: Flags, data: &[u8]) -> Result<Bytes, Error> {
        let mut body = BytesMut::with_capacity(data.len().saturating_add(Self::OVERHEAD));
        self.seal_into(flags, data, &mut body)?;
        Ok(body.freeze())
    }

    /// Appends the body of a MESSAGE with this data. After an error, `out` must not be sent.
    pub(crate) fn seal_into(
        &mut self,
        flags: Flags,
        data: impl Buf,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let short = self.counters.next()?;
        out.put_slice(command::MESSAGE);
        out.put_slice(&short);
        let start = out.len();
        out.put_bytes(0, TAG);
        out.put_u8(flags.to_byte());
        out.put(data);
        let sealed = out.get_mut(start..).ok_or(Error::TooLong)?;
        self.key.seal(&nonce(self.send_prefix, &short), sealed)
    }

    /// Decrypts the body of a MESSAGE in place.
    ///
    /// # Errors
    /// Fails if this is not the next MESSAGE of the peer. The connection must then be closed.
    pub fn open(&mut self, mut body: BytesMut) -> Result<(Flags, Bytes), Error> {
        let flags = self.open_in_place(&mut body)?;
        Ok((flags, body.freeze()))
    }

    /// Replaces the body of a MESSAGE by its data.
    pub(crate) fn open_in_place(&mut self, body: &mut BytesMut) -> Result<Flags, Error> {
        let length = body.len();
        command::rest(body, command::MESSAGE, "MESSAGE")?;
        let Some((_, short)) = body.split_first_chunk::<{ command::MESSAGE.len() }>() else {
            return Err(Error::Length { command: "MESSAGE", length });
        };
        let Some((short, _)) = short.split_first_chunk::<8>().filter(|_| length >= Self::OVERHEAD) else {
            return Err(Error::Length { command: "MESSAGE", length });
        };
        let short = *short;
        self.counters.check(short)?;
        body.advance(HEADER);
        if self.key.open(&nonce(self.receive_prefix, &short), body).is_none() {
            return Err(Error::NotAuthentic { command: "MESSAGE" });
        }
        self.counters.record(short);
        body.advance(TAG);
        Ok(Flags::from_byte(body.get_u8()))
    }

    /// Continues after the nonce `sent`.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, sent: u64) {
        self.counters.skip_to(sent);
    }
}
