//! Relaying of the Management framework's node API: the registry of live nodes and of requests in flight, and the
//! events that the bridge itself sends.

pub(in crate::bridge) mod answers;
pub(in crate::bridge) mod denied;
pub(in crate::bridge) mod outbox;
pub(in crate::bridge) mod registry;
pub(in crate::bridge) mod relay;

pub use registry::AnsweredFor;
