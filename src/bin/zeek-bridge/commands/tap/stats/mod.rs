//! `tap --stats`: counts messages and reports their rates at each interval.

mod keys;
mod rates;
mod screen;
mod view;

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;
use zeek_bridge::data::Topic;

use self::keys::{Action, Keys};
use self::rates::{Column, Order, Rates};
use self::screen::{Screen, render};
use self::view::{About, View};
use super::message::Part;
use super::terminal;
use crate::output::Line;
use crate::output::{BackgroundOutput, Hold};
use crate::signals::{self, TerminalSignal, TerminalSignals};

/// Maximum number of messages of stderr below the table. They use at most a quarter of the screen.
const MESSAGES: usize = 3;

/// Maximum time to restore the terminal before this program is suspended.
const LEAVING: Duration = Duration::from_secs(1);

/// The counts and their report.
#[derive(Debug)]
pub(super) struct Stats {
    rates: Rates,
    interval: Duration,
    /// The end of the current interval.
    next: Instant,
    report: Report,
    color: bool,
    wide: bool,
}

#[derive(Debug)]
enum Report {
    Json,
    Tables,
    Live(Box<Live>),
}

/// The live table. From the start to the end, messages to stderr are buffered.
#[derive(Debug, Default)]
struct Live {
    screen: Screen,
    order: Order,
    hold: Option<Hold>,
    signals: Option<TerminalSignals>,
    keys: Option<Keys>,
}

/// An event that is handled between messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// An interval has ended.
    Interval,
    /// A key or a signal of the terminal.
    Action(Action),
}

impl Stats {
    pub(super) fn new(interval: Duration, text: bool, color: bool, wide: bool) -> Self {
        let report = match text {
            false => Report::Json,
            true if terminal::can_draw() => Report::Live(Box::default()),
            true => Report::Tables,
        };
        let now = Instant::now();
        let next = now.checked_add(interval).unwrap_or(now);
        Stats { rates: Rates::new(now), interval, next, report, color, wide }
    }

    /// Starts the first interval. Call this when messages may arrive.
    pub(super) async fn start(&mut self, output: &BackgroundOutput, peers: usize) {
        let now = Instant::now();
        self.rates = Rates::new(now);
        self.next = now.checked_add(self.interval).unwrap_or(now);
        if let Report::Live(live) = &mut self.report {
            live.hold = Some(Hold::new());
            // Without it, SIGTSTP and SIGQUIT leave the screen on the terminal, which is in raw mode.
            live.signals = TerminalSignals::new().ok();
            live.keys = Keys::start();
            self.draw(output, peers, now).await;
        }
    }

    /// Counts the selected parts of a message that has `of` parts and `bytes` bytes.
    pub(super) fn count(&mut self, topic: &Topic, parts: &[Part<'_>], of: usize, bytes: usize) {
        let topic = topic.to_str_lossy();
        let now = Instant::now();
        let share = bytes.checked_div(of).unwrap_or(bytes);
        for part in parts {
            self.rates.count(&topic, &part.name(), u64::try_from(share).unwrap_or(u64::MAX), now);
        }
    }

    /// Waits for the next turn. Can be dropped and called again.
    pub(super) async fn turn(&mut self) -> Turn {
        let next = tokio::time::sleep_until(self.next.into());
        match &mut self.report {
            Report::Live(live) => tokio::select! {
                () = next => Turn::Interval,
                action = signal(&mut live.signals) => Turn::Action(action),
                action = key(&mut live.keys) => Turn::Action(action),
            },
            Report::Json | Report::Tables => {
                next.await;
                Turn::Interval
            }
        }
    }

    /// Handles a turn. Returns `false` if the user asked to quit.
    pub(super) async fn handle(&mut self, turn: Turn, output: &BackgroundOutput, peers: usize) -> bool {
        let now = Instant::now();
        match (turn, &mut self.report) {
            (Turn::Interval, _) => {
                self.rates.end_interval(now);
                // Intervals that were missed are skipped.
                let next = self.next.checked_add(self.interval).filter(|next| *next > now);
                self.next = next.or_else(|| now.checked_add(self.interval)).unwrap_or(now);
                self.report(output, peers, now).await;
            }
            (Turn::Action(Action::Quit), _) => return false,
            (Turn::Action(Action::Suspend), Report::Live(live)) => {
                live.screen.leave(output).await;
                let _ = timeout(LEAVING, output.idle()).await;
                // Write the buffered messages to the terminal as it was before.
                live.hold = None;
                signals::suspend();
                live.hold = Some(Hold::new());
                self.draw(output, peers, Instant::now()).await;
            }
            (Turn::Action(action), Report::Live(live)) => {
                if let Action::Sort(column) = action {
                    live.order.select(column);
                }
                self.draw(output, peers, now).await;
            }
            (Turn::Action(_), _) => {}
        }
        true
    }

    async fn report(&mut self, output: &BackgroundOutput, peers: usize, now: Instant) {
        let view = self.view(About::Interval, Order::default(), peers, now);
        match &self.report {
            Report::Json => output.line(view.json(SystemTime::now())).await,
            Report::Tables => output.text(format!("{}\n", view.text(self.columns())).as_bytes(), 1).await,
            Report::Live(_) => self.draw(output, peers, now).await,
        }
    }

    async fn draw(&mut self, output: &BackgroundOutput, peers: usize, now: Instant) {
        let Stats { rates, report: Report::Live(live), color, .. } = self else { return };
        let Live { screen, order, hold, keys, .. } = &mut **live;
        let has_keys = keys.is_some();
        let lines = terminal::size().map_or(24, |(_, lines)| lines);
        let count = MESSAGES.min(usize::from(lines) / 4);
        let messages = hold.as_ref().map(|hold| hold.last(count)).unwrap_or_default();
        let messages: Vec<String> = messages.iter().map(|message| escaped(message)).collect();
        let view = View { rates, about: About::Interval, order: *order, peers, now };
        screen.draw(output, |frame| render(frame, &view, &messages, has_keys, *color)).await;
    }

    /// Restores the terminal.
    pub(super) async fn leave(&mut self, output: &BackgroundOutput) {
        if let Report::Live(live) = &mut self.report {
            live.keys = None;
            live.screen.leave(output).await;
        }
    }

    /// Reports the total at the end.
    pub(super) async fn finish(&mut self, output: &BackgroundOutput, peers: usize) {
        let view = self.view(About::Total, Order::by(Column::Count), peers, Instant::now());
        if matches!(self.report, Report::Json) {
            output.line(view.json(SystemTime::now())).await;
        } else {
            output.text(view.text(self.columns()).as_bytes(), 1).await;
        }
    }

    fn view(&self, about: About, order: Order, peers: usize, now: Instant) -> View<'_> {
        View { rates: &self.rates, about, order, peers, now }
    }

    fn columns(&self) -> Option<usize> {
        if self.wide { None } else { terminal::columns() }
    }
}

/// Escapes what could affect the terminal. Backslashes of earlier escapes stay.
fn escaped(message: &str) -> String {
    let mut escaped = String::new();
    Line::new(&mut escaped, None, false).put_escaped(anstyle::Style::new(), message);
    escaped
}

async fn signal(signals: &mut Option<TerminalSignals>) -> Action {
    match signals {
        Some(signals) => match signals.next().await {
            TerminalSignal::Suspend => Action::Suspend,
            TerminalSignal::Quit => Action::Quit,
        },
        None => std::future::pending().await,
    }
}

async fn key(keys: &mut Option<Keys>) -> Action {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}
