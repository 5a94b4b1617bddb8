//! The terminal that stdout is, and a screen on it that is drawn again and again.

use std::io::{self, IsTerminal};

use crate::output::BackgroundOutput;

/// To another screen, so that what was on the terminal comes back in the end; without a cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// The rest of a line, and of the screen.
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Columns and lines of the terminal that stdout is, if it is one and knows.
#[cfg(unix)]
pub(super) fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

#[cfg(not(unix))]
pub(super) fn size() -> Option<(usize, usize)> {
    None
}

/// Whether there is a terminal to draw on.
pub(super) fn can_draw() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !dumb
}

/// A screen that is there from the first time that it is drawn until it is left.
#[derive(Debug, Default)]
pub(super) struct Screen {
    is_there: bool,
}

impl Screen {
    /// Draws these lines in the place of what was there; unless the terminal is behind, so that it never has to draw
    /// what is over.
    pub(super) async fn draw(&mut self, output: &BackgroundOutput, lines: &str) {
        if output.is_idle() {
            let enter = if self.is_there { "" } else { ENTER };
            self.is_there = true;
            output.text(format!("{enter}{}", frame(lines)).as_bytes(), 0).await;
        }
    }

    pub(super) async fn leave(&mut self, output: &BackgroundOutput) {
        if std::mem::take(&mut self.is_there) {
            output.text(LEAVE.as_bytes(), 0).await;
        }
    }
}

/// No line break behind the last line: on a full screen it would move all up.
fn frame(lines: &str) -> String {
    let lines: Vec<&str> = lines.lines().collect();
    format!("\u{1b}[H{}{CLEAR_LINE}{CLEAR_BELOW}", lines.join(&format!("{CLEAR_LINE}\r\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_overwrites_what_was_there() {
        assert_eq!(frame("a\n\nb\n"), "\u{1b}[Ha\u{1b}[K\r\n\u{1b}[K\r\nb\u{1b}[K\u{1b}[J");
    }
}
