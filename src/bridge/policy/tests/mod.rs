//! Tests of the rules: the messages that each kind of rule allows and denies, and encodings of messages that try to
//! evade rules.

#[allow(unreachable_pub, missing_docs, reason = "shared with the integration tests")]
#[path = "../../../../tests/common/mod.rs"]
mod common;
mod support;

mod captured;
mod cost;
mod details;
mod event_class;
mod passthrough;
mod properties;
mod routes;
mod smuggling;
mod table;
mod zeromq;
