//! The WebSocket API of a real Zeek, with both cluster back ends, and its ZeroMQ back end.
//!
//! The environment variable `ZEEK_BRIDGE_ZEEK` names the program `zeek` (8.1 to 9.x). If it is not set, the test is skipped with
//! a notice.

use std::future::IntoFuture as _;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{ChildStderr, Stdio};

use zeek_bridge::data::{ByteString, Value, parse_json};
use zeek_bridge::endpoint::{CurveClient, Endpoint, ZeroMqConfig};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::Event;
use zeek_bridge::zeromq::curve::KeyPair;

use crate::program::child::{Running, skip, within as within_sync};
use crate::program::{Program, command, command_of};
use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/echo.zeek");

/// A running Zeek, and the URL of its WebSocket API.
struct Zeek {
    _process: Running,
    /// Zeek's stderr, which must stay open.
    _stderr: BufReader<ChildStderr>,
    _folder: tempfile::TempDir,
    url: String,
}

impl Zeek {
    /// Starts a Zeek with these additional scripts and definitions, and waits until it listens.
    fn start(zeek: &Path, arguments: &[String]) -> Self {
        Self::start_with(zeek, arguments, &[])
    }

    fn start_with(zeek: &Path, arguments: &[String], variables: &[(String, String)]) -> Self {
        let port = free_port();
        let mut command = command_of(zeek, arguments.iter().map(String::as_str).chain([SCRIPT]));
        command.env("ZEEK_WEBSOCKET_LISTEN_PORT", port.to_string()).stdin(Stdio::null());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let folder = tempfile::tempdir().unwrap();
        command.current_dir(folder.path());
        let mut process = Running::spawn(&mut command);
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let stderr = within_sync("Zeek's message that it listens", move || {
            let listens = stderr
                .by_ref()
                .lines()
                .map_while(Result::ok)
                .any(|line| line.contains("WebSocket server on"));
            assert!(listens, "Zeek has ended");
            stderr
        });
        let url = format!("ws://127.0.0.1:{port}");
        Zeek { _process: process, _stderr: stderr, _folder: folder, url }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The arguments of the event `values`: one of each type of Zeek, with this string. The time has no milliseconds, because Zeek
/// truncates them from a double.
fn arguments(text: &[u8]) -> Vec<Value> {
    let json = r#"{"@data-type":"vector","data":[
        {"@data-type":"boolean","data":true},
        {"@data-type":"count","data":18446744073709551615},
        {"@data-type":"integer","data":-9223372036854775808},
        {"@data-type":"real","data":-7.5},
        {"@data-type":"string","data":""},
        {"@data-type":"address","data":"2001:db8::1"},
        {"@data-type":"subnet","data":"10.0.0.0/8"},
        {"@data-type":"port","data":"443/tcp"},
        {"@data-type":"timestamp","data":"2023-04-18T14:13:14.000"},
        {"@data-type":"timespan","data":"-1500ms"},
        {"@data-type":"vector","data":[{"@data-type":"string","data":"b"},{"@data-type":"string","data":"a"}]},
        {"@data-type":"set","data":[{"@data-type":"string","data":"a"},{"@data-type":"string","data":"b"}]},
        {"@data-type":"table","data":[{"key":{"@data-type":"count","data":1},
                                       "value":{"@data-type":"port","data":"53/udp"}}]}]}"#;
    let Ok(Value::Vector(mut values)) = Value::from_json(&parse_json(json).unwrap()) else { panic!() };
    values[4] = Value::String(ByteString::from(text.to_vec()));
    values
}

/// Returns the options of a Zeek for the ZeroMQ back end with its own proxy, and the URL of the proxy.
fn zeromq() -> ([String; 4], String) {
    let ports = [(); 2].map(|()| free_port());
    let [xpub, xsub] = ports.map(|port| format!("tcp://127.0.0.1:{port}"));
    let option = |name: &str, value: &str| format!("Cluster::Backend::ZeroMQ::{name}={value}");
    // The XPUB socket of a node connects to the XSUB socket of the proxy, and its XSUB socket to the XPUB socket.
    let options = [
        option("listen_xpub_endpoint", &xpub),
        option("connect_xsub_endpoint", &xpub),
        option("listen_xsub_endpoint", &xsub),
        option("connect_xpub_endpoint", &xsub),
    ];
    (options, format!("zeromq://127.0.0.1:{},{}", ports[0], ports[1]))
}

/// The strings that are sent to Zeek and back.
const TEXTS: [&[u8]; 4] = [b"plain", "caf\u{e9} \u{b}\u{1}\"\\/".as_bytes(), b"\xff\x00\xfe", b""];

