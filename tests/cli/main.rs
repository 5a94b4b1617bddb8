//! The program's commands, run as a user runs them.

#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/raw.rs"]
mod raw;
#[path = "../common/recorder.rs"]
mod recorder;
#[path = "../common/terminal.rs"]
mod terminal;

#[cfg(unix)]
mod bench;
#[cfg(unix)]
mod certs;
mod check;
mod codec;
mod decode_capture;
mod files;
mod network;
#[cfg(unix)]
mod node_programs;
#[cfg(unix)]
mod packaging;
mod probe;
mod publish;
#[cfg(unix)]
mod record;
#[cfg(unix)]
mod replay;
mod roles;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod shell;
mod tap;
mod tap_end;
mod tls;
