//! The node API of the Management framework (`PROTOCOL.md`, section 8): its events and records, and the roles of node and
//! agent.
//!
//! An *agent* sends the *nodes* of a cluster a request to run an action, a *dispatch*, and each node responds. Zeek's agent
//! silently drops a response that its scripts cannot convert, so the types here can only represent the form that it accepts.
//! [`NodeMessage`] is any of the events.

#[cfg(feature = "net")]
mod agent;
mod answer_error;
#[cfg(feature = "net")]
mod claims;
mod dispatch_error;
mod events;
#[cfg(feature = "net")]
mod hellos;
mod json_text;
#[cfg(feature = "net")]
mod node;
#[cfg(feature = "net")]
mod outcome;
mod result;
mod schema;
mod values;

#[cfg(feature = "net")]
pub use agent::{Agent, MAX_NODE_NAME, MAX_NODES};
pub use answer_error::AnswerError;
pub use dispatch_error::DispatchError;
pub use events::{DispatchRequest, DispatchResponse, NotifyNodeHello};
pub use json_text::{InvalidJson, JsonText};
#[cfg(feature = "net")]
pub use node::{Dispatch, Handler, MAX_DISPATCHES, Node, NodeEvent, NodeEvents};
#[cfg(feature = "net")]
pub use outcome::Outcome;
pub use result::ManagementResult;
pub use schema::{NamedNodes, NodeMessage};
pub use values::{InvalidValues, Values};

use std::time::Duration;

use crate::data::Topic;

/// The topic of all events of the node API. Nodes and agents subscribe to it.
pub static NODE_TOPIC: Topic = Topic::from_static("zeek/management/node");

/// The TCP port that Zeek's agent listens on, unless `ZEEK_AGENT_PORT` sets another.
pub const DEFAULT_AGENT_PORT: u16 = 2151;

/// The time that Zeek's agent waits for the responses to a request. It then forgets the request and ignores late responses.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The nodes of a request to all nodes: none are named.
pub const ALL_NODES: [&str; 0] = [];

/// The only action of Zeek's own nodes: `get_id_value NAME` returns the value of a global variable.
pub const GET_ID_VALUE: &str = "get_id_value";
