//! Clusters of a real Zeek whose proxy is a bridge, or that a bridge connects.
//!
//! The environment variable `ZEEK_BRIDGE_ZEEK` names the program `zeek` (8.1 to 9.x). If it is not set, the tests are skipped with
//! a notice.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use zeek_bridge::net::Url;

use crate::cluster::BridgeProcess;
use crate::program::child::{Running, skip};
use crate::program::command_of;

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/cluster.zeek");
const MIGRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/migration.zeek");
const BACK_END: &str = "policy/frameworks/cluster/backend";

/// The time limit for each line of output. A Zeek needs several seconds to start on a slow machine.
const LONG: Duration = Duration::from_secs(120);

/// Returns the program. `None` after a notice if there is none.
fn zeek() -> Option<PathBuf> {
    let zeek = std::env::var_os("ZEEK_BRIDGE_ZEEK").map(PathBuf::from);
    if zeek.is_none() {
        skip("ZEEK_BRIDGE_ZEEK is not set: bridges are not tested with a real Zeek");
    }
    zeek
}

/// A running Zeek, with the lines of its stdout.
struct Zeek {
    process: Running,
    lines: Receiver<String>,
    folder: tempfile::TempDir,
}

impl Zeek {
    fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stderr = std::fs::File::create(folder.path().join("stderr")).unwrap();
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut process = Running::spawn(&mut command);
        let lines = lines(process.stdout.take().unwrap());
        Zeek { process, lines, folder }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(LONG).unwrap_or_else(|_| panic!("no line; stderr: {}", self.read("stderr")))
    }

    /// Waits for a line for each of these nodes.
    #[track_caller]
    fn says(&self, word: &str, nodes: &[&str]) {
        let mut missing: BTreeSet<String> = nodes.iter().map(|node| format!("{word} {node}")).collect();
        while !missing.is_empty() {
            missing.remove(&self.line());
        }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let read = BufReader::new(stdout).lines().map_while(Result::ok);
        read.for_each(|line| _ = sender.send(line));
    });
    lines
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns the options of a node for the proxy at this address.
fn options(url: &str) -> [String; 2] {
    let url: Url = url.parse().unwrap();
    // The XPUB socket of a node connects to the XSUB socket of the proxy, and its XSUB socket to the XPUB socket.
    [("connect_xsub_endpoint", url.xpub()), ("connect_xpub_endpoint", url.xsub())]
        .map(|(name, address)| format!("Cluster::Backend::ZeroMQ::{name}=tcp://{}", address.unwrap()))
}

