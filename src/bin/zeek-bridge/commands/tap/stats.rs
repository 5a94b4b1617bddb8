//! `tap --stats`: how fast what comes, told again and again.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;
use zeek_bridge::data::Topic;

use super::cut::Line;
use super::rates::Rates;
use super::said::Part;
use super::screen::{self, Screen};
use super::table::{About, Look, View};
use crate::output::{BackgroundOutput, Hold};
use crate::signals::Suspend;

/// The most lines of a table where it is not the terminal that says how many.
const MOST_LINES: usize = 100;

/// How many lines of what is said on stderr are shown below the table, if they take no more than a quarter.
const WORDS: usize = 3;

/// How long the terminal may take to be left before this program is suspended.
const LEAVING: Duration = Duration::from_secs(1);

/// What was counted, and how it is told.
#[derive(Debug)]
pub(super) struct Stats {
    rates: Rates,
    every: Duration,
    next: Instant,
    telling: Telling,
    color: bool,
    wide: bool,
}

#[derive(Debug)]
enum Telling {
    Json,
    Tables,
    /// From the beginning to the end, what is said on stderr waits, and so does who wants to suspend this program.
    Screen(Screen, Option<Hold>, Option<Suspend>),
}

/// Why a turn is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// An interval is over.
    Interval,
    /// Somebody wants the terminal for something else meanwhile.
    Suspend,
}

impl Stats {
    pub(super) fn new(every: Duration, text: bool, color: bool, wide: bool) -> Self {
        let telling = match text {
            false => Telling::Json,
            true if screen::can_draw() => Telling::Screen(Screen::default(), None, None),
            true => Telling::Tables,
        };
        let now = Instant::now();
        let next = now.checked_add(every).unwrap_or(now);
        Stats { rates: Rates::new(now), every, next, telling, color, wide }
    }

    /// The beginning: now things may come.
    pub(super) async fn start(&mut self, output: &BackgroundOutput, peers: usize) {
        let now = Instant::now();
        self.rates = Rates::new(now);
        self.next = now.checked_add(self.every).unwrap_or(now);
        if let Telling::Screen(_, hold, suspend) = &mut self.telling {
            *hold = Some(Hold::new());
            // Without it, Ctrl-Z leaves the screen as it is.
            *suspend = Suspend::new().ok();
            self.draw(output, peers, now).await;
        }
    }

    /// Counts what a message says, of which `parts` are to be counted; it says `of` things.
    pub(super) fn count(&mut self, topic: &Topic, parts: &[Part<'_>], of: usize, bytes: usize) {
        let topic = topic.to_str_lossy();
        let now = Instant::now();
        let share = bytes.checked_div(of).unwrap_or(bytes);
        for part in parts {
            self.rates.count(&topic, &part.name(), u64::try_from(share).unwrap_or(u64::MAX), now);
        }
    }

    /// Waits for the next turn.
    pub(super) async fn turn(&mut self) -> Turn {
        let next = tokio::time::sleep_until(self.next.into());
        match &mut self.telling {
            Telling::Screen(_, _, suspend) => tokio::select! {
                () = next => Turn::Interval,
                () = asked(suspend) => Turn::Suspend,
            },
            Telling::Json | Telling::Tables => {
                next.await;
                Turn::Interval
            }
        }
    }

    /// Takes it.
    pub(super) async fn take(&mut self, turn: Turn, output: &BackgroundOutput, peers: usize) {
        match (turn, &mut self.telling) {
            (Turn::Interval, _) => {
                let now = Instant::now();
                self.rates.end_interval(now);
                // What is late already is not made up for.
                let next = self.next.checked_add(self.every).filter(|next| *next > now);
                self.next = next.or_else(|| now.checked_add(self.every)).unwrap_or(now);
                self.tell(output, peers, now).await;
            }
            (Turn::Suspend, Telling::Screen(screen, hold, _)) => {
                screen.leave(output).await;
                let _ = timeout(LEAVING, output.idle()).await;
                // Now it can be read.
                *hold = None;
                Suspend::now();
                *hold = Some(Hold::new());
                self.draw(output, peers, Instant::now()).await;
            }
            (Turn::Suspend, _) => {}
        }
    }

    async fn tell(&mut self, output: &BackgroundOutput, peers: usize, now: Instant) {
        let view = View { rates: &self.rates, about: About::Interval, peers, now };
        match &self.telling {
            Telling::Json => output.line(view.json(SystemTime::now())).await,
            Telling::Tables => {
                let look = Look { color: self.color, columns: self.columns(), lines: MOST_LINES };
                output.text(format!("{}\n", view.table(look)).as_bytes(), 1).await;
            }
            Telling::Screen(..) => self.draw(output, peers, now).await,
        }
    }

    async fn draw(&mut self, output: &BackgroundOutput, peers: usize, now: Instant) {
        let Telling::Screen(screen, hold, _) = &mut self.telling else { return };
        let (columns, lines) = screen::size().unwrap_or((80, 24));
        // What is in the last column is lost on some terminals when the rest of the line is cleared.
        let columns = Some(columns.saturating_sub(1));
        let mut below = String::new();
        let words = hold.as_ref().map(|hold| hold.last(WORDS.min(lines / 4))).unwrap_or_default();
        for words in &words {
            Line::new(&mut below, columns, false).put_escaped(anstyle::Style::new().dimmed(), words);
            below.push('\n');
        }
        let lines = lines.saturating_sub(words.len());
        let view = View { rates: &self.rates, about: About::Interval, peers, now };
        let table = view.table(Look { color: self.color, columns, lines });
        // A terminal may be lower than any table.
        let table: String = table.split_inclusive('\n').take(lines).collect();
        screen.draw(output, &(table + &below)).await;
    }

    /// Leaves the terminal to others.
    pub(super) async fn over(&mut self, output: &BackgroundOutput) {
        if let Telling::Screen(screen, ..) = &mut self.telling {
            screen.leave(output).await;
        }
    }

    /// The end: tells of the whole time.
    pub(super) async fn finish(&mut self, output: &BackgroundOutput, peers: usize) {
        let now = Instant::now();
        let view = View { rates: &self.rates, about: About::Whole, peers, now };
        if matches!(self.telling, Telling::Json) {
            output.line(view.json(SystemTime::now())).await;
        } else {
            let look = Look { color: self.color, columns: self.columns(), lines: MOST_LINES };
            output.text(view.table(look).as_bytes(), 1).await;
        }
    }

    fn columns(&self) -> Option<usize> {
        if self.wide { None } else { screen::size().map(|(columns, _)| columns) }
    }
}

async fn asked(suspend: &mut Option<Suspend>) {
    match suspend {
        Some(suspend) => suspend.asked().await,
        None => std::future::pending().await,
    }
}
