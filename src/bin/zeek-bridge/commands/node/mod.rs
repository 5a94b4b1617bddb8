//! `node`: stands in for a node of a cluster.

mod exec;
mod stdio;
// The library's own, which is no part of its interface.
#[path = "../../../../endpoint/limits/throttle.rs"]
mod throttle;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use tokio::time::Instant;
use zeek_bridge::management::{
    Dispatch, DispatchError, Handler, JsonText, Node, NodeEvent, NodeEvents, REQUEST_TIMEOUT, Values,
};

use crate::args::{NodeArgs, Seconds};
use crate::environment;
use crate::exit::Failure;
use crate::network::{self, Network, Persistence};
use crate::signals::Signals;
use exec::Exec;
use stdio::Stdio;

/// Who answers beside, or instead of, the variables.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answers of a program")]
pub(crate) struct ProgramArgs {
    /// Run COMMAND for each dispatch that --values does not answer, with the action and its arguments as arguments
    ///
    /// No shell comes between. Its stdin is {"node", "peer", "reqid", "action", "args"}. If it ends with 0, what it prints
    /// is the answer's data: a JSON document, or nothing. Otherwise the answer is a failure, and its text the last line that
    /// it wrote to stderr. ZEEK_BRIDGE_NODE, ZEEK_BRIDGE_PEER and ZEEK_BRIDGE_REQID are in its environment.
    #[arg(long, value_name = "COMMAND", conflicts_with = "stdio")]
    exec: Option<PathBuf>,
    /// Arguments of COMMAND, in front of the action
    #[arg(value_name = "ARG", requires = "exec", conflicts_with = "stdio", last = true)]
    exec_args: Vec<OsString>,
    /// Print each dispatch that --values does not answer as a line of JSON, and read the answers from stdin
    ///
    /// On stdout: {"type": "request", "id", "node", "peer", "reqid", "action", "args"}; {"type": "hello", "peer"} when the
    /// node has said hello to an agent; {"type": "expired", "id"} when an answer took too long. On stdin, in any order:
    /// {"id", "data"}, where "data" is any JSON and may be left out, or {"id", "error"} with the text of a failure. Ends at the end
    /// of stdin.
    #[arg(long)]
    stdio: bool,
    /// How long an answer may take; then it is a failure. At most 5: agents do not wait for longer
    #[arg(long, value_name = "SECONDS", default_value = "4", allow_negative_numbers = true,
          value_parser = answer_timeout)]
    answer_timeout: Seconds,
    /// How many COMMANDs may run at once; further dispatches wait, as long as an answer may take
    #[arg(long, value_name = "N", default_value = "8", requires = "exec",
          value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    jobs: u16,
    /// How much a COMMAND may print, such as 64KiB; more is a failure
    #[arg(long, value_name = "SIZE", default_value = "1MiB", requires = "exec")]
    answer_limit: ByteSize,
}

fn answer_timeout(text: &str) -> Result<Seconds, String> {
    let seconds: Seconds = text.parse()?;
    if seconds.0 > REQUEST_TIMEOUT {
        return Err(format!("agents wait for {} seconds at most", REQUEST_TIMEOUT.as_secs()));
    }
    Ok(seconds)
}

pub(crate) async fn run(args: NodeArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let values = args.values.as_deref().map(values::read).transpose()?;
    let program = args.program;
    let (stdio, requests) = match program.stdio {
        true => Some(Stdio::new(&args.name)).unzip(),
        false => (None, None),
    };
    let exec = program
        .exec
        .as_deref()
        .map(|command| Exec::new(&args.name, command, program.exec_args, program.jobs, program.answer_limit));
    let answers =
        Answers { values, exec: exec.transpose()?, stdio: stdio.clone(), timeout: program.answer_timeout };
    let network = Network::new(environment::to_agent(args.network)?)?;
    let endpoint = network::endpoint()?;
    let node = Node::start(endpoint.clone(), args.name, answers).await;
    tokio::spawn(log(node.events()));
    let events = node.events();
    let mut result = network.start(&endpoint, Persistence::Persistent).await;
    if result.is_ok() {
        match stdio.zip(requests) {
            Some((stdio, requests)) => result = stdio.serve(requests, events, &mut signals).await,
            None => signals.next().await,
        }
    }
    tokio::select! {
        () = node.stop() => {}
        // The answers in progress are given up; the peers are left with BYE all the same.
        () = signals.next() => {}
    }
    network::leave(&endpoint, &mut signals).await;
    result
}

/// What the node answers with.
struct Answers {
    values: Option<Values>,
    exec: Option<Exec>,
    stdio: Option<Arc<Stdio>>,
    timeout: Seconds,
}

impl Handler for Answers {
    async fn dispatch(&self, dispatch: Dispatch) -> Result<Option<JsonText>, DispatchError> {
        let by_values = |values: &Values| values.dispatch(&dispatch.action, &dispatch.args);
        let until = Instant::now().checked_add(self.timeout.0).unwrap_or_else(Instant::now);
        match (&self.exec, &self.stdio, self.values.as_ref().map(by_values)) {
            (Some(_), _, Some(Ok(data))) | (_, Some(_), Some(Ok(data))) => Ok(data),
            (Some(exec), ..) => exec.dispatch(&dispatch, until).await.map_err(DispatchError::Other),
            (_, Some(stdio), _) => stdio.dispatch(&dispatch, until).await.map_err(DispatchError::Other),
            (None, None, Some(answer)) => answer,
            (None, None, None) => by_values(&Values::default()),
        }
    }
}

async fn log(mut events: NodeEvents) {
    while let Some(event) = events.recv().await {
        match event {
            NodeEvent::Request { peer, request } => {
                tracing::info!(%peer, reqid = request.reqid, action = request.action.join(" "), "asked");
            }
            NodeEvent::Answered { peer, result } => {
                tracing::info!(%peer, reqid = result.reqid(), success = result.is_success(), "answered");
            }
            // The library tells of the others.
            _ => {}
        }
    }
}
