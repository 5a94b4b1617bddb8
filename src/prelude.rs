//! The items that most programs use, for `use zeek_bridge::prelude::*`.
//!
//! Items of other modules that are missing in a build need a feature: see the [features](crate#features).

pub use crate::data::{
    Address, ByteString, EndpointId, FromValue, Port, Subnet, Timespan, Timestamp, Topic, Value,
    steers_terminal,
};
pub use crate::management::{AnswerError, DispatchError, JsonText, Values};
pub use crate::zeek::{Event, EventError, ZeekMessage};
pub use crate::{zeek_event, zeek_record};

#[cfg(feature = "bridge")]
pub use crate::bridge::{Bridge, config::BridgeConfig};
#[cfg(feature = "net")]
pub use crate::{
    endpoint::{Endpoint, EndpointConfig, Message, Retry, Subscriber},
    management::{Agent, Node, NodeEvent},
    net::tls::{Credentials, Tls},
};
