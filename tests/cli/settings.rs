//! The address and TLS options of commands: short options, environment variables, profiles, and `--tls auto`.

use std::net::TcpListener;
use std::path::Path;

use crate::program::{End, Files, Program, command};
use zeek_bridge::net::tls::ephemeral_authority;

const OPENSSL: bool = cfg!(feature = "openssl");

/// A tap without TLS that listens, and its address.
fn tap(options: &str) -> (Program, String) {
    let mut tap = Program::start(&format!("tap -t /t -l 127.0.0.1:0 --tls off {options}"));
    let address = tap.address();
    (tap, address)
}

/// Runs a program with these environment variables. Its stdin is one event.
fn with(variables: &[(&str, &str)], args: &str) -> End {
    let mut command = command(args.split_whitespace());
    command.envs(variables.iter().copied());
    let mut program = Program::spawn(command);
    if args.starts_with("publish") {
        program.give(r#"{"event":"e"}"#);
    }
    program.end()
}

/// A directory for XDG_CONFIG_HOME.
struct Config(tempfile::TempDir);

impl Config {
    fn new(text: &str) -> Self {
        let config = Config(tempfile::tempdir().unwrap());
        std::fs::create_dir(config.0.path().join("zeek-bridge")).unwrap();
        std::fs::write(config.file(), text).unwrap();
        config
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("zeek-bridge/config.toml")
    }

    fn with(&self, variables: &[(&str, &str)], args: &str) -> End {
        with(&[variables, &[("XDG_CONFIG_HOME", self.0.path().to_str().unwrap())]].concat(), args)
    }
}

#[track_caller]
fn published(end: &End, tap: Program) {
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(tap.end().json()[0]["event"], "e");
}

#[test]
fn variables_set_options_that_the_command_line_does_not_set() {
    let (listener, address) = tap("--count 1");
    let variables = [("ZEEK_BRIDGE_CONNECT", &*address), ("ZEEK_BRIDGE_TLS", "off")];
    let end = with(&variables, "publish -t /t -v");
    end.has_said(&[&format!("address {address} from the environment; TLS options from the environment")]);
    published(&end, listener);
    // The command line has precedence.
    let (listener, address) = tap("--count 1");
    let wrong = [("ZEEK_BRIDGE_CONNECT", "127.0.0.1:1"), ("ZEEK_BRIDGE_CAFILE", "/nowhere")];
    published(&with(&wrong, &format!("publish -t /t -c {address} --tls off")), listener);
    let end = with(&wrong, "tap -l 127.0.0.1:0 --tls off --timeout 100ms");
    assert_eq!(end.code, Some(0), "a listener ignores addresses to connect to: {end:?}");
    // An empty variable counts as not set.
    let empty = [("ZEEK_BRIDGE_CONNECT", ""), ("ZEEK_BRIDGE_TLS", ""), ("ZEEK_BRIDGE_PROFILE", "")];
    with(&empty, "tap --tls off")
        .fails(2, &["no address is set", "--connect", "--listen", "ZEEK_BRIDGE_CONNECT"]);
    with(&empty, "tap -c 127.0.0.1:1").fails(2, &["no TLS option is set", "--tls auto"]);
}

#[test]
fn invalid_variables_are_reported_with_the_valid_values() {
    let tls =
        |name: &'static str, value: &'static str| [("ZEEK_BRIDGE_CONNECT", "127.0.0.1:1"), (name, value)];
    for (variables, expected) in [
        (
            tls("ZEEK_BRIDGE_TLS", "on"),
            &["ZEEK_BRIDGE_TLS is set to \"on\"", "off, anonymous, mutual, auto"][..],
        ),
        (tls("ZEEK_BRIDGE_TLS_BACKEND", "x"), &["ZEEK_BRIDGE_TLS_BACKEND", "rustls"]),
        (tls("ZEEK_BRIDGE_CONNECT", "host"), &["ZEEK_BRIDGE_CONNECT is set to \"host\"", "no port"]),
        (tls("ZEEK_BRIDGE_CAFILE", "ca"), &["ZEEK_BRIDGE_CERTIFICATE and ZEEK_BRIDGE_KEYFILE are missing"]),
        (
            tls("ZEEK_BRIDGE_PROFILE", "prod"),
            &["no profile prod", "config.toml does not exist", "[profile.prod]"],
        ),
    ] {
        with(&variables, "tap").fails(2, expected);
    }
    let both = [("ZEEK_BRIDGE_TLS", "off"), ("ZEEK_BRIDGE_CAFILE", "ca")];
    with(&both, "tap -c 127.0.0.1:1")
        .fails(2, &["ZEEK_BRIDGE_TLS=off and ZEEK_BRIDGE_CAFILE exclude each other"]);
}

/// Creates certificates, and a configuration whose profiles use them by relative paths.
fn with_certificates(profiles: &str) -> (Config, Files) {
    let files = Files::issue(&ephemeral_authority().unwrap(), "a");
    let config = Config::new(profiles);
    for name in ["cafile", "certificate", "keyfile"] {
        let to = config.0.path().join("zeek-bridge").join(name);
        std::fs::copy(files.folder.path().join(name), to).unwrap();
    }
    (config, files)
}

const FILES: &str = "cafile = \"cafile\"\ncertificate = \"certificate\"\nkeyfile = \"keyfile\"\n";

#[test]
fn a_profile_sets_the_address_and_certificates_relative_to_its_file() {
    let (config, files) = with_certificates("");
    let write = |text: String| std::fs::write(config.file(), text).unwrap();
    for (variables, args) in [
        (&[][..], "publish -t /t -v --profile prod"),
        (&[("ZEEK_BRIDGE_PROFILE", "prod")], "publish -t /t -v"),
    ] {
        let mut listener = Program::start(&format!("tap -t /t -l 127.0.0.1:0 --count 1 {}", files.options));
        let address = listener.address();
        write(format!("[profile.prod]\nconnect = \"{address}\"\n{FILES}[profile.other]\ntls = \"off\"\n"));
        let end = config.with(variables, args);
        end.has_said(&[&format!("address {address} from profile prod in {}", config.file().display())]);
        published(&end, listener);
    }
    // The default profile.
    let (listener, address) = tap("--count 1");
    write(format!("[profile.default]\nconnect = \"{address}\"\ntls = \"off\"\n"));
    published(&config.with(&[], "publish -t /t"), listener);
    // Environment variables take precedence over the profile.
    let (listener, address) = tap("--count 1");
    published(&config.with(&[("ZEEK_BRIDGE_CONNECT", &*address)], "publish -t /t"), listener);
    // `probe` uses the address of the profile, and `replay` does not.
    let (mut listener, address) = tap("");
    write(format!("[profile.default]\nconnect = \"{address}\"\n"));
    let end = config.with(&[], "probe");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(end.stdout[0], format!("{address}: a Broker without TLS"));
    config.with(&[], "replay fixtures/node-worker --tls off").fails(2, &["--connect", "--listen"]);
    listener.kill();
}

#[test]
fn a_probe_presents_the_certificates_of_a_profile() {
    let (config, files) = with_certificates(&format!("[profile.prod]\n{FILES}"));
    let mut listener = Program::start(&format!("tap -t /t -l 127.0.0.1:0 {}", files.options));
    let address = listener.address();
    let end = config.with(&[], &format!("probe {address} --profile prod"));
    assert_eq!(
        (end.code, &*end.stdout[0]),
        (Some(0), &*format!("{address}: a Broker with mutual TLS")),
        "{end:?}"
    );
}

#[test]
fn a_probe_with_only_a_tls_library_reports_unused_certificates() {
    let (config, _files) = with_certificates(&format!("[profile.prod]\n{FILES}"));
    let shown = config.file().display().to_string();
    let unused = format!("the TLS options of profile prod in {shown} are not used, because the command line");
    config
        .with(&[], "probe 127.0.0.1:1 --profile prod --tls-backend rustls")
        .fails(2, &["--tls-backend alone", &unused]);
    // Without a profile, there are no certificates that the probe would ignore, so it runs. Nothing listens at port 1.
    let end = config.with(&[], "probe 127.0.0.1:1 --tls-backend rustls");
    assert_eq!(end.code, Some(3), "{end:?}");
}

#[test]
fn tls_options_of_two_sources_are_never_combined() {
    let (config, _files) =
        with_certificates(&format!("[profile.default]\nconnect = \"127.0.0.1:1\"\n{FILES}"));
    let shown = config.file().display().to_string();
    // An option that only sets the name to verify does not use the certificates of the profile.
    let unused =
        format!("the TLS options of profile default in {shown} are not used, because the command line");
    config.with(&[], "tap --verify-name a").fails(2, &["--certificate and --keyfile are missing", &unused]);
    let end = config.with(&[("ZEEK_BRIDGE_TLS", "off")], "tap");
    let stronger = format!("replace the stronger ones of profile default in {shown}");
    assert_eq!(end.code, Some(3), "{end:?}");
    end.has_said(&["WARN", &stronger, "unset"]);
    // If the command line sets weaker options, there is no warning.
    let end = config.with(&[], "tap --tls off");
    assert!(end.code == Some(3) && !end.stderr.contains("WARN"), "{end:?}");
}

#[test]
fn a_profile_on_the_command_line_precedes_variables() {
    let (config, _files) = with_certificates(&format!("[profile.prod]\nconnect = \"127.0.0.1:1\"\n{FILES}"));
    let shown = config.file().display().to_string();
    let variables = [("ZEEK_BRIDGE_CONNECT", "127.0.0.1:2"), ("ZEEK_BRIDGE_TLS", "off")];
    let end = config.with(&variables, "publish -t /t -v --profile prod");
    let source = format!("from profile prod in {shown}");
    end.fails(3, &[&format!("address 127.0.0.1:1 {source}"), &format!("TLS options {source}")]);
}

#[test]
fn a_file_of_profiles_must_be_a_regular_file_of_limited_size() {
    let config = Config::new("");
    let file = config.file();
    std::fs::write(&file, "#".repeat(1024 * 1024 + 1)).unwrap();
    config.with(&[], "tap").fails(1, &["cannot read the profiles in", "larger than 1048576 bytes"]);
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    config.with(&[], "tap").fails(1, &["cannot read the profiles in", "not a regular file"]);
}

#[test]
fn an_invalid_profile_is_reported_with_file_line_and_fix() {
    let good = "[profile.prod]\nconnect = \"127.0.0.1:1\"\ntls = \"off\"\n[profile.test]\n";
    for (text, options, expected) in [
        (
            "[profile.prod]\nconect = \"a:1\"\n",
            "--profile prod",
            &["config.toml:2: unknown field `conect`", "`connect`"][..],
        ),
        ("[profil.prod]\n", "", &["config.toml:1: unknown field `profil`", "`profile`"]),
        ("[profile.prod]\ntls = 5\n", "", &["config.toml:2: ", "expected a string"]),
        ("[profile.prod\n", "", &["config.toml:1: "]),
        (
            "[profile.prod]\n\nconnect = \"a\"\n",
            "--profile prod",
            &["config.toml:3: profile.prod.connect", "no port"],
        ),
        (
            "[profile.prod]\ntls = \"on\"\n",
            "--profile prod",
            &["config.toml:2: profile.prod.tls", "anonymous"],
        ),
        (
            "[profile.prod]\ncafile = \"\"\n",
            "--profile prod",
            &["config.toml:2: profile.prod.cafile", "empty"],
        ),
        (good, "--profile prd", &["no profile prd", "did you mean prod?", "prod, test"]),
        (good, "--profile staging", &["no profile staging", "use one of: prod, test"]),
        ("", "--profile x", &["has no profile x", "[profile.x]"]),
        (
            "[profile.p]\ntls = \"off\"\ncafile = \"a\"\n",
            "--profile p -c a:1",
            &["tls = \"off\" and cafile", "profile p in "],
        ),
        (
            "[profile.p]\ntls = \"auto\"\n",
            "--profile p -l 127.0.0.1:0",
            &["tls = \"auto\"", "--tls anonymous or"],
        ),
    ] {
        let end = Config::new(text).with(&[], &format!("tap {options}"));
        end.fails(2, expected);
    }
    let config = Config::new("");
    std::fs::remove_file(config.file()).unwrap();
    std::fs::create_dir(config.file()).unwrap();
    config.with(&[], "tap").fails(1, &["cannot read the profiles in", "config.toml"]);
    let files = [("cafile", "a"), ("certificate", "b"), ("keyfile", "c")];
    let text: String = files.iter().map(|(key, file)| format!("{key} = \"{file}\"\n")).collect();
    let config = Config::new(&format!("[profile.p]\nconnect = \"127.0.0.1:1\"\n{text}"));
    config.with(&[], "tap --profile p").fails(4, &["profile p in ", "zeek-bridge/a", "cannot be read"]);
    // If the command line has all settings, the file is not read.
    assert_eq!(Config::new("?").with(&[], "tap -l 127.0.0.1:0 --tls off --timeout 100ms").code, Some(0));
}

#[test]
fn the_profiles_in_the_guide_are_valid() {
    let guide = include_str!("../../src/guide/debugging.md");
    let block = guide.split("```").find(|block| block.starts_with("text\n[profile.default]")).unwrap();
    let config = Config::new(block.strip_prefix("text\n").unwrap());
    config
        .with(&[], "tap --profile prod")
        .fails(4, &["profile prod in ", "zeek-bridge/pki/ca.pem", "cannot be read"]);
    config.with(&[], "tap --tls off -l 127.0.0.1:0 --profile other").fails(2, &["use one of: default, prod"]);
}

#[test]
fn tls_auto_detects_the_tls_mode_but_never_uses_certificates() {
    let mut modes = vec![("off", "no TLS")];
    if OPENSSL {
        modes.push(("anonymous", "anonymous TLS"));
    }
    for (mode, name) in modes {
        let mut listener = Program::start(&format!("tap -t /t -l 127.0.0.1:0 --count 1 --tls {mode}"));
        let address = listener.address();
        let end = with(&[], &format!("publish -t /t -c {address} --tls auto"));
        end.has_said(&[&format!("{address} uses {name}"), &format!("use --tls {mode}")]);
        published(&end, listener);
    }
    let files = Files::issue(&ephemeral_authority().unwrap(), "a");
    let mut listener = Program::start(&format!("tap -t /t -l 127.0.0.1:0 {}", files.options));
    let address = listener.address();
    for command in ["tap", "tap --follow", "publish -t /t", "node --name n", "dispatch x"] {
        let end = Program::run(&format!("{command} -c {address} --tls auto"), "");
        end.fails(
            4,
            &[
                "mutual TLS",
                "auto never uses certificates",
                "--cafile FILE --certificate FILE --keyfile FILE",
            ],
        );
    }
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nothing = bound.local_addr().unwrap();
    Program::run(&format!("tap -c {nothing} --tls auto"), "").fails(3, &[&nothing.to_string(), "nothing"]);
    for (args, expected) in [
        ("tap -l 127.0.0.1:0 --tls auto", "--tls auto cannot be used to listen"),
        ("tap -c a:1 --tls auto --cafile a", "--tls auto and --cafile exclude each other"),
        ("tap -c a:1 --tls auto --tls-backend openssl", "--tls auto and --tls-backend exclude each other"),
        (
            "replay fixtures/node-worker -c a:1 --tls auto",
            "--tls auto is for commands that connect as a client",
        ),
        ("bench relay --tls auto", "--tls auto"),
        (
            "record -l 127.0.0.1:0 -c a:1 --out x --tls auto",
            "--tls auto is for commands that connect as a client",
        ),
    ] {
        Program::run(args, "").fails(2, &[expected]);
    }
}

#[test]
fn tls_auto_with_follow_waits_for_a_peer_until_a_signal() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for command in ["node --name n", "tap --follow"] {
        let mut waiting = Program::start(&format!("{command} -c {free} --tls auto --retry 50ms"));
        waiting.says("retrying in 50ms");
        waiting.signal("TERM");
        assert_eq!(waiting.end_by_itself().code, Some(0));
    }
    let mut tap = Program::start(&format!("tap --follow -t /t -c {free} --tls auto --retry 50ms --count 1"));
    tap.says("retrying in 50ms");
    let mut publish = Program::start(&format!("publish -t /t -l {free} --tls off"));
    publish.give(r#"{"event":"e"}"#);
    tap.says("uses no TLS; to connect without a probe, use --tls off");
    assert_eq!(tap.line()["event"], "e");
    assert_eq!((tap.end().code, publish.end().code), (Some(0), Some(0)));
}

#[test]
fn a_tap_without_topics_receives_all_messages() {
    let mut tap = Program::start("tap -l 127.0.0.1:0 --tls off --count 2");
    let address = tap.address();
    for topic in ["/a", "zeek/b"] {
        let end = Program::run(&format!("publish -t {topic} -c {address} --tls off"), r#"{"event":"e"}"#);
        assert_eq!(end.code, Some(0), "{end:?}");
        assert_eq!(tap.line()["topic"], topic);
    }
    assert_eq!(tap.end().code, Some(0));
}

#[test]
fn the_timeout_of_publish_and_probe_limits_the_complete_command() {
    let mut tap = Program::start("tap -t /other -l 127.0.0.1:0 --tls off");
    let publish = format!("publish -t /t -c {} --tls off", tap.address());
    let end = with(&[], &format!("{publish} --timeout 300ms"));
    end.fails(5, &["timeout: nothing was published"]);
    end_of_wait(&with(&[], &format!("{publish} --wait 200ms --timeout 1m")));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = format!("probe {}", silent.local_addr().unwrap());
    Program::run(&format!("{probe} --timeout 100ms"), "").fails(5, &["is not identified yet", "--timeout"]);
    let end = Program::run(&format!("{probe} --wait 100ms"), "");
    assert!(end.code == Some(5) && end.stdout[0].contains("no Broker"), "{end:?}");
}

#[track_caller]
fn end_of_wait(end: &End) {
    end.fails(5, &["no subscriber for the topic /t"]);
}

#[test]
fn with_fail_a_failure_reported_by_a_node_causes_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.json");
    std::fs::write(&values, r#"{"a":1}"#).unwrap();
    for (options, action, code) in [("", "x", Some(0)), ("--fail", "x", Some(1)), ("--fail", "a", Some(0))] {
        let mut dispatch =
            Program::start(&format!("dispatch -l 127.0.0.1:0 --tls off {options} get_id_value {action}"));
        let node = format!("node --name n --values {} -c {} --tls off", values.display(), dispatch.address());
        let _node = Program::start(&node);
        assert_eq!(dispatch.line()["node"], "n");
        let end = dispatch.end();
        assert_eq!(end.code, code, "{end:?}");
        assert_eq!(end.stderr.contains("failures reported by n"), code == Some(1), "{end:?}");
    }
}

#[test]
fn help_lists_command_options_then_connection_options_then_global_options() {
    for flag in ["-h", "--help"] {
        let help = Program::run(&format!("tap {flag}"), "").stdout;
        let at = |heading: &str| help.iter().position(|line| line == heading).unwrap();
        assert!(at("Options:") < at("Connection:") && at("Connection:") < at("Global options:"), "{help:#?}");
        assert!(help[at("Global options:")..].iter().any(|line| line.contains("--version")));
        let text = help.join("\n");
        for variable in
            ["CONNECT", "TLS", "CAFILE", "CAPATH", "KEYFILE", "VERIFY_NAME", "TLS_BACKEND", "PROFILE"]
        {
            assert!(text.contains(&format!("ZEEK_BRIDGE_{variable}]")), "{variable}: {text}");
        }
        assert!(!text.contains("EXIT") && help.last().unwrap().contains("manual pages"), "{text}");
    }
    let record = Program::run("record --help", "").stdout.join("\n");
    assert!(!record.contains("[env:"), "variables never apply to recorders: {record}");
    let folder = tempfile::tempdir().unwrap();
    let end = Program::with([Path::new("man"), Path::new("--out"), folder.path()]).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    for (page, has) in [("zeek-bridge-tap.1", true), ("zeek-bridge.1", true), ("zeek-bridge-decode.1", false)]
    {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        for part in [".SH ENVIRONMENT\n", "ZEEK_BRIDGE_CAPATH", ".SH FILES\n", "[profile.prod]"] {
            assert_eq!(text.contains(part), has, "{page}: {part}: {text}");
        }
    }
}
