//! What can be wrong with bytes, and where.

use std::fmt;

use crate::data::{Path, Step};

/// Bytes that are not what they should be: where, inside what, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DecodeError {
    offset: usize,
    path: Path,
    reason: DecodeReason,
}

impl DecodeError {
    /// How many bytes of the input stand before the fault.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// From the outermost container to the element that the fault is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong there.
    #[must_use]
    pub fn reason(&self) -> &DecodeReason {
        &self.reason
    }

    /// The same fault, in an input that has `bytes` more before it.
    pub(crate) fn shifted(mut self, bytes: usize) -> Self {
        self.offset = self.offset.saturating_add(bytes);
        self
    }

    pub(crate) fn at(offset: usize, reason: DecodeReason) -> Self {
        DecodeError { offset, path: Path::default(), reason }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}", self.offset)?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The input stops inside of something.
    #[error("the input ends too early")]
    Truncated,
    /// Something complete was read and more follows.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A varbyte of more than 5 bytes or more than 32 bits (section 1).
    #[error("a varbyte of more than 32 bits")]
    VarbyteOverflow,
    /// A value tag beyond 14 (section 5).
    #[error("unknown value tag {0}")]
    UnknownValueTag(u8),
    /// A port's protocol beyond 3.
    #[error("unknown port protocol {0}")]
    UnknownProtocol(u8),
    /// A prefix length that its address cannot have.
    #[error("a prefix length of {0} (counted on 128 bits) does not fit the address")]
    InvalidPrefixLength(u8),
    /// A set with an element twice.
    #[error("a set holds the same element twice")]
    DuplicateElement,
    /// A table with a key twice.
    #[error("a table holds the same key twice")]
    DuplicateKey,
    /// Containers inside one another beyond [`super::Limits::max_depth`].
    #[error("containers nest deeper than the limit of {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More values than [`super::Limits::max_elements`].
    #[error("more values in one message than the limit of {limit}")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// More topics in a filter than [`super::Limits::max_filter_topics`].
    #[error("{count} topics in a filter, more than the limit of {limit}")]
    FilterTooLarge {
        /// How many the filter says it has.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// More bytes in a filter than [`super::Limits::max_filter_bytes`].
    #[error("a filter of more than the limit of {limit} bytes")]
    FilterTooLong {
        /// The limit.
        limit: usize,
    },
    /// A topic longer than an envelope could ever name.
    #[error("a topic of {0} bytes, which no envelope can carry")]
    TopicTooLong(usize),
    /// A handshake message that does not start with "ZEEK" (section 2).
    #[error("wrong magic number {}, expected \"ZEEK\": the peer does not speak Broker's protocol", data_encoding::HEXLOWER.encode(.0))]
    WrongMagic([u8; 4]),
    /// A handshake message type that is not in section 2.
    #[error("unknown handshake message type {0}")]
    UnknownHandshakeType(u8),
    /// An envelope type that is not in section 4.
    #[error("unknown envelope type {0}")]
    UnknownEnvelopeType(u8),
    /// A data-store command that is not in section 7.
    #[error("unknown data-store command {0}")]
    UnknownCommand(u8),
}

/// A value that the wire cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string, container, frame or list longer than its length field can say.
    #[error("{what} of length {length} is too long for the wire: at most {max}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The most there may be.
        max: usize,
    },
    /// Containers nest deeper than [`crate::data::MAX_DEPTH`]; no peer of this crate would take it.
    #[error("containers nest deeper than {}", crate::data::MAX_DEPTH)]
    TooDeep,
}

/// The error inside the nom parsers. The position is kept as "bytes left", which every parser
/// knows; [`finish`] turns it into an offset. Boxed, because every parser hands its result up through
/// the place that a fault would take.
#[derive(Debug)]
pub(super) struct Fault(Box<FaultParts>);

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
    /// nom's own complete parsers fail only when the input is too short.
    fn from_error_kind(input: &[u8], _: nom::error::ErrorKind) -> Self {
        Fault::new(input.len(), DecodeReason::Truncated)
    }

    fn append(_: &[u8], _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

/// The result of a parser in this layer.
pub(super) type Parsed<'a, T> = nom::IResult<&'a [u8], T, Fault>;

/// Fails at `input`.
pub(super) fn fail<T>(input: &[u8], reason: DecodeReason) -> Parsed<'_, T> {
    Err(nom::Err::Failure(Fault::new(input.len(), reason)))
}

/// Names what the error is inside of.
pub(super) fn within(step: Step) -> impl FnOnce(nom::Err<Fault>) -> nom::Err<Fault> {
    move |err| {
        err.map(|mut fault| {
            fault.0.path.prepend(step);
            fault
        })
    }
}

/// Ends a parse that has to have consumed all of `input`.
pub(super) fn finish<T>(input: &[u8], parsed: Parsed<'_, T>) -> Result<T, DecodeError> {
    match parsed {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => {
            Err(DecodeError::at(input.len().saturating_sub(rest.len()), DecodeReason::Trailing(rest.len())))
        }
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => {
            let FaultParts { left, path, reason } = *fault.0;
            Err(DecodeError { offset: input.len().saturating_sub(left), path, reason })
        }
        // Only streaming parsers ask for more; none is used here.
        Err(nom::Err::Incomplete(_)) => Err(DecodeError::at(input.len(), DecodeReason::Truncated)),
    }
}
