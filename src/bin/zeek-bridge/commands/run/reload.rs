//! Applies a changed configuration to the running bridge, on SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;

use zeek_bridge::bridge::Reloaded;
use zeek_bridge::bridge::config::{ConfigFile, Diagnostic, Diagnostics, LogFormat, Operation};

use super::admin::{self, AdminAddresses, AdminChange};
use super::bridge::Running;
use super::located;

/// A configuration that the bridge has applied, and the change of the services that remains to be applied.
pub(super) struct Applied {
    pub(super) operation: Operation,
    pub(super) admin: AdminChange,
}

/// Reads the configuration again, applies it to the bridge and logs the result. `log` is the format of the running log.
/// Returns `None` if nothing changes.
pub(super) async fn reload<R: Running>(
    running: Arc<R>,
    path: PathBuf,
    current: Operation,
    log: LogFormat,
) -> Option<Applied> {
    match apply(&*running, path, &current).await {
        Ok((applied, Reloaded { news, errors, previous_certificates })) => {
            news.iter().for_each(|change| tracing::info!("reload: {change}"));
            if applied.operation.log != log {
                tracing::warn!("reload: the new log format takes effect at the next start");
            }
            errors.iter().for_each(|error| tracing::error!("reload: {error}"));
            let links = match &*previous_certificates {
                [] => String::new(),
                [link] => format!("; link {link} keeps its previous certificates"),
                links => format!("; links {} keep their previous certificates", links.join(" and ")),
            };
            match (errors.is_empty(), links.is_empty()) {
                (true, true) => tracing::info!("reload: the configuration is applied"),
                (true, false) => tracing::warn!("reload: the configuration is applied{links}"),
                (false, _) => tracing::error!(
                    "reload: applied, except for the errors above{links}; fix them and send SIGHUP again"
                ),
            }
            Some(applied)
        }
        Err(errors) => {
            errors.iter().for_each(|error| tracing::error!("reload: {error}"));
            tracing::error!("reload: the configuration is not applied; the previous one stays in effect");
            None
        }
    }
}

async fn apply<R: Running>(
    running: &R,
    path: PathBuf,
    current: &Operation,
) -> Result<(Applied, Reloaded), Diagnostics> {
    let read = tokio::task::spawn_blocking(move || ConfigFile::read(path)).await;
    let read = read.map_err(|error| Diagnostic::new("", error.to_string()))?;
    let file = read?;
    file.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let ConfigFile { config, source, .. } = file;
    let with_lines = |errors: Diagnostics| Diagnostics::from(located(&source, errors).collect::<Vec<_>>());
    let operation = config.operation.clone();
    // Bind the addresses first: if one of them is not free, the bridge must not be changed.
    let settings = admin::load(&operation).await.map_err(with_lines)?;
    let addresses = AdminAddresses::of(&operation);
    let admin = AdminChange::prepare(&AdminAddresses::of(current), &addresses, settings).await;
    let admin = admin.map_err(with_lines)?;
    let reloaded = running.reload(config).await.map_err(with_lines)?;
    let errors = with_lines(reloaded.errors.into()).into_iter().collect();
    Ok((Applied { operation, admin }, Reloaded { errors, ..reloaded }))
}
