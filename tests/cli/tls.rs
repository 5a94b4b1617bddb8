//! The TLS options: each kind of TLS, each mismatch, renewal, and the identity of a peer.

use std::path::Path;

use crate::program::child::soon;
use crate::program::{End, Files, Program, command};
use serde_json::{Value as Json, json};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, Status, StatusReceiver};
use zeek_bridge::net::tls::{PeerIdentity, Tls, ephemeral_authority};

const OPENSSL: bool = cfg!(feature = "openssl");

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name).display().to_string()
}

/// Returns the options for a certificate of the fixtures.
fn certificate(certificate: &str, key: &str) -> String {
    let [ca, certificate, key] = ["ca.pem", certificate, key].map(fixture);
    format!("--cafile {ca} --certificate {certificate} --keyfile {key}")
}

/// Publishes one event with the first options to a tap with the second options.
fn publish_to_tap(publish: &str, tap: &str) -> (End, End) {
    let mut tap = Program::start(&format!("tap --topic /t --listen 127.0.0.1:0 --count 1 {tap}"));
    let address = tap.address();
    let publish = format!("publish --topic /t --connect {address} {publish}");
    let published = Program::run(&publish, r#"{"event":"e"}"#);
    if published.code != Some(0) {
        tap.signal("TERM");
    }
    (published, tap.end())
}

#[track_caller]
fn succeeds(ends: &(End, End)) {
    assert_eq!((ends.0.code, ends.1.code), (Some(0), Some(0)), "{ends:?}");
    assert_eq!(ends.1.json()[0]["event"], "e");
}

/// Asserts that a tap with these options fails to start.
fn fails_to_start(options: &str, code: i32, expected: &[&str]) {
    Program::run(&format!("tap --topic /t --listen 127.0.0.1:0 {options}"), "").fails(code, expected);
}

#[test]
fn invalid_combinations_of_tls_options_are_reported() {
    let mutual = "mutual TLS requires --cafile (or --capath), --certificate and --keyfile";
    for (options, expected) in [
        ("--capath a", "--certificate and --keyfile are missing"),
        ("--certificate a --keyfile b", "--cafile is missing"),
        ("--passphrase-file a", mutual),
        ("--verify-name a", mutual),
        ("--tls mutual --tls-backend rustls", mutual),
        ("--tls off --capath a", "--tls off and --capath"),
        ("--tls off --passphrase-file a", "--tls off and --passphrase-file"),
        ("--tls off --tls-backend rustls", "--tls off and --tls-backend"),
        ("--tls anonymous --cafile a", "--tls anonymous and --cafile"),
        ("--tls anonymous --verify-name a", "--tls anonymous and --verify-name"),
        ("--tls anonymous --tls-backend rustls", "only OpenSSL supports anonymous TLS"),
        ("--tls-backend openssl", "no TLS option is set"),
        ("--tls-backend gnutls", "gnutls"),
    ] {
        fails_to_start(options, 2, &[expected]);
    }
}

#[test]
fn anonymous_tls_works_with_openssl_and_fails_with_a_hint_without_it() {
    if !OPENSSL {
        let hint = &["--tls anonymous", "cargo build --features openssl", "Broker::ssl_cafile", "--help"];
        for command in ["tap --topic x", "publish --topic x", "node --name n", "dispatch get_id_value x"] {
            Program::run(&format!("{command} --connect 127.0.0.1:1 --tls anonymous"), "").fails(2, hint);
        }
        return;
    }
    let ends = publish_to_tap("--tls anonymous", "--tls anonymous --tls-backend openssl --identity");
    succeeds(&ends);
    for end in [&ends.0, &ends.1] {
        assert!(!end.stderr.contains("WARN"), "loopback is not exposed: {end:?}");
    }
    assert_eq!(ends.1.json()[0]["identity"], Json::Null);
}

/// No host answers at 192.0.2.1, because 192.0.2.0/24 is reserved for documentation.
#[test]
fn one_warning_is_logged_for_a_remote_connection_without_certificates() {
    let modes: &[_] = if OPENSSL {
        &[("off", "no TLS at "), ("anonymous", "anonymous TLS at ")]
    } else {
        &[("off", "no TLS at ")]
    };
    let files = Files::issue(&ephemeral_authority().unwrap(), "a");
    let warnings = |args: &str| {
        let end = Program::run(args, "");
        end.stderr.matches("WARN").count()
    };
    for (mode, text) in modes {
        for args in [
            "tap --topic /t --timeout 0.1 --listen 0.0.0.0:0",
            "tap --topic /t --timeout 0.1 --listen [::]:0",
            "tap --topic /t --timeout 0.1 --connect 192.0.2.1:9",
            "dispatch --timeout 0.1 --listen 0.0.0.0:0 x",
            "replay fixtures/node-worker --timeout 0.1 --listen 0.0.0.0:0",
        ] {
            let end = Program::run(&format!("{args} --tls {mode}"), "");
            end.has_said(&[
                "WARN",
                text,
                "can read and change everything",
                "--cafile, --certificate and --keyfile",
            ]);
            assert_eq!(end.stderr.matches("WARN").count(), 1, "{end:?}");
        }
        for address in ["--listen 127.0.0.1:0", "--listen [::1]:0", "--listen localhost:0"] {
            assert_eq!(
                warnings(&format!("tap --topic /t --timeout 0.1 {address} --tls {mode}")),
                0,
                "{address}"
            );
        }
    }
    assert_eq!(warnings(&format!("tap --topic /t --timeout 0.1 --listen 0.0.0.0:0 {}", files.options)), 0);
}

#[test]
fn the_tls_back_end_can_be_chosen() {
    let authority = ephemeral_authority().unwrap();
    let [one, other] = ["one", "other"].map(|name| Files::issue(&authority, name));
    let openssl = format!("{} --tls-backend openssl", one.options);
    for backend in ["auto", "rustls"] {
        succeeds(&publish_to_tap(&format!("{} --tls-backend {backend}", one.options), &other.options));
    }
    if OPENSSL {
        succeeds(&publish_to_tap(&openssl, &other.options));
    } else {
        let hint = &[
            "--tls-backend openssl",
            "does not include OpenSSL",
            "cargo build --features openssl",
            "--help",
        ];
        fails_to_start(&openssl, 2, hint);
    }
}

#[test]
fn a_certificate_that_rustls_refuses_works_with_openssl() {
    let version1 = certificate("v1.pem", "v1.key");
    let file = fixture("v1.pem");
    let refusal = [file.as_str(), "X.509 version 1", "-extfile v3.ext"];
    fails_to_start(&format!("{version1} --tls-backend rustls"), 4, &refusal);
    if !OPENSSL {
        fails_to_start(&version1, 4, &refusal);
        fails_to_start(&version1, 4, &["cargo build --features openssl"]);
        return;
    }
    for options in [version1.clone(), format!("{version1} --tls-backend openssl")] {
        // The publisher must select OpenSSL explicitly, because its own certificate does not require OpenSSL.
        let other = certificate("ec.pem", "ec.sec1.key");
        succeeds(&publish_to_tap(&format!("{other} --tls-backend openssl"), &options));
        let ends = publish_to_tap(&other, &options);
        ends.0.fails(4, &["(subject CN=v1-leaf, issuer CN=rsa-ca)", "--tls-backend openssl"]);
        let ends = publish_to_tap(&options, &options);
        succeeds(&ends);
    }
    let ends = publish_to_tap(&version1, &version1);
    ends.0.has_said(&["using OpenSSL instead of rustls", &file]);
}

#[test]
fn a_key_is_decrypted_with_its_passphrase_from_a_file_or_the_environment() {
    let options = certificate("rsa.pem", "rsa.encrypted-pkcs8.key");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, passphrase: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, passphrase).unwrap();
        format!("{options} --passphrase-file {}", path.display())
    };
    let (right, wrong) = (file("right", "secret\n"), file("wrong", "not it\n"));
    succeeds(&publish_to_tap(&right, &certificate("ec.pem", "ec.sec1.key")));
    fails_to_start(&options, 4, &["the key is encrypted", "--passphrase-file"]);
    fails_to_start(&wrong, 4, &["rsa.encrypted-pkcs8.key", "the passphrase does not decrypt the key"]);
    fails_to_start(&file("empty", "\n"), 4, &["empty"]);
    fails_to_start(&format!("{options} --passphrase-file /nowhere"), 4, &["/nowhere", "cannot be read"]);

    let with = |passphrase: &str, options: &str| {
        let args = format!("tap --topic /t --listen 127.0.0.1:0 --timeout 0.1 {options}");
        let mut command = command(args.split_whitespace());
        command.env("ZEEK_BRIDGE_PASSPHRASE", passphrase);
        Program::spawn(command).end()
    };
    assert_eq!(with("secret", &options).code, Some(0));
    with("not it", &options).fails(4, &["the passphrase does not decrypt the key"]);
    assert_eq!(with("not it", &right).code, Some(0), "the file has precedence");
    with("", &options).fails(4, &["the key is encrypted"]);
    assert_eq!(with("not it", "--tls off").code, Some(0), "--tls off ignores the passphrase variable");
    let end = with("not it", &wrong);
    assert!(!end.stderr.contains("not it"), "a passphrase is never shown: {end:?}");
}

