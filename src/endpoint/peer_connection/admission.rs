//! Decides whether a client of a listener is accepted, after its handshake and when the settings change.

use tokio::sync::watch;

use super::PeerConnection;
use crate::endpoint::admits::Candidate;
use crate::endpoint::protocol::Protocol;
use crate::endpoint::zeromq::ZeroMqConfig;
use crate::net::Session;
use crate::peering::Side;

impl<S: Session> PeerConnection<S> {
    /// Returns whether the handshake may begin. Clients of WebSocket and ZeroMQ listeners are checked after it.
    pub(super) fn is_admitted(&self) -> bool {
        let candidate =
            Candidate { certificate: self.identity.as_deref(), address: self.ip, ..Candidate::default() };
        self.protocol.is_identified_later(self.side)
            || self.context.config.admits.as_ref().is_none_or(|admits| admits.ask(&candidate))
    }

    /// Returns whether a client of a WebSocket or ZeroMQ listener is allowed. All other peers are checked before their handshake.
    pub(super) fn is_allowed(&self) -> bool {
        if !self.protocol.is_identified_later(self.side) {
            return true;
        }
        let session = self.connection.session();
        let (token, curve) = (session.token(), session.curve_client());
        let candidate = Candidate {
            certificate: self.identity.as_deref(),
            token: token.as_deref(),
            curve: curve.as_deref(),
            address: self.ip,
        };
        self.context.config.admits.as_ref().is_none_or(|admits| admits.ask(&candidate))
    }

    /// Returns whether this side may be a server of CURVE.
    pub(super) fn may_be_curve_server(&self) -> bool {
        self.side == Side::Listener && matches!(self.protocol, Protocol::ZeroMq(_))
    }

    /// Returns whether the current settings accept the CURVE key of the peer. They may have changed since the handshake began.
    pub(super) fn is_key_accepted(&self) -> bool {
        !self.may_be_curve_server() || self.context.zeromq.borrow().accepts_client(self.connection.session())
    }
}

/// Resolves when the settings of ZeroMQ are replaced. May never resolve.
pub(super) async fn replaced(settings: &mut Option<watch::Receiver<ZeroMqConfig>>) {
    if let Some(receiver) = settings
        && Box::pin(receiver.changed()).await.is_ok()
    {
        return;
    }
    *settings = None;
    std::future::pending().await
}
