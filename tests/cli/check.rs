//! `check`: one line for each error, the tests of files and addresses, and the summary of a valid configuration.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::program::child::{Running, within};
use crate::program::{End, Files, Program, command};
use zeek_bridge::bridge::Snapshot;
use zeek_bridge::net::tls::ephemeral_authority;

const OPENSSL: bool = cfg!(feature = "openssl");

/// A directory for a configuration and the files that it names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Checks a file with this text from a different working directory.
    fn check(&self, text: &str) -> End {
        let file = self.path("bridge.toml");
        fs::write(&file, text).unwrap();
        check(&file)
    }
}

fn check(file: &Path) -> End {
    let mut command = command([Path::new("check"), file]);
    command.env_remove("XDG_RUNTIME_DIR");
    Program::spawn(command).end()
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name).display().to_string()
}

/// A link to nodes, and a link to agents with the configuration lines `agents`, which begin in line 7.
fn links(agents: &str) -> String {
    format!(
        "[link.nodes]\nfaces = \"nodes\"\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n[link.agents]\nfaces = \"agents\"\n{agents}\n"
    )
}

const PLAIN: &str = "connect = \"127.0.0.1:2151\"\ntls = \"off\"";

#[test]
fn a_valid_configuration_is_summarized() {
    let folder = Folder::new();
    let files = Files::issue(&ephemeral_authority().unwrap(), "bridge");
    let tls = files.folder.path().display();
    let end = folder.check(&format!(
        "[bridge]\nhttp = \"127.0.0.1:0\"\n{}allow = [\"DNS:agent*\"]\nwhen_full = \"block\"\n",
        links(&format!(
            "connect = [\"127.0.0.1:2151\", \"localhost:2152\"]\ncafile = \"{tls}/cafile\"\n\
             certificate = \"{tls}/certificate\"\nkeyfile = \"{tls}/keyfile\"",
        ))
    ));
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert_eq!(
        end.stdout,
        [
            "bridge: page and metrics on http://127.0.0.1:0, status on /run/zeek-bridge/status.sock, log as text, drains for up to 10s, \
             requests in flight to a lost or unresponsive node are answered, denied requests are answered",
            "link nodes: listens on 127.0.0.1:0, no TLS, faces nodes",
            "link agents: connects to 127.0.0.1:2151 and localhost:2152, mutual TLS, allows DNS:agent*, faces agents, when \
             full: block",
            "default rule hellos: from nodes to agents: event Management::Node::API::notify_node_hello on \
             zeek/management/node*",
            "default rule responses: from nodes to agents: event Management::Node::API::node_dispatch_response on \
             zeek/management/node*",
            "default rule requests: from agents to nodes: event Management::Node::API::node_dispatch_request on \
             zeek/management/node*",
        ]
    );
}

#[test]
fn rules_are_summarized() {
    let end = Folder::new().check(&format!(
        "{}[[rule]]\nname = \"ids\"\nfrom = \"agents\"\nto = \"nodes\"\ntopics = [\"a\", \"b\\n\"]\nnodes = \"w*\"\n\
         actions = {{ get_id_value = [\"Site::*\", \"Cluster::*\", [\"x\", \"y*\", \"...\"]], reload = [[]] }}\n\
         [[rule]]\nname = \"all\"\nfrom = [\"agents\", \"nodes\"]\nto = [\"agents\", \"nodes\"]\ntopics = \"\"\n\
         commands = true\npassthrough = true\n",
        links(PLAIN)
    ));
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(
        end.stdout[3..],
        [
            "rule ids: from agents to nodes: events of the node API on a* or b\\n*, nodes w*, actions get_id_value(Site::*) \
             or get_id_value(Cluster::*) or get_id_value(x, y*, ...) or reload()",
            "rule all: from agents or nodes to agents and nodes: data-store commands on *, UNCHECKED",
        ]
    );
    end.has_said(&["warning: ", "bridge.toml:22: rule.all.passthrough: messages are forwarded unchecked"]);
}

