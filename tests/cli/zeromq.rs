//! Commands with the address of the proxy of a ZeroMQ cluster.

use std::net::TcpListener;

use zeek_bridge::zeek::Event;

use crate::program::Program;
use crate::zeromq_proxy::{Proxy, handshake, payload};

#[test]
fn events_of_the_cluster_are_printed_with_their_sender() {
    let proxy = Proxy::start();
    let tap = Program::start(&format!("tap --format json --count 1 --connect {}", proxy.url));
    assert_eq!(proxy.next_change(), b"\x01", "without a topic, tap subscribes to all topics");
    let payload = payload(Event::new("Demo::ping", (7u64,)));
    proxy.publish(&[b"zeek.cluster.worker", b"zeromq_manager_h_1_N", b"broker-bin-v1", &payload]);
    let end = tap.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    let line = &end.json()[0];
    assert_eq!(line["peer"], "zeromq_manager_h_1_N", "{line}");
    assert_eq!((&line["topic"], &line["event"]), (&"zeek.cluster.worker".into(), &"Demo::ping".into()));
}

#[test]
fn events_are_published_to_subscribers_of_the_cluster() {
    let proxy = Proxy::with_subscriptions(&["other", "zeek.cluster.worker"], true);
    let publish = |topic: &str, options: &str| {
        Program::run(
            &format!("publish --topic {topic} --connect {} {options} Demo::ping count:7", proxy.url),
            "",
        )
    };
    let end = publish("zeek.cluster.worker", "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let parts = proxy.next_published();
    let payload = payload(Event::new("Demo::ping", (7u64,)));
    assert_eq!((&parts[0][..], &parts[3]), (&b"zeek.cluster.worker"[..], &payload));
    publish("nobody", "--wait 100ms").fails(5, &["no subscriber for the topic nobody"]);
    publish("nobody", "--timeout 500ms")
        .fails(5, &["nothing was published", "no subscriber for the topic nobody"]);
}

#[test]
fn a_probe_names_both_sockets_and_the_mechanism() {
    let proxy = Proxy::start();
    let end = Program::run(&format!("probe --format json {}", proxy.url), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let line = &end.json()[0];
    assert_eq!((&line["found"], &line["mechanism"]), (&"zeromq".into(), &"NULL".into()), "{line}");
    let (xpub, xsub) = proxy.url.strip_prefix("zeromq://127.0.0.1:").unwrap().split_once(',').unwrap();
    for (index, socket, port) in [(0, "XPUB", xpub), (1, "XSUB", xsub)] {
        assert_eq!(line["sockets"][index]["socket"], socket);
        assert_eq!(line["sockets"][index]["address"], format!("tcp://127.0.0.1:{port}"));
    }
    let end = Program::run(&format!("probe {}", proxy.url), "");
    assert!(end.stdout.concat().contains(&format!("zeek-bridge tap -c {}", proxy.url)), "{end:?}");
}

#[test]
fn a_proxy_with_curve_is_recognized() {
    let ports = [(); 2].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = handshake(&mut stream.unwrap(), "XPUB", "CURVE");
            }
        });
        port
    });
    let url = format!("zeromq://127.0.0.1:{},{}", ports[0], ports[1]);
    let end = Program::run(&format!("probe {url}"), "");
    assert_eq!(end.code, Some(4), "{end:?}");
    assert!(end.stdout.concat().contains("requires CURVE keys"), "{end:?}");
    Program::run(&format!("tap --connect {url}"), "").fails(4, &["CURVE", "keys"]);
}

#[test]
fn a_proxy_is_measured() {
    let proxy = Proxy::start();
    let bench = format!("bench relay --format json --publish-to {}", proxy.url);
    for (size, with_all_parts) in [(223, 237), (70_000, 70_021)] {
        let end = Program::run(&format!("{bench} --count 2000 --round-trips 20 --peers 2 --size {size}"), "");
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
        let report = &end.json()[0];
        assert_eq!((&report["delivered"], &report["lost"]), (&4040.into(), &0.into()), "{report}");
        assert_eq!((&report["zeromq_size"], &report["size"]), (&with_all_parts.into(), &size.into()));
        let parts = proxy.next_published();
        assert_eq!((&parts[0][..], &parts[2][..]), (&b"/zeek-bridge/bench"[..], &b"broker-bin-v1"[..]));
    }
    // The proxy sends to one subscriber after the other, and waits for each.
    let end = Program::run(&format!("{bench} --stalled-peers 1 --size 1000000 --wait 1"), "");
    assert_eq!(end.code, Some(5), "{end:?}");
    end.has_said(&["no message arrived for 1.0 s"]);
    assert_eq!(end.json()[0]["stalled_subscribers"], 1);
}

#[test]
fn commands_without_zeromq_refuse_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    for (args, words) in [
        ("tap --listen zeromq://127.0.0.1:0", ["cannot listen on zeromq://", "connect to the proxy"]),
        ("tap --connect zeromq://127.0.0.1:65535", ["65535", "give both ports"]),
        ("tap --connect zeromq://127.0.0.1:5555 --tls off", ["--tls", "ZeroMQ has no TLS"]),
        ("tap --connect zeromq://127.0.0.1:5555 --token-file x", ["--token-file", "remove it"]),
        ("tap --connect zeromq://127.0.0.1:5555 --all-topics", ["--all-topics", "remove it"]),
        ("probe zeromq://127.0.0.1:5555 --cafile x", ["--cafile", "ZeroMQ has no TLS"]),
        (
            &format!("record --out {folder} --listen 127.0.0.1:0 --connect zeromq://127.0.0.1:5555"),
            ["does not speak ZeroMQ", "Broker"],
        ),
        (
            "bench relay --publish-to zeromq://127.0.0.1:5555 --tls off",
            ["--tls cannot be used", "ZeroMQ has no TLS"],
        ),
        ("bench relay --publish-to zeromq://127.0.0.1:5555 --token-file x", ["--token-file", "ZeroMQ"]),
        (
            &format!("replay {folder} --connect zeromq://127.0.0.1:5555 --tls off"),
            ["zeromq://127.0.0.1:5555", "Broker"],
        ),
        ("node --name n --connect zeromq://127.0.0.1:5555", ["Management framework", "HOST:PORT"]),
        ("dispatch --connect zeromq://127.0.0.1:5555 get_id_value x", ["Management framework", "HOST:PORT"]),
    ] {
        Program::run(args, "").fails(2, &words);
    }
}
