//! The TLS options: what they say together, and certificates that are renewed while the program runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use zeek_bridge::net::tls::{
    AnonymousUnavailable, Backend, CredentialFault, Credentials, MutualTls, Passphrase, PemSource, Remedy,
    Tls,
};

use crate::output::{Exit, Failure};

/// How often the certificates' files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where a passphrase may be that is in no file.
pub(crate) const PASSPHRASE_VARIABLE: &str = "ZEEK_BRIDGE_PASSPHRASE";

#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// off: plain TCP, for Broker::disable_ssl=T. anonymous: what a Zeek speaks that was told nothing about TLS;
    /// encrypted, but nobody knows with whom. mutual: certificates on both sides; implied by the options for them
    #[arg(long, value_name = "off|anonymous|mutual", value_enum, hide_possible_values = true)]
    tls: Option<TlsMode>,
    #[command(flatten)]
    certificates: CertificateArgs,
}

/// What is shown to a peer, and what it has to show.
#[derive(Debug, Args)]
pub(crate) struct CertificateArgs {
    /// The CA certificates that sign the peers' (PEM), as in Broker::ssl_cafile
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// A directory of such, as in Broker::ssl_capath; instead of --cafile, or beside it
    #[arg(long, value_name = "DIR")]
    capath: Option<PathBuf>,
    /// Our certificate (PEM), and behind it those that lead to the CA, as in Broker::ssl_certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Our private key (PEM), as in Broker::ssl_keyfile
    #[arg(long, value_name = "FILE")]
    keyfile: Option<PathBuf>,
    /// The passphrase of the key, as in Broker::ssl_passphrase; without this, ZEEK_BRIDGE_PASSPHRASE in the environment
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A DNS name or IP address that the peer's certificate has to bear; without this, each of the CA's will do
    #[arg(long, value_name = "NAME")]
    verify_name: Option<String>,
    /// Which library speaks mutual TLS; auto: rustls, or OpenSSL, if built in, if only that accepts our own certificate or key
    #[arg(long, value_name = "auto|rustls|openssl", value_enum, hide_possible_values = true)]
    tls_backend: Option<TlsBackend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMode {
    Off,
    Anonymous,
    Mutual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsBackend {
    Auto,
    Rustls,
    Openssl,
}

/// The end of a sentence that names anonymous TLS.
const ANONYMOUS_BUILD: &str =
    if cfg!(feature = "openssl") { "" } else { ", in a build with `--features openssl`" };

impl TlsArgs {
    /// What is wanted between two ends that are both this program's, which need no certificates of the user's.
    pub(crate) fn between_own(&self) -> Result<TlsMode, Failure> {
        match self.certificates.as_options().as_slice() {
            [] => Ok(self.tls.unwrap_or(TlsMode::Off)),
            [(option, _), ..] => Err(Failure::usage(format!(
                "{option} is for a peer that is there already, and without one certificates are made: say where it is, \
                 or give --tls mutual alone"
            ))),
        }
    }

    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.tls.is_none() && self.certificates.as_options().is_empty()
    }

    /// In words, for people and for `meta.json`.
    pub(crate) fn name(tls: &Tls) -> &'static str {
        match tls {
            Tls::Off => "off",
            Tls::Anonymous(_) => "anonymous",
            _ => "mutual",
        }
    }

    /// Reads the certificates, if there are any.
    pub(crate) fn load(&self) -> Result<Tls, Failure> {
        let certificates = &self.certificates;
        let implying = certificates.implying();
        match self.tls {
            None if implying.is_empty() => Err(Failure::usage(format!(
                "TLS or not? Zeek has it on by default. Choose --tls anonymous (for a Zeek that was told nothing about \
                 TLS{ANONYMOUS_BUILD}), --tls off (for one with Broker::disable_ssl=T), or mutual TLS with --cafile \
                 FILE --certificate FILE --keyfile FILE (what Broker::ssl_cafile, Broker::ssl_certificate and \
                 Broker::ssl_keyfile are in Zeek). `zeek-bridge probe HOST:PORT` tells which of them a Zeek speaks"
            ))),
            None | Some(TlsMode::Mutual) => certificates.mutual().map(Tls::Mutual),
            Some(mode) => {
                let name = if mode == TlsMode::Off { "off" } else { "anonymous" };
                if let [one, ..] = implying.as_slice() {
                    return Err(Failure::usage(format!(
                        "--tls {name} does not go with {one}: leave out the one or the other"
                    )));
                }
                match (mode, certificates.tls_backend) {
                    (TlsMode::Off, Some(_)) => Err(Failure::usage(
                        "--tls off does not go with --tls-backend: leave out the one or the other",
                    )),
                    (TlsMode::Off, None) => Ok(Tls::Off),
                    (_, Some(TlsBackend::Rustls)) => Err(Failure::usage(
                        "--tls anonymous does not go with --tls-backend rustls: only OpenSSL has anonymous TLS",
                    )),
                    _ => Tls::anonymous().map_err(|error| match error {
                        AnonymousUnavailable::NoOpenSsl => {
                            Failure::usage(format!("--tls anonymous: {error}"))
                        }
                        error => Failure::Error(Exit::Refused, error.to_string()),
                    }),
                }
            }
        }
    }
}

