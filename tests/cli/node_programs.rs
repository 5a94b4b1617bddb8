//! `node --exec` and `node --stdio`: nodes written in other languages.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::program::child::{skip, within};
use crate::program::{Program, command, command_of};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value as Json, json};

/// A running node and its address.
struct Answering {
    node: Program,
    address: String,
}

impl Answering {
    fn new(mut node: Program) -> Self {
        let address = node.address();
        Answering { node, address }
    }

    /// Starts a node with these options. Its program is a shell that runs `script`.
    fn shell(options: &str, script: &str) -> Self {
        let node = "node --name worker-01 --tls off --listen 127.0.0.1:0 --exec sh";
        let args = node.split_whitespace().chain(options.split_whitespace());
        let mut command = command(args.chain(["--", "-c", script]));
        command.env("ZEEK_BRIDGE_PASSPHRASE", "secret");
        Self::new(Program::spawn(command))
    }

    /// Sends a request. Returns the data of the response, or the text of its failure.
    fn ask(&self, request: &[&str]) -> Result<Json, String> {
        let mut program = self.asking(request);
        answer(&program.line())
    }

    /// Starts a program that sends a request and prints the response.
    fn asking(&self, request: &[&str]) -> Program {
        let args = ["dispatch", "--tls", "off", "--connect", &self.address, "--"];
        Program::with(args.iter().chain(request))
    }
}

fn answer(line: &Json) -> Result<Json, String> {
    match line["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(line["data"].clone()),
    }
}

/// Waits until a named pipe is opened for reading, and opens it for writing.
fn writer(fifo: &Path) -> File {
    let fifo = fifo.to_owned();
    within("a reader", move || File::options().write(true).open(fifo).unwrap())
}

fn failed(text: &str) -> Result<Json, String> {
    Err(text.into())
}

#[test]
fn a_node_in_shell_answers() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/node.sh");
    let args = ["node", "--name", "worker-01", "--tls", "off", "--listen", "127.0.0.1:0", "--exec", script];
    let node = Answering::new(Program::with(args));
    assert_eq!(node.ask(&["get_id_value", "Cluster::node"]), Ok(json!("worker-01")));
    assert_eq!(node.ask(&["get_id_value", "x; reboot"]), failed("unknown id"));
    assert_eq!(node.ask(&["reboot"]), failed("dispatch reboot unknown"));
    let uname = Command::new("uname").arg("-s").output().unwrap().stdout;
    assert_eq!(node.ask(&["kernel"]).unwrap()["name"], String::from_utf8(uname).unwrap().trim());
}

#[test]
fn a_node_in_python_answers() {
    let python = ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"];
    if !Command::new("python3").args(python).status().is_ok_and(|status| status.success()) {
        skip("python3 3.10 or later is not installed");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/node.py");
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_zeek-bridge")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder.to_owned()].into_iter().chain(std::env::split_paths(&path)));
    let mut command =
        command_of("python3", [script, "--name", "worker-01", "--tls", "off", "--listen", "127.0.0.1:0"]);
    command.env("PATH", path.unwrap());
    let node = Answering::new(Program::spawn(command));
    assert_eq!(node.ask(&["get_id_value", "Cluster::node"]), Ok(json!("worker-01")));
    assert_eq!(node.ask(&["get_id_value", "x"]), failed("unknown id"));
    assert_eq!(node.ask(&["reboot"]), failed("dispatch reboot unknown"));
    assert_eq!(node.ask(&["requests"]), Ok(json!({"seen": 4})));
}

#[test]
fn a_program_receives_the_request_and_its_output_is_the_response() {
    let node = Answering::shell(
        "",
        r#"case "$1" in
        -x) cat ;;
        none) ;;
        number) echo 1.50 ;;
        silent) exit 3 ;;
        killed) kill -9 $$ ;;
        loud) yes | head -c 100000 >&2; echo >&2; echo 'the last line ' >&2; echo >&2; exit 1 ;;
        text) echo hello ;;
        binary) printf '\377' ;;
        secret) printf '"%s"' "$ZEEK_BRIDGE_PASSPHRASE" ;;
        esac"#,
    );
    // The argument after the script is $0 of the shell.
    let ask = |action: &str| node.ask(&["-", action]);
    let mut request = ask("-x").unwrap();
    let ids = ["peer", "reqid"].map(|id| request.as_object_mut().unwrap().remove(id).unwrap());
    assert!(ids.iter().all(|id| id.as_str().unwrap().len() == 36), "{ids:?}");
    assert_eq!(request, json!({"node": "worker-01", "action": "-", "args": ["-x"]}));
    assert_eq!(ask("none"), Ok(Json::Null));
    assert_eq!(ask("number"), Ok(json!(1.5)));
    assert_eq!(ask("secret"), Ok(json!("")));
    assert_eq!(ask("silent"), failed("the node's program failed: exit status: 3"));
    assert_eq!(ask("killed"), failed("the node's program failed: signal: 9 (SIGKILL)"));
    assert_eq!(ask("loud"), failed("the last line"));
    assert!(ask("text").unwrap_err().starts_with("the node's program printed text that is not JSON: "));
    assert_eq!(ask("binary"), failed("the node's program printed text that is not UTF-8"));
}

