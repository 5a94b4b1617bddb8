//! Agents that send dispatches to nodes through the bridge while processes are killed.

use crate::agent::{AgentProcess, Ended};
use crate::cluster::{BridgeProcess, Certificates, NodeProcess};

const NAMES: [&str; 5] = ["worker-1", "worker-2", "worker-3", "logger-1", "manager"];

/// The minimum number of dispatches.
const DISPATCHES: usize = 10_000;

fn all_succeeded(ended: &Ended) -> bool {
    ended.missing.is_empty() && NAMES.iter().all(|name| ended.answers.get(*name).is_some_and(Result::is_ok))
}

fn has_failure(ended: &Ended) -> bool {
    ended.answers.values().any(Result::is_err)
}

fn wait_for_200_dispatches(agent: &mut AgentProcess) {
    (0..200).for_each(|_| agent.wait_for(|_| true));
}

/// Returns an address to listen on. On Linux, only this test uses its IP address, so that no other process takes the port
/// while the listening process restarts.
fn free_port_of(number: u8) -> String {
    if cfg!(target_os = "linux") { format!("127.0.77.{number}:0") } else { "127.0.0.1:0".to_owned() }
}

#[test]
fn every_dispatch_ends_exactly_once_although_processes_are_killed() {
    let certificates = Certificates::new();
    let mut agents = [1, 2].map(|number| AgentProcess::start(&free_port_of(number)));
    let config = |nodes: &str| {
        format!(
            "[link.agents]\nfaces = \"agents\"\ntls = \"off\"\nconnect = [\"{}\", \"{}\"]\n\
             retry = {{ first = \"100ms\", cap = \"200ms\" }}\n\
             [link.nodes]\nfaces = \"nodes\"\nlisten = \"{nodes}\"\n{}",
            agents[0].address,
            agents[1].address,
            certificates.lines()
        )
    };
    let mut bridge = BridgeProcess::start(&config(&free_port_of(3)));
    let address = bridge.link("nodes")["listening"][0].as_str().unwrap().to_owned();
    let config = config(&address);
    let mut nodes = NAMES.map(|name| NodeProcess::start(name, certificates.issue(name), &address));
    agents.iter_mut().for_each(|agent| agent.start_dispatches(&NAMES));
    agents.iter_mut().for_each(|agent| agent.wait_for(all_succeeded));

    for node in &mut nodes {
        agents.iter_mut().for_each(wait_for_200_dispatches);
        node.kill();
        // The bridge sends the failure for the dead node at once, before the timeout.
        agents.iter_mut().for_each(|agent| agent.wait_for(has_failure));
        node.restart();
        agents.iter_mut().for_each(|agent| agent.wait_for(all_succeeded));
    }
    for dead in 0..2 {
        agents.iter_mut().for_each(wait_for_200_dispatches);
        agents[dead].kill();
        wait_for_200_dispatches(&mut agents[1 - dead]);
        agents[dead].restart();
        agents[dead].start_dispatches(&NAMES);
        agents.iter_mut().for_each(|agent| agent.wait_for(all_succeeded));
    }
    while agents.iter().map(|agent| agent.ended.len()).sum::<usize>() < DISPATCHES {
        agents.iter_mut().for_each(wait_for_200_dispatches);
    }
    for agent in &agents {
        for ended in &agent.ended {
            assert!(ended.missing.is_empty(), "neither a response nor a failure: {ended:?}");
            for (node, answer) in &ended.answers {
                match answer {
                    Ok(data) => assert_eq!(data, node.as_str()),
                    Err(text) => assert!(text.contains("bridge"), "{text}"),
                }
            }
        }
    }
    let before = agents.each_ref().map(|agent| agent.ended.len());

    bridge.kill();
    bridge.restart(&config);
    // Dispatches that were in flight when the bridge was killed have missing nodes. Later dispatches that succeed went
    // through the new bridge.
    agents.iter_mut().for_each(|agent| agent.wait_for(|ended| !ended.missing.is_empty()));
    agents.iter_mut().for_each(|agent| agent.wait_for(all_succeeded));
    let peers = |link: &str| bridge.link(link)["peers"].as_array().unwrap().len();
    assert_eq!((peers("agents"), peers("nodes")), (2, 5), "{}", bridge.status());
    for agent in &mut agents {
        assert_eq!(agent.finish(), [""; 0], "no dispatch is answered twice");
    }
    // Only dispatches that were in flight when the bridge was killed may have missing nodes.
    for (agent, before) in agents.iter().zip(before) {
        let missed = agent.ended[before..].iter().filter(|ended| !ended.missing.is_empty()).count();
        assert!(missed <= 2 * 16, "{missed}");
    }
}