impl CertificateArgs {
    /// The certificates for a peer that asks for one, if any are given.
    pub(crate) fn load_if_given(&self) -> Result<Option<MutualTls>, Failure> {
        if self.implying().is_empty() { Ok(None) } else { self.mutual().map(Some) }
    }

    /// The options by which mutual TLS is meant.
    fn implying(&self) -> Vec<&'static str> {
        self.as_options().into_iter().map(|(name, _)| name).filter(|name| *name != "--tls-backend").collect()
    }

    /// All that are given, with their values.
    pub(crate) fn as_options(&self) -> Vec<(&'static str, String)> {
        let files = [
            ("--cafile", &self.cafile),
            ("--capath", &self.capath),
            ("--certificate", &self.certificate),
            ("--keyfile", &self.keyfile),
            ("--passphrase-file", &self.passphrase_file),
        ];
        let files =
            files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?.display().to_string())));
        let name = self.verify_name.iter().map(|name| ("--verify-name", name.clone()));
        let backend = self.tls_backend.and_then(|backend| backend.to_possible_value());
        let backend = backend.iter().map(|value| ("--tls-backend", value.get_name().to_owned()));
        files.chain(name).chain(backend).collect()
    }

    fn mutual(&self) -> Result<MutualTls, Failure> {
        let no_ca = self.cafile.is_none() && self.capath.is_none();
        let missing = [
            ("--cafile", no_ca),
            ("--certificate", self.certificate.is_none()),
            ("--keyfile", self.keyfile.is_none()),
        ];
        let missing: Vec<&str> = missing.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let (false, Some(certificate), Some(keyfile)) = (no_ca, &self.certificate, &self.keyfile) else {
            return Err(Failure::usage(format!(
                "mutual TLS takes --cafile (or --capath), --certificate and --keyfile, all three: {} missing",
                list(&missing)
            )));
        };
        let credentials = Credentials {
            cafile: self.cafile.clone().map(PemSource::File),
            capath: self.capath.clone(),
            certificate: PemSource::File(certificate.clone()),
            keyfile: PemSource::File(keyfile.clone()),
            passphrase: self.passphrase(),
            verify_name: self.verify_name.clone(),
            backend: match self.tls_backend {
                None | Some(TlsBackend::Auto) => Backend::Auto,
                Some(TlsBackend::Rustls) => Backend::Rustls,
                Some(TlsBackend::Openssl) => Backend::OpenSsl,
            },
        };
        credentials.load().map_err(|error| match error.fault {
            CredentialFault::NoOpenSsl => Failure::usage(format!("--tls-backend openssl: {error}")),
            _ => {
                let option = match error.remedy() {
                    Some(Remedy::Passphrase) => " (`--passphrase-file FILE`)",
                    Some(Remedy::OpenSsl) => " (`--tls-backend openssl`)",
                    _ => "",
                };
                Failure::Error(Exit::Refused, format!("{error}{option}"))
            }
        })
    }

    fn passphrase(&self) -> Option<Passphrase> {
        let in_environment = || {
            let passphrase =
                std::env::var_os(PASSPHRASE_VARIABLE).filter(|passphrase| !passphrase.is_empty());
            passphrase.map(|passphrase| Passphrase::new(passphrase.as_encoded_bytes()))
        };
        self.passphrase_file.clone().map(Passphrase::from_file).or_else(in_environment)
    }
}

/// `a is`, `a and b are`, ...
fn list(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is"),
        [more @ .., last] => format!("{} and {last} are", more.join(", ")),
        [] => String::new(),
    }
}

/// From now on takes up certificates that are renewed: when their files change, and on SIGHUP.
pub(crate) fn keep_up(tls: &Tls) -> Result<(), Failure> {
    let mutual = match tls {
        Tls::Mutual(mutual) => Some(mutual.clone()),
        // A SIGHUP is no reason to end, whatever there is to reload.
        _ => None,
    };
    if let Some(mutual) = &mutual {
        tokio::spawn(mutual.watch_files(LOOK_EVERY));
    }
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())
            .map_err(|error| Failure::failed(format!("cannot listen for SIGHUP: {error}")))?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                match &mutual {
                    Some(mutual) => reload(mutual.clone()).await,
                    None => tracing::info!("SIGHUP: there are no certificates to read again"),
                }
            }
        });
    }
    Ok(())
}

#[cfg(unix)]
async fn reload(mutual: MutualTls) {
    // It reads files, and may open a key for a while.
    match tokio::task::spawn_blocking(move || mutual.reload()).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => tracing::info!("SIGHUP: the certificates are the same as before"),
        Ok(Err(error)) => tracing::warn!("SIGHUP: {error}; what was loaded before stays in use"),
        Err(error) => tracing::error!("SIGHUP: the certificates could not be read: {error}"),
    }
}
