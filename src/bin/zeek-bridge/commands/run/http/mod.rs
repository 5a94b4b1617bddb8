//! The page, its API, metrics and health over HTTP.
//!
//! ```text
//! server      accepts connections: TLS, time limits
//! deadline    cuts viewers that do not read
//! routes      the response to a request
//! access      who may use the page and the API
//! assets      the files of the page
//! site        the data of the page and the API: the history, the viewers
//! settings    certificates and tokens, which a reload may change
//! cache       documents that requests share
//! events      what a viewer receives: server-sent events
//! frames      the event `status`, which is bounded
//! history     the rates of the last hour
//! ```
//!
//! The page and the API cannot disturb the bridge: documents are made at most once a second, whatever the number of requests,
//! and in a thread for blocking code. They cannot disturb scrapers either: see [`Slot`](super::serve::Slot).

mod access;
mod assets;
mod cache;
mod deadline;
mod events;
mod frames;
mod history;
mod routes;
mod server;
mod settings;
mod site;
#[cfg(test)]
mod tests;

pub(super) use server::Server;
pub(super) use settings::Settings;
pub(super) use site::Site;