#[test]
fn a_program_that_does_not_end_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    // The pipe is open for writing until the shell and its child have ended.
    let script = format!("exec 3>{}; cat <&3 3>&3 & wait", fifo.display());
    let script = script.replace("cat <&3 3>&3", "tail -f /dev/null");
    let node = Answering::shell("--answer-timeout 0.2", &script);
    let asking = node.asking(&["x"]);
    let read = within("the program's end", move || std::fs::read(&fifo).unwrap());
    assert!(read.is_empty());
    assert_eq!(answer(&asking.end().json()[0]), failed("the node's program took too long"));
}

#[test]
fn a_process_left_running_does_not_delay_the_response() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    // cat keeps the stdout and stderr of the program open until the pipe is opened.
    let script = format!("cat {} & echo 1", fifo.display());
    let node = Answering::shell("--answer-timeout 5", &script);
    assert_eq!(node.ask(&["x"]), Ok(json!(1)));
    drop(writer(&fifo));
}

#[test]
fn failed_programs_are_logged_at_most_once_a_second_and_errors_on_stderr_are_not_logged() {
    let node = Answering::shell("", r#"[ "$1" = no ] || exit 3; echo 'it is so' >&2; exit 1"#);
    let start = std::time::Instant::now();
    let long = "x".repeat(50_000);
    for _ in 0..5 {
        assert_eq!(node.ask(&[&long]), failed("the node's program failed: exit status: 3"));
    }
    let most = usize::try_from(start.elapsed().as_secs()).unwrap().saturating_add(1);
    assert_eq!(node.ask(&["-", "no"]), failed("it is so"));
    node.node.signal("TERM");
    let end = node.node.end();
    let lines: Vec<&str> = end.stderr.lines().filter(|line| line.contains("the program failed")).collect();
    assert!((1..=most).contains(&lines.len()), "{most} {end:?}");
    assert!(lines.iter().all(|line| line.len() < 500), "{lines:?}");
    assert!(!end.stderr.contains("it is so"), "{end:?}");
}

#[test]
fn too_much_output_is_a_failure() {
    let node = Answering::shell("--answer-limit 64KiB", r#"if [ "$1" = much ]; then yes; else echo 1; fi"#);
    assert_eq!(node.ask(&["-", "much"]), failed("the node's program: it prints more than 64.0 KiB"));
    assert_eq!(node.ask(&["-", "little"]), Ok(json!(1)));
}

#[test]
fn requests_wait_if_the_limit_of_running_programs_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    let script = format!(r#"case "$1" in wait) cat {} ;; *) echo 2 ;; esac"#, fifo.display());
    let node = Answering::shell("--jobs 1 --answer-timeout 5", &script);
    let first = node.asking(&["-", "wait"]);
    // This returns when the first program opens the pipe for reading.
    let pipe = writer(&fifo);
    let second = node.asking(&["-", "at once"]);
    drop(pipe);
    assert_eq!(answer(&first.end().json()[0]), Ok(Json::Null));
    assert_eq!(answer(&second.end().json()[0]), Ok(json!(2)));
}

#[test]
fn values_take_precedence_over_the_program() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"x": 1}"#).unwrap();
    let node = Answering::shell(&format!("--values {}", file.path().display()), "echo 2");
    assert_eq!(node.ask(&["get_id_value", "x"]), Ok(json!(1)));
    assert_eq!(node.ask(&["get_id_value", "y"]), Ok(json!(2)));
    assert_eq!(node.ask(&["other"]), Ok(json!(2)));
}

