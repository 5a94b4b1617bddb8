//! Commands with the address of a ZeroMQ cluster that uses CURVE.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zeek_bridge::zeek::Event;
use zeek_bridge::zeromq::curve::{Channel, Client, ClientStep, Flags, KeyPair, PublicKey};
use zeek_bridge::zeromq::{LogField, LogHeader, LogValue, TypeTag};

use crate::program::{End, Program, command, write_secret};
use crate::zeromq_proxy::{Proxy, frame, payload, put_frame};

/// A proxy with CURVE that accepts one client.
struct Cluster {
    proxy: Proxy,
    server: KeyPair,
    client: KeyPair,
    /// The folder with the keys, in zeekctl's format.
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let [server, client] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let folder = tempfile::tempdir().unwrap();
        for (name, keys) in [("server", &server), ("client", &client)] {
            write_keys(folder.path(), name, keys);
        }
        let clients = (*client.public(), "cluster").into();
        Cluster { proxy: Proxy::with_curve(server.clone(), clients), server, client, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The options for a client with the keys of `name`.
    fn options(&self, server: &str, name: &str) -> String {
        format!(
            "--connect {} --curve-server-key {} --curve-public-key {} --curve-secret-key {}",
            self.proxy.url,
            self.file(&format!("{server}_publickey")).display(),
            self.file(&format!("{name}_publickey")).display(),
            self.file(&format!("{name}_secretkey")).display()
        )
    }

    /// Adds a pair of keys that the proxy does not know. Returns its public key.
    fn stranger(&self) -> String {
        let keys = KeyPair::generate().unwrap();
        write_keys(self.folder.path(), "other", &keys);
        keys.public().to_string()
    }
}

fn write_keys(folder: &Path, name: &str, keys: &KeyPair) {
    std::fs::write(folder.join(format!("{name}_publickey")), format!("{}\n", keys.public())).unwrap();
    let secret = format!("{}\n", keys.secret().expose_z85());
    write_secret(&folder.join(format!("{name}_secretkey")), secret.as_bytes());
}

fn with(variables: &[(&str, &str)], args: &str) -> End {
    let mut command = command(args.split_whitespace());
    command.envs(variables.iter().copied());
    Program::spawn(command).end_by_itself()
}

#[test]
fn events_are_exchanged_with_the_keys_of_files() {
    let cluster = Cluster::start();
    let options = cluster.options("server", "client");
    let tap = Program::start(&format!("tap --format json --count 1 --topic /t {options}"));
    assert_eq!(cluster.proxy.next_change(), b"\x01/t");
    let payload = payload(Event::new("Demo::ping", ("x".repeat(1000),)));
    cluster.proxy.publish(&[b"/t/x", b"worker-1", b"broker-bin-v1", &payload]);
    let end = tap.end_by_itself();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!((&end.json()[0]["peer"], &end.json()[0]["event"]), (&"worker-1".into(), &"Demo::ping".into()));
    assert!(!end.stderr.contains("no TLS at"), "{end:?}");

    let end =
        Program::run(&format!("publish --topic /u {options} Demo::ping string:{}", "x".repeat(1000)), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let parts = cluster.proxy.next_published();
    assert_eq!((&parts[0][..], &parts[3]), (&b"/u"[..], &payload));
}

#[test]
fn a_probe_reports_whether_the_keys_are_accepted() {
    let cluster = Cluster::start();
    let options = cluster.options("server", "client");
    let end = Program::run(&format!("probe --format json {options}"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let line = &end.json()[0];
    assert_eq!((&line["mechanism"], &line["keys"]), (&"CURVE".into(), &"accepted".into()), "{line}");
    assert_eq!(line["sockets"].as_array().unwrap().len(), 2, "{line}");
    let end = Program::run(&format!("probe {options}"), "");
    let command = format!("connect with zeek-bridge tap {}", options.replace("--connect", "-c"));
    assert!(end.stdout.concat().contains("keys         accepted"), "{end:?}");
    assert!(end.stdout.concat().contains(&command), "{command}: {end:?}");

    let other = cluster.stranger();
    for (server, client) in [("other", "client"), ("server", "other")] {
        let end = Program::run(&format!("probe --format json {}", cluster.options(server, client)), "");
        assert_eq!(end.code, Some(4), "{end:?}");
        let line = &end.json()[0];
        assert_eq!((&line["mechanism"], &line["keys"]), (&"CURVE".into(), &"refused".into()), "{line}");
        assert!(line["notes"][0].as_str().unwrap().contains(&other), "{line}");
        assert_eq!(line["command"], serde_json::Value::Null);
    }
    let plain = Proxy::start();
    let end =
        Program::run(&format!("probe --format json {}", options.replace(&cluster.proxy.url, &plain.url)), "");
    assert_eq!(end.code, Some(4), "{end:?}");
    let line = &end.json()[0];
    assert_eq!((&line["mechanism"], &line["keys"]), (&"NULL".into(), &"unused".into()), "{line}");
    let end = Program::run(&format!("probe --format json {}", cluster.proxy.url), "");
    let line = &end.json()[0];
    assert_eq!((&line["mechanism"], &line["keys"]), (&"CURVE".into(), &serde_json::Value::Null), "{line}");
}

#[test]
fn wrong_keys_end_the_first_attempt() {
    let cluster = Cluster::start();
    let other = cluster.stranger();
    let url = &cluster.proxy.url;
    let plain = Proxy::start();
    for command in ["tap", "publish --topic /t e"] {
        Program::run(&format!("{command} {}", cluster.options("other", "client")), "")
            .fails(4, &["CURVE key other than", &other, "check --curve-server-key"]);
        Program::run(&format!("{command} {}", cluster.options("server", "other")), "")
            .fails(4, &["refused the CURVE key", &other, "--curve-public-key and --curve-secret-key"]);
        Program::run(&format!("{command} --connect {url}"), "")
            .fails(4, &["mechanism CURVE", "keys", "for a cluster with CURVE, set --curve-server-key"]);
        let options = cluster.options("server", "client").replace(url, &plain.url);
        Program::run(&format!("{command} {options}"), "").fails(
            4,
            &[
                "mechanism NULL",
                "CURVE with the server key",
                &cluster.server.public().to_string(),
                "check --curve",
            ],
        );
    }
}

#[test]
fn a_key_may_begin_with_a_hyphen() {
    let key = format!("-{}", "0".repeat(39));
    let options = format!("--curve-server-key {key} --curve-public-key {key}");
    Program::run(&format!("probe zeromq://127.0.0.1:1 {options}"), "").fails(2, &["--curve-secret-key"]);
    Program::run(&format!("probe zeromq://127.0.0.1:1 {options} --curve-secret-key {key}"), "")
        .fails(2, &["--curve-secret-key", "file"]);
}

#[test]
fn keys_are_read_from_variables_and_profiles() {
    let cluster = Cluster::start();
    let secret = cluster.client.secret().expose_z85();
    let [server, public] = [&cluster.server, &cluster.client].map(|keys| keys.public().to_string());
    let probe = format!("probe -v --format json {}", cluster.proxy.url);
    let accepts = |variables: &[(&str, &str)], args: &str, source: &str| {
        let end = with(variables, args);
        assert_eq!(end.code, Some(0), "{end:?}");
        assert_eq!(end.json()[0]["keys"], "accepted");
        assert!(source.is_empty() || end.stderr.contains(&format!("keys of CURVE from {source}")), "{end:?}");
        assert!(!format!("{end:?}").contains(&secret), "{end:?}");
    };
    let zeek = |key: &str| format!("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{key}");
    let [zeek_server, zeek_public, zeek_secret, zeek_server_secret] =
        ["SERVER_PUBLICKEY", "CLIENT_PUBLICKEY", "CLIENT_SECRETKEY", "SERVER_SECRETKEY"].map(zeek);
    let other = KeyPair::generate().unwrap().secret().expose_z85();
    let of_zeek = [
        (&*zeek_server, &*server),
        (&zeek_public, &public),
        (&zeek_secret, &secret),
        (&zeek_server_secret, &other),
    ];
    accepts(&of_zeek, &probe, "the environment variables of Zeek");
    // These variables are for ZeroMQ only.
    with(&of_zeek, "tap -c 127.0.0.1:1 --tls off").fails(3, &["127.0.0.1:1"]);

    let secret_file = cluster.file("client_secretkey").display().to_string();
    for value in [&*secret, &*secret_file] {
        let own = [
            ("ZEEK_BRIDGE_CURVE_SERVER_KEY", &*server),
            ("ZEEK_BRIDGE_CURVE_PUBLIC_KEY", &public),
            ("ZEEK_BRIDGE_CURVE_SECRET_KEY", value),
        ];
        // They have precedence over Zeek's.
        accepts(&[&own[..], &[(&zeek_secret, "x")]].concat(), &probe, "the environment");
        let args = format!("{probe} --curve-server-key {server} --curve-public-key {public}");
        accepts(&own[2..], &args, "");
    }
    let config = tempfile::tempdir().unwrap();
    std::fs::create_dir(config.path().join("zeek-bridge")).unwrap();
    let write = |connect: &str| {
        let folder = cluster.folder.path().display();
        let profile = format!(
            "[profile.c]\nconnect = \"{connect}\"\ncurve_server_key = \"{server}\"\ncurve_public_key = \"{folder}/client_publickey\"\n\
             curve_secret_key = \"{folder}/client_secretkey\"\n"
        );
        std::fs::write(config.path().join("zeek-bridge/config.toml"), profile).unwrap();
    };
    write(&cluster.proxy.url);
    let variables =
        [("XDG_CONFIG_HOME", config.path().to_str().unwrap()), ("ZEEK_BRIDGE_CURVE_SECRET_KEY", "x")];
    accepts(&variables, "probe -v --format json --profile c", "profile c");
    write("127.0.0.1:1");
    with(&variables, "tap --profile c --tls off")
        .fails(2, &["profile c", "curve_server_key is for zeromq://"]);
}

#[test]
fn invalid_keys_are_refused_without_a_connection() {
    let cluster = Cluster::start();
    cluster.stranger();
    let secret = cluster.client.secret().expose_z85();
    let [server, public, secret_file] = ["server_publickey", "client_publickey", "client_secretkey"]
        .map(|name| cluster.file(name).display().to_string());
    let other_file = cluster.file("other_secretkey").display().to_string();
    let url = &cluster.proxy.url;
    let keys = |server: &str, public: &str, secret: &str| {
        let option = |name, value: &str| match value {
            "" => String::new(),
            _ => format!("--curve-{name}-key {value} "),
        };
        option("server", server) + &option("public", public) + &option("secret", secret)
    };
    for (keys, words) in [
        (keys(&server, &public, &secret), ["--curve-secret-key", "other users may see it"]),
        (keys(&server, &public, "/nowhere"), ["--curve-secret-key", "does not exist"]),
        (keys(&server, &public, ""), ["--curve-secret-key is not set", "both keys of the clients"]),
        (keys("", &public, &secret_file), ["--curve-server-key is not set", "public key of the servers"]),
        (keys(&server, "", ""), ["--curve-public-key and --curve-secret-key are not set", "CURVE requires"]),
        (keys(&server, &public, &other_file), ["--curve-public-key is", "use both keys of one pair"]),
        (
            keys("/nowhere", &public, &secret_file),
            ["--curve-server-key: /nowhere", "neither a file nor a key"],
        ),
        (keys(&server, &public, &server[..server.len() - 10]), ["--curve-secret-key", ""]),
    ] {
        for command in ["tap", "probe", "publish --topic t e"] {
            let end = Program::run(&format!("{command} --connect {url} {keys}"), "");
            end.fails(2, &words);
            assert!(!end.stderr.contains(&secret), "{end:?}");
        }
    }
    let keys = keys(&server, &public, &secret_file);
    for address in ["--connect 127.0.0.1:1", "--connect ws://127.0.0.1:1"] {
        for command in ["tap", "probe", "publish --topic t e"] {
            Program::run(&format!("{command} {address} {keys}"), "")
                .fails(2, &["--curve-server-key is for zeromq:// addresses", "remove it"]);
        }
    }
    // The values of variables may be secret.
    let variables = [
        ("ZEEK_BRIDGE_CURVE_SERVER_KEY", &*server),
        ("ZEEK_BRIDGE_CURVE_PUBLIC_KEY", &public),
        ("ZEEK_BRIDGE_CURVE_SECRET_KEY", &secret[1..]),
    ];
    let end = with(&variables, &format!("tap --connect {url}"));
    end.fails(2, &["ZEEK_BRIDGE_CURVE_SECRET_KEY", "neither a key nor a file", "39 bytes"]);
    assert!(!end.stderr.contains(&secret[1..]), "{end:?}");
    let end = with(&variables[2..], &format!("tap --connect {url}"));
    end.fails(2, &["ZEEK_BRIDGE_CURVE_SERVER_KEY and ZEEK_BRIDGE_CURVE_PUBLIC_KEY are not set"]);
}

#[test]
fn events_are_published_in_the_format_of_the_cluster() {
    let proxy = Proxy::with_subscriptions(&["/t"], false);
    let publish = |format: &str, address: &str| {
        Program::run(&format!("publish --topic /t --connect {address} {format} Demo::ping count:7"), "")
    };
    let json =
        br#"{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},"#;
    let bin = payload(Event::new("Demo::ping", (7u64,)));
    for (option, name, start) in [
        ("", "broker-bin-v1", &bin[..]),
        ("--event-format bin", "broker-bin-v1", &bin),
        ("--event-format json", "broker-json-v1", json),
    ] {
        let end = publish(option, &proxy.url);
        assert_eq!(end.code, Some(0), "{end:?}");
        let parts = proxy.next_published();
        assert_eq!(String::from_utf8_lossy(&parts[2]), name);
        assert!(parts[3].starts_with(start), "{}", String::from_utf8_lossy(&parts[3]));
    }
    publish("--event-format json --tls off", "127.0.0.1:1")
        .fails(2, &["--event-format is for zeromq://", "remove it"]);
}

/// Connects to a logger with the PUSH socket of a node. Returns `None` if the logger does not accept the keys.
fn connect_to_logger(address: &str, server: &PublicKey, keys: &KeyPair) -> Option<(TcpStream, Channel)> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut greeting = [0; 64];
    greeting[..17].copy_from_slice(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01CURVE");
    stream.write_all(&greeting).unwrap();
    stream.read_exact(&mut greeting).unwrap();
    let send = |stream: &mut TcpStream, command: &Bytes| {
        let mut frames = Vec::new();
        put_frame(4, command, &mut frames);
        stream.write_all(&frames).unwrap();
    };
    let metadata = Bytes::from_static(b"\x0bSocket-Type\0\0\0\x04PUSH");
    let (mut client, hello) = Client::start(*server, keys.clone(), metadata).unwrap();
    send(&mut stream, &hello);
    loop {
        let (_, command) = frame(&mut stream)?;
        match client.receive(&command).unwrap() {
            ClientStep::Initiate(initiate) => send(&mut stream, &initiate),
            ClientStep::Established { channel, .. } => return Some((stream, channel)),
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn logs_are_received_from_nodes_with_an_allowed_key() {
    let cluster = Cluster::start();
    let (server, client) = (cluster.server.public(), &cluster.client);
    let file = |name| cluster.file(name).display().to_string();
    let [secret, public] = ["server_secretkey", "client_publickey"].map(file);
    let listen = "tap --logs --format json --count 1 --listen zeromq://127.0.0.1:0";
    let mut tap =
        Program::start(&format!("{listen} --curve-secret-key {secret} --curve-public-key {public}"));
    let address = tap.address();
    let address = address.strip_prefix("zeromq://").unwrap();
    assert!(connect_to_logger(address, server, &KeyPair::generate().unwrap()).is_none());
    let (mut stream, mut channel) = connect_to_logger(address, server, client).unwrap();
    let header = LogHeader {
        stream: b"Conn::LOG",
        writer: b"Log::WRITER_ASCII",
        filter: b"default",
        path: b"conn",
        fields: vec![LogField::new("n", TypeTag::Count)],
    };
    let mut batch = Vec::new();
    header.encode(&[vec![LogValue::Count(7)]], &mut batch).unwrap();
    let parts = [&b"log-write"[..], b"worker-1", b"zeek-bin-serializer", &batch];
    for (index, part) in parts.into_iter().enumerate() {
        let mut frames = Vec::new();
        let flags = Flags { more: index + 1 < parts.len(), command: false };
        put_frame(0, &channel.seal(flags, part).unwrap(), &mut frames);
        stream.write_all(&frames).unwrap();
    }
    let end = tap.end_by_itself();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(end.json()[0]["row"]["n"], 7, "{end:?}");

    Program::run(&format!("{listen} --curve-secret-key {secret}"), "")
        .fails(2, &["--curve-public-key is not set", "the public key of the clients"]);
    let [client_secret, server_key] = ["client_secretkey", "server_publickey"].map(file);
    let keys = format!("--curve-secret-key {client_secret} --curve-public-key {public}");
    Program::run(&format!("{listen} {keys} --curve-server-key {server_key}"), "")
        .fails(2, &["--curve-server-key is", "use both keys of one pair"]);
}
