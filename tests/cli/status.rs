//! `status` as tables.

use std::path::Path;

use crate::program::{Program, command};
use crate::terminal::OnTerminal;

/// Writes a configuration whose first link has this name.
fn configure(folder: &Path, name: &str) -> String {
    let config = format!(
        "[bridge]\nmetrics = 'off'\nstatus = 's.sock'\n\
         [link.{name}]\nfaces = 'agents'\nlisten = '127.0.0.1:0'\ntls = 'off'\n\
         [link.nodes]\nfaces = 'nodes'\nlisten = '127.0.0.1:0'\ntls = 'off'\n"
    );
    let path = folder.join("bridge.toml");
    std::fs::write(&path, config).unwrap();
    path.display().to_string()
}

fn start(config: &str) -> Program {
    let mut bridge = Program::start(&format!("run {config}"));
    bridge.says("running, with ");
    bridge
}

#[test]
fn tables_fit_80_columns_without_a_terminal_unless_they_are_to_be_wide() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("agents-{}", "x".repeat(55));
    let config = configure(folder.path(), &name);
    let _bridge = start(&config);
    let end = Program::run(&format!("status --config {config}"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.stdout.iter().all(|line| line.chars().count() <= 80), "{end:?}");
    assert!(end.stdout.iter().any(|line| line.starts_with("agents-xx") && line.contains('…')), "{end:?}");
    let end = Program::run(&format!("status --wide --config {config}"), "");
    assert!(end.stdout.iter().any(|line| line.starts_with(&name)), "{end:?}");
    Program::run(&format!("status --wide --json --config {config}"), "").fails(2, &["--wide", "--json"]);
}

#[test]
fn on_a_terminal_tables_fit_its_width() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "agents");
    let _bridge = start(&config);
    let shown = |columns| {
        let mut status = command(["status", "--config", &config]);
        status.env("TERM", "xterm");
        OnTerminal::start(status, columns, 24).end()
    };
    assert!(shown(60).lines().all(|line| line.chars().count() <= 60));
    let wide = shown(140);
    assert!(wide.lines().any(|line| line.contains("TLS  WHERE") && line.contains("BYTES-OUT")), "{wide}");
}
