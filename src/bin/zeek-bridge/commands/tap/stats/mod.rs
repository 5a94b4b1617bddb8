//! `tap --stats`: counts messages and reports their rates at each interval.

mod rates;
mod screen;
mod view;

use std::time::{Duration, Instant, SystemTime};

use zeek_bridge::data::Topic;

use self::rates::{Column, Rates};
use self::screen::render;
use self::view::{About, View};
use super::message::Part;
use crate::output::{BackgroundOutput, to_line};
use crate::terminal::{self, Action, Live, Order};

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
    Live(Box<Live>, Order<Column>),
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
            true if terminal::can_draw() => Report::Live(Box::default(), Order::default()),
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
        if let Report::Live(live, _) = &mut self.report {
            live.start();
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

    /// Waits for the next turn. Cancel safe.
    pub(super) async fn turn(&mut self) -> Turn {
        let next = tokio::time::sleep_until(self.next.into());
        match &mut self.report {
            Report::Live(live, _) => tokio::select! {
                () = next => Turn::Interval,
                action = live.next() => Turn::Action(action),
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
            (Turn::Action(Action::Suspend), Report::Live(live, _)) => {
                live.suspend(output).await;
                self.draw(output, peers, Instant::now()).await;
            }
            (Turn::Action(action), Report::Live(_, order)) => {
                let column = match action {
                    Action::Key(key) => Column::of_key(key),
                    Action::Quit | Action::Suspend | Action::Redraw => None,
                };
                column.into_iter().for_each(|column| order.select(column));
                self.draw(output, peers, now).await;
            }
            (Turn::Action(_), _) => {}
        }
        true
    }

    async fn report(&mut self, output: &BackgroundOutput, peers: usize, now: Instant) {
        let view = self.view(About::Interval, Order::default(), peers, now);
        match &self.report {
            Report::Json => output.line(to_line(&view.json(SystemTime::now()))).await,
            Report::Tables => output.text(format!("{}\n", view.text(self.columns())).as_bytes(), 1).await,
            Report::Live(..) => self.draw(output, peers, now).await,
        }
    }

    async fn draw(&mut self, output: &BackgroundOutput, peers: usize, now: Instant) {
        let Stats { rates, report: Report::Live(live, order), color, .. } = self else { return };
        let view = View { rates, about: About::Interval, order: *order, peers, now };
        live.draw(output, |frame, surroundings| render(frame, &view, surroundings, *color)).await;
    }

    /// Restores the terminal.
    pub(super) async fn leave(&mut self, output: &BackgroundOutput) {
        if let Report::Live(live, _) = &mut self.report {
            live.leave(output).await;
        }
    }

    /// Reports the total at the end.
    pub(super) async fn finish(&mut self, output: &BackgroundOutput, peers: usize) {
        let view = self.view(About::Total, Order::by(Column::Count), peers, Instant::now());
        if matches!(self.report, Report::Json) {
            output.line(to_line(&view.json(SystemTime::now()))).await;
        } else {
            output.text(view.text(self.columns()).as_bytes(), 1).await;
        }
    }

    fn view(&self, about: About, order: Order<Column>, peers: usize, now: Instant) -> View<'_> {
        View { rates: &self.rates, about, order, peers, now }
    }

    fn columns(&self) -> Option<usize> {
        if self.wide { None } else { terminal::columns() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_lists_every_key() {
        let manual = include_str!("../../../cli/details/tap.txt");
        terminal::assert_all_listed(manual, |key| Column::of_key(key).is_some());
    }
}