#[test]
fn cas_can_be_in_a_directory() {
    let cas = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("ca.pem"), cas.path().join("some-name.pem")).unwrap();
    let [certificate, key] = ["ec.pem", "ec.sec1.key"].map(fixture);
    let capath = format!("--capath {} --certificate {certificate} --keyfile {key}", cas.path().display());
    succeeds(&publish_to_tap(&capath, &self::certificate("rsa.pem", "rsa.pkcs8.key")));
    std::fs::remove_file(cas.path().join("some-name.pem")).unwrap();
    fails_to_start(&capath, 4, &["capath", cas.path().to_str().unwrap(), "no file in this directory"]);
}

#[test]
fn a_name_is_verified_if_it_is_set() {
    let authority = ephemeral_authority().unwrap();
    let [one, other] = ["one", "other"].map(|name| Files::issue(&authority, name));
    succeeds(&publish_to_tap(&format!("{} --verify-name other", one.options), &other.options));
    let ends = publish_to_tap(&format!("{} --verify-name third", one.options), &other.options);
    ends.0.fails(4, &["does not have the name to verify", "expected third; it has DNS:other"]);
    ends.1.has_said(&["no peering with 127.0.0.1:"]);
    fails_to_start(&format!("{} --verify-name a:b:c", one.options), 4, &["a:b:c", "neither a DNS name nor"]);
}

