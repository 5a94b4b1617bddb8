//! The terminal of stdout, if stdout is a terminal, and the screens that are drawn on it.

mod keys;
mod live;
mod order;
mod screen;

use std::io::{self, IsTerminal};

pub(crate) use self::keys::Action;
#[cfg(test)]
pub(crate) use self::keys::assert_all_listed;
pub(crate) use self::live::{Live, Surroundings};
pub(crate) use self::order::Order;

/// Returns the columns and lines of stdout's terminal. `None` if stdout is not a terminal, or its size is unknown.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Returns the columns of stdout's terminal. `None` if stdout is not a terminal, or its size is unknown.
pub(crate) fn columns() -> Option<usize> {
    size().map(|(columns, _)| columns.into())
}

/// Returns whether a screen can be drawn on stdout. A background job (`tap --stats &`) must not draw one: a change of the
/// terminal's mode would stop the job (SIGTTOU), and the shell uses the screen.
pub(crate) fn can_draw() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !dumb && !is_in_background()
}

/// Returns whether a different process group is in the foreground of stdout's terminal. Returns `false` if this terminal does not
/// control this process.
fn is_in_background() -> bool {
    rustix::termios::tcgetpgrp(io::stdout()).is_ok_and(|group| group != rustix::process::getpgrp())
}
