//! The bridge's rules: of every kind of rule, what it lets pass and what it does not, and that nothing gets by them.
#![cfg(feature = "bridge")]

#[path = "../common/mod.rs"]
mod common;
mod support;

mod captured;
mod cost;
mod details;
mod passthrough;
mod properties;
mod routes;
mod smuggling;
mod table;