/// Returns the value of ZEEKPATH with this folder first.
fn zeek_path(zeek: &Path, folder: &Path) -> String {
    let output = Command::new(zeek.with_file_name("zeek-config")).arg("--zeekpath").output().unwrap();
    format!("{}:{}", folder.display(), String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn a_cluster_with_a_bridge_as_its_proxy_finds_its_nodes_logs_and_stops() {
    let Some(zeek) = zeek() else { return };
    let proxy = BridgeProcess::start(
        "[link.cluster]\nlisten = \"zeromq://127.0.0.1:0,0\"\n\
         [[rule]]\nname = \"all\"\nfrom = \"cluster\"\nto = \"cluster\"\ntopics = \"\"\n",
    );
    let url = proxy.address("cluster");
    let folder = tempfile::tempdir().unwrap();
    let nodes = [
        ("manager", "MANAGER"),
        ("logger", "LOGGER"),
        ("proxy", "PROXY"),
        ("worker-1", "WORKER"),
        ("bridge-1", "PROXY"),
    ];
    let layout = nodes.map(|(name, kind)| {
        let port = free_port();
        format!("[\"{name}\"] = [$node_type=Cluster::{kind}, $ip=127.0.0.1, $p={port}/tcp, $manager=\"manager\"],\n")
    });
    let layout =
        format!("redef Cluster::manager_is_logger = F;\nredef Cluster::nodes = {{\n{}}};\n", layout.concat());
    std::fs::write(folder.path().join("cluster-layout.zeek"), layout).unwrap();
    let start = |name: &str| {
        let mut command = command_of(&zeek, options(&url).iter().map(String::as_str).chain([CLUSTER]));
        command.env("CLUSTER_NODE", name).env("ZEEKPATH", zeek_path(&zeek, folder.path()));
        Zeek::start(command)
    };
    let node = BridgeProcess::start(&format!(
        "[link.cluster]\nconnect = \"{url}\"\nnode = \"bridge-1\"\n\
         [link.zeek]\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n\
         [[rule]]\nname = \"out\"\nfrom = \"cluster\"\nto = \"zeek\"\ntopics = \"/t\"\n"
    ));
    let names = ["manager", "logger", "proxy", "worker-1"];
    let zeeks = names.map(start);
    for (name, zeek) in names.iter().zip(&zeeks) {
        let others: Vec<&str> = nodes.iter().map(|(other, _)| *other).filter(|other| other != name).collect();
        zeek.says("up", &others);
    }
    // Logs are sent to the logger directly.
    let [manager, logger, _, worker] = &zeeks;
    proxy.until("the log of the cluster", |_| logger.read("cluster.log").contains("\tworker-1\t"));

    worker.process.signal("TERM");
    for zeek in [manager, logger] {
        zeek.says("down", &["worker-1"]);
    }
    drop(node);
    manager.says("down", &["bridge-1"]);
    for (name, zeek) in names.iter().zip(zeeks) {
        if *name != "worker-1" {
            zeek.process.signal("TERM");
        }
        let Zeek { mut process, folder, .. } = zeek;
        let stderr = std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
        assert!(process.end().success(), "{name}: {stderr}");
    }
    assert_eq!(proxy.refused("cluster_only"), 0);
}

#[test]
fn a_broker_cluster_and_a_zeromq_cluster_exchange_values_of_every_type() {
    let Some(zeek) = zeek() else { return };
    let [xpub, xsub] = [free_port(), free_port()];
    let url = format!("zeromq://127.0.0.1:{xpub},{xsub}");
    let listen = [("listen_xpub_endpoint", xpub), ("listen_xsub_endpoint", xsub)]
        .map(|(name, port)| format!("Cluster::Backend::ZeroMQ::{name}=tcp://127.0.0.1:{port}"));
    let scripts = [&format!("{BACK_END}/zeromq"), MIGRATION];
    let proxy = "Cluster::Backend::ZeroMQ::run_proxy_thread=T".to_owned();
    let all = options(&url).into_iter().chain(listen).chain([proxy]);
    let arguments: Vec<String> = all.chain(scripts.map(str::to_owned)).collect();
    let _answering = Zeek::start(command_of(&zeek, &arguments));
    let topics = |worker: &str, manager: &str| {
        format!(
            "[[rule]]\nname = \"out\"\nfrom = \"zeek\"\nto = \"cluster\"\ntopics = \"{worker}\"\n\
             [[rule]]\nname = \"in\"\nfrom = \"cluster\"\nto = \"zeek\"\ntopics = \"{manager}\"\n"
        )
    };
    let bridge = BridgeProcess::start(&format!(
        "[link.zeek]\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n[link.cluster]\nconnect = \"{url}\"\n{}",
        // Rules match both forms of a topic.
        topics("zeek.cluster.worker", "zeek/cluster/manager"),
    ));
    bridge.until("the subscription of the Zeek with ZeroMQ", |bridge| {
        let link = bridge.link("cluster");
        let peers = link["peers"].as_array().unwrap();
        peers.iter().any(|peer| {
            let mut filter = peer["filter"].as_array().unwrap().iter();
            peer["socket"] == "XSUB" && filter.any(|topic| topic == "zeek.cluster.worker")
        })
    });
    let port = bridge.address("zeek").rsplit_once(':').unwrap().1.to_owned();
    let back_end = format!("{BACK_END}/broker");
    let (disable, bridge_port) =
        ("Broker::disable_ssl=T".to_owned(), format!("Migration::bridge={port}/tcp"));
    let sending = Zeek::start(command_of(
        &zeek,
        [back_end.as_str(), MIGRATION, disable.as_str(), bridge_port.as_str()],
    ));
    let (sent, received) = (sending.line(), sending.line());
    assert_eq!(sent, received);
    assert!(sent.contains("GREEN") && sent.contains("2001:db8::1"), "{sent}");
    // The results of the function and of the filter.
    assert!(sent.contains(" 42 ") && sent.ends_with(" 1 0"), "{sent}");
}
