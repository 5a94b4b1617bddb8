//! Runs an endpoint of Broker's C++ implementation (libbroker) as a child process.

use std::collections::VecDeque;
use std::io::Write;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zeek_bridge::data::EndpointId;
use zeek_bridge::net::tls::{Credentials, Tls};

use crate::support::{LONG, within};

/// Returns the program that runs a libbroker endpoint. If no program is configured, returns `None` and prints a notice that is
/// visible even if the test passes.
pub(crate) fn program(test: &str) -> Option<String> {
    let program = std::env::var("ZEEK_BRIDGE_REFERENCE").ok().filter(|program| !program.is_empty());
    if program.is_none() {
        // Do not use `eprintln`, whose output the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: no libbroker program is configured (ZEEK_BRIDGE_REFERENCE is not set)"
        );
    }
    program
}

/// Evaluates to the program that runs a libbroker endpoint, or returns from the calling test if no program is configured.
macro_rules! reference_or_skip {
    () => {
        match $crate::driver::program(module_path!()) {
            Some(program) => program,
            None => return,
        }
    };
}
pub(crate) use reference_or_skip;

/// A process that runs a libbroker endpoint.
pub(crate) struct LibbrokerProcess {
    pub(crate) id: EndpointId,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Lines that were read but not yet returned by [`Self::line`].
    pending: VecDeque<String>,
    /// Killed when this value is dropped.
    child: Child,
}

impl LibbrokerProcess {
    pub(crate) async fn start(program: &str, options: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take().unwrap();
        let mut reference =
            LibbrokerProcess { id: EndpointId::NIL, stdin, lines, pending: VecDeque::new(), child };
        reference.id = reference.line("id ").await.parse().unwrap();
        reference
    }

    /// Starts a libbroker endpoint that listens. Returns the process and the address.
    pub(crate) async fn listen(program: &str, options: &[&str]) -> (Self, String) {
        let mut reference = Self::start(program, &[&["--listen", "0"], options].concat()).await;
        let port = reference.line("listening ").await;
        (reference, format!("127.0.0.1:{port}"))
    }

    /// Finds the first line that begins with `start` and was not returned before, and returns the text after `start`. Keeps
    /// other lines for later calls, because the order of some lines is not fixed.
    pub(crate) async fn line(&mut self, start: &str) -> String {
        if let Some(at) = self.pending.iter().position(|line| line.starts_with(start)) {
            return self.pending.remove(at).unwrap()[start.len()..].to_owned();
        }
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                match line.strip_prefix(start) {
                    Some(rest) => return Some(rest.to_owned()),
                    None => self.pending.push_back(line),
                }
            }
            None
        };
        match tokio::time::timeout(LONG, wait).await {
            Ok(Some(rest)) => rest,
            Ok(None) => {
                panic!("libbroker ended without a line `{start}`; other lines: {:?}", self.pending)
            }
            Err(_) => panic!("libbroker printed no line `{start}` in time; other lines: {:?}", self.pending),
        }
    }

    /// Waits until libbroker reports this status of a peer.
    pub(crate) async fn status(&mut self, name: &str, peer: EndpointId) {
        self.line(&format!("status {name} {peer}")).await;
    }

    /// Writes a command to the stdin of the process.
    pub(crate) async fn send_line(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Ends the process. Asserts that libbroker has reported no status of a peer.
    pub(crate) async fn assert_no_peer_was_seen(mut self) {
        self.send_line("sync now").await;
        self.line("sync now").await;
        self.send_line("quit").await;
        within("the end of the libbroker process", async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.pending.push_back(line);
            }
        })
        .await;
        let statuses = self.pending.iter().filter(|line| line.starts_with("status")).collect::<Vec<_>>();
        assert!(statuses.is_empty(), "{statuses:?}");
    }

    /// Kills the process with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait_for_exit(mut self) {
        within("the end of the libbroker process", async {
            while let Ok(Some(_)) = self.lines.next_line().await {}
        })
        .await;
    }
}

