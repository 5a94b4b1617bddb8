//! Links with `zeromq://` addresses.

use super::warnings::warnings;
use super::*;
use crate::endpoint::ZeroMqConfig;
use crate::zeromq::EventFormat;
use crate::zeromq::curve::{KeyPair, PublicKey};

/// A valid public key, from the tests of libzmq.
const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

const CONNECT: &str = "connect = 'zeromq://127.0.0.1:5555'";
const LISTEN: &str = "listen = 'zeromq://127.0.0.1:5555'";

#[test]
fn all_keys_are_parsed() {
    let config = good(&format!(
        r#"
[link.cluster]
connect = "zeromq://manager.example:5555,6666"
map_topics = false
event_format = "json"
node = "bridge-1"
loop = "accepted"
curve = {{ server_key = '{KEY}', public_key = "client_publickey", secret_key = {{ env = "SECRET" }} }}

[link.proxy]
listen = "zeromq://0.0.0.0:5555"
hub = true
allow = ["curve:sensor", "address:10.0.0.0/8"]
[link.proxy.curve]
secret_key = "server_secretkey"
client = [{{ name = "sensor", public_key = '{KEY}' }}, {{ name = "old", public_key = {{ env = "OLD" }} }}]

[[rule]]
name = "r"
from = ["cluster", "proxy"]
to = "proxy"
topics = ""
identities = "curve:sensor"
"#,
    ));
    let [cluster, proxy] = &config.links[..] else { panic!("{config:?}") };
    let key = PublicKeySource::Key(KEY.parse().unwrap());
    let expected = ZeroMqLink {
        map_topics: false,
        event_format: Some(EventFormat::Json),
        node: Some("bridge-1".to_owned()),
        curve: Some(CurveKeys::Client {
            server: key.clone(),
            public: Some(PublicKeySource::File("/etc/zb/client_publickey".into())),
            secret: SecretKeySource::Environment("SECRET".to_owned()),
        }),
        anonymous: false,
        accepts_loops: true,
    };
    assert_eq!(cluster.zeromq.as_ref().unwrap(), &expected);
    assert_eq!((cluster.when_full, cluster.hub, &cluster.tls), (WhenFull::Disconnect, false, &LinkTls::Off));
    let client = |name: &str, public_key| CurveClientConfig { name: name.to_owned(), public_key };
    let expected = ZeroMqLink {
        map_topics: true,
        event_format: None,
        node: None,
        curve: Some(CurveKeys::Server {
            secret: SecretKeySource::File("/etc/zb/server_secretkey".into()),
            clients: vec![
                client("sensor", key),
                client("old", PublicKeySource::Environment("OLD".to_owned())),
            ],
        }),
        anonymous: false,
        accepts_loops: false,
    };
    assert_eq!(proxy.zeromq.as_ref().unwrap(), &expected);
    assert_eq!((proxy.when_full, proxy.hub), (WhenFull::DropOldest, true));
    let summary = [cluster.to_string(), proxy.to_string()];
    for (line, part) in [
        (0, ", CURVE, events as JSON, is node bridge-1, topics are not translated, loop: accepted"),
        (1, ", a hub, when full: drop-oldest, CURVE with clients sensor and old"),
    ] {
        assert!(summary[line].ends_with(part), "{part}: {}", summary[line]);
    }
    let binary = good(&from_x(&format!("[link.x]\n{CONNECT}\nevent_format = 'bin'\n{NODES}"), "nodes"));
    assert!(binary.links[0].to_string().ends_with("events as bin"), "{}", binary.links[0]);
}

#[test]
fn a_proxy_is_a_hub_without_a_key() {
    let config = good(&from_x(&format!("[link.x]\n{LISTEN}\n"), "x"));
    assert!(config.links[0].hub);
    assert!(config.links[0].to_string().contains("a hub, when full: drop-oldest, no CURVE"));
}

