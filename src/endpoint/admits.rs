//! Decides which peers are admitted.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::net::tls::PeerIdentity;

/// Decides which peers are admitted.
///
/// The function is called once for each connection, after TLS and before the peering's handshake. A client of the WebSocket
/// API is an exception: the function is called when its request has been accepted, because the request contains its token. So
/// is a client of a ZeroMQ listener with CURVE: the function is called when the client has proved its key.
/// The function must not block.
#[derive(Clone)]
pub struct Admits(Arc<Ask>);

type Ask = dyn Fn(&Candidate<'_>) -> bool + Send + Sync;

/// The properties of a peer that [`Admits`] and the rules of a bridge depend on.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The identity in the peer's certificate. `None` without TLS and in anonymous TLS.
    pub certificate: Option<&'a PeerIdentity>,
    /// The name of the token of a WebSocket client.
    pub token: Option<&'a str>,
    /// The name of the CURVE key that a client of a ZeroMQ listener has proved to own.
    pub curve: Option<&'a str>,
    /// The peer's IP address. An IPv4-mapped IPv6 address is given as IPv4. `None` if the connection has ended already.
    pub address: Option<IpAddr>,
}

impl Admits {
    /// Admits the peers for which `ask` returns `true`. Its argument is the identity in the peer's certificate (`None`
    /// without TLS and in anonymous TLS).
    pub fn new(ask: impl Fn(Option<&PeerIdentity>) -> bool + Send + Sync + 'static) -> Self {
        Self::with(move |candidate| ask(candidate.certificate))
    }

    /// Like [`Admits::new`], with a second argument: the name of the token of a WebSocket client, if it has one.
    pub fn with_token(
        ask: impl Fn(Option<&PeerIdentity>, Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::with(move |candidate| ask(candidate.certificate, candidate.token))
    }

    /// Like [`Admits::new`], with all properties of the peer.
    pub fn with(ask: impl Fn(&Candidate<'_>) -> bool + Send + Sync + 'static) -> Self {
        Admits(Arc::new(ask))
    }

    pub(super) fn ask(&self, candidate: &Candidate<'_>) -> bool {
        (self.0)(candidate)
    }
}

impl fmt::Debug for Admits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admits")
    }
}
