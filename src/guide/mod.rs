//! Guides, also readable as files in `src/guide` of the repository. Their console sessions are run by the tests.

#[doc = include_str!("quick-start.md")]
pub mod quick_start {}

#[doc = include_str!("nodes.md")]
pub mod nodes {}

#[doc = include_str!("bridge.md")]
pub mod bridge {}

#[doc = include_str!("configuration.md")]
pub mod configuration {}

#[doc = include_str!("tls.md")]
pub mod tls {}

#[doc = include_str!("websocket.md")]
pub mod websocket {}

#[doc = include_str!("zeromq.md")]
pub mod zeromq {}

#[doc = include_str!("service.md")]
pub mod service {}

#[doc = include_str!("debugging.md")]
pub mod debugging {}

// Its examples use these features.
#[cfg_attr(all(feature = "bridge", feature = "stream"), doc = include_str!("library.md"))]
#[cfg_attr(
    not(all(feature = "bridge", feature = "stream")),
    doc = "This guide is in `src/guide/library.md`, and here if the features `bridge` and `stream` are on."
)]
pub mod library {}

#[doc = include_str!("benchmarks.md")]
pub mod benchmarks {}