#[test]
fn notes_explain_what_no_key_shows() {
    let links =
        format!("[link.x]\n{LISTEN}\n[link.y]\n{CONNECT}0\nnode = 'n'\n{NODES}").replace("5555'0", "5550'");
    let rules = |to: &str| format!("{links}[[rule]]\nname = 'r'\nfrom = 'x'\nto = {to}\ntopics = 't'\n");
    let notes = good(&rules("['x', 'nodes']")).notes();
    let expected = [
        "link x: topics that Zeek defines for clusters have dots here and slashes on nodes",
        "link x: no rule forwards Cluster::hello, Cluster::Backend::*",
        "link x: events that another bridge has sent to the cluster",
        "link x: the hellos of nodes, Cluster::Backend::ZeroMQ::hello and Cluster::hello, need no rule",
        "link x: nothing proves the name and the id in a hello",
        "link x: a peer that does not read its messages in time",
        "link x: rules select publishers, not receivers; every client that this link accepts can receive all events",
        "link y: sends and answers the hellos of nodes as n",
    ];
    assert_eq!(notes.len(), expected.len(), "{notes:#?}");
    for (note, expected) in notes.iter().zip(expected) {
        assert!(note.starts_with(expected), "{expected}: {note}");
    }
    let notes = good(&rules("'y'")).notes();
    assert!(notes.iter().all(|note| !note.contains("translated")), "{notes:#?}");
    assert!(notes.iter().any(
        |note| note.starts_with("link y: no rule forwards") && note.contains("between this link and x;")
    ));
    assert_eq!(
        good(&from_x("[link.x]\nlisten = '127.0.0.1:1'\ntls = 'off'\nhub = true\n", "x")).notes(),
        [""; 0]
    );
}

#[test]
fn keys_without_a_meaning_are_errors() {
    for (keys, expected) in [
        (format!("{CONNECT}\ntls = 'off'"), "3: link.x.tls: .. ZeroMQ has no TLS; remove it, and use curve"),
        (format!("{LISTEN}\ncafile = 'c'"), "3: link.x.cafile: .. ZeroMQ has no TLS"),
        (format!("{LISTEN}\ntls_backend = 'auto'"), "3: link.x.tls_backend: .. ZeroMQ has no TLS"),
        (
            format!("{CONNECT}\nfaces = 'nodes'"),
            "3: link.x.faces: .. the Management framework does not support",
        ),
        (format!("{LISTEN}\nhub = false"), "3: link.x.hub: .. always a hub"),
        (
            format!("{CONNECT}\nhub = true"),
            "3: link.x.hub: .. the proxy of the cluster forwards the messages",
        ),
        (format!("{LISTEN}\ngroup = 'g'"), "3: link.x.group: .. the proxy of a cluster"),
        (format!("{LISTEN}\nnode = 'a'"), "3: link.x.node: .. only for a link that connects"),
        (format!("{LISTEN}\nloop = 'accepted'"), "3: link.x.loop: .. only for a link that connects"),
        (format!("{CONNECT}\nanonymous = true"), "3: link.x.anonymous: .. only for a link that listens"),
        (format!("{CONNECT}\ntoken_file = 't'"), "3: link.x.token_file: .. ws:// or wss://"),
        (
            "connect = ['zeromq://a:1', 'zeromq://b:1']\nnode = 'a'".to_owned(),
            "3: link.x.node: .. a node belongs to one cluster",
        ),
        (format!("{CONNECT}\nnode = 'a b'"), "3: link.x.node: .. invalid name"),
        (format!("{CONNECT}\nwhen_full = 'block'"), "3: link.x.when_full: .. stops for all nodes"),
        (format!("{LISTEN}\nwhen_full = 'block'"), "3: link.x.when_full: .. stops for all nodes"),
        (format!("{CONNECT}\nevent_format = 'jsn'"), "3: link.x.event_format: .. did you mean `json`?"),
        (format!("{CONNECT}\nmap_topic = true"), "3: link.x.map_topic: .. did you mean `map_topics`?"),
        (format!("{CONNECT}\nallow = 'DNS:a'"), "3: link.x.allow: .. use \"address:IP/BITS\""),
        (
            "connect = ['zeromq://a:1', 'ws://b:1']".to_owned(),
            "2: link.x.connect: .. differs from that of the first",
        ),
        (
            "connect = '127.0.0.1:1'\ntls = 'off'\nmap_topics = true".to_owned(),
            "4: link.x.map_topics: .. zeromq://",
        ),
        (
            "connect = '127.0.0.1:1'\ntls = 'off'\nanonymous = true".to_owned(),
            "4: link.x.anonymous: .. ws://, wss:// or zeromq://",
        ),
    ] {
        assert_errors(&with_link(&keys), &[expected]);
    }
    for keys in
        [format!("{LISTEN}\nallow = 'address:10.0.0.0/8'"), format!("{CONNECT}\nallow = 'address:10.0.0.1'")]
    {
        assert_eq!(errors(&with_link(&keys)), [""; 0], "{keys}");
    }
}

