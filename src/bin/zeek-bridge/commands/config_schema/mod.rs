//! `config-schema`: the JSON Schema of a bridge's configuration, which is the source of its manual page as well.

mod page;

use clap::Args;

use crate::output::{Failure, Output};
pub(crate) use page::page;

/// The keys of the configuration with their types, defaults and meanings. The configuration guide has the same content.
const SCHEMA: &str = include_str!("schema.json");

/// Print the JSON Schema of the configuration
///
/// Editors use it for completion and checks: save it, and write `#:schema FILE` in the first line of the configuration. Only
/// `check` finds all errors, such as rules that name an unknown link.
#[derive(Debug, Args)]
pub(crate) struct ConfigSchemaArgs {}

pub(crate) fn run() -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(SCHEMA.trim_end().as_bytes()).and_then(|()| output.flush())
}
