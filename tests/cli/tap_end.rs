//! The end of `tap`: signals, and a stdout that is closed or read slowly.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::program::child::{Running, rest, soon, within};
use crate::program::{Program, command};
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{ConnectError, Endpoint, Status};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::CloseReason;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_tap_with_bye() {
    for signal in ["TERM", "INT"] {
        let endpoint = Endpoint::new().unwrap();
        let mut status = endpoint.status();
        let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
        let mut tap = Program::start(&format!("tap --topic /t --tls off --connect {address}"));
        let topic = Topic::from_static("/t");
        soon("a subscription", endpoint.wait_for_subscribers(&topic, 1)).await;
        endpoint.publish(topic, &Value::Count(1)).await.unwrap();
        assert_eq!(tap.line()["value"]["data"], 1);
        tap.signal(signal);
        let lost = loop {
            match soon("a status", status.recv()).await.unwrap() {
                Status::PeerLost { error, .. } => break error,
                _ => continue,
            }
        };
        assert!(matches!(lost, ConnectError::Closed(CloseReason::PeerLeft)), "{lost}");
        let end = tap.end();
        assert_eq!((end.code, end.stderr), (Some(0), format!("connected to {address}")));
    }
}

#[test]
fn a_signal_before_the_last_message_ends_with_exit_code_1() {
    let mut tap = Program::start("tap --topic /t --tls off --listen 127.0.0.1:0 --count 3");
    tap.address();
    tap.signal("TERM");
    tap.end().fails(1, &["interrupted", "0 of 3"]);
    // The stdin of `publish` is still open.
    let mut publish = Program::start("publish --topic /t --tls off --listen 127.0.0.1:0");
    publish.address();
    publish.signal("INT");
    publish.end_by_itself().fails(1, &["interrupted: nothing was published"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stdout_ends_a_tap_without_an_error() {
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = command(format!("tap --topic /t --tls off --connect {address}").split(' '));
    let mut tap = Running::spawn(tap.stdin(Stdio::null()));
    let mut stderr = BufReader::new(tap.stderr.take().unwrap());
    let (line, stderr) = within("the first line of stderr", move || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        (line, stderr)
    });
    assert_eq!(line, format!("connected to {address}\n"));
    // The tap does not wait for a message.
    drop(tap.stdout.take());
    assert_eq!(tap.output().status.code(), Some(0));
    assert_eq!(rest(stderr), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_whose_stdout_is_closed_from_the_beginning_ends_with_any_options() {
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    for options in ["", "--count 1", "--stats --interval 1day --format text"] {
        let mut tap = command(format!("tap -t /t --tls off -c {address} {options}").split_whitespace());
        let mut tap = Running::spawn(tap.stdin(Stdio::null()));
        drop(tap.stdout.take());
        let end = tap.output();
        assert_eq!(end.status.code(), Some(0), "{options}: {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_is_not_read_does_not_block_the_end_of_a_tap() {
    let endpoint = Endpoint::new().unwrap();
    let mut status = endpoint.status();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = command(format!("tap --topic /t --tls off --connect {address}").split(' '));
    let mut tap = Running::spawn(tap.stdin(Stdio::null()));
    let topic = Topic::from_static("/t");
    let peer = soon("a subscription", endpoint.wait_for_subscribers(&topic, 1)).await[0];
    // More than a pipe holds.
    let large = Value::String("x".repeat(1024 * 1024).as_str().into());
    for _ in 0..3 {
        endpoint.publish(topic.clone(), &large).await.unwrap();
    }
    // The tap confirms the BYE after it has received all messages.
    endpoint.unpeer(peer).await;
    while !matches!(soon("a status", status.recv()).await.unwrap(), Status::PeerRemoved { error: None, .. }) {
    }
    let mut stdout = tap.stdout.take().unwrap();
    let stdout = within("the first byte of stdout", move || {
        stdout.read_exact(&mut [0]).unwrap();
        stdout
    });
    tap.signal("TERM");
    let end = tap.output();
    let stderr = String::from_utf8(end.stderr).unwrap();
    assert_eq!(end.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stdout is not read"), "{stderr}");
    drop(stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_with_a_slow_stdout_reports_how_many_messages_it_did_not_print() {
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut tap = command(format!("tap --topic /t --tls off --connect {address} -v").split(' '));
    let mut tap = Running::spawn(tap.stdin(Stdio::null()));
    let topic = Topic::from_static("/t");
    soon("a subscription", endpoint.wait_for_subscribers(&topic, 1)).await;
    // More than the queues of tap (72 MiB) and a pipe hold.
    let large = Value::String("x".repeat(1024 * 1024).as_str().into());
    for _ in 0..90 {
        assert_eq!(endpoint.publish(topic.clone(), &large).await.unwrap(), 1);
    }
    // The shutdown ends after the tap has received all messages.
    endpoint.shutdown().await;
    let mut stderr = std::io::BufReader::new(tap.stderr.take().unwrap());
    let (stderr, mut log) = within("the loss of the peer", move || {
        let mut log = String::new();
        while !log.contains("peer lost") {
            assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut log).unwrap(), 0, "{log}");
        }
        (stderr, log)
    });
    tap.signal("TERM");
    let printed = rest(tap.stdout.take().unwrap());
    log.push_str(std::str::from_utf8(&rest(stderr)).unwrap());
    assert_eq!(tap.end().code(), Some(1), "{log}");
    let printed = printed.iter().filter(|byte| **byte == b'\n').count();
    let number = |words: &str| {
        let (before, _) = log.split_once(words)?;
        before.rsplit(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty())?.parse::<usize>().ok()
    };
    let dropped = number(" messages were not printed").expect("some were dropped");
    assert_eq!(
        printed + dropped + number(" messages were not, or not completely,").unwrap_or(0),
        90,
        "{log}"
    );
}
