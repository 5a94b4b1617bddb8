//! The TLS options, and the renewal of certificates while the program runs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use zeek_bridge::net::Scheme;
use zeek_bridge::net::tls::{
    AnonymousUnavailable, Authentication, Backend, CredentialFault, Credentials, MutualTls, Passphrase,
    PemSource, Tls,
};

use super::role::Role;
use super::source::Source;
use crate::hints;
use crate::output::{Exit, Failure};
use crate::runtime::spawn;

/// The interval at which the files of the certificates are checked for changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// The environment variable of a passphrase that is not in a file.
pub(crate) const PASSPHRASE_VARIABLE: &str = "ZEEK_BRIDGE_PASSPHRASE";

/// The TLS options, by their names on the command line.
pub(crate) const TLS_OPTIONS: [&str; 8] =
    ["tls", "cafile", "capath", "certificate", "keyfile", "passphrase-file", "verify-name", "tls-backend"];

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// off: plain TCP, for Broker::disable_ssl=T. anonymous: encrypted but unauthenticated, for a Zeek without TLS options (its
    /// default). mutual: certificates on both sides; implied by the options for certificates. auto: probe the peer, then use off
    /// or anonymous (tap, publish, node and dispatch with --connect)
    #[arg(long, value_name = "off|anonymous|mutual|auto", value_enum, hide_possible_values = true)]
    tls: Option<TlsMode>,
    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,
}

/// The options for certificates.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CertificateArgs {
    /// The CA certificates that sign the peers' certificates (PEM), as in Broker::ssl_cafile
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// A directory of CA certificates, as in Broker::ssl_capath; in place of --cafile or in addition to it
    #[arg(long, value_name = "DIR")]
    capath: Option<PathBuf>,
    /// Our certificate (PEM), followed by the intermediate certificates, as in Broker::ssl_certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Our private key (PEM), as in Broker::ssl_keyfile
    #[arg(long, value_name = "FILE")]
    keyfile: Option<PathBuf>,
    /// The file with the passphrase of the key, as in Broker::ssl_passphrase; the default is ZEEK_BRIDGE_PASSPHRASE in the environment
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A DNS name or IP address that the peer's certificate must contain; the default is the host of a wss:// address. For all
    /// other addresses, every certificate of the CA is accepted by default
    #[arg(long, value_name = "NAME")]
    verify_name: Option<String>,
    /// The library for mutual TLS; auto: rustls, or OpenSSL (if built in) if only OpenSSL accepts our certificate or key
    #[arg(long, value_name = "auto|rustls|openssl", value_enum, hide_possible_values = true)]
    tls_backend: Option<TlsBackend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMode {
    Off,
    Anonymous,
    Mutual,
    Auto,
}

impl TlsMode {
    fn name(self) -> &'static str {
        match self {
            TlsMode::Off => "off",
            TlsMode::Anonymous => "anonymous",
            TlsMode::Mutual => "mutual",
            TlsMode::Auto => "auto",
        }
    }
}

/// The TLS mode of a connection, if it is known before the connection.
#[derive(Clone, Debug)]
pub(crate) enum TlsChoice {
    Fixed(Tls),
    /// Off or anonymous, depending on a probe of the peer.
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsBackend {
    Auto,
    Rustls,
    Openssl,
}

/// Added to a text that names anonymous TLS.
const ANONYMOUS_BUILD: &str =
    if cfg!(feature = "openssl") { "" } else { ", in a build with `--features openssl`" };

impl TlsArgs {
    /// Returns the TLS mode between two ends that both belong to this program. It needs no certificates of the user.
    pub(crate) fn between_own(&self) -> Result<TlsMode, Failure> {
        match self.certificates.as_options().as_slice() {
            [] => Ok(self.tls.unwrap_or(TlsMode::Off)),
            [(option, _), ..] => Err(Failure::usage(format!(
                "--{option} is for an existing peer; set the address of the peer, or use --tls mutual alone, which creates \
                 certificates"
            ))),
        }
    }

    /// Returns whether no option is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.tls.is_none() && self.certificates.as_options().is_empty()
    }

