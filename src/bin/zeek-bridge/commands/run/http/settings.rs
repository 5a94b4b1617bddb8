//! The settings of the server that a reload can change without moving it.

use std::net::SocketAddr;

use zeek_bridge::net::tls::Tls;
use zeek_bridge::websocket::Access;

/// The settings for new connections.
pub(in crate::commands::run) struct Settings {
    pub(super) tls: Tls,
    /// The rules for requests to the page and the API.
    pub(super) access: Access,
    /// Whether the page and the API are served.
    has_page: bool,
}

impl Settings {
    /// Returns the settings without TLS and tokens.
    pub(in crate::commands::run) fn plain(address: SocketAddr) -> Self {
        let has_page = address.ip().to_canonical().is_loopback();
        // A browser verifies the name of a server with TLS, so DNS rebinding is possible without TLS only.
        let access = Access { loopback: true, ..Access::default() };
        Settings { tls: Tls::Off, access, has_page }
    }

    pub(super) fn is_tls(&self) -> bool {
        !matches!(self.tls, Tls::Off)
    }

    pub(in crate::commands::run) fn has_page(&self) -> bool {
        self.has_page
    }
}
