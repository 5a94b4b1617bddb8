//! `--format`: text or JSON.

use clap::{Args, ValueEnum};

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// The format of a command that prints text by default.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatArgs {
    /// The format: text for people, or lines of JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
    // In earlier versions, this was the only option for JSON.
    #[arg(long, hide = true, conflicts_with = "format")]
    json: bool,
}

impl FormatArgs {
    pub(crate) fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}
