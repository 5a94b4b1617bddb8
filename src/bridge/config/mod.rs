//! What a bridge is told to do: a TOML file, as types.

mod model;

pub use crate::endpoint::WhenFull;
pub use model::*;
