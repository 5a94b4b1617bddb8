//! The local services of a running bridge: metrics and health over HTTP, and the status socket.
//!
//! A reload changes the services in two steps, so that a configuration is applied completely or not at all.
//! [`AdminChange::prepare`] binds every new address, and may fail. [`AdminServices::apply`] cannot fail.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use zeek_bridge::bridge::config::{Diagnostic, Diagnostics, Operation};

use super::http;
use super::serve::Task;
use super::status_socket::{self, SocketFile};
use super::view::View;

/// The services that are running.
pub(super) struct AdminServices {
    view: Arc<View>,
    http: Option<(Task, SocketAddr)>,
    /// The state of the HTTP server, if it is on.
    site: Option<Arc<http::Site>>,
    status: Option<(Task, SocketFile)>,
}

/// The addresses of the services in a configuration; `None` for a service that is off.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AdminAddresses {
    http: Option<SocketAddr>,
    status: Option<PathBuf>,
}

impl AdminAddresses {
    pub(super) fn of(operation: &Operation) -> Self {
        AdminAddresses {
            http: operation.http.as_ref().map(|http| http.address),
            status: operation.status_socket.clone(),
        }
    }
}

/// Loads the certificates and tokens of the HTTP server; `None` if it is off.
pub(super) async fn load(operation: &Operation) -> Result<Option<http::Settings>, Diagnostics> {
    match operation.http.clone() {
        Some(http) => http::Settings::load(http).await.map(Some),
        None => Ok(None),
    }
}

/// A change of the services, with all new addresses bound.
pub(super) struct AdminChange {
    http: Change<http::Server>,
    /// The settings of the HTTP server, also if it is kept.
    settings: Option<http::Settings>,
    status: Change<status_socket::Server>,
}

/// The change of one service.
enum Change<S> {
    Keep,
    Stop,
    Start(S),
}

impl<S> Change<S> {
    /// Compares the addresses, and binds the new address if it differs. Adds a failure to `errors`, under this configuration
    /// key.
    async fn prepare<A: PartialEq, F: Future<Output = Result<S, String>>>(
        current: Option<A>,
        new: Option<A>,
        bind: impl FnOnce(A) -> F,
        key: &str,
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        match new {
            new if current == new => Change::Keep,
            None => Change::Stop,
            Some(address) => bind(address).await.map(Change::Start).unwrap_or_else(|message| {
                errors.push(Diagnostic::new(key, message));
                Change::Keep
            }),
        }
    }

    fn apply<T>(self, service: &mut Option<T>, start: impl FnOnce(S) -> T) {
        match self {
            Change::Keep => {}
            Change::Stop => *service = None,
            Change::Start(server) => *service = Some(start(server)),
        }
    }
}

impl AdminChange {
    /// Binds all new addresses, so that applying the change cannot fail. Returns one error for each address that cannot be
    /// bound.
    pub(super) async fn prepare(
        current: &AdminAddresses,
        new: &AdminAddresses,
        settings: Option<http::Settings>,
    ) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let bind = |address| http::Server::bind_in_place_of(current.http, address);
        let http = Change::prepare(current.http, new.http, bind, "bridge.http", &mut errors).await;
        let status = Change::prepare(
            current.status.as_deref(),
            new.status.as_deref(),
            status_socket::Server::bind,
            "bridge.status",
            &mut errors,
        );
        let status = status.await;
        if errors.is_empty() { Ok(AdminChange { http, settings, status }) } else { Err(errors.into()) }
    }
}

impl AdminServices {
    /// Starts with no service running.
    pub(super) fn new(view: Arc<View>) -> Self {
        AdminServices { view, http: None, site: None, status: None }
    }

    pub(super) fn apply(&mut self, change: AdminChange) {
        let view = &self.view;
        // The history survives a change of the address.
        let (site, is_different) = match (self.site.take(), change.settings) {
            (_, None) => (None, false),
            (None, Some(settings)) => (Some(Arc::new(http::Site::new(view.clone(), settings))), false),
            (Some(site), Some(settings)) => {
                let is_different = site.set_settings(settings);
                (Some(site), is_different)
            }
        };
        self.site = site;
        if let Some(site) = &self.site {
            let is_kept = matches!(change.http, Change::Keep);
            change.http.apply(&mut self.http, |server| {
                let address = server.address();
                (Task::spawn(server.serve(site.clone())), address)
            });
            if let Some((_, address)) = &self.http
                && (!is_kept || is_different)
            {
                tracing::info!("{}://{address}", site.services());
            }
        } else if let Some((_, address)) = self.http.take() {
            tracing::info!("HTTP at {address} is off");
        }
        change.status.apply(&mut self.status, |server| {
            let (file, serving) = server.serve(view.clone());
            tracing::info!("status socket at {}", file.path().display());
            (Task::spawn(serving), file)
        });
    }
}
