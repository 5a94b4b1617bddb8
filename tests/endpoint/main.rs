//! Endpoints over loopback TCP and mutual TLS, connected to each other and to peers that send arbitrary frames.
//!
//! Tests wait for events: a status, a message, a frame or a subscription. They do not wait for a fixed time, except to make a
//! peer slow. A wait that takes [`support::LONG`] fails the test.
#![cfg(feature = "cli")]

mod certificates;
mod configuration;
#[path = "../common/raw.rs"]
mod raw;
#[path = "../common/websocket.rs"]
mod raw_websocket;
mod support;
#[path = "../common/zeromq_client.rs"]
mod zeromq_client;
#[path = "../common/zeromq.rs"]
mod zeromq_proxy;

mod forms;
mod greedy;
mod hostile;
mod ids;
mod leaving;
mod links;
mod messages;
mod redundant;
mod shares;
mod slow;
mod tls;
mod tls_crowd;
mod tls_kinds;
mod websocket;
mod zeromq;
mod zeromq_curve;
mod zeromq_listener;
