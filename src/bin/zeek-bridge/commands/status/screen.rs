//! The live screen.

use ratatui::Frame;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Text};

use super::view::{Role, View};
use crate::terminal::Surroundings;

/// The keys, as shown on the screen.
pub(super) const HELP: &str = "q quit; sort by l link, i in, o out, b bytes, d drops";

/// Draws the view, and below it the last messages of stderr. Shows the keys if they are read.
pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, surroundings: &Surroundings, color: bool) {
    let style = |style: Style| if color { style } else { Style::new() };
    let [top, main] = surroundings.draw(frame, HELP, color);
    let mut lines = view.lines(main.width.into());
    let rest = lines.split_off(lines.len().min(1));
    let styled = |(role, text): &(Role, String)| {
        let style = match role {
            Role::Text => Style::new(),
            Role::Heading => style(Style::new().bold()),
            Role::Notice => style(Style::new().fg(Color::Yellow)),
        };
        Line::styled(text.clone(), style)
    };
    let height = usize::from(main.height);
    let hidden = rest.len().saturating_sub(height);
    // If there is not enough room for all lines, the last visible line shows the number of hidden lines.
    let shown = if hidden > 0 { height.saturating_sub(1) } else { height };
    let note =
        (hidden > 0).then(|| Line::raw(format!("and {} more lines", rest.len().saturating_sub(shown))));
    frame.render_widget(Text::from_iter(lines.iter().map(styled)), top);
    frame.render_widget(Text::from_iter(rest.iter().take(shown).map(styled).chain(note)), main);
}
