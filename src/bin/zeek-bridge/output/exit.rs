//! Exit codes, and the failures that lead to them.

use std::process::ExitCode;
use std::time::Duration;

use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::peering::{CloseReason, ErrorKind, PeeringError};
use zeek_bridge::wire::{ForeignProtocol, FrameError};

use crate::hints;

use super::stderr;

/// The section of `--help` on exit codes and output.
pub(crate) const HELP: &str = "\
Exit codes:
  0  success; also if the reader of stdout closes the pipe
  1  failure, which stderr explains; for example, an invalid line of input
  2  invalid usage; stderr shows valid options
  3  cannot connect or listen
  4  TLS failed, for example because of a certificate; or the peer refused the connection
  5  timeout
  6  the peer violated the protocol, or uses a different protocol

Data is on stdout, one JSON document per line unless stated otherwise; everything else is on stderr.
RUST_LOG sets the log level, as in other Rust programs; NO_COLOR disables colors.";

/// The reason why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The reader of stdout has closed it. The command ends, with exit code 0.
    StdoutClosed,
    /// A failure that is already reported, on stdout or stderr.
    Reported(Exit),
    /// A failure to report on stderr.
    Error(Exit, String),
}

/// The exit codes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed,
    Usage,
    Unconnected,
    Refused,
    Timeout,
    Protocol,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unconnected => 3,
            Exit::Refused => 4,
            Exit::Timeout => 5,
            Exit::Protocol => 6,
        }
    }
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure::Error(Exit::Failed, message.into())
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::Error(Exit::Usage, message.into())
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Failure::Error(Exit::Timeout, message.into())
    }

    /// Reports that the peering with `address` cannot be established.
    pub(crate) fn connect(address: &str, error: &ConnectError) -> Self {
        Failure::Error(
            exit_of(error),
            format!(
                "no peering with {address}: {error}{}{}",
                hints::for_link(address, error),
                hints::to_identify(address, error)
            ),
        )
    }

    /// Appends to the message.
    pub(crate) fn with(self, more: impl std::fmt::Display) -> Self {
        match self {
            Failure::Error(exit, message) => Failure::Error(exit, format!("{message}; {more}")),
            other => other,
        }
    }

    /// Reports that a peering with `address` was lost and could not be established again during `tried_for`.
    pub(crate) fn lost(address: &str, error: &ConnectError, tried_for: Duration) -> Self {
        let tried_for = humantime::format_duration(tried_for);
        Failure::Error(
            exit_of(error),
            format!(
                "no peering with {address} for {tried_for} after it was lost: {error}{}",
                hints::for_link(address, error)
            ),
        )
    }
}

/// Maps the failure of a connection to the documented exit codes.
fn exit_of(error: &ConnectError) -> Exit {
    match error {
        ConnectError::Dial(_) => Exit::Unconnected,
        ConnectError::Tls(_) | ConnectError::TlsTimeout(_) => Exit::Refused,
        ConnectError::Peering(error) => match error {
            PeeringError::Refused { .. } | PeeringError::ClosedInHandshake { .. } => Exit::Refused,
            PeeringError::HandshakeTimeout { .. } | PeeringError::Silent => Exit::Timeout,
            // The length is the start of a TLS handshake or alert record: TLS is enabled on one side only.
            PeeringError::Framing(FrameError::TooLarge {
                protocol: Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert),
                ..
            }) => Exit::Refused,
            PeeringError::FilterTooLarge => Exit::Failed,
            PeeringError::Session(error) if error.cause == "mechanism" => Exit::Refused,
            PeeringError::Session(error) => match error.kind {
                ErrorKind::Refused | ErrorKind::Denied | ErrorKind::Closed => Exit::Refused,
                ErrorKind::TimedOut => Exit::Timeout,
                ErrorKind::Io => Exit::Unconnected,
                ErrorKind::Local => Exit::Failed,
                _ => Exit::Protocol,
            },
            _ => Exit::Protocol,
        },
        ConnectError::Closed(CloseReason::Redundant { .. }) | ConnectError::TooManyPeers(_) => Exit::Refused,
        ConnectError::Closed(_) | ConnectError::Stream(_) => Exit::Unconnected,
        _ => Exit::Failed,
    }
}

/// Reports a failure to stderr, and returns the exit code.
pub(crate) fn code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) | Err(Failure::StdoutClosed) => ExitCode::SUCCESS,
        Err(Failure::Reported(exit)) => ExitCode::from(exit.code()),
        Err(Failure::Error(exit, message)) => {
            stderr::print_line(format_args!("error: {message}"));
            if exit == Exit::Usage {
                stderr::print_line(format_args!(""));
                stderr::print_line(format_args!("For more information, try '--help'."));
            }
            ExitCode::from(exit.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeek_bridge::data::EndpointId;
    use zeek_bridge::net::DialError;
    use zeek_bridge::net::tls::TlsError;
    use zeek_bridge::peering::SessionError;
    use zeek_bridge::wire::ErrorCode;

    use super::*;

    #[test]
    fn every_connection_error_has_an_exit_code() {
        let too_large =
            |protocol| PeeringError::Framing(FrameError::TooLarge { length: u32::MAX, limit: 1, protocol });
        let refused = PeeringError::Refused {
            peer: EndpointId::NIL,
            code: ErrorCode::PEER_INVALID,
            description: "no".into(),
        };
        let session = |kind| PeeringError::Session(SessionError { kind, cause: "c", text: "t".into() });
        for (error, code) in [
            (ConnectError::Peering(session(ErrorKind::Refused)), 4),
            (ConnectError::Peering(session(ErrorKind::TimedOut)), 5),
            (ConnectError::Peering(session(ErrorKind::Misbehaved)), 6),
            (ConnectError::Dial(DialError::ResolveTimeout(Duration::ZERO)), 3),
            (ConnectError::Dial(DialError::Connect { attempts: Vec::new(), by_name: true }), 3),
            (ConnectError::Tls(TlsError::NotTls), 4),
            (ConnectError::TlsTimeout(Duration::ZERO), 4),
            (ConnectError::Peering(refused), 4),
            (ConnectError::Peering(PeeringError::ClosedInHandshake { expected: "probe", tls: false }), 4),
            (ConnectError::Peering(too_large(Some(ForeignProtocol::TlsAlert))), 4),
            (ConnectError::Peering(too_large(Some(ForeignProtocol::ZeroMq))), 6),
            (ConnectError::Peering(too_large(None)), 6),
            (ConnectError::Peering(PeeringError::NilPeer), 6),
            (ConnectError::Peering(PeeringError::SelfConnection(EndpointId::NIL)), 6),
            (ConnectError::Peering(PeeringError::Incompatible { min: 2, max: 3 }), 6),
            (ConnectError::Peering(PeeringError::HandshakeTimeout { expected: "probe", tls: false }), 5),
            (ConnectError::Closed(CloseReason::Redundant { peer: EndpointId::NIL }), 4),
            (ConnectError::Closed(CloseReason::Lost), 3),
        ] {
            assert_eq!(exit_of(&error).code(), code, "{error}");
        }
    }
}
