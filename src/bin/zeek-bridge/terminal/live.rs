//! A live screen: drawing, keys, signals of the terminal, and messages of stderr.

use std::time::Duration;

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::{Frame, text};
use tokio::time::timeout;

use super::keys::{Action, Keys};
use super::screen::Screen;
use super::size;
use crate::output::{BackgroundOutput, Hold, Line};
use crate::signals::{self, TerminalSignal, TerminalSignals};

/// Maximum number of messages of stderr on the screen. They use at most a quarter of it.
const MESSAGES: usize = 3;

/// Maximum time to restore the terminal before this program is suspended.
const LEAVING: Duration = Duration::from_secs(1);

/// A live screen. From [`start`](Self::start) until this is dropped, messages to stderr are buffered, except while the program is
/// suspended.
#[derive(Debug, Default)]
pub(crate) struct Live {
    screen: Screen,
    hold: Option<Hold>,
    signals: Option<TerminalSignals>,
    keys: Option<Keys>,
}

/// The parts of a screen besides its content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The last messages of stderr, without characters that affect the terminal.
    pub(crate) messages: Vec<String>,
    /// Whether keys are read.
    pub(crate) has_keys: bool,
}

impl Surroundings {
    /// Draws the help for the keys on the second line if keys are read, and the messages of stderr on the last lines. Returns the
    /// areas of the first line and of the content.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>, keys: &str, color: bool) -> [Rect; 2] {
        let dim = if color { Style::new().dim() } else { Style::new() };
        let [first, help, content, below] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(self.has_keys.into()),
            Constraint::Min(0),
            Constraint::Length(self.messages.len().try_into().unwrap_or(u16::MAX)),
        ])
        .areas(frame.area());
        frame.render_widget(text::Line::styled(keys, dim), help);
        let messages = self.messages.iter().map(|message| text::Line::raw(message.as_str()));
        frame.render_widget(text::Text::from_iter(messages).style(dim), below);
        [first, content]
    }
}

impl Live {
    /// Starts to read keys and signals of the terminal.
    pub(crate) fn start(&mut self) {
        self.hold = Some(Hold::new());
        // If this fails, SIGTSTP and SIGQUIT do not restore the terminal: the screen and raw mode remain.
        self.signals = TerminalSignals::new().ok();
        self.keys = Keys::start();
    }

    /// Waits for the next request of the user. Cancel safe.
    pub(crate) async fn next(&mut self) -> Action {
        tokio::select! {
            action = signal(&mut self.signals) => action,
            action = key(&mut self.keys) => action,
        }
    }

    /// Draws a frame, unless the previous frame is not written yet.
    pub(crate) async fn draw(
        &mut self,
        output: &BackgroundOutput,
        render: impl FnOnce(&mut Frame<'_>, &Surroundings),
    ) {
        let lines = size().map_or(24, |(_, lines)| lines);
        let count = MESSAGES.min(usize::from(lines) / 4);
        let messages = self.hold.as_ref().map(|hold| hold.last(count)).unwrap_or_default();
        let surroundings = Surroundings {
            messages: messages.iter().map(|message| escaped(message)).collect(),
            has_keys: self.keys.is_some(),
        };
        self.screen.draw(output, |frame| render(frame, &surroundings)).await;
    }

    /// Restores the terminal, and stops the process until it is continued. Draw again after this.
    pub(crate) async fn suspend(&mut self, output: &BackgroundOutput) {
        self.screen.leave(output).await;
        let _ = timeout(LEAVING, output.idle()).await;
        // Write the buffered messages now that the terminal is restored.
        self.hold = None;
        signals::suspend();
        self.hold = Some(Hold::new());
    }

    /// Restores the terminal. Buffered messages are written when this is dropped.
    pub(crate) async fn leave(&mut self, output: &BackgroundOutput) {
        self.keys = None;
        self.screen.leave(output).await;
    }
}

/// Escapes characters that could affect the terminal. Backslashes of earlier escapes are not escaped again.
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
