//! Files that block when they are read, files without an end, and control characters in the names of files.

use std::fs::OpenOptions;
use std::path::Path;

use crate::program::Program;
use crate::program::child::within;

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

#[test]
fn a_signal_ends_a_node_whose_values_do_not_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let values = directory.path().join("values");
    fifo(&values);
    for signal in ["INT", "TERM"] {
        let args = format!("node --name n --listen 127.0.0.1:0 --tls off --values {}", values.display());
        let node = Program::start(&args);
        // Waits until the program has opened the file. It handles signals by then.
        let path = values.clone();
        let _writer = within("a reader", move || OpenOptions::new().write(true).open(path).unwrap());
        node.signal(signal);
        assert_eq!(node.end_by_itself().code, Some(0), "{signal}");
    }
}

#[test]
fn the_name_of_a_file_cannot_control_the_terminal() {
    for command in ["decode", "check"] {
        let end = Program::with([command, "no\u{1b}[2J\n\u{202e}file"]).end();
        end.fails(1, &[r"no\u{1b}[2J\n\u{202e}file"]);
        assert!(!end.stderr.contains(['\u{1b}', '\u{202e}']), "{end:?}");
    }
}

#[test]
fn files_without_an_end_are_errors() {
    let node = "node --name n --listen 127.0.0.1:0";
    Program::run(&format!("{node} --tls off --values /dev/zero"), "")
        .fails(1, &["/dev/zero: the file is larger than"]);
    let files = "--cafile /dev/zero --certificate /dev/zero --keyfile /dev/zero";
    Program::run(&format!("{node} {files}"), "").fails(4, &["/dev/zero: it is larger than 4194304 bytes"]);
}

#[test]
fn a_certificate_in_a_pipe_without_a_writer_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    fifo(&pipe);
    let pipe = pipe.display();
    let files = format!("--cafile {pipe} --certificate {pipe} --keyfile {pipe}");
    Program::run(&format!("node --name n --listen 127.0.0.1:0 {files}"), "")
        .fails(4, &[&format!("cafile {pipe}: it is a pipe to which no process writes")]);
}
