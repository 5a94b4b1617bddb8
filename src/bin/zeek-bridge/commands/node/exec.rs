//! Answers of a program that is run for each dispatch.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytesize::ByteSize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use zeek_bridge::management::{Dispatch, JsonText};

use super::throttle::Throttle;
use crate::args::tls;
use crate::environment;
use crate::output::{Failure, Object};

/// How much of the end of stderr is kept.
const STDERR: usize = 4096;

/// How long a program's pipes are read when it has ended: what it left running may hold them for ever.
const PIPES: Duration = Duration::from_millis(200);

/// How many characters of what a peer sent are logged.
const SHOWN: usize = 100;

/// A program, and how it is run.
pub(super) struct Exec {
    node: String,
    command: PathBuf,
    args: Vec<OsString>,
    limit: ByteSize,
    jobs: Semaphore,
    most_jobs: u16,
    warnings: Throttle,
}

/// Why there is no answer.
struct Fault {
    text: String,
    /// The program itself says so, as it may.
    ordinary: bool,
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Fault { text, ordinary: false }
    }
}

impl Exec {
    /// Finds the program, so that it is missed now and not at the first dispatch.
    pub(super) fn new(
        node: &str,
        command: &Path,
        args: Vec<OsString>,
        jobs: u16,
        limit: ByteSize,
    ) -> Result<Self, Failure> {
        let found = find(command)
            .map_err(|error| Failure::failed(format!("--exec: cannot run {}: {error}", command.display())))?;
        let node = node.to_owned();
        Ok(Exec {
            node,
            command: found,
            args,
            limit,
            jobs: Semaphore::new(jobs.into()),
            most_jobs: jobs,
            warnings: Throttle::default(),
        })
    }

    pub(super) async fn dispatch(
        &self,
        dispatch: &Dispatch,
        until: Instant,
    ) -> Result<Option<JsonText>, String> {
        let Ok(permit) = timeout_at(until, self.jobs.acquire()).await else {
            return Err(format!("the node is busy: {} of its program are running", self.most_jobs));
        };
        let answer = self.run(dispatch, until).await;
        drop(permit);
        answer.map_err(|fault| {
            self.tell(dispatch, &fault);
            fault.text
        })
    }

    /// Logs why there is no answer. Peers may ask for what fails as often as they like.
    fn tell(&self, dispatch: &Dispatch, fault: &Fault) {
        let [reqid, action] = [&dispatch.reqid, &dispatch.action].map(|text| shown(text));
        let text = &fault.text;
        if fault.ordinary {
            tracing::info!(reqid, action, "the program failed: {text}");
            return;
        }
        match self.warnings.pass() {
            Some(None) => tracing::warn!(reqid, action, "the program failed: {text}"),
            Some(Some(unsaid)) => {
                tracing::warn!(reqid, action, "the program failed: {text}; and {unsaid} times before it");
            }
            None => tracing::debug!(reqid, action, "the program failed: {text}"),
        }
    }

    async fn run(&self, dispatch: &Dispatch, until: Instant) -> Result<Option<JsonText>, Fault> {
        let spawned = self.command(dispatch).spawn();
        let mut running =
            Running(spawned.map_err(|error| format!("the node cannot run its program: {error}"))?);
        let request = super::stdio::request(Object::new(), &self.node, dispatch).into_line();
        match timeout_at(until, running.talk(&request, self.limit)).await {
            Err(_) => Err("the node's program took too long".to_owned().into()),
            Ok(Err(error)) => Err(format!("the node's program: {error}").into()),
            Ok(Ok((status, stdout, stderr))) if status.success() => {
                tracing::debug!(stderr = %String::from_utf8_lossy(&stderr), "the program has ended");
                data(stdout).map_err(Fault::from)
            }
            Ok(Ok((status, _, stderr))) => Err(failure(status, &stderr)),
        }
    }

