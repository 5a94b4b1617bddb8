//! Tests of the daemon with a fake bridge. Each test runs the daemon in a separate process, because signals, the environment and
//! the log belong to the process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use zeek_bridge::bridge::config::{BridgeConfig, Diagnostic, Diagnostics};
use zeek_bridge::bridge::{
    AnsweredFor, FlowSnapshot, Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RecentEntry, Reloaded,
    RequestSnapshot, RuleSnapshot, Snapshot, TopicRate,
};

use super::*;

/// Returns a snapshot with many different numbers, so that a test notices swapped fields.
pub(crate) fn snapshot() -> Snapshot {
    let peer = |id: &str, identity: Option<&str>, queued, queued_bytes| PeerSnapshot {
        id: id.into(),
        address: format!("127.0.0.1:4000{}", &id[3..]),
        identity: identity.map(Into::into),
        filter: vec!["zeek/management/node".into()],
        queued,
        queued_bytes,
        dropped: if id == "id-2" { 5 } else { 0 },
        not_carried: if id == "id-2" { 8 } else { 0 },
        messages_in: queued + 30,
        messages_out: queued + 40,
        connected: 12.5,
        ..PeerSnapshot::default()
    };
    let agents = LinkSnapshot {
        name: "agents".into(),
        id: "own-1".into(),
        listening: vec!["127.0.0.1:2151".into()],
        tls: "off".into(),
        ready: true,
        peers: vec![peer("id-1", None, 9, 64), peer("id-2", Some("CN=agent"), 2, 4096)],
        messages_in: 10,
        messages_out: 20,
        bytes_in: 1000,
        bytes_out: 2000,
        malformed: 3,
        dropped: 5,
        not_carried: 8,
        altered_strings: 16,
        overflows: 1,
        lost_to_chaos: 12,
        refused: [("no-rule".into(), 7)].into(),
        ..LinkSnapshot::default()
    };
    let nodes = LinkSnapshot {
        name: "nodes".into(),
        id: "own-2".into(),
        connecting: vec!["192.0.2.1:2150".into(), "192.0.2.2:2150".into()],
        tls: "mutual".into(),
        certificate_expires: Some(1_800_000_000),
        failures: [("connect".into(), 4)].into(),
        ..LinkSnapshot::default()
    };
    Snapshot {
        uptime: 3725,
        links: vec![agents, nodes],
        rules: vec![RuleSnapshot {
            name: "hellos".into(),
            passed: 11,
            invalid: 2,
            refused: [("invalid_node_api".into(), 2), ("node_not_allowed".into(), 1)].into(),
            from: vec!["nodes".into()],
            to: vec!["agents".into()],
        }],
        nodes: vec![NodeSnapshot {
            name: "worker\u{1b}[2J-01".into(),
            link: "agents".into(),
            peer: "id-1".into(),
        }],
        refused: [("no-rule".into(), 7)].into(),
        in_flight: 6,
        answered_for: AnsweredFor { denied: 1, lost: 2, no_answer: 4, forgotten: 1 },
        unanswered: 14,
        forgotten: 15,
        latency: Latency { bounds: vec![0.001, 0.01], counts: vec![3, 2, 1], sum: 0.5 },
        flows: vec![FlowSnapshot { from: "nodes".into(), to: "agents".into(), messages: 17 }],
        requests: vec![RequestSnapshot { node: "worker-01".into(), request: "r-1".into(), age: 0.25 }],
        busiest: vec![TopicRate { topic: "zeek/t".into(), event: Some("E::e".into()), rate: 1.5 }],
        recent: vec![RecentEntry {
            time: 1_800_000_000.5,
            kind: "denied".into(),
            link: "agents".into(),
            peer: Some("id-1".into()),
            text: "the rules\u{1b}[2J".into(),
            suppressed: 18,
            ..RecentEntry::default()
        }],
    }
}

/// With this drain time, the fake bridge never finishes its shutdown.
const STUCK: Duration = Duration::from_secs(3600);

/// With this drain time, the fake bridge applies a reload except for one address.
const PARTLY: Duration = Duration::from_secs(7);

/// A fake bridge without links. The field is the configured drain time. A drain time of zero is rejected.
struct Fake(Duration);

impl Running for Fake {
    async fn start(config: BridgeConfig) -> Result<Self, Diagnostics> {
        let fake = Fake(config.operation.drain);
        fake.reload(config).await.map(|_| fake)
    }

