//! README.md, held to its word: each session that it shows is run, and must print what stands there.
//!
//! A block of `console` is a session of bash: `$ ` before each command, and below it all that comes on the terminal, in any
//! order where something runs in the background. `...` alone in a line stands for any lines. What is never the same twice
//! is named in `rules.rs`, and nothing else may differ.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

#[path = "../common/program.rs"]
mod program;

mod page;
mod rules;
mod session;

use std::fs;
use std::path::Path;
use std::process::Command;

use page::{Block, blocks};
use program::Program;
use session::Session;
use zeek_bridge::net::tls::ephemeral_authority;

const README: &str = include_str!("../../README.md");

/// The sessions that cannot be run here, by their first command, and why.
const NOT_RUN: &[(&str, &str)] =
    &[("cargo install --path . --features openssl", "it takes a Zeek that runs, and OpenSSL")];

/// The blocks of other kinds that nothing can be compared with, by their first words.
const NOT_CHECKED: &[(&str, &str)] = &[
    ("text", "Zeek: nodes, agents, clusters"),
    ("text", "Zeek agent  <--"),
    ("zeek", "redef Broker::ssl_cafile"),
    ("text", "bin/zeek-bridge"),
];

fn of_kind(kind: &str) -> Vec<Block> {
    blocks(README).into_iter().filter(|block| block.kind == kind).collect()
}

#[test]
fn each_session_prints_what_it_shows() {
    let (mut not_run, mut wrong) = (Vec::new(), Vec::new());
    for block in of_kind("console") {
        let steps = block.steps();
        let first = steps[0].command.as_str();
        if let Some((_, why)) = NOT_RUN.iter().find(|(command, _)| *command == first) {
            println!("SKIPPED: README.md, line {}: {why}", block.line);
            not_run.push(first.to_owned());
        } else if block.text.contains(".py") && !there_is_python() {
            println!("SKIPPED: README.md, line {}: there is no python3 of 3.10 or later here", block.line);
        } else if let Err(fault) = run(&block) {
            wrong.push(fault);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let listed: Vec<&str> = NOT_RUN.iter().map(|(command, _)| *command).collect();
    assert_eq!(not_run, listed, "of what is not run, all and only that is to be listed");
}

fn there_is_python() -> bool {
    let try_it = ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"];
    Command::new("python3").args(try_it).status().is_ok_and(|status| status.success())
}

/// Runs a session; what is wrong with it is an error.
fn run(block: &Block) -> Result<(), String> {
    let mut session = Session::start(furnish);
    for step in block.steps() {
        let at = format!("README.md, line {}: `{}`", block.line + step.line, step.command);
        let (printed, code) =
            session.run(&step.command, &step.output).map_err(|fault| format!("{at} {fault}"))?;
        let compared = |lines: &[String]| {
            let mut lines: Vec<String> = lines.iter().map(|line| session.comparable(line)).collect();
            if session.in_background {
                lines.sort();
            }
            lines
        };
        let (shown, lines) = (compared(&step.output), compared(&printed));
        if !rules::fits(&shown, &lines) {
            return Err(format!(
                "{at} prints\n{}\nwhich is, compared,\n{}\nand not\n{}",
                printed.join("\n"),
                lines.join("\n"),
                shown.join("\n")
            ));
        }
        if code != 0 {
            return Err(format!("{at} ends with {code}"));
        }
    }
    match session.end().as_slice() {
        [] => Ok(()),
        more => Err(format!("README.md, line {}: more is printed than shown: {more:?}", block.line)),
    }
}

/// What stands in the folder where the sessions take place: what the page shows or names.
fn furnish(folder: &Path, address: &str) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(repository.join("fixtures"), folder.join("fixtures")).unwrap();
    for name in ["node.sh", "node.py"] {
        fs::copy(repository.join("tests/programs").join(name), folder.join(name)).unwrap();
    }
    // The first configuration, which is said to be a whole one; its metrics are not to be in the way of others.
    let config = &of_kind("toml")[0].text;
    let config = format!("{config}\n[bridge]\nmetrics = \"127.0.0.1:9747\"\n");
    fs::write(folder.join("bridge.toml"), session::at(&config, address)).unwrap();
    let authority = ephemeral_authority().unwrap();
    for (name, certified) in [("bridge", "bridge.example"), ("node", "worker-1.sensors.example")] {
        let files = program::Files::issue(&authority, certified);
        let put = |from: &str, to: String| {
            fs::copy(files.folder.path().join(from), folder.join(to)).unwrap();
        };
        put("cafile", "ca.pem".into());
        put("certificate", format!("{name}.pem"));
        put("keyfile", format!("{name}.key"));
    }
}

#[test]
fn each_configuration_is_one() {
    // The rules and the settings of the daemon go with the first one's links; the one of several bridges is complete.
    let all = of_kind("toml");
    let folder = tempfile::tempdir().unwrap();
    furnish(folder.path(), "127.0.0.1");
    for parts in [vec![0], vec![0, 1], vec![0, 2], vec![0, 1, 2], vec![3]] {
        let text: String = parts.iter().map(|part| format!("{}\n", all[*part].text)).collect();
        let path = folder.path().join("part.toml");
        fs::write(&path, text).unwrap();
        let end = Program::with([Path::new("check"), &path]).end();
        // Where it would listen may be taken, and its folder need not be there on this machine.
        let faults: Vec<&str> = end.stderr.lines().filter(|line| !line.contains("warning: ")).collect();
        assert_eq!((end.code, faults), (Some(0), vec![]), "{parts:?}");
    }
    assert_eq!(all.len(), 4);
}

#[test]
fn programs_are_those_that_are_tested_elsewhere() {
    for (kind, name) in [("sh", "tests/programs/node.sh"), ("python", "tests/programs/node.py")] {
        let program = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let shown = of_kind(kind);
        assert!(!shown.is_empty());
        for block in shown {
            assert!(program.contains(&block.text), "README.md, line {}: not in {name}", block.line);
        }
    }
    // The first example of the crate's documentation, which is run as a test of it, without the lines that are hidden there.
    let library = include_str!("../../src/lib.rs");
    let example =
        library.split_once("doc = \"```ignore\")]\n").unwrap().1.split_once("//! ```\n").unwrap().0.lines();
    let example = example.map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default());
    let example: Vec<&str> = example.filter(|line| !line.trim_start().starts_with("# ")).collect();
    let shown = of_kind("rust,ignore");
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].text.lines().collect::<Vec<_>>(), example);
}

#[test]
fn nothing_else_stands_there_unseen() {
    let checked = ["console", "toml", "sh", "python", "rust,ignore"];
    let unseen: Vec<Block> =
        blocks(README).into_iter().filter(|block| !checked.contains(&block.kind.as_str())).collect();
    let unseen: Vec<(&str, &str)> = unseen.iter().map(|block| (&*block.kind, block.text.trim())).collect();
    assert_eq!(unseen.len(), NOT_CHECKED.len(), "{unseen:?}");
    for ((kind, text), (listed, first)) in unseen.iter().zip(NOT_CHECKED) {
        assert!(kind == listed && text.starts_with(first), "{kind}: {text}");
    }
}
