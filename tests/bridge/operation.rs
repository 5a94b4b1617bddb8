//! Shutdown, health checks and notifications to systemd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

use tokio::net::TcpListener;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::{Program, command};
use crate::raw::Raw;

/// The number of messages for the peer that does not read. It is more than the sockets can buffer.
const MESSAGES: u64 = 256;

const SIZE: usize = 128 * 1024;

fn config(drain: &str) -> String {
    format!(
        "drain = \"{drain}\"\n[link.in]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [link.out]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [[rule]]\nname = \"all\"\nfrom = \"in\"\nto = \"out\"\ntopics = [\"/t\"]\n"
    )
}

/// Connects a peer that does not read, and sends it messages, some of which stay in its queue.
async fn stalled_peer(bridge: &BridgeProcess) -> Raw {
    let stalled = raw(1, &bridge.address("out"), &["/t"]).await;
    let mut sender = raw(2, &bridge.address("in"), &[]).await;
    bridge.until("both peers are connected", |bridge| bridge.peers("in") == 1 && bridge.peers("out") == 1);
    for n in 0..MESSAGES {
        let value = Value::Vector(vec![n.into(), Value::String("x".repeat(SIZE).into())]);
        sender.send(&Envelope::data(sender.id, Topic::from_static("/t"), &value).unwrap()).await;
    }
    sender.settle().await;
    let out = bridge.link("out");
    assert!(out["peers"][0]["queued"].as_u64().unwrap() > 0 && out["dropped"] == 0, "{out}");
    stalled
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_the_queue_of_a_slow_peer_and_sends_bye() {
    let mut bridge = BridgeProcess::start(&config("30s"));
    let mut slow = stalled_peer(&bridge).await;
    bridge.program.signal("TERM");
    bridge.program.says("ending, within 30s");
    for n in 0..MESSAGES {
        let envelope = slow.envelope_of(EnvelopeType::Data).await;
        let Value::Vector(parts) = envelope.value(&Limits::DEFAULT).unwrap() else { panic!() };
        assert_eq!(parts[0], n.into());
    }
    let bye = slow.envelope_of(EnvelopeType::Ping).await;
    assert!(bye.payload.starts_with(b"BYE"), "{bye:?}");
    slow.send(&Envelope::pong(slow.id, bye.sender, bye.payload)).await;
    assert_eq!(slow.envelope().await, None, "nothing follows the BYE");
    let end = bridge.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_does_not_delay_shutdown() {
    let mut bridge = BridgeProcess::start(&config("50ms"));
    let _stalled = stalled_peer(&bridge).await;
    bridge.program.signal("TERM");
    bridge.program.says("ending, within 50ms");
    let end = bridge.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_drain() {
    let mut bridge = BridgeProcess::start(&config("1h"));
    let _stalled = stalled_peer(&bridge).await;
    bridge.program.signal("TERM");
    bridge.program.says("ending, within 1h");
    bridge.program.signal("INT");
    let end = bridge.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["shutdown aborted by a second signal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_can_change_the_drain_time() {
    let mut bridge = BridgeProcess::start(&config("1h"));
    let _stalled = stalled_peer(&bridge).await;
    bridge.reload(&config("50ms"));
    assert_eq!(bridge.peers("out"), 1, "the link is unchanged");
    bridge.program.signal("TERM");
    bridge.program.says("ending, within 50ms");
    let end = bridge.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    end.has_said(&["ended"]);
}

/// Returns the HTTP status and the body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Receives notifications for systemd until one contains `text`, and returns it.
fn notification(systemd: &UnixDatagram, text: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = systemd.recv(&mut buffer).unwrap();
        let received = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if received.contains(text) {
            return received;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_and_systemd_notifications_report_each_state_from_start_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    // The agent listens, but does not accept the connection yet.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = listener.local_addr().unwrap().to_string();
    let config = format!(
        "[bridge]\nhttp = \"127.0.0.1:0\"\nstatus = \"status.sock\"\ndrain = \"1h\"\n\
         [link.agent]\nfaces = \"agents\"\ntls = \"off\"\nconnect = \"{agent}\"\n\
         retry = {{ first = \"50ms\", cap = \"50ms\" }}\n\
         [link.in]\nfaces = \"nodes\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [link.out]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [[rule]]\nname = \"all\"\nfrom = \"in\"\nto = \"out\"\ntopics = [\"/t\"]\n"
    );
    let file = folder.path().join("bridge.toml");
    std::fs::write(&file, &config).unwrap();
    let systemd = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    systemd.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut run = command(["run".as_ref(), file.as_os_str()]);
    run.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut program = Program::spawn(run);
    let line = program.says("metrics and health at http://");
    let http = line.split_once("http://").unwrap().1;
    assert_eq!(notification(&systemd, "READY=1"), "READY=1\nSTATUS=2 of 3 links ready, 0 peers\n");

    assert_eq!(get(http, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(http, "/readyz"), (503, format!("not ready: link agent (connects to {agent})\n")));
    assert_eq!(get(http, "/other").0, 404);
    let _agent = Raw::accept(EndpointId::from_bytes([9; 16]), &listener, &[]).await;
    let bridge = BridgeProcess::of(program, folder);
    bridge.until("all links are ready", |_| get(http, "/readyz") == (200, "ready\n".into()));
    let (code, metrics) = get(http, "/metrics");
    assert_eq!(code, 200);
    for line in ["zeek_bridge_link_ready{link=\"agent\"} 1\n", "zeek_bridge_peers{link=\"agent\"} 1\n"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    // Systemd is notified of the reload even if the reload fails.
    std::fs::write(&file, "[bridge]\nhttp = 5\n").unwrap();
    bridge.program.signal("HUP");
    assert!(notification(&systemd, "RELOADING=1").contains("MONOTONIC_USEC="));
    notification(&systemd, "READY=1");
    assert_eq!(get(http, "/readyz").0, 200);

    let _stalled = stalled_peer(&bridge).await;
    bridge.program.signal("TERM");
    let stopping = notification(&systemd, "STOPPING=1");
    // The drain time of one hour plus ten seconds.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=3610000000\n"), "{stopping}");
    assert_eq!(get(http, "/readyz"), (503, "not ready: stopping\n".into()));
    assert_eq!(get(http, "/healthz").0, 200);
    // A second SIGTERM shortly after the first one would be ignored as a copy, so send SIGINT.
    bridge.program.signal("INT");
    assert_eq!(bridge.end().code, Some(0));
}

#[test]
fn a_second_bridge_with_the_same_status_socket_does_not_start() {
    let first = BridgeProcess::start(&config("1s"));
    let second = first.run_another();
    second.fails(3, &["bridge.status: another bridge uses"]);
    assert_eq!(first.status()["links"].as_array().unwrap().len(), 2, "the first is still running");
}
