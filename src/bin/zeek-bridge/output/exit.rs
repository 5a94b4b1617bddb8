//! How the program ends: the exit codes and what belongs to which.

use std::process::ExitCode;
use std::time::Duration;

use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::tls::{Refusal, TlsError};
use zeek_bridge::peering::{CloseReason, PeeringError};
use zeek_bridge::wire::{ForeignProtocol, FrameError};

use super::stderr;

/// What `--help` says about the exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0  all is well; also when stdout was closed by its reader
  1  something failed, and stderr says what; for example, a line of the input was bad
  2  wrong usage: stderr says what to choose
  3  could not connect, or not listen
  4  TLS failed (wrong certificates included), or the peer refused
  5  timeout: what was waited for did not come
  6  the peer broke the protocol, or does not speak it

Data is on stdout, one JSON document a line unless said otherwise; everything else is on stderr.
RUST_LOG sets the level of the log as for any Rust program; NO_COLOR turns colors off.";

/// Why a command did not come to its good end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read stdout has had enough: a reason to end, but nothing went wrong.
    StdoutClosed,
    /// It did not go well, and stdout says how.
    Told(Exit),
    /// It went wrong: how, and what to tell the user.
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

    /// No peering with `address`.
    pub(crate) fn link(address: &str, error: &ConnectError) -> Self {
        Failure::Error(exit_of(error), format!("no peering with {address}: {error}{}", options(error)))
    }

    /// The same failure, with more to it.
    pub(crate) fn with(self, more: impl std::fmt::Display) -> Self {
        match self {
            Failure::Error(exit, words) => Failure::Error(exit, format!("{words}; {more}")),
            other => other,
        }
    }

    /// A peering with `address` was lost, and could not be established again for this time.
    pub(crate) fn lost(address: &str, error: &ConnectError, tried_for: Duration) -> Self {
        let tried_for = humantime::format_duration(tried_for);
        Failure::Error(
            exit_of(error),
            format!("no peering with {address} for {tried_for} after it was lost: {error}{}", options(error)),
        )
    }
}

/// The options that do what the end of the error's text advises.
fn options(error: &ConnectError) -> &'static str {
    let ConnectError::Tls(error) = error else { return "" };
    match error {
        TlsError::PeerShowedNone
        | TlsError::Incompatible(_)
        | TlsError::Refused(Refusal::HandshakeFailure) => " (--tls anonymous)",
        TlsError::NotAnonymous(_) => " (--cafile, --certificate and --keyfile)",
        _ => "",
    }
}

/// Which exit code tells of a link that did not come about.
fn exit_of(error: &ConnectError) -> Exit {
    match error {
        ConnectError::Dial(_) => Exit::Unconnected,
        ConnectError::Tls(_) | ConnectError::TlsTimeout(_) => Exit::Refused,
        ConnectError::Peering(error) => match error {
            PeeringError::Refused { .. } | PeeringError::ClosedInHandshake { .. } => Exit::Refused,
            PeeringError::HandshakeTimeout { .. } | PeeringError::Silent => Exit::Timeout,
            // A TLS handshake or alert: one side has TLS on, the other off.
            PeeringError::Framing(FrameError::TooLarge {
                protocol: Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert),
                ..
            }) => Exit::Refused,
            PeeringError::FilterTooLarge => Exit::Failed,
            _ => Exit::Protocol,
        },
        ConnectError::Closed(CloseReason::Redundant { .. }) | ConnectError::TooManyPeers(_) => Exit::Refused,
        ConnectError::Closed(_) | ConnectError::Stream(_) => Exit::Unconnected,
        _ => Exit::Failed,
    }
}

/// Tells the user, and the shell.
pub(crate) fn code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) | Err(Failure::StdoutClosed) => ExitCode::SUCCESS,
        Err(Failure::Told(exit)) => ExitCode::from(exit.code()),
        Err(Failure::Error(exit, message)) => {
            stderr::print_line(format_args!("error: {message}"));
            if exit == Exit::Usage {
                stderr::print_line(format_args!("\nFor more information, try '--help'."));
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
    use zeek_bridge::wire::ErrorCode;

    use super::*;

    #[test]
    fn every_failure_to_peer_has_its_code() {
        let too_large =
            |protocol| PeeringError::Framing(FrameError::TooLarge { length: u32::MAX, limit: 1, protocol });
        let refused = PeeringError::Refused {
            peer: EndpointId::NIL,
            code: ErrorCode::PEER_INVALID,
            description: "no".into(),
        };
        for (error, code) in [
            (ConnectError::Dial(DialError::ResolveTimeout(Duration::ZERO)), 3),
            (ConnectError::Dial(DialError::Connect { attempts: Vec::new(), by_name: true }), 3),
            (ConnectError::Tls(TlsError::NotTls), 4),
            (ConnectError::TlsTimeout(Duration::ZERO), 4),
            (ConnectError::Peering(refused), 4),
            (ConnectError::Peering(PeeringError::ClosedInHandshake { expected: "probe" }), 4),
            (ConnectError::Peering(too_large(Some(ForeignProtocol::TlsAlert))), 4),
            (ConnectError::Peering(too_large(Some(ForeignProtocol::ZeroMq))), 6),
            (ConnectError::Peering(too_large(None)), 6),
            (ConnectError::Peering(PeeringError::NilPeer), 6),
            (ConnectError::Peering(PeeringError::SelfConnection(EndpointId::NIL)), 6),
            (ConnectError::Peering(PeeringError::Incompatible { min: 2, max: 3 }), 6),
            (ConnectError::Peering(PeeringError::HandshakeTimeout { expected: "probe" }), 5),
            (ConnectError::Closed(CloseReason::Redundant { peer: EndpointId::NIL }), 4),
            (ConnectError::Closed(CloseReason::Lost), 3),
        ] {
            assert_eq!(exit_of(&error).code(), code, "{error}");
        }
    }
}
