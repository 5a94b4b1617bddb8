//! `node`: acts as a cluster node of Zeek's Management framework.

mod exec;
mod limiter;
mod request;
mod stdio;
mod unasked;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use zeek_bridge::management::{
    Dispatch, DispatchError, Handler, JsonText, Node, NodeEvent, NodeEvents, REQUEST_TIMEOUT, Values,
};

use crate::args::{DurationArg, NetworkArgs, agent, node_name};
use crate::deadline;
use crate::network::{self, Network, Persistence};
use crate::output::Failure;
use crate::runtime::spawn;
use crate::signals::Signals;
use exec::Exec;
use stdio::Stdio;
use tokio::time::Instant;
use unasked::Unasked;

// Options of a program that answers requests.
#[derive(Debug, Args)]
#[command(next_help_heading = "Responses from a program")]
struct ProgramArgs {
    /// Run COMMAND for each dispatch that --values cannot answer, with the action and its arguments as command-line arguments
    ///
    /// COMMAND is run without a shell. Its stdin is {"node", "peer", "reqid", "action", "args"}. If it exits with 0, its stdout is
    /// the data of the response: a JSON document, or nothing. Otherwise the response is a failure with the last line of its
    /// stderr as text. Its environment contains ZEEK_BRIDGE_NODE, ZEEK_BRIDGE_PEER and ZEEK_BRIDGE_REQID.
    #[arg(long, value_name = "COMMAND", conflicts_with = "stdio")]
    exec: Option<PathBuf>,
    /// Arguments of COMMAND that precede the action
    #[arg(value_name = "ARG", requires = "exec", conflicts_with = "stdio", last = true)]
    exec_args: Vec<OsString>,
    /// Print each dispatch that --values cannot answer as a line of JSON, and read the answers from stdin
    ///
    /// On stdout: {"type": "request", "id", "node", "peer", "reqid", "action", "args"}; {"type": "hello", "peer"} after the
    /// node has sent its hello to an agent; {"type": "expired", "id"} after an answer took too long. On stdin, in any order:
    /// {"id", "data"}, where "data" is any JSON and optional, or {"id", "error"} with the text of a failure. Exits at the end
    /// of stdin.
    #[arg(long)]
    stdio: bool,
    /// Maximum time for an answer, after which the response is a failure; at most 5s, because agents do not wait longer
    #[arg(long, value_name = "DURATION", default_value = "4s", allow_negative_numbers = true,
          value_parser = answer_timeout)]
    answer_timeout: DurationArg,
    /// Maximum number of COMMANDs that run at the same time; further dispatches wait, for at most --answer-timeout
    #[arg(long, value_name = "N", default_value = "8", requires = "exec",
          value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    jobs: u16,
    /// Maximum size of the stdout of a COMMAND, such as 64KiB; a larger output is a failure
    #[arg(long, value_name = "SIZE", default_value = "1MiB", requires = "exec")]
    answer_limit: ByteSize,
}

fn own_name(text: &str) -> Result<String, String> {
    node_name(text).map_err(|error| format!("{error}, in --name or CLUSTER_NODE"))
}

fn answer_timeout(text: &str) -> Result<DurationArg, String> {
    let timeout: DurationArg = text.parse()?;
    if timeout.0 > REQUEST_TIMEOUT {
        return Err(format!("agents wait for at most {}", humantime::format_duration(REQUEST_TIMEOUT)));
    }
    Ok(timeout)
}

/// Act as a cluster node of Zeek's Management framework
///
/// Sends a hello to every agent that it peers with. Answers requests like a Zeek node with the variables in --values, or
/// through a program (--exec or --stdio). With --connect, the command retries until SIGINT or SIGTERM, and reports on stderr why
/// it cannot connect. Without --connect and --listen, it connects to ZEEK_AGENT_ADDR and ZEEK_AGENT_PORT if they are set, as
/// Zeek's own nodes do.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's name in the cluster, such as worker-01; the default is CLUSTER_NODE
    #[arg(long, value_name = "NAME", value_parser = own_name)]
    name: String,
    /// The values for get_id_value: a JSON object of identifiers and values, such as {"Cluster::node": "worker-01"}; any
    /// other identifier is an "unknown id"
    #[arg(long, value_name = "FILE.json")]
    values: Option<PathBuf>,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) async fn run(args: NodeArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let values = match args.values {
        None => None,
        // Read in a separate thread: if the file is a pipe without data, a signal can still end the program.
        Some(file) => tokio::select! {
            read = tokio::task::spawn_blocking(move || values::read(&file)) => {
                Some(read.map_err(|error| Failure::failed(format!("cannot read the values: {error}")))??)
            }
            () = signals.next() => return Ok(()),
        },
    };
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
    let network = Network::with_agent(args.network, agent::to_agent)?;
    let endpoint = network::endpoint()?;
    let node = Node::start(endpoint.clone(), args.name, answers).await;
    spawn(log(node.events()));
    let events = node.events();
    let mut result = tokio::select! {
        started = network.start(&endpoint, Persistence::Persistent) => started.map(drop),
        // With --tls auto, this waits until a peer is available.
        () = signals.next() => {
            node.stop().await;
            network::leave(&endpoint, &mut signals).await;
            return Ok(());
        }
    };
    if result.is_ok() {
        match stdio.zip(requests) {
            Some((stdio, requests)) => result = stdio.serve(requests, events, &mut signals).await,
            None => signals.next().await,
        }
    }
    tokio::select! {
        () = node.stop() => {}
        // Pending answers are dropped. The peers still receive BYE.
        () = signals.next() => {}
    }
    network::leave(&endpoint, &mut signals).await;
    result
}

/// Answers dispatches from the values, then from a program.
struct Answers {
    values: Option<Values>,
    exec: Option<Exec>,
    stdio: Option<Arc<Stdio>>,
    timeout: DurationArg,
}

impl Handler for Answers {
    async fn dispatch(&self, dispatch: Dispatch) -> Result<Option<JsonText>, DispatchError> {
        let by_values = |values: &Values| values.dispatch(&dispatch.action, &dispatch.args);
        let deadline = deadline::after(self.timeout.0);
        match (&self.exec, &self.stdio, self.values.as_ref().map(by_values)) {
            (Some(_), _, Some(Ok(data))) | (_, Some(_), Some(Ok(data))) => Ok(data),
            (Some(exec), ..) => exec.dispatch(&dispatch, deadline).await.map_err(DispatchError::Other),
            (_, Some(stdio), _) => stdio.dispatch(&dispatch, deadline).await.map_err(DispatchError::Other),
            (None, None, Some(answer)) => answer,
            (None, None, None) => by_values(&Values::default()),
        }
    }
}

async fn log(mut events: NodeEvents) {
    let mut unasked = Unasked::default();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            peer = unasked.overdue() => {
                tracing::info!(
                    %peer,
                    "no request within 30 s of the hello; if the peer is a bridge, its rules may not allow this node's name (see \
                     its log); an agent sends requests only for nodes of its deployment"
                );
                continue;
            }
        };
        let Some(event) = event else { return };
        match event {
            NodeEvent::Hello { peer } => unasked.hello(peer, Instant::now()),
            NodeEvent::Request { peer, request } => {
                unasked.request(peer);
                tracing::info!(%peer, reqid = request.reqid, action = request.action.join(" "), "request received");
            }
            NodeEvent::Answered { peer, result } => {
                tracing::info!(%peer, reqid = result.reqid(), success = result.is_success(), "response sent");
            }
            // The library logs all other events.
            _ => {}
        }
    }
}
