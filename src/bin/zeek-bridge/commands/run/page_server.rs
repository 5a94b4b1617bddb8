//! The HTTP server of a bridge without the other services of `run`, for `demo --serve`.

use std::net::SocketAddr;
use std::sync::Arc;

use zeek_bridge::bridge::Snapshot;

use super::http::{Server, Settings, Site};
use super::view::View;

/// A bound server that does not accept connections yet.
pub(crate) struct PageServer(Server);

impl PageServer {
    /// Binds a loopback address. The server needs no authentication.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, String> {
        Server::bind(address).await.map(PageServer)
    }

    /// Returns the bound address, which contains the port chosen by the system.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until the future is dropped, which also cuts all viewers.
    pub(crate) async fn serve(self, snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) {
        let settings = Settings::plain(self.address());
        let site = Site::new(Arc::new(View::new(snapshot)), settings);
        self.0.serve(Arc::new(site)).await;
    }
}
