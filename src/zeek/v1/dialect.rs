//! The variants of v1 JSON.

/// A variant of v1 JSON. Messages are encoded once for all peers with the same variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Messages to a server of the WebSocket API, or to nodes of a cluster over ZeroMQ. Zeek reads strings that are not UTF-8,
    /// and numbers that are not valid JSON, but no text with more than 128 open braces and brackets.
    Client,
    /// Messages to a client of the WebSocket API.
    Server(BinaryText),
}

/// How strings that are not UTF-8 are sent to clients. Zeek sends them as they are, in a text frame, and clients that conform
/// to RFC 6455 then close the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BinaryText {
    /// Each invalid byte is replaced by `\xNN`, as Zeek prints it. Everything else is unchanged, including backslashes.
    #[default]
    Escape,
    /// Each invalid sequence is replaced by U+FFFD.
    Replace,
    /// A message with such a string is not sent.
    Drop,
}
