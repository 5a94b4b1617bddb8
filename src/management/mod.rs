//! The node API of the Management framework (`PROTOCOL.md`, section 8): its events and records, and the roles of node and
//! agent.
//!
//! An *agent* sends a request to run an action, called a *dispatch*, to the *nodes* of a cluster. Each node responds.
//! Zeek's agent silently drops a response that its scripts cannot convert. Therefore, the types here only represent
//! responses in the form that the agent accepts. [`NodeMessage`] is an event of any kind.

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

/// The default TCP port of Zeek's agent. The environment variable `ZEEK_AGENT_PORT` sets a different port.
pub const DEFAULT_AGENT_PORT: u16 = 2151;

/// The time that Zeek's agent waits for the responses to a request. It then forgets the request and ignores late responses.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The nodes to pass for a request to all nodes: an empty list.
pub const ALL_NODES: [&str; 0] = [];

/// The only action of Zeek's own nodes: `get_id_value NAME` returns the value of a global variable.
pub const GET_ID_VALUE: &str = "get_id_value";