#[test]
fn all_errors_are_reported_at_once_with_their_lines() {
    let folder = Folder::new();
    let end = folder.check(&format!(
        "{}hub = 1\n[link.third]\nconnect = \"no-port\"\ntls = \"on\"\n[[rule]]\nname = \"a\"\nform = \"agents\"\n",
        links("connect = \"127.0.0.1:2151\"\ncafile = \"no-ca.pem\"\ncertificate = \"no.pem\"\nkeyfile = \"no.key\"")
    ));
    let file = folder.path("bridge.toml");
    let file = file.display();
    end.fails(1, &[&format!("error: 10 errors in {file}")]);
    let lines: Vec<&str> = end.stderr.lines().collect();
    let expected = [
        "8: link.agents.cafile: ",
        "9: link.agents.certificate: ",
        "10: link.agents.keyfile: ",
        "11: link.agents.hub: ",
        "13: link.third.connect: ",
        "14: link.third.tls: ",
        "15: rule.a.from: ",
        "15: rule.a.to: ",
        "15: rule.a.topics: ",
        "17: rule.a.form: ",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("{file}:{expected}")), "{expected}: {end:?}");
    }
    // Relative paths are resolved against the directory of the configuration.
    let ca = folder.path("no-ca.pem");
    assert!(lines[0].contains(&format!("{}: it cannot be read: No such file", ca.display())), "{end:?}");
}

#[test]
fn syntax_errors_have_a_column() {
    let folder = Folder::new();
    let end = folder.check("[link.a]\ntls = off\nhub = 1\n");
    let file = folder.path("bridge.toml");
    end.fails(
        1,
        &[
            &format!("{}:2:7: invalid TOML: string values must be quoted", file.display()),
            &format!(
                "{}:3: link.a.hub: expected true or false (without quotes), found a number",
                file.display()
            ),
            "error: 2 errors",
        ],
    );
}

#[test]
fn faults_in_credentials_are_reported_with_their_lines() {
    let folder = Folder::new();
    let with = |certificate: &str, key: &str, more: &str| {
        let [ca, certificate, key] = ["ca.pem", certificate, key].map(fixture);
        let keys = format!("cafile = {ca:?}\ncertificate = {certificate:?}\nkeyfile = {key:?}\n{more}");
        folder.check(&links(&format!("connect = \"127.0.0.1:2151\"\n{keys}")))
    };
    for (certificate, key, more, start, expected) in [
        ("rsa.pem", "ec.sec1.key", "", "10: link.agents.keyfile", "it is not the key of the certificate"),
        (
            "ec.sec1.key",
            "ec.sec1.key",
            "",
            "9: link.agents.certificate",
            "certificate and keyfile are swapped",
        ),
        (
            "rsa.pem",
            "rsa.encrypted-pkcs8.key",
            "",
            "10: link.agents.keyfile",
            "(`passphrase_file = \"FILE\"`)",
        ),
        (
            "rsa.pem",
            "rsa.encrypted-pkcs8.key",
            "passphrase_file = \"wrong\"",
            "10: link.agents.keyfile",
            "the passphrase does not decrypt the key",
        ),
        (
            "rsa.pem",
            "rsa.encrypted-pkcs8.key",
            "passphrase_file = \"empty\"",
            "11: link.agents.passphrase_file",
            "it is empty",
        ),
        (
            "rsa.pem",
            "rsa.pkcs8.key",
            "verify_name = \"a b\"",
            "11: link.agents.verify_name",
            "neither a DNS name",
        ),
        ("rsa.pem", "rsa.pkcs8.key", "capath = \"empty\"", "11: link.agents.capath", "cannot be read"),
    ] {
        fs::write(folder.path("wrong"), "wrong\n").unwrap();
        fs::write(folder.path("empty"), "").unwrap();
        let end = with(certificate, key, more);
        end.fails(1, &["error: 1 error in"]);
        let line = end
            .stderr
            .lines()
            .find(|line| line.contains(expected))
            .unwrap_or_else(|| panic!("{expected}: {end:?}"));
        assert!(line.contains(&format!("bridge.toml:{start}: ")), "{start}: {end:?}");
    }
    let expired = with("expired.pem", "expired.key", "");
    assert_eq!(expired.code, Some(0), "{expired:?}");
    expired.has_said(&["bridge.toml:9: link.agents.certificate: ", "expired"]);
    // The warning is printed only once, and not also as a log line.
    assert!(!expired.stderr.contains("WARN"), "{expired:?}");
    assert_eq!(expired.stderr.matches("expired.pem").count(), 1, "{expired:?}");
}

