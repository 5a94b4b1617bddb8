//! The HTTP server of a bridge without the other services of `run`, for `demo --serve`.

use std::net::SocketAddr;
use std::sync::Arc;

use zeek_bridge::bridge::Snapshot;
use zeek_bridge::bridge::config::Http;

use super::http::{Server, Settings, Site};
use super::view::View;

/// A bound server that does not accept connections yet.
pub(crate) struct PageServer {
    server: Server,
    settings: Settings,
}

impl PageServer {
    /// Binds a loopback address. The server needs no authentication.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, String> {
        let server = Server::bind(address).await?;
        let http = Http { address: server.address(), ..Http::default() };
        let settings = Settings::load(http).await.map_err(|errors| errors.to_string())?;
        Ok(PageServer { server, settings })
    }

    /// Returns the bound address, which contains the port chosen by the system.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves until the future is dropped, which also cuts all viewers.
    pub(crate) async fn serve(self, snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) {
        let site = Site::new(Arc::new(View::new(snapshot)), self.settings);
        self.server.serve(Arc::new(site)).await;
    }
}
