//! Responses from a program that is run for each dispatch.

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

use super::limiter::Limiter;
use super::request::Request;
use crate::args::tls;
use crate::environment;
use crate::output::{Failure, to_line};

/// The number of bytes at the end of stderr that are kept.
const STDERR: usize = 4096;

/// Maximum time for reading the pipes of a program that has ended. Processes that it started may keep them open forever.
const PIPES: Duration = Duration::from_millis(200);

/// The number of characters of text from a peer that are logged.
const LOGGED: usize = 100;

/// Runs the program of `--exec`.
pub(super) struct Exec {
    node: String,
    command: PathBuf,
    args: Vec<OsString>,
    limit: ByteSize,
    jobs: Semaphore,
    max_jobs: u16,
    warnings: Limiter,
}

/// A failed dispatch.
struct Fault {
    text: String,
    /// True if the program reported the failure, which is not an error of the program.
    reported: bool,
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Fault { text, reported: false }
    }
}

impl Exec {
    /// Finds the program, so that a missing one is reported at the start and not at the first dispatch.
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
            max_jobs: jobs,
            warnings: Limiter::default(),
        })
    }

    /// Runs the program for a request, once a slot is free. The error is the text of the failure for the agent.
    pub(super) async fn dispatch(
        &self,
        dispatch: &Dispatch,
        deadline: Instant,
    ) -> Result<Option<JsonText>, String> {
        let Ok(permit) = timeout_at(deadline, self.jobs.acquire()).await else {
            return Err(format!("the node is busy: {} instances of its program are running", self.max_jobs));
        };
        let answer = self.run(dispatch, deadline).await;
        drop(permit);
        answer.map_err(|fault| {
            self.log(dispatch, &fault);
            fault.text
        })
    }

    /// Logs a failure. The rate is limited, because a peer can trigger a failure with each request.
    fn log(&self, dispatch: &Dispatch, fault: &Fault) {
        let [reqid, action] = [&dispatch.reqid, &dispatch.action].map(|text| shortened(text));
        let text = &fault.text;
        if fault.reported {
            tracing::info!(reqid, action, "the program failed: {text}");
            return;
        }
        match self.warnings.allow() {
            Some(0) => tracing::warn!(reqid, action, "the program failed: {text}"),
            Some(suppressed) => tracing::warn!(reqid, action, suppressed, "the program failed: {text}"),
            None => tracing::debug!(reqid, action, "the program failed: {text}"),
        }
    }

    async fn run(&self, dispatch: &Dispatch, deadline: Instant) -> Result<Option<JsonText>, Fault> {
        let spawned = self.command(dispatch).spawn();
        let mut running =
            Running(spawned.map_err(|error| format!("the node cannot run its program: {error}"))?);
        let request = to_line(&Request::new(&self.node, dispatch));
        match timeout_at(deadline, running.talk(&request, self.limit)).await {
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
        // Use a separate process group, so that processes that the program starts are killed with it.
        command.process_group(0);
        command
    }
}

/// A running program. It is killed on drop, with all processes that it started.
struct Running(Child);

impl Running {
    /// Writes the request, and reads stdout and stderr until the program has ended.
    async fn talk(&mut self, request: &[u8], limit: ByteSize) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let (stdin, stdout, stderr) = (self.0.stdin.take(), self.0.stdout.take(), self.0.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // Ignore errors: the program need not read its stdin.
                let _ = stdin.write_all(request).await;
            }
            Ok(())
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let pipes = async {
                tokio::try_join!(read_all(stdout, limit, &mut out), read_tail(stderr, &mut err), write)
            };
            tokio::pin!(pipes);
            tokio::select! {
                biased;
                piped = &mut pipes => {
                    piped?;
                    self.0.wait().await?
                }
                status = self.0.wait() => {
                    // After this time, the bytes read so far count as the complete output.
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
        // `id` returns `None` after the program has ended and was waited for.
        if let Some(group) =
            self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Reads until the end. Fails if the input exceeds the limit.
async fn read_all(
    from: Option<impl AsyncRead + Unpin>,
    limit: ByteSize,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    if let Some(from) = from {
        let mut from = from.take(limit.as_u64().saturating_add(1));
        while from.read_buf(bytes).await? > 0 {}
    }
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit.as_u64() => Ok(()),
        _ => Err(io::Error::other(format!("it prints more than {limit}"))),
    }
}

/// Reads until the end, and keeps only the last bytes.
async fn read_tail(from: Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some(mut from) = from {
        while from.read_buf(bytes).await? > 0 {
            bytes.drain(..bytes.len().saturating_sub(STDERR));
        }
    }
    Ok(())
}

/// Parses the output of a program that succeeded.
fn data(stdout: Vec<u8>) -> Result<Option<JsonText>, String> {
    let text = String::from_utf8(stdout).map_err(|_| "the node's program printed text that is not UTF-8")?;
    match text.trim() {
        "" => Ok(None),
        text => match JsonText::new(text) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(format!("the node's program printed text that is not JSON: {error}")),
        },
    }
}

/// Describes the failure of a program: the last line of its stderr if there is one, otherwise its exit status.
fn failure(status: ExitStatus, stderr: &[u8]) -> Fault {
    let stderr = String::from_utf8_lossy(stderr);
    match stderr.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => Fault { text: line.to_owned(), reported: status.code().is_some() },
        None => format!("the node's program failed: {status}").into(),
    }
}