    fn command(&self, dispatch: &Dispatch) -> Command {
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .arg(&dispatch.action)
            .args(&dispatch.args)
            .env("ZEEK_BRIDGE_NODE", &self.node)
            .env("ZEEK_BRIDGE_PEER", dispatch.peer.to_string())
            .env("ZEEK_BRIDGE_REQID", &dispatch.reqid)
            .env_remove(tls::PASSPHRASE_VARIABLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // What it starts ends with it, if it has to be ended.
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

/// A program that does not outlive this, nor does what it started.
struct Running(Child);

impl Running {
    async fn talk(&mut self, request: &[u8], limit: ByteSize) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let (stdin, stdout, stderr) = (self.0.stdin.take(), self.0.stdout.take(), self.0.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // It need not read it.
                let _ = stdin.write_all(request).await;
            }
            Ok(())
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let pipes =
                async { tokio::try_join!(all(stdout, limit, &mut out), tail(stderr, &mut err), write) };
            tokio::pin!(pipes);
            tokio::select! {
                biased;
                piped = &mut pipes => {
                    piped?;
                    self.0.wait().await?
                }
                status = self.0.wait() => {
                    // What came until then is what it said.
                    if let Ok(piped) = timeout(PIPES, &mut pipes).await {
                        piped?;
                    }
                    status?
                }
            }
        };
        Ok((status, out, err))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has no id any more if it has ended.
        #[cfg(unix)]
        if let Some(group) =
            self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Takes all that is read, if it is no more than the limit.
async fn all(from: Option<impl AsyncRead + Unpin>, limit: ByteSize, bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some(from) = from {
        let mut from = from.take(limit.as_u64().saturating_add(1));
        while from.read_buf(bytes).await? > 0 {}
    }
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit.as_u64() => Ok(()),
        _ => Err(io::Error::other(format!("it prints more than {limit}"))),
    }
}

/// Takes the end of what is read.
async fn tail(from: Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some(mut from) = from {
        while from.read_buf(bytes).await? > 0 {
            bytes.drain(..bytes.len().saturating_sub(STDERR));
        }
    }
    Ok(())
}

fn data(stdout: Vec<u8>) -> Result<Option<JsonText>, String> {
    let text = String::from_utf8(stdout).map_err(|_| "the node's program printed what is not UTF-8")?;
    match text.trim() {
        "" => Ok(None),
        text => match JsonText::new(text) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(format!("the node's program printed what is not JSON: {error}")),
        },
    }
}

fn failure(status: ExitStatus, stderr: &[u8]) -> Fault {
    let stderr = String::from_utf8_lossy(stderr);
    match stderr.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => Fault { text: line.to_owned(), ordinary: status.code().is_some() },
        None => format!("the node's program failed: {status}").into(),
    }
}

/// The beginning of a text that may be long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The file of a program: what a path with a slash leads to, or what a name does in PATH.
fn find(command: &Path) -> io::Result<PathBuf> {
    let is_path = command.components().nth(1).is_some() || command.is_absolute();
    // As `.` and what ends in a slash: a folder.
    if is_path || command.file_name().is_none() || command.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return executable(command.to_owned());
    }
    let path = environment::set("PATH");
    let folders = path.iter().flat_map(std::env::split_paths);
    let mut found = folders.filter_map(|folder| executable(folder.join(command)).ok());
    found.next().ok_or_else(|| {
        io::Error::other("there is none of that name in PATH; give its path, such as ./node.sh")
    })
}

fn executable(file: PathBuf) -> io::Result<PathBuf> {
    let metadata = file.metadata()?;
    #[cfg(unix)]
    let may_run = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may_run = true;
    match (metadata.is_file(), may_run) {
        (true, true) => std::path::absolute(file),
        (true, false) => Err(io::Error::other("it is not executable; chmod +x it, or name its interpreter")),
        (false, _) => Err(io::Error::other("it is not a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_json_or_nothing() {
        assert_eq!(data(b" \n".to_vec()), Ok(None));
        assert_eq!(data(b"{\"a\": 1.50}\n".to_vec()).unwrap().unwrap().as_str(), "{\"a\": 1.50}");
        assert!(data(b"\xff".to_vec()).unwrap_err().contains("UTF-8"));
        assert!(data(b"1 2".to_vec()).unwrap_err().contains("not JSON"));
    }

    #[tokio::test]
    async fn of_a_long_stderr_the_end_is_kept() {
        let long = [b"x".repeat(100_000), b"\nlast\n".to_vec()].concat();
        let mut kept = Vec::new();
        tail(Some(&*long), &mut kept).await.unwrap();
        assert_eq!((kept.len(), kept.ends_with(b"\nlast\n")), (STDERR, true));
    }

    #[tokio::test]
    async fn as_much_as_the_limit_is_taken_and_no_more() {
        let mut bytes = Vec::new();
        all(Some(&b"12345"[..]), ByteSize(5), &mut bytes).await.unwrap();
        assert_eq!(bytes, b"12345");
        let error = all(Some(&b"123456"[..]), ByteSize(5), &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("more than 5 B"));
    }

    #[test]
    fn of_a_long_action_the_beginning_is_shown() {
        assert_eq!(shown("get_id_value"), "get_id_value");
        assert_eq!(shown(&"\u{e9}".repeat(100_000)), format!("{}...", "\u{e9}".repeat(100)));
    }

    #[test]
    fn a_program_is_found_by_name_or_path() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert!(find(Path::new("/bin/sh")).is_ok());
        for (program, words) in [
            ("no-such-program", "PATH"),
            ("/no/such", "No such"),
            ("/", "not a file"),
            (".", "not a file"),
            ("..", "not a file"),
            ("src/", "not a file"),
            ("./Cargo.toml", "chmod"),
        ] {
            let error = find(Path::new(program)).unwrap_err().to_string();
            assert!(error.contains(words), "{program}: {error}");
        }
    }
}