#[test]
fn a_certificate_for_https_may_be_of_a_different_ca_than_those_of_clients() {
    let folder = Folder::new();
    let [own, clients] =
        ["bridge", "browser"].map(|name| Files::issue(&ephemeral_authority().unwrap(), name));
    let tls = own.folder.path().display();
    let ca = clients.folder.path().display();
    let keys = |separator: &str| {
        let keys = [("certificate", &tls), ("keyfile", &tls), ("cafile", &ca)];
        keys.map(|(key, folder)| format!("{key} = \"{folder}/{key}\"")).join(separator)
    };
    let http = format!("[bridge]\nhttp = \"127.0.0.1:0\"\nhttp_tls = {{ {} }}\n", keys(", "));
    let end = folder.check(&format!("{http}{}", links(PLAIN)));
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(!end.stderr.contains("http_tls"), "{end:?}");
    // For a link, the same certificates cause a warning.
    let end = folder.check(&links(&format!("connect = \"127.0.0.1:2151\"\n{}", keys("\n"))));
    end.has_said(&["link.agents.certificate: ", "not signed by a CA"]);
}

#[test]
fn tls_settings_that_require_openssl_are_valid_only_in_a_build_with_openssl() {
    let folder = Folder::new();
    let anonymous = folder.check(&links("connect = \"127.0.0.1:2151\"\ntls = \"anonymous\""));
    let files = Files::issue(&ephemeral_authority().unwrap(), "bridge");
    let tls = files.folder.path().display();
    let openssl = folder.check(&links(&format!(
        "connect = \"127.0.0.1:2151\"\ncafile = \"{tls}/cafile\"\ncertificate = \"{tls}/certificate\"\n\
         keyfile = \"{tls}/keyfile\"\ntls_backend = \"openssl\""
    )));
    if OPENSSL {
        assert_eq!((anonymous.code, openssl.code), (Some(0), Some(0)), "{anonymous:?} {openssl:?}");
        assert_eq!(anonymous.stderr, "", "{anonymous:?}");
        assert!(!openssl.stderr.contains("link.agents"), "{openssl:?}");
    } else {
        anonymous.fails(
            1,
            &["bridge.toml:8: link.agents.tls: anonymous TLS requires OpenSSL", "--features openssl"],
        );
        openssl
            .fails(1, &["bridge.toml:11: link.agents.tls_backend: ", "this build does not include OpenSSL"]);
    }
}

#[test]
fn a_host_name_that_cannot_be_resolved_is_an_error() {
    // RFC 6761 reserves this name, so it never resolves.
    let end =
        Folder::new().check(&links("connect = [\"127.0.0.1:2151\", \"zeek.invalid:2151\"]\ntls = \"off\""));
    end.fails(
        1,
        &["bridge.toml:7: link.agents.connect: zeek.invalid:2151: cannot find the host: ", "check the name"],
    );
}

#[test]
fn listening_on_an_address_of_another_host_is_an_error() {
    // These addresses are reserved for documentation.
    let end = Folder::new().check(&format!(
        "[bridge]\nhttp = \"192.0.2.1:9747\"\n{}",
        links("listen = [\"127.0.0.1:0\", \"[2001:db8::1]:2151\"]\ntls = \"off\"")
    ));
    end.fails(
        1,
        &[
            "bridge.toml:2: bridge.http: 192.0.2.1:9747 is not an address of this host",
            "bridge.toml:9: link.agents.listen: [2001:db8::1]:2151 ",
        ],
    );
}

#[test]
fn a_port_in_use_causes_a_warning_and_check_does_not_connect_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let end = Folder::new().check(&links(&format!("listen = \"{address}\"\ntls = \"off\"")));
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&[&format!(
        "bridge.toml:7: link.agents.listen: {address} is in use; choose another port, unless the bridge itself"
    )]);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn unusable_paths_of_the_status_socket_are_reported() {
    let folder = Folder::new();
    let check = |status: &str| {
        folder.check(&format!("[bridge]\nhttp = \"off\"\nstatus = \"{status}\"\n{}", links(PLAIN)))
    };
    let status = "bridge.toml:3: bridge.status: ";
    check("bridge.toml").fails(1, &[status, "bridge.toml exists, and is not a socket"]);
    let end = check("nowhere/status.sock");
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["warning: ", status, "/nowhere does not exist", "RuntimeDirectory"]);
    let _socket = UnixListener::bind(folder.path("status.sock")).unwrap();
    for good in ["status.sock", "other.sock", "off"] {
        let end = check(good);
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{good}");
    }
}

#[test]
fn a_default_status_socket_that_cannot_be_created_is_reported() {
    let folder = Folder::new();
    let file = folder.path("bridge.toml");
    fs::write(&file, format!("[bridge]\nhttp = \"off\"\n{}", links(PLAIN))).unwrap();
    let check = |runtime: &Path| {
        let mut command = command([Path::new("check"), &file]);
        command.env("XDG_RUNTIME_DIR", runtime);
        Program::spawn(command).end()
    };
    // Use a file instead of a directory without write permission, because root may write to every directory.
    let end = check(&file);
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&[
        "warning: ",
        "bridge.toml/zeek-bridge.sock",
        "`zeek-bridge run` fails",
        "set status in [bridge]",
    ]);
    for good in [folder.0.path(), &folder.path("new")] {
        let end = check(good);
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{}", good.display());
    }
}