#[test]
fn curve_has_keys_for_its_side() {
    let client = |keys: &str| with_link(&format!("{CONNECT}\n[link.x.curve]\n{keys}"));
    let server = |keys: &str| with_link(&format!("{LISTEN}\n[link.x.curve]\n{keys}"));
    let secret = "secret_key = 'f'";
    for (text, expected) in [
        (client(&format!("server_key = '{KEY}'")), "3: link.x.curve.secret_key: .. the key is missing"),
        (client(secret), "3: link.x.curve.server_key: .. the key is missing"),
        (
            client(&format!("server_key = '{KEY}'\nsecret_key = '{KEY}'")),
            "5: link.x.curve.secret_key: .. a key in the configuration is not secret",
        ),
        (
            client(&format!("server_key = '{KEY}'\nsecret_key = {{ file = 'f' }}")),
            "5: link.x.curve.secret_key.env: .. write { env",
        ),
        (
            client(&format!("server_key = 1\n{secret}")),
            "4: link.x.curve.server_key: .. expected a public key",
        ),
        (
            client(&format!("server_key = 'f'\n{secret}\nclient = []")),
            "6: link.x.curve.client: .. only for a link that listens",
        ),
        (server(secret), "3: link.x.curve.client: .. the key is missing"),
        (
            server(&format!("{secret}\nserver_key = 'k'\nclient = [{{ name = 'a', public_key = 'k' }}]")),
            "5: link.x.curve.server_key: .. only for a link that connects",
        ),
        (server(&format!("{secret}\nclient = []")), "5: link.x.curve.client: .. no peer could connect"),
        (
            server(&format!("{secret}\nclient = [{{ name = 'a' }}]")),
            "5: link.x.curve.client.public_key: .. no public key",
        ),
        (
            server(&format!("{secret}\nclient = [{{ public_key = '{KEY}' }}]")),
            "5: link.x.curve.client.name: .. \"curve:NAME\"",
        ),
    ] {
        let found = errors(&text);
        assert!(
            found.iter().any(|error| {
                let (start, part) = expected.split_once(" .. ").unwrap();
                error.starts_with(start) && error.contains(part)
            }),
            "{expected}: {found:#?}"
        );
    }
}

#[test]
fn a_listener_for_other_hosts_needs_curve() {
    let open = "listen = 'zeromq://0.0.0.0:5555'";
    assert_errors(&with_link(open), &["2: link.x.listen: .. can use this link; set curve = "]);
    assert_eq!(errors(&with_link(&format!("{open}\nanonymous = true"))), [""; 0]);
    let curve = format!("curve = {{ secret_key = 'f', client = [{{ name = 'a', public_key = '{KEY}' }}] }}");
    assert_eq!(errors(&with_link(&format!("{open}\n{curve}"))), [""; 0]);
    let far = "connect = 'zeromq://manager.example:5555'";
    let found = warnings(&with_link(far));
    assert!(found.iter().any(|warning| warning.starts_with("2: link.x.connect: no CURVE at ")), "{found:?}");
    let curve = format!("curve = {{ secret_key = 'f', server_key = '{KEY}' }}");
    assert_eq!(warnings(&with_link(&format!("{far}\n{curve}"))), [""; 0]);
}