    /// Returns the name of the TLS mode, for messages and for `meta.json`.
    pub(crate) fn name(tls: &Tls) -> &'static str {
        match tls {
            Tls::Off => "off",
            Tls::Anonymous(_) => "anonymous",
            Tls::Server(_) => "server",
            _ => "mutual",
        }
    }

    /// Reads the certificates, if there are any.
    pub(crate) fn load(&self) -> Result<Tls, Failure> {
        self.load_of_side("")
    }

    /// Like [`TlsArgs::load`], for options whose names begin with this prefix.
    pub(crate) fn load_of_side(&self, prefix: &'static str) -> Result<Tls, Failure> {
        let source = Source::CommandLine { prefix };
        match self.choose(&source)? {
            TlsChoice::Fixed(tls) => Ok(tls),
            TlsChoice::Auto => Err(Failure::usage(format!(
                "{} is for commands that connect as a client (tap, publish, node and dispatch); `zeek-bridge probe \
                 HOST:PORT` shows which TLS to use",
                source.setting("tls", "auto")
            ))),
        }
    }

    /// Returns the TLS mode that these options choose, and reads the certificates, if there are any. Errors name the options as
    /// their source writes them.
    pub(crate) fn choose(&self, source: &Source) -> Result<TlsChoice, Failure> {
        let certificates = &self.certificates;
        let implying = certificates.implying();
        let excluded = |one: String, other: &str| {
            let other = source.option(other);
            Failure::usage(source.locate(format!("{one} and {other} exclude each other; remove one of them")))
        };
        match self.tls {
            None if implying.is_empty() => Err(Failure::usage(source.locate(not_set(source)))),
            None | Some(TlsMode::Mutual) => {
                certificates.mutual(source).map(|mutual| TlsChoice::Fixed(Tls::Mutual(mutual)))
            }
            Some(mode) => {
                let set = source.setting("tls", mode.name());
                if let [one, ..] = implying.as_slice() {
                    return Err(excluded(set, one));
                }
                match (mode, certificates.tls_backend) {
                    (TlsMode::Off | TlsMode::Auto, Some(_)) => Err(excluded(set, "tls-backend")),
                    (TlsMode::Off, None) => Ok(TlsChoice::Fixed(Tls::Off)),
                    (TlsMode::Auto, None) => Ok(TlsChoice::Auto),
                    (_, Some(TlsBackend::Rustls)) => Err(Failure::usage(source.locate(format!(
                        "{set} and {} exclude each other: only OpenSSL supports anonymous TLS",
                        source.setting("tls-backend", "rustls")
                    )))),
                    _ => anonymous(&set).map(TlsChoice::Fixed),
                }
            }
        }
    }

    /// Returns the TLS of a `wss://` address. The scheme selects TLS, so a mode is not needed.
    ///
    /// A client verifies the server's certificate, and may present one of its own. A server presents a certificate, and
    /// requires one of its clients if there are CA certificates.
    pub(crate) fn secure(&self, source: &Source, role: Role) -> Result<Tls, Failure> {
        let files = &self.certificates;
        let has_ca = files.cafile.is_some() || files.capath.is_some();
        let has_own = files.certificate.is_some() || files.keyfile.is_some();
        let authentication = match role {
            Role::Client if has_own => Authentication::Mutual,
            Role::Server if has_ca => Authentication::Mutual,
            Role::Client | Role::Server => Authentication::Server,
        };
        let requirement = match role {
            _ if authentication == Authentication::Mutual => {
                return files.mutual(source).map(Tls::from);
            }
            Role::Client if !has_ca => Some(format!(
                "wss:// requires {} (or {}) to verify the certificate of the server",
                source.option("cafile"),
                source.option("capath")
            )),
            Role::Server if files.certificate.is_none() || files.keyfile.is_none() => Some(format!(
                "to listen with wss://, {} and {} of this server are required; with {}, clients need a certificate, too",
                source.option("certificate"),
                source.option("keyfile"),
                source.option("cafile")
            )),
            Role::Client | Role::Server => None,
        };
        if let Some(requirement) = requirement {
            return Err(Failure::usage(source.locate(requirement)));
        }
        load(&files.credentials(authentication), source).map(Tls::from)
    }

    /// Returns the options for a Broker address that is used together with a `wss://` address. With `--tls off`, the
    /// certificates are for the latter only.
    pub(crate) fn beside_secure(&self) -> Self {
        match self.tls {
            None | Some(TlsMode::Mutual) => self.clone(),
            mode => TlsArgs { tls: mode, ..TlsArgs::default() },
        }
    }

    /// Returns why these options cannot be used with an address of this scheme, or `None` if they can.
    pub(crate) fn conflict_with(&self, scheme: Scheme) -> Option<&'static str> {
        match scheme {
            Scheme::WebSocket if !self.is_empty() => Some("ws:// has no TLS; for TLS, use wss://"),
            Scheme::ZeroMq if !self.is_empty() => Some("ZeroMQ has no TLS"),
            Scheme::SecureWebSocket if self.has_mode() => {
                Some("wss:// already selects TLS with certificates")
            }
            _ => None,
        }
    }

    /// Returns the name of the first option that is set.
    pub(crate) fn first_option(&self) -> &'static str {
        let first = self.certificates.as_options().into_iter().next();
        if self.tls.is_some() { "tls" } else { first.map_or("tls", |(name, _)| name) }
    }

    /// Sets an option from its text. The options are [`TLS_OPTIONS`].
    ///
    /// # Errors
    /// Returns the valid values.
    pub(crate) fn set(&mut self, option: &str, value: OsString) -> Result<(), String> {
        let files = &mut self.certificates;
        let file = match option {
            "cafile" => &mut files.cafile,
            "capath" => &mut files.capath,
            "certificate" => &mut files.certificate,
            "keyfile" => &mut files.keyfile,
            "passphrase-file" => &mut files.passphrase_file,
            "tls" => {
                self.tls = Some(one_of(&value)?);
                return Ok(());
            }
            "tls-backend" => {
                files.tls_backend = Some(one_of(&value)?);
                return Ok(());
            }
            _ => {
                files.verify_name = Some(value.into_string().map_err(|_| "use a DNS name or an IP address")?);
                return Ok(());
            }
        };
        *file = Some(PathBuf::from(value));
        Ok(())
    }

    /// Returns TLS options with only these certificates, which imply mutual TLS.
    pub(crate) fn of_certificates(certificates: CertificateArgs) -> Self {
        TlsArgs { tls: None, certificates }
    }

    /// Returns whether a file of certificates or keys, or a name to verify, is set.
    pub(crate) fn has_certificates(&self) -> bool {
        !self.certificates.implying().is_empty()
    }

    /// Returns whether `--tls` is set.
    pub(crate) fn has_mode(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns how well these options protect a connection. A higher number means better protection.
    pub(crate) fn strength(&self) -> u8 {
        match self.tls {
            Some(TlsMode::Off | TlsMode::Auto) => 0,
            Some(TlsMode::Anonymous) => 1,
            None | Some(TlsMode::Mutual) if self.certificates.verify_name.is_none() => 2,
            None | Some(TlsMode::Mutual) => 3,
        }
    }

    /// Returns whether these options choose a TLS mode, or imply mutual TLS.
    pub(crate) fn chooses(&self) -> bool {
        self.has_mode() || self.has_certificates()
    }
}