#[test]
fn a_relative_status_socket_is_resolved_against_the_current_directory() {
    let folder = Folder::new();
    let text = format!("[bridge]\nhttp = \"off\"\nstatus = \"status.sock\"\n{}", links(PLAIN));
    fs::write(folder.path("bridge.toml"), text).unwrap();
    let mut command = command(["check", "bridge.toml"]);
    command.current_dir(folder.0.path());
    let end = Program::spawn(command).end();
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
}

/// The status of a bridge may contain text from peers.
#[test]
fn the_status_as_json_has_no_control_characters() {
    let folder = Folder::new();
    let socket = folder.path("status.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let text = "w\u{9b}2J\u{202e}x";
    let mut status = Snapshot::default();
    status.refused.insert(text.to_owned(), 1);
    let status = serde_json::to_string(&status).unwrap();
    let serving = std::thread::spawn(move || {
        listener.accept().unwrap().0.write_all(status.as_bytes()).unwrap();
    });
    let end = Program::run(&format!("status --format json --socket {}", socket.display()), "");
    serving.join().unwrap();
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert!(end.stdout[0].contains(r"w\u009b2J\u202ex"), "{end:?}");
    assert_eq!(end.json()[0]["refused"][text], 1);
}

#[test]
fn an_unreadable_file_ends_with_exit_code_1_and_wrong_arguments_with_exit_code_2() {
    let folder = Folder::new();
    let missing = folder.path("missing.toml");
    check(&missing).fails(1, &["missing.toml: cannot read the file: No such file", "check its name"]);
    check(folder.0.path()).fails(1, &["cannot read the file: Is a directory"]);
    Program::run("check", "").fails(2, &["<CONFIG.toml>"]);
    Program::run("check a b", "").fails(2, &["unexpected argument 'b'"]);
    let help = Program::run("check --help", "");
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_topic_whose_messages_can_return_causes_a_warning_with_the_path() {
    let folder = Folder::new();
    let config = |x_and_y: &str| {
        let link = |name: &str, lines: &str| {
            format!("[link.{name}]\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n{lines}")
        };
        let all = "[\"local\", \"x\", \"y\"]";
        [link("local", ""), link("x", x_and_y), link("y", x_and_y)].concat()
            + &format!("[[rule]]\nname = \"all\"\nfrom = {all}\nto = {all}\ntopics = \"/t\"\n")
    };
    let end = folder.check(&config(""));
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&[
        "warning: ",
        "bridge.toml:13: rule.all.to: a message on topic /t from local is sent to x; if the other side of x is connected to \
         that of y, it returns over y and is sent to local by this rule: local -> x -> y -> local; ",
    ]);
    let end = folder.check(&config("group = \"pair\"\nttl = 2\n"));
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert_eq!(end.stdout[2], "link x: listens on 127.0.0.1:0, no TLS, in group pair, ttl 2");
}

#[test]
fn thousands_of_errors_are_reported_to_a_reader_that_starts_late() {
    const COUNT: usize = 3000;
    let folder = Folder::new();
    let path = folder.path("bridge.toml");
    let unknown: String = (0..COUNT).map(|n| format!("unknown_{n} = 1\n")).collect();
    fs::write(&path, format!("[bridge]\n{unknown}{}", links(PLAIN))).unwrap();
    let mut check = command([Path::new("check"), &path]);
    let mut check = Running::spawn(check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
    let stderr = check.stderr.take().unwrap();
    // The program writes until the pipe is full. A pipe holds 64 KiB.
    let stderr = within("a full pipe", move || {
        while rustix::io::ioctl_fionread(&stderr).unwrap() < 60 * 1024 {
            std::thread::yield_now();
        }
        stderr
    });
    let stderr = String::from_utf8(crate::program::child::rest(stderr)).unwrap();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), COUNT + 1, "{stderr}");
    for (n, line) in lines.iter().take(COUNT).enumerate() {
        assert!(line.contains(&format!("bridge.toml:{}: bridge.unknown_{n}: ", n + 2)), "{line}");
    }
    assert!(lines.last().unwrap().starts_with("error: "), "{:?}", lines.last());
    assert_eq!(check.end().code(), Some(1));
}
