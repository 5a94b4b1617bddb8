//! `status` as tables, `status --watch`, and a bridge that restarts while it is watched.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::program::{Program, command};
use crate::terminal::OnTerminal;

/// Writes a configuration whose first link has this name.
fn configure(folder: &Path, name: &str) -> String {
    let config = format!(
        "[bridge]\nhttp = 'off'\nstatus = 's.sock'\n\
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

fn stop(bridge: Program) {
    bridge.signal("TERM");
    let end = bridge.end_by_itself();
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[test]
fn without_a_terminal_tables_fit_80_columns_except_with_the_option_wide() {
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
    Program::run(&format!("status --wide --format json --config {config}"), "")
        .fails(2, &["--wide", "--format json"]);
    Program::run(&format!("status --watch 0 --config {config}"), "").fails(2, &["--watch", "100ms to 1day"]);
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

#[test]
fn watching_fails_if_no_bridge_is_running() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "agents");
    let end = Program::run(&format!("status --watch --config {config}"), "");
    end.fails(3, &["no bridge is running there", "zeek-bridge run CONFIG.toml"]);
}

#[test]
fn lines_of_json_report_rates_and_the_end_and_restart_of_the_bridge() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "agents");
    let bridge = start(&config);
    let mut watch = Program::start(&format!("status --watch 100ms --format json --config {config}"));
    let first = watch.line();
    assert_eq!((&first["rates"], &first["error"]), (&json!(null), &json!(null)), "{first}");
    assert_eq!(first["status"]["links"][0]["name"], "agents", "{first}");
    let second = watch.line();
    assert_eq!(second["rates"]["links"][0]["messages_in"], 0.0, "{second}");
    assert_eq!(second["status"]["started"], first["status"]["started"]);
    stop(bridge);
    let mut next = |is_wanted: &dyn Fn(&Json) -> bool| loop {
        let line = watch.line();
        if is_wanted(&line) {
            return line;
        }
    };
    let gone = next(&|line| !line["error"].is_null());
    assert!(gone["status"].is_null() && gone["rates"].is_null(), "{gone}");
    let bridge = start(&config);
    let back = next(&|line| line["error"].is_null());
    assert_eq!(back["restarted"], true, "{back}");
    assert_ne!(back["status"]["started"], first["status"]["started"], "{back}");
    assert_eq!(next(&|_| true)["restarted"], false);
    watch.signal("INT");
    let end = watch.end();
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    stop(bridge);
}

#[test]
fn without_a_terminal_a_table_is_printed_for_each_interval() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "agents");
    let bridge = start(&config);
    let mut watch = Program::start(&format!("status --watch 100ms --config {config}"));
    for _ in 0..3 {
        while !watch.text().starts_with("LINK    READY  PEERS") {}
        assert!(watch.text().starts_with("agents    yes      0"));
    }
    stop(bridge);
    while !watch.text().starts_with("the bridge is not reachable, trying again: ") {}
    let bridge = start(&config);
    while watch.text() != "the bridge was restarted; its counters began at zero" {}
    watch.signal("TERM");
    let end = watch.end();
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    stop(bridge);
}

#[test]
fn keys_control_the_live_screen_and_it_survives_a_restart_of_the_bridge() {
    const ENTER: &str = "\u{1b}[?1049h";
    const LEAVE: &str = "\u{1b}[?1049l";
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "agents");
    let bridge = start(&config);
    let mut status = command(["status", "--watch", "100ms", "--config", &config]);
    status.env("TERM", "xterm");
    let mut terminal = OnTerminal::with_keys(status, 80, 24);
    let screen = terminal.screen_shows("links ready: 2 of 2; peers: 0; nodes: 0");
    assert!(
        screen.contains("q quit; sort by l link") && screen.contains("relay latency: no samples"),
        "{screen}"
    );
    terminal.screen_shows("IN/S▼");
    terminal.press("l");
    terminal.screen_shows("LINK▲");
    terminal.press("l");
    let screen = terminal.screen_shows("LINK▼");
    let nodes = screen.find("nodes  ").unwrap();
    assert!(nodes < screen.find("agents ").unwrap(), "{screen}");
    // Suspend and resume the program, as Ctrl-Z and `fg` do.
    terminal.shows(ENTER);
    terminal.signal("TSTP");
    terminal.shows(LEAVE);
    terminal.is_stopped();
    terminal.signal("CONT");
    terminal.shows(ENTER);
    stop(bridge);
    terminal.screen_shows("the bridge is not reachable, trying again: ");
    let bridge = start(&config);
    terminal.screen_shows("the bridge was restarted");
    terminal.resize(60, 6);
    terminal.screen_shows("more lines");
    terminal.press("q");
    let shown = terminal.end();
    let (_, after) = shown.rsplit_once(LEAVE).unwrap();
    assert!(!after.contains('\u{1b}'), "{after:?}");
    stop(bridge);
}

#[test]
fn esc_ctrl_c_and_signals_end_the_live_screen() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "agents");
    let _bridge = start(&config);
    for key in [Ok("\u{1b}"), Ok("\u{3}"), Err("TERM"), Err("QUIT")] {
        let mut status = command(["status", "--watch", "--config", &config]);
        status.env("TERM", "xterm");
        let mut terminal = OnTerminal::with_keys(status, 80, 24);
        terminal.screen_shows("q quit");
        match key {
            Ok(key) => terminal.press(key),
            Err(signal) => terminal.signal(signal),
        }
        let shown = terminal.end();
        assert!(shown.trim_end().ends_with("\u{1b}[?1049l"), "{shown:?}");
    }
}
