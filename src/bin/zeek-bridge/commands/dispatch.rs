//! `dispatch`: acts as an agent that sends one request.

use std::borrow::Cow;
use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout_at};
use zeek_bridge::management::{Agent, ManagementResult, Outcome, REQUEST_TIMEOUT};

use crate::args::{DurationArg, NetworkArgs, agent, node_name};
use crate::deadline;
use crate::network::{self, Network, Persistence};
use crate::output::{Failure, Output, to_line};
use crate::signals::Signals;

/// Act as an agent: send one request to nodes and print their answers
///
/// Waits for the hello of each node, sends ACTION, and prints one JSON line for each answer: "node", "success", "data"
/// (JSON or null) and "error" (text or null). A failure that a node reports counts as an answer, and changes the exit code
/// only with --fail. If an answer is missing, the exit code is 5. Without --connect and --listen, the command listens at
/// ZEEK_AGENT_ADDR and ZEEK_AGENT_PORT if they are set, as Zeek's agent does.
#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// The nodes to send the request to; waits for the hello of each
    #[arg(long, value_name = "A,B..", value_delimiter = ',',
          value_parser = node_name)]
    nodes: Vec<String>,
    /// The number of nodes with different names to wait for; the default without --nodes is 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
          allow_negative_numbers = true)]
    expect: Option<u16>,
    /// Maximum time for hellos and answers together; the wait for answers is at most 5 seconds, because nodes do not answer later
    #[arg(long, value_name = "DURATION", default_value = "15s", allow_negative_numbers = true)]
    timeout: DurationArg,
    /// Exit with code 1 if a node reports a failure
    #[arg(long)]
    fail: bool,
    #[command(flatten)]
    network: NetworkArgs,
    /// The action to run; get_id_value is the only action of Zeek's own nodes
    #[arg(value_name = "ACTION")]
    action: String,
    /// The arguments of the action, such as the name of a global variable
    #[arg(value_name = "ARG")]
    args: Vec<String>,
}

pub(crate) async fn run(args: DispatchArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let request = Request {
        action: std::iter::once(args.action).chain(args.args).collect(),
        expect: args.expect.map_or(if args.nodes.is_empty() { 1 } else { 0 }, usize::from),
        nodes: args.nodes.into_iter().collect(),
        deadline: deadline::after(args.timeout.0),
    };
    let network = Network::with_agent(args.network, agent::as_agent)?;
    let endpoint = network::endpoint()?;
    let agent = Agent::start(endpoint.clone()).await;
    let ask = async {
        let start = network.start(&endpoint, Persistence::FirstMustSucceed);
        match timeout_at(request.deadline, start).await {
            Ok(started) => started.map(drop)?,
            Err(_) => return Err(Failure::timeout("timeout: no peering yet")),
        }
        request.ask(&agent).await
    };
    let result = tokio::select! {
        result = ask => result,
        () = signals.next() => Err(Failure::failed("interrupted")),
    };
    let printed = result.and_then(|outcome| print(&outcome, args.fail));
    network::leave(&endpoint, &mut signals).await;
    printed
}

struct Request {
    action: Vec<String>,
    nodes: BTreeSet<String>,
    expect: usize,
    deadline: Instant,
}

impl Request {
    async fn ask(self, agent: &Agent) -> Result<Outcome, Failure> {
        let complete = |nodes: &BTreeSet<String>| self.nodes.is_subset(nodes) && nodes.len() >= self.expect;
        if timeout_at(self.deadline, agent.wait_for_nodes(complete)).await.is_err() {
            return Err(self.absent(&agent.nodes()));
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let dispatch = agent.dispatch(self.action, self.nodes, left.min(REQUEST_TIMEOUT)).await;
        dispatch.map_err(|error| Failure::failed(format!("cannot send the request: {error}")))
    }

    /// Reports the nodes whose hello did not arrive in time.
    fn absent(&self, present: &BTreeSet<String>) -> Failure {
        let absent: Vec<&str> = self.nodes.difference(present).map(String::as_str).collect();
        let present = present.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let present = if present.is_empty() { "none" } else { &present };
        let expected = match absent.as_slice() {
            [] if self.expect == 1 => "one node".to_owned(),
            [] => format!("{} nodes of different names", self.expect),
            names => names.join(", "),
        };
        Failure::timeout(format!(
            "timeout: no hello from {expected}; received a hello from: {present} (nodes of the same name count once). The \
             request was not sent. Do the nodes connect to this address, with the same TLS mode?"
        ))
    }
}

/// Prints the answers. With `fail`, the command fails if a node reports a failure.
fn print(outcome: &Outcome, fail: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    for (node, result) in &outcome.answers {
        output.line(&to_line(&Answer::new(node, result)))?;
    }
    output.flush()?;
    if outcome.missing.is_empty() {
        let failures = outcome.answers.iter().filter(|(_, result)| fail && !result.is_success());
        let failures: Vec<&str> = failures.map(|(node, _)| node.as_str()).collect();
        if failures.is_empty() {
            return Ok(());
        }
        return Err(Failure::failed(format!("failures reported by {}", failures.join(", "))));
    }
    let missing: Vec<&str> = outcome.missing.iter().map(String::as_str).collect();
    Err(Failure::timeout(format!("timeout: no answer from {}", missing.join(", "))))
}

/// A line of the output.
#[derive(Serialize)]
struct Answer<'a> {
    node: &'a str,
    success: bool,
    data: Option<Box<RawValue>>,
    error: Option<Cow<'a, str>>,
}

impl<'a> Answer<'a> {
    fn new(node: &'a str, result: &'a ManagementResult) -> Self {
        let data = result.data().map(|data| data.to_str_lossy());
        // Printed as the node wrote it, because parsing and writing it again could round numbers. Line breaks can only occur
        // between tokens.
        let json = |data: &str| RawValue::from_string(data.replace(['\n', '\r'], " ")).ok();
        let data = match (data, result.json()) {
            (Some(data), Some(Ok(_))) => json(&data),
            (Some(data), _) => {
                tracing::warn!(node, "the data of the response is not JSON; printed as a string");
                to_raw_value(&data).ok()
            }
            (None, _) => None,
        };
        Answer { node, success: result.is_success(), data, error: result.error() }
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{FromValue, Value};

    use super::*;

    fn line(result: &ManagementResult) -> String {
        String::from_utf8(to_line(&Answer::new("n", result))).unwrap()
    }

    #[test]
    fn json_data_is_printed_as_the_node_wrote_it() {
        let good = ManagementResult::success("id", "n", Some("{\"a\":\n 1.50e1}".parse().unwrap()));
        assert_eq!(line(&good), "{\"node\":\"n\",\"success\":true,\"data\":{\"a\":  1.50e1},\"error\":null}");
        let none = ManagementResult::success("id", "n", None);
        assert_eq!(line(&none), r#"{"node":"n","success":true,"data":null,"error":null}"#);
        let bad = ManagementResult::failure("id", "n", "unknown id");
        assert_eq!(line(&bad), r#"{"node":"n","success":false,"data":null,"error":"unknown id"}"#);
    }

    #[test]
    fn data_that_is_not_json_is_printed_as_a_string() {
        let Value::Vector(mut fields) = Value::from(ManagementResult::success("id", "n", None)) else {
            panic!()
        };
        fields[3] = Value::String(b"{\n\xff".to_vec().into());
        let odd = ManagementResult::from_value(Value::Vector(fields)).unwrap();
        assert_eq!(line(&odd), "{\"node\":\"n\",\"success\":true,\"data\":\"{\\n\u{fffd}\",\"error\":null}");
    }
}
