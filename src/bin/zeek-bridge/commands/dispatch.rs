//! `dispatch`: an agent for one request.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};
use zeek_bridge::management::{Agent, ManagementResult, Outcome, REQUEST_TIMEOUT};

use crate::args::{NetworkArgs, Seconds, agent, node_name};
use crate::network::{self, Network, Persistence};
use crate::output::{Failure, Object, Output};
use crate::signals::Signals;

/// Act as an agent: send one request to nodes and print their answers
///
/// Waits for the nodes to say hello, sends ACTION, and prints one JSON line for each answer: "node", "success", "data"
/// (JSON or null) and "error" (text or null). A failure that a node reports is an answer and does not change the exit
/// code; a missing answer does (exit code 5). Without --connect and --listen, it listens at ZEEK_AGENT_ADDR and
/// ZEEK_AGENT_PORT if they are set, as Zeek's agent does.
#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// The nodes to ask; waits until all have said hello
    #[arg(long, value_name = "A,B..", value_delimiter = ',',
          value_parser = node_name)]
    nodes: Vec<String>,
    /// The number of nodes with different names to wait for; the default without --nodes is 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
          allow_negative_numbers = true)]
    expect: Option<u16>,
    /// Maximum time for hellos and answers together; answers alone take at most 5 seconds, as nodes do not answer later
    #[arg(long, value_name = "SECONDS", default_value = "15", allow_negative_numbers = true)]
    timeout: Seconds,
    #[command(flatten)]
    network: NetworkArgs,
    /// The action to run; get_id_value is the only one that Zeek ships
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
        deadline: Instant::now().checked_add(args.timeout.0).unwrap_or_else(Instant::now),
    };
    let network = Network::new(agent::as_agent(args.network)?)?;
    let endpoint = network::endpoint()?;
    let agent = Agent::start(endpoint.clone()).await;
    let ask = async {
        let start = network.start(&endpoint, Persistence::FirstMustSucceed);
        match timeout_at(request.deadline, start).await {
            Ok(started) => started?,
            Err(_) => return Err(Failure::timeout("timeout: no peering yet")),
        }
        request.ask(&agent).await
    };
    let result = tokio::select! {
        result = ask => result,
        () = signals.next() => Err(Failure::failed("interrupted")),
    };
    let printed = result.and_then(|outcome| print(&outcome));
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
        let enough = |nodes: &BTreeSet<String>| self.nodes.is_subset(nodes) && nodes.len() >= self.expect;
        if timeout_at(self.deadline, agent.wait_for_nodes(enough)).await.is_err() {
            return Err(self.absent(&agent.nodes()));
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let dispatch = agent.dispatch(self.action, self.nodes, left.min(REQUEST_TIMEOUT)).await;
        dispatch.map_err(|error| Failure::failed(format!("the request cannot be sent: {error}")))
    }

    /// Not all nodes are there in time.
    fn absent(&self, there: &BTreeSet<String>) -> Failure {
        let absent: Vec<&str> = self.nodes.difference(there).map(String::as_str).collect();
        let there = there.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "nobody" } else { &there };
        let wanted = match absent.as_slice() {
            [] if self.expect == 1 => "one node".to_owned(),
            [] => format!("{} nodes of different names", self.expect),
            names => names.join(", "),
        };
        Failure::timeout(format!(
            "timeout: waited for a hello of {wanted}; {there} said hello (nodes of one name count as one). Nobody was \
             asked. Do the nodes connect to \
             here, and with the same choice of TLS?"
        ))
    }
}

fn print(outcome: &Outcome) -> Result<(), Failure> {
    let mut output = Output::new();
    for (node, result) in &outcome.answers {
        output.line(&object(node, result).into_line())?;
    }
    output.flush()?;
    if outcome.missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<&str> = outcome.missing.iter().map(String::as_str).collect();
    Err(Failure::timeout(format!("timeout: no answer from {}", missing.join(", "))))
}

fn object(node: &str, result: &ManagementResult) -> Object {
    let object = Object::new().with("node", node).with("success", result.is_success());
    let data = result.data().map(|data| data.to_str_lossy());
    let object = match (data, result.json()) {
        // As the node wrote it: reading and writing it again could round its numbers.
        (Some(data), Some(Ok(_))) => object.with_text("data", &data),
        (Some(data), _) => {
            tracing::warn!(node, "the answer is not a JSON text, but printed as a string all the same");
            object.with("data", data)
        }
        (None, _) => object.with("data", Json::Null),
    };
    object.with("error", result.error())
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{FromValue, Value};

    use super::*;

    fn line(result: &ManagementResult) -> String {
        String::from_utf8(object("n", result).into_line()).unwrap()
    }

    #[test]
    fn data_is_json_as_the_node_wrote_it() {
        let good = ManagementResult::success("id", "n", Some("{\"a\":\n 1.50e1}".parse().unwrap()));
        assert_eq!(line(&good), "{\"node\":\"n\",\"success\":true,\"data\":{\"a\":  1.50e1},\"error\":null}");
        let none = ManagementResult::success("id", "n", None);
        assert_eq!(line(&none), r#"{"node":"n","success":true,"data":null,"error":null}"#);
        let bad = ManagementResult::failure("id", "n", "unknown id");
        assert_eq!(line(&bad), r#"{"node":"n","success":false,"data":null,"error":"unknown id"}"#);
    }

    #[test]
    fn data_that_is_not_json_is_a_string() {
        let Value::Vector(mut fields) = Value::from(ManagementResult::success("id", "n", None)) else {
            panic!()
        };
        fields[3] = Value::String(b"{\n\xff".to_vec().into());
        let odd = ManagementResult::from_value(Value::Vector(fields)).unwrap();
        assert_eq!(line(&odd), "{\"node\":\"n\",\"success\":true,\"data\":\"{\\n\u{fffd}\",\"error\":null}");
    }
}
