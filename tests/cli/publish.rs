//! `publish`, as a user runs it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::program::child::soon;
use crate::program::{Files, Program};
use serde_json::json;
use zeek_bridge::data::{Timestamp, Topic};
use zeek_bridge::endpoint::Endpoint;
use zeek_bridge::net::tls::{Tls, ephemeral_authority};

const PUBLISH: &str = "publish --tls off --topic /t --connect";

#[test]
fn published_messages_are_printed_by_tap_and_can_be_published_again() {
    // `tap` prints microseconds.
    let before =
        Timestamp::from_nanos(Timestamp::try_from(SystemTime::now()).unwrap().as_nanos() / 1000 * 1000);
    let mut tap = Program::start("tap --topic /t/ /u --tls off --listen 127.0.0.1:0 --count 4");
    let address = tap.address();
    let lines = [
        json!({"event": "Mod::ping", "args": [{"@data-type": "count", "data": 7},
                                             {"@data-type": "string", "hex": "ff00"}]}),
        json!({"event": "none"}),
        json!({"event": "late", "args": [],
               "metadata": [{"id": 1, "value": {"@data-type": "timestamp", "data": "1970-01-01T00:00:00.000000005"}}]}),
        json!({"@data-type": "vector", "data": [{"@data-type": "boolean", "data": true}]}),
    ];
    let input = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let end = Program::run(&format!("publish --topic /t/x --tls off --connect {address}"), input);
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    assert!(end.stdout.is_empty(), "{end:?}");

    let tapped = tap.end();
    assert_eq!(tapped.code, Some(0), "{tapped:?}");
    // The time is the first member.
    assert!(tapped.stdout[0].starts_with("{\"time\":\""), "{tapped:?}");
    let without_time = |mut line: serde_json::Value| {
        let time = line.as_object_mut().unwrap().remove("time").unwrap();
        let time = time.as_str().unwrap().parse::<Timestamp>().unwrap();
        assert!(before <= time, "{line}");
        line
    };
    let printed: Vec<_> = tapped.json().into_iter().map(without_time).collect();
    let peer = printed[0]["peer"].clone();
    let expected = [
        json!({"peer": peer, "topic": "/t/x", "event": "Mod::ping", "args": lines[0]["args"], "metadata": null}),
        json!({"peer": peer, "topic": "/t/x", "event": "none", "args": [], "metadata": null}),
        json!({"peer": peer, "topic": "/t/x", "event": "late", "args": [], "metadata": lines[2]["metadata"]}),
        json!({"peer": peer, "topic": "/t/x", "value": lines[3]}),
    ];
    assert_eq!(printed, expected);

    // The output of tap is valid input.
    let mut second = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 4");
    let again = format!("{PUBLISH} {}", second.address());
    assert_eq!(Program::run(&again, tapped.stdout.join("\n")).code, Some(0));
    let without_peer = |mut line: serde_json::Value| {
        line["time"].take();
        line["peer"].take();
        line["topic"].take();
        line
    };
    let second: Vec<_> = second.end().json().into_iter().map(without_peer).collect();
    assert_eq!(second, tapped.json().into_iter().map(without_peer).collect::<Vec<_>>());
}

#[test]
fn an_event_on_the_command_line_is_published_and_printed_without_types() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 1 --format plain");
    let address = tap.address();
    let arguments =
        ["ping", "string:hi", "count:7", "set[port]:80/tcp,443/tcp", "table[addr] of interval:10.0.0.1=1.5"];
    // Stdin is not read.
    let command = format!("{PUBLISH} {address}");
    let mut publish = Program::with(command.split(' ').chain(arguments));
    publish.give("{");
    let end = publish.end();
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    let line = &tap.end().json()[0];
    assert_eq!(
        (&line["topic"], &line["kind"], &line["event"]),
        (&"/t".into(), &"event".into(), &"ping".into())
    );
    assert_eq!(line["args"], json!(["hi", 7, ["80/tcp", "443/tcp"], {"10.0.0.1": 1.5}]));
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn an_invalid_argument_of_an_event_is_a_usage_error() {
    for (arguments, error) in [
        ("ping 7", "argument 1: \"7\" has no type; use string:TEXT"),
        ("ping count:1 count:x", "argument 2: \"x\" is not a count"),
        ("ping:7 nonsense:1", "argument 1: \"nonsense:1\" has the unknown type \"nonsense\""),
    ] {
        let end = Program::run(&format!("{PUBLISH} 127.0.0.1:1 {arguments}"), "");
        assert_eq!(end.code, Some(2), "{end:?}");
        assert!(end.stderr.contains(error), "{end:?}");
    }
}

#[test]
fn messages_are_published_over_mutual_tls() {
    let authority = ephemeral_authority().unwrap();
    let [one, other] = ["one", "other"].map(|name| Files::issue(&authority, name));
    let mut publish = Program::start(&format!("publish --topic /t --listen 127.0.0.1:0 {}", one.options));
    let address = publish.address();
    publish.give(r#"{"event":"e"}"#);
    let tap = Program::run(
        &format!("tap --topic /t --connect {address} --tls mutual --count 1 {}", other.options),
        "",
    );
    assert_eq!((tap.code, tap.json()[0]["event"].as_str()), (Some(0), Some("e")), "{tap:?}");
    let end = publish.end();
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[test]
fn an_invalid_line_is_reported_with_its_number_and_the_others_are_published() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 2");
    let address = tap.address();
    let input: &[u8] = b"{\"event\":\"first\"}\n\n{\"event\":\n{\"event\":\"\xff\"}\n{\"events\":\"x\"}\n{\"event\":\"last\"}";
    let end = Program::run(&format!("{PUBLISH} {address}"), input);
    end.fails(
        1,
        &[
            "line 3: not JSON",
            "line 4: \"event\" is not a name",
            "line 5: the key \"event\" is missing",
            "skipped invalid lines: 3",
        ],
    );
    let names: Vec<_> = tap.end().json().iter().map(|line| line["event"].clone()).collect();
    assert_eq!(names, ["first", "last"]);
}

#[test]
fn nothing_is_lost_if_stdin_ends_at_once() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 5000");
    let address = tap.address();
    let event =
        |n: u32| format!("{{\"event\":\"e\",\"args\":[{{\"@data-type\":\"count\",\"data\":{n}}}]}}\n");
    let end = Program::run(&format!("{PUBLISH} {address}"), (0..5000).map(event).collect::<String>());
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    let tapped = tap.end();
    assert_eq!((tapped.code, tapped.stdout.len()), (Some(0), 5000), "{}", tapped.stderr);
    assert_eq!(tapped.json()[4999]["args"][0]["data"], 4999);
}