#[test]
fn reading_from_a_cluster_never_waits_for_a_target() {
    let links = |keys: &str| {
        format!("[link.x]\n{CONNECT}\n[link.nodes]\nlisten = '127.0.0.1:1'\ntls = 'off'\n{keys}")
    };
    let blocking = links("when_full = 'block'\n");
    assert_errors(&from_x(&blocking, "nodes"), &["10: rule.r.to: .. which stops the reading from x"]);
    assert_eq!(errors(&from_x(&links(""), "nodes")), [""; 0]);
    let other_way = format!("{blocking}[[rule]]\nname = 'r'\nfrom = 'nodes'\nto = 'x'\ntopics = 't'\n");
    assert_eq!(errors(&other_way), [""; 0]);
}

#[test]
fn two_links_into_the_same_cluster_are_reported() {
    let two = |x: &str, y: &str| from_x(&format!("[link.x]\n{x}\n[link.y]\n{y}\n"), "y");
    let (server, other) = ("connect = 'ws://127.0.0.1:2'", "connect = 'zeromq://127.0.0.1:7000'");
    let without_end = "8: rule.r.to: .. without end";
    assert_errors(&two(CONNECT, server), &[without_end]);
    assert_errors(&two(server, CONNECT), &[without_end]);
    assert_eq!(errors(&two(&format!("{CONNECT}\nloop = 'accepted'"), server)), [""; 0]);
    let found = warnings(&two(CONNECT, other));
    assert!(
        matches!(&found[..], [warning] if warning.starts_with("8: rule.r.to: ") && warning.contains("receive each event twice")),
        "{found:?}"
    );
    assert_eq!(warnings(&two(&format!("{CONNECT}\nloop = 'accepted'"), other)), [""; 0]);
    let found = warnings(&two(CONNECT, "listen = 'zeromq://127.0.0.1:7000'"));
    assert!(
        matches!(&found[..], [warning] if warning.starts_with("4: link.y.listen: no rule is from this link to itself")),
        "{found:?}"
    );
    assert_eq!(warnings(&two(CONNECT, "connect = '127.0.0.1:1'\ntls = 'off'")), [""; 0]);
    assert_errors(
        &from_x(&format!("[link.x]\n{CONNECT}\n"), "x"),
        &["3: rule.r: .. use another link: the proxy"],
    );
}

#[test]
fn a_topic_may_return_in_its_other_form() {
    let text = |map: &str, returning: &str| {
        let brokers =
            ["a", "b"].map(|name| format!("[link.{name}]\nconnect = '{name}:1'\ntls = 'off'\nttl = 2\n"));
        let out = "[[rule]]\nname = 'out'\nfrom = 'x'\nto = 'a'\ntopics = 'zeek.cluster.worker'\n";
        let back = format!("[[rule]]\nname = 'back'\nfrom = 'b'\nto = 'x'\ntopics = '{returning}'\n");
        format!("[link.x]\n{CONNECT}\n{map}\n{}{out}{back}", brokers.concat())
    };
    let cycles = |text: &str| {
        let found = warnings(text);
        found.iter().filter(|warning| warning.contains("it returns over b")).count()
    };
    assert_eq!(cycles(&text("", "zeek/cluster/worker")), 1);
    assert_eq!(cycles(&text("", "zeek/cluster/logger")), 0);
    assert_eq!(cycles(&text("map_topics = false", "zeek/cluster/worker")), 0);
    assert_eq!(cycles(&text("map_topics = false", "zeek.cluster.worker")), 1);
}

#[test]
fn data_store_commands_do_not_reach_a_cluster() {
    let text = with_link(CONNECT) + "commands = true\n";
    let found = warnings(&text);
    assert!(
        found[0].contains(
            "rule.r.commands: ZeroMQ carries no data-store commands, so none are forwarded from or to x"
        ),
        "{found:?}"
    );
}

#[test]
fn addresses_of_both_sockets_conflict_with_other_listeners() {
    let text = |listen: &str| with_link(&format!("listen = '{listen}'"));
    assert_errors(
        &text("zeromq://127.0.0.1:2151"),
        &["4: link.nodes.listen: .. conflicts with zeromq://127.0.0.1:2151"],
    );
    assert_eq!(errors(&text("zeromq://127.0.0.1:2153")), [""; 0]);
}

