//! A bridge and what stands around it.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use zeek_bridge::net::tls::{EphemeralAuthority, ephemeral_authority};

use crate::program::{Files, Program};

/// A bridge process, with its configuration in a folder of its own.
pub(crate) struct BridgeProcess {
    pub(crate) program: Program,
    folder: tempfile::TempDir,
}

impl BridgeProcess {
    /// `config` is all but `[bridge]`; a listening address may be port 0.
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
        let text = format!("[bridge]\nmetrics = \"off\"\nstatus = \"{}\"\n{config}", status.display());
        std::fs::write(folder.path().join("bridge.toml"), text).unwrap();
    }

    /// Puts another configuration in the place of the one it has, and has it read it.
    pub(crate) fn reload(&mut self, config: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says("the configuration is taken up");
    }

    /// As [`BridgeProcess::reload`], with one that is refused with these words.
    pub(crate) fn refuse(&mut self, config: &str, words: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says(words);
        self.program.says("everything goes on as before");
    }

    /// As [`BridgeProcess::reload`], with one of which all but this is taken up.
    pub(crate) fn reload_but(&mut self, config: &str, words: &str) {
        Self::write(&self.folder, config);
        self.program.signal("HUP");
        self.program.says(words);
        self.program.says("all but the above is taken up");
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(&mut self) {
        self.program.signal("KILL");
    }

    pub(crate) fn revive(&mut self, config: &str) {
        self.program = Self::run(&self.folder, config);
    }

    pub(crate) fn status(&self) -> Json {
        let socket: PathBuf = self.folder.path().join("status.sock");
        let end = Program::run(&format!("status --json --socket {}", socket.display()), "");
        assert_eq!(end.code, Some(0), "{end:?}");
        serde_json::from_str(&end.stdout.join("\n")).unwrap()
    }

    /// Of one link.
    pub(crate) fn link(&self, name: &str) -> Json {
        let status = self.status();
        let links = status["links"].as_array().unwrap();
        links.iter().find(|link| link["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
    }
}

/// A CA, and its certificates in files.
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

    /// The lines of a link's configuration.
    pub(crate) fn lines(&self) -> String {
        let folder = self.bridge.folder.path().display();
        ["cafile", "certificate", "keyfile"]
            .map(|option| format!("{option} = \"{folder}/{option}\"\n"))
            .concat()
    }

    pub(crate) fn issue(&self, name: &str) -> Files {
        Files::issue(&self.authority, name)
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
        node.revive();
        node
    }

    pub(crate) fn kill(&mut self) {
        self.program.take().unwrap().signal("KILL");
    }

    pub(crate) fn revive(&mut self) {
        let (name, options) = (&self.name, &self.files.options);
        let values = self.values.path().display();
        let args = format!("node --name {name} --values {values} --connect {} {options}", self.bridge);
        self.program = Some(Program::start(&args));
    }
}
