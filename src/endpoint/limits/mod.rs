//! Limits on the resources of an endpoint that remote hosts can use: handshake slots, peer slots, and log lines. Each of
//! these resources is shared between [owners](Owner), so that one owner cannot use up the share of others.

mod handshakes;
mod log_limiter;
mod owner;
mod peer_slots;
mod rate_limiter;
mod shares;
mod throttle;

pub(super) use handshakes::{Handshakes, Slot, Ticket};
pub(crate) use log_limiter::LogLimiter;
pub use owner::Owner;
pub(super) use peer_slots::{PeerSlot, PeerSlots};
pub(super) use rate_limiter::RateLimiter;
pub(crate) use throttle::Throttle;