/// Returns the error for settings that choose no TLS mode.
pub(crate) fn not_set(source: &Source) -> String {
    let file = |option| source.setting(option, "FILE");
    format!(
        "no TLS option is set; use {} (for a Zeek without TLS options, its default{ANONYMOUS_BUILD}), {} (for \
         Broker::disable_ssl=T), or {} {} {} for mutual TLS (Broker::ssl_cafile, Broker::ssl_certificate and \
         Broker::ssl_keyfile in Zeek); `zeek-bridge probe HOST:PORT` shows which one a Zeek uses",
        source.setting("tls", "anonymous"),
        source.setting("tls", "off"),
        file("cafile"),
        file("certificate"),
        file("keyfile"),
    )
}

/// Returns anonymous TLS. `setting` is the setting that selects it.
pub(crate) fn anonymous(setting: &str) -> Result<Tls, Failure> {
    Tls::anonymous().map_err(|error| match error {
        AnonymousUnavailable::NoOpenSsl => Failure::usage(format!("{setting}: {error}")),
        error => Failure::Error(Exit::Refused, error.to_string()),
    })
}

fn one_of<T: ValueEnum>(value: &OsStr) -> Result<T, String> {
    let valid = || {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    };
    let value = value.to_str().and_then(|value| T::from_str(value, false).ok());
    value.ok_or_else(|| format!("use one of {}", valid()))
}

