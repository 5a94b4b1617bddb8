//! `bench relay`. The measured speed is not tested.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use serde_json::Value as Json;
use zeek_bridge::data::EndpointId;
use zeek_bridge::net::tls::ephemeral_authority;
use zeek_bridge::peering::{Config, Event, Side};
use zeek_bridge::websocket::{Access, BinaryText, ServerConfig, WebSocket};

use crate::program::child::skip;
use crate::program::{End, Files, Program, write_secret};

/// A bridge with two links, and a rule from the first link to the second.
struct Bridge {
    program: Program,
    /// The options that contain the addresses of the bridge.
    options: String,
    subscribe_at: String,
    _folder: tempfile::TempDir,
}

impl Bridge {
    /// Starts a bridge with `tls` on both links, the settings `subscribers` on the second, and a rule for `topic`.
    fn start(tls: &str, subscribers: &str, topic: &str) -> Self {
        let broker = format!("listen = '127.0.0.1:0'\n{tls}\n");
        Self::of_links(&broker, &format!("{broker}{subscribers}"), topic)
    }

    /// Starts a bridge with these settings of its links, and a rule for `topic`.
    fn of_links(publisher: &str, subscribers: &str, topic: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[bridge]\nhttp = 'off'\nstatus = 'off'\n\
             [link.p]\n{publisher}\n\
             [link.s]\n{subscribers}\n\
             [[rule]]\nname = 'r'\nfrom = 'p'\nto = 's'\ntopics = ['{topic}']\n"
        );
        let path = folder.path().join("bridge.toml");
        std::fs::write(&path, config).unwrap();
        let mut program = Program::start(&format!("run {}", path.display()));
        let [publish_to, subscribe_at] = ["link=p", "link=s"].map(|link| {
            let line = program.says(link);
            let (_, address) = line.split_once("listening on ").unwrap();
            address.split_once(' ').unwrap().0.to_owned()
        });
        program.says("running, with");
        let options =
            format!("--publish-to {publish_to} --subscribe-at {subscribe_at} --pid {}", program.pid());
        Bridge { program, options, subscribe_at, _folder: folder }
    }

    fn plain() -> Self {
        Self::start("tls = 'off'", "", "/zeek-bridge/bench")
    }
}

fn bench(options: &str) -> End {
    Program::run(&format!("bench relay {options}"), "")
}

/// Returns the report of a benchmark without loss.
#[track_caller]
fn all_arrived(end: &End, events: u64, round_trips: u64, subscribers: u64) -> Json {
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    let report = end.json().remove(0);
    let count = |name: &str| report[name].as_u64().unwrap();
    // If nothing arrives for a second, which a busy machine can cause, single messages are added.
    let measured = report["throughput"]["events"].as_u64().unwrap();
    assert!(measured >= events, "{report}");
    assert_eq!(count("published"), measured + round_trips, "{report}");
    assert_eq!(count("delivered"), (measured + round_trips) * subscribers, "{report}");
    for name in ["lost", "duplicated", "reordered", "foreign"] {
        assert_eq!(count(name), 0, "{name}: {report}");
    }
    assert_eq!(report["round_trip"]["samples"], round_trips);
    assert_eq!(report["interrupted"], false);
    report
}

#[test]
fn without_addresses_a_relay_is_started() {
    let end = bench("--count 2000 --round-trips 20 --format json");
    let report = all_arrived(&end, 2000, 20, 1);
    assert_eq!((&report["own_relay"], &report["tls"]), (&true.into(), &"off".into()));
    assert!(report["relay"]["pid"].is_u64(), "{report}");

    let end = bench("--count 2000 --round-trips 20 --tls mutual --peers 3 --size 5000");
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    let text = end.stdout.join("\n");
    for words in ["TLS mutual", "5000 bytes, to 3 subscribers", "(2,000 events in", " 0 of 6,060;"] {
        assert!(text.contains(words), "{words}: {text}");
    }

    let end = bench("--count 100 --round-trips 5 --tls anonymous --format json");
    if cfg!(feature = "openssl") {
        assert_eq!(end.code, Some(0), "{end:?}");
        assert_eq!(end.json()[0]["tls"], "anonymous");
    } else {
        end.fails(2, &["--tls anonymous", "cargo build --features openssl"]);
    }
}

