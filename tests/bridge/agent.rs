//! An agent that runs as a child process, so that it can be killed. The child process runs this same test program.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use zeek_bridge::endpoint::{Endpoint, Subscriber};
use zeek_bridge::management::{Agent, GET_ID_VALUE, NODE_TOPIC, NodeMessage, REQUEST_TIMEOUT};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::ZeekMessage;

use crate::program::{Program, command_of};

/// The environment variable with the address that the agent process listens on.
const LISTEN: &str = "ZEEK_BRIDGE_TEST_AGENT";

/// The number of concurrent dispatches.
const AT_ONCE: usize = 16;

/// An agent process, and the lines that it printed.
pub(crate) struct AgentProcess {
    program: Program,
    pub(crate) address: String,
    /// The dispatches that have ended, including those before a restart.
    pub(crate) ended: Vec<Ended>,
}

/// The outcome of a dispatch.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// The data or the failure text of each node.
    pub(crate) answers: BTreeMap<String, Result<Json, String>>,
    /// The nodes that did not respond.
    pub(crate) missing: BTreeSet<String>,
}

impl AgentProcess {
    /// Starts an agent that listens on an address; port 0 selects a free port.
    pub(crate) fn start(address: &str) -> Self {
        let mut command = command_of(std::env::current_exe().unwrap(), ["agent::agent_process", "--exact"]);
        command.args(["--ignored", "--nocapture", "--test-threads=1"]).env(LISTEN, address);
        let mut program = Program::spawn(command);
        let address = program.address();
        AgentProcess { program, address, ended: Vec::new() }
    }

    /// Starts sending dispatches to these nodes, until [`AgentProcess::finish`].
    pub(crate) fn start_dispatches(&mut self, nodes: &[&str]) {
        self.program.give(&nodes.join(" "));
    }

    /// Kills the process, and reads its remaining output.
    pub(crate) fn kill(&mut self) {
        self.program.signal("KILL");
        while let Some(line) = self.program.text_or_end() {
            self.parse_outcome(&line);
        }
    }

    /// Starts the process again with the same address.
    pub(crate) fn restart(&mut self) {
        let Self { program, address, ended } = Self::start(&self.address);
        assert!(ended.is_empty());
        (self.program, self.address) = (program, address);
    }

    /// Waits for a dispatch whose outcome satisfies `condition`.
    pub(crate) fn wait_for(&mut self, condition: impl Fn(&Ended) -> bool) {
        loop {
            let line = self.program.text();
            if self.parse_outcome(&line) && condition(self.ended.last().unwrap()) {
                return;
            }
        }
    }

    /// Parses a line of output and stores its outcome. Returns `false` if the line contains no outcome.
    fn parse_outcome(&mut self, line: &str) -> bool {
        let Some(json) = line.strip_prefix("ended ") else { return false };
        // The line is incomplete if the process was killed while writing it.
        let Ok(json) = serde_json::from_str::<Json>(json) else { return false };
        let answers = json["answers"].as_object().unwrap().iter().map(|(node, answer)| {
            (node.clone(), answer["error"].as_str().map_or(Ok(answer["data"].clone()), |e| Err(e.into())))
        });
        let missing = json["missing"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().into());
        self.ended.push(Ended { answers: answers.collect(), missing: missing.collect() });
        true
    }

    /// Stops dispatching and waits for the running dispatches. Returns the responses that were received more than once.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.program.give("");
        loop {
            let line = self.program.text();
            if let Some(duplicates) = line.strip_prefix("duplicates ") {
                return serde_json::from_str(duplicates).unwrap();
            }
            self.parse_outcome(&line);
        }
    }
}

#[test]
#[ignore = "started by the other tests as a child process"]
fn agent_process() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(run(&address));
}

async fn run(address: &str) {
    let endpoint = Endpoint::new().unwrap();
    let counted = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let counting = tokio::spawn(duplicate_responses(counted));
    let agent = Arc::new(Agent::start(endpoint.clone()).await);
    let listener = endpoint.listen(address, Tls::Off).await.unwrap();
    eprintln!("listening on {}", listener.local_addr());

    let mut input = std::io::BufReader::new(std::io::stdin()).lines();
    let nodes: BTreeSet<String> = input.next().unwrap().unwrap().split(' ').map(Into::into).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> =
        (0..AT_ONCE).map(|n| tokio::spawn(work(n, agent.clone(), nodes.clone(), stop.clone()))).collect();
    tokio::task::spawn_blocking(move || input.next()).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    endpoint.shutdown().await;
    println!("duplicates {}", json!(counting.await.unwrap()));
}

/// Sends dispatches one after the other. Every second dispatch is for all nodes; the remaining ones name the nodes.
async fn work(number: usize, agent: Arc<Agent>, nodes: BTreeSet<String>, stop: Arc<AtomicBool>) {
    let mut asked = number;
    while !stop.load(Ordering::SeqCst) {
        let connected = agent.wait_for_nodes(|connected| connected.is_superset(&nodes));
        if tokio::time::timeout(Duration::from_secs(1), connected).await.is_err() {
            continue;
        }
        let to = if asked.is_multiple_of(2) { BTreeSet::new() } else { nodes.clone() };
        asked += 1;
        let action = vec![GET_ID_VALUE.to_owned(), "Cluster::node".to_owned()];
        let outcome = agent.dispatch(action, to, REQUEST_TIMEOUT).await.unwrap();
        let answers: BTreeMap<_, _> = outcome
            .answers
            .iter()
            .map(|(node, result)| {
                (node, json!({"data": result.json().and_then(Result::ok), "error": result.error()}))
            })
            .collect();
        println!("ended {}", json!({"answers": answers, "missing": outcome.missing}));
    }
}

/// Returns the responses that were received more than once.
async fn duplicate_responses(mut messages: Subscriber) -> Vec<String> {
    let mut answers: HashMap<(String, String), u32> = HashMap::new();
    while let Some(message) = messages.recv().await {
        let Ok(ZeekMessage::Event(event)) = message.zeek_message() else {
            continue;
        };
        if let Ok(Some(NodeMessage::Response(response))) = NodeMessage::parse(&event) {
            let node = response.result().node().unwrap_or_default().to_owned();
            *answers.entry((response.reqid().to_owned(), node)).or_default() += 1;
        }
    }
    let duplicates = answers.into_iter().filter(|(_, count)| *count > 1);
    duplicates.map(|((reqid, node), count)| format!("{reqid} {node}: {count} times")).collect()
}
