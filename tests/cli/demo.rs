//! `demo --serve`, as a user and a browser use it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::program::child::LIMIT;
use crate::program::{Program, command};

/// Returns the response of the server to a request for this path.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    answer
}

fn status(address: &str) -> Json {
    let answer = get(address, "/api/v1/status");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Returns the address in the printed URL of the page.
fn address(demo: &mut Program) -> String {
    loop {
        let line = demo.text();
        if let Some((_, address)) = line.split_once("http://") {
            return address.trim_end_matches('/').to_owned();
        }
    }
}

/// Returns whether a cluster of which everything works is visible.
fn is_at_work(status: &Json) -> bool {
    let count = |value: &Json| value.as_array().map_or(0, Vec::len);
    let recent = status["recent"].as_array().unwrap();
    let is_denied = |entry: &&Json| entry["kind"] == "denied" && entry["link"] == "nodes";
    let denied: Vec<_> = recent.iter().filter(is_denied).collect();
    let reasons = status["links"][1]["refused"].as_object().unwrap();
    let flows = status["flows"].as_array().unwrap();
    count(&status["nodes"]) == 4
        && count(&status["links"][0]["peers"]) == 1
        && count(&status["links"][1]["peers"]) == 5
        && count(&status["links"][2]["peers"]) == 1
        && flows.len() == 3
        && flows.iter().all(|flow| flow["messages"].as_u64() > Some(0))
        && ["identity_not_allowed", "node_not_allowed"].iter().all(|reason| reasons.contains_key(*reason))
        && denied
            .iter()
            .all(|entry| entry["identity"].as_str().is_some_and(|name| name.starts_with("CN=guest ")))
        && denied.iter().any(|entry| entry["rule"] == "events")
        && count(&status["busiest"]) > 0
}

#[test]
fn the_page_shows_a_cluster_at_work_until_the_demo_is_interrupted() {
    let mut demo = Program::start("demo --serve 127.0.0.1:0");
    let address = address(&mut demo);
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = status(&address);
        if is_at_work(&status) {
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
        // The first window of the busiest topics takes five seconds.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(get(&address, "/").contains("<html"));
    assert!(get(&address, "/metrics").contains("zeek_bridge_nodes 4\n"));
    demo.signal("INT");
    let end = demo.end();
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn the_address_is_free_and_on_loopback() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Program::run(&format!("demo --serve {address}"), "").fails(3, &[&address, "free port"]);
    Program::run("demo --serve 0.0.0.0:0", "").fails(2, &["without authentication", "127.0.0.1:9747"]);
    Program::run("demo --serve localhost:0", "").fails(2, &["--serve"]);
    Program::run("demo --serve --format json", "").fails(2, &["--serve", "--format"]);
}

#[test]
fn a_temporary_folder_that_does_not_exist_is_named_with_its_purpose() {
    let mut command = command(["demo", "--serve", "127.0.0.1:0"]);
    command.env("TMPDIR", "/does/not/exist");
    Program::spawn(command).end().fails(1, &["temporary folder", "/does/not/exist", "TMPDIR"]);
}

/// Two demos at the same time: at most one of them has the default port.
#[test]
fn without_an_address_a_second_demo_has_another_port() {
    let mut demos = [(); 2].map(|()| Program::start("demo --serve"));
    let addresses = demos.each_mut().map(address);
    assert_ne!(addresses[0], addresses[1]);
    for (demo, address) in demos.into_iter().zip(addresses) {
        get(&address, "/healthz");
        demo.signal("TERM");
        assert_eq!(demo.end().code, Some(0));
    }
}
