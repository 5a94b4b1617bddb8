//! Environment variables.

use std::env;
use std::ffi::OsString;

/// Returns the value of an environment variable. An empty one counts as not set, as in Zeek.
pub(crate) fn var(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
