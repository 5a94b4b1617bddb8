//! Runs `record` and reads its recordings.

#![allow(dead_code, reason = "each test binary uses a part of this module")]
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etherparse::{PacketBuilder, TcpHeader};
use serde_json::Value as Json;

use crate::program::{Program, command};

/// A recorder that listens on `address` and connects to a target.
pub struct Recorder {
    pub program: Program,
    pub address: String,
    /// Shared, so that the folder exists as long as something refers to it.
    pub out: Arc<tempfile::TempDir>,
}

impl Recorder {
    pub fn start(target: &str, options: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), target, options)
    }

    pub fn start_in(out: Arc<tempfile::TempDir>, target: &str, options: &str) -> Self {
        Self::start_with(Self::args(&out, target, options), out)
    }

    /// Starts a recorder with all its arguments.
    pub fn start_with(args: String, out: Arc<tempfile::TempDir>) -> Self {
        let mut program = Program::with(args.split_whitespace());
        let address = program.address();
        Recorder { program, address, out }
    }

    pub fn args(out: &tempfile::TempDir, target: &str, options: &str) -> String {
        let out = out.path().display();
        format!("record --listen 127.0.0.1:0 --connect {target} --out {out} {options}")
    }

    /// Waits for the start of a recording and returns its folder.
    pub fn begun(&mut self) -> PathBuf {
        let line = self.program.line();
        assert_eq!(line["state"], "begun", "{line}");
        line["recording"].as_str().unwrap().into()
    }

    /// Waits for the end of a recording and returns its line.
    pub fn ended(&mut self) -> Json {
        let line = self.program.line();
        assert_eq!(line["state"], "ended", "{line}");
        line
    }

    /// Waits for the start and the end of a recording.
    pub fn recording(&mut self) -> PathBuf {
        let folder = self.begun();
        let end = self.ended();
        assert_eq!((end["error"].as_str(), end["recording"].as_str()), (None, folder.to_str()));
        folder
    }

    /// Stops the recorder and its connections with SIGTERM.
    #[track_caller]
    pub fn stop(self) -> crate::program::End {
        self.program.signal("TERM");
        self.program.end()
    }
}

/// Returns the content of the files of a recording.
pub fn files(folder: &Path) -> [Vec<u8>; 4] {
    ["connector.bin", "listener.bin", "frames.jsonl", "meta.json"]
        .map(|name| fs::read(folder.join(name)).unwrap())
}

pub fn meta(folder: &Path) -> Json {
    serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap()
}

/// Runs `decode` and asserts its exit code. Returns the line about the connection, and the frames without the field
/// `connection`.
#[track_caller]
pub fn decoded(what: &Path, code: i32) -> (Json, Vec<Json>) {
    let end = Program::spawn(command(["decode", what.to_str().unwrap()])).end();
    assert_eq!(end.code, Some(code), "{end:?}");
    let mut lines = end.json().into_iter();
    let about = lines.next().unwrap();
    let frames = lines.map(|mut line| {
        assert_eq!(line.as_object_mut().unwrap().remove("connection").as_ref(), about.get("connection"));
        line
    });
    let frames = frames.collect();
    (about, frames)
}

/// Returns the names of the events in a recording, with the side that sent them.
pub fn events(frames: &[Json]) -> Vec<(&str, &str)> {
    let name = |frame: &'_ Json| frame["envelope"]["value"]["data"][2]["data"][0]["data"].as_str().is_some();
    let events = frames.iter().filter(|frame| name(frame));
    events
        .map(|frame| {
            (
                frame["from"].as_str().unwrap(),
                frame["envelope"]["value"]["data"][2]["data"][0]["data"].as_str().unwrap(),
            )
        })
        .collect()
}

/// Writes the recording in `folder` as a pcap file, with one packet for each frame in `lines`.
pub fn capture(folder: &Path, lines: &[Json]) -> tempfile::NamedTempFile {
    let [connector, listener, ..] = files(folder);
    let mut seq = [1000u32, 2000];
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 101] {
        file.extend(u32::to_le_bytes(word));
    }
    let mut packet = |from: usize, t_us: u64, header: TcpHeader, payload: &[u8]| {
        let (source, target) = if from == 0 { (1, 2) } else { (2, 1) };
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, source], [192, 0, 2, target], 64)
            .tcp_header(header)
            .write(&mut bytes, payload)
            .unwrap();
        let length = bytes.len() as u32;
        let words = [1_700_000_000 + (t_us / 1_000_000) as u32, (t_us % 1_000_000) as u32, length, length];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(bytes);
    };
    let ports = [(40_000, 9999), (9999, 40_000)];
    for from in [0, 1] {
        let mut syn = TcpHeader::new(ports[from].0, ports[from].1, seq[from], 0xffff);
        (syn.syn, syn.ack, syn.acknowledgment_number) = (true, from == 1, seq[1 - from]);
        seq[from] += 1;
        packet(from, 0, syn, &[]);
    }
    for line in lines {
        let number = |name: &str| line[name].as_u64().unwrap() as usize;
        let from = usize::from(line["from"] == "listener");
        let bytes = &[&connector, &listener][from][number("offset")..][..number("length")];
        let mut header = TcpHeader::new(ports[from].0, ports[from].1, seq[from], 0xffff);
        (header.ack, header.acknowledgment_number) = (true, seq[1 - from]);
        seq[from] += bytes.len() as u32;
        packet(from, line["t_us"].as_u64().unwrap(), header, bytes);
    }
    let mut capture = tempfile::NamedTempFile::new().unwrap();
    capture.write_all(&file).unwrap();
    capture
}
