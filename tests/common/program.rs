//! Runs the compiled program as a child process.

#![allow(dead_code, reason = "each test binary uses a part of this module")]
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::Value as Json;
use zeek_bridge::net::tls::{EphemeralAuthority, PemSource};

#[path = "child.rs"]
pub mod child;

use child::{LIMIT, Running, within};

/// A running program.
pub struct Program {
    child: Running,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// The lines of stderr that were read so far.
    stderr_lines: Vec<String>,
}

/// The exit code of a program, its stderr, and the lines of its stdout that were not read before.
#[derive(Debug)]
pub struct End {
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    /// All of stderr.
    pub stderr: String,
}

/// Returns a command that runs the program with these arguments. Removes environment variables that change its output.
pub fn command(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    command_of(env!("CARGO_BIN_EXE_zeek-bridge"), args)
}

/// Like [`command`], for any program.
pub fn command_of(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_remove("RUST_LOG").env("NO_COLOR", "1").env("XDG_CONFIG_HOME", "/nonexistent");
    let own = std::env::vars_os().map(|(name, _)| name);
    let is_setting =
        |name: &str| ["ZEEK_BRIDGE_", "ZEEK_CLUSTER_"].iter().any(|prefix| name.starts_with(prefix));
    own.filter(|name| is_setting(&name.to_string_lossy())).for_each(|name| {
        command.env_remove(name);
    });
    // Python's WebSocket packages would use a proxy even for loopback addresses.
    command.env("no_proxy", "*").env("NO_PROXY", "*");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Program {
    /// Starts the program with arguments that are separated by spaces.
    pub fn start(args: &str) -> Self {
        Self::with(args.split_whitespace())
    }

    pub fn with(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::spawn(command(args))
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = Running::spawn(&mut command);
        let stdin = child.stdin.take();
        let stdout = lines(child.stdout.take());
        let stderr = lines(child.stderr.take());
        Program { child, stdin, stdout, stderr, stderr_lines: Vec::new() }
    }

    /// Runs the program to its end, with `stdin` as its input.
    pub fn run(args: &str, stdin: impl AsRef<[u8]>) -> End {
        let mut program = Self::start(args);
        let (mut pipe, bytes) = (program.stdin.take().unwrap(), stdin.as_ref().to_vec());
        // Write in a thread, because the program may not read all input, or may block on output that is read only
        // below.
        let writer = std::thread::spawn(move || pipe.write_all(&bytes));
        let end = program.end();
        let _ = within("the program to read its stdin or close it", move || writer.join().unwrap());
        end
    }

    /// Writes a line to the program's stdin.
    pub fn give(&mut self, line: &str) {
        let (mut stdin, line) = (self.stdin.take().unwrap(), format!("{line}\n"));
        // Blocks while the pipe is full.
        self.stdin = Some(within("the program to read its stdin", move || {
            stdin.write_all(line.as_bytes()).unwrap();
            stdin
        }));
    }

    /// Returns the next line of stdout, which is JSON.
    pub fn line(&mut self) -> Json {
        let line = self.text();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Returns the next line of stdout.
    pub fn text(&mut self) -> String {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(_) => panic!("no line on stdout; stderr: {:?}", self.rest_of_stderr()),
        }
    }

    /// Returns the next line of stdout, or `None` at its end.
    pub fn text_or_end(&mut self) -> Option<String> {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no line on stdout; stderr: {:?}", self.rest_of_stderr())
            }
        }
    }

    /// Waits for a line on stderr that contains this text, and returns it.
    pub fn says(&mut self, words: &str) -> String {
        loop {
            let Ok(line) = self.stderr.recv_timeout(LIMIT) else {
                panic!("no line on stderr contains {words:?}; lines: {:?}", self.stderr_lines);
            };
            self.stderr_lines.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits until the program listens, and returns the address.
    pub fn address(&mut self) -> String {
        let line = self.says("listening on ");
        line.strip_prefix("listening on ").unwrap().to_owned()
    }

    /// Sends a signal to the program, by its name without "SIG".
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.child.signal(name);
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the program's resident memory in kB. Requires /proc.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.child.end();
    }

    /// Closes stdin and waits for the end of the program.
    pub fn end(mut self) -> End {
        self.stdin = None;
        self.end_by_itself()
    }

    /// Waits for the end of the program without closing stdin.
    pub fn end_by_itself(mut self) -> End {
        // Stdout is closed when the program ends.
        let deadline = Instant::now() + LIMIT;
        let mut stdout = Vec::new();
        while let Ok(line) = self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            stdout.push(line);
        }
        assert!(
            Instant::now() < deadline,
            "stdout is not closed after {LIMIT:?}: {stdout:?}, stderr: {:?}",
            { self.stderr.try_iter().collect::<Vec<_>>() }
        );
        let stderr = self.rest_of_stderr().join("\n");
        End { code: self.child.end().code(), stdout, stderr }
    }

    fn rest_of_stderr(&mut self) -> Vec<String> {
        let deadline = Instant::now() + LIMIT;
        while let Ok(line) = self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.stderr_lines.push(line);
        }
        self.stderr_lines.clone()
    }
}

impl End {
    /// Returns the lines of stdout, each a JSON document.
    pub fn json(&self) -> Vec<Json> {
        let parse = |line: &String| {
            zeek_bridge::data::parse_json(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.stdout.iter().map(parse).collect()
    }

    /// Asserts the exit code, an empty stdout, and that stderr contains all of these texts.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        self.has_said(words);
    }

    #[track_caller]
    pub fn has_said(&self, words: &[&str]) {
        for words in words {
            assert!(self.stderr.contains(words), "{words:?} is not in: {}", self.stderr);
        }
    }
}

fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// A folder with a cafile, certificate and keyfile. The folder is deleted when this value is dropped.
pub struct Files {
    pub folder: tempfile::TempDir,
    /// The command-line options for the three files.
    pub options: String,
}

impl Files {
    pub fn issue(authority: &EphemeralAuthority, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ["cafile", "certificate", "keyfile"]
            .map(|option| format!("--{option} {} ", folder.path().join(option).display()))
            .concat();
        let files = Files { folder, options };
        files.renew(authority, name);
        files
    }

    /// Replaces the files by newly issued ones.
    pub fn renew(&self, authority: &EphemeralAuthority, name: &str) {
        let credentials = authority.credentials(name).unwrap();
        let parts = [
            ("cafile", credentials.cafile.as_ref().unwrap()),
            ("certificate", credentials.certificate.as_ref().unwrap()),
            ("keyfile", credentials.keyfile.as_ref().unwrap()),
        ];
        for (option, source) in parts {
            let PemSource::Memory(pem) = source else { panic!("not in memory") };
            self.write(option, pem);
        }
    }

    pub fn write(&self, option: &str, content: &[u8]) {
        write_secret(&self.folder.path().join(option), content);
    }
}

/// Writes a file that only its owner can read. Otherwise, the program warns about the file.
pub fn write_secret(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