#[test]
fn a_key_that_others_can_read_causes_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::issue(&ephemeral_authority().unwrap(), "a");
    let key = files.folder.path().join("keyfile");
    let tap = format!("tap --topic /t --listen 127.0.0.1:0 --timeout 0.1 {}", files.options);
    let end = Program::run(&tap, "");
    assert!(end.code == Some(0) && !end.stderr.contains("WARN"), "{end:?}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let end = Program::run(&tap, "");
    assert_eq!(end.code, Some(0));
    end.has_said(&["WARN", &key.display().to_string(), "other users can read it", "chmod go-rwx"]);
}

#[test]
fn every_mismatch_fails_at_once_and_each_side_reports_the_cause() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "a");
    let foreign = Files::issue(&ephemeral_authority().unwrap(), "a");
    let (off, anonymous) = ("--tls off", "--tls anonymous");
    let (mutual, foreign) = (files.options.as_str(), foreign.options.as_str());
    // The connector and its exit code, the listener, and a part of the error message of each.
    let mut table = vec![
        (off, 4, mutual, "Turn TLS on here", "Broker::disable_ssl=T"),
        (mutual, 4, off, "Broker::disable_ssl=T", "Turn TLS on here"),
        (mutual, 4, foreign, "not signed by a CA in our cafile", "does not trust the CA"),
    ];
    if OPENSSL {
        table.extend([
            (off, 4, anonymous, "enable TLS here", "Broker::disable_ssl=T"),
            (anonymous, 4, off, "Broker::disable_ssl=T", "Turn TLS on here"),
            (anonymous, 4, mutual, "speak mutual TLS", "speaks anonymous TLS"),
            (mutual, 4, anonymous, "speak anonymous TLS here too", "speak mutual TLS"),
        ]);
    }
    for (connector, code, listener, connector_message, listener_message) in table {
        let what = format!("{connector} connects to {listener}");
        let mut there = Program::start(&format!("tap --topic /t --listen 127.0.0.1:0 {listener}"));
        let address = there.address();
        let end = Program::run(&format!("tap --topic /t --connect {address} {connector}"), "");
        assert_eq!(end.code, Some(code), "{what}: {end:?}");
        assert!(end.stderr.contains(connector_message), "{what}: {}", end.stderr);
        // The program adds the names of options to the error. The log of the library names no options.
        for (advice, options) in
            [("speak mutual TLS", "--cafile"), ("speak anonymous TLS here too", "--tls anonymous")]
        {
            let expected = connector_message == advice || connector == off;
            assert_eq!(end.stderr.contains(options), expected, "{what}: {}", end.stderr);
        }
        let line = there.says("no peering with 127.0.0.1:");
        assert!(line.contains(listener_message), "{what}: {line}");

        // A command that retries logs the error, and the delay.
        let mut node = Program::start(&format!("node --name n --connect {address} {connector}"));
        let line = node.says("peer unavailable");
        assert!(line.contains(connector_message) && line.contains("; next try in "), "{what}: {line}");
        node.signal("TERM");
        assert_eq!(node.end().code, Some(0), "{what}");
    }
}

