//! `curve keygen`: the keys that it prints and writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeek_bridge::zeromq::curve::{PublicKey, SecretKey};

use crate::program::{End, Program};

fn keygen(folder: &Path, args: &str) -> End {
    Program::run(&format!("curve keygen {args} --out {}", folder.display()), "")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Checks that the two texts are a pair of keys.
fn check_pair(public: &str, secret: &str) {
    let secret: SecretKey = secret.parse().unwrap();
    assert_eq!(secret.public_key(), public.parse::<PublicKey>().unwrap());
}

#[test]
fn a_pair_of_keys_is_printed_as_one_line() {
    let end = Program::run("curve keygen", "");
    assert_eq!((end.code, &*end.stderr, end.stdout.len()), (Some(0), "", 1), "{end:?}");
    let keys: serde_json::Value = serde_json::from_str(&end.stdout[0]).unwrap();
    let [public, secret] = ["public", "secret"].map(|member| keys[member].as_str().unwrap());
    assert_eq!(end.stdout[0], format!(r#"{{"public":"{public}","secret":"{secret}"}}"#));
    check_pair(public, secret);
    assert_ne!(Program::run("curve keygen", "").stdout, end.stdout);
}

#[test]
fn the_files_have_the_names_and_the_format_of_zeekctl() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("new/keys");
    for (args, name) in [("server", "server"), ("", "client")] {
        let end = keygen(&keys, args);
        assert_eq!((end.code, end.stdout.len()), (Some(0), 0), "{end:?}");
        let [public_file, secret_file] =
            ["publickey", "secretkey"].map(|kind| keys.join(format!("{name}_{kind}")));
        assert_eq!(end.stderr, format!("wrote {} and {}", public_file.display(), secret_file.display()));
        let [public, secret] = [&public_file, &secret_file].map(|file| fs::read_to_string(file).unwrap());
        for text in [&public, &secret] {
            assert!(text.len() == 41 && text.ends_with('\n'));
        }
        check_pair(&public, &secret);
        assert_eq!(mode(&secret_file), 0o600);
        assert_eq!(mode(&public_file), 0o644);
    }
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 4);
    for created in [&keys, keys.parent().unwrap()] {
        assert_eq!(mode(created), 0o700);
    }
}

#[test]
fn files_are_replaced_only_with_force() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(keygen(folder.path(), "a").code, Some(0));
    let files = ["a_publickey", "a_secretkey"].map(|name| folder.path().join(name));
    let read = || files.each_ref().map(|file| fs::read_to_string(file).unwrap());
    let before = read();
    keygen(folder.path(), "a").fails(1, &["a_secretkey exists already", "--force"]);
    assert_eq!(read(), before);
    // If only the public key exists, no secret key is left behind.
    fs::remove_file(&files[1]).unwrap();
    keygen(folder.path(), "a").fails(1, &["a_publickey exists already", "--force"]);
    assert!(!files[1].exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    // Other users could read the secret key before. They must not read the new one.
    fs::write(&files[1], "old").unwrap();
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o664)).unwrap();
    assert_eq!(keygen(folder.path(), "a --force").code, Some(0));
    let [public, secret] = read();
    check_pair(&public, &secret);
    assert_ne!(public, before[0]);
    assert_eq!(mode(&files[1]), 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_pair_that_cannot_be_complete_replaces_nothing() {
    for (blocked, other) in [("a_publickey", "a_secretkey"), ("a_secretkey", "a_publickey")] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(blocked)).unwrap();
        let other = folder.path().join(other);
        fs::write(&other, "old").unwrap();
        let end = keygen(folder.path(), "a --force");
        end.fails(1, &[&format!("{blocked} is a directory"), "choose another name"]);
        assert_eq!(fs::read_to_string(&other).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[test]
fn names_and_options_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../a", ".a", "a/b", "a:b"] {
        keygen(folder.path(), name).fails(2, &["the name of the pair of keys is invalid"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    Program::run("curve keygen server", "").fails(2, &["--out <DIR>"]);
    Program::run("curve keygen --force", "").fails(2, &["--out <DIR>"]);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    keygen(&file, "a").fails(1, &["cannot create", "--out"]);
}