    async fn reload(&self, config: BridgeConfig) -> Result<Reloaded, Diagnostics> {
        match config.operation.drain.is_zero() {
            true => Err(Diagnostic::new("link.agents.listen", "not free").into()),
            false if config.operation.drain == PARTLY => {
                let errors = vec![Diagnostic::new("link.agents.listen", "not free")];
                Ok(Reloaded { errors, ..Reloaded::default() })
            }
            false => Ok(Reloaded { news: vec!["link agents: unchanged".into()], ..Reloaded::default() }),
        }
    }

    fn snapshot(&self) -> Snapshot {
        snapshot()
    }

    async fn shutdown(&self) {
        if self.0 >= STUCK {
            std::future::pending::<()>().await;
        }
    }
}

/// Time limit for everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);

/// The environment variable with the path of the configuration.
const CONFIG: &str = "ZEEK_BRIDGE_TEST_CONFIG";

#[test]
#[ignore = "started as a process by other tests"]
fn process() {
    if let Some(path) = std::env::var_os(CONFIG) {
        let result = start::<Fake>(path.as_ref(), 0);
        std::process::exit(match result {
            Ok(()) => 0,
            Err(Failure::Reported(Exit::Failed)) => 1,
            Err(Failure::Reported(Exit::Unconnected)) => 3,
            Err(other) => panic!("{other:?}"),
        });
    }
}

/// A daemon, the lines that it writes to stderr, and the socket for its notifications to systemd.
struct Daemon {
    child: Child,
    stderr: Receiver<String>,
    systemd: UnixDatagram,
}

/// Writes a configuration with these lines in its `[bridge]` table.
fn configure(folder: &TempDir, bridge: &str) {
    let links = "[link.agents]\nfaces = 'agents'\nlisten = '127.0.0.1:0'\ntls = 'off'\nchaos.drop = 0.5\n\
                 [link.nodes]\nfaces = 'nodes'\nlisten = '127.0.0.1:0'\ntls = 'off'\n";
    std::fs::write(folder.path().join("config"), format!("[bridge]\n{bridge}\n{links}")).unwrap();
}

impl Daemon {
    fn start(folder: &TempDir, text: &str) -> Self {
        configure(folder, text);
        let path = folder.path().join(format!("notify-{}", fastrand::u64(..)));
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_read_timeout(Some(LIMIT)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "commands::run::tests::process", "--ignored", "--nocapture"])
            .env(CONFIG, folder.path().join("config"))
            .env("NOTIFY_SOCKET", path)
            .env("WATCHDOG_USEC", "20000")
            .env_remove("WATCHDOG_PID")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = child.stderr.take().unwrap();
        let (sender, stderr) = channel();
        std::thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Daemon { child, stderr, systemd }
    }

    /// Waits for a line on stderr that contains `text`, and returns the part after it.
    fn wait_for_line(&self, text: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("not on stderr: {text}"));
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for a notification to systemd that contains this line, and returns the notification.
    fn wait_for_state(&self, state: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let length =
                self.systemd.recv(&mut buffer).unwrap_or_else(|_| panic!("not sent to systemd: {state}"));
            let sent = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if sent.lines().any(|line| line == state) {
                return sent;
            }
        }
    }

    fn signal(&self, name: &str) {
        let signal = match name {
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "TERM" => Signal::TERM,
            _ => panic!("SIG{name} is not in this list"),
        };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process. Returns its exit code and the remaining lines of stderr.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        // The pipe is closed when the process ends.
        let mut lines = Vec::new();
        loop {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the process has not ended; stderr: {lines:?}"),
            }
        }
        (self.child.wait().unwrap().code(), lines)
    }
}

