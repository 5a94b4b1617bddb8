//! Endpoints over loopback TCP and mutual TLS, against each other and against hand-made peers.
//!
//! Tests wait for events (a status, a message, a frame, a subscription), and never for time to pass. A wait that takes
//! [`support::LONG`] has failed.
#![cfg(feature = "cli")]

mod certificates;
#[path = "../common/raw.rs"]
mod raw;
mod support;

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
