//! Tests of the rules: which messages each kind of rule allows and denies, and that no encoding of a message evades them.

#[allow(unreachable_pub, missing_docs, reason = "shared with the integration tests")]
#[path = "../../../../tests/common/mod.rs"]
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
