//! Tests of parsing and validation.

mod errors;
mod http;
mod random;
mod warnings;
mod websocket;
mod zeromq;
mod zeromq_keys;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::data::Topic;
use crate::endpoint::{EndpointConfig, QueueLimits, Retry};
use crate::net::tls::{Backend, Tls};

const FILE: &str = "/etc/zb/bridge.toml";

/// The errors in a text, without the file name.
fn errors(text: &str) -> Vec<String> {
    let shown =
        |error: &Diagnostic| error.to_string().strip_prefix("/etc/zb/bridge.toml:").unwrap().to_owned();
    ConfigFile::parse(text, FILE).err().iter().flatten().map(shown).collect()
}

fn good(text: &str) -> BridgeConfig {
    BridgeConfig::parse(text, FILE).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// Fails unless the errors in `text` are the expected ones: each is the start of the error, ` .. `, and a part of it.
#[track_caller]
fn assert_errors(text: &str, expected: &[&str]) {
    let errors = errors(text);
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        let (start, part) = expected.split_once(" .. ").unwrap();
        assert!(error.starts_with(start) && error.contains(part), "{expected}: {error}");
    }
}

/// A rule from a link to itself would need a hub, so configurations with one link under test have a second link.
const NODES: &str = "[link.nodes]\nlisten = '127.0.0.1:2152'\ntls = 'off'\n";
const RULE: &str = "[[rule]]\nname = 'r'\nfrom = 'nodes'\nto = 'x'\ntopics = 't'\n";

/// Returns a configuration whose link `x`, in line 1, has these keys from line 2.
fn with_link(keys: &str) -> String {
    format!("[link.x]\n{keys}\n{NODES}{RULE}")
}

/// Returns a configuration with these links, and a rule from `x` to `to`.
fn from_x(links: &str, to: &str) -> String {
    format!("{links}[[rule]]\nname = 'r'\nfrom = 'x'\nto = '{to}'\ntopics = 't'\n")
}

fn arguments(patterns: &[&str], rest: bool) -> Arguments {
    Arguments { patterns: globs(patterns), rest }
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern)).collect()
}

