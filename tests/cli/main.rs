//! The program's commands, run as a user runs them.

#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/raw.rs"]
mod raw;
#[path = "../common/websocket.rs"]
mod raw_websocket;
#[path = "../common/recorder.rs"]
mod recorder;
#[path = "../common/terminal.rs"]
mod terminal;
#[path = "../common/zeromq_client.rs"]
mod zeromq_client;
#[path = "../common/zeromq.rs"]
mod zeromq_proxy;

mod bench;
mod certs;
mod check;
mod codec;
mod curve;
mod decode_capture;
mod decode_zeromq;
mod demo;
mod files;
mod network;
mod node_programs;
mod packaging;
mod probe;
mod publish;
mod record;
mod record_websocket;
mod replay;
mod roles;
mod run;
mod settings;
mod shell;
mod status;
mod tap;
mod tap_end;
mod tls;
mod websocket;
mod zeromq;
mod zeromq_curve;
mod zeromq_logs;
