//! Shell completions, manual pages, colors and progress lines.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::program::child::{Running, skip, within};
use crate::program::{Program, command};
use crate::terminal::Terminal;

/// Returns whether a program is installed. If not, the test reports that it is skipped.
fn is_installed(name: &str, args: &str) -> bool {
    let installed =
        Command::new(name).args(args.split(' ')).output().is_ok_and(|output| output.status.success());
    if !installed {
        skip(&format!("{name} is not installed"));
    }
    installed
}

/// Runs any program to its end, with an empty stdin.
fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::spawn(command).output()
}

/// Returns the completions for a shell.
fn completions(shell: &str) -> String {
    let end = Program::run(&format!("completions {shell}"), "");
    assert_eq!((end.code, &*end.stderr), (Some(0), ""));
    end.stdout.join("\n")
}

/// Returns the output of a script in a shell. FILE in the script is the file with the completions.
fn in_shell(shell: &str, options: &[&str], script: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions");
    fs::write(&file, completions(shell)).unwrap();
    let script = script.replace("FILE", file.to_str().unwrap());
    let mut shell = Command::new(shell);
    shell.args(options).args(["-c", &script]).env("HOME", folder.path());
    let Output { status, stdout, stderr } = output(&mut shell);
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    String::from_utf8(stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    if !is_installed("bash", "-c true") {
        return;
    }
    // Calls the completion function as bash does for TAB after the last word.
    let complete = r#"
        source FILE
        function_of() { local words=($(complete -p zeek-bridge)); while [ "${words[0]}" != -F ]; do words=("${words[@]:1}"); done; echo "${words[1]}"; }
        tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); "$(function_of)" "$1" "${!#}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
        tab zeek-bridge re
        tab zeek-bridge node --na
        tab zeek-bridge node --tls ""
        tab zeek-bridge bench relay --round
        tab zeek-bridge completions f
        tab zeek-bridge nothing
    "#;
    let completed = in_shell("bash", &["--norc"], complete);
    assert_eq!(
        completed,
        ["record replay", "--name", "off anonymous mutual auto", "--rounds --round-trips", "fish", ""]
    );
}

#[test]
fn zsh_loads_the_completions() {
    if !is_installed("zsh", "-fc true") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("_zeek-bridge"), completions("zsh")).unwrap();
    // Install the completions as a file in a directory of fpath. Zsh parses the complete file when it loads it.
    let script = "fpath=($0 $fpath); autoload -Uz compinit; compinit -D -u; echo ${_comps[zeek-bridge]}; \
                  autoload +X -Uz _zeek-bridge && echo ${(k)functions[_zeek-bridge]} ${#functions[_zeek-bridge]}";
    let output = output(Command::new("zsh").args(["-fc", script]).arg(folder.path()));
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(output.status.success() && lines.len() == 2 && lines[0] == "_zeek-bridge", "{stdout} {stderr}");
    assert!(lines[1].split(' ').next_back().unwrap().parse::<u32>().unwrap() > 10_000, "{stdout} {stderr}");
}

#[test]
fn fish_completes_commands_options_and_values() {
    if !is_installed("fish", "-c true") {
        return;
    }
    let script = "source FILE; complete -C 'zeek-bridge re'; complete -C 'zeek-bridge node --na'; \
                  complete -C 'zeek-bridge node --tls mu'";
    let completed = in_shell("fish", &["--no-config"], script);
    let words: Vec<&str> = completed.iter().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(words, ["record", "replay", "--name", "mutual"]);
}

#[test]
fn an_unknown_shell_is_an_error_that_lists_the_known_ones() {
    Program::run("completions tcsh", "").fails(2, &["tcsh", "bash", "zsh", "fish"]);
}

