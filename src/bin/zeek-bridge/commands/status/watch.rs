//! `status --watch`: reads the state at each interval and shows it with rates.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anstream::{AutoStream, ColorChoice};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use super::query;
use super::rates::{Increase, Sample};
use super::screen::render;
use super::table::{cut, escaped};
use super::view::{self, Column, View};
use crate::output::{BackgroundOutput, Failure, to_line};
use crate::runtime::spawn;
use crate::signals::Signals;
use crate::terminal::{self, Action, Live, Order};

/// Maximum time to write the queued lines after a request to end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The format of the reports.
pub(super) enum Report {
    Json,
    /// Tables with this maximum width.
    Tables(usize),
    Live(Box<Live>),
}

impl Report {
    /// Returns the format for stdout. `width` is the maximum width of tables.
    pub(super) fn new(json: bool, width: usize) -> Self {
        match json {
            true => Report::Json,
            false if terminal::can_draw() => Report::Live(Box::default()),
            false => Report::Tables(width),
        }
    }

    /// Waits for the next request of the user. Cancel safe.
    async fn next(&mut self) -> Action {
        match self {
            Report::Live(live) => live.next().await,
            Report::Json | Report::Tables(_) => std::future::pending().await,
        }
    }

    async fn show(&mut self, watch: &Watch, output: &BackgroundOutput) {
        match self {
            Report::Json => output.line(watch.json_line(SystemTime::now())).await,
            Report::Tables(width) => output.text(watch.text(*width).as_bytes(), 1).await,
            Report::Live(live) => {
                let color = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
                let view = watch.view();
                live.draw(output, |frame, surroundings| render(frame, &view, surroundings, color)).await;
            }
        }
    }
}

/// Shows the state at each interval until the user asks to quit. The first attempt to read it must succeed.
pub(super) async fn run(socket: PathBuf, interval: Duration, mut report: Report) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut samples = sampler(socket, interval);
    let first = tokio::select! {
        first = samples.recv() => first,
        () = signals.next() => None,
    };
    let Some(first) = first else { return Ok(()) };
    let mut watch = Watch::new(first?);
    let output = BackgroundOutput::start();
    if let Report::Live(live) = &mut report {
        live.start();
    }
    report.show(&watch, &output).await;
    loop {
        tokio::select! {
            sample = samples.recv() => match sample {
                Some(sample) => watch.update(sample),
                None => break,
            },
            action = report.next() => match (action, &mut report) {
                (Action::Quit, _) => break,
                (Action::Suspend, Report::Live(live)) => live.suspend(&output).await,
                (Action::Key(key), _) => watch.sort(key),
                (Action::Suspend | Action::Redraw, _) => {}
            },
            () = signals.next() => break,
            () = output.ended() => break,
        }
        tokio::select! {
            // Waits if stdout is not read.
            () = report.show(&watch, &output) => {}
            () = signals.next() => break,
        }
    }
    if let Report::Live(live) = &mut report {
        let _ = timeout(LAST_LINES, live.leave(&output)).await;
    }
    output.finish(LAST_LINES).await.result
}

