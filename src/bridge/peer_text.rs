//! Text about a peer.

use crate::endpoint::PeerProtocol;
use crate::net::tls::PeerIdentity;

/// Describes the certificate, the token and the CURVE key of a peer.
pub(super) fn identity(certificate: Option<&PeerIdentity>, protocol: &PeerProtocol) -> Option<String> {
    let token = protocol.websocket().and_then(|peer| peer.token.as_ref());
    let curve = protocol.zeromq().and_then(|peer| peer.curve.as_ref());
    let parts = [
        certificate.map(ToString::to_string),
        token.map(|name| format!("token:{name}")),
        curve.map(|name| format!("curve:{name}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
