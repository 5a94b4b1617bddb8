//! Decoding and encoding errors.

use std::fmt;

use crate::data::{JsonError, Path, Step};

/// Malformed input: the offset, the path to the malformed element, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DecodeError {
    offset: usize,
    path: Path,
    reason: DecodeReason,
}

impl DecodeError {
    /// Returns the offset of the error in the input, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the path from the outermost container to the malformed element.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &DecodeReason {
        &self.reason
    }

    /// Adds `bytes` to the offset. Used if the input is a part of a larger input that begins `bytes` earlier.
    pub(crate) fn shifted(mut self, bytes: usize) -> Self {
        self.offset = self.offset.saturating_add(bytes);
        self
    }

    pub(crate) fn at(offset: usize, reason: DecodeReason) -> Self {
        DecodeError { offset, path: Path::default(), reason }
    }
}

/// The error of a message that is JSON.
impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> Self {
        DecodeError::at(0, error.into())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            DecodeReason::Json(error) => return error.fmt(f),
            DecodeReason::Parts(error) => return error.fmt(f),
            _ => {}
        }
        write!(f, "byte {}", self.offset)?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Why input is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The input ends inside an element.
    #[error("unexpected end of input")]
    Truncated,
    /// There are extra bytes after a complete element.
    #[error("trailing bytes: {0}")]
    Trailing(usize),
    /// A varbyte of more than 5 bytes or more than 32 bits (`PROTOCOL.md`, section 1).
    #[error("varbyte of more than 32 bits")]
    VarbyteOverflow,
    /// A value tag above 14 (`PROTOCOL.md`, section 5).
    #[error("unknown value tag {0}")]
    UnknownValueTag(u8),
    /// A port protocol above 3.
    #[error("unknown port protocol {0}")]
    UnknownProtocol(u8),
    /// A prefix length that is not valid for its address.
    #[error("invalid prefix length {0} for this address (encoded for 128 bits: 96 is added for IPv4)")]
    InvalidPrefixLength(u8),
    /// A set contains an element twice.
    #[error("duplicate element in a set")]
    DuplicateElement,
    /// A table contains a key twice.
    #[error("duplicate key in a table")]
    DuplicateKey,
    /// Containers are nested deeper than [`super::Limits::max_depth`].
    #[error("containers are nested deeper than the limit of {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A message contains more values than [`super::Limits::max_elements`].
    #[error("more than {limit} values in one message")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// A filter has more topics than [`super::Limits::max_filter_topics`].
    #[error("filter of {count} topics, more than the limit of {limit}")]
    FilterTooLarge {
        /// The number of topics that the filter claims to have.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A filter is larger than [`super::Limits::max_filter_bytes`].
    #[error("filter of more than {limit} bytes")]
    FilterTooLong {
        /// The limit.
        limit: usize,
    },
    /// A topic is longer than the topic length field of an envelope allows.
    #[error("topic of {0} bytes, more than an envelope allows")]
    TopicTooLong(usize),
    /// A handshake message does not start with "ZEEK" (`PROTOCOL.md`, section 2).
    #[error("wrong magic number {}, expected \"ZEEK\": the peer does not speak Broker's protocol", data_encoding::HEXLOWER.encode(.0))]
    WrongMagic([u8; 4]),
    /// An unknown handshake message type (`PROTOCOL.md`, section 2).
    #[error("unknown handshake message type {0}")]
    UnknownHandshakeType(u8),
    /// An unknown envelope type (`PROTOCOL.md`, section 4).
    #[error("unknown envelope type {0}")]
    UnknownEnvelopeType(u8),
    /// An unknown data-store command (`PROTOCOL.md`, section 7).
    #[error("unknown data-store command {0}")]
    UnknownCommand(u8),
    /// A number that is not a type, or the number of a type that cannot be in a log (`PROTOCOL.md`, section 12).
    #[error("type {0} cannot be in a log")]
    InvalidLogType(u32),
    /// A value in a log row has a different type than its field, or an element has a different type than the field declares.
    #[error("log value of type {found}, but its field declares {expected}")]
    LogTypeMismatch {
        /// The type of the value.
        found: &'static str,
        /// The type that the field declares.
        expected: &'static str,
    },
    /// A flag in a log batch that is not 0 or 1.
    #[error("invalid flag {0}; expected 0 or 1")]
    InvalidFlag(u8),
    /// A port in a log row has a number above 65535 or a protocol above 3.
    #[error("invalid port {number} of protocol {protocol}")]
    InvalidLogPort {
        /// The number of the port.
        number: u64,
        /// The number of the protocol.
        protocol: u32,
    },
    /// An address family in a log row that is not 4 or 6.
    #[error("unknown address family {0}; expected 4 or 6")]
    UnknownAddressFamily(u8),
    /// A log batch claims to have more fields, rows or elements than its remaining bytes can contain.
    #[error("count {0}, more than the remaining bytes can contain")]
    CountTooLarge(u64),
    /// A log batch claims to have rows, but has no fields.
    #[error("{0} log rows without fields")]
    RowsWithoutFields(u32),
    /// A JSON message that cannot be read (`PROTOCOL.md`, section 10). The offset of the error is 0.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A message of several parts that is neither an event nor a log batch (`PROTOCOL.md`, section 11). The offset of the
    /// error is 0.
    #[error(transparent)]
    Parts(#[from] PartsError),
}

/// Why a message of Zeek's ZeroMQ back end cannot be read (`PROTOCOL.md`, section 11).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// An event and a log batch have four parts.
    #[error("a message has {0} instead of 4 parts")]
    Count(usize),
    /// The sender is too long.
    #[error("a sender of {length} bytes, more than the limit of {limit}")]
    SenderTooLong {
        /// The length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The format is unknown.
    #[error("unknown format {format}; expected {expected}")]
    UnknownFormat {
        /// The format: the first 256 characters, without control characters.
        format: Box<str>,
        /// The known formats.
        expected: &'static str,
    },
    /// A command is malformed.
    #[error("an invalid command {name}: {reason}")]
    InvalidCommand {
        /// The name: the first 256 characters, without control characters.
        name: Box<str>,
        /// The reason.
        reason: &'static str,
    },
    /// The payload of a message is not an event of Zeek.
    #[error("a payload that is not an event")]
    NotAnEvent,
    /// A subscriber or a logger has sent a message.
    #[error("a message from a peer that only receives messages")]
    WrongDirection,
}

/// Why a value or message cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string, container, frame or list is too long for its length field.
    #[error("{what} of length {length} is too long; the maximum is {max}")]
    TooLong {
        /// The element that is too long.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The maximum length.
        max: usize,
    },
    /// Containers are nested deeper than [`crate::data::MAX_DEPTH`]. A peer that uses this crate would reject the value.
    #[error("containers are nested deeper than {}", crate::data::MAX_DEPTH)]
    TooDeep,
    /// The protocol of the peer has no form for the message.
    #[error("the peer's protocol cannot carry {what}")]
    NotCarried {
        /// What cannot be carried.
        what: &'static str,
    },
}