impl CertificateArgs {
    /// Returns the names of the set options that imply mutual TLS.
    fn implying(&self) -> Vec<&'static str> {
        self.as_options().into_iter().map(|(name, _)| name).filter(|name| *name != "tls-backend").collect()
    }

    /// Returns the set options: the name without dashes, and the value.
    pub(crate) fn as_options(&self) -> Vec<(&'static str, String)> {
        let files = [
            ("cafile", &self.cafile),
            ("capath", &self.capath),
            ("certificate", &self.certificate),
            ("keyfile", &self.keyfile),
            ("passphrase-file", &self.passphrase_file),
        ];
        let files =
            files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?.display().to_string())));
        let name = self.verify_name.iter().map(|name| ("verify-name", name.clone()));
        let backend = self.tls_backend.and_then(|backend| backend.to_possible_value());
        let backend = backend.iter().map(|value| ("tls-backend", value.get_name().to_owned()));
        files.chain(name).chain(backend).collect()
    }

    fn mutual(&self, source: &Source) -> Result<MutualTls, Failure> {
        let no_ca = self.cafile.is_none() && self.capath.is_none();
        let missing = [
            ("cafile", no_ca),
            ("certificate", self.certificate.is_none()),
            ("keyfile", self.keyfile.is_none()),
        ];
        let missing = missing.iter().filter(|(_, is_missing)| *is_missing);
        let missing: Vec<String> = missing.map(|(name, _)| source.option(name)).collect();
        if !missing.is_empty() {
            return Err(Failure::usage(source.locate(format!(
                "mutual TLS requires {} (or {}), {} and {}: {} missing",
                source.option("cafile"),
                source.option("capath"),
                source.option("certificate"),
                source.option("keyfile"),
                list(&missing)
            ))));
        }
        load(&self.credentials(Authentication::Mutual), source)
    }

    /// Returns the credentials in these files, without reading them.
    fn credentials(&self, authentication: Authentication) -> Credentials {
        Credentials {
            cafile: self.cafile.clone().map(PemSource::File),
            capath: self.capath.clone(),
            certificate: self.certificate.clone().map(PemSource::File),
            keyfile: self.keyfile.clone().map(PemSource::File),
            authentication,
            passphrase: self.passphrase(),
            verify_name: self.verify_name.clone(),
            backend: match self.tls_backend {
                None | Some(TlsBackend::Auto) => Backend::Auto,
                Some(TlsBackend::Rustls) => Backend::Rustls,
                Some(TlsBackend::Openssl) => Backend::OpenSsl,
            },
        }
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

/// Loads credentials. Errors name the options as their source writes them.
fn load(credentials: &Credentials, source: &Source) -> Result<MutualTls, Failure> {
    credentials.load().map_err(|error| match error.fault {
        CredentialFault::NoOpenSsl => {
            Failure::usage(source.locate(format!("{}: {error}", source.setting("tls-backend", "openssl"))))
        }
        _ => {
            let option =
                hints::for_credentials(error.remedy(), |option, value| source.setting(option, value));
            Failure::Error(Exit::Refused, source.locate(format!("{error}{option}")))
        }
    })
}

/// `a is`, `a and b are`, ...
fn list(names: &[String]) -> String {
    match names {
        [one] => format!("{one} is"),
        [more @ .., last] => format!("{} and {last} are", more.join(", ")),
        [] => String::new(),
    }
}

/// Reloads renewed certificates from now on: when their files change, and on SIGHUP.
pub(crate) fn keep_up(tls: &Tls) -> Result<(), Failure> {
    // SIGHUP is handled even if there is nothing to reload, because its default action ends the program.
    let mutual = tls.certificates().cloned();
    if let Some(mutual) = &mutual {
        spawn(mutual.watch_files(WATCH_INTERVAL));
    }
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failure::failed(format!("cannot listen for SIGHUP: {error}")))?;
    spawn(async move {
        while hangup.recv().await.is_some() {
            match &mutual {
                Some(mutual) => reload(mutual.clone()).await,
                None => tracing::info!("SIGHUP: nothing to reload; this program uses no certificates"),
            }
        }
    });
    Ok(())
}

async fn reload(mutual: MutualTls) {
    // `reload` reads files, and may decrypt a key, which is slow by design.
    match tokio::task::spawn_blocking(move || mutual.reload()).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => tracing::info!("SIGHUP: the certificates are unchanged"),
        Ok(Err(error)) => tracing::warn!("SIGHUP: {error}; the previous certificates stay in use"),
        Err(error) => tracing::error!("SIGHUP: cannot read the certificates: {error}"),
    }
}