#[test]
fn a_complete_example_is_parsed() {
    let config = good(
        r#"
[bridge]
log = "json"
http = "127.0.0.1:1234"
status = "status.sock"
drain = "1m 5s"
answer_in_flight = false
answer_denied = false

[link.west]
faces = "agents"
connect = ["10.0.0.5:2151", "[2001:db8::1]:2151"]
tls = "mutual"
cafile = "ca.pem"
capath = "/etc/ssl/cas"
certificate = "sub/west.pem"
keyfile = "west.key"
passphrase_file = "west.pass"
verify_name = "agent.example"
tls_backend = "rustls"
retry = { first = "2s", cap = "1m" }
allow = ["subject:CN=agent-*", "DNS:Agent*.example",
         "sha256:0000000000000000000000000000000000000000000000000000000000000a0b"]
when_full = "block"
group = "core"
ttl = 2
[link.west.limits]
peers = 7
connects_per_second = 100
frame = "1MiB"
depth = 0x10
queue = 9
queue_bytes = 65536
[link.west.chaos]
delay = "50ms"
drop = 0.25
duplicate = 1
corrupt = 0

[link.east]
faces = "nodes"
listen = "0.0.0.0:2151"
tls = "off"
hub = true

[[rule]]
name = "ids"
from = "west"
to = ["east"]
topics = ["zeek/management/node", "x"]
events = ["Management::Node::API::*", "e?"]
nodes = ["worker-*"]
actions = { get_id_value = ["Site::*"], other = "*", more = ["a", ["b", "c"], ["d", "..."], []], any = "..." }
identities = ["IP:192.0.2.*"]
passthrough = true

[[rule]]
name = "stores"
from = ["east", "west"]
to = "east"
topics = ""
commands = true
"#,
    );
    assert_eq!(
        config.operation,
        Operation {
            log: LogFormat::Json,
            http: Some(Http { address: "127.0.0.1:1234".parse().unwrap(), ..Http::default() }),
            status_socket: Some("/etc/zb/status.sock".into()),
            drain: Duration::from_secs(65),
            answer_in_flight: false,
            answer_denied: false,
        }
    );
    let mut hash = [0; 32];
    hash[30..].copy_from_slice(&[0x0a, 0x0b]);
    let west = LinkConfig {
        name: "west".to_owned(),
        faces: Some(PeerRole::Agents),
        address: LinkAddress::Connect(vec!["10.0.0.5:2151".to_owned(), "[2001:db8::1]:2151".to_owned()]),
        tls: LinkTls::Mutual(TlsFiles {
            cafile: Some("/etc/zb/ca.pem".into()),
            capath: Some("/etc/ssl/cas".into()),
            certificate: Some("/etc/zb/sub/west.pem".into()),
            keyfile: Some("/etc/zb/west.key".into()),
            passphrase_file: Some("/etc/zb/west.pass".into()),
            verify_name: Some("agent.example".to_owned()),
            backend: Backend::Rustls,
        }),
        retry: Retry { first: Duration::from_secs(2), cap: Duration::from_secs(60) },
        hub: false,
        group: Some("core".to_owned()),
        ttl: 2,
        allow: vec![
            IdentityPattern::Subject(Glob::new("CN=agent-*")),
            IdentityPattern::San(Glob::new_case_insensitive("DNS:Agent*.example")),
            IdentityPattern::Sha256(hash),
        ],
        limits: LinkLimits {
            peers: 7,
            connects_per_second: Some(100),
            frame: 1024 * 1024,
            depth: 16,
            queue: QueueLimits { messages: 9, bytes: 65536 },
        },
        when_full: WhenFull::Block,
        chaos: Some(Chaos { delay: Duration::from_millis(50), drop: 0.25, duplicate: 1.0, corrupt: 0.0 }),
        websocket: None,
        zeromq: None,
    };
    let east = LinkConfig {
        name: "east".to_owned(),
        faces: Some(PeerRole::Nodes),
        address: LinkAddress::Listen(vec!["0.0.0.0:2151".to_owned()]),
        tls: LinkTls::Off,
        retry: Retry::default(),
        hub: true,
        group: None,
        ttl: 4,
        allow: Vec::new(),
        limits: LinkLimits::default(),
        when_full: WhenFull::Disconnect,
        chaos: None,
        websocket: None,
        zeromq: None,
    };
    assert_eq!(config.links, [west.clone(), east]);
    let ids = RuleConfig {
        name: "ids".to_owned(),
        from: vec!["west".to_owned()],
        to: vec!["east".to_owned()],
        topics: vec![Topic::from_static("zeek/management/node"), Topic::from_static("x")],
        events: globs(&["Management::Node::API::*", "e?"]),
        nodes: globs(&["worker-*"]),
        actions: Some(
            [
                ("get_id_value", vec![arguments(&["Site::*"], false)]),
                ("other", vec![arguments(&["*"], false)]),
                (
                    "more",
                    vec![
                        arguments(&["a"], false),
                        arguments(&["b", "c"], false),
                        arguments(&["d"], true),
                        arguments(&[], false),
                    ],
                ),
                ("any", vec![arguments(&[], true)]),
            ]
            .map(|(command, alternatives)| (command.to_owned(), alternatives))
            .into(),
        ),
        identities: vec![IdentityPattern::San(Glob::new("IP:192.0.2.*"))],
        commands: false,
        passthrough: true,
    };
    let stores = RuleConfig {
        name: "stores".to_owned(),
        from: vec!["east".to_owned(), "west".to_owned()],
        to: vec!["east".to_owned()],
        topics: vec![Topic::from_static("")],
        events: Vec::new(),
        nodes: Vec::new(),
        actions: None,
        identities: Vec::new(),
        commands: true,
        passthrough: false,
    };
    assert_eq!(config.rules, [ids, stores]);

    let endpoint = west.endpoint_config();
    assert_eq!((endpoint.max_peers, endpoint.peer_queue.messages, endpoint.peer_queue.bytes), (7, 9, 65536));
    assert_eq!((endpoint.limits.max_frame, endpoint.limits.max_depth), (1024 * 1024, 16));
}

