//! A bridge with a page, and programs that connect to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::program::child::LIMIT;
use crate::program::{End, Program};

/// A bridge between agents and nodes.
pub struct Bridge {
    pub program: Program,
    /// The address of the page.
    pub http: String,
    nodes: String,
    pub folder: TempDir,
}

impl Bridge {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// Like `start`, with an address for the page.
    pub fn start_at(http: &str) -> Self {
        Self::start_with(http, ["agents", "nodes"])
    }

    /// Like `start_at`, with names for the link for agents and the link for nodes.
    pub fn start_with(http: &str, [agents, nodes]: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, faces: &str| {
            format!("[link.{name}]\nfaces = '{faces}'\nlisten = '127.0.0.1:0'\ntls = 'off'\n")
        };
        let links = [link(agents, "agents"), link(nodes, "nodes")].concat();
        let config = format!("[bridge]\nhttp = '{http}'\nstatus = 'off'\n{links}");
        let path = folder.path().join("bridge.toml");
        std::fs::write(&path, config).unwrap();
        let mut program = Program::start(&format!("run {}", path.display()));
        let mut address = |link: &str| {
            let line = program.says(&format!("link={link}"));
            let (_, address) = line.split_once("listening on ").unwrap();
            address.split(' ').next().unwrap().to_owned()
        };
        let nodes = address(nodes);
        let line = program.says("http://");
        let (_, address) = line.split_once("http://").unwrap();
        let http = address.split(['/', ' ', ',', ';']).next().unwrap().to_owned();
        program.says("running, with ");
        Bridge { program, http, nodes, folder }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// Returns the options to connect to the link for nodes.
    fn nodes(&self) -> [String; 4] {
        ["--connect".to_owned(), self.nodes.clone(), "--tls".to_owned(), "off".to_owned()]
    }

    /// Starts a node with a name, and returns it when it is connected.
    pub fn node(&self, name: &str) -> Program {
        let values = self.folder.path().join("values.json");
        std::fs::write(&values, "{}").unwrap();
        let values = values.display().to_string();
        let mut args = ["node", "-v", "--name", name, "--values", &values].map(str::to_owned).to_vec();
        args.extend(self.nodes());
        let mut node = Program::with(args);
        node.says("sent hello");
        node
    }

    /// Starts a peer of the link for nodes that subscribes to a topic.
    pub fn tap(&self, topic: &str) -> Program {
        let mut args = ["tap", "--follow", "--topic", topic].map(str::to_owned).to_vec();
        args.extend(self.nodes());
        Program::with(args)
    }

    /// Publishes an event that the rules for nodes do not allow.
    pub fn publish_denied(&self, event: &str) -> End {
        let mut args = ["publish", "--topic", "zeek/management/node"].map(str::to_owned).to_vec();
        args.extend(self.nodes());
        args.push(event.to_owned());
        Program::with(args).end()
    }

    /// Waits for the next line of the log about a peer that was added, and returns the address of the peer.
    pub fn added(&mut self) -> String {
        let line = self.program.says("peer added: ");
        let (_, address) = line.split_once(" at ").unwrap();
        address.split([' ', ',']).next().unwrap().to_owned()
    }

    /// Connects to the HTTP server and sends a GET request.
    fn request(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http).unwrap();
        stream
    }

    /// Returns a connection that receives server-sent events.
    pub fn viewer(&self) -> TcpStream {
        let mut stream = self.request("/api/v1/events");
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    }

    /// Returns the head and the body of the response to a GET request.
    pub fn get(&self, path: &str) -> (String, String) {
        let mut stream = self.request(path);
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Waits until the status contains a recent event of a kind, and returns the time of the newest one in Unix seconds. With an
    /// address, only of this peer.
    pub fn time_of(&self, kind: &str, address: Option<&str>) -> f64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            // For a second, the server returns the same status.
            let (_, body) = self.get("/api/v1/status");
            let status: Json = serde_json::from_str(&body).unwrap();
            let recent = status["recent"].as_array().unwrap();
            let is_it = |event: &&Json| {
                event["kind"] == kind && address.is_none_or(|address| event["address"] == address)
            };
            if let Some(event) = recent.iter().find(is_it) {
                return event["time"].as_f64().unwrap();
            }
            assert!(Instant::now() < deadline, "no {kind} of {address:?} in {recent:?}");
        }
    }
}