/// Reads the state at each interval, until the receiver is dropped. The bridge may respond slowly, so this runs in a separate
/// task.
fn sampler(socket: PathBuf, interval: Duration) -> mpsc::Receiver<Result<Sample, Failure>> {
    let (sender, receiver) = mpsc::channel(1);
    spawn(async move {
        let mut turns = tokio::time::interval(interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let document = query::document(&socket).await;
            let sample = document.map(|document| Sample { document, received: Instant::now() });
            if sender.send(sample).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// The last sample, and its difference from the previous sample.
#[derive(Debug)]
struct Watch {
    last: Sample,
    increase: Option<Increase>,
    /// The last change of the bridge, such as its end.
    notice: Option<String>,
    /// The error of the last attempt to read a sample, if it failed.
    error: Option<String>,
    /// True if the notice is new.
    changed: bool,
    order: Order<Column>,
}

impl Watch {
    fn new(first: Sample) -> Self {
        Watch {
            last: first,
            increase: None,
            notice: None,
            error: None,
            changed: false,
            order: Order::by(Column::In),
        }
    }

    fn update(&mut self, sample: Result<Sample, Failure>) {
        self.changed = false;
        match sample {
            Ok(sample) => {
                let increase = Increase::between(&self.last, &sample);
                let was_reachable = self.error.take().is_none();
                if increase.restarted {
                    self.announce("the bridge was restarted; its counters began at zero".into());
                } else if !was_reachable {
                    self.announce("the bridge is reachable again".into());
                }
                self.increase = Some(increase);
                self.last = sample;
            }
            Err(Failure::Error(_, message)) => {
                if self.error.is_none() {
                    // Remove the hint, which is only useful after the first attempt.
                    let cause = message.split("; ").next().unwrap_or_default();
                    self.announce(format!("the bridge is not reachable, trying again: {cause}"));
                }
                self.increase = None;
                self.error = Some(message);
            }
            // A query does not return these errors.
            Err(Failure::StdoutClosed | Failure::Reported(_)) => {}
        }
    }

    fn announce(&mut self, notice: String) {
        self.notice = Some(notice);
        self.changed = true;
    }

    /// Sorts by the column of this key, if there is one.
    fn sort(&mut self, key: char) {
        Column::of_key(key).into_iter().for_each(|column| self.order.select(column));
    }

    fn view(&self) -> View<'_> {
        View {
            snapshot: &self.last.document.snapshot,
            increase: self.increase.as_ref(),
            notice: self.notice.as_deref(),
            is_current: self.error.is_none(),
            order: Some(self.order),
        }
    }

    /// Returns the tables and an empty line. A notice is printed once. While the bridge is not reachable, nothing else is printed.
    fn text(&self, width: usize) -> String {
        let notice = self.notice.as_deref().filter(|_| self.changed);
        if self.error.is_some() {
            return notice.map(|notice| format!("{}\n\n", cut(&escaped(notice), width))).unwrap_or_default();
        }
        let mut text = String::new();
        for (_, line) in (View { notice, order: None, ..self.view() }).lines(width) {
            text.extend([&line, "\n"]);
        }
        text.push('\n');
        text
    }

    fn json_line(&self, time: SystemTime) -> Vec<u8> {
        let document = match &self.error {
            Some(error) => Err(error.as_str()),
            None => Ok(&self.last.document),
        };
        to_line(&view::json(time, document, self.increase.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::{Value as Json, json};
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::commands::run::Document;
    use crate::commands::run::tests::snapshot;
    use crate::output::Exit;
    use crate::terminal::Surroundings;

    /// The snapshot of the tests, and two seconds later one with more of some counters.
    fn watch() -> Watch {
        let start = Instant::now();
        let sample = |snapshot, received| {
            let document =
                Document { started: "2026-01-01T00:00:00.000Z".into(), version: "1.0.0".into(), snapshot };
            Sample { document, received }
        };
        let mut watch = Watch::new(sample(snapshot(), start));
        let mut later = snapshot();
        later.uptime += 2;
        later.links[0].messages_in += 25;
        later.links[0].bytes_in += 4096;
        later.links[0].dropped += 3;
        later.links[1].messages_out += 2_500_000;
        later.refused.insert("no-rule".into(), 17);
        later.latency.counts[0] += 5;
        watch.update(Ok(sample(later, start + Duration::from_secs(2))));
        watch
    }

    fn restart(watch: &mut Watch) {
        let mut young = watch.last.clone();
        young.document.started = "2026-01-01T00:00:01.000Z".into();
        young.document.snapshot.uptime = 0;
        young.received += Duration::from_secs(1);
        watch.update(Ok(young));
    }

    fn gone() -> Result<Sample, Failure> {
        Err(Failure::Error(Exit::Unconnected, "cannot connect to /s\u{1b}.sock: refused; start it".into()))
    }

    fn drawn(watch: &Watch, (columns, lines): (u16, u16), messages: &[&str]) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        let messages = messages.iter().map(ToString::to_string).collect();
        let surroundings = Surroundings { messages, has_keys: true };
        terminal.draw(|frame| render(frame, &watch.view(), &surroundings, true)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
        };
        buffer.content().chunks(columns.max(1).into()).map(line).collect()
    }

    #[test]
    fn the_screen_shows_rates_and_percentiles_on_80_columns() {
        let expected = [
            "up 1h 2m 7s; links ready: 1 of 2; peers: 2; nodes: 1",
            super::super::screen::HELP,
            "requests in flight: 6; answered on behalf of nodes: 0.0/s; unanswered: 0.0/s",
            "relay latency: p50 ≤ 1ms, p99 ≤ 1ms (samples in this interval: 5)",
            "",
            "LINK    READY  PEERS    IN/S▼    OUT/S   BYTES-IN/S   BYTES-OUT/S   DROPS/S",
            "agents    yes      2     12.5      0.0      2.0 KiB           0 B       1.5",
            "nodes      no      0      0.0     1.2M          0 B           0 B       0.0",
            "",
            "LINK    DROPS, DENIALS, FAILURES           RATE/S     TOTAL",
            "-       denied: no-rule                       5.0        17",
            "agents  dropped: queue full                   1.5         8",
            "agents  dropped: fault injection              0.0        12",
            "agents  dropped: not carried                  0.0         8",
            "nodes   connection failed: connect            0.0         4",
            "agents  dropped: malformed                    0.0         3",
            "agents  peer disconnected: queue full         0.0         1",
            "",
            "message",
        ];
        assert_eq!(drawn(&watch(), (80, 19), &["message"]), expected);
    }

    #[test]
    fn links_are_sorted_by_keys() {
        let mut watch = watch();
        let first = |watch: &Watch| drawn(watch, (80, 18), &[])[6].split(' ').next().unwrap().to_owned();
        for (keys, expected) in [
            ("o", "nodes"),
            ("o", "agents"),
            ("l", "agents"),
            ("l", "nodes"),
            ("b", "agents"),
            ("d", "agents"),
            ("d", "nodes"),
            ("x", "nodes"),
            ("i", "agents"),
        ] {
            keys.chars().for_each(|key| watch.sort(key));
            assert_eq!(first(&watch), expected, "{keys}");
        }
    }

    #[test]
    fn the_end_and_the_restart_of_the_bridge_are_shown() {
        let mut watch = watch();
        watch.update(gone());
        let screen = drawn(&watch, (80, 18), &[]);
        assert!(screen[0].starts_with("last state: up 1h"), "{screen:?}");
        assert_eq!(
            screen[4],
            r"the bridge is not reachable, trying again: cannot connect to /s\u{1b}.sock: ref…"
        );
        assert!(screen[7].contains(" - "), "{screen:?}");
        restart(&mut watch);
        let screen = drawn(&watch, (80, 18), &[]);
        assert!(screen[0].starts_with("up 0s"), "{screen:?}");
        assert_eq!(screen[4], "the bridge was restarted; its counters began at zero");
        // The new process has counted these messages in its first second.
        assert!(screen[7].contains(" 35.0 "), "{screen:?}");
    }

    #[test]
    fn tables_contain_a_notice_once_and_nothing_else_without_a_bridge() {
        let mut watch = watch();
        let notice = "the bridge is not reachable";
        assert!(watch.text(80).ends_with("        1\n\n") && !watch.text(80).contains(notice));
        // The user can sort only the table on a screen.
        assert!(!watch.text(80).contains('▼'), "{}", watch.text(80));
        watch.update(gone());
        let text = watch.text(80);
        assert!(text.starts_with(notice) && text.lines().count() == 2, "{text}");
        watch.update(gone());
        assert_eq!(watch.text(80), "");
        restart(&mut watch);
        assert!(watch.text(80).contains("\nthe bridge was restarted"), "{}", watch.text(80));
    }

    #[test]
    fn a_line_of_json_contains_rates_and_the_state() {
        let line =
            |watch: &Watch| serde_json::from_slice::<Json>(&watch.json_line(SystemTime::UNIX_EPOCH)).unwrap();
        let mut watch = watch();
        let json = line(&watch);
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(
            (&json["interval"], &json["restarted"], &json["error"]),
            (&json!(2.0), &json!(false), &json!(null))
        );
        let agents = json!({
            "name": "agents", "messages_in": 12.5, "messages_out": 0.0, "bytes_in": 2048, "bytes_out": 0, "malformed": 0.0,
            "dropped": 1.5, "not_carried": 0.0, "altered_strings": 0.0, "overflows": 0.0, "lost_to_chaos": 0.0, "failures": {},
            "refused": {"no-rule": 0.0},
        });
        assert_eq!(json["rates"]["links"][0], agents);
        assert_eq!(json["rates"]["refused"], json!({"no-rule": 5.0}));
        assert_eq!(json["rates"]["latency"], json!({"samples": 5, "p50": 0.001, "p99": 0.001}));
        assert_eq!(json["status"], serde_json::to_value(&watch.last.document).unwrap());
        let text = String::from_utf8(watch.json_line(SystemTime::UNIX_EPOCH)).unwrap();
        let (start, status) = text.split_once(r#","status":"#).unwrap();
        assert_eq!(
            start,
            r#"{"time":"1970-01-01T00:00:00.000Z","interval":2.0,"restarted":false,"error":null,"rates":{"answered_for":0.0,"flows":[{"from":"nodes","messages":0.0,"to":"agents"}],"forgotten":0.0,"latency":{"p50":0.001,"p99":0.001,"samples":5},"links":[{"altered_strings":0.0,"bytes_in":2048,"bytes_out":0,"dropped":1.5,"failures":{},"lost_to_chaos":0.0,"malformed":0.0,"messages_in":12.5,"messages_out":0.0,"name":"agents","not_carried":0.0,"overflows":0.0,"refused":{"no-rule":0.0}},{"altered_strings":0.0,"bytes_in":0,"bytes_out":0,"dropped":0.0,"failures":{"connect":0.0},"lost_to_chaos":0.0,"malformed":0.0,"messages_in":0.0,"messages_out":1250000.0,"name":"nodes","not_carried":0.0,"overflows":0.0,"refused":{}}],"refused":{"no-rule":5.0},"rules":[{"name":"hellos","passed":0.0}],"unanswered":0.0}"#
        );
        assert_eq!(status.strip_suffix('}').unwrap(), serde_json::to_string(&watch.last.document).unwrap());
        watch.update(gone());
        let json = line(&watch);
        assert_eq!((&json["rates"], &json["status"]), (&json!(null), &json!(null)));
        assert!(json["error"].as_str().unwrap().contains("start it"), "{json}");
        restart(&mut watch);
        assert_eq!(line(&watch)["restarted"], true);
    }

    #[test]
    fn the_screen_fits_every_size_of_a_terminal() {
        let mut watch = watch();
        for link in &mut watch.last.document.snapshot.links {
            link.name = format!("東\u{1b}[2J{}", "x".repeat(100));
        }
        for lines in 0..12 {
            for columns in [0, 1, 20, 79, 80, 200] {
                drawn(&watch, (columns, lines), &["message"]);
            }
        }
        let low = drawn(&watch, (80, 8), &[]);
        assert_eq!(low[7], "and 10 more lines", "{low:?}");
        let text = watch.text(80);
        assert!(text.lines().all(|line| line.width() <= 80) && !text.contains('\u{1b}'), "{text}");
    }
}
