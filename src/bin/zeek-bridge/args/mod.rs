//! Options and value parsers that several commands share.

pub(crate) mod address;
pub(crate) mod agent;
pub(crate) mod curve;
mod format;
pub(crate) mod network;
pub(crate) mod retry;
mod role;
pub(crate) mod side_tls;
pub(crate) mod source;
pub(crate) mod tls;
pub(crate) mod values;
pub(crate) mod websocket;

pub(crate) use address::{
    AddressArg, connect_address, connect_address_without_zeromq, is_for_broker_only, listen_address,
    protocol_of, scheme,
};
pub(crate) use curve::CurveArgs;
pub(crate) use format::{Format, FormatArgs};
pub(crate) use network::{Address, NetworkArgs, OneConnectionArgs, ProfileArg};
pub(crate) use role::Role;
pub(crate) use source::Source;
pub(crate) use values::{DurationArg, Interval, TopicArg, count, node_name};
pub(crate) use websocket::WebSocketArgs;
