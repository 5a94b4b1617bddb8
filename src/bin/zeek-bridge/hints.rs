//! The options of this program that follow the advice in an error of the library, which names no options.

use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::ConnectionFault;
use zeek_bridge::net::tls::{Refusal, Remedy, TlsError};

/// Returns the options that follow the advice in the text of this error.
pub(crate) fn for_link(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Tls(error) | ConnectError::Stream(ConnectionFault::Tls(error)) => for_tls(error),
        _ => "",
    }
}

/// Returns the options that follow the advice in the text of this error.
pub(crate) fn for_tls(error: &TlsError) -> &'static str {
    match error {
        TlsError::NoPeerCertificate
        | TlsError::NoCommonCipher(_)
        | TlsError::Refused(Refusal::HandshakeFailure) => " (--tls anonymous)",
        TlsError::NotAnonymous(_) => " (--cafile, --certificate and --keyfile)",
        TlsError::Certificate(refused) if cfg!(feature = "openssl") && refused.fault.may_be_for_openssl() => {
            " (--tls-backend openssl)"
        }
        _ => "",
    }
}

/// Returns the setting that is the remedy. `setting` formats an option and its value.
pub(crate) fn for_credentials(remedy: Option<Remedy>, setting: impl Fn(&str, &str) -> String) -> String {
    match remedy {
        Some(Remedy::Passphrase) => format!(" (`{}`)", setting("passphrase-file", "FILE")),
        Some(Remedy::OpenSsl) => format!(" (`{}`)", setting("tls-backend", "openssl")),
        _ => String::new(),
    }
}
