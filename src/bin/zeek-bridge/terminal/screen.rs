//! A screen on the terminal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::keys::Keys;
use super::size;
use crate::output::BackgroundOutput;

/// The terminal, from the first drawing to [`leave`](Self::leave).
///
/// All bytes go through [`BackgroundOutput`], because the terminal may stop reading. While the previous frame is not written
/// completely, new frames are skipped.
#[derive(Debug, Default)]
pub(super) struct Screen {
    terminal: Option<Terminal<CrosstermBackend<Sink>>>,
    area: Rect,
    /// The output of `terminal`.
    sink: Sink,
    raw_mode: Option<RawMode>,
}

impl Screen {
    pub(super) async fn draw(&mut self, output: &BackgroundOutput, render: impl FnOnce(&mut Frame<'_>)) {
        if !output.is_idle() {
            return;
        }
        let (columns, lines) = size().unwrap_or((80, 24));
        let area = Rect::new(0, 0, columns, lines);
        // Writing to memory cannot fail, so all results are ignored.
        if self.terminal.is_none() {
            self.raw_mode = RawMode::enable();
            let _ = queue!(self.sink, EnterAlternateScreen, Hide);
        }
        if self.terminal.is_none() || self.area != area {
            // A new size needs new buffers. With a fixed area, ratatui does not query the terminal, which could block.
            let _ = queue!(self.sink, Clear(ClearType::All));
            let options = TerminalOptions { viewport: Viewport::Fixed(area) };
            self.terminal = Terminal::with_options(CrosstermBackend::new(self.sink.clone()), options).ok();
            self.area = area;
        }
        let Some(terminal) = &mut self.terminal else { return };
        let _ = terminal.draw(render);
        output.text(&self.sink.take(), 0).await;
    }

    /// Restores what was on the terminal before the first drawing.
    pub(super) async fn leave(&mut self, output: &BackgroundOutput) {
        if self.terminal.take().is_some() {
            let _ = queue!(self.sink, Show, LeaveAlternateScreen);
            output.text(&self.sink.take(), 0).await;
        }
        self.raw_mode = None;
    }
}

/// The bytes of a frame.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Raw mode: the terminal passes on each key at once, including Ctrl-C, and does not show it.
#[derive(Debug)]
struct RawMode;

impl RawMode {
    fn enable() -> Option<Self> {
        (Keys::are_available() && enable_raw_mode().is_ok()).then_some(RawMode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}