#[tokio::test]
async fn zeek_answers_values_of_all_types_over_zeromq() {
    let Some(zeek) = std::env::var_os("ZEEK_BRIDGE_ZEEK") else {
        skip("ZEEK_BRIDGE_ZEEK is not set: the ZeroMQ back end of a real Zeek is not tested");
        return;
    };
    let (options, url) = zeromq();
    let _zeek = Zeek::start(Path::new(&zeek), &options);
    values_are_answered(&endpoint(), &url).await;
}

/// Sends values of all types to Zeek through its proxy, and compares the answers.
async fn values_are_answered(client: &Endpoint, url: &str) {
    let mut echoes = subscribe(client, "/from_zeek").await;
    let publisher = within("both connections", client.connect(url, Tls::Off).into_future()).await.unwrap();
    assert!(within("the subscriptions", client.until_subscriptions_known(publisher)).await);
    for text in TEXTS {
        let values = arguments(text);
        let event = Event::new("values", values.clone());
        assert_eq!(client.publish("/to_zeek", event).await.unwrap(), 1, "Zeek subscribes to the topic");
        let message = within("an echo", echoes.recv()).await.unwrap();
        assert!(message.sender_name().unwrap().starts_with("zeromq_"), "{:?}", message.sender_name());
        let events = message.events();
        assert_eq!((events[0].name.clone(), &events[0].args), ("echo".into(), &values));
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zeek_with_the_keys_of_curve_is_reached_with_its_variables() {
    let Some(zeek) = std::env::var_os("ZEEK_BRIDGE_ZEEK") else {
        skip("ZEEK_BRIDGE_ZEEK is not set: CURVE is not tested with a real Zeek");
        return;
    };
    let [server, keys, other] = [(); 3].map(|()| KeyPair::generate().unwrap());
    let variable = |name: &str, value: String| (format!("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{name}"), value);
    let variables = [
        variable("SERVER_PUBLICKEY", server.public().to_string()),
        variable("SERVER_SECRETKEY", server.secret().expose_z85()),
        variable("CLIENT_PUBLICKEY", keys.public().to_string()),
        variable("CLIENT_SECRETKEY", keys.secret().expose_z85()),
    ];
    let (options, url) = zeromq();
    let _zeek = Zeek::start_with(Path::new(&zeek), &options, &variables);
    let client = CurveClient { server: *server.public(), keys };
    let zeromq = ZeroMqConfig { client: Some(client), ..ZeroMqConfig::default() };
    let client = || endpoint_with(|config| config.zeromq = zeromq.clone());
    values_are_answered(&client(), &url).await;

    let run = |variables: &[(String, String)], args: &str| {
        let mut command = command(args.split_whitespace());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Program::spawn(command).end_by_itself()
    };
    let probe = format!("probe --format json {url}");
    let end = run(&variables, &probe);
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!((&end.json()[0]["mechanism"], &end.json()[0]["keys"]), (&"CURVE".into(), &"accepted".into()));
    let end = run(&[], &probe);
    assert_eq!((end.code, &end.json()[0]["mechanism"]), (Some(4), &"CURVE".into()), "{end:?}");
    let [mut wrong_server, mut wrong_client] = [variables.clone(), variables];
    wrong_server[0].1 = other.public().to_string();
    (wrong_client[2].1, wrong_client[3].1) = (other.public().to_string(), other.secret().expose_z85());
    for variables in [wrong_server, wrong_client] {
        let end = run(&variables, &format!("tap --connect {url}"));
        end.fails(4, &["CURVE key", &other.public().to_string(), "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_"]);
    }
    // The failed attempts did not end Zeek.
    values_are_answered(&client(), &url).await;
}

#[tokio::test]
async fn zeek_answers_values_of_all_types_over_websocket() {
    let Some(zeek) = std::env::var_os("ZEEK_BRIDGE_ZEEK") else {
        skip("ZEEK_BRIDGE_ZEEK is not set: the WebSocket API of a real Zeek is not tested");
        return;
    };
    let (zeromq, _) = zeromq();
    for back_end in [&["policy/frameworks/cluster/backend/broker".to_owned()][..], &zeromq] {
        let zeek = Zeek::start(Path::new(&zeek), back_end);
        let client = endpoint();
        let mut echoes = subscribe(&client, "/from_zeek").await;
        let mut statuses = client.status();
        client.connect_with_retry(&*zeek.url, Tls::Off, SOON);
        added(&mut statuses).await;
        for text in TEXTS {
            let values = arguments(text);
            client.publish("/to_zeek", Event::new("values", values.clone())).await.unwrap();
            let message = within("an echo", echoes.recv()).await.unwrap();
            let events = message.events();
            assert_eq!((events[0].name.clone(), &events[0].args), ("echo".into(), &values), "{back_end:?}");
        }
        client.shutdown().await;
    }
}
