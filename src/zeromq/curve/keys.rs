//! Long-term and short-term keys, and the clients that a server allows.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{InvalidKey, z85};

/// The length of a key in bytes.
const KEY: usize = 32;

/// A public key of CURVE: 32 bytes, or 40 characters of Z85.
///
/// Its text may end with white space, such as the newline of a key file. Points of a low order and encodings that are not
/// canonical are refused; see [`InvalidKey::Point`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY]);

impl PublicKey {
    /// Returns the key with these bytes.
    ///
    /// # Errors
    /// [`InvalidKey::Point`] if no secret key can have this public key.
    pub fn from_bytes(bytes: [u8; KEY]) -> Result<Self, InvalidKey> {
        if is_canonical(&bytes) && !LOW_ORDER.contains(&bytes) {
            Ok(PublicKey(bytes))
        } else {
            Err(InvalidKey::Point)
        }
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut bytes = [0; KEY];
        z85::decode(text.trim_ascii_end().as_bytes(), &mut bytes)?;
        PublicKey::from_bytes(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&z85::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The canonical points whose product with every secret key is zero. With such a point, everybody would know the shared secret
/// of two peers. libsodium refuses these points in `crypto_box` too; `crypto_box` of RustCrypto, and TweetNaCl, accept them.
const LOW_ORDER: [[u8; KEY]; 5] = [
    [0; KEY],
    {
        let mut one = [0; KEY];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    MINUS_ONE,
];

/// 2^255 - 20 in little-endian order: the largest canonical number.
const MINUS_ONE: [u8; KEY] = {
    let mut bytes = [0xff; KEY];
    bytes[0] = 0xec;
    bytes[KEY - 1] = 0x7f;
    bytes
};

/// Returns whether the number is below 2^255 - 19. X25519 ignores the highest bit and reduces larger numbers, so a key with another
/// encoding would have the same shared secrets as the canonical one, and could replace it in a HELLO.
fn is_canonical(bytes: &[u8; KEY]) -> bool {
    bytes.iter().rev().le(MINUS_ONE.iter().rev())
}

/// A secret key of CURVE: 32 bytes, or 40 characters of Z85.
///
/// The text may end with white space, such as the newline of a key file. [`fmt::Debug`] does not show the key, and there is
/// no [`fmt::Display`]. The memory of the key is zeroized when it is dropped. This does not apply to copies that the
/// computation of a handshake leaves on the stack.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; KEY]>);

impl SecretKey {
    /// Returns the key with these bytes. All bytes are valid.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        SecretKey(Zeroizing::new(bytes))
    }

    /// Returns a random key.
    ///
    /// # Errors
    /// Fails if the operating system returns no random bytes.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *bytes)?;
        Ok(SecretKey(bytes))
    }

    /// Returns the secret bytes.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Returns the secret key as Z85.
    #[must_use]
    pub fn expose_z85(&self) -> String {
        z85::encode(&*self.0)
    }

    /// Returns the public key of this secret key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        // The base point has a large prime order, so the product is canonical and not of a low order.
        PublicKey(crypto_box::SecretKey::from_bytes(*self.0).public_key().to_bytes())
    }
}

impl FromStr for SecretKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut bytes = Zeroizing::new([0; KEY]);
        z85::decode(text.trim_ascii_end().as_bytes(), &mut *bytes)?;
        Ok(SecretKey(bytes))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A secret key with its public key.
#[derive(Clone, Debug)]
pub struct KeyPair {
    public: PublicKey,
    secret: SecretKey,
}

impl KeyPair {
    /// Returns a random pair.
    ///
    /// # Errors
    /// Fails if the operating system returns no random bytes.
    pub fn generate() -> io::Result<Self> {
        SecretKey::generate().map(KeyPair::from)
    }

    /// Returns the public key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the secret key.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

impl From<SecretKey> for KeyPair {
    fn from(secret: SecretKey) -> Self {
        KeyPair { public: secret.public_key(), secret }
    }
}

/// The long-term public keys that a server accepts, each with the name of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedClients(BTreeMap<PublicKey, Arc<str>>);

impl AllowedClients {
    /// Adds a client. Returns the previous name of the key, which is replaced.
    pub fn insert(&mut self, key: PublicKey, name: impl Into<Arc<str>>) -> Option<Arc<str>> {
        self.0.insert(key, name.into())
    }

    /// Returns the name of the client with this key, or `None` if it is not allowed.
    #[must_use]
    pub fn name(&self, key: &PublicKey) -> Option<&Arc<str>> {
        self.0.get(key)
    }
}

/// Allows only this client. Zeek has one key for all nodes of a cluster.
impl<N: Into<Arc<str>>> From<(PublicKey, N)> for AllowedClients {
    fn from((key, name): (PublicKey, N)) -> Self {
        AllowedClients(BTreeMap::from([(key, name.into())]))
    }
}
