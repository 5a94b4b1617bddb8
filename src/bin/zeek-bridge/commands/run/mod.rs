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
use zeek_bridge::bridge::config::{ConfigFile, Mistake, Operation, Source};
use zeek_bridge::bridge::{Bridge, Reloaded};

use crate::output::{Exit, Failure, Output, log, stderr};
use crate::runtime;
use crate::signals::Signals;

/// For systemd, with its own words on what to adapt.
const UNIT: &str = include_str!("zeek-bridge.service");

/// Run a bridge: forward messages between links as rules allow
///
/// Runs until SIGINT or SIGTERM. It then sends what is queued and leaves its peers, within the `drain` time of the
/// configuration; a second signal stops it at once. On SIGHUP it loads the configuration and certificates again: links
/// that did not change keep their peerings, and a file with an error changes nothing.
///
/// Serves /metrics, /healthz and /readyz over HTTP, and answers `zeek-bridge status`. Notifies systemd when it is ready,
/// reloads and stops, and serves its watchdog. Connects and disconnects of peers are logged without -v.
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
    runtime::block_on(daemon::<R>(file))
}

/// Reads the configuration of a bridge.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, Failure> {
    ConfigFile::read(path).map_err(|invalid| all(Exit::Failed, &invalid.source, invalid.mistakes))
}

/// Tells every mistake, as `check` does.
fn all(exit: Exit, source: &Source, mistakes: Vec<Mistake>) -> Failure {
    located(source, mistakes).for_each(|mistake| stderr::print_line(format_args!("{mistake}")));
    Failure::Told(exit)
}

/// With the lines at which they are, as far as these are not known yet.
fn located(source: &Source, mistakes: Vec<Mistake>) -> impl Iterator<Item = Mistake> {
    mistakes.into_iter().map(|mistake| if mistake.line.is_some() { mistake } else { source.find(mistake) })
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
    let doors_to_open = doors.map_err(|mistakes| all(Exit::Unconnected, &source, mistakes))?;
    let running = tokio::select! {
        running = R::start(config) => running.map_err(|mistakes| all(Exit::Failed, &source, mistakes))?,
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
        Ok((operation, change, Reloaded { news, mistakes })) => {
            news.iter().for_each(|news| tracing::info!("SIGHUP: {news}"));
            if operation.log != before.log {
                tracing::warn!("SIGHUP: the format of the log changes only with the next start");
            }
            mistakes.iter().for_each(|mistake| tracing::error!("SIGHUP: {mistake}"));
            if mistakes.is_empty() {
                tracing::info!("SIGHUP: the configuration is taken up");
            } else {
                tracing::error!("SIGHUP: all but the above is taken up; mend that and send SIGHUP again");
            }
            Some((operation, change))
        }
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| tracing::error!("SIGHUP: {mistake}"));
            tracing::error!("SIGHUP: the configuration was not taken up; everything goes on as before");
            None
        }
    }
}

async fn try_take_up<R: Running>(
    running: &R,
    path: PathBuf,
    before: &Operation,
) -> Result<(Operation, Change, Reloaded), Vec<Mistake>> {
    let read = tokio::task::spawn_blocking(move || ConfigFile::read(path)).await;
    let read = read.map_err(|error| vec![Mistake::new("", error.to_string())])?;
    let file = read.map_err(|invalid| invalid.mistakes)?;
    file.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let ConfigFile { config, source, .. } = file;
    let operation = config.operation.clone();
    let change = Change::prepare(&Places::of(before), &Places::of(&operation)).await;
    let change = change.map_err(|mistakes| located(&source, mistakes).collect::<Vec<_>>())?;
    let reloaded =
        running.reload(config).await.map_err(|mistakes| located(&source, mistakes).collect::<Vec<_>>())?;
    let mistakes = located(&source, reloaded.mistakes).collect();
    Ok((operation, change, Reloaded { mistakes, ..reloaded }))
}
