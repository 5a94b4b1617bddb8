//! The sources of settings, and how each of them writes an option.

use std::fmt;
use std::path::PathBuf;

use super::role::Role;

/// The prefix of the environment variables of this program.
const PREFIX: &str = "ZEEK_BRIDGE_";

/// Where a setting is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line. The prefix is empty, or the prefix of the options of one side, such as `listen-`.
    CommandLine { prefix: &'static str },
    /// The environment variables of this program.
    Environment,
    /// The environment variables of Zeek's Management framework.
    Agent,
    /// The environment variables of Zeek for the keys of CURVE.
    Zeek(Role),
    /// A profile in this file.
    Profile { name: String, file: PathBuf },
}

impl Source {
    pub(crate) const COMMAND_LINE: Source = Source::CommandLine { prefix: "" };

    /// Returns an option, such as `tls-backend`, as this source names it: `--tls-backend`, `ZEEK_BRIDGE_TLS_BACKEND` or
    /// `tls_backend`.
    pub(crate) fn option(&self, option: &str) -> String {
        match self {
            Source::CommandLine { prefix } => format!("--{prefix}{option}"),
            Source::Environment | Source::Agent => variable(option),
            Source::Zeek(role) => zeek_variable(option, *role),
            Source::Profile { .. } => option.replace('-', "_"),
        }
    }

    /// Returns an option with its value: `--tls off`, `ZEEK_BRIDGE_TLS=off` or `tls = "off"`.
    pub(crate) fn setting(&self, option: &str, value: &str) -> String {
        let name = self.option(option);
        match self {
            Source::CommandLine { .. } => format!("{name} {value}"),
            Source::Environment | Source::Agent | Source::Zeek(_) => format!("{name}={value}"),
            Source::Profile { .. } => format!("{name} = \"{value}\""),
        }
    }

    /// Adds the profile to an error about its settings.
    pub(crate) fn locate(&self, message: String) -> String {
        match self {
            Source::Profile { .. } => format!("{self}: {message}"),
            _ => message,
        }
    }
}

/// Returns the name of the environment variable of an option.
pub(crate) fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.replace('-', "_").to_uppercase())
}

/// Returns the name of Zeek's environment variable of an option for keys of CURVE.
fn zeek_variable(option: &str, role: Role) -> String {
    let key = match option {
        "curve-server-key" => "SERVER_PUBLICKEY",
        "curve-public-key" => "CLIENT_PUBLICKEY",
        _ => match role {
            Role::Client => "CLIENT_SECRETKEY",
            Role::Server => "SERVER_SECRETKEY",
        },
    };
    format!("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{key}")
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::CommandLine { .. } => f.write_str("the command line"),
            Source::Environment => f.write_str("the environment"),
            Source::Agent => f.write_str("ZEEK_AGENT_ADDR and ZEEK_AGENT_PORT"),
            Source::Zeek(_) => f.write_str("the environment variables of Zeek"),
            Source::Profile { name, file } => write!(f, "profile {name} in {}", file.display()),
        }
    }
}
