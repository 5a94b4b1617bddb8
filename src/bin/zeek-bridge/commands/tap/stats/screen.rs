//! The live table on a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::rates::Column;
use super::view::{Cells, Columns, View};
use crate::terminal::Surroundings;

/// The keys, as shown on the screen.
pub(super) const HELP: &str = "q quit; sort by c count, r rate, b bytes, l last, t topic, e event";

/// Draws the table, and below it the last messages of stderr. Shows the keys if they are read.
pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, surroundings: &Surroundings, color: bool) {
    let style = |style: Style| if color { style } else { Style::new() };
    let [summary, table] = surroundings.draw(frame, HELP, color);
    frame.render_widget(Line::raw(view.summary()), summary);
    let columns = Columns::for_width(Some(table.width.into()), view.order.column);
    let rows = view.rows_within(usize::from(table.height).saturating_sub(1));
    let topic = style(Style::new().fg(Color::Cyan));
    let event = style(Style::new().fg(Color::Green));
    let row = |cells: &Cells, styles: [Style; 2]| {
        Row::new(columns.select(cells).into_iter().map(|(column, text)| match column {
            Column::Topic => Cell::new(text).style(styles[0]),
            Column::Event => Cell::new(text).style(styles[1]),
            _ => Cell::new(Text::from(text).right_aligned()),
        }))
    };
    let heading = row(&view.headings(), [Style::new(); 2]).style(style(Style::new().bold()));
    let body = rows.cells.iter().map(|cells| row(cells, [topic, event]));
    let widths = columns.widths(&rows.cells).into_iter().map(|width| match width {
        Some(width) => Constraint::Length(width),
        None => Constraint::Fill(1),
    });
    let note_height = u16::from(rows.hidden > 0);
    let [table, note] = Layout::vertical([Constraint::Min(0), Constraint::Length(note_height)]).areas(table);
    frame.render_widget(Table::new(body, widths).header(heading).column_spacing(2), table);
    frame.render_widget(Line::raw(rows.note().unwrap_or_default()), note);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::Rates;
    use super::super::view::About;
    use super::*;
    use crate::terminal::Order;

    /// Returns the lines that are shown on a terminal of this size.
    fn drawn(
        rates: &Rates,
        order: Order<Column>,
        (columns, lines): (u16, u16),
        messages: &[&str],
    ) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        let view = View { rates, about: About::Interval, order, peers: 2, now: rates.interval().end };
        let messages = messages.iter().map(ToString::to_string).collect();
        let surroundings = Surroundings { messages, has_keys: true };
        terminal.draw(|frame| render(frame, &view, &surroundings, true)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
        };
        buffer.content().chunks(columns.max(1).into()).map(line).collect()
    }

    fn rates() -> Rates {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        for (topic, event, count) in [("/a b\u{1b}[2J", "x\u{202e}", 2), ("zeek/event", "ping", 8)] {
            (0..count).for_each(|_| rates.count(topic, event, 1024, start));
        }
        rates.end_interval(start + Duration::from_secs(2));
        rates
    }

    #[test]
    fn the_table_is_sorted_by_the_selected_column_and_untrusted_text_is_escaped() {
        let rates = rates();
        let size = (110, 6);
        let by_rate = drawn(&rates, Order::default(), size, &["message"]);
        let expected = [
            "10 messages in 2s, 5.0/s, 5.0 KiB/s; peers: 2",
            HELP,
            "   COUNT  RATE/S▼     BYTES/S   SHARE  LAST  TOPIC               EVENT",
            "       8      4.0     4.0 KiB   80.0%    2s  zeek/event          ping",
            r"       2      1.0     1.0 KiB   20.0%    2s  /a\u{20}b\u{1b}[2J  x\u{202e}",
            "message",
        ];
        assert_eq!(by_rate, expected);
        let mut order = Order::default();
        order.select(Column::Topic);
        let by_topic = drawn(&rates, order, size, &[]);
        assert!(by_topic[2].contains("TOPIC▲") && by_topic[3].contains(r"/a\u{20}b"), "{by_topic:?}");
        order.select(Column::Topic);
        let reversed = drawn(&rates, order, size, &[]);
        assert!(reversed[2].contains("TOPIC▼") && reversed[3].contains("zeek/event"), "{reversed:?}");
    }

    #[test]
    fn the_table_fits_every_size_of_a_terminal() {
        let rates = rates();
        for lines in 0..8 {
            for columns in [0, 1, 20, 45, 60, 100] {
                drawn(&rates, Order::default(), (columns, lines), &["message"]);
            }
        }
        let low = drawn(&rates, Order::default(), (110, 4), &[]);
        assert!(low[2].contains("COUNT") && low[3] == "and 2 more", "{low:?}");
        let narrow = drawn(&rates, Order::default(), (45, 6), &[]);
        assert!(!narrow[2].contains("SHARE") && narrow[3].contains("zeek/event"), "{narrow:?}");
        assert!(!narrow[2].contains("BYTES"), "{narrow:?}");
        // The column that the user sorts by is always shown.
        let by_bytes = drawn(&rates, Order::by(Column::Bytes), (80, 6), &[]);
        assert!(by_bytes[2].contains("BYTES/S▼") && by_bytes[3].contains("4.0 KiB"), "{by_bytes:?}");
    }
}
