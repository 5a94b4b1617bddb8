//! A bash process that runs one command after the other.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::program::child::{LIMIT, Running};
use crate::rules;

/// Printed after the output of each command, followed by its exit code.
const MARK: &str = "end of output, exit code ";

pub(crate) struct Session {
    bash: Running,
    stdin: ChildStdin,
    printed: Receiver<String>,
    home: tempfile::TempDir,
    /// Whether a command was started in the background.
    pub(crate) in_background: bool,
    address: String,
}

/// Replaces the addresses of the page with the session's own loopback address, so that sessions do not share ports.
pub(crate) fn with_address(text: &str, address: &str) -> String {
    text.replace("127.0.0.1", address).replace("0.0.0.0", address)
}

/// Returns the Python interpreter that has the packages for WebSocket clients, if there is one.
pub(crate) fn python() -> Option<PathBuf> {
    std::env::var_os("ZEEK_BRIDGE_PYTHON").map(PathBuf::from)
}

impl Session {
    /// Starts a session with its own home directory, filled by `copy_files`, and its own loopback address.
    pub(crate) fn start(copy_files: impl Fn(&Path, &str)) -> Self {
        static SESSIONS: AtomicU16 = AtomicU16::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let number = SESSIONS.fetch_add(1, Ordering::SeqCst);
        let address = format!("127.{}.{high}.{low}", 1 + number % 250);
        let home = tempfile::tempdir().unwrap();
        let (work, runtime) = (home.path().join("zeek-bridge"), home.path().join("run"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&runtime).unwrap();
        copy_files(&work, &address);
        let program = Path::new(env!("CARGO_BIN_EXE_zeek-bridge")).parent().unwrap();
        let python = python().and_then(|python| Some(python.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = [program.to_owned()].into_iter().chain(python);
        let path = std::env::join_paths(own.chain(std::env::split_paths(&path)));
        let (reader, writer) = std::io::pipe().unwrap();
        let mut bash = Command::new("bash");
        bash.args(["--norc", "--noprofile"])
            .current_dir(&work)
            .env("PATH", path.unwrap())
            .env("HOME", home.path());
        bash.env("XDG_RUNTIME_DIR", &runtime).env("NO_COLOR", "1").env("LC_ALL", "C");
        // Python's WebSocket packages would use a proxy even for loopback addresses.
        bash.env("no_proxy", "*").env("NO_PROXY", "*");
        for name in ["RUST_LOG", "CLUSTER_NODE", "ZEEK_AGENT_ADDR", "ZEEK_AGENT_PORT", "BASH_ENV"] {
            bash.env_remove(name);
        }
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in
            own.filter(|name| name == "XDG_CONFIG_HOME" || name.to_string_lossy().starts_with("ZEEK_BRIDGE_"))
        {
            bash.env_remove(name);
        }
        bash.process_group(0).stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = Running::spawn(&mut bash);
        // Drop the command, because it holds the write end of the pipe open.
        drop(bash);
        let (sender, printed) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        Session { bash: child, stdin, printed, home, in_background: false, address }
    }

    /// Replaces the parts of a line that may differ, including the directories of this session.
    pub(crate) fn comparable(&self, line: &str) -> String {
        let home = self.home.path().to_str().unwrap();
        let line = line.replace(&format!("{home}/run/"), "/run/user/1000/").replace(home, "/home/me");
        rules::comparable(&line)
    }

    /// Runs a command, and waits until it has ended. If commands are running in the background, also waits until there
    /// are as many lines as in `shown`. Returns the output and the exit code.
    pub(crate) fn run(&mut self, command: &str, shown: &[String]) -> Result<(Vec<String>, i32), String> {
        self.in_background |= command.ends_with('&');
        let has_wildcard = shown.iter().any(|line| line == "...");
        assert!(
            !(has_wildcard && self.in_background),
            "`...` cannot be used with commands in the background: {command}"
        );
        let command = with_address(command, &self.address);
        writeln!(self.stdin, "{{ {command}\n}} </dev/null; echo '{MARK}'$?").unwrap();
        let (mut lines, mut code) = (Vec::new(), None);
        while code.is_none() || (self.in_background && lines.len() < shown.len()) {
            let Ok(line) = self.printed.recv_timeout(LIMIT) else {
                return Err(format!("expected {shown:#?}, printed {lines:#?}"));
            };
            match line.strip_prefix(MARK) {
                Some(number) => code = Some(number.parse().unwrap()),
                None => lines.push(line),
            }
        }
        Ok((lines, code.unwrap()))
    }

    /// Ends all background commands. Returns the output that was not consumed.
    pub(crate) fn end(mut self) -> Vec<String> {
        writeln!(self.stdin, "echo '{MARK}'; kill $(jobs -p) 2>/dev/null; wait; exit").unwrap();
        let mut lines = Vec::new();
        loop {
            match self.printed.recv_timeout(LIMIT) {
                Ok(line) if line == MARK => break,
                Ok(line) => lines.push(line),
                Err(error) => panic!("the shell has exited: {error}; {lines:?}"),
            }
        }
        // The pipe is closed when all background commands have ended.
        while self.printed.recv_timeout(LIMIT).is_ok() {}
        assert!(self.bash.end().success());
        lines
    }
}

/// Kills the shell and all processes that it has started, so that a failed test leaves no process behind.
impl Drop for Session {
    fn drop(&mut self) {
        if matches!(self.bash.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.bash), Signal::KILL);
        }
    }
}