#[test]
fn each_command_has_a_well_formed_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("share/man/man1");
    let end = Program::with([Path::new("man"), Path::new("--out"), &out]).end();
    assert_eq!((end.code, end.stdout.len()), (Some(0), 0), "{end:?}");
    let pages: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let configuration = folder.path().join("share/man/man5/zeek-bridge.toml.5");
    let text = fs::read_to_string(&configuration).unwrap();
    for part in ["\n.TH zeek-bridge.toml 5 ", ".SH [link.NAME]\n", "\\fBwhen_full\\fR (", "default \"10s\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    end.has_said(&[&format!("{} pages", pages.len() + 1)]);

    // The commands listed by --help.
    let help = Program::run("--help", "").stdout;
    let listed =
        help.iter().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.iter().map(|name| format!("-{name}")).chain(["".into(), "-bench-relay".into()]) {
        assert!(pages.contains(&format!("zeek-bridge{command}.1")), "{command}: {pages:?}");
    }
    for page in &pages {
        let text = fs::read_to_string(out.join(page)).unwrap();
        let name = page.strip_suffix(".1").unwrap();
        assert!(text.contains(&format!("\n.TH {name} 1 ")), "{page}: {text}");
        for heading in [".SH NAME\n", ".SH SYNOPSIS\n", ".SH \"EXIT STATUS\"\n"] {
            assert!(text.contains(heading), "{page} has no {heading}");
        }
        for code in 0..=6 {
            assert!(text.contains(&format!("\n{code}  ")), "{page} has no exit code {code}");
        }
    }
    let node = fs::read_to_string(out.join("zeek-bridge-node.1")).unwrap();
    assert!(node.contains("CLUSTER_NODE") && node.contains(".SH EXAMPLES\n"), "{node}");
    let tap = fs::read_to_string(out.join("zeek-bridge-tap.1")).unwrap();
    for text in [".SH JSON\n", ".SH STATISTICS\n", "bytes_per_second", r#"{"id", "value"}"#] {
        assert!(tap.contains(text), "{text}: {tap}");
    }

    if is_installed("groff", "--version") {
        for page in pages.iter().map(|page| out.join(page)).chain([configuration]) {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-ww", "-Tutf8"]).arg(&page);
            let Output { status, stdout, stderr } = output(&mut groff);
            let stderr = String::from_utf8(stderr).unwrap();
            assert!(status.success() && !stdout.is_empty() && stderr.is_empty(), "{page:?}: {stderr}");
        }
    }
}

#[test]
fn pages_that_cannot_be_written_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let end = Program::with([Path::new("man"), Path::new("--out"), &file]).end();
    end.fails(1, &["cannot write", file.to_str().unwrap(), "--out"]);
}

const ESCAPE: char = '\u{1b}';

#[test]
fn colors_depend_on_the_terminal_and_the_environment() {
    // The environment variables, whether output to a pipe is colored, and whether output to a terminal is colored.
    type Case = (&'static [(&'static str, &'static str)], bool, bool);
    let cases: [Case; 7] = [
        (&[], false, true),
        (&[("NO_COLOR", "1")], false, false),
        (&[("NO_COLOR", "")], false, true),
        (&[("CLICOLOR", "0")], false, false),
        (&[("TERM", "dumb")], false, false),
        (&[("CLICOLOR_FORCE", "1")], true, true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false, false),
    ];
    let mut tap = Program::start("tap --topic t --tls off --listen 127.0.0.1:0");
    let publish = format!("publish -v --topic t --tls off --connect {}", tap.address());
    for (environment, in_pipe, on_terminal) in cases {
        let run = |args: &str| {
            let mut command = command(args.split_whitespace());
            for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
                command.env_remove(name);
            }
            command.env("TERM", "xterm").envs(environment.iter().copied());
            command
        };
        let help = Program::spawn(run("--help")).end();
        assert_eq!(help.stdout.join("\n").contains(ESCAPE), in_pipe, "{environment:?}");
        let log = Program::spawn(run(&publish)).end();
        log.has_said(&["INFO"]);
        assert_eq!(log.stderr.contains(ESCAPE), in_pipe, "{environment:?}: {log:?}");

        let terminal = Terminal::new();
        let mut child = Running::spawn(run("--help").stdout(terminal.end()));
        assert!(child.end().success());
        assert_eq!(terminal.all().contains(ESCAPE), on_terminal, "{environment:?}");
    }
}

/// Returns the parts of a capture: its header, and packets that may be repeated.
fn capture() -> (Vec<u8>, Vec<u8>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/dispatch.pcap");
    let bytes = fs::read(path).unwrap();
    let (head, packets) = bytes.split_at(24);
    (head.to_vec(), packets.to_vec())
}