#[test]
fn identities_of_clients_have_names_of_keys() {
    let curve =
        format!("curve = {{ secret_key = 'f', client = [{{ name = 'sensor', public_key = '{KEY}' }}] }}");
    let with = |listen: &str, identity: &str| {
        format!("{}identities = '{identity}'\n", from_x(&format!("[link.x]\n{listen}\n"), "x"))
    };
    let encrypted = format!("{LISTEN}\n{curve}");
    assert_eq!(warnings(&with(&encrypted, "curve:sens*")), [""; 0]);
    let found = warnings(&with(&encrypted, "curve:other"));
    assert!(found[0].contains("no link in from has a client that curve:other matches"), "{found:?}");
    assert_eq!(warnings(&with(LISTEN, "address:127.0.0.1")), [""; 0]);
    assert_errors(&with(LISTEN, "curve:sensor"), &["8: rule.r.identities: .. nothing can match"]);
}

#[test]
fn keys_are_read_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyPair::generate().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text + "\n").unwrap();
        path
    };
    let public = PublicKeySource::File(file("client_publickey", keys.public().to_string()));
    let secret = SecretKeySource::File(file("client_secretkey", keys.secret().expose_z85()));
    let server: PublicKey = KEY.parse().unwrap();
    let key = |key: &PublicKey| PublicKeySource::Key(*key);
    let link = |curve| {
        let config = good(&with_link(CONNECT));
        ZeroMqLink { curve: Some(curve), ..config.links[0].zeromq.clone().unwrap() }
    };
    let client = |public| CurveKeys::Client { server: key(&server), public, secret: secret.clone() };
    for public in [None, Some(public.clone()), Some(key(keys.public()))] {
        let ZeroMqConfig { client, .. } = link(client(public)).load("x").unwrap();
        let client = client.unwrap();
        assert_eq!((client.server, client.keys.public()), (server, keys.public()));
    }
    let error = link(client(Some(key(&server)))).load("x").unwrap_err().to_string();
    assert!(error.contains("link.x.curve.public_key: the public key of the secret key is "), "{error}");

    let named = |name: &str, public_key| CurveClientConfig { name: name.to_owned(), public_key };
    let with = |clients| link(CurveKeys::Server { secret: secret.clone(), clients }).load("x");
    let other = KeyPair::generate().unwrap();
    let of_other = PublicKeySource::File(file("other_publickey", other.public().to_string()));
    let settings = with(vec![named("a", key(&server)), named("b", of_other)]).unwrap().server.unwrap();
    assert_eq!(settings.keys.public(), keys.public());
    assert_eq!(settings.clients.name(other.public()).map(|name| &**name), Some("b"));
    let error = with(vec![named("a", public.clone()), named("b", public)]).unwrap_err().to_string();
    assert!(error.contains("clients a and b have the same key"), "{error}");

    let missing = || "ZEEK_BRIDGE_NO_SUCH_VARIABLE".to_owned();
    let absent = CurveKeys::Server {
        secret: SecretKeySource::Environment(missing()),
        clients: vec![
            named("a", PublicKeySource::Environment(missing())),
            named("b", PublicKeySource::File(folder.path().join("none"))),
        ],
    };
    let errors: Vec<String> = link(absent).load("x").unwrap_err().iter().map(ToString::to_string).collect();
    let [a, b, own] = &errors[..] else { panic!("{errors:?}") };
    assert!(a.starts_with("link.x.curve.client: client a: ") && a.contains("is not set"), "{a}");
    assert!(b.starts_with("link.x.curve.client: client b: "), "{b}");
    assert!(own.starts_with("link.x.curve.secret_key: "), "{own}");
}

#[test]
fn new_clients_of_curve_do_not_disconnect_peers() {
    let link = |keys: &str| good(&with_link(&format!("{LISTEN}\n{keys}"))).links[0].clone();
    let with = |name: &str| {
        link(&format!(
            "curve = {{ secret_key = 'f', client = [{{ name = '{name}', public_key = '{KEY}' }}] }}"
        ))
    };
    assert!(with("a").keeps_peers_of(&with("b")));
    assert!(!with("a").keeps_peers_of(&link("")) && !link("").keeps_peers_of(&with("a")));
    assert!(!link("map_topics = false").keeps_peers_of(&link("")));
    assert!(link("anonymous = true").keeps_peers_of(&link("")));
}
