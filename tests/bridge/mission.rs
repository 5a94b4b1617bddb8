//! What the bridge is for: agents dispatch to nodes through it, whoever dies meanwhile.

use crate::agent::{AgentProcess, Ended};
use crate::cluster::{BridgeProcess, Certificates, NodeProcess};

const NAMES: [&str; 5] = ["worker-1", "worker-2", "worker-3", "logger-1", "manager"];

/// How many dispatches run in all, at least.
const DISPATCHES: usize = 10_000;

fn all_good(ended: &Ended) -> bool {
    ended.missing.is_empty() && NAMES.iter().all(|name| ended.answers.get(*name).is_some_and(Result::is_ok))
}

fn has_failure(ended: &Ended) -> bool {
    ended.answers.values().any(Result::is_err)
}

fn several(agent: &mut AgentProcess) {
    (0..200).for_each(|_| agent.until(|_| true));
}

/// An address of its own, so that nobody takes the port while the one who has it is dead.
fn free_port_of(number: u8) -> String {
    if cfg!(target_os = "linux") { format!("127.0.77.{number}:0") } else { "127.0.0.1:0".to_owned() }
}

#[test]
fn every_dispatch_ends_once_whoever_is_killed() {
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
    agents.iter_mut().for_each(|agent| agent.go(&NAMES));
    agents.iter_mut().for_each(|agent| agent.until(all_good));

    for node in &mut nodes {
        agents.iter_mut().for_each(several);
        node.kill();
        // Told at once, of the dead one and by the bridge, not found out by waiting.
        agents.iter_mut().for_each(|agent| agent.until(has_failure));
        node.revive();
        agents.iter_mut().for_each(|agent| agent.until(all_good));
    }
    for dead in 0..2 {
        agents.iter_mut().for_each(several);
        agents[dead].kill();
        several(&mut agents[1 - dead]);
        agents[dead].revive();
        agents[dead].go(&NAMES);
        agents.iter_mut().for_each(|agent| agent.until(all_good));
    }
    while agents.iter().map(|agent| agent.ended.len()).sum::<usize>() < DISPATCHES {
        agents.iter_mut().for_each(several);
    }
    for agent in &agents {
        for ended in &agent.ended {
            assert!(ended.missing.is_empty(), "neither answered nor failed: {ended:?}");
            for (node, answer) in &ended.answers {
                match answer {
                    Ok(data) => assert_eq!(data, node.as_str()),
                    Err(words) => assert!(words.contains("bridge"), "{words}"),
                }
            }
        }
    }
    let before = agents.each_ref().map(|agent| agent.ended.len());

    bridge.kill();
    bridge.revive(&config);
    // What was on its way is missing; what is good after that is of the new bridge.
    agents.iter_mut().for_each(|agent| agent.until(|ended| !ended.missing.is_empty()));
    agents.iter_mut().for_each(|agent| agent.until(all_good));
    let peers = |link: &str| bridge.link(link)["peers"].as_array().unwrap().len();
    assert_eq!((peers("agents"), peers("nodes")), (2, 5), "{}", bridge.status());
    for agent in &mut agents {
        assert_eq!(agent.finish(), [""; 0], "nothing is answered twice");
    }
    // What was on its way when the bridge died is the agents' to state: at most what they had begun.
    for (agent, before) in agents.iter().zip(before) {
        let missed = agent.ended[before..].iter().filter(|ended| !ended.missing.is_empty()).count();
        assert!(missed <= 2 * 16, "{missed}");
    }
}
