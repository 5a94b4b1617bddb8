//! `demo`: nodes and agents on recorded input, in one process and without files; with `--serve`, a cluster at work and its page.

mod captured_agent;
mod live;
mod recording;
mod report;
mod rust_agent;
mod text;

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};
use zeek_bridge::management::Values;
use zeek_bridge::net::tls::{EphemeralAuthority, Tls, ephemeral_authority};

use crate::output::{Failure, Output, stderr};
use crate::signals::Signals;
use crate::terminal;
use recording::Recording;
use report::{Entry, Part, Report, Verdict};
use text::Text;

/// Maximum duration of the demo, in case something fails. Apart from this, the demo does not depend on the clock.
const LIMIT: Duration = Duration::from_secs(60);

/// Run a demonstration on captured traffic, without files, on loopback only
///
/// First, the captured Management agent of Zeek 8.0.9 sends requests to a node of this program, frame by frame over
/// mutual TLS. Then an agent of this program sends the same requests to two of its nodes. Prints every event with its
/// direction, and whether each answer equals the answer of the real Zeek node. The nodes of this program are given
/// only the values of the captured nodes, and produce the answers themselves.
///
/// With --serve, instead runs a small cluster and the page of its bridge, until SIGINT or SIGTERM: an agent that sends requests, four nodes
/// that answer and publish events, a WebSocket client that receives them, and a node that no rule allows. It needs a temporary
/// directory for the certificate of the bridge.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The format; auto is text on a terminal and json otherwise
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
    /// Serve a live page of a bridge with a small cluster at work, at this loopback address; by default at 127.0.0.1:9747, or at
    /// another port if that is taken
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, conflicts_with = "format")]
    serve: Option<Option<SocketAddr>>,
}

impl DemoArgs {
    /// Returns whether the command runs a cluster in which a node is denied all the time.
    pub(crate) fn serves(&self) -> bool {
        self.serve.is_some()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Auto,
    Text,
    Json,
}

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    if let Some(address) = args.serve {
        return live::run(address).await;
    }
    let mut signals = Signals::new()?;
    let is_text = match args.format {
        Format::Auto => io::stdout().is_terminal(),
        Format::Text => true,
        Format::Json => false,
    };
    let mut text = is_text.then(|| {
        let color = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Text::new(color, terminal::columns())
    });
    let mut output = Some(Output::new());
    let mut write = |bytes: &[u8]| {
        let Some(open) = &mut output else { return Ok(()) };
        match open.line(bytes).and_then(|()| open.flush()) {
            // The result counts even if the reader of stdout has gone.
            Err(Failure::StdoutClosed) => {
                output = None;
                Ok(())
            }
            result => result,
        }
    };
    let mut print = |entry: Entry<'_>| match &mut text {
        None => write(&entry.to_line()),
        Some(text) => match text.entry(&entry) {
            lines if lines.is_empty() => Ok(()),
            lines => write(lines.trim_end_matches('\n').as_bytes()),
        },
    };
    let scenario = Scenario::captured().map_err(failed)?;
    let verdict = tokio::select! {
        verdict = tokio::time::timeout(LIMIT, scenario.play(&mut print)) => {
            verdict.map_err(|_| Failure::timeout(format!("timeout: the demo did not end within {LIMIT:?}")))??
        }
        () = signals.next() => return Err(failed("interrupted")),
    };
    if let Some(text) = &text {
        write(text.table().as_bytes())?;
    }
    let Verdict { agreed, disagreed } = verdict;
    let all = agreed.saturating_add(disagreed);
    if disagreed > 0 {
        return Err(failed(format!(
            "{disagreed} of {all} answers are not those of Zeek 8.0.9; see the lines that differ"
        )));
    }
    stderr::print_line(format_args!("all {all} answers are those of Zeek 8.0.9"));
    Ok(())
}

/// The recordings, and the variables of the live nodes that replace the captured nodes.
struct Scenario {
    worker: Recording,
    manager: Recording,
    worker_values: Values,
    manager_values: Values,
}

impl Scenario {
    fn captured() -> Result<Self, String> {
        let (worker, manager) = (Recording::worker()?, Recording::manager()?);
        let (worker_values, manager_values) = (worker.values()?, manager.values()?);
        Ok(Scenario { worker, manager, worker_values, manager_values })
    }