#[test]
fn a_bridge_is_compared_with_haproxy() {
    bench("--compare-with haproxy --publish-to 127.0.0.1:1")
        .fails(2, &["--publish-to", "cannot be used with"]);
    bench("--compare-with haproxy --peers 2").fails(2, &["--peers", "cannot be used with"]);
    bench("--rounds 2").fails(2, &["--compare-with"]);
    let anonymous = bench("--compare-with haproxy --tls anonymous --count 10 --rounds 1 --format json");
    anonymous.fails(2, &["HAProxy", "anonymous", "--tls mutual"]);
    let is_missing = Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err();
    if is_missing {
        bench("--compare-with haproxy --count 10 --rounds 1").fails(1, &["HAProxy", "install", "PATH"]);
        return skip("HAProxy is not installed: `bench relay --compare-with haproxy` is not tested");
    }
    for (tls, size) in [("off", 223), ("mutual", 1200)] {
        let options =
            format!("--compare-with haproxy --tls {tls} --size {size} --count 3000 --round-trips 20");
        let end = bench(&format!("{options} --rounds 2 --format json"));
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
        let reports = end.json();
        let names: Vec<_> = reports.iter().map(|report| report["relay"]["name"].as_str()).collect();
        let (bridge, haproxy) = (Some("zeek-bridge"), Some("haproxy"));
        assert_eq!(names, [bridge, haproxy, bridge, haproxy, None]);
        for report in &reports[..4] {
            assert_eq!((&report["lost"], &report["tls"]), (&0.into(), &tls.into()), "{report}");
            assert!(report["throughput"]["events"].as_u64().unwrap() >= 3000, "{report}");
        }
        let medians = ["bridge", "haproxy", "ratio"].map(|name| &reports[4][name]["round_trip_p50_us"]);
        let [bridge, haproxy, ratio] = medians.map(|median| median.as_f64().unwrap());
        assert!((bridge / haproxy - ratio).abs() < 1e-9, "{}", reports[4]);
    }
    let end = bench("--compare-with haproxy --count 100 --round-trips 5 --rounds 1");
    assert_eq!(end.code, Some(0), "{end:?}");
    for (line, words) in end.stdout.iter().zip(["HAProxy", "events per second", "CPU", "median", "p99"]) {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn a_running_bridge_is_measured() {
    let bridge = Bridge::plain();
    let options = format!("{} --tls off --format json --round-trips 20 --count", bridge.options);
    let report = all_arrived(&bench(&format!("{options} 5000 --peers 4")), 5000, 20, 4);
    assert_eq!(report["own_relay"], false);
    assert_eq!(report["relay"]["pid"], bridge.program.pid());
    assert_eq!(report["relay"]["name"], "zeek-bridge");
    assert!(report["relay"]["resident_bytes"].as_u64().unwrap() > 0);
    let times = ["min_us", "p50_us", "p90_us", "p99_us", "max_us"];
    assert!(times.map(|name| report["round_trip"][name].as_f64().unwrap()).is_sorted(), "{report}");

    let large = all_arrived(&bench(&format!("{options} 5 --size 3000000")), 5, 20, 1);
    assert_eq!((&large["size"], &large["window"]), (&3_000_000.into(), &5.into()));
    let small = all_arrived(&bench(&format!("{options} 50 --window 1 --rate 10000")), 50, 20, 1);
    assert_eq!((&small["window"], &small["rate"]), (&1.into(), &10_000.into()));
}

#[test]
fn mutual_tls_is_set_with_the_options_of_the_other_commands() {
    let authority = ephemeral_authority().unwrap();
    let [theirs, ours] = ["bridge", "bench"].map(|name| Files::issue(&authority, name));
    let keys = ["cafile", "certificate", "keyfile"]
        .map(|key| format!("{key} = '{}'", theirs.folder.path().join(key).display()));
    let bridge = Bridge::start(&keys.join("\n"), "", "/zeek-bridge");
    let options = format!("{} --format json --round-trips 20 --count 3000 --peers 2", bridge.options);
    let report = all_arrived(&bench(&format!("{options} {}", ours.options)), 3000, 20, 2);
    assert_eq!(report["tls"], "mutual");
    bench(&format!("{options} --tls off")).fails(4, &["no peering with", "TLS"]);
    let stranger = Files::issue(&ephemeral_authority().unwrap(), "stranger");
    bench(&format!("{options} {}", stranger.options)).fails(4, &["no peering with", "certificate"]);
}

#[test]
fn a_bridge_with_the_websocket_api_is_started() {
    for (publish_as, subscribe_as) in
        [("broker", "websocket"), ("websocket", "broker"), ("websocket", "websocket")]
    {
        let options =
            format!("--publish-as {publish_as} --subscribe-as {subscribe_as} --count 2000 --round-trips 20");
        let report = all_arrived(&bench(&format!("{options} --peers 3 --format json")), 2000, 20, 3);
        for (side, protocol) in [("publish_to", publish_as), ("subscribe_at", subscribe_as)] {
            let is_url = report[side].as_str().unwrap().starts_with("ws://127.0.0.1:");
            assert_eq!(is_url, protocol == "websocket", "{report}");
        }
        assert_eq!((&report["size"], &report["tls"]), (&223.into(), &"off".into()));
        assert!(report["json_size"].as_u64().unwrap() > 223, "{report}");
        assert!(report["relay"]["pid"].is_u64(), "{report}");
    }
    // Frames with a length of 16 bits and of 64 bits.
    for size in [5000, 100_000] {
        let options = format!(
            "--publish-as websocket --subscribe-as websocket --count 200 --round-trips 5 --size {size}"
        );
        all_arrived(&bench(&format!("{options} --format json")), 200, 5, 1);
    }
    let end = bench("--subscribe-as websocket --tls mutual --count 2000 --round-trips 20");
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    let text = end.stdout.join("\n");
    for words in ["to wss://127.0.0.1:", "223 bytes (", " as JSON), to 1 subscriber", " 0 of 2,020;"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    bench("--subscribe-as websocket --tls anonymous")
        .fails(2, &["anonymous TLS is for Broker only", "--tls mutual"]);
}

#[test]
fn a_bridge_as_the_proxy_of_a_zeromq_cluster_is_started() {
    for (publish_as, subscribe_as) in [("zeromq", "zeromq"), ("broker", "zeromq"), ("zeromq", "websocket")] {
        let options =
            format!("--publish-as {publish_as} --subscribe-as {subscribe_as} --count 2000 --round-trips 20");
        let report = all_arrived(&bench(&format!("{options} --peers 3 --format json")), 2000, 20, 3);
        for (side, protocol) in [("publish_to", publish_as), ("subscribe_at", subscribe_as)] {
            let is_proxy = report[side].as_str().unwrap().starts_with("zeromq://127.0.0.1:");
            assert_eq!(is_proxy, protocol == "zeromq", "{report}");
        }
        assert!(report["zeromq_size"].as_u64().unwrap() > 223, "{report}");
    }
    // A subscriber that never reads loses its own events only.
    let options = "--publish-as zeromq --subscribe-as zeromq --stalled-peers 1 --format json";
    all_arrived(&bench(&format!("{options} --count 500 --round-trips 20 --size 100000")), 500, 20, 1);
    bench("--publish-as zeromq --subscribe-as zeromq --tls mutual").fails(2, &["ZeroMQ has no TLS"]);
}

#[test]
fn a_running_bridge_is_measured_from_broker_to_the_websocket_api() {
    let files = Files::issue(&ephemeral_authority().unwrap(), "127.0.0.1");
    let file = |name: &str| files.folder.path().join(name).display().to_string();
    write_secret(&files.folder.path().join("token"), b"secret\n");
    let (certificate, keyfile, token) = (file("certificate"), file("keyfile"), file("token"));
    let broker = "listen = '127.0.0.1:0'\ntls = 'off'";
    let server = format!(
        "listen = 'wss://127.0.0.1:0'\ncertificate = '{certificate}'\nkeyfile = '{keyfile}'\n\
         [[link.s.token]]\nname = 'bench'\nfile = '{token}'"
    );
    let bridge = Bridge::of_links(broker, &server, "/zeek-bridge/bench");
    let options = format!("{} --tls off --format json --round-trips 20 --count 3000", bridge.options);
    let with_ca = format!("{options} --cafile {}", file("cafile"));
    let report = all_arrived(&bench(&format!("{with_ca} --peers 4 --token-file {token}")), 3000, 20, 4);
    assert_eq!((&report["tls"], &report["subscriber_tls"]), (&"off".into(), &"server".into()));
    assert_eq!(report["relay"]["pid"], bridge.program.pid());
    bench(&with_ca).fails(4, &["no peering with wss://127.0.0.1:", "401"]);
    bench(&options).fails(2, &["wss:// requires --cafile"]);
    let other_name = format!("{with_ca} --token-file {token} --verify-name other.example");
    bench(&other_name).fails(4, &["expected other.example"]);
}

/// Serves the WebSocket API, and answers each message with an error, as Zeek does if it does not declare the event.
fn refusing_server() -> String {
    const ERROR: &[u8] =
        br#"{"type":"error","code":"deserialization_failed","context":"failed to create Zeek event"}"#;
    fn serve(mut stream: TcpStream) -> std::io::Result<()> {
        let config = ServerConfig {
            common: Config::new(EndpointId::from_bytes([1; 16]), Side::Listener),
            peer_id: EndpointId::from_bytes([2; 16]),
            access: Arc::new(Access::default()),
            endpoint: "e".to_owned(),
            version: "1".to_owned(),
            binary: BinaryText::default(),
            ping_interval: ServerConfig::PING_INTERVAL,
        };
        let mut session = WebSocket::server(config, Instant::now());
        let (mut input, mut buffer) = (BytesMut::new(), [0; 4096]);
        loop {
            session.handle_input(Instant::now(), &mut input);
            let event = session.poll_event();
            while let Some(bytes) = session.poll_transmit() {
                stream.write_all(&bytes)?;
            }
            match event {
                Some(Event::Introduced { .. }) => session.admit(),
                Some(Event::Message(_)) => {
                    stream.write_all(&[0x81, u8::try_from(ERROR.len()).unwrap()])?;
                    stream.write_all(ERROR)?;
                }
                Some(Event::Closed(_)) => return Ok(()),
                Some(_) => {}
                None => {
                    let length = stream.read(&mut buffer)?;
                    if length == 0 {
                        return Ok(());
                    }
                    input.extend_from_slice(&buffer[..length]);
                }
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

#[test]
fn an_event_that_a_zeek_does_not_declare_is_reported() {
    let end = bench(&format!("--publish-to {} --count 10 --wait 10", refusing_server()));
    end.fails(
        5,
        &["the peer reports deserialization_failed: failed to create Zeek event", "1 of 1 subscribers"],
    );
    end.has_said(&["global ZeekBridge::bench: event(run: count, number: count, padding: string);"]);
}

#[test]
fn lost_messages_are_counted_and_cause_exit_code_1() {
    let bridge = Bridge::start("tls = 'off'", "chaos = { drop = 0.2 }", "/zeek-bridge/bench");
    let end = bench(&format!("{} --tls off --format json --count 2000 --timeout 30", bridge.options));
    assert_eq!(end.code, Some(1), "{end:?}");
    let report = end.json().remove(0);
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!(count("lost") > 0 && count("published") >= 2000, "{report}");
    assert_eq!(count("delivered") + count("lost"), count("published"), "{report}");
    assert!(report["round_trip"].is_null());
    end.has_said(&[&format!("{} messages were lost", count("lost")), "--window"]);

    let bridge = Bridge::start("tls = 'off'", "chaos = { duplicate = 0.2 }", "/zeek-bridge/bench");
    let end = bench(&format!("{} --tls off --format json --count 2000 --round-trips 0", bridge.options));
    assert_eq!(end.code, Some(0), "{end:?}");
    let report = end.json().remove(0);
    assert!(report["duplicated"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&report["delivered"], &report["lost"]), (&2000.into(), &0.into()));
}

#[test]
fn a_topic_that_is_not_relayed_is_reported_with_a_hint() {
    let bridge = Bridge::start("tls = 'off'", "", "/other");
    let options = format!("{} --tls off --count 10", bridge.options);
    let end = bench(&format!("{options} --timeout 1"));
    end.fails(
        5,
        &[
            "1 of 1 subscribers",
            "does not subscribe to the topic /zeek-bridge/bench",
            "[\"/zeek-bridge/bench\"]",
        ],
    );
    end.has_said(&["a rule", "broker-node", "--topic"]);
    all_arrived(&bench(&format!("{options} --topic /other/x --format json --round-trips 1")), 10, 1, 1);
}

#[test]
fn an_unreachable_relay_is_reported() {
    // The port is bound here, so no other process can listen on it.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let end = bench(&format!("--publish-to {address} --tls off"));
    end.fails(3, &[&format!("no peering with {address}"), "is a Zeek or zeek-bridge listening there?"]);
    // No process can have this id.
    let end = bench(&format!("--publish-to {address} --tls off --pid 4294967295"));
    end.fails(
        2,
        &["--pid 4294967295", if cfg!(target_os = "linux") { "the process does not exist" } else { "/proc" }],
    );
}

#[test]
fn wrong_options_are_reported() {
    for (options, words) in [
        ("--publish-to 127.0.0.1:1", "no TLS option is set"),
        ("--publish-to 127.0.0.1:1 --subscribe-at ws://127.0.0.1:2", "no TLS option is set"),
        (
            "--publish-to ws://127.0.0.1:1 --tls off",
            "--tls cannot be used with ws://127.0.0.1:1: ws:// has no TLS",
        ),
        ("--publish-to wss://127.0.0.1:1 --tls mutual", "wss:// already selects TLS"),
        ("--publish-to 127.0.0.1:1 --tls off --token-file a", "--token-file is for ws:// and wss://"),
        ("--publish-to ws://127.0.0.1:1 --subscribe-as websocket", "cannot be used with"),
        ("--token-file a", "--publish-to"),
        ("--publish-to 127.0.0.1:1 --tls mutual", "--cafile, --certificate and --keyfile are missing"),
        ("--subscribe-at 127.0.0.1:1", "--publish-to"),
        ("--pid 1", "--publish-to"),
        ("--cafile a", "--cafile is for an existing peer"),
        ("--size 50", "has at least"),
        ("--count 0", "from 1 to"),
        ("--count 1 --duration 1", "cannot be used with"),
        ("--window 0", "from 1 to"),
        ("--peers 0", "--peers"),
        ("--topic <$>/local/x", "never leave an endpoint"),
    ] {
        bench(options).fails(2, &[words]);
    }
    Program::run("bench", "").fails(2, &["relay"]);
}

/// Starts a benchmark without an end and waits until some messages were relayed.
fn endless(bridge: &Bridge) -> Program {
    let tap =
        format!("tap --topic /zeek-bridge/bench --count 100 --tls off --connect {}", bridge.subscribe_at);
    let tap = Program::start(&tap);
    let options = format!("{} --tls off --format json --rate 2000 --duration 100000", bridge.options);
    let bench = Program::start(&format!("bench relay {options}"));
    let end = tap.end_by_itself();
    assert_eq!(end.code, Some(0), "{end:?}");
    bench
}

#[test]
fn a_signal_ends_the_benchmark_with_the_results_so_far() {
    let bridge = Bridge::plain();
    let bench = endless(&bridge);
    bench.signal("INT");
    let end = bench.end_by_itself();
    assert_eq!(end.code, Some(1), "{end:?}");
    end.has_said(&["interrupted"]);
    let report = end.json().remove(0);
    assert_eq!(report["interrupted"], true);
    let published = report["published"].as_u64().unwrap();
    assert!(published > 0);
    assert_eq!((&report["delivered"], &report["lost"]), (&published.into(), &0.into()), "{report}");
}

#[test]
fn the_end_of_the_relay_is_reported() {
    let mut bridge = Bridge::plain();
    let bench = endless(&bridge);
    bridge.program.kill();
    let end = bench.end_by_itself();
    assert_eq!(end.code, Some(1), "{end:?}");
    end.has_said(&["peering with", "ended"]);
    assert!(end.json()[0]["published"].as_u64().unwrap() > 0);
}