/// Two links that suffice for the default rules.
const LINKS_FOR_DEFAULT_RULES: &str = r#"
[link.z-nodes]
faces = "nodes"
listen = "127.0.0.1:2151"
tls = "off"
[link.agents]
faces = "agents"
connect = "127.0.0.1:2152"
tls = "off"
[link.more-nodes]
faces = "nodes"
listen = ["127.0.0.1:2153", "localhost:2154"]
tls = "off"
[link.other]
connect = "127.0.0.1:2155"
tls = "off"
"#;

#[test]
fn a_file_without_rules_has_the_default_rules() {
    let config = good(LINKS_FOR_DEFAULT_RULES);
    let shown: Vec<String> = config.rules.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "rule hellos: from z-nodes or more-nodes to agents: event Management::Node::API::notify_node_hello on \
             zeek/management/node*",
            "rule responses: from z-nodes or more-nodes to agents: event \
             Management::Node::API::node_dispatch_response on zeek/management/node*",
            "rule requests: from agents to z-nodes and more-nodes: event \
             Management::Node::API::node_dispatch_request on zeek/management/node*",
        ]
    );
    for rule in &config.rules {
        assert!(rule.nodes.is_empty() && rule.actions.is_none() && rule.identities.is_empty(), "{rule}");
        assert!(!rule.commands && !rule.passthrough, "{rule}");
    }
}

#[test]
fn links_keep_the_order_of_the_file_and_have_the_defaults() {
    let config = good(LINKS_FOR_DEFAULT_RULES);
    let names: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["z-nodes", "agents", "more-nodes", "other"]);
    assert_eq!(config.operation, Operation::default());
    let endpoint = config.links[0].endpoint_config();
    let default = EndpointConfig::default();
    assert_eq!(endpoint.limits, default.limits);
    assert_eq!((endpoint.peer_queue, endpoint.max_peers), (default.peer_queue, default.max_peers));
    assert!(matches!(config.links[0].tls(), Ok(Tls::Off)));
}

#[test]
fn settings_that_are_off_are_none() {
    let off = good(&format!(
        "[bridge]\nhttp = \"off\"\nstatus = \"off\"\n{LINKS_FOR_DEFAULT_RULES}\n[link.agents.chaos]\ndrop = 0\n"
    ));
    assert_eq!((off.operation.http, off.operation.status_socket), (None, None));
    assert_eq!(off.links[1].chaos, None);
}

#[test]
fn a_long_first_wait_raises_the_maximum_wait() {
    let retry = |retry: &str| {
        good(&LINKS_FOR_DEFAULT_RULES.replace("[link.agents]", &format!("[link.agents]\nretry = {retry}")))
            .links[1]
            .retry
    };
    let seconds = Duration::from_secs;
    assert_eq!(retry("{}"), Retry::default());
    assert_eq!(retry("{ first = \"20s\" }"), Retry { first: seconds(20), cap: seconds(20) });
    assert_eq!(retry("{ cap = \"2s\" }"), Retry { first: seconds(1), cap: seconds(2) });
}

#[test]
fn a_small_frame_limit_applies_to_the_handshake() {
    let config = good(&format!("{LINKS_FOR_DEFAULT_RULES}\n[link.agents.limits]\nframe = \"2KiB\"\n"));
    let limits = config.links[1].endpoint_config().limits;
    assert_eq!((limits.max_frame, limits.max_handshake_frame), (2048, 2048));
}