/// Returns the beginning of a text that may be long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LOGGED) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Returns the file of a program, which is given by a path with a slash or by a name in PATH.
fn find(command: &Path) -> io::Result<PathBuf> {
    let is_path = command.components().nth(1).is_some() || command.is_absolute();
    // `.`, or a path that ends with a slash, is a directory.
    if is_path || command.file_name().is_none() || command.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return executable(command.to_owned());
    }
    let path = environment::var("PATH");
    let folders = path.iter().flat_map(std::env::split_paths);
    let mut found = folders.filter_map(|folder| executable(folder.join(command)).ok());
    found
        .next()
        .ok_or_else(|| io::Error::other("no program of this name in PATH; use a path such as ./node.sh"))
}

fn executable(file: PathBuf) -> io::Result<PathBuf> {
    let metadata = file.metadata()?;
    let may_run = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    match (metadata.is_file(), may_run) {
        (true, true) => std::path::absolute(file),
        (true, false) => {
            Err(io::Error::other("it is not executable; run chmod +x, or use its interpreter as COMMAND"))
        }
        (false, _) => Err(io::Error::other("it is not a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_program_is_json_or_empty() {
        assert_eq!(data(b" \n".to_vec()), Ok(None));
        assert_eq!(data(b"{\"a\": 1.50}\n".to_vec()).unwrap().unwrap().as_str(), "{\"a\": 1.50}");
        assert!(data(b"\xff".to_vec()).unwrap_err().contains("UTF-8"));
        assert!(data(b"1 2".to_vec()).unwrap_err().contains("not JSON"));
    }

    #[tokio::test]
    async fn the_end_of_a_long_stderr_is_kept() {
        let long = [b"x".repeat(100_000), b"\nlast\n".to_vec()].concat();
        let mut kept = Vec::new();
        read_tail(Some(&*long), &mut kept).await.unwrap();
        assert_eq!((kept.len(), kept.ends_with(b"\nlast\n")), (STDERR, true));
    }

    #[tokio::test]
    async fn output_is_limited() {
        let mut bytes = Vec::new();
        read_all(Some(&b"12345"[..]), ByteSize(5), &mut bytes).await.unwrap();
        assert_eq!(bytes, b"12345");
        let error = read_all(Some(&b"123456"[..]), ByteSize(5), &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("more than 5 B"));
    }

    #[test]
    fn a_long_action_is_shortened_for_the_log() {
        assert_eq!(shortened("get_id_value"), "get_id_value");
        assert_eq!(shortened(&"\u{e9}".repeat(100_000)), format!("{}...", "\u{e9}".repeat(100)));
    }

    #[test]
    fn a_program_is_found_by_name_or_path() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert!(find(Path::new("/bin/sh")).is_ok());
        for (program, message) in [
            ("no-such-program", "PATH"),
            ("/no/such", "No such"),
            ("/", "not a file"),
            (".", "not a file"),
            ("..", "not a file"),
            ("src/", "not a file"),
            ("./Cargo.toml", "chmod"),
        ] {
            let error = find(Path::new(program)).unwrap_err().to_string();
            assert!(error.contains(message), "{program}: {error}");
        }
    }
}
