//! A bridge process, and the certificates and node processes for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use zeek_bridge::net::tls::{EphemeralAuthority, Tls, ephemeral_authority};

use crate::program::{End, Files, Program};

/// A bridge process, with its configuration in a temporary folder.
pub(crate) struct BridgeProcess {
    pub(crate) program: Program,
    folder: tempfile::TempDir,
}

impl BridgeProcess {
    /// Starts a bridge. `config` must not contain `[bridge]`, which is added here. Ports may be 0.
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Self::run(&folder, config);
        BridgeProcess { program, folder }
    }

    fn run(folder: &tempfile::TempDir, config: &str) -> Program {
        Self::write(folder, config);
        let mut program = Program::start(&format!("run {}", folder.path().join("bridge.toml").display()));
        program.says("running, with");
        program
    }

    fn write(folder: &tempfile::TempDir, config: &str) {
        let status = folder.path().join("status.sock");
        let text = format!("[bridge]\nhttp = \"off\"\nstatus = \"{}\"\n{config}", status.display());
        std::fs::write(folder.path().join("bridge.toml"), text).unwrap();
    }

    /// Replaces the configuration file, and reloads it.
    pub(crate) fn reload(&mut self, config: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says("the configuration is applied");
    }

    /// Like [`BridgeProcess::reload`]. Waits until this change is reported, too.
    pub(crate) fn reload_reporting(&mut self, config: &str, change: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says(change);
        self.program.says("the configuration is applied");
    }

    /// Like [`BridgeProcess::reload`], with an invalid configuration. Waits until it is rejected with this error.
    pub(crate) fn reload_invalid(&mut self, config: &str, text: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says(text);
        self.program.says("the previous one stays in effect");
    }

    /// Like [`BridgeProcess::reload`], with a configuration that can be applied except for one error. Waits until this
    /// error is reported and all other changes are applied.
    pub(crate) fn reload_partially(&mut self, config: &str, text: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says(text);
        self.program.says("applied, except for the errors above");
    }

    /// Wraps a running bridge that uses `bridge.toml` and `status.sock` in this folder.
    pub(crate) fn of(program: Program, folder: tempfile::TempDir) -> Self {
        BridgeProcess { program, folder }
    }

    /// Runs a second bridge with the same configuration until it ends.
    pub(crate) fn run_another(&self) -> End {
        Program::run(&format!("run {}", self.folder.path().join("bridge.toml").display()), "")
    }

    /// Waits for the end of the process.
    pub(crate) fn end(self) -> End {
        self.program.end_by_itself()
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    pub(crate) fn restart(&mut self, config: &str) {
        self.program = Self::run(&self.folder, config);
    }

    pub(crate) fn status(&self) -> Json {
        let socket: PathBuf = self.folder.path().join("status.sock");
        let end = Program::run(&format!("status --format json --socket {}", socket.display()), "");
        assert_eq!(end.code, Some(0), "{end:?}");
        serde_json::from_str(&end.stdout.join("\n")).unwrap()
    }

    /// Returns the status of a link.
    pub(crate) fn link(&self, name: &str) -> Json {
        let status = self.status();
        let links = status["links"].as_array().unwrap();
        links.iter().find(|link| link["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
    }

    /// Returns the address that a link listens on.
    pub(crate) fn address(&self, link: &str) -> String {
        self.link(link)["listening"][0].as_str().unwrap().to_owned()
    }

    /// Returns the number of messages that were denied for this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.status()["refused"][reason].as_u64().unwrap_or(0)
    }

    /// Returns the number of peers of a link.
    pub(crate) fn peers(&self, link: &str) -> usize {
        self.link(link)["peers"].as_array().unwrap().len()
    }

    /// Waits until `condition` returns `true`. After 30 s, panics with `what` in the message.
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "timed out: {what}; the status is: {}",
                self.status()
            );
        }
    }
}

/// A CA with certificates in files.
pub(crate) struct Certificates {
    authority: EphemeralAuthority,
    bridge: Files,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let authority = ephemeral_authority().unwrap();
        let bridge = Files::issue(&authority, "bridge");
        Certificates { authority, bridge }
    }

    /// Returns the configuration lines of a link with the bridge's certificate.
    pub(crate) fn lines(&self) -> String {
        let folder = self.bridge.folder.path().display();
        ["cafile", "certificate", "keyfile"]
            .map(|option| format!("{option} = \"{folder}/{option}\"\n"))
            .concat()
    }

    pub(crate) fn issue(&self, name: &str) -> Files {
        Files::issue(&self.authority, name)
    }

    /// Issues a certificate, and returns TLS settings with it for a peer in the test process.
    pub(crate) fn tls(&self, name: &str) -> Tls {
        Tls::Mutual(self.authority.issue(name).unwrap())
    }
}

/// A node process that can be killed and started again.
pub(crate) struct NodeProcess {
    pub(crate) name: String,
    program: Option<Program>,
    files: Files,
    values: tempfile::NamedTempFile,
    bridge: String,
}

impl NodeProcess {
    pub(crate) fn start(name: &str, files: Files, bridge: &str) -> Self {
        let values = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(values.path(), json!({"Cluster::node": name}).to_string()).unwrap();
        let mut node = NodeProcess { name: name.into(), program: None, files, values, bridge: bridge.into() };
        node.restart();
        node
    }

    pub(crate) fn kill(&mut self) {
        self.program.take().unwrap().signal("KILL");
    }

    pub(crate) fn restart(&mut self) {
        let (name, options) = (&self.name, &self.files.options);
        let values = self.values.path().display();
        let args = format!("node --name {name} --values {values} --connect {} {options}", self.bridge);
        self.program = Some(Program::start(&args));
    }
}
