//! `run`: the bridge as a daemon.

mod admin;
mod bridge;
mod http;
mod metrics;
mod page_server;
mod reload;
mod serve;
mod status_socket;
mod systemd;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use admin::{AdminAddresses, AdminChange, AdminServices};
use bridge::Running;
use clap::Args;
pub(crate) use page_server::PageServer;
use reload::{Applied, reload};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
pub(crate) use view::Document;
use view::View;
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::{ConfigFile, Diagnostic, Source};
use zeek_bridge::peering;

use crate::output::{Exit, Failure, Output, log, stderr};
use crate::runtime;
use crate::signals::Signals;

/// The maximum time for the confirmation of a BYE, after the queues are drained.
const LEAVE_TIMEOUT: Duration = peering::Config::LEAVE_TIMEOUT;

/// The unit file for systemd. Its comments explain what to adapt.
const UNIT: &str = include_str!("zeek-bridge.service");

/// The paths of the program and of the configuration in [`UNIT`].
const UNIT_PROGRAM: &str = "/usr/local/bin/zeek-bridge";
const UNIT_CONFIG: &str = "/etc/zeek-bridge/bridge.toml";

/// Run a bridge: forward messages between links as rules allow
///
/// Runs until SIGINT or SIGTERM. The bridge then sends the queued messages, for at most the `drain` time of the configuration,
/// and leaves its peers, for at most 3 more seconds. A second signal stops the bridge at once. On SIGHUP, the bridge loads the
/// configuration and certificates again. Links that did not change keep their peerings. If the file has an error, nothing changes.
///
/// Serves a live page, /metrics, /healthz and /readyz over HTTP, and answers `zeek-bridge status`. Notifies systemd when it is ready,
/// reloads and stops, and serves its watchdog. Connects and disconnects of peers are logged without -v.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration: links and rules
    #[arg(value_name = "CONFIG.toml", required_unless_present = "print_unit")]
    config: Option<PathBuf>,
    /// Print a unit file for systemd and exit; it starts the bridge with CONFIG.toml, or else with
    /// /etc/zeek-bridge/bridge.toml
    #[arg(long)]
    print_unit: bool,
}

pub(crate) fn run(args: RunArgs, verbose: u8) -> Result<(), Failure> {
    match args.config {
        Some(path) if !args.print_unit => start::<Bridge>(&path, verbose),
        config => {
            let mut output = Output::new();
            let unit = unit(config.as_deref())?;
            output.line(unit.trim_end().as_bytes()).and_then(|()| output.flush())
        }
    }
}

/// Returns the unit file. It starts the running program file with this configuration.
fn unit(config: Option<&Path>) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot determine the path of this program: {error}")))?;
    if is_hidden(&program) {
        stderr::print_line(format_args!(
            "warning: the unit hides home directories (ProtectHome=yes), so it cannot start {}; install the program elsewhere, \
             such as with `sudo install {} /usr/local/bin/`, and print the unit with that one",
            program.display(),
            program.display()
        ));
    }
    // systemd expands % and splits at white space.
    let program = program.display().to_string().replace('%', "%%");
    let program = if program.contains(char::is_whitespace) { format!("\"{program}\"") } else { program };
    let unit = UNIT.replace(UNIT_PROGRAM, &program);
    let Some(config) = config else { return Ok(unit) };
    let config = std::path::absolute(config)
        .map_err(|error| Failure::failed(format!("cannot use {}: {error}", config.display())))?;
    if is_hidden(&config) {
        stderr::print_line(format_args!(
            "warning: the unit hides home directories (ProtectHome=yes), so the bridge cannot read {}; move the configuration and \
             its certificates to /etc/zeek-bridge",
            config.display()
        ));
    }
    let Some(config) = config.to_str().filter(|text| !text.contains(char::is_control)) else {
        return Err(Failure::failed(format!(
            "the path {} contains control characters or is not UTF-8, so a unit file cannot contain it; use another path",
            config.display()
        )));
    };
    // In arguments, systemd also expands $, and removes quotes and backslashes.
    let config = config.replace('%', "%%").replace('$', "$$").replace('\\', r"\\").replace('"', "\\\"");
    let is_quoted =
        config.contains(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '\\'));
    let config = if is_quoted { format!("\"{config}\"") } else { config };
    Ok(unit.replace(UNIT_CONFIG, &config))
}