// A failed test must not leave the process running.
impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the response to `GET /healthz`; empty if the server is not running.
fn health(address: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // The write fails if the server has just stopped.
        let _ = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

fn status(folder: &TempDir, name: &str) -> Option<Snapshot> {
    let stream = UnixStream::connect(folder.path().join(name)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    Some(serde_json::from_reader(stream).unwrap())
}

const EVERYTHING: &str = "http = '127.0.0.1:0'\nstatus = 's.sock'";

impl Daemon {
    /// Sends SIGHUP and waits for the end of the reload.
    fn reload(&self) {
        self.signal("HUP");
        let sent = self.wait_for_state("RELOADING=1");
        assert!(sent.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{sent}");
        self.wait_for_state("READY=1");
    }
}

#[test]
fn systemd_is_notified_of_start_watchdog_reload_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, &format!("{EVERYTHING}\ndrain = '1s'"));
    assert!(daemon.wait_for_state("READY=1").contains("STATUS=1 of 2 links ready, 2 peers\n"));
    daemon.wait_for_state("WATCHDOG=1");
    daemon.wait_for_state("WATCHDOG=1");
    daemon.reload();
    daemon.wait_for_state("WATCHDOG=1");
    daemon.signal("TERM");
    let sent = daemon.wait_for_state("STOPPING=1");
    assert!(sent.contains("EXTEND_TIMEOUT_USEC=11000000\n"), "{sent}");
    let (code, lines) = daemon.end();
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(lines.last().unwrap().contains("ended"), "{lines:?}");
    assert!(!folder.path().join("s.sock").exists());
}

const LOG_WARNING: &str = "takes effect at the next start";

#[test]
fn a_reload_moves_and_stops_the_local_services() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, EVERYTHING);
    daemon.wait_for_line("faults are injected into this link");
    let first = daemon.wait_for_line("metrics and health at http://");
    daemon.wait_for_state("READY=1");
    assert!(health(&first).starts_with("HTTP/1.0 200 "));
    assert_eq!(status(&folder, "s.sock"), Some(snapshot()));

    // The configuration has not changed.
    daemon.reload();
    daemon.wait_for_line("reload: link agents: unchanged");
    daemon.wait_for_line("reload: the configuration is applied");
    assert!(health(&first).starts_with("HTTP/1.0 200 "));
    assert_eq!(status(&folder, "s.sock"), Some(snapshot()));

    // The services move to other addresses.
    configure(&folder, "http = '127.0.0.2:0'\nstatus = 'other.sock'\nlog = 'json'");
    daemon.reload();
    daemon.wait_for_line(LOG_WARNING);
    let second = daemon.wait_for_line("metrics and health at http://");
    assert!(health(&second).starts_with("HTTP/1.0 200 ") && health(&first).is_empty());
    assert_eq!((status(&folder, "s.sock"), status(&folder, "other.sock")), (None, Some(snapshot())));

    // The services are disabled.
    configure(&folder, "http = 'off'\nstatus = 'off'");
    daemon.reload();
    daemon.wait_for_line(&format!("HTTP at {second} is off"));
    assert!(health(&second).is_empty());
    assert_eq!(status(&folder, "other.sock"), None);
    // The configured log format is again the format in use, so the reload logs no warning.
    daemon.signal("TERM");
    let (_, lines) = daemon.end();
    assert!(lines.iter().all(|line| !line.contains(LOG_WARNING)), "{lines:?}");
}

#[test]
fn a_failed_reload_reports_all_errors_and_keeps_the_local_services() {
    let folder = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unbound = format!("http = '{}'\nstatus = 'config'", other.local_addr().unwrap());
    let daemon = Daemon::start(&folder, EVERYTHING);
    let address = daemon.wait_for_line("metrics and health at http://");
    daemon.wait_for_state("READY=1");
    let unchanged = "reload: the configuration is not applied; the previous one stays in effect";
    for (text, mistakes) in [
        ("metric = 1\nlog = 'loud'", &["config:2: bridge.metric: ", "config:3: bridge.log: "][..]),
        (&unbound, &["config:2: bridge.http: cannot serve", "config:3: bridge.status: "][..]),
        ("http = 'off'\ndrain = '0s'", &["config:6: link.agents.listen: not free"][..]),
    ] {
        configure(&folder, text);
        daemon.reload();
        mistakes.iter().for_each(|mistake| drop(daemon.wait_for_line(mistake)));
        daemon.wait_for_line(unchanged);
        assert!(health(&address).starts_with("HTTP/1.0 200 "));
        assert_eq!(status(&folder, "s.sock"), Some(snapshot()));
    }
    // Applied except for one link.
    configure(&folder, "http = 'off'\nstatus = 's.sock'\ndrain = '7s'");
    daemon.reload();
    daemon.wait_for_line("config:7: link.agents.listen: not free");
    daemon.wait_for_line("reload: applied, except for the errors above");
    assert_eq!(status(&folder, "s.sock"), Some(snapshot()));
    assert!(health(&address).is_empty());
}

