//! Broker's error codes (`PROTOCOL.md`, section 2).

use std::fmt;

/// The error code of a `drop_conn` message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u8);

/// The names in the order of their numbers.
const NAMES: [&str; 42] = [
    "none",
    "unspecified",
    "peer_incompatible",
    "peer_invalid",
    "peer_unavailable",
    "peer_disconnect_during_handshake",
    "peer_timeout",
    "master_exists",
    "no_such_master",
    "no_such_key",
    "request_timeout",
    "type_clash",
    "invalid_data",
    "backend_failure",
    "stale_data",
    "cannot_open_file",
    "cannot_write_file",
    "invalid_topic_key",
    "end_of_file",
    "invalid_tag",
    "invalid_message",
    "invalid_status",
    "conversion_failed",
    "consumer_exists",
    "connection_timeout",
    "bad_member_function_call",
    "repeated_request_id",
    "broken_clone",
    "shutting_down",
    "invalid_peering_request",
    "repeated_peering_handshake_request",
    "unexpected_handshake_message",
    "invalid_handshake_state",
    "no_path_to_peer",
    "no_connector_available",
    "cannot_open_resource",
    "serialization_failed",
    "deserialization_failed",
    "wrong_magic_number",
    "redundant_connection",
    "logic_error",
    "invalid_json",
];

impl ErrorCode {
    /// A reason that has no code of its own.
    pub const UNSPECIFIED: ErrorCode = ErrorCode(1);
    /// The endpoints have no version in common.
    pub const PEER_INCOMPATIBLE: ErrorCode = ErrorCode(2);
    /// The peer's id is not acceptable, for example because it is this endpoint's own.
    pub const PEER_INVALID: ErrorCode = ErrorCode(3);
    /// The handshake timed out.
    pub const PEER_TIMEOUT: ErrorCode = ErrorCode(6);
    /// A frame or handshake message is malformed.
    pub const INVALID_MESSAGE: ErrorCode = ErrorCode(20);
    /// The endpoint is shutting down.
    pub const SHUTTING_DOWN: ErrorCode = ErrorCode(28);
    /// A handshake message arrived out of order.
    pub const UNEXPECTED_HANDSHAKE_MESSAGE: ErrorCode = ErrorCode(31);
    /// The magic number is wrong: the peer does not speak Broker's protocol.
    pub const WRONG_MAGIC_NUMBER: ErrorCode = ErrorCode(38);
    /// From an originator: the endpoints already have a peering.
    pub const REDUNDANT_CONNECTION: ErrorCode = ErrorCode(39);
    /// From a responder: the endpoints already have a peering. Broker also uses this code for different errors.
    pub const LOGIC_ERROR: ErrorCode = ErrorCode(40);

    /// Returns Broker's name of the code, or `None` for an unknown code.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0)).copied()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_with_its_name_and_in_debug_output_also_with_its_number() {
        assert_eq!(ErrorCode::INVALID_MESSAGE.to_string(), "invalid_message");
        assert_eq!(ErrorCode(42).to_string(), "error code 42");
        assert_eq!(format!("{:?}", ErrorCode::INVALID_MESSAGE), "20 (invalid_message)");
        assert_eq!(format!("{:?}", ErrorCode(42)), "42 (error code 42)");
    }
}
