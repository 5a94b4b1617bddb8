//! The daemon around a bridge that is none, in a process of its own: with its signals, its systemd and its doors.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;
use zeek_bridge::bridge::config::LogFormat;
use zeek_bridge::bridge::{Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RuleSnapshot, Snapshot};

use super::*;

/// A bridge in which every number differs.
pub(crate) fn snapshot() -> Snapshot {
    let peer = |id: &str, identity: Option<&str>, queued, queued_bytes| PeerSnapshot {
        id: id.into(),
        address: format!("127.0.0.1:4000{}", &id[3..]),
        identity: identity.map(Into::into),
        filter: vec!["zeek/management/node".into()],
        queued,
        queued_bytes,
        dropped: 0,
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
        overflows: 1,
        ..LinkSnapshot::default()
    };
    let nodes = LinkSnapshot {
        name: "nodes".into(),
        id: "own-2".into(),
        connecting: vec!["192.0.2.1:2150".into(), "192.0.2.2:2150".into()],
        tls: "mutual".into(),
        failures: [("connect".into(), 4)].into(),
        ..LinkSnapshot::default()
    };
    Snapshot {
        uptime: 3725,
        links: vec![agents, nodes],
        rules: vec![RuleSnapshot { name: "hellos".into(), passed: 11, invalid: 2 }],
        nodes: vec![NodeSnapshot {
            name: "worker\u{1b}[2J-01".into(),
            link: "agents".into(),
            peer: "id-1".into(),
        }],
        refused: [("no-rule".into(), 7)].into(),
        in_flight: 6,
        answered_for: 8,
        latency: Latency { bounds: vec![0.001, 0.01], counts: vec![3, 2, 1], sum: 0.5 },
    }
}

/// Draining that takes as long never ends.
const STUCK: Duration = Duration::from_secs(86_400);

/// A bridge without links. It takes up no configuration without time to drain.
struct Fake(Duration);

impl Running for Fake {
    fn read(path: &Path) -> Result<(BridgeConfig, Vec<String>), Vec<String>> {
        let text = std::fs::read_to_string(path).map_err(|error| vec![error.to_string()])?;
        let get = |key: &str| {
            let value = |line: &str| {
                Some(line.strip_prefix(key)?.strip_prefix(" = '")?.strip_suffix('\'')?.to_owned())
            };
            text.lines().find_map(value)
        };
        if let Some(mistake) = get("mistake") {
            return Err(vec![mistake, "and another one".into()]);
        }
        let operation = Operation {
            log: if get("log").is_some() { LogFormat::Json } else { LogFormat::Text },
            metrics: get("metrics").map(|address| address.parse().unwrap()),
            status_socket: get("status").map(PathBuf::from),
            drain: get("drain")
                .map_or(Duration::from_secs(1), |drain| humantime::parse_duration(&drain).unwrap()),
            answer_in_flight: true,
        };
        let config = BridgeConfig { operation, links: Vec::new(), rules: Vec::new() };
        Ok((config, get("warning").into_iter().collect()))
    }

    async fn start(config: BridgeConfig) -> Result<Self, Vec<String>> {
        let fake = Fake(config.operation.drain);
        fake.reload(config).await.map(|_| fake)
    }

    async fn reload(&self, config: BridgeConfig) -> Result<Vec<String>, Vec<String>> {
        if config.operation.drain.is_zero() {
            return Err(vec!["not with this".into()]);
        }
        Ok(vec!["link agents: as before".into()])
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

/// How long a test waits for what does not come.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the process finds its configuration.
const CONFIG: &str = "ZEEK_BRIDGE_TEST_CONFIG";

#[test]
#[ignore = "the process that other tests start"]
fn process() {
    if let Some(path) = std::env::var_os(CONFIG) {
        let result = start::<Fake>(path.into(), 0);
        std::process::exit(match result {
            Ok(()) => 0,
            Err(Failure::Told(Exit::Failed)) => 1,
            Err(Failure::Told(Exit::Unconnected)) => 3,
            Err(other) => panic!("{other:?}"),
        });
    }
}

/// The daemon, its folder, and what it says.
struct Daemon {
    child: Child,
    stderr: Receiver<String>,
    systemd: UnixDatagram,
}

/// In the file's text, this is the folder.
fn configure(folder: &TempDir, text: &str) {
    let text = text.replace("FOLDER", folder.path().to_str().unwrap());
    std::fs::write(folder.path().join("config"), text).unwrap();
}

impl Daemon {
    fn start(folder: &TempDir, text: &str) -> Self {
        configure(folder, text);
        let path = folder.path().join(format!("notify-{}", fastrand::u64(..)));
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_read_timeout(Some(LIMIT)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "run::tests::process", "--ignored", "--nocapture"])
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

    /// Waits until it says something with these words, and gives the rest of the line.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("not said: {words}"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
    }

    /// Waits until it tells systemd this.
    fn tells(&self, state: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let length = self.systemd.recv(&mut buffer).unwrap_or_else(|_| panic!("not told: {state}"));
            let told = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if told.lines().any(|line| line == state) {
                return told;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> (Option<i32>, Vec<String>) {
        let said = self.stderr.iter().collect();
        (self.child.wait().unwrap().code(), said)
    }
}

/// A test that failed leaves nothing running.
impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is answered there to `GET /healthz`; nothing if nobody is there.
fn health(address: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
    }
    answer
}

fn ask(folder: &TempDir, name: &str) -> Option<Snapshot> {
    let stream = UnixStream::connect(folder.path().join(name)).ok()?;
    Some(serde_json::from_reader(stream).unwrap())
}

const EVERYTHING: &str = "metrics = '127.0.0.1:0'\nstatus = 'FOLDER/s.sock'\nwarning = 'careful'";

#[test]
fn systemd_hears_of_its_whole_life() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, EVERYTHING);
    assert!(daemon.tells("READY=1").contains("STATUS=1 of 2 links ready, 2 peers\n"));
    daemon.says("careful");
    daemon.tells("WATCHDOG=1");
    daemon.tells("WATCHDOG=1");
    daemon.signal("HUP");
    let told = daemon.tells("RELOADING=1");
    assert!(told.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told}");
    daemon.tells("READY=1");
    daemon.tells("WATCHDOG=1");
    daemon.signal("TERM");
    let told = daemon.tells("STOPPING=1");
    assert!(told.contains("EXTEND_TIMEOUT_USEC=11000000\n"), "{told}");
    let (code, said) = daemon.end();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.last().unwrap().contains("ended"), "{said:?}");
    assert!(!folder.path().join("s.sock").exists());
}

