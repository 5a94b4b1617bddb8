//! Tests against other implementations: endpoints of Broker's C++ implementation (libbroker), Zeek's WebSocket API and ZeroMQ back
//! end (`zeek`), Python clients of the WebSocket API (`websocket_clients`), and ZeroMQ clusters on libzmq (`zeromq`).
//!
//! For libbroker, the environment variable `ZEEK_BRIDGE_REFERENCE` names a program that runs a Broker endpoint. The program is not
//! part of this repository. If the variable is not set, these tests are skipped with a notice. The program has this
//! interface:
//!
//! - options: `--listen PORT` (0: any; prints `listening PORT`), `--connect PORT`, `--retry SECONDS`,
//!   `--subscribe TOPIC`, `--endpoint-id UUID`, `--peer-buffer-size N`, `--format text|hex`;
//!   `--disable-ssl`, or `--ssl-cafile` or `--ssl-capath`, `--ssl-certificate`, `--ssl-keyfile` and `--ssl-passphrase`,
//!   or nothing for Zeek's anonymous TLS;
//! - it prints `id UUID` first, then `status NAME PEER ...` for each of Broker's statuses, and for each message
//!   `message TOPIC TEXT` (the value in Broker's notation) or `message-hex TOPIC HEX` (its bytes);
//! - lines on its stdin: `publish TOPIC JSON` (Broker's JSON of a value), `publish TOPIC string TEXT`,
//!   `event TOPIC NAME ARG...` (string arguments), `flood TOPIC COUNT SIZE` (COUNT strings `N:xxx...` of SIZE bytes),
//!   `subscribe TOPIC`, `peer PORT RETRY`, `unpeer`, `sync TEXT` (prints `sync TEXT`), `quit`
//!   (closes its peerings and ends), `abort` (ends at once).
#![cfg(all(unix, feature = "cli"))]

#[path = "../endpoint/certificates.rs"]
mod certificates;
#[path = "../bridge/cluster.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod driver;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/recorder.rs"]
mod recorder;
#[path = "../endpoint/support.rs"]
mod support;
#[path = "../common/zeromq.rs"]
mod zeromq_proxy;

mod bridge;
mod links;
mod messages;
mod probe;
mod record;
mod tls;
mod websocket_clients;
mod zeek;
mod zeromq;
mod zeromq_clients;