/// TLS settings for our side and the libbroker side of a connection.
pub(crate) struct TlsSetup {
    pub(crate) ours: Tls,
    /// The command-line options for libbroker.
    pub(crate) theirs: Vec<String>,
    pub(crate) _files: Option<TempDir>,
}

impl TlsSetup {
    pub(crate) fn theirs(&self) -> Vec<&str> {
        self.theirs.iter().map(String::as_str).collect()
    }

    pub(crate) fn plain() -> Self {
        TlsSetup { ours: Tls::Off, theirs: vec!["--disable-ssl".to_owned()], _files: None }
    }

    /// Mutual TLS with new certificates of one CA in files.
    pub(crate) fn mutual() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let named = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let mut ca = named("CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let cafile = file("ca.pem", ca.pem());
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = named(name).signed_by(&key, &ca).unwrap();
            (
                file(&format!("{name}.pem"), certificate.pem()),
                file(&format!("{name}.key"), key.serialize_pem()),
            )
        };
        let (certificate, key) = issue("ours");
        let ours = Credentials::from_files(&cafile, certificate, key).load().unwrap();
        let (certificate, key) = issue("theirs");
        let theirs = ["--ssl-cafile", &cafile, "--ssl-certificate", &certificate, "--ssl-keyfile", &key];
        TlsSetup { ours: Tls::Mutual(ours), theirs: theirs.map(str::to_owned).to_vec(), _files: Some(folder) }
    }

    /// Returns the command-line options of zeek-bridge for our side.
    pub(crate) fn options(&self) -> String {
        let Some(folder) = &self._files else { return "--tls off".to_owned() };
        let file = |option: &str, name: &str| format!("--{option} {} ", folder.path().join(name).display());
        [file("cafile", "ca.pem"), file("certificate", "ours.pem"), file("keyfile", "ours.key")].concat()
    }

    pub(crate) fn both() -> [Self; 2] {
        [Self::plain(), Self::mutual()]
    }
}

/// A peering between an endpoint of this crate and a libbroker endpoint. Either may be the connector.
pub(crate) struct Pair {
    pub(crate) ours: zeek_bridge::endpoint::Endpoint,
    pub(crate) theirs: LibbrokerProcess,
}

/// Returns two ids: one is smaller and one is larger than the random id of a libbroker endpoint. Both are valid
/// UUIDs, because libbroker reports no status of a peer whose id is not a valid UUID.
pub(crate) fn our_ids() -> [EndpointId; 2] {
    ["00000000-0000-4000-8000-000000000001", "ffffffff-ffff-4fff-8fff-ffffffffffff"]
        .map(|id| id.parse().unwrap())
}

/// The side that connects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Connector {
    Ours,
    Theirs,
}

impl Pair {
    pub(crate) async fn new(
        ours: zeek_bridge::endpoint::Endpoint,
        program: &str,
        kind: &TlsSetup,
        connector: Connector,
        options: &[&str],
    ) -> Self {
        let options = [&kind.theirs()[..], options].concat();
        let mut statuses = ours.status();
        let theirs = match connector {
            Connector::Ours => {
                let (theirs, address) = LibbrokerProcess::listen(program, &options).await;
                ours.connect_with_retry(&address, kind.ours.clone(), crate::support::SOON)
                    .first_attempt()
                    .await
                    .unwrap();
                theirs
            }
            Connector::Theirs => {
                let listener = crate::support::listen_with(&ours, kind.ours.clone()).await;
                let port = listener.local_addr().port().to_string();
                LibbrokerProcess::start(program, &[&["--connect", &port], &options[..]].concat()).await
            }
        };
        let mut pair = Pair { ours, theirs };
        assert_eq!(crate::support::added(&mut statuses).await, pair.theirs.id);
        pair.theirs.status("peer_added", pair.ours.id()).await;
        pair
    }
}
