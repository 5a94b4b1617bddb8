//! Endpoint ids (`PROTOCOL.md`, section 2).

use std::fmt;
use std::str::FromStr;

/// The id of an endpoint: 16 opaque bytes, chosen at random for each process.
///
/// Ids are compared byte by byte. In a handshake, the endpoint with the smaller id is the originator. As text, an id
/// has the form of a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EndpointId([u8; 16]);

impl EndpointId {
    /// The id of all zeros. As a receiver, it addresses all subscribers.
    pub const NIL: EndpointId = EndpointId([0; 16]);

    /// Returns the id with these 16 bytes of the wire format.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        EndpointId(bytes)
    }

    /// Returns the bytes of the wire format.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns whether this is [`EndpointId::NIL`].
    #[must_use]
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }

    /// Returns a random id in the form of a version 4 UUID.
    ///
    /// # Errors
    /// Fails if the operating system returns no random bytes.
    #[cfg(feature = "net")]
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes)?;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Ok(EndpointId(bytes))
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a text that is not an endpoint id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an endpoint id: expected 32 hexadecimal digits in the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
)]
pub struct InvalidEndpointId;

impl FromStr for EndpointId {
    type Err = InvalidEndpointId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let dashes = text.bytes().enumerate().filter(|(_, b)| *b == b'-').map(|(i, _)| i);
        if text.len() != 36 || !dashes.eq([8, 13, 18, 23]) {
            return Err(InvalidEndpointId);
        }
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).map_err(|_| InvalidEndpointId)?;
        Ok(EndpointId(bytes.try_into().map_err(|_| InvalidEndpointId)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_round_trips() {
        let text = "dc93b00a-d79e-5c20-a6b6-f360d043470a";
        let id: EndpointId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        for bad in
            ["", "dc93b00a", "dc93b00ad79e-5c20-a6b6-f360d043470a-", "zc93b00a-d79e-5c20-a6b6-f360d043470a"]
        {
            assert_eq!(bad.parse::<EndpointId>(), Err(InvalidEndpointId), "{bad}");
        }
    }
}
