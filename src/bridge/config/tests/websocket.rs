//! Links with `ws://` and `wss://` addresses.

use super::warnings::warnings;
use super::*;
use crate::endpoint::WebSocketConfig;
use crate::websocket::BinaryText;

#[test]
fn all_keys_are_parsed() {
    let config = good(
        r#"
[link.soar]
listen = ["wss://0.0.0.0:27759/v1/messages/json", "wss://[::]:27759"]
certificate = "bridge.pem"
keyfile = "bridge.key"
origins = "https://soar.example:8443"
binary = "replace"
allow = ["token:soar", "token:old-*"]
[[link.soar.token]]
name = "soar"
file = "soar.token"
[[link.soar.token]]
name = "soar"
env = "SOAR_TOKEN"

[link.zeek]
connect = "wss://manager.example:27759"
cafile = "ca.pem"
token_file = "own.token"
all_topics = true
loop = "accepted"

[[rule]]
name = "all"
from = "zeek"
to = "soar"
topics = ""
[[rule]]
name = "from-soar"
from = "soar"
to = "zeek"
topics = "t"
identities = ["token:soar"]
"#,
    );
    let [soar, zeek] = &config.links[..] else { panic!("{config:?}") };
    let token = |source| TokenConfig { name: "soar".to_owned(), source };
    assert_eq!(
        soar.websocket.as_ref().unwrap(),
        &WebSocketLink {
            tokens: vec![
                token(TokenSource::File("/etc/zb/soar.token".into())),
                token(TokenSource::Environment("SOAR_TOKEN".to_owned())),
            ],
            origins: vec!["https://soar.example:8443".to_owned()],
            binary: BinaryText::Replace,
            ..WebSocketLink::default()
        }
    );
    assert!(matches!(&soar.tls, LinkTls::Server(files) if files.cafile.is_none()), "{soar:?}");
    assert_eq!(
        zeek.websocket.as_ref().unwrap(),
        &WebSocketLink {
            token_file: Some("/etc/zb/own.token".into()),
            all_topics: true,
            accepts_loops: true,
            ..WebSocketLink::default()
        }
    );
    assert!(matches!(&zeek.tls, LinkTls::Server(files) if files.certificate.is_none()), "{zeek:?}");
    let summary = soar.to_string();
    for part in ["TLS with a certificate of the server", "requires token soar", "binary: replace"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let mutual = "listen = 'wss://0.0.0.0:1'\ncafile = 'c'\ncertificate = 'c'\nkeyfile = 'k'";
    assert!(matches!(good(&with_link(mutual)).links[0].tls, LinkTls::Mutual(_)));
}

#[test]
fn the_scheme_decides_about_tls() {
    for (keys, expected) in [
        ("listen = 'ws://127.0.0.1:1'\ntls = 'off'", "3: link.x.tls: .. take no tls"),
        (
            "listen = 'wss://127.0.0.1:1'\ntls = 'mutual'\ncertificate = 'c'\nkeyfile = 'k'",
            "3: link.x.tls: .. take no tls",
        ),
        ("listen = 'ws://127.0.0.1:1'\ncafile = 'ca.pem'", "3: link.x.cafile: .. use wss://"),
        (
            "listen = 'wss://127.0.0.1:1'\ncertificate = 'c'",
            "1: link.x.keyfile: .. requires certificate and keyfile",
        ),
        ("connect = 'wss://127.0.0.1:1'", "1: link.x.cafile: .. cafile or capath"),
        (
            "connect = ['wss://a:1', 'ws://b:1']\ncafile = 'c'",
            "2: link.x.connect: .. differs from that of the first address, wss",
        ),
        (
            "connect = ['a:1', 'ws://b:1']\ntls = 'off'",
            "2: link.x.connect: .. differs from that of the first address, broker",
        ),
        ("connect = 'ws://u:p@127.0.0.1:1'", "2: link.x.connect: .. a user name or a password"),
        ("connect = 'ws://127.0.0.1:1/other'", "2: link.x.connect: .. use /v1/messages/json"),
    ] {
        assert_errors(&with_link(keys), &[expected]);
    }
}

#[test]
fn a_listener_for_other_hosts_needs_tokens_or_certificates() {
    let open = "listen = 'ws://0.0.0.0:1'";
    assert_errors(
        &with_link(open),
        &["2: link.x.listen: .. every host that can reach ws://0.0.0.0:1 can use this link"],
    );
    let tls = "listen = 'wss://0.0.0.0:1'\ncertificate = 'c'\nkeyfile = 'k'";
    assert_errors(&with_link(tls), &["2: link.x.listen: .. set anonymous = true"]);
    assert_errors(
        &with_link(&format!("{tls}\nanonymous = false")),
        &["2: link.x.listen: .. set anonymous = true"],
    );
    for keys in [
        &format!("{open}\nanonymous = true"),
        &format!("{tls}\ncafile = 'ca'"),
        &format!("{tls}\ntoken = [{{ name = 'soar', file = 'f' }}]"),
        "listen = 'ws://127.0.0.1:1'",
    ] {
        assert_eq!(errors(&with_link(keys)), [""; 0], "{keys}");
    }
    let token = format!("{open}\ntoken = [{{ name = 'soar', file = 'f' }}]");
    assert_errors(&with_link(&token), &["3: link.x.token: .. ws:// is not encrypted"]);
    let token_file = "connect = 'ws://zeek.example:1'\ntoken_file = 'f'";
    assert_errors(&with_link(token_file), &["3: link.x.token_file: .. ws:// is not encrypted"]);
    assert_eq!(errors(&with_link("connect = 'ws://localhost:1'\ntoken_file = 'f'")), [""; 0]);
}

#[test]
fn keys_are_only_for_links_that_can_use_them() {
    assert_errors(
        &with_link("listen = '127.0.0.1:1'\ntls = 'off'\norigins = 'https://a'\ntoken_file = 'f'"),
        &[
            "4: link.x.origins: .. only for a link with ws://",
            "5: link.x.token_file: .. only for a link with ws://",
        ],
    );
    assert_errors(
        &with_link("listen = 'ws://127.0.0.1:1'\nall_topics = true\nloop = 'accepted'"),
        &["3: link.x.all_topics: .. for a link that connects", "4: link.x.loop: .. for a link that connects"],
    );
    assert_errors(
        &with_link("connect = 'ws://127.0.0.1:1'\nbinary = 'drop'"),
        &["3: link.x.binary: .. for a link that listens"],
    );
    assert_errors(
        &with_link(
            "listen = 'ws://127.0.0.1:1'\nbinary = 'escpe'\norigins = ['soar.example', 'https://a/b']\nloops = 'x'",
        ),
        &[
            "3: link.x.binary: .. did you mean `escape`?",
            "4: link.x.origins: .. is not an origin",
            "4: link.x.origins: .. is not an origin",
            "5: link.x.loops: .. did you mean `loop`?",
        ],
    );
}

#[test]
fn a_token_has_a_name_and_one_source() {
    let token = |keys: &str| with_link(&format!("listen = 'ws://127.0.0.1:1'\n[[link.x.token]]\n{keys}"));
    for (keys, expected) in [
        ("file = 'f'", "3: link.x.token.name: .. the token has no name"),
        ("name = 'soar'", "3: link.x.token.file: .. neither file nor env"),
        ("name = 'soar'\nfile = 'f'\nenv = 'E'", "6: link.x.token.env: .. both file and env"),
        ("name = 'so ar'\nfile = 'f'", "4: link.x.token.name: .. "),
        ("name = 'soar'\nfiel = 'f'\nenv = 'E'", "5: link.x.token.fiel: .. use `name`, `file` or `env`"),
    ] {
        assert_errors(&token(keys), &[expected]);
    }
    let list = with_link("listen = 'ws://127.0.0.1:1'\ntoken = 'soar'");
    assert_errors(&list, &["3: link.x.token: .. [[link.NAME.token]]"]);
    let identity = "listen = 'ws://127.0.0.1:1'\nallow = 'token:soar'";
    assert_errors(&with_link(identity), &["3: link.x.allow: .. no peer can match"]);
}

#[test]
fn all_topics_of_a_server_must_be_explicit_and_its_logs_cause_a_warning() {
    let with_topic = |keys: &str, topic: &str| {
        let rule = format!("[[rule]]\nname = 'all'\nfrom = 'x'\nto = 'nodes'\ntopics = ['a', '{topic}']\n");
        format!("[link.x]\n{keys}\n{NODES}{rule}")
    };
    let text = |keys: &str| with_topic(keys, "");
    let connect = "connect = 'ws://127.0.0.1:1'";
    for topic in ["z", "zeek", "zeek/", "zeek/logs", "zeek/logs/", "zeek/logs/conn"] {
        let found = warnings(&with_topic(connect, topic));
        let [warning] = found.as_slice() else { panic!("{topic}: {found:#?}") };
        assert!(
            warning.contains(&format!("rule.all.topics: the topic {topic:?} includes the logs of x")),
            "{warning}"
        );
        assert_eq!(
            warnings(&with_topic(&format!("{connect}\nall_topics = true"), topic)),
            [""; 0],
            "{topic}"
        );
    }
    for topic in ["/", "zeek/management/", "zeek/log/", "zeek.cluster", "logs"] {
        assert_eq!(warnings(&with_topic(connect, topic)), [""; 0], "{topic}");
    }
    assert_errors(&text(connect), &["10: rule.all.topics: .. subscribes to all topics of x"]);
    assert_eq!(errors(&text("connect = 'ws://127.0.0.1:1'\nall_topics = true")), [""; 0]);
    assert_eq!(errors(&text("listen = 'ws://127.0.0.1:1'")), [""; 0], "clients publish any topic");
    assert_eq!(errors(&text("connect = '127.0.0.1:1'\ntls = 'off'")), [""; 0]);
}

#[test]
fn a_rule_between_two_servers_is_explicit() {
    let rule = "[[rule]]\nname = 'r'\nfrom = 'x'\nto = 'y'\ntopics = 't'\n";
    let text = |x: &str, y: &str| format!("[link.x]\nconnect = 'ws://127.0.0.1:1'\n{x}[link.y]\n{y}{rule}");
    let server = "connect = 'ws://127.0.0.1:2'\n";
    assert_errors(&text("", server), &["8: rule.r.to: .. set loop = \"accepted\" in [link.x]"]);
    assert_eq!(errors(&text("loop = 'accepted'\n", server)), [""; 0]);
    assert_eq!(errors(&text("", &format!("{server}loop = 'accepted'\n"))), [""; 0]);
    assert_eq!(errors(&text("", "listen = 'ws://127.0.0.1:2'\n")), [""; 0]);
    assert_eq!(errors(&text("", "connect = '127.0.0.1:2'\ntls = 'off'\n")), [""; 0]);
    let group = "group = 'g'\n";
    let grouped = format!(
        "{}[[rule]]\nname = 's'\nfrom = 'z'\nto = 'x'\ntopics = 't'\n",
        text(group, &format!("{server}{group}"))
    ) + "[link.z]\nlisten = '127.0.0.1:3'\ntls = 'off'\n";
    // The rule between the links of a group matches nothing, which is a different error.
    assert!(errors(&grouped).iter().all(|error| !error.contains("loop")), "{:?}", errors(&grouped));
    let hub = "[link.x]\nconnect = ['ws://127.0.0.1:1', 'ws://127.0.0.1:2']\nhub = true\n\
               [[rule]]\nname = 'r'\nfrom = 'x'\nto = 'x'\ntopics = 't'\n";
    assert_errors(hub, &["7: rule.r.to: .. without end"]);
}

#[test]
fn tokens_are_read_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "secret\n").unwrap();
    let token = |source| TokenConfig { name: "soar".to_owned(), source };
    let link = |tokens| WebSocketLink { tokens, ..WebSocketLink::default() };
    let missing = || TokenSource::Environment("ZEEK_BRIDGE_NO_SUCH_VARIABLE".to_owned());
    let valid = link(vec![token(TokenSource::File(path.clone()))]).load("x").unwrap();
    assert!(!valid.access.tokens.is_empty());
    let WebSocketConfig { access, .. } = link(Vec::new()).load("x").unwrap();
    assert!(access.tokens.is_empty());
    let two = link(vec![token(missing()), token(TokenSource::File(folder.path().join("none")))]);
    let other = TokenConfig { name: "siem".to_owned(), source: TokenSource::File(path.clone()) };
    let same = token(TokenSource::File(path.clone()));
    assert!(link(vec![same.clone(), same.clone()]).load("x").is_ok());
    let errors = link(vec![same, other]).load("x").unwrap_err().to_string();
    assert!(errors.contains("tokens soar and siem have the same text"), "{errors}");
    let own = WebSocketLink { token_file: Some(folder.path().join("none")), ..two };
    let errors: Vec<String> = own.load("x").unwrap_err().iter().map(ToString::to_string).collect();
    let [variable, file, own] = &errors[..] else { panic!("{errors:?}") };
    assert!(variable.starts_with("link.x.token: ") && variable.contains("is not set"), "{variable}");
    assert!(file.starts_with("link.x.token: ") && file.contains("it cannot be read"), "{file}");
    assert!(own.starts_with("link.x.token_file: "), "{own}");
}
