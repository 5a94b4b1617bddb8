//! The sections of the manual pages on exit codes, environment variables and files.

use super::WITH_SETTINGS;
use crate::output::exit;
use crate::settings;

/// The last line of each help text.
pub(crate) const END_OF_HELP: &str =
    "For exit codes, variables and files, see the manual pages: zeek-bridge man --help.";

/// The variables that set connection options.
const VARIABLES: &str = "\
Environment:
  ZEEK_BRIDGE_CONNECT     the address to connect to
  ZEEK_BRIDGE_TLS, ZEEK_BRIDGE_CAFILE, ZEEK_BRIDGE_CAPATH, ZEEK_BRIDGE_CERTIFICATE,
  ZEEK_BRIDGE_KEYFILE, ZEEK_BRIDGE_PASSPHRASE_FILE, ZEEK_BRIDGE_VERIFY_NAME,
  ZEEK_BRIDGE_TLS_BACKEND
                          the TLS options of the same names
  ZEEK_BRIDGE_PROFILE     the profile to use, if --profile is not given
  ZEEK_BRIDGE_PASSPHRASE  the passphrase of a private key, if no file contains it
  ZEEK_BRIDGE_TOKEN       the bearer token for the WebSocket API, if --token-file is not given
  ZEEK_BRIDGE_CURVE_SERVER_KEY, ZEEK_BRIDGE_CURVE_PUBLIC_KEY, ZEEK_BRIDGE_CURVE_SECRET_KEY
                          the keys of a ZeroMQ cluster with CURVE: a file, or the key itself
  ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY,
  ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY,
  ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY
                          the same keys as in Zeek, if no other source sets keys
  ZEEK_AGENT_ADDR, ZEEK_AGENT_PORT
                          the address that node connects to, and that dispatch listens on;
                          they have precedence over ZEEK_BRIDGE_CONNECT
  CLUSTER_NODE            the name of a node, if --name is not given

  Options on the command line have precedence, then the profile of --profile, then
  variables, then the profile of ZEEK_BRIDGE_PROFILE or the default profile. With
  --listen, addresses to connect to are ignored. A source that sets any TLS option
  replaces all TLS options of the sources after it. The same applies to the keys of
  CURVE, except that the secret key may be in the environment. An empty variable counts as not set.
  With -v, the log shows which source was used.";

/// Returns the last sections of the manual page of a command, each with a heading and indented lines.
pub(crate) fn sections(command: &str) -> Vec<&'static str> {
    if command == "zeek-bridge" || WITH_SETTINGS.contains(&command) {
        vec![exit::HELP, VARIABLES, settings::PROFILE_HELP]
    } else {
        vec![exit::HELP]
    }
}