/// Returns the identity of the next peer.
async fn added(statuses: &mut StatusReceiver) -> PeerIdentity {
    loop {
        match soon("a status", statuses.recv()).await.unwrap() {
            Status::PeerAdded { identity, .. } => return (*identity.unwrap()).clone(),
            Status::PeerUnavailable { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_reloaded_without_closing_peerings() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "first");
    let ours = || (Endpoint::new().unwrap(), Tls::Mutual(authority.issue("ours").unwrap()));
    for command in ["tap --topic /t", "node --name n"] {
        files.renew(&authority, "first");
        let mut program = Program::start(&format!("{command} --listen 127.0.0.1:0 -v {}", files.options));
        let address = program.address();
        let connect = async |endpoint: &Endpoint, tls: Tls| {
            let mut statuses = endpoint.status();
            endpoint.connect(&address, tls).await.unwrap();
            added(&mut statuses).await.subject
        };
        let (established, tls) = ours();
        let mut established_status = established.status();
        assert_eq!(connect(&established, tls).await, "CN=first");

        files.renew(&authority, "second");
        program.signal("HUP");
        program.says("certificates were reloaded");
        let (endpoint, tls) = ours();
        assert_eq!(connect(&endpoint, tls).await, "CN=second", "{command}");

        // An invalid certificate changes nothing.
        files.write("certificate", b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
        program.signal("HUP");
        let line = program.says("the previous certificates stay in use");
        assert!(line.contains(files.folder.path().join("certificate").to_str().unwrap()), "{line}");
        let (endpoint, tls) = ours();
        assert_eq!(connect(&endpoint, tls).await, "CN=second", "{command}");

        // The new certificate is used even without a signal.
        files.renew(&authority, "third");
        program.says("certificates were reloaded");
        let (endpoint, tls) = ours();
        assert_eq!(connect(&endpoint, tls).await, "CN=third", "{command}");

        if command.starts_with("tap") {
            established.publish(Topic::from_static("/t"), &Value::Count(1)).await.unwrap();
            assert_eq!(program.line()["value"]["data"], 1);
        }
        assert!(matches!(soon("a status", established_status.recv()).await, Some(Status::PeerAdded { .. })));
        program.signal("TERM");
        let ended = soon("a status", established_status.recv()).await;
        assert!(matches!(ended, Some(Status::PeerLost { .. })), "{ended:?}");
        assert_eq!(program.end().code, Some(0));
    }
}

#[test]
fn the_identity_of_a_peer_is_logged_and_optionally_part_of_each_message() {
    let authority = ephemeral_authority().unwrap();
    let [one, other] = ["one", "other.example"].map(|name| Files::issue(&authority, name));
    let (_, tap) = publish_to_tap(&other.options, &format!("{} --identity -v", one.options));
    let pem = std::fs::read(other.folder.path().join("certificate")).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    let sha256 = PeerIdentity::of(&der).sha256_hex();
    let expected = json!({"subject": "CN=other.example", "sans": ["DNS:other.example"], "sha256": sha256});
    assert_eq!(tap.json()[0]["identity"], expected);
    let keys: Vec<_> = ["peer", "identity", "topic"].map(|key| tap.stdout[0].find(key).unwrap()).into();
    assert!(keys.is_sorted(), "{tap:?}");
    let line = format!(
        r#"","identity":{{"sans":["DNS:other.example"],"sha256":"{sha256}","subject":"CN=other.example"}},"topic":""#
    );
    assert!(tap.stdout[0].contains(&line), "{tap:?}");
    tap.has_said(&["peer added: ", ", CN=other.example (DNS:other.example) sha256:", &sha256]);

    let (_, tap) = publish_to_tap("--tls off", "--tls off --identity");
    assert_eq!(tap.json()[0].get("identity"), Some(&Json::Null));
    assert!(tap.stdout[0].contains(r#"","identity":null,"topic":""#), "{tap:?}");
    let (_, tap) = publish_to_tap(&other.options, &one.options);
    assert_eq!(tap.json()[0].get("identity"), None);
}

#[test]
fn the_help_contains_every_tls_option() {
    for command in ["tap", "publish", "node", "dispatch"] {
        let help = Program::run(&format!("{command} --help"), "");
        for option in [
            "--tls <off|anonymous|mutual|auto>",
            "--cafile <FILE>",
            "--capath <DIR>",
            "--certificate <FILE>",
            "--keyfile <FILE>",
            "--passphrase-file <FILE>",
            "ZEEK_BRIDGE_PASSPHRASE",
            "--verify-name <NAME>",
            "--tls-backend <auto|rustls|openssl>",
        ] {
            assert!(help.stdout.iter().any(|line| line.contains(option)), "{option}: {help:?}");
        }
    }
}

#[test]
fn without_certificates_sighup_does_not_end_the_program() {
    let mut tap = Program::start("tap --topic /t --listen 127.0.0.1:0 --tls off -v");
    tap.address();
    tap.signal("HUP");
    tap.says("SIGHUP: nothing to reload; this program uses no certificates");
    tap.signal("TERM");
    assert_eq!(tap.end_by_itself().code, Some(0));
}

#[test]
fn a_reload_of_a_bridge_names_the_links_that_keep_their_previous_certificates() {
    let files = Files::issue(&ephemeral_authority().unwrap(), "bridge");
    let config = files.folder.path().join("bridge.toml");
    let text = "[bridge]\nhttp = 'off'\nstatus = 'off'\n[link.nodes]\nfaces = 'nodes'\nlisten = '127.0.0.1:0'\n\
                cafile = 'cafile'\ncertificate = 'certificate'\nkeyfile = 'keyfile'\n\
                [link.agents]\nfaces = 'agents'\nlisten = '127.0.0.1:0'\ntls = 'off'\n";
    std::fs::write(&config, text).unwrap();
    let mut bridge = Program::start(&format!("run {}", config.display()));
    bridge.says("running, with ");
    files.write("certificate", b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    bridge.signal("HUP");
    let line = bridge.says("reload: the configuration is applied");
    assert!(line.ends_with("; link nodes keeps its previous certificates"), "{line}");
}
