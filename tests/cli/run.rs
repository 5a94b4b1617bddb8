//! `run` and `status`, as a user and a service manager use them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{ChildStderr, Stdio};

use crate::program::child::{LIMIT, Running, rest, within};
use crate::program::{Program, command};

const CONFIG: &str = "
[bridge]
http = '127.0.0.1:0'
status = 's.sock'

[link.agents]
faces = 'agents'
listen = '127.0.0.1:0'
tls = 'off'

[link.nodes]
faces = 'nodes'
listen = '127.0.0.1:0'
tls = 'off'
";

fn write(folder: &Path, config: &str) -> String {
    let path = folder.join("bridge.toml");
    std::fs::write(&path, config).unwrap();
    path.display().to_string()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_running_bridge_reports_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), CONFIG);
    let systemd = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    systemd.set_read_timeout(Some(LIMIT)).unwrap();
    let mut run = command(["run", &config]);
    run.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut bridge = Program::spawn(run);
    let line = bridge.says("metrics and health at http://");
    let (_, address) = line.split_once("http://").unwrap();
    bridge.says("running, with ");
    let mut notification = [0; 4096];
    let length = systemd.recv(&mut notification).unwrap();
    assert_eq!(&notification[..length], b"READY=1\nSTATUS=2 of 2 links ready, 0 peers\n");

    let status = Program::run(&format!("status --format json --config {config}"), "").json().remove(0);
    let nodes = status["links"][1]["listening"][0].as_str().unwrap();
    let agents = status["links"][0]["listening"][0].as_str().unwrap();
    let values = folder.path().join("values.json");
    std::fs::write(&values, r#"{"X": 5}"#).unwrap();
    let values = values.display();
    let mut node =
        Program::start(&format!("node -v --name worker-01 --values {values} --connect {nodes} --tls off"));
    node.says("sent hello");
    let end = Program::run(&format!("dispatch --connect {agents} --tls off get_id_value X"), "");
    assert_eq!(end.stdout, [r#"{"node":"worker-01","success":true,"data":5,"error":null}"#], "{end:?}");

    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = get(address, "/metrics");
    for line in [
        "zeek_bridge_peers{link=\"nodes\"} 1\n",
        "zeek_bridge_rule_passed_total{rule=\"requests\"} 1\n",
        "zeek_bridge_rule_passed_total{rule=\"responses\"} 1\n",
        "zeek_bridge_nodes 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let end = Program::run(&format!("status --socket {}", folder.path().join("s.sock").display()), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.stdout.iter().any(|line| line.starts_with("worker-01  nodes ")), "{end:?}");

    let second = Program::run(&format!("run {config}"), "");
    second.fails(3, &["bridge.toml:4: bridge.status: another bridge uses"]);

    bridge.signal("TERM");
    let end = bridge.end_by_itself();
    assert_eq!(end.code, Some(0), "{end:?}");
    let end = Program::run(&format!("status --config {config}"), "");
    end.fails(3, &["no bridge is running there", "zeek-bridge run CONFIG.toml"]);
}

#[test]
fn configuration_errors_are_reported_before_the_bridge_starts() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "[bridge]\nmetric = 'off'\n[link.nodes]\nlisten = '127.0.0.1'\n");
    let end = Program::run(&format!("run {config}"), "");
    end.fails(1, &["bridge.toml:2: bridge.metric: ", "bridge.toml:4: link.nodes.listen: "]);
    let end = Program::run(&format!("status --config {config}"), "");
    end.fails(1, &["bridge.toml:2: ", "error: ", "bridge.toml has errors; ", "--socket"]);
    let config = write(folder.path(), &CONFIG.replace("'s.sock'", "'off'"));
    Program::run(&format!("status --config {config}"), "").fails(2, &["has no status socket"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("faces = 'nodes'\nlisten = '{}'", taken.local_addr().unwrap());
    let config = write(folder.path(), &CONFIG.replace("faces = 'nodes'\nlisten = '127.0.0.1:0'", &listen));
    Program::run(&format!("run {config}"), "").fails(1, &["bridge.toml:13: link.nodes.listen: "]);
    assert!(!folder.path().join("s.sock").exists());
    Program::run("run", "").fails(2, &["CONFIG.toml"]);
}

#[test]
fn the_unit_file_starts_the_program_that_prints_it() {
    let end = Program::run("run --print-unit", "");
    assert_eq!(end.code, Some(0));
    let start = format!("ExecStart={} run /etc/zeek-bridge/bridge.toml", env!("CARGO_BIN_EXE_zeek-bridge"));
    for line in [&*start, "Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "DynamicUser=yes", "[Install]"]
    {
        assert!(end.stdout.iter().any(|printed| printed == line), "{line}: {end:?}");
    }
}

#[test]
fn the_unit_file_starts_the_bridge_with_the_configuration_on_the_command_line() {
    let program = env!("CARGO_BIN_EXE_zeek-bridge");
    for (path, written) in [
        ("/srv/zeek/bridge.toml", "/srv/zeek/bridge.toml"),
        ("/srv/100%/$x/bridge.toml", "/srv/100%%/$$x/bridge.toml"),
        ("/srv/my bridge.toml", "\"/srv/my bridge.toml\""),
        ("/srv/a\"b.toml", "\"/srv/a\\\"b.toml\""),
    ] {
        let end = Program::with(["run", "--print-unit", path]).end();
        assert_eq!(end.code, Some(0), "{end:?}");
        let start = format!("ExecStart={program} run {written}");
        assert!(end.stdout.contains(&start), "{start}: {end:?}");
    }
    let end = Program::run("run --print-unit bridge.toml", "");
    let directory = std::env::current_dir().unwrap();
    let start = format!("ExecStart={program} run {}/bridge.toml", directory.display());
    assert!(end.stdout.contains(&start), "{start}: {end:?}");
}

#[test]
fn the_longest_path_of_a_status_socket_can_be_bound() {
    let folder = tempfile::tempdir().unwrap();
    // The file name is short, so that the path of the directory is as long as possible.
    let room = 92 - folder.path().as_os_str().len() - "//s".len();
    let directory = folder.path().join("d".repeat(room));
    let config = CONFIG.replace("s.sock", &format!("{}/s", "d".repeat(room)));
    assert_eq!(directory.join("s").as_os_str().len(), 92);
    let config = write(folder.path(), &config);
    let mut bridge = Program::start(&format!("run {config}"));
    bridge.says("running, with ");
    assert!(directory.join("s").exists());
    assert_eq!(Program::run(&format!("status --config {config}"), "").code, Some(0));
}

/// A bridge with a verbose log. The test reads the log only until the bridge runs.
struct Unread {
    bridge: Running,
    log: BufReader<ChildStderr>,
    http: String,
    _folder: tempfile::TempDir,
}

impl Unread {
    /// Starts the bridge, and makes it log more than the pipe of its log can hold.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = write(folder.path(), &CONFIG.replace("'off'\n", "'off'\nlimits = { peers = 100 }\n"));
        let mut run = command(["-vvv", "run", &config]);
        run.stderr(Stdio::piped()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut bridge = Running::spawn(&mut run);
        // Read only up to the line that contains the address.
        let mut log = BufReader::with_capacity(1, bridge.stderr.take().unwrap());
        let (log, http) = within("the address", move || {
            let mut line = String::new();
            let mut http = None;
            while !line.contains("running, with ") {
                line.clear();
                log.read_line(&mut line).unwrap();
                if let Some((_, address)) = line.split_once("http://") {
                    http = Some(address.trim().to_owned());
                }
            }
            (log, http.unwrap())
        });
        let status = Program::run(&format!("status --format json --config {config}"), "").json().remove(0);
        let listening = status["links"][0]["listening"][0].as_str().unwrap();
        // Each connection logs several lines, and a pipe holds 64 KiB.
        for _ in 0..2000 {
            let mut peer = TcpStream::connect(listening).unwrap();
            let _ = peer.write_all(b"\0\0\0\x01\xff");
        }
        Unread { bridge, log, http, _folder: folder }
    }
}

#[test]
fn a_bridge_whose_stderr_is_not_read_keeps_running_and_ends() {
    let Unread { mut bridge, log, http, _folder } = Unread::start();
    assert!(get(&http, "/healthz").starts_with("HTTP/1.1 200 "));
    bridge.signal("TERM");
    assert!(within("the end of the bridge", move || bridge.end()).success());
    drop(log);
}

#[test]
fn a_bridge_reports_once_how_many_log_lines_it_dropped() {
    const NOTICE: &str = "stderr is not read fast enough; dropped log lines: ";
    let Unread { mut bridge, mut log, http: _, _folder } = Unread::start();
    let log = within("the notice", move || {
        let mut line = String::new();
        while !line.starts_with(NOTICE) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended without a notice");
        }
        log
    });
    bridge.signal("TERM");
    let rest = String::from_utf8(rest(log)).unwrap();
    assert!(bridge.end().success());
    assert!(rest.contains(" ended") && !rest.contains(NOTICE), "{rest}");
}