#[test]
fn unreadable_files_are_reported_all_at_once_with_their_lines() {
    let text = LINKS_FOR_DEFAULT_RULES.replace(
        "connect = \"127.0.0.1:2152\"\ntls = \"off\"",
        "connect = \"127.0.0.1:2152\"\ncafile = \"no-ca\"\ncertificate = \"no-cert\"\nkeyfile = \"/\"",
    );
    let file = ConfigFile::parse(&text, "/nowhere/bridge.toml").unwrap();
    let errors: Vec<String> = file.config.links[1]
        .tls()
        .unwrap_err()
        .into_iter()
        .map(|error| file.source.locate(error).to_string())
        .collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors[0]
            .starts_with("/nowhere/bridge.toml:9: link.agents.cafile: /nowhere/no-ca: it cannot be read")
    );
    assert!(
        errors[1]
            .starts_with("/nowhere/bridge.toml:10: link.agents.certificate: /nowhere/no-cert: it cannot be")
    );
    assert!(
        errors[2].starts_with("/nowhere/bridge.toml:11: link.agents.keyfile: /: it is a directory"),
        "{errors:?}"
    );
}

#[test]
fn an_unreadable_file_is_an_error() {
    let errors = BridgeConfig::read(Path::new("/nowhere/bridge.toml")).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors.to_string().starts_with("/nowhere/bridge.toml: cannot read the file: "), "{errors}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    for (content, expected) in
        [(&b"\xff"[..], "not valid UTF-8"), (&[b'#'; 1024 * 1024 + 1], "larger than 1048576 bytes")]
    {
        std::fs::write(&file, content).unwrap();
        let errors = BridgeConfig::read(&file).unwrap_err();
        assert!(errors.to_string().contains(expected), "{errors}");
    }
    std::fs::write(&file, LINKS_FOR_DEFAULT_RULES).unwrap();
    assert_eq!(BridgeConfig::read(&file).unwrap(), good(LINKS_FOR_DEFAULT_RULES));
}

#[test]
fn very_deep_nesting_is_an_error_and_not_a_crash() {
    for text in [
        format!("x = {}", "[".repeat(300_000)),
        format!("x = {}", "{a=".repeat(300_000)),
        format!("link{} = 1", ".a".repeat(300_000)),
        format!("[link{}]", ".a".repeat(300_000)),
        "[[rule]]\n".repeat(1000),
    ] {
        assert!(!errors(&text).is_empty());
    }
}

/// In particular, a link with an invalid key `tls` must not be listed as a link without TLS.
#[test]
fn an_invalid_file_lists_only_its_valid_references() {
    let text = LINKS_FOR_DEFAULT_RULES.replace("tls = \"off\"", "tls = \"of\"");
    let errors = ConfigFile::parse(&text, FILE).unwrap_err();
    assert!(errors.iter().all(|error| error.key.ends_with(".tls")), "{errors}");
    assert_eq!(errors.references().tls, []);
    let good = ConfigFile::parse(LINKS_FOR_DEFAULT_RULES, FILE).unwrap().references();
    assert_eq!(good.tls.len(), good.addresses.len());
    assert_eq!(good.addresses, errors.references().addresses);
    let text = LINKS_FOR_DEFAULT_RULES.replacen("127.0.0.1:2151", "127.0.0.1", 1);
    assert_ne!(text, LINKS_FOR_DEFAULT_RULES);
    let names = ConfigFile::parse(&text, FILE).unwrap_err().references().addresses.clone();
    assert_eq!(names.len(), good.addresses.len() - 1);
    assert!(names.iter().all(|address| good.addresses.contains(address)));
}

#[test]
fn the_configuration_of_the_guides_is_valid() {
    let blocks =
        |page: &'static str| page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    // The first two blocks of the bridge guide (links and rules), and the settings in the guide to services.
    let bridge = blocks(include_str!("../../../guide/bridge.md")).take(2);
    let text: String = bridge.chain(blocks(include_str!("../../../guide/service.md"))).collect();
    let file = ConfigFile::parse(&text, "bridge.toml").unwrap();
    assert_eq!((file.config.links.len(), file.config.rules.len()), (2, 2));
    assert_eq!(file.config.operation.drain, Duration::from_secs(10));
}
