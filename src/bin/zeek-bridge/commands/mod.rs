//! One module per command, which owns its arguments.

pub(crate) mod bench;
pub(crate) mod capture;
pub(crate) mod certs;
pub(crate) mod check;
pub(crate) mod config_schema;
pub(crate) mod curve;
pub(crate) mod decode;
pub(crate) mod demo;
pub(crate) mod dispatch;
pub(crate) mod encode;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod probe;
pub(crate) mod publish;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod tap;
