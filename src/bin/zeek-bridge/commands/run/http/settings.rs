//! The settings of the server that a reload can change without moving it.

use std::time::Duration;

use zeek_bridge::bridge::config::{Diagnostic, Diagnostics, Http, HttpAccess};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::websocket::Access;

use crate::commands::run::serve::Task;

/// The interval at which the certificate files are checked for changes.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The settings for new connections.
pub(in crate::commands::run) struct Settings {
    config: Http,
    pub(super) tls: Tls,
    /// The rules for requests to the page and the API.
    pub(super) access: Access,
}

impl Settings {
    /// Loads the certificates and tokens.
    pub(in crate::commands::run) async fn load(config: Http) -> Result<Self, Diagnostics> {
        let loaded = tokio::task::spawn_blocking({
            let config = config.clone();
            move || config.load()
        });
        let access = loaded.await.map_err(|error| Diagnostic::new("bridge.http", error.to_string()))??;
        Ok(Self::new(config, access))
    }

    fn new(config: Http, HttpAccess { tls, tokens, .. }: HttpAccess) -> Self {
        // With TLS, the browser verifies the name of the server, so that DNS rebinding is not possible.
        let access = Access { tokens, loopback: matches!(tls, Tls::Off), ..Access::default() };
        Settings { config, tls, access }
    }

    /// Starts to reload the certificates when their files change, and calls `changed` each time. `None` without certificates.
    pub(super) fn watch_certificates(&self, changed: impl Fn() + Send + 'static) -> Option<Task> {
        let certificates = self.tls.certificates()?.clone();
        let watching = certificates.watch_files(CERTIFICATE_CHECK_INTERVAL);
        let mut replaced = Box::pin(certificates.replaced());
        let notifying = async move {
            loop {
                replaced.await;
                // Before the call, so that no later change is missed.
                replaced = Box::pin(certificates.replaced());
                changed();
            }
        };
        Some(Task::spawn(async {
            tokio::join!(watching, notifying);
        }))
    }

    #[cfg(test)]
    pub(super) fn config(&self) -> &Http {
        &self.config
    }

    pub(super) fn is_tls(&self) -> bool {
        !matches!(self.tls, Tls::Off)
    }

    /// Returns whether the server listens on a loopback address without TLS.
    pub(super) fn is_plain_loopback(&self) -> bool {
        self.config.is_loopback() && !self.is_tls()
    }

    /// Returns whether the page and the API are served.
    pub(super) fn has_page(&self) -> bool {
        self.config.has_page()
    }

    /// Returns whether a client that was accepted with the other settings may be refused with these.
    pub(super) fn is_different(&self, other: &Self) -> bool {
        let has_same_certificates = match (self.tls.certificates(), other.tls.certificates()) {
            (Some(own), Some(others)) => own.has_same_content(others),
            (own, others) => own.is_none() && others.is_none(),
        };
        self.config != other.config || self.access.tokens != other.access.tokens || !has_same_certificates
    }

    /// Describes what is served, with the scheme of the URL.
    pub(super) fn services(&self) -> String {
        let page = if self.has_page() { "page, " } else { "" };
        let scheme = if self.is_tls() { "https" } else { "http" };
        format!("{page}metrics and health at {scheme}")
    }
}
