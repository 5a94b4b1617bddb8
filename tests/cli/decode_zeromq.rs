//! `decode` of Zeek's ZeroMQ back end.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::program::Program;
use crate::recorder::{capture, decoded};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq").join(name)
}

/// A captured connection as a recording.
struct Recording {
    folder: tempfile::TempDir,
    /// The lines of the index.
    lines: Vec<Json>,
}

fn recording(name: &str, number: &str) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    for side in ["connector", "listener"] {
        let bytes = fixture(name).join(format!("{number}-{side}.bin"));
        fs::copy(bytes, folder.path().join(format!("{side}.bin"))).unwrap();
    }
    let text = fs::read_to_string(fixture(name).join("frames.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Json> = lines.filter(|line: &Json| line["connection"] == number).collect();
    let index: String = lines.iter().map(|line| line.to_string() + "\n").collect();
    fs::write(folder.path().join("frames.jsonl"), index).unwrap();
    fs::write(folder.path().join("meta.json"), "{}").unwrap();
    Recording { folder, lines }
}

impl Recording {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the entries, which are the same in the recording, in a capture of it, and in its streams.
    fn entries(&self) -> Vec<Json> {
        let (about, entries) = decoded(self.path(), 0);
        assert_eq!(about["protocol"], "zeromq");
        let (about, captured) = decoded(capture(self.path(), &self.lines).path(), 0);
        assert_eq!((&about["protocol"], &captured), (&json!("zeromq"), &entries));
        for side in ["connector", "listener"] {
            let file = self.path().join(format!("{side}.bin"));
            let stream = Program::run(&format!("decode --stream {}", file.display()), "");
            assert_eq!(stream.code, Some(0), "{stream:?}");
            let found = stream.json();
            let expected: Vec<&Json> = entries.iter().filter(|entry| entry["from"] == side).collect();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                for (member, value) in found.as_object().unwrap().iter().filter(|(name, _)| *name != "index")
                {
                    assert_eq!(value, &expected[member]);
                }
            }
        }
        entries
    }

    /// Returns the words of each row of the summary.
    fn summary(&self) -> Vec<String> {
        let summary = Program::run(&format!("decode --summary {}", self.path().display()), "");
        assert_eq!(summary.code, Some(0), "{summary:?}");
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        summary.stdout.iter().map(words).collect()
    }
}

#[test]
fn the_publisher_of_a_cluster_is_decoded() {
    let recording = recording("cluster", "01");
    let entries = recording.entries();
    assert_eq!(entries[0]["kind"], "greeting");
    assert_eq!(entries[2]["properties"], json!({"Socket-Type": "XSUB"}));
    let event = entries.iter().find(|entry| entry["kind"] == "event").unwrap();
    assert_eq!(event["event"], "Cluster::Backend::ZeroMQ::hello");
    assert_eq!(event["args"][0], json!({"@data-type": "string", "data": "manager-1"}));
    assert_eq!(event["format"], "broker-bin-v1");
    assert_eq!(event["sender"], "zeromq_manager-1_host-a_5263_Nm5lxk3zJuOypAPEaj");
    let rows = recording.summary();
    for row in ["endpoint XPUB XSUB", "versions 3.1 NULL 3.1 NULL", "event Cluster::hello 3 0"] {
        assert!(rows.iter().any(|line| line == row), "{row}: {rows:?}");
    }
    assert!(rows.iter().any(|line| line.starts_with("filter ")), "{rows:?}");
    let replay =
        Program::run(&format!("replay {} --connect 127.0.0.1:1 --tls off", recording.path().display()), "");
    replay.fails(1, &["is a recording of ZeroMQ", "zeek-bridge publish"]);
}

#[test]
fn log_batches_are_decoded_with_their_rows() {
    let recording = recording("cluster", "05");
    let entries = recording.entries();
    let logs = entries.iter().find(|entry| entry["kind"] == "logs").unwrap();
    assert_eq!((&logs["stream"], &logs["path"]), (&json!("Cluster::LOG"), &json!("cluster")));
    assert_eq!(logs["rows"][0]["node"], "manager-1");
    assert_eq!(logs["rows"][0]["ts"].to_string(), "1795950359.279339");
    let rows = recording.summary();
    assert!(rows.iter().any(|line| line.starts_with("log rows cluster ")), "{rows:?}");
}

#[test]
fn an_encrypted_session_is_not_an_error() {
    let recording = recording("curve-open", "05");
    let entries = recording.entries();
    assert_eq!((&entries[0]["mechanism"], &entries[2]["name"]), (&json!("CURVE"), &json!("HELLO")));
    let count = entries.iter().filter(|entry| entry["kind"] == "encrypted").count();
    assert!(count > 0);
    let rows = recording.summary();
    assert!(rows.iter().any(|line| line.starts_with("encrypted message ")), "{rows:?}");
}

#[test]
fn damaged_bytes_are_reported_and_the_other_side_is_decoded() {
    let recording = recording("cluster", "01");
    let file = recording.path().join("connector.bin");
    let mut bytes = fs::read(&file).unwrap();
    let whole = recording.entries();
    let from = |entries: &[Json], side: &str| entries.iter().filter(|entry| entry["from"] == side).count();
    // The flags of the first frame after READY.
    bytes[92] = 0x80;
    fs::write(&file, &bytes).unwrap();
    let (_, entries) = decoded(capture(recording.path(), &recording.lines).path(), 1);
    let last = entries.iter().rfind(|entry| entry["from"] == "connector").unwrap();
    assert_eq!(last["offset"], 92);
    assert!(last["error"].as_str().unwrap().contains("unknown flags 0x80"), "{last}");
    assert_eq!((from(&entries, "connector"), from(&entries, "listener")), (3, from(&whole, "listener")));
    let stream = Program::run(&format!("decode --stream {}", file.display()), "");
    assert_eq!(stream.code, Some(1));
    assert!(stream.stderr.starts_with("error: at byte 92: unknown flags 0x80"), "{stream:?}");
    assert_eq!(stream.stdout.len(), 3, "the greeting, READY and the error: {stream:?}");
}