/// Returns whether the unit file hides this path from the bridge.
fn is_hidden(path: &Path) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|home| path.starts_with(home))
}

fn start<R: Running>(path: &Path, verbose: u8) -> Result<(), Failure> {
    let file = read(path)?;
    // The log of a daemon contains connects and disconnects of peers without -v.
    log::start(Some(verbose.max(1)), file.config.operation.log)?;
    runtime::block_on(daemon::<R>(file))
}

/// Reads the configuration of a bridge. Reports all errors to stderr.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, Failure> {
    ConfigFile::read(path).map_err(|errors| report(Exit::Failed, &errors.source().clone(), errors))
}

/// Reports all errors to stderr, in the format of `check`.
fn report(exit: Exit, source: &Source, errors: impl IntoIterator<Item = Diagnostic>) -> Failure {
    located(source, errors).for_each(|error| stderr::print_line(format_args!("{error}")));
    Failure::Reported(exit)
}

/// Adds the line number to each error that has none, if its key is in the source.
fn located(
    source: &Source,
    errors: impl IntoIterator<Item = Diagnostic>,
) -> impl Iterator<Item = Diagnostic> {
    errors.into_iter().map(|error| if error.line.is_some() { error } else { source.locate(error) })
}

async fn daemon<R: Running>(file: ConfigFile) -> Result<(), Failure> {
    file.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let ConfigFile { config, source, .. } = file;
    let path = source.file().to_owned();
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failure::failed(format!("cannot handle SIGHUP: {error}")))?;
    let mut operation = config.operation.clone();
    // The format of the running log does not change.
    let log = operation.log;
    // Bind these addresses before the bridge starts. If a different bridge already uses them, this one must not affect any
    // peer.
    let settings = admin::load(&operation).await.map_err(|errors| report(Exit::Failed, &source, errors))?;
    let addresses = AdminAddresses::of(&operation);
    let admin = AdminChange::prepare(&AdminAddresses::default(), &addresses, settings).await;
    let admin = admin.map_err(|errors| report(Exit::Unconnected, &source, errors))?;
    let running = tokio::select! {
        running = R::start(config) => running.map_err(|errors| report(Exit::Failed, &source, errors))?,
        () = signals.next() => return Ok(()),
    };
    let running = Arc::new(running);
    let view = Arc::new({
        let running = running.clone();
        View::new(move || running.snapshot())
    });
    let mut services = AdminServices::new(view.clone());
    services.apply(admin);
    tracing::info!("running, with {}", path.display());
    systemd::ready(&view.snapshot());

    let mut watchdog = systemd::Watchdog::new(view.clone());
    // A reload runs in a task, so that signals and the watchdog are still served. If SIGHUP arrives during a reload, the next
    // reload starts after it.
    let mut reloading: Option<JoinHandle<Option<Applied>>> = None;
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = hangup.recv(), if reloading.is_none() => {
                systemd::reloading();
                reloading = Some(runtime::spawn(reload(running.clone(), path.clone(), operation.clone(), log)));
            }
            applied = finished(&mut reloading) => {
                if let Some(applied) = applied {
                    operation = applied.operation;
                    services.apply(applied.admin);
                }
                systemd::ready(&view.snapshot());
            }
            snapshot = watchdog.alive() => systemd::alive(&snapshot),
        }
    }

    tracing::info!(
        "ending, within {} for the queues and {} for leaving the peers; a second signal ends it at once",
        humantime::format_duration(operation.drain),
        humantime::format_duration(LEAVE_TIMEOUT)
    );
    view.set_stopping();
    systemd::stopping(operation.drain);
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    tokio::select! {
        () = running.shutdown() => tracing::info!("ended"),
        () = signals.next() => tracing::warn!("shutdown aborted by a second signal; queued messages are lost"),
    }
    Ok(())
}

/// Waits for the end of a reload; forever if there is none. Cancel safe.
async fn finished(reloading: &mut Option<JoinHandle<Option<Applied>>>) -> Option<Applied> {
    let Some(task) = reloading else { return std::future::pending().await };
    let result = task.await;
    *reloading = None;
    result.unwrap_or_else(|error| {
        tracing::error!("reload: failed: {error}");
        None
    })
}
