//! `run`: the bridge, as a daemon.

mod bridge;
mod doors;
mod http;
mod metrics;
mod status_socket;
mod systemd;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bridge::Running;
use clap::Args;
use doors::{Change, Doors, Places, View};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use zeek_bridge::bridge::config::{ConfigFile, Diagnostic, Diagnostics, Operation, Source};
use zeek_bridge::bridge::{Bridge, Reloaded};

use crate::exit::{self, Exit, Failure};
use crate::log;
use crate::output::Output;
use crate::signals::Signals;

/// For systemd, with its own words on what to adapt.
const UNIT: &str = include_str!("zeek-bridge.service");

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The links and rules
    #[arg(value_name = "CONFIG.toml", required_unless_present = "print_unit")]
    config: Option<PathBuf>,
    /// Print a unit file for systemd, and end
    #[arg(long, conflicts_with = "config")]
    print_unit: bool,
}

pub(crate) fn run(args: RunArgs, verbose: u8) -> Result<(), Failure> {
    let Some(path) = args.config else {
        let mut output = Output::new();
        return output.line(UNIT.trim_end().as_bytes()).and_then(|()| output.flush());
    };
    start::<Bridge>(&path, verbose)
}

fn start<R: Running>(path: &Path, verbose: u8) -> Result<(), Failure> {
    let file = read(path)?;
    // What happens to peers is what a daemon's log is for.
    log::start(verbose.max(1), file.config.operation.log)?;
    crate::on_runtime(daemon::<R>(file))
}

/// Reads the configuration of a bridge.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, Failure> {
    ConfigFile::read(path).map_err(|errors| all(Exit::Failed, &errors.source().clone(), errors))
}

/// Reports every error, as `check` does.
fn all(exit: Exit, source: &Source, errors: impl IntoIterator<Item = Diagnostic>) -> Failure {
    located(source, errors).for_each(|error| exit::say(format_args!("{error}")));
    Failure::Told(exit)
}

/// Adds the lines of the file to errors that do not have one.
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
        .map_err(|error| Failure::failed(format!("cannot listen for SIGHUP: {error}")))?;
    let mut operation = config.operation.clone();
    // Before any peer hears of it, in case that another bridge runs already.
    let doors = Change::prepare(&Places::default(), &Places::of(&operation)).await;
    let doors_to_open = doors.map_err(|errors| all(Exit::Unconnected, &source, errors))?;
    let running = tokio::select! {
        running = R::start(config) => running.map_err(|errors| all(Exit::Failed, &source, errors))?,
        () = signals.next() => return Ok(()),
    };
    let running = Arc::new(running);
    let view = Arc::new({
        let running = running.clone();
        View::new(move || running.snapshot())
    });
    let mut doors = Doors::new(view.clone());
    doors.put(doors_to_open);
    tracing::info!("running, with {}", path.display());
    systemd::ready(&view.snapshot());

    let mut watchdog = systemd::Watchdog::new(view.clone());
    let mut reload: Option<JoinHandle<TakenUp>> = None;
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = hangup.recv(), if reload.is_none() => {
                systemd::reloading();
                reload = Some(tokio::spawn(take_up(running.clone(), path.clone(), operation.clone())));
            }
            reloaded = end_of(&mut reload) => {
                if let Some((config, change)) = reloaded {
                    operation = config;
                    doors.put(change);
                }
                systemd::ready(&view.snapshot());
            }
            snapshot = watchdog.alive() => systemd::alive(&snapshot),
        }
    }

    tracing::info!(
        "ending, within {}; a second signal cuts it short",
        humantime::format_duration(operation.drain)
    );
    view.stop();
    systemd::stopping(operation.drain);
    if let Some(reload) = reload {
        reload.abort();
    }
    tokio::select! {
        () = running.shutdown() => tracing::info!("ended"),
        () = signals.next() => tracing::warn!("cut short by a second signal: messages that waited are lost"),
    }
    Ok(())
}

/// How the bridge is to be run from now on; `None`: as before.
type TakenUp = Option<(Operation, Change)>;

/// Waits for the end of a reload, if there is one. May be dropped and called again at any time.
async fn end_of(reload: &mut Option<JoinHandle<TakenUp>>) -> TakenUp {
    let Some(task) = reload else { return std::future::pending().await };
    let end = task.await;
    *reload = None;
    end.unwrap_or_else(|error| {
        tracing::error!("SIGHUP: the configuration could not be taken up: {error}");
        None
    })
}

/// Reads the configuration again and lets the bridge have it.
async fn take_up<R: Running>(running: Arc<R>, path: PathBuf, before: Operation) -> TakenUp {
    match try_take_up(&*running, path, &before).await {
        Ok((operation, change, Reloaded { news, errors })) => {
            news.iter().for_each(|news| tracing::info!("SIGHUP: {news}"));
            if operation.log != before.log {
                tracing::warn!("SIGHUP: the format of the log changes only with the next start");
            }
            errors.iter().for_each(|error| tracing::error!("SIGHUP: {error}"));
            if errors.is_empty() {
                tracing::info!("SIGHUP: the configuration is taken up");
            } else {
                tracing::error!("SIGHUP: all but the above is taken up; mend that and send SIGHUP again");
            }
            Some((operation, change))
        }
        Err(errors) => {
            errors.iter().for_each(|error| tracing::error!("SIGHUP: {error}"));
            tracing::error!("SIGHUP: the configuration was not taken up; everything goes on as before");
            None
        }
    }
}

async fn try_take_up<R: Running>(
    running: &R,
    path: PathBuf,
    before: &Operation,
) -> Result<(Operation, Change, Reloaded), Diagnostics> {
    let read = tokio::task::spawn_blocking(move || ConfigFile::read(path)).await;
    let read = read.map_err(|error| Diagnostic::new("", error.to_string()))?;
    let file = read?;
    file.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let ConfigFile { config, source, .. } = file;
    let operation = config.operation.clone();
    let change = Change::prepare(&Places::of(before), &Places::of(&operation)).await;
    let located = |errors: Diagnostics| Diagnostics::from(located(&source, errors).collect::<Vec<_>>());
    let change = change.map_err(located)?;
    let Reloaded { news, errors } = running.reload(config).await.map_err(located)?;
    let errors = located(errors.into()).into_iter().collect();
    Ok((operation, change, Reloaded { news, errors }))
}
