//! Runs each console session in README.md and in the guides, and checks that it prints the shown output.
//!
//! A block of kind `console` is a session of bash. Each command begins with `$ `. The lines below it are its complete
//! output. They may be in any order if a command runs in the background. A line `...` matches any number of lines. Only
//! the parts that `rules.rs` lists may differ, such as times and ids.

#![cfg(all(feature = "cli", target_os = "linux"))]

#[path = "../common/program.rs"]
mod program;

mod configuration;
mod page;
mod rules;
mod session;

use std::fs;
use std::path::Path;
use std::process::Command;

use page::{Block, blocks};
use program::Program;
use program::child::skip;
use session::Session;
use zeek_bridge::net::tls::ephemeral_authority;
use zeek_bridge::zeromq::curve::KeyPair;

/// The pages by their path in the repository.
const PAGES: &[(&str, &str)] = &[
    ("README.md", include_str!("../../README.md")),
    ("src/guide/benchmarks.md", include_str!("../../src/guide/benchmarks.md")),
    ("src/guide/bridge.md", include_str!("../../src/guide/bridge.md")),
    ("src/guide/configuration.md", include_str!("../../src/guide/configuration.md")),
    ("src/guide/debugging.md", include_str!("../../src/guide/debugging.md")),
    ("src/guide/library.md", include_str!("../../src/guide/library.md")),
    ("src/guide/nodes.md", include_str!("../../src/guide/nodes.md")),
    ("src/guide/quick-start.md", include_str!("../../src/guide/quick-start.md")),
    ("src/guide/service.md", include_str!("../../src/guide/service.md")),
    ("src/guide/tls.md", include_str!("../../src/guide/tls.md")),
    ("src/guide/websocket.md", include_str!("../../src/guide/websocket.md")),
    ("src/guide/zeromq.md", include_str!("../../src/guide/zeromq.md")),
];

/// The guide whose programs are doc tests.
const LIBRARY: &str = "src/guide/library.md";

/// The kinds of blocks that are doc tests.
const RUST: [&str; 2] = ["rust", "rust,no_run"];

/// The sessions that cannot be run here, by their first command, with the reason.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install --path . --features openssl", "it installs the program"),
    ("zeek examples/zeek/ping.zeek &", "it requires Zeek and OpenSSL"),
    ("zeek examples/zeek/websocket.zeek &", "it requires Zeek"),
    ("zeek-bridge probe zeromq://127.0.0.1:27760", "it requires a cluster over ZeroMQ"),
    ("cd /opt/zeek/spool/zeromq/curve", "it requires a cluster over ZeroMQ"),
    ("zeek-bridge tap --logs --listen zeromq://192.0.2.9:27790", "it requires a cluster over ZeroMQ"),
];

/// All other blocks whose content is not checked, by the page and the first words of the block.
const NOT_CHECKED: &[(&str, &str)] = &[
    ("README.md", "Zeek agents, managers, scripts"),
    ("src/guide/bridge.md", "Zeek agent  <--"),
    // The tests of the program read these profiles.
    ("src/guide/debugging.md", "[profile.default]"),
    ("src/guide/library.md", "bridge              links"),
    ("src/guide/service.md", "peers x (2 x frame"),
    ("src/guide/zeromq.md", "@load policy/frameworks/cluster/backend/zeromq"),
    ("src/guide/zeromq.md", "redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint"),
];

/// The blocks of one kind, in the order of [`PAGES`].
fn of_kind(kind: &str) -> Vec<(&'static str, Block)> {
    let all = PAGES.iter().flat_map(|(page, text)| blocks(text).into_iter().map(|block| (*page, block)));
    all.filter(|(_, block)| block.kind == kind).collect()
}

#[test]
fn all_guides_are_checked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("src/guide/{name}"))
        .collect();
    files.sort();
    let listed: Vec<&str> = PAGES.iter().map(|(page, _)| *page).filter(|page| *page != "README.md").collect();
    assert_eq!(files, listed);
}

