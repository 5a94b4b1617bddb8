//! A bridge between real processes: agents on one side, nodes on the other.

#![cfg(all(unix, feature = "cli"))]

#[path = "../common/program.rs"]
mod program;
#[path = "../common/raw.rs"]
mod raw;
#[path = "../common/websocket.rs"]
mod raw_websocket;
#[path = "../common/zeromq_client.rs"]
mod zeromq_client;
#[path = "../common/zeromq.rs"]
mod zeromq_proxy;

mod agent;
mod batches;
mod chaos;
mod classes;
mod cluster;
mod copies;
mod crashes;
mod hostile;
mod identities;
mod loops;
mod node_api;
mod node_rules;
mod operation;
mod peers;
mod pressure;
mod reconnects;
mod relaying;
mod reload;
mod soak;
mod topologies;
mod validation;
mod websocket;
mod zeek;
mod zeromq;
mod zeromq_listening;
