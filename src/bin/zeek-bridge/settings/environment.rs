//! The environment variables of this program that set options.

use std::ffi::OsString;

use super::Layer;
use crate::args::source::variable;
use crate::args::tls::{TLS_OPTIONS, TlsArgs};
use crate::args::{CurveArgs, Source, connect_address};
use crate::environment::var;
use crate::output::Failure;

/// Returns the name of a profile, if a variable selects one.
pub(super) fn profile() -> Result<Option<String>, Failure> {
    text("profile")
}

/// Reads the variables.
pub(super) fn read() -> Result<Layer, Failure> {
    let connect = text("connect")?.map(|address| {
        connect_address(&address)
            .map_err(|error| invalid("connect", &address.clone().into(), &error.to_string()))
    });
    let mut tls = TlsArgs::default();
    for option in TLS_OPTIONS {
        if let Some(value) = var(&variable(option)) {
            tls.set(option, value.clone()).map_err(|valid| invalid(option, &value, &valid))?;
        }
    }
    let curve = CurveArgs::from_environment(&Source::Environment);
    Ok(Layer { source: Source::Environment, connect: connect.transpose()?, tls, curve })
}

fn text(option: &str) -> Result<Option<String>, Failure> {
    let text = |value: OsString| {
        value.into_string().map_err(|value| invalid(option, &value, "it is not UTF-8; use other characters"))
    };
    var(&variable(option)).map(text).transpose()
}

fn invalid(option: &str, value: &OsString, reason: &str) -> Failure {
    Failure::usage(format!("{} is set to {:?}; {reason}", variable(option), value.to_string_lossy()))
}
