//! Recognizes TLS and its version in unencrypted records.

use bytes::Buf;

/// Returns whether bytes begin with a TLS record: a type, version 3.x, and a valid length.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    // The largest ciphertext.
    const LONGEST: u16 = 16 * 1024 + 2048;
    match bytes {
        [0x14..=0x17, 3, 0..=4, high, low, ..] => u16::from_be_bytes([*high, *low]) <= LONGEST,
        _ => false,
    }
}

/// The version in a hello message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// The highest version that a client offers.
    Offers(u16),
    /// The version that a server selected.
    Selected(u16),
}

/// Returns the version in the hello message at the start of one side's bytes. Returns `None` if there is none, if more bytes
/// are needed, or if the message is longer than the first record.
pub(super) fn hello(bytes: &[u8]) -> Option<Hello> {
    const VERSIONS: u16 = 43;
    let [0x16, _, _, high, low, rest @ ..] = bytes else { return None };
    if !is_record(bytes) {
        return None;
    }
    // The record may contain more messages, which are not needed.
    let record = rest.get(..usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or(rest);
    let [kind, high, middle, low, rest @ ..] = record else { return None };
    let length = u32::from_be_bytes([0, *high, *middle, *low]);
    let mut message = rest.get(..usize::try_from(length).ok()?)?;
    let mut version = message.try_get_u16().ok()?;
    skip(&mut message, 32)?;
    let session = message.try_get_u8().ok()?;
    skip(&mut message, session.into())?;
    let server = match kind {
        1 => {
            let suites = message.try_get_u16().ok()?;
            skip(&mut message, suites.into())?;
            let compressions = message.try_get_u8().ok()?;
            skip(&mut message, compressions.into())?;
            false
        }
        2 => {
            skip(&mut message, 3)?;
            true
        }
        _ => return None,
    };
    // The supported_versions extension overrides the version of the hello message. Before TLS 1.3, a hello may end without
    // extensions.
    let mut left = usize::from(message.try_get_u16().unwrap_or(0));
    while left >= 4 {
        let extension = message.try_get_u16().ok()?;
        let length = usize::from(message.try_get_u16().ok()?);
        let content = message.get(..length)?;
        match (extension, content) {
            (VERSIONS, [high, low]) if server => version = u16::from_be_bytes([*high, *low]),
            (VERSIONS, [_, offered @ ..]) if !server => {
                let offered = offered.chunks_exact(2).filter_map(|pair| pair.first_chunk().copied());
                let offered = offered.map(u16::from_be_bytes);
                // Some clients also offer reserved versions that do not exist (GREASE).
                version = offered.filter(|version| *version <= 0x0304).max().unwrap_or(version);
            }
            _ => {}
        }
        skip(&mut message, length)?;
        left = left.saturating_sub(length).saturating_sub(4);
    }
    Some(if server { Hello::Selected(version) } else { Hello::Offers(version) })
}

/// Returns the name of a version.
pub(super) fn name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".into(),
        0x0301..=0x0304 => format!("1.{}", version.saturating_sub(0x0301)),
        _ => format!("0x{version:04x}"),
    }
}

fn skip(bytes: &mut &[u8], count: usize) -> Option<()> {
    *bytes = bytes.get(count..)?;
    Some(())
}