#[test]
fn programs_that_cannot_run_are_reported_at_the_start() {
    for (options, code, message) in [
        ("--exec no-such-program", 1, "no program of this name in PATH"),
        ("--exec ./no-such-program", 1, "No such file"),
        ("--exec ./Cargo.toml", 1, "chmod +x"),
        ("--exec sh --stdio", 2, "cannot be used with"),
        ("--stdio -- x", 2, "cannot be used with"),
        ("-- x", 2, "--exec"),
        ("--jobs 2", 2, "--exec"),
        ("--exec sh --jobs 0", 2, "0 is not in"),
        ("--exec sh --answer-timeout 6", 2, "agents wait for at most 5s"),
        ("--exec sh --answer-limit much", 2, "answer-limit"),
    ] {
        let end = Program::run(&format!("node --name n --tls off --listen 127.0.0.1:0 {options}"), "");
        end.fails(code, &[message]);
    }
}

/// Starts a node with `--stdio`.
fn over_stdio(options: &str) -> Answering {
    let node = format!("node --name worker-01 --tls off --listen 127.0.0.1:0 --stdio {options}");
    Answering::new(Program::start(&node))
}

/// Returns the id and action of the next request.
fn request(node: &mut Program) -> (u64, String) {
    loop {
        let line = node.line();
        if line["type"] == "request" {
            return (line["id"].as_u64().unwrap(), line["action"].as_str().unwrap().to_owned());
        }
        assert_eq!(line["type"], "hello");
    }
}

