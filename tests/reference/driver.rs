//! Broker's C++ implementation as a child process.

use std::collections::VecDeque;
use std::io::Write;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zeek_bridge::data::EndpointId;
use zeek_bridge::net::tls::{Credentials, Tls};

use crate::support::{LONG, within};

/// Returns the program. If it is not configured, returns `None` and prints a notice that is visible even if the test
/// passes.
pub(crate) fn program(test: &str) -> Option<String> {
    let program = std::env::var("ZEEK_BRIDGE_REFERENCE").ok().filter(|program| !program.is_empty());
    if program.is_none() {
        // Do not use `eprintln`, whose output the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: no reference Broker (ZEEK_BRIDGE_REFERENCE is not set)"
        );
    }
    program
}

/// Evaluates to the program, or returns from the calling test if there is none.
macro_rules! reference_or_skip {
    () => {
        match $crate::driver::program(module_path!()) {
            Some(program) => program,
            None => return,
        }
    };
}
pub(crate) use reference_or_skip;

/// A reference endpoint.
pub(crate) struct Reference {
    pub(crate) id: EndpointId,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Lines that were read while waiting for a different one.
    unread: VecDeque<String>,
    /// Killed when this value is dropped.
    child: Child,
}

impl Reference {
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
        let mut reference = Reference { id: EndpointId::NIL, stdin, lines, unread: VecDeque::new(), child };
        reference.id = reference.line("id ").await.parse().unwrap();
        reference
    }

    /// Starts a reference that listens. Returns it with its address.
    pub(crate) async fn listen(program: &str, options: &[&str]) -> (Self, String) {
        let mut reference = Self::start(program, &[&["--listen", "0"], options].concat()).await;
        let port = reference.line("listening ").await;
        (reference, format!("127.0.0.1:{port}"))
    }

    /// Returns the rest of the first line that begins with `start` and was not returned before. Keeps other lines for later
    /// calls, because the order of some lines is not fixed.
    pub(crate) async fn line(&mut self, start: &str) -> String {
        if let Some(at) = self.unread.iter().position(|line| line.starts_with(start)) {
            return self.unread.remove(at).unwrap()[start.len()..].to_owned();
        }
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                match line.strip_prefix(start) {
                    Some(rest) => return Some(rest.to_owned()),
                    None => self.unread.push_back(line),
                }
            }
            None
        };
        match tokio::time::timeout(LONG, wait).await {
            Ok(Some(rest)) => rest,
            Ok(None) => {
                panic!("the reference ended without a line `{start}`; other lines: {:?}", self.unread)
            }
            Err(_) => panic!("no line `{start}` of the reference; other lines: {:?}", self.unread),
        }
    }

    /// Waits until the reference reports this status of a peer.
    pub(crate) async fn status(&mut self, name: &str, peer: EndpointId) {
        self.line(&format!("status {name} {peer}")).await;
    }

    /// Sends a command line to its stdin.
    pub(crate) async fn send_line(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Ends the reference. Asserts that it has not reported any status of a peer.
    pub(crate) async fn assert_no_peer_was_seen(mut self) {
        self.send_line("sync now").await;
        self.line("sync now").await;
        self.send_line("quit").await;
        within("its end", async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.unread.push_back(line);
            }
        })
        .await;
        let statuses = self.unread.iter().filter(|line| line.starts_with("status")).collect::<Vec<_>>();
        assert!(statuses.is_empty(), "{statuses:?}");
    }

    /// Kills the process with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) async fn gone(mut self) {
        within("its end", async { while let Ok(Some(_)) = self.lines.next_line().await {} }).await;
    }
}

/// One TLS configuration for both sides.
pub(crate) struct Kind {
    pub(crate) ours: Tls,
    /// The options of the reference.
    pub(crate) theirs: Vec<String>,
    pub(crate) _files: Option<TempDir>,
}

impl Kind {
    pub(crate) fn theirs(&self) -> Vec<&str> {
        self.theirs.iter().map(String::as_str).collect()
    }

    pub(crate) fn plain() -> Self {
        Kind { ours: Tls::Off, theirs: vec!["--disable-ssl".to_owned()], _files: None }
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
        Kind { ours: Tls::Mutual(ours), theirs: theirs.map(str::to_owned).to_vec(), _files: Some(folder) }
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

/// A peering between an endpoint of this crate and a reference endpoint. Either may be the connector.
pub(crate) struct Pair {
    pub(crate) ours: zeek_bridge::endpoint::Endpoint,
    pub(crate) theirs: Reference,
}

/// Returns two ids: one is smaller and one is larger than the random id of the reference. Both are valid UUIDs, because
/// the reference reports no status of a peer whose id is not a valid UUID.
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
        kind: &Kind,
        connector: Connector,
        options: &[&str],
    ) -> Self {
        let options = [&kind.theirs()[..], options].concat();
        let mut statuses = ours.status();
        let theirs = match connector {
            Connector::Ours => {
                let (theirs, address) = Reference::listen(program, &options).await;
                ours.connect_with_retry(&address, kind.ours.clone(), crate::support::SOON)
                    .first_attempt()
                    .await
                    .unwrap();
                theirs
            }
            Connector::Theirs => {
                let listener = crate::support::listen_with(&ours, kind.ours.clone()).await;
                let port = listener.local_addr().port().to_string();
                Reference::start(program, &[&["--connect", &port], &options[..]].concat()).await
            }
        };
        let mut pair = Pair { ours, theirs };
        assert_eq!(crate::support::added(&mut statuses).await, pair.theirs.id);
        pair.theirs.status("peer_added", pair.ours.id()).await;
        pair
    }
}
