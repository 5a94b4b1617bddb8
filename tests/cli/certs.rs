//! `certs` and `init`: the files that they write are valid, and no file is overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::program::child::{Running, skip};
use crate::program::{Program, command_of};

fn run(folder: &Path, args: &str) -> crate::program::End {
    Program::run(&format!("certs {args} --dir {}", folder.display()), "")
}

/// A CA with certificates of these names.
fn issued(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let end = run(folder.path(), "init");
    assert_eq!(end.code, Some(0), "{end:?}");
    for name in names {
        let end = run(folder.path(), &format!("issue {name}"));
        assert_eq!(end.code, Some(0), "{end:?}");
    }
    folder
}

/// The options that `certs issue` prints.
fn options(end: &crate::program::End) -> String {
    end.stdout.iter().find(|line| line.starts_with("--cafile ")).unwrap().clone()
}

#[test]
fn two_programs_with_issued_certificates_and_the_printed_options_have_a_peering() {
    let folder = issued(&[]);
    let tap = run(folder.path(), "issue tap");
    let publish = run(folder.path(), "issue publish --san 127.0.0.1 --san DNS:localhost");
    let mut program = Program::start(&format!(
        "tap --topic /t --listen 127.0.0.1:0 --count 1 --identity {}",
        options(&tap)
    ));
    let address = program.address();
    let command = format!("publish --topic /t --connect {address} {}", options(&publish));
    let published = Program::run(&command, r#"{"event":"e"}"#);
    assert_eq!(published.code, Some(0), "{published:?}");
    let received = program.line();
    assert_eq!(received["identity"]["subject"], "CN=publish");
    assert_eq!(received["identity"]["sans"], serde_json::json!(["IP:127.0.0.1", "DNS:localhost"]));
}

#[test]
fn the_settings_of_zeek_name_absolute_files_that_exist() {
    let folder = issued(&[]);
    let end = run(folder.path(), "issue worker-1");
    for setting in ["ssl_cafile", "ssl_certificate", "ssl_keyfile"] {
        let line = end.stdout.iter().find(|line| line.contains(setting)).unwrap();
        let path = Path::new(line.split('"').nth(1).unwrap());
        assert!(path.is_absolute() && path.exists(), "{line}");
    }
}

#[test]
fn keys_are_readable_by_their_owner_only_and_nothing_is_overwritten() {
    let folder = issued(&["a"]);
    for key in ["ca.key", "a.key"] {
        let mode = fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let before = ["ca.pem", "ca.key", "a.pem", "a.key"].map(read);
    run(folder.path(), "init").fails(1, &["ca.key exists already"]);
    run(folder.path(), "issue a").fails(1, &["a.key exists already"]);
    assert_eq!(["ca.pem", "ca.key", "a.pem", "a.key"].map(read), before);
    // If the certificate cannot be written, the key is not kept.
    fs::write(folder.path().join("b.pem"), "").unwrap();
    run(folder.path(), "issue b").fails(1, &["b.pem exists already"]);
    assert!(!folder.path().join("b.key").exists());
}

#[test]
fn a_certificate_is_renewed_with_its_names_and_a_new_key() {
    let folder = issued(&[]);
    let sans = "--san DNS:w.example --san 127.0.0.1 --san IP:2001:db8::1";
    assert_eq!(run(folder.path(), &format!("issue w {sans}")).code, Some(0));
    run(folder.path(), "issue w").fails(1, &["exists already", "zeek-bridge certs renew"]);
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let before = ["w.pem", "w.key"].map(read);
    // Other users must not be able to read the new key, even if they could read the old one.
    fs::set_permissions(folder.path().join("w.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let end = run(folder.path(), "renew w --days 30");
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["replaced ", "w.pem", "w.key", "valid until "]);
    let after = ["w.pem", "w.key"].map(read);
    assert!(before[0] != after[0] && before[1] != after[1]);
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("w.key"), 0o640);
    let mut files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["ca.key", "ca.pem", "w.key", "w.pem"]);

    // A service may read its key as a member of the file's group, through a symbolic link.
    let key = folder.path().join("w.key");
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("key");
    fs::rename(&key, &target).unwrap();
    std::os::unix::fs::symlink(&target, &key).unwrap();
    assert_eq!(run(folder.path(), "renew w").code, Some(0));
    assert!(key.is_symlink() && read("w.key") == fs::read(&target).unwrap() && read("w.key") != after[1]);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    let after = ["w.pem", "w.key"].map(read);

    // The certificate and key match, and the names are those of the first certificate.
    let tap = run(folder.path(), "issue tap");
    let mut program = Program::start(&format!(
        "tap --topic /t --listen 127.0.0.1:0 --count 1 --identity {}",
        options(&tap)
    ));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let command = format!(
        "publish --topic /t --connect {} --cafile {} --certificate {} --keyfile {}",
        program.address(),
        file("ca.pem"),
        file("w.pem"),
        file("w.key")
    );
    let published = Program::run(&command, r#"{"event":"e"}"#);
    assert_eq!(published.code, Some(0), "{published:?}");
    let identity = program.line()["identity"].clone();
    assert_eq!(identity["subject"], "CN=w");
    assert_eq!(identity["sans"], serde_json::json!(["DNS:w.example", "IP:127.0.0.1", "IP:2001:db8::1"]));

    // If the keyfile is a symbolic link, it must not lead to the CA's key, the certificate itself, a missing file or a pipe.
    let ca = [read("ca.pem"), read("ca.key")];
    let pipe = elsewhere.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for target in ["ca.key".as_ref(), "w.pem".as_ref(), elsewhere.path().join("missing").as_path(), &pipe] {
        fs::remove_file(&key).unwrap();
        std::os::unix::fs::symlink(target, &key).unwrap();
        run(folder.path(), "renew w").fails(1, &["cannot replace ", "w.key", "a separate regular file"]);
        assert!(key.is_symlink());
    }
    assert_eq!(([read("ca.pem"), read("ca.key")], read("w.pem")), (ca, after[0].clone()));
    fs::remove_file(&key).unwrap();
    fs::rename(&target, &key).unwrap();

    run(folder.path(), "renew nobody").fails(1, &["nobody.pem", "zeek-bridge certs issue nobody"]);
    fs::write(folder.path().join("w.pem"), "nonsense").unwrap();
    run(folder.path(), "renew w").fails(1, &["w.pem cannot be renewed: "]);
    assert_eq!(read("w.key"), after[1]);
}

#[test]
fn the_printed_configuration_of_a_link_is_valid() {
    let folder = issued(&[]);
    let end = run(folder.path(), "issue bridge");
    let keys: Vec<_> =
        end.stdout.iter().filter(|line| line.contains(" = \"") && !line.contains("redef")).collect();
    assert_eq!(keys.len(), 3, "{end:?}");
    let keys: String = keys.into_iter().map(|key| format!("{key}\n")).collect();
    let config = folder.path().join("bridge.toml");
    let text = format!(
        "[bridge]\nhttp = 'off'\nstatus = 'off'\n[link.nodes]\nfaces = 'nodes'\nlisten = '127.0.0.1:0'\n{keys}\
                        [link.agents]\nfaces = 'agents'\nlisten = '127.0.0.1:0'\ntls = 'off'\n"
    );
    fs::write(&config, text).unwrap();
    let end = Program::with([Path::new("check"), &config]).end();
    assert_eq!((end.code, &*end.stderr), (Some(0), ""), "{end:?}");
}

#[test]
fn invalid_names_and_files_are_reported() {
    let folder = issued(&[]);
    for name in ["../a", "a/b", ".a", "a b"] {
        let end = Program::with(["certs", "issue", name, "--dir", folder.path().to_str().unwrap()]).end();
        end.fails(2, &["cannot be the name of a certificate"]);
    }
    run(folder.path(), "issue ca").fails(2, &["are those of the CA"]);
    for san in ["IP:x", "DNS:a..b", "DNS:192.0.2.1", "DNS:"] {
        run(folder.path(), &format!("issue a --san {san}")).fails(2, &["not a host name or an IP address"]);
    }
    let other = issued(&[]);
    fs::copy(other.path().join("ca.key"), folder.path().join("ca.key")).unwrap();
    run(folder.path(), "issue a").fails(1, &["ca.key cannot be used: it is not the key of"]);
    assert!(!folder.path().join("a.pem").exists());
    fs::remove_file(folder.path().join("ca.pem")).unwrap();
    run(folder.path(), "issue a").fails(1, &["cannot read", "zeek-bridge certs init"]);
}

#[test]
fn openssl_accepts_the_certificates() {
    if Command::new("openssl").arg("version").output().is_err() {
        skip("openssl is not installed: the certificates are not verified");
        return;
    }
    let folder = issued(&["worker-1.example"]);
    let file = |name: &str| folder.path().join(name);
    for purpose in ["sslserver", "sslclient"] {
        let mut verify = command_of("openssl", ["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
        let end = Running::spawn(verify.arg(file("ca.pem")).arg(file("worker-1.example.pem"))).output();
        assert!(end.status.success(), "{purpose}: {end:?}");
    }
}

#[test]
fn init_writes_a_valid_configuration_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.toml");
    let init = || Program::with([Path::new("init"), &path]).end();
    let end = init();
    assert_eq!(end.code, Some(0), "{end:?}");
    let end = Program::with([Path::new("check"), &path]).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    init().fails(1, &["exists already"]);
    let end = Program::run("init -", "");
    assert_eq!(end.stdout.join("\n"), fs::read_to_string(&path).unwrap().trim_end());
}

#[test]
fn init_for_websocket_writes_a_server_of_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.toml");
    let end = Program::with(["init", "--for", "websocket", path.to_str().unwrap()]).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    let end = Program::with([Path::new("check"), &path]).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(
        end.stdout.contains(&"link programs: listens on ws://127.0.0.1:27759, no TLS".to_owned()),
        "{end:?}"
    );
}

#[test]
fn init_for_a_migration_writes_a_bridge_from_broker_to_zeromq() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.toml");
    let end = Program::with(["init", "--for", "zeromq-migration", path.to_str().unwrap()]).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    let check = || Program::with([Path::new("check"), &path]).end();
    let end = check();
    assert_eq!(end.code, Some(0), "{end:?}");
    for link in ["cluster: connects to zeromq://127.0.0.1:27760", "sensors: connects to 127.0.0.1:9999"] {
        assert!(end.stdout.iter().any(|line| line.starts_with(&format!("link {link}"))), "{link}: {end:?}");
    }
    // The lines that are commented out are valid, too. The files of the keys do not exist here.
    let text = fs::read_to_string(&path).unwrap();
    let all = text.replace("\n#[[rule]]", "\n[[rule]]").replace("\n#curve", "\ncurve");
    let keys = ["name", "from", "to", "topics", "events"];
    let all = keys.iter().fold(all, |all, key| all.replace(&format!("\n#{key} = "), &format!("\n{key} = ")));
    fs::write(&path, all).unwrap();
    let end = check();
    let is_expected = |line: &&str| {
        ["warning: ", "_publickey", "_secretkey", "error: "].iter().any(|part| line.contains(part))
    };
    assert!(end.stderr.lines().all(|line| is_expected(&line)), "{end:?}");
    end.has_said(&["/opt/zeek/spool/zeromq/curve/server_publickey", "error: 2 errors"]);
}

#[test]
fn only_a_valid_ca_issues_certificates() {
    let folder = issued(&["leaf"]);
    let other = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| fs::copy(folder.path().join(from), other.path().join(to)).unwrap();
    copy("leaf.pem", "ca.pem");
    copy("leaf.key", "ca.key");
    run(other.path(), "issue a").fails(1, &["it is not the certificate of a CA"]);
    // A device that can be read without end.
    for file in ["ca.key", "ca.pem"] {
        fs::remove_file(other.path().join(file)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", other.path().join(file)).unwrap();
        run(other.path(), "issue a").fails(1, &["it is larger than 1 MiB"]);
    }
    // A pipe without a writer.
    fs::remove_file(other.path().join("ca.pem")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, other.path().join("ca.pem"), mode).unwrap();
    run(other.path(), "issue a").fails(1, &["ca.pem: it is a pipe"]);
    // Add a byte order mark, which some editors write.
    let text = fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    fs::write(folder.path().join("ca.pem"), format!("\u{feff}{text}")).unwrap();
    assert_eq!(run(folder.path(), "issue b").code, Some(0));
}

#[test]
fn printed_paths_are_quoted_for_the_shell_and_for_zeek() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a \"b\" 'c'");
    let dir = folder.to_str().unwrap();
    assert_eq!(Program::with(["certs", "init", "--dir", dir]).end().code, Some(0));
    let end = Program::with(["certs", "issue", "w", "--dir", dir]).end();
    let options = options(&end);
    assert!(options.contains(r#"a "b" '\''c'\''/ca.pem'"#), "{options}");
    assert!(end.stdout.iter().any(|line| line.contains(r#"a \"b\" 'c'/ca.pem";"#)), "{end:?}");
}

#[test]
fn a_directory_whose_path_cannot_be_printed_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a\u{1b}[2J\nb");
    let dir = folder.to_str().unwrap();
    Program::with(["certs", "init", "--dir", dir]).end().fails(1, &[r"a\u{1b}[2J\nb", "control characters"]);
    assert!(!folder.exists());
    // A symbolic link to such a directory is also refused.
    let ca = issued(&[]);
    fs::rename(ca.path(), &folder).unwrap();
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let dir = link.to_str().unwrap();
    Program::with(["certs", "issue", "w", "--dir", dir]).end().fails(1, &["control characters"]);
    assert!(!folder.join("w.key").exists());
}
