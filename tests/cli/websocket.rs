//! Commands with addresses of the WebSocket API.

use std::path::Path;

use crate::program::{Files, Program};
use crate::raw_websocket::{CLOSE, RawServer, TEXT};
use tokio::net::TcpListener;
use zeek_bridge::net::tls::ephemeral_authority;

/// Starts `tap --listen` with these options.
fn tap(options: &str) -> Program {
    Program::start(&format!("tap --topic /demo --format json {options}"))
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn events_are_published_to_a_tap_that_listens() {
    let mut tap = tap("--listen ws://127.0.0.1:0 --count 1");
    let url = tap.address();
    assert!(url.starts_with("ws://127.0.0.1:"), "{url}");
    let end =
        Program::run(&format!("publish --topic /demo/x --connect {url} Demo::ping string:hello count:7"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let line = tap.line();
    assert_eq!((&line["topic"], &line["event"]), (&"/demo/x".into(), &"Demo::ping".into()), "{line}");
    assert_eq!(tap.end_by_itself().code, Some(0));
}

#[test]
fn a_tap_that_connects_receives_events_of_a_publish_that_listens() {
    let command = "publish --topic /demo/x --listen ws://127.0.0.1:0 Demo::ping string:hello";
    let mut publish = Program::start(command);
    let url = publish.address();
    let mut tap = tap(&format!("--connect {url} --count 1 --all-topics"));
    let line = tap.line();
    // The peer is the endpoint of the server's ack.
    assert!(line["peer"].as_str().unwrap().contains("-websocket-"), "{line}");
    assert_eq!(tap.end_by_itself().code, Some(0));
    assert_eq!(publish.end_by_itself().code, Some(0));
}

#[test]
fn a_token_is_required_and_checked_over_tls() {
    let authority = ephemeral_authority().unwrap();
    let files = Files::issue(&authority, "127.0.0.1");
    let folder = files.folder.path();
    let file = |name: &str| folder.join(name).display().to_string();
    let (right, wrong) = (write(folder, "right", "secret\n"), write(folder, "wrong", "other"));
    let certificates = format!("--certificate {} --keyfile {}", file("certificate"), file("keyfile"));
    let mut tap =
        tap(&format!("--listen wss://127.0.0.1:0 {certificates} --token-file {right} --count 1 --identity"));
    let url = tap.address();
    let publish = |options: &str| {
        Program::run(&format!("publish --topic /demo --connect {url} {options} Demo::ping count:1"), "")
    };
    let cafile = format!("--cafile {}", file("cafile"));
    publish(&cafile).fails(4, &["401", "requires a token"]);
    publish(&format!("{cafile} --token-file {wrong}")).fails(4, &["401"]);
    let foreign = Files::issue(&ephemeral_authority().unwrap(), "127.0.0.1");
    let foreign = format!("--cafile {}", foreign.folder.path().join("cafile").display());
    publish(&format!("{foreign} --token-file {right}")).fails(4, &["certificate"]);
    let options = format!("{cafile} --token-file {right}");
    let end = Program::run(&format!("probe {url} {options} --format json"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(end.json()[0]["command"], format!("zeek-bridge tap -c {url} {options} -t PREFIX"));
    let mut command = crate::program::command(
        format!("publish --topic /demo --connect {url} {cafile} Demo::ping count:1").split_whitespace(),
    );
    command.env("ZEEK_BRIDGE_TOKEN", "secret");
    let end = Program::spawn(command).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    let line = tap.text();
    assert!(line.contains(r#"","identity":{"token":"token"},"topic":"/demo","#), "{line}");
    assert_eq!(tap.end_by_itself().code, Some(0));
}

#[test]
fn the_host_of_the_url_or_the_given_name_is_verified() {
    let files = Files::issue(&ephemeral_authority().unwrap(), "bridge.example");
    let file = |name: &str| files.folder.path().join(name).display().to_string();
    let certificates = format!("--certificate {} --keyfile {}", file("certificate"), file("keyfile"));
    let mut tap = tap(&format!("--listen wss://127.0.0.1:0 {certificates} --count 1"));
    let options = format!("--connect {} --cafile {}", tap.address(), file("cafile"));
    let publish =
        |name: &str| Program::run(&format!("publish --topic /demo {options} {name} Demo::ping count:1"), "");
    publish("").fails(4, &["expected 127.0.0.1; it has DNS:bridge.example", "(--verify-name)"]);
    publish("--verify-name other.example").fails(4, &["expected other.example"]);
    let end = publish("--verify-name bridge.example");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(tap.end_by_itself().code, Some(0));
}

#[test]
fn invalid_combinations_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let token = write(folder.path(), "token", "secret");
    let two = write(folder.path(), "two", "one\ntwo\n");
    for (args, words) in [
        ("tap --connect ws://127.0.0.1:1".to_owned(), ["before 8.0.7", "--all-topics"]),
        (
            "tap --all-topics --connect 127.0.0.1:1 --tls off".to_owned(),
            ["--all-topics is for ws://", "remove it"],
        ),
        (
            "tap --all-topics --listen 127.0.0.1:0 --tls off".to_owned(),
            ["--all-topics is for ws://", "remove it"],
        ),
        ("tap --topic x --connect ws://127.0.0.1:1 --tls off".to_owned(), ["--tls", "ws:// has no TLS"]),
        ("tap --topic x --connect ws://127.0.0.1:1 --cafile f".to_owned(), ["--cafile", "use wss://"]),
        (
            "tap --topic x --connect wss://127.0.0.1:1 --tls mutual".to_owned(),
            ["--tls", "already selects TLS"],
        ),
        ("tap --topic x --connect wss://127.0.0.1:1".to_owned(), ["--cafile", "--capath"]),
        ("tap --topic x --listen wss://127.0.0.1:0".to_owned(), ["--certificate", "--keyfile"]),
        ("tap --topic x --connect ws://u:p@127.0.0.1:1".to_owned(), ["a user name or a password", "token"]),
        ("tap --topic x --connect ws://127.0.0.1:1/x".to_owned(), ["/x", "/v1/messages/json"]),
        (
            format!("tap --topic x --connect 127.0.0.1:1 --tls off --token-file {token}"),
            ["--token-file", "Broker"],
        ),
        (
            format!("tap --topic x --connect ws://192.0.2.1:1 --token-file {token}"),
            ["not encrypted", "wss://"],
        ),
        (
            format!("tap --topic x --connect ws://127.0.0.1:1 --token-file {two}"),
            ["--token-file", "more than one line"],
        ),
        ("node --name n --connect ws://127.0.0.1:1 --tls off".to_owned(), ["TLS", "ws://127.0.0.1:1"]),
        (
            "node --name n --connect ws://127.0.0.1:1".to_owned(),
            ["Broker's native protocol only", "HOST:PORT"],
        ),
        (
            "dispatch get_id_value x --connect ws://127.0.0.1:1".to_owned(),
            ["Broker's native protocol only", "HOST:PORT"],
        ),
    ] {
        Program::run(&args, "").fails(2, &words);
    }
}

#[test]
fn a_subscription_to_logs_causes_a_warning() {
    for topics in ["/a zeek/", "zeek/logs/conn"] {
        let args = format!("tap --connect ws://127.0.0.1:1 --topic {topics}");
        // No program listens on this port.
        Program::run(&args, "")
            .fails(3, &["includes the logs of ws://127.0.0.1:1", "Zeek before 8.0.7", "--all-topics"]);
        let end = Program::run(&format!("{args} --all-topics"), "");
        assert!(end.code == Some(3) && !end.stderr.contains("logs"), "{end:?}");
    }
}

#[test]
fn a_server_without_tls_is_reached_with_ws() {
    let files = Files::issue(&ephemeral_authority().unwrap(), "127.0.0.1");
    let cafile = files.folder.path().join("cafile");
    let mut tap = tap("--listen ws://127.0.0.1:0");
    let address = tap.address().replace("ws://", "wss://");
    let end = Program::run(&format!("tap -t /x -c {address} --cafile {}", cafile.display()), "");
    end.fails(4, &["use ws:// for a server without TLS"]);
    assert!(!end.stderr.contains("--tls"), "{end:?}");
}

#[test]
fn a_token_that_other_users_can_read_causes_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let token = write(folder.path(), "token", "secret");
    let run = || Program::run(&format!("tap -t /x -c ws://127.0.0.1:1 --token-file {token}"), "");
    for (mode, is_exposed) in [(0o644, true), (0o640, true), (0o600, false)] {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&token, permissions).unwrap();
        let end = run();
        assert_eq!(end.stderr.contains("other users can read it"), is_exposed, "{mode:o}: {end:?}");
    }
}

#[test]
fn a_server_is_identified() {
    let mut tap = tap("--listen ws://127.0.0.1:0");
    let url = tap.address();
    let end = Program::run(&format!("probe {url} --format json"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let found = &end.json()[0];
    assert_eq!((&found["found"], &found["target"]), (&"websocket".into(), &url.as_str().into()), "{found}");
    assert!(found["version"].as_str().unwrap().starts_with("zeek-bridge/"), "{found}");
    assert!(found["endpoint"].as_str().unwrap().contains("-websocket-"), "{found}");
    let (version, endpoint) = (&found["version"], &found["endpoint"]);
    let line = format!(
        r#"{{"target":"{url}","found":"websocket","summary":"a server of the WebSocket API","version":{version},"endpoint":{endpoint},"command":"zeek-bridge tap -c {url} -t PREFIX"}}"#
    );
    assert_eq!(end.stdout, [line]);
    let broker_address = url.strip_prefix("ws://").unwrap();
    Program::run(&format!("tap --topic x --tls off --connect {broker_address}"), "")
        .fails(6, &["this is HTTP, not Broker", "use ws://"]);
    let end = Program::run(&format!("probe {broker_address} --wait 2s"), "");
    assert_eq!(end.code, Some(6), "{end:?}");
    assert!(end.stdout.join("\n").contains("probe ws://HOST:PORT"), "{end:?}");
}

#[test]
fn the_configuration_is_checked_with_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let config = |token: &str| {
        let text = format!(
            "[link.nodes]\nlisten = '127.0.0.1:0'\ntls = 'off'\n[link.soar]\nlisten = 'ws://127.0.0.1:0'\n\
             [[link.soar.token]]\nname = 'soar'\nfile = '{token}'\n\
             [[rule]]\nname = 'r'\nfrom = 'soar'\nto = 'nodes'\ntopics = 't'\nidentities = 'token:soar'\n"
        );
        Program::run(&format!("check {}", write(folder.path(), "bridge.toml", &text)), "")
    };
    let end = config("missing");
    assert_eq!(end.code, Some(1), "{end:?}");
    end.has_said(&["bridge.toml:6: link.soar.token: token soar: ", "missing: it cannot be read"]);
    write(folder.path(), "token", "secret\n");
    let end = config("token");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(
        end.stdout.join("\n").contains("listens on ws://127.0.0.1:0, no TLS, requires token soar"),
        "{end:?}"
    );
}

/// A server that closes may not have read the event, even if it received it before its close frame.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_that_answers_the_close_has_received_the_event() {
    for (close, expected) in [
        (Some(&b"\x03\xe9Terminating"[..]), Some("the peer left")),
        (Some(b"\x03\xe8"), Some("the peer left")),
        (Some(b"\x03\xf0refused"), Some("1008 refused")),
        (None, None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let publish = Program::start(&format!("publish --topic /demo --connect {url} Demo::ping count:1"));
        let mut server = RawServer::accept(listener.accept().await.unwrap().0).await;
        assert_eq!(server.frame().await.unwrap().opcode, TEXT);
        if let Some(close) = close {
            server.send_all([(CLOSE, close)]).await;
        }
        // The answer to the close, or the close of the client.
        let answer = server.frame().await.unwrap();
        assert_eq!((answer.opcode, answer.payload.as_slice()), (CLOSE, close.unwrap_or(b"\x03\xe8")));
        if close.is_none() {
            server.send_all([(CLOSE, answer.payload.as_slice())]).await;
        }
        drop(server);
        let end = publish.end_by_itself();
        match expected {
            Some(text) => end.fails(1, &[text, "delivery of the event is unconfirmed"]),
            None => assert_eq!(end.code, Some(0), "{end:?}"),
        }
    }
}