/// The error of a message of Zeek's ZeroMQ back end.
impl From<PartsError> for DecodeError {
    fn from(error: PartsError) -> Self {
        DecodeError::at(0, error.into())
    }
}

/// The error type of the nom parsers. It stores the number of bytes left, because every parser knows this number;
/// [`finish`] converts it to an offset. It is boxed, so that the `Result` of each parser stays small: results are returned
/// on the hot path.
#[derive(Debug)]
pub(crate) struct Fault(Box<FaultParts>);

#[derive(Debug)]
struct FaultParts {
    left: usize,
    path: Path,
    reason: DecodeReason,
}

impl Fault {
    #[cold]
    fn new(left: usize, reason: DecodeReason) -> Self {
        Fault(Box::new(FaultParts { left, path: Path::default(), reason }))
    }
}

impl nom::error::ParseError<&[u8]> for Fault {
    /// This crate only uses nom's complete parsers, which fail only if the input is too short.
    fn from_error_kind(input: &[u8], _: nom::error::ErrorKind) -> Self {
        Fault::new(input.len(), DecodeReason::Truncated)
    }

    fn append(_: &[u8], _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

/// The result of a parser in this layer.
pub(crate) type Parsed<'a, T> = nom::IResult<&'a [u8], T, Fault>;

/// Fails with `reason` at the start of `input`.
pub(crate) fn fail<T>(input: &[u8], reason: DecodeReason) -> Parsed<'_, T> {
    Err(nom::Err::Failure(Fault::new(input.len(), reason)))
}

/// Adds `step` to the front of an error's path.
pub(crate) fn within(step: Step) -> impl FnOnce(nom::Err<Fault>) -> nom::Err<Fault> {
    move |err| {
        err.map(|mut fault| {
            fault.0.path.prepend(step);
            fault
        })
    }
}

/// Converts the result of a parser that must consume all of `input`.
pub(crate) fn finish<T>(input: &[u8], parsed: Parsed<'_, T>) -> Result<T, DecodeError> {
    match parsed {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => {
            Err(DecodeError::at(input.len().saturating_sub(rest.len()), DecodeReason::Trailing(rest.len())))
        }
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => {
            let FaultParts { left, path, reason } = *fault.0;
            Err(DecodeError { offset: input.len().saturating_sub(left), path, reason })
        }
        // Only streaming parsers return this, and they are not used here.
        Err(nom::Err::Incomplete(_)) => Err(DecodeError::at(input.len(), DecodeReason::Truncated)),
    }
}