/// Writes `head`, then `more` repeatedly to a program until `text` is on its terminal. Returns the exit code and the terminal.
fn feed(mut command: Command, head: &[u8], more: &[u8], text: &str) -> (Option<i32>, String) {
    let mut terminal = Terminal::new();
    command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(terminal.end());
    let mut child = Running::spawn(&mut command);
    // Drop the command, because it holds a handle of the terminal.
    drop(command);
    let mut stdin = child.stdin.take().unwrap();
    let (head, more, shown) = (head.to_vec(), more.to_vec(), text.to_owned());
    terminal = within(text, move || {
        stdin.write_all(&head).unwrap();
        // The pipe limits the input that is written ahead. If the program ends early, a write fails.
        while !terminal.has(&shown) {
            stdin.write_all(&more).unwrap();
        }
        terminal
    });
    let code = child.end().code();
    (code, terminal.all())
}

/// Asserts that the progress line with `progress` is removed at the end.
fn is_gone(text: &str, progress: &str) {
    let after = text.rsplit_once(progress).unwrap().1;
    let (cleared, _) = after
        .rsplit_once("\u{1b}[2K")
        .unwrap_or_else(|| panic!("the progress line was not cleared: {text:?}"));
    assert!(!cleared.contains('\n'), "{text:?}");
}

#[test]
fn a_long_capture_shows_progress() {
    let (head, packets) = capture();
    let (code, text) = feed(command(["decode", "-"]), &head, &packets, "iB/s");
    assert_eq!(code, Some(0), "{text:?}");
    is_gone(&text, "iB/s");
}

#[test]
fn a_long_conversion_shows_progress_that_does_not_mix_with_errors() {
    let lines = "020000000000000005\n".repeat(1000);
    let (code, text) = feed(command(["decode", "--value"]), b"what\n", lines.as_bytes(), "iB/s");
    assert_eq!(code, Some(1));
    is_gone(&text, "iB/s");
    let last = text.lines().next_back().unwrap();
    assert!(last.contains("error: 1 of ") && last.ends_with("lines could not be decoded"), "{text:?}");
}

#[test]
fn a_short_command_shows_no_progress() {
    let (head, packets) = capture();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), [&*head, &*packets].concat()).unwrap();
    let terminal = Terminal::new();
    let mut decode = command([Path::new("decode"), file.path()]);
    let mut child = Running::spawn(decode.env("TERM", "xterm").stdout(Stdio::null()).stderr(terminal.end()));
    drop(decode);
    assert!(child.end().success());
    assert_eq!(terminal.all(), "");
}

#[test]
fn a_long_publish_shows_the_number_of_messages() {
    let mut subscriber = command("tap --topic /shell --tls off --listen 127.0.0.1:0".split(' '));
    subscriber.stdout(Stdio::null());
    let mut subscriber = Program::spawn(subscriber);
    let address = subscriber.address();
    let args = ["publish", "--topic", "/shell", "--tls", "off", "--connect", &address];
    let line = "{\"event\":\"e\"}\n".repeat(100);
    let (code, text) = feed(command(args), b"", line.as_bytes(), "messages");
    assert_eq!(code, Some(0), "{text:?}");
    is_gone(&text, "messages");
}

#[test]
fn every_format_option_lists_its_values_and_has_the_hidden_alias_json() {
    for command in ["status", "probe", "replay", "bench relay", "decode --summary"] {
        let help = Program::run(&format!("{command} --help"), "").stdout.join("\n");
        assert!(help.contains("--format <FORMAT>") && !help.contains("--json"), "{command}: {help}");
        Program::run(&format!("{command} --format xml"), "").fails(2, &["--format", "text, json"]);
        Program::run(&format!("{command} --json --format json"), "").fails(2, &["--json", "--format"]);
    }
    let recording = "fixtures/node-worker";
    let summary = |options: &str| Program::run(&format!("decode --summary {options} {recording}"), "");
    let (alias, json, text) = (summary("--json"), summary("--format json"), summary("--format text"));
    assert!(json.stdout[0].starts_with('{'), "{json:?}");
    assert_eq!((alias.code, alias.stdout), (json.code, json.stdout));
    assert_eq!((&text.stdout, text.stdout[0].starts_with('{')), (&summary("").stdout, false));
}
