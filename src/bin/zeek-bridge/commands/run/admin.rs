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
    metrics: Option<Task>,
    status: Option<(Task, SocketFile)>,
}

/// The addresses of the services in a configuration; `None` for a service that is off.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AdminAddresses {
    metrics: Option<SocketAddr>,
    status: Option<PathBuf>,
}

impl AdminAddresses {
    pub(super) fn of(operation: &Operation) -> Self {
        AdminAddresses { metrics: operation.metrics, status: operation.status_socket.clone() }
    }
}

/// A change of the services, with all new addresses bound.
pub(super) struct AdminChange {
    metrics: Change<http::Server>,
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
    pub(super) async fn prepare(current: &AdminAddresses, new: &AdminAddresses) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let metrics =
            Change::prepare(current.metrics, new.metrics, http::Server::bind, "bridge.metrics", &mut errors);
        let metrics = metrics.await;
        let status = Change::prepare(
            current.status.as_deref(),
            new.status.as_deref(),
            status_socket::Server::bind,
            "bridge.status",
            &mut errors,
        );
        let status = status.await;
        if errors.is_empty() { Ok(AdminChange { metrics, status }) } else { Err(errors.into()) }
    }
}

impl AdminServices {
    /// Starts with no service running.
    pub(super) fn new(view: Arc<View>) -> Self {
        AdminServices { view, metrics: None, status: None }
    }

    pub(super) fn apply(&mut self, change: AdminChange) {
        let view = &self.view;
        change.metrics.apply(&mut self.metrics, |server| {
            let settings = http::Settings::plain(server.address());
            let page = if settings.has_page() { "page, " } else { "" };
            tracing::info!("{page}metrics and health at http://{}", server.address());
            Task::spawn(server.serve(Arc::new(http::Site::new(view.clone(), settings))))
        });
        change.status.apply(&mut self.status, |server| {
            let (file, serving) = server.serve(view.clone());
            tracing::info!("status socket at {}", file.path().display());
            (Task::spawn(serving), file)
        });
    }
}