    /// Runs both parts. Returns the numbers of equal and of different answers. The first part compares one answer for each
    /// request, and the second part one answer for each request and node.
    async fn play(self, print: &mut dyn FnMut(Entry<'_>) -> Result<(), Failure>) -> Result<Verdict, Failure> {
        let Scenario { worker, manager, worker_values, manager_values } = self;
        let dispatches = worker.dispatches().len();
        let authority = ephemeral_authority().map_err(failed)?;

        let mut report = Report::new(Part::CapturedAgent, print);
        captured_agent::run(&worker, worker_values.clone(), &authority, &mut report).await?;
        let first = report.counts();
        complete(first, dispatches)?;

        let mut report = Report::new(Part::RustAgent, print);
        let nodes = vec![(&worker, worker_values), (&manager, manager_values)];
        rust_agent::run(nodes, &authority, &mut report).await?;
        let second = report.counts();
        complete(second, dispatches.saturating_mul(2))?;

        Ok(Verdict {
            agreed: first.agreed.saturating_add(second.agreed),
            disagreed: first.disagreed.saturating_add(second.disagreed),
        })
    }
}

/// Fails if any comparison was left out.
fn complete(verdict: Verdict, expected: usize) -> Result<(), Failure> {
    let compared = verdict.agreed.saturating_add(verdict.disagreed);
    if compared == expected && expected > 0 {
        return Ok(());
    }
    Err(failed(format!("compared {compared} answers, expected {expected}")))
}

fn mutual(authority: &EphemeralAuthority, name: &str) -> Result<Tls, Failure> {
    authority.issue(name).map(Tls::Mutual).map_err(failed)
}

fn failed(error: impl fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use zeek_bridge::management::JsonText;

    use super::*;

    async fn play(scenario: Scenario) -> Result<(Verdict, Vec<String>), Failure> {
        let mut lines = Vec::new();
        let verdict = scenario
            .play(&mut |entry: Entry<'_>| {
                lines.push(String::from_utf8(entry.to_line()).unwrap());
                Ok(())
            })
            .await?;
        Ok((verdict, lines))
    }

    fn disagreeing(lines: &[String]) -> Vec<&String> {
        lines.iter().filter(|line| line.contains("\"agrees\":false")).collect()
    }

    #[tokio::test]
    async fn all_answers_match_zeek() {
        let (verdict, lines) = play(Scenario::captured().unwrap()).await.unwrap();
        assert_eq!(verdict, Verdict { agreed: 36, disagreed: 0 });
        assert!(disagreeing(&lines).is_empty());
        let events = lines.iter().filter(|line| line.contains("\"event\":")).count();
        // First part: a hello, a status request, 12 requests and 12 answers. Second part: two hellos, 12 requests to each of two
        // nodes, 23 answers.
        assert_eq!(events, 26 + 49);
    }

    #[tokio::test]
    async fn a_wrong_value_is_found_in_every_answer() {
        let mut scenario = Scenario::captured().unwrap();
        scenario.worker_values.insert("Broker::peer_buffer_size", JsonText::new("8193").unwrap());
        let (verdict, lines) = play(scenario).await.unwrap();
        assert_eq!(verdict, Verdict { agreed: 34, disagreed: 2 });
        for line in disagreeing(&lines) {
            assert!(line.contains("peer_buffer_size") && line.contains("\"differs\":[\"data\"]"), "{line}");
        }
    }

    #[tokio::test]
    async fn a_value_with_another_text_is_a_difference() {
        let mut scenario = Scenario::captured().unwrap();
        scenario.manager_values.insert("Broker::peer_buffer_size", JsonText::new("8192 ").unwrap());
        let (verdict, _) = play(scenario).await.unwrap();
        assert_eq!(verdict, Verdict { agreed: 35, disagreed: 1 });
    }

    #[tokio::test]
    async fn a_value_that_zeek_does_not_have_is_reported() {
        let mut scenario = Scenario::captured().unwrap();
        scenario.worker_values.insert("no_such_thing", JsonText::new("1").unwrap());
        scenario.manager_values.insert_without_value("no_such_thing");
        let (verdict, lines) = play(scenario).await.unwrap();
        assert_eq!(verdict, Verdict { agreed: 33, disagreed: 3 });
        let count = |words: &str| disagreeing(&lines).iter().filter(|line| line.contains(words)).count();
        assert_eq!((count("[\"success\",\"data\",\"error\"]"), count("[\"error\"]")), (2, 1));
    }

    #[tokio::test]
    async fn a_node_with_another_name_is_an_error() {
        let mut scenario = Scenario::captured().unwrap();
        scenario.worker.node = "worker-02".into();
        let error = play(scenario).await.unwrap_err();
        assert!(matches!(&error, Failure::Error(_, text) if text.contains("worker-02")), "{error:?}");
    }

    #[test]
    fn missing_comparisons_are_an_error() {
        assert!(complete(Verdict { agreed: 11, disagreed: 1 }, 12).is_ok());
        assert!(complete(Verdict { agreed: 11, disagreed: 0 }, 12).is_err());
        assert!(complete(Verdict::default(), 0).is_err());
    }
}
