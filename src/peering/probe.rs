//! A peering that is never established. It only collects what the peer sends in the handshake.

use std::ops::RangeInclusive;
use std::time::Instant;

use super::{Config, Peering};
use crate::data::{EndpointId, Filter};
use crate::wire::{ErrorCode, Handshake};

/// The number of bytes that are read and shown if the peer does not speak Broker's protocol.
pub(crate) const FIRST_BYTES: usize = 80;

/// Returns whether the bytes may be an incomplete line of text: they are fewer than [`FIRST_BYTES`], and the line has no
/// end yet. More bytes are then needed to show the line. Such a line is printable ASCII. A handshake message of Broker
/// is not printable ASCII, because it begins with its length.
pub(crate) fn is_incomplete_line(bytes: &[u8]) -> bool {
    bytes.len() < FIRST_BYTES && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The information that a peer has sent in the handshake so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// Whether the peer has sent a handshake message, so that it is a Broker endpoint.
    pub(crate) is_endpoint: bool,
    pub(crate) id: Option<EndpointId>,
    /// The protocol versions that the peer supports.
    pub(crate) versions: Option<RangeInclusive<u8>>,
    pub(crate) filter: Option<Filter>,
    /// The beginning of the stream, if it is not a handshake message.
    pub(crate) first_bytes: Vec<u8>,
}

impl Peering {
    /// Returns the state of a connection that performs the handshake until the filter of the peer is known. Then, or
    /// after an error, it refuses the peer and closes with [`CloseReason::Left`](super::CloseReason::Left).
    pub(crate) fn probe(config: Config, now: Instant) -> Self {
        Peering { probe: Some(Box::default()), ..Peering::new(config, now) }
    }

    /// Returns the information that the peer has sent so far. `None` if this is not a probe.
    pub(crate) fn peer_info(&self) -> Option<&PeerInfo> {
        self.probe.as_deref()
    }
}

impl PeerInfo {
    /// Inspects the beginning of the stream. Returns `false` while it may be an [incomplete line](is_incomplete_line) of a
    /// text protocol.
    pub(super) fn inspect(&mut self, input: &[u8]) -> bool {
        if self.is_endpoint {
            return true;
        }
        let first = input.get(..FIRST_BYTES).unwrap_or(input);
        self.first_bytes = first.to_vec();
        !is_incomplete_line(first)
    }

    /// Records a message. Ignores a message with `own_id`, because it is an echo of this side's message.
    pub(super) fn record(&mut self, message: &Handshake, own_id: EndpointId) {
        match message {
            Handshake::Hello { sender, .. }
            | Handshake::VersionSelect { sender, .. }
            | Handshake::DropConn { sender, .. }
                if *sender == own_id =>
            {
                return;
            }
            Handshake::Hello { sender, min_version, max_version } => {
                self.id = Some(*sender);
                self.versions = Some(*min_version..=*max_version);
            }
            Handshake::VersionSelect { sender, version } => {
                self.id = Some(*sender);
                self.versions.get_or_insert(*version..=*version);
            }
            Handshake::DropConn { sender, .. } => _ = self.id.get_or_insert(*sender),
            Handshake::OriginatorSyn(filter) | Handshake::ResponderSynAck(filter) => {
                self.filter = Some(filter.clone());
            }
            Handshake::Probe | Handshake::OriginatorAck => {}
        }
        self.is_endpoint = true;
        self.first_bytes = Vec::new();
    }

    /// Returns the `drop_conn` that ends a probe. Nothing is sent to a peer that is not a Broker endpoint.
    pub(super) fn refusal(&self) -> Option<(ErrorCode, &'static str)> {
        self.is_endpoint.then_some((ErrorCode::UNSPECIFIED, "this is only a probe"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_is_complete_at_its_end_or_at_the_maximum_length() {
        let text = [b'x'; FIRST_BYTES];
        for (bytes, incomplete) in [
            (&b""[..], true),
            (b"220 ready ~", true),
            (&text[1..], true),
            (&text, false),
            (b"220 ready\r\n", false),
            (b"\0\0\0\x05", false),
            (b"\x7f", false),
        ] {
            assert_eq!(is_incomplete_line(bytes), incomplete, "{bytes:?}");
            let mut info = PeerInfo::default();
            assert_eq!(info.inspect(bytes), !incomplete, "{bytes:?}");
            assert_eq!(info.first_bytes, bytes);
        }
    }

    #[test]
    fn an_echo_of_the_own_messages_does_not_make_the_peer_an_endpoint() {
        let (own, other) = (EndpointId::from_bytes([1; 16]), EndpointId::from_bytes([2; 16]));
        let hello = |sender| Handshake::Hello { sender, min_version: 1, max_version: 3 };
        let mut info = PeerInfo::default();
        info.record(&hello(own), own);
        info.record(&Handshake::VersionSelect { sender: own, version: 1 }, own);
        assert_eq!(info, PeerInfo::default());
        info.record(&hello(other), own);
        let expected = PeerInfo { is_endpoint: true, id: Some(other), versions: Some(1..=3), ..info.clone() };
        assert_eq!(info, expected);
    }
}
