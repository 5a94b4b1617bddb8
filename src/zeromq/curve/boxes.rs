//! NaCl boxes, their nonces, and the counters of a connection.

use std::fmt;

use crypto_box::SalsaBox;
use crypto_box::aead::AeadInPlace;

use super::{Error, PublicKey, SecretKey};

/// The length of the authenticator at the start of a box.
pub(crate) const TAG: usize = 16;

/// The length of a nonce in bytes.
const NONCE: usize = 24;

/// Returns a nonce: a prefix that names the purpose of the box, and a counter or random bytes. The compiler checks that they have 24
/// bytes together.
pub(crate) fn nonce<const P: usize, const R: usize>(prefix: &[u8; P], rest: &[u8; R]) -> [u8; NONCE] {
    const { assert!(matches!(P.checked_add(R), Some(NONCE)), "a nonce has 24 bytes") };
    let mut nonce = [0; NONCE];
    for (byte, value) in nonce.iter_mut().zip(prefix.iter().chain(rest)) {
        *byte = *value;
    }
    nonce
}

/// The shared key of two key pairs. It is zeroized when it is dropped.
pub(crate) struct SharedKey(SalsaBox);

impl SharedKey {
    pub(crate) fn new(public: &PublicKey, secret: &SecretKey) -> Self {
        let public = crypto_box::PublicKey::from_bytes(*public.as_bytes());
        SharedKey(SalsaBox::new(&public, &crypto_box::SecretKey::from_bytes(*secret.expose_bytes())))
    }

    /// Encrypts `buffer` after its first [`TAG`] bytes, and writes the authenticator into these.
    pub(crate) fn seal(&self, nonce: &[u8; NONCE], buffer: &mut [u8]) -> Result<(), Error> {
        let (tag, text) = buffer.split_first_chunk_mut::<TAG>().ok_or(Error::TooLong)?;
        let sealed = self.0.encrypt_in_place_detached(nonce.into(), b"", text);
        *tag = sealed.map_err(|_| Error::TooLong)?.into();
        Ok(())
    }

    /// Decrypts a box in place. Returns the text. If the box is not authentic, returns `None` and leaves `buffer` unchanged.
    pub(crate) fn open<'a>(&self, nonce: &[u8; NONCE], buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (tag, text) = buffer.split_first_chunk_mut::<TAG>()?;
        self.0.decrypt_in_place_detached(nonce.into(), b"", text, (&*tag).into()).ok()?;
        Some(text)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// The short nonces of one connection. Each side counts across all commands that it sends, from 1.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: u64,
    received: Option<u64>,
}

impl Counters {
    /// Returns the next nonce to send.
    pub(super) fn next(&mut self) -> Result<[u8; 8], Error> {
        self.sent = self.sent.checked_add(1).ok_or(Error::Exhausted)?;
        Ok(self.sent.to_be_bytes())
    }

    /// Checks that a received nonce is above all previous ones. The first may have any value, as in libzmq.
    pub(super) fn check(&self, nonce: [u8; 8]) -> Result<(), Error> {
        let nonce = u64::from_be_bytes(nonce);
        match self.received {
            Some(last) if nonce <= last => Err(Error::Replayed { nonce, last }),
            _ => Ok(()),
        }
    }

    /// Records the nonce of a box that was authentic.
    pub(super) fn record(&mut self, nonce: [u8; 8]) {
        self.received = Some(u64::from_be_bytes(nonce));
    }

    /// Continues after the nonce `sent`.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, sent: u64) {
        self.sent = sent;
    }
}