#[test]
fn a_reload_reports_that_this_bridge_itself_uses_the_port() {
    let folder = tempfile::tempdir().unwrap();
    // The port is free again when the listener is dropped.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let daemon = Daemon::start(&folder, &format!("http = '{address}'\nstatus = 'off'"));
    daemon.wait_for_state("READY=1");
    configure(&folder, &format!("http = '0.0.0.0:{}'\nstatus = 'off'", address.port()));
    daemon.reload();
    daemon
        .wait_for_line(&format!("; this bridge itself uses {address}: use a different port, or restart it"));
    assert!(health(&address.to_string()).starts_with("HTTP/1.0 200 "));
}

#[test]
fn a_reload_changes_the_tokens_of_the_same_address() {
    let folder = tempfile::tempdir().unwrap();
    let get = |address: &str, token: &str| {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        answer.get("HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3)).unwrap_or_default().to_owned()
    };
    let token = folder.path().join("token");
    std::fs::write(&token, "first").unwrap();
    let tokens = format!("{EVERYTHING}\nhttp_token = [{{ name = 'admin', file = 'token' }}]");
    let daemon = Daemon::start(&folder, EVERYTHING);
    let address = daemon.wait_for_line("INFO page, metrics and health at http://");
    daemon.wait_for_state("READY=1");
    assert_eq!(get(&address, "none"), "200");

    // The key is new.
    configure(&folder, &tokens);
    daemon.reload();
    assert_eq!(daemon.wait_for_line("INFO page, metrics and health at http://"), address);
    assert_eq!((get(&address, "none"), get(&address, "first")), ("401".into(), "200".into()));

    // The file has changed.
    std::fs::write(&token, "second").unwrap();
    daemon.reload();
    assert_eq!((get(&address, "first"), get(&address, "second")), ("401".into(), "200".into()));

    // The file is invalid.
    std::fs::write(&token, "").unwrap();
    daemon.reload();
    daemon.wait_for_line("bridge.http_token: token admin: ");
    assert_eq!(get(&address, "second"), "200");
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, &format!("{EVERYTHING}\ndrain = '1h'"));
    let address = daemon.wait_for_line("metrics and health at http://");
    daemon.wait_for_state("READY=1");
    daemon.signal("INT");
    daemon.wait_for_state("STOPPING=1");
    assert!(health(&address).starts_with("HTTP/1.0 200 "));
    daemon.signal("TERM");
    daemon.wait_for_line("shutdown aborted by a second signal");
    assert_eq!(daemon.end().0, Some(0));
    assert_eq!(status(&folder, "s.sock"), None);
}

#[test]
fn a_failed_start_reports_all_errors() {
    let folder = tempfile::tempdir().unwrap();
    let first = Daemon::start(&folder, EVERYTHING);
    let address = first.wait_for_line("metrics and health at http://");
    first.wait_for_state("READY=1");
    let twice = format!("http = '{address}'\nstatus = 's.sock'");
    for (text, code, mistakes) in [
        ("metric = 1\nlog = 'loud'", 1, &["config:2: bridge.metric: ", "config:3: bridge.log: "][..]),
        ("http = 'off'\nstatus = 'off'\ndrain = '0s'", 1, &["config:7: link.agents.listen: not free"][..]),
        (&twice, 3, &["config:2: bridge.http: cannot serve", "config:3: bridge.status: another bridge"][..]),
    ] {
        let (ended, lines) = Daemon::start(&folder, text).end();
        assert_eq!(ended, Some(code), "{lines:?}");
        for mistake in mistakes {
            let is = |line: &&String| line.contains(mistake);
            assert_eq!(lines.iter().filter(is).count(), 1, "{mistake}: {lines:?}");
        }
    }
    assert!(health(&address).starts_with("HTTP/1.0 200 "));
    assert_eq!(status(&folder, "s.sock"), Some(snapshot()));
}

#[test]
fn the_log_is_json_if_configured() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, "http = 'off'\nstatus = 'off'\nlog = 'json'");
    daemon.wait_for_state("READY=1");
    daemon.signal("TERM");
    let (_, stderr) = daemon.end();
    let lines: Vec<serde_json::Value> =
        stderr.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["level"], "WARN", "{stderr:?}");
    assert!(lines[0]["message"].as_str().unwrap().contains("faults are injected"), "{stderr:?}");
}