#[test]
fn a_program_answers_over_stdio_in_any_order() {
    let mut talk = over_stdio("");
    let asked = ["a", "b"].map(|action| talk.asking(&[action]));
    let requests = [request(&mut talk.node), request(&mut talk.node)];
    for (id, action) in requests.iter().rev() {
        talk.node.give(&format!(r#"{{"id": {id}, "data": {{"did": "{action}"}}}}"#));
    }
    let answers = asked.map(|asked| answer(&asked.end().json()[0]));
    assert_eq!(answers, [Ok(json!({"did": "a"})), Ok(json!({"did": "b"}))]);
    for (reply, expected) in [("", Ok(Json::Null)), (r#", "error": "no""#, failed("no"))] {
        let asked = talk.asking(&["c"]);
        let (id, _) = request(&mut talk.node);
        talk.node.give(&format!(r#"{{"id": {id}{reply}}}"#));
        assert_eq!(answer(&asked.end().json()[0]), expected);
    }
    let end = talk.node.end();
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[test]
fn invalid_lines_are_reported_and_skipped() {
    let mut talk = over_stdio("");
    talk.node.give("nonsense");
    assert!(talk.node.says("line 1: ").contains(r#"not {"id": NUMBER"#));
    talk.node.give(r#"{"id": 77}"#);
    talk.node.says("line 2: request 77 is not pending");
    let asked = talk.asking(&["x"]);
    let (id, _) = request(&mut talk.node);
    talk.node.give(&format!(r#"{{"id": {id}, "data": 1}}"#));
    talk.node.give(&format!(r#"{{"id": {id}, "data": 2}}"#));
    talk.node.says(&format!("line 4: request {id} is not pending"));
    assert_eq!(answer(&asked.end().json()[0]), Ok(json!(1)));
    let end = talk.node.end();
    assert_eq!(end.code, Some(1), "{end:?}");
    end.has_said(&["skipped invalid lines: 3"]);
}

#[test]
fn an_expired_request_fails_and_is_reported_to_the_program() {
    let mut talk = over_stdio("--answer-timeout 0.1");
    let asked = talk.asking(&["x"]);
    let (id, _) = request(&mut talk.node);
    assert_eq!(answer(&asked.end().json()[0]), failed("the node's program took too long"));
    let mut next = talk.node.line();
    while next["type"] == "hello" {
        // Hellos are repeated until the first request is received.
        next = talk.node.line();
    }
    assert_eq!(next, json!({"type": "expired", "id": id}));
    talk.node.give(&format!(r#"{{"id": {id}}}"#));
    talk.node.says("has expired, or never existed");
}

#[test]
fn pending_requests_fail_when_the_program_ends() {
    let mut talk = over_stdio("--answer-timeout 5");
    let asked = talk.asking(&["x"]);
    request(&mut talk.node);
    let end = talk.node.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(answer(&asked.end().json()[0]), failed("the node's program has ended"));
}

#[test]
fn the_environment_of_zeek_sets_the_name_and_address() {
    let with = |args: &str, variables: &[(&str, &str)]| {
        let mut command = command(args.split_whitespace());
        command.envs(variables.iter().copied());
        Program::spawn(command)
    };
    let agent = |port: &'static str| [("ZEEK_AGENT_ADDR", "127.0.0.77"), ("ZEEK_AGENT_PORT", port)];
    let mut dispatch = with("dispatch --tls off get_id_value x", &agent("0"));
    let address = dispatch.address();
    assert!(address.starts_with("127.0.0.77:"), "{address}");
    let port = format!("{}/tcp", address.rsplit(':').next().unwrap());
    let zeek = [("ZEEK_AGENT_ADDR", "127.0.0.77"), ("ZEEK_AGENT_PORT", &*port), ("CLUSTER_NODE", "worker-7")];
    let _node = with("node --tls off", &zeek);
    assert_eq!(dispatch.line()["node"], "worker-7");
    // Options override the environment.
    let mut node = with("node --tls off --name other --listen 127.0.0.1:0", &zeek);
    assert!(node.address().starts_with("127.0.0.1:"));
    for (variables, message) in [
        ([("ZEEK_AGENT_PORT", "2151/udp"), ("CLUSTER_NODE", "n")], "ZEEK_AGENT_PORT"),
        ([("ZEEK_AGENT_PORT", "65536"), ("CLUSTER_NODE", "n")], "ZEEK_AGENT_PORT"),
        ([("ZEEK_AGENT_ADDR", "a b"), ("CLUSTER_NODE", "n")], "ZEEK_AGENT_ADDR"),
        ([("ZEEK_AGENT_PORT", ""), ("CLUSTER_NODE", "n")], "--connect"),
        // An empty variable counts as not set.
        ([("ZEEK_AGENT_PORT", "2151/tcp"), ("CLUSTER_NODE", "")], "arguments were not provided:\n  --name"),
        ([("ZEEK_AGENT_PORT", "2151/tcp"), ("CLUSTER_NODE", "a\n")], "CLUSTER_NODE"),
    ] {
        with("node --tls off", &variables).end().fails(2, &[message]);
    }
    let empty = [("ZEEK_AGENT_ADDR", ""), ("ZEEK_AGENT_PORT", "0"), ("CLUSTER_NODE", "")];
    assert!(with("dispatch --tls off x", &empty).address().starts_with("127.0.0.1:"));
    // With an empty PATH, a program is not found by its name, not even in the current directory.
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/node.sh");
    std::fs::copy(script, folder.path().join("node.sh")).unwrap();
    let mut exec = command("node --name n --tls off --listen 127.0.0.1:0 --exec node.sh".split(' '));
    exec.env("PATH", "").current_dir(folder.path());
    Program::spawn(exec).end().fails(1, &["no program of this name in PATH"]);
}