#[test]
fn its_doors_follow_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, EVERYTHING);
    let first = daemon.says("metrics and health at http://");
    daemon.says("running, with ");
    assert!(health(&first).starts_with("HTTP/1.0 200 "));
    assert_eq!(ask(&folder, "s.sock"), Some(snapshot()));

    // As they are.
    configure(&folder, EVERYTHING);
    daemon.signal("HUP");
    daemon.says("SIGHUP: link agents: as before");
    daemon.says("SIGHUP: the configuration is taken up");
    assert!(health(&first).starts_with("HTTP/1.0 200 "));

    // Elsewhere.
    configure(&folder, "metrics = '[::1]:0'\nstatus = 'FOLDER/other.sock'\nlog = 'json'");
    daemon.signal("HUP");
    daemon.says("only with the next start");
    let second = daemon.says("metrics and health at http://");
    daemon.says("status socket at ");
    assert!(health(&second).starts_with("HTTP/1.0 200 "));
    assert_eq!(ask(&folder, "other.sock"), Some(snapshot()));
    assert_eq!(ask(&folder, "s.sock"), None);

    // Closed.
    configure(&folder, "log = 'json'");
    daemon.tells("READY=1");
    daemon.signal("HUP");
    daemon.says("SIGHUP: the configuration is taken up");
    daemon.signal("TERM");
    let (code, said) = daemon.end();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(health(&second).is_empty());
}

#[test]
fn what_cannot_be_taken_up_changes_nothing_and_says_all_of_why() {
    let folder = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let daemon = Daemon::start(&folder, EVERYTHING);
    let address = daemon.says("metrics and health at http://");
    daemon.tells("READY=1");
    let unbound = format!("metrics = '{taken}'\nstatus = 'FOLDER/file'");
    for (text, mistakes) in [
        (
            "mistake = 'no link has this name'",
            &["SIGHUP: no link has this name", "SIGHUP: and another one"][..],
        ),
        (&unbound, &["SIGHUP: cannot serve metrics at", "file is there and is no socket"][..]),
        ("drain = '0s'", &["SIGHUP: not with this"][..]),
    ] {
        configure(&folder, text);
        daemon.signal("HUP");
        daemon.tells("RELOADING=1");
        daemon.tells("READY=1");
        mistakes.iter().for_each(|mistake| drop(daemon.says(mistake)));
        daemon.says("SIGHUP: the configuration was not taken up; everything goes on as before");
        assert!(health(&address).starts_with("HTTP/1.0 200 "));
        assert_eq!(ask(&folder, "s.sock"), Some(snapshot()));
    }
}

#[test]
fn a_second_signal_cuts_the_end_short() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, &format!("{EVERYTHING}\ndrain = '1day'"));
    let address = daemon.says("metrics and health at http://");
    daemon.tells("READY=1");
    daemon.signal("INT");
    daemon.tells("STOPPING=1");
    assert!(health(&address).starts_with("HTTP/1.0 200 "));
    daemon.signal("TERM");
    daemon.says("cut short by a second signal");
    assert_eq!(daemon.end().0, Some(0));
    assert_eq!(ask(&folder, "s.sock"), None);
}

#[test]
fn what_cannot_start_says_all_of_why() {
    let folder = tempfile::tempdir().unwrap();
    let first = Daemon::start(&folder, EVERYTHING);
    let address = first.says("metrics and health at http://");
    first.tells("READY=1");
    let twice = format!("status = 'FOLDER/s.sock'\nmetrics = '{address}'");
    for (text, code, words) in [
        ("mistake = 'no link has this name'", 1, ["error: no link has this name", "error: and another one"]),
        ("drain = '0s'", 1, ["error: not with this"; 2]),
        (&twice, 3, ["error: cannot serve metrics at ", "error: another bridge is running with this"]),
    ] {
        let (ended, said) = Daemon::start(&folder, text).end();
        assert_eq!(ended, Some(code), "{said:?}");
        for words in words {
            assert!(said.iter().any(|line| line.starts_with(words)), "{words}: {said:?}");
        }
    }
    assert!(health(&address).starts_with("HTTP/1.0 200 "));
    assert_eq!(ask(&folder, "s.sock"), Some(snapshot()));
}

#[test]
fn the_log_is_json_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder, "log = 'json'\nwarning = 'careful'");
    daemon.tells("READY=1");
    daemon.signal("TERM");
    let (_, said) = daemon.end();
    let lines: Vec<serde_json::Value> = said.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"careful".into()), "{said:?}");
}