#[test]
fn links_between_pages_lead_to_existing_files() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = 0;
    for (page, text) in PAGES {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let path = repository.join(page).parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{page}: there is no {target}");
            links += 1;
        }
    }
    assert!(links > 10, "{links}");
}

#[test]
fn each_session_prints_the_shown_output() {
    if !has_bash() {
        skip("bash is not installed: the sessions of README.md are not run");
        return;
    }
    let (mut not_run, mut wrong) = (Vec::new(), Vec::new());
    for (page, block) in of_kind("console") {
        let steps = block.steps();
        let first = steps[0].command.as_str();
        if let Some((_, why)) = NOT_RUN.iter().find(|(command, _)| *command == first) {
            skip(&format!("{page}, line {}: {why}", block.line));
            not_run.push(first.to_owned());
        } else if block.text.contains("websocket_client.py") && session::python().is_none() {
            skip(&format!("{page}, line {}: ZEEK_BRIDGE_PYTHON is not set", block.line));
        } else if block.text.contains(".py") && !has_python() {
            skip(&format!("{page}, line {}: python3 3.10 or later is not installed", block.line));
        } else if let Err(fault) = run(page, &block) {
            wrong.push(fault);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let listed: Vec<&str> = NOT_RUN.iter().map(|(command, _)| *command).collect();
    assert_eq!(not_run, listed, "NOT_RUN must list exactly the sessions that are not run");
}

fn has_bash() -> bool {
    Command::new("bash").args(["-c", "true"]).status().is_ok_and(|status| status.success())
}

fn has_python() -> bool {
    let version = ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"];
    Command::new("python3").args(version).status().is_ok_and(|status| status.success())
}

/// Runs a session. If its output differs from the shown output, returns the difference.
fn run(page: &str, block: &Block) -> Result<(), String> {
    let mut session = Session::start(copy_files);
    for step in block.steps() {
        let at = format!("{page}, line {}: `{}`", block.line + step.line, step.command);
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
        if !rules::matches_shown(&shown, &lines) {
            return Err(format!(
                "{at} prints\n{}\nwhich is compared as\n{}\nexpected\n{}",
                printed.join("\n"),
                lines.join("\n"),
                shown.join("\n")
            ));
        }
        if code != 0 {
            return Err(format!("{at} ends with exit code {code}"));
        }
    }
    match session.end().as_slice() {
        [] => Ok(()),
        more => Err(format!("{page}, line {}: the page does not show this output: {more:?}", block.line)),
    }
}

/// Fills the working directory of a session with the files that the pages use.
fn copy_files(folder: &Path, address: &str) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(repository.join("fixtures"), folder.join("fixtures")).unwrap();
    for program in ["tests/programs/node.sh", "tests/programs/node.py", "examples/websocket_client.py"] {
        let program = repository.join(program);
        fs::copy(&program, folder.join(program.file_name().unwrap())).unwrap();
    }
    // The first configurations of the guides, which are complete.
    for (name, guide, number) in [
        ("bridge.toml", "src/guide/bridge.md", 0),
        ("websocket.toml", "src/guide/websocket.md", 0),
        ("migration.toml", "src/guide/zeromq.md", 0),
        ("proxy.toml", "src/guide/zeromq.md", 1),
    ] {
        let of_guide = |(page, _): &(&str, Block)| *page == guide;
        let mut config = of_kind("toml").into_iter().filter(of_guide).nth(number).unwrap().1.text;
        if !config.contains("[bridge]") {
            config.push_str("\n[bridge]\nhttp = \"127.0.0.1:9747\"\n");
        }
        fs::write(folder.join(name), session::with_address(&config, address)).unwrap();
    }
    for name in ["server", "client", "soar"] {
        let keys = KeyPair::generate().unwrap();
        fs::write(folder.join(format!("{name}_publickey")), keys.public().to_string()).unwrap();
        let secret = keys.secret().expose_z85();
        program::write_secret(&folder.join(format!("{name}_secretkey")), secret.as_bytes());
    }
    program::write_secret(&folder.join("soar.token"), b"a-token-for-tests\n");
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
fn each_configuration_is_valid() {
    // The first block contains the links. The blocks with rules and with the settings of the service are added to it. The
    // blocks about several bridges, WebSocket clients and ZeroMQ are complete configurations.
    let all = of_kind("toml").into_iter().filter(|(page, _)| ![configuration::PAGE, LIBRARY].contains(page));
    let all: Vec<Block> = all.map(|(_, block)| block).collect();
    let folder = tempfile::tempdir().unwrap();
    copy_files(folder.path(), "127.0.0.1");
    for parts in [vec![0], vec![0, 1], vec![0, 3], vec![0, 1, 3], vec![2], vec![4], vec![5], vec![6], vec![7]]
    {
        let text: String = parts.iter().map(|part| format!("{}\n", all[*part].text)).collect();
        let path = folder.path().join("part.toml");
        fs::write(&path, text).unwrap();
        let end = Program::with([Path::new("check"), &path]).end();
        // Warnings are expected: an address may be in use, and the status directory need not exist on this machine.
        let faults: Vec<&str> = end.stderr.lines().filter(|line| !line.contains("warning: ")).collect();
        assert_eq!((end.code, faults), (Some(0), vec![]), "{parts:?}");
    }
    assert_eq!(all.len(), 8);
}

#[test]
fn programs_on_the_pages_are_the_tested_programs() {
    let programs = ["tests/programs/node.sh", "tests/programs/node.py", "examples/websocket_client.py"]
        .map(|name| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap());
    let mut shown = of_kind("sh");
    shown.extend(of_kind("python"));
    for program in &programs {
        assert!(
            shown.iter().any(|(_, block)| program.contains(&block.text)),
            "a program is not shown: {program}"
        );
    }
    for (page, block) in shown {
        let is_tested = programs.iter().any(|program| program.contains(&block.text));
        assert!(is_tested, "{page}, line {}: not in a tested program", block.line);
    }
}

#[test]
fn programs_in_rust_are_doc_tests() {
    let rust: Vec<_> = RUST.iter().flat_map(|kind| of_kind(kind)).collect();
    assert!(rust.len() >= 6, "{}", rust.len());
    for (page, block) in rust {
        assert_eq!(page, LIBRARY, "line {}: the other pages are not compiled with all features", block.line);
        assert!(block.text.contains("fn main()"), "{page}, line {}: not a complete program", block.line);
        assert!(
            !block.text.contains("\n# "),
            "{page}, line {}: lines that docs.rs hides are visible on GitHub",
            block.line
        );
    }
}

#[test]
fn the_dependency_in_the_guide_has_this_version_and_the_feature_net() {
    let blocks: Vec<_> = of_kind("toml").into_iter().filter(|(page, _)| *page == LIBRARY).collect();
    let [(_, block)] = &blocks[..] else { panic!("{blocks:?}") };
    let line = block.text.lines().find_map(|line| line.strip_prefix("zeek-bridge = { version = \"")).unwrap();
    let (version, rest) = line.split_once('"').unwrap();
    assert!(env!("CARGO_PKG_VERSION").starts_with(&format!("{version}.")), "{version}");
    assert_eq!(rest, ", default-features = false, features = [\"net\"] }");
}

#[test]
fn all_other_blocks_are_listed() {
    let checked = ["console", "toml", "sh", "python"].into_iter().chain(RUST).collect::<Vec<_>>();
    let ping = include_str!("../../examples/zeek/ping.zeek");
    let mut listed = NOT_CHECKED.iter();
    for (page, text) in PAGES {
        for block in blocks(text) {
            if checked.contains(&block.kind.as_str()) || (block.kind == "zeek" && ping.contains(&block.text))
            {
                continue;
            }
            let (on, first) = listed
                .next()
                .unwrap_or_else(|| panic!("{page}, line {}: the block is not in NOT_CHECKED", block.line));
            let as_listed = page == on && block.text.trim().starts_with(first);
            assert!(as_listed, "{page}, line {}: {}", block.line, block.text);
        }
    }
    assert_eq!(listed.next(), None);
}
