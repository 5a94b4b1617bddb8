//! The keys of a live screen.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use tokio::sync::mpsc;

/// The interval at which the thread checks whether it is still needed.
const CHECK: Duration = Duration::from_millis(100);

/// A request of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Quit,
    /// Stop the process, as the shell does on Ctrl-Z.
    Suspend,
    /// Any key without a fixed meaning.
    Key(char),
    /// The size of the terminal has changed, or its content was overwritten.
    Redraw,
}

/// Reads keys in a thread. The thread ends on drop.
#[derive(Debug)]
pub(super) struct Keys {
    actions: mpsc::Receiver<Action>,
    stop: Arc<AtomicBool>,
}

impl Keys {
    /// Returns whether stdin is a terminal, so that there are keys to read.
    pub(super) fn are_available() -> bool {
        io::stdin().is_terminal()
    }

    pub(super) fn start() -> Option<Self> {
        if !Self::are_available() {
            return None;
        }
        let (sender, actions) = mpsc::channel(16);
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match poll(CHECK) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let Ok(event) = read() else { return };
                if let Some(action) = action(&event)
                    && sender.blocking_send(action).is_err()
                {
                    return;
                }
            }
        });
        Some(Keys { actions, stop })
    }

    /// Waits for the next request. Cancel safe.
    pub(super) async fn next(&mut self) -> Action {
        match self.actions.recv().await {
            Some(action) => action,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn action(event: &Event) -> Option<Action> {
    let (code, modifiers) = match event {
        Event::Key(KeyEvent {
            code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, ..
        }) => (*code, *modifiers),
        Event::Resize(..) => return Some(Action::Redraw),
        _ => return None,
    };
    Some(match (code, modifiers.contains(KeyModifiers::CONTROL)) {
        // Ctrl-\ arrives as Ctrl-4.
        (KeyCode::Char('q'), false) | (KeyCode::Esc, _) | (KeyCode::Char('c' | '4' | '\\'), true) => {
            Action::Quit
        }
        (KeyCode::Char('z'), true) => Action::Suspend,
        (KeyCode::Char('l'), true) => Action::Redraw,
        (KeyCode::Char(key), false) => Action::Key(key),
        _ => return None,
    })
}

/// Asserts that the section KEYS of a manual page lists exactly the keys that exist. `sorts` are the sort keys of the command.
#[cfg(test)]
pub(crate) fn assert_all_listed(manual: &str, sorts: impl Fn(char) -> bool) {
    let (_, keys) = manual.split_once("\nKEYS\n").unwrap();
    // The next section, if any, begins with a heading in capitals.
    let is_heading = |line: &str| line.len() > 1 && line.chars().all(|letter| letter.is_ascii_uppercase());
    let keys = keys.lines().take_while(|line| !is_heading(line)).collect::<Vec<_>>().join("\n");
    let sentences = keys.split(['\n', '.']).filter_map(|sentence| sentence.split_once(':'));
    let words: Vec<&str> = sentences.flat_map(|(keys, _)| keys.split(',').map(str::trim)).collect();
    for letter in 'a'..='z' {
        let key = |modifiers| match action(&Event::Key(KeyEvent::new(KeyCode::Char(letter), modifiers))) {
            Some(Action::Key(key)) => sorts(key),
            other => other.is_some(),
        };
        let name = letter.to_string();
        assert_eq!(words.contains(&&*name), key(KeyModifiers::NONE), "{name}");
        let name = format!("Ctrl-{}", letter.to_ascii_uppercase());
        assert_eq!(words.contains(&&*name), key(KeyModifiers::CONTROL), "{name}");
    }
    assert!(words.contains(&r"Ctrl-\") && words.contains(&"Esc"), "{words:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_and_esc_quit_and_c_is_a_key_of_the_command() {
        let key = |code, modifiers| action(&Event::Key(KeyEvent::new(KeyCode::Char(code), modifiers)));
        assert_eq!(key('c', KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(key('q', KeyModifiers::NONE), Some(Action::Quit));
        assert_eq!(key('4', KeyModifiers::CONTROL), Some(Action::Quit));
        let esc = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
        assert_eq!(action(&Event::Key(esc)), Some(Action::Quit));
        assert_eq!(key('c', KeyModifiers::NONE), Some(Action::Key('c')));
        assert_eq!(key('z', KeyModifiers::CONTROL), Some(Action::Suspend));
        assert_eq!(key('x', KeyModifiers::CONTROL), None);
        assert_eq!(action(&Event::Resize(1, 1)), Some(Action::Redraw));
    }
}
