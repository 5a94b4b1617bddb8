//! The bridge: links to agents and nodes, and rules that decide which messages are forwarded between them.
//!
//! Each link is a separate [`Endpoint`](crate::endpoint::Endpoint) with its own endpoint id. So the peers of a link
//! learn of the peers of another link only through messages that rules allow.
//!
//! A message is handled in the task of the connection that received it. The rules read its header, and as much of its
//! payload as they need. Then the message is pushed into the queues of its receivers. The payload is forwarded byte for
//! byte.
//!
//! The bridge also tracks the events of the node API. So it can answer on behalf of nodes that are gone, and repeat
//! hellos to agents that missed them.
//!
//! Bridges recognize each other by their endpoint ids. They assign an id to each message, so that every peer receives
//! the message once, no matter how the bridges are connected. If several links of one group lead to the same remote
//! side, only one of them carries the messages.
//!
//! Each module depends only on modules further down in this list:
//!
//! ```text
//! supervisor, snapshot       start, reload, drain; the state for `status` and metrics
//! router/link_relay          receives the messages of a link's peers
//! management/relay, denied   the node API: hellos, requests, responses
//! router/batch, routed       messages with their receivers
//! router/core, links         what all links share: the links and rules, the registry, counters
//! link                       one endpoint with its configuration
//! faults, outlet, audience   sending the messages of a link to its peers
//! router/recent, busiest     what happened recently, and the topics with the most messages
//! policy                     rules
//! management/registry        live nodes and requests in flight, without I/O
//! router/origin, sides       ids of messages, and peerings that lead to the same remote side
//! config                     the TOML file
//! ```

mod audience;
pub mod config;
mod faults;
mod ids;
mod link;
mod management;
mod outlet;
mod peer_text;
pub(crate) mod policy;
mod router;
mod snapshot;
mod supervisor;

pub(crate) use ids::{LinkId, RuleId};
pub use management::AnsweredFor;
pub use router::{RecentEntry, TopicRate};
pub use snapshot::{
    FlowSnapshot, Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RequestSnapshot, RuleSnapshot, Snapshot,
};
pub use supervisor::{Bridge, Reloaded};
