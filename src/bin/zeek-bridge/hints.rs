//! The options of this program for the hint in an error of the library. The library itself names no options.

use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::ConnectionFault;
use zeek_bridge::net::tls::{CertificateFault, Refusal, Remedy, TlsError};
use zeek_bridge::peering::PeeringError;
use zeek_bridge::wire::{ForeignProtocol, FrameError};

use crate::args::scheme;

/// Returns the options that implement the advice in the text of this error about a connection with `address`.
pub(crate) fn for_link(address: &str, error: &ConnectError) -> &'static str {
    match error {
        // The scheme of the address selects TLS, not an option.
        ConnectError::Tls(TlsError::NotTls) | ConnectError::TlsTimeout(_)
            if scheme(address).is_websocket() =>
        {
            "; use ws:// for a server without TLS"
        }
        ConnectError::Tls(
            TlsError::NoPeerCertificate
            | TlsError::NoCommonCipher(_)
            | TlsError::NotAnonymous(_)
            | TlsError::Refused(Refusal::HandshakeFailure),
        ) if scheme(address).is_websocket() => "",
        ConnectError::Tls(error) | ConnectError::Stream(ConnectionFault::Tls(error)) => for_tls(error),
        ConnectError::TlsTimeout(_) => " (--tls off)",
        ConnectError::Peering(error) => for_peering(error),
        _ => "",
    }
}

/// Returns the options for a handshake that failed without TLS because the peer may expect TLS.
fn for_peering(error: &PeeringError) -> &'static str {
    match error {
        PeeringError::ClosedInHandshake { tls: false, .. }
        | PeeringError::HandshakeTimeout { tls: false, .. }
        | PeeringError::Framing(FrameError::TooLarge {
            protocol: Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert),
            ..
        }) => " (--tls anonymous, or --cafile, --certificate and --keyfile)",
        _ => "",
    }
}

/// Returns the command that identifies the service at this address, if the service uses a different TLS mode or may not be a
/// Broker endpoint.
pub(crate) fn to_identify(address: &str, error: &ConnectError) -> String {
    let may_be_other_service = match error {
        ConnectError::TlsTimeout(_) => true,
        ConnectError::Tls(error) => matches!(
            error,
            TlsError::NotTls
                | TlsError::NoPeerCertificate
                | TlsError::NoCommonCipher(_)
                | TlsError::NotAnonymous(_)
                | TlsError::Refused(Refusal::HandshakeFailure)
        ),
        ConnectError::Peering(error) => matches!(
            error,
            PeeringError::ClosedInHandshake { .. }
                | PeeringError::HandshakeTimeout { .. }
                | PeeringError::Framing(_)
        ),
        _ => false,
    };
    if may_be_other_service {
        format!("; identify the service with `zeek-bridge probe {address}`")
    } else {
        String::new()
    }
}

/// Returns the options that implement the advice in the text of this error.
pub(crate) fn for_tls(error: &TlsError) -> &'static str {
    match error {
        TlsError::NoPeerCertificate
        | TlsError::NoCommonCipher(_)
        | TlsError::Refused(Refusal::HandshakeFailure) => " (--tls anonymous)",
        TlsError::NotTls => " (--tls off)",
        TlsError::NotAnonymous(_) => " (--cafile, --certificate and --keyfile)",
        TlsError::Certificate(refused) if cfg!(feature = "openssl") && refused.fault.may_be_for_openssl() => {
            " (--tls-backend openssl)"
        }
        TlsError::Certificate(refused) if matches!(refused.fault, CertificateFault::WrongName(_)) => {
            " (--verify-name)"
        }
        _ => "",
    }
}

/// Returns the setting that fixes the error. `setting` formats an option and its value.
pub(crate) fn for_credentials(remedy: Option<Remedy>, setting: impl Fn(&str, &str) -> String) -> String {
    match remedy {
        Some(Remedy::Passphrase) => format!(" (`{}`)", setting("passphrase-file", "FILE")),
        Some(Remedy::OpenSsl) => format!(" (`{}`)", setting("tls-backend", "openssl")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeek_bridge::peering::CloseReason;

    use super::*;

    #[test]
    fn a_different_tls_mode_and_a_different_service_have_a_hint() {
        let framing = |protocol| {
            PeeringError::Framing(FrameError::TooLarge {
                length: u32::MAX,
                limit: 1,
                protocol: Some(protocol),
            })
        };
        let closed = |tls| PeeringError::ClosedInHandshake { expected: "probe", tls };
        for (error, options, identifies) in [
            (ConnectError::Tls(TlsError::NotTls), "--tls off", true),
            (ConnectError::TlsTimeout(Duration::ZERO), "--tls off", true),
            (ConnectError::Tls(TlsError::NoPeerCertificate), "--tls anonymous", true),
            (ConnectError::Peering(framing(ForeignProtocol::TlsAlert)), "--tls anonymous", true),
            (ConnectError::Peering(closed(false)), "--tls anonymous", true),
            (ConnectError::Peering(closed(true)), "", true),
            (ConnectError::Peering(framing(ForeignProtocol::Http)), "", true),
            (ConnectError::Closed(CloseReason::Lost), "", false),
        ] {
            let hint = for_link("a:1", &error);
            assert!(hint.contains(options) && hint.is_empty() == options.is_empty(), "{error}: {hint}");
            assert!(!for_link("wss://a:1", &error).contains("--tls off"), "{error}");
            let command = to_identify("a:1", &error);
            assert_eq!(command.contains("zeek-bridge probe a:1"), identifies, "{error}: {command}");
        }
    }
}
