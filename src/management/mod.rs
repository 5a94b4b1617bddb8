//! The Management framework's node API (protocol section 8): its events and records.
//!
//! An *agent* asks the *nodes* of a cluster to run an action, a *dispatch*, and each node answers. Zeek's
//! agent drops an answer that its scripts cannot convert, and nothing comes back; so the types here can only
//! be made in the one form that it takes.

#[cfg(feature = "net")]
mod agent;
#[cfg(feature = "net")]
mod claims;
mod events;
pub mod failure;
#[cfg(feature = "net")]
mod hellos;
mod json_text;
#[cfg(feature = "net")]
mod node;
mod result;
mod schema;
mod values;

#[cfg(feature = "net")]
pub use agent::{Agent, MAX_NODE_NAME, MAX_NODES, Outcome};
pub use events::{DispatchRequest, DispatchResponse, NotifyNodeHello};
pub use json_text::{InvalidJson, JsonText};
#[cfg(feature = "net")]
pub use node::{Dispatch, Handler, MAX_DISPATCHES, Node, NodeEvent, NodeEvents};
pub use result::ManagementResult;
pub use schema::{NamedNodes, NodeMessage};
pub use values::{InvalidValues, Values};

use std::time::Duration;

use crate::data::Topic;

/// The topic of all three events. Nodes and agents subscribe to it.
pub static NODE_TOPIC: Topic = Topic::from_static("zeek/management/node");

/// The TCP port that Zeek's agent listens on, unless `ZEEK_AGENT_PORT` says otherwise.
pub const DEFAULT_AGENT_PORT: u16 = 2151;

/// How long Zeek's agent waits for the answers to a request: 5 s after sending it, it forgets the request and ignores
/// what comes later.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The only action that Zeek ships: `get_id_value NAME` asks for the value of a global variable.
pub const GET_ID_VALUE: &str = "get_id_value";