#[test]
fn a_burst_of_messages_is_printed_completely() {
    const COUNT: u64 = 30_000;
    let mut tap = Program::start(&format!("tap --topic /t --tls off --listen 127.0.0.1:0 --count {COUNT}"));
    let address = tap.address();
    let lines: String = (0..COUNT).map(|n| format!("{{\"@data-type\":\"count\",\"data\":{n}}}\n")).collect();
    let end = Program::run(&format!("{PUBLISH} {address}"), lines);
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""));
    let tapped = tap.end();
    assert_eq!(tapped.code, Some(0), "{}", tapped.stderr);
    let numbers: Vec<_> = tapped.json().iter().map(|line| line["value"]["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_reported_as_unconfirmed_after_a_lost_connection() {
    let endpoint = Endpoint::new().unwrap();
    let mut subscriber = endpoint.subscribe([Topic::from_static("/t")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A proxy in front of the endpoint. The test can close the proxied connection.
    let there = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let (cut, to_cut) = std::sync::mpsc::channel::<()>();
    // If set, the proxy forwards nothing to the publisher, so that the publisher cannot know whether its message was
    // received.
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = silent.clone();
    std::thread::spawn(move || {
        let here = listener.accept().unwrap().0;
        let there = std::net::TcpStream::connect(there).unwrap();
        let clone = |stream: &std::net::TcpStream| stream.try_clone().unwrap();
        let (mut from, mut to) = (clone(&here), clone(&there));
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut from, mut to) = (clone(&there), clone(&here));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                if !is_silent.load(Ordering::SeqCst) && to.write_all(&chunk[..count]).is_err() {
                    break;
                }
            }
        });
        to_cut.recv().unwrap();
        for stream in [here, there] {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    });
    let mut publish = Program::start(&format!("{PUBLISH} {address} -v"));
    publish.says("peer added");
    silent.store(true, Ordering::SeqCst);
    publish.give("{\"event\":\"e\"}");
    soon("a message", subscriber.recv()).await.unwrap();
    cut.send(()).unwrap();
    publish.says("peer lost");
    publish.end().fails(1, &["lost peerings: 1", "delivery of line 1 is unconfirmed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_peering_is_reported_as_the_cause_with_the_lines_that_were_not_published() {
    for (signal, lost) in [("KILL", "lost peerings: 1"), ("TERM", "a peer left before everything")] {
        let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0");
        let address = tap.address();
        let mut publish = Program::start(&format!("{PUBLISH} {address} --wait 0.5 -v"));
        publish.give("{\"event\":\"one\"}");
        publish.give("{\"event\":\"two\"}");
        assert_eq!((tap.line()["event"].as_str(), tap.line()["event"].as_str()), (Some("one"), Some("two")));
        tap.signal(signal);
        publish.says("peer lost");
        publish.give("{\"event\":\"three\"}");
        let end = publish.end();
        end.fails(
            1,
            &[
                &format!("no peering with {address} for "),
                "stopped after line 2; the remaining lines were not published",
                lost,
                "delivery of lines 1 to 2 is unconfirmed",
            ],
        );
        assert!(!end.stderr.contains("no subscriber"), "{end:?}");
    }
}

/// If no line was published before the peering was lost, no line can be lost. So the exit code is that of the last
/// connection attempt.
#[test]
fn a_peering_lost_before_the_first_message_ends_with_exit_code_3() {
    let mut tap = Program::start("tap --topic /other --tls off --listen 127.0.0.1:0");
    let address = tap.address();
    let mut publish = Program::start(&format!("{PUBLISH} {address} --wait 3 --retry 0.1 -v"));
    publish.says("peer added");
    publish.give("{\"event\":\"e\"}");
    tap.signal("KILL");
    publish.says("peer lost");
    let end = publish.end();
    end.fails(3, &[&format!("no peering with {address} for "), "after it was lost", "nothing was published"]);
}

#[test]
fn an_interrupted_publish_reports_the_last_published_line() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 1");
    let mut publish = Program::start(&format!("{PUBLISH} {}", tap.address()));
    publish.give("\n{\"event\":\"e\"}");
    assert_eq!(tap.end().code, Some(0));
    publish.signal("TERM");
    publish.end_by_itself().fails(1, &["interrupted: stopped after line 2"]);
}

#[test]
fn a_publish_without_a_subscriber_reports_the_topics_of_the_peer() {
    let mut tap = Program::start("tap --topic /other --tls off --listen 127.0.0.1:0");
    let mut publish = Program::start(&format!("{PUBLISH} {} ping", tap.address()));
    publish.says(
        "waiting for a subscriber to /t without a time limit (see --wait); the peer subscribes to: /other",
    );
    publish.signal("TERM");
    publish.end_by_itself().fails(1, &["interrupted: nothing was published"]);
}
