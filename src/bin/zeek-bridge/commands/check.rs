//! `check`: reports the errors in a bridge's configuration without running it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::TcpSocket;
use tracing::subscriber::NoSubscriber;
use zeek_bridge::bridge::config::{
    ConfigFile, Diagnostic, Diagnostics, LinkAddress, LinkTls, References, Source,
};
use zeek_bridge::net::tls::{Backend, CredentialWarning, Tls};
use zeek_bridge::net::{HostPort, Url};

use crate::output::{Failure, Output, printable, stderr};

/// Check a bridge configuration and report all errors
///
/// Each error is a line on stderr: CONFIG.toml:LINE: KEY: the cause and a fix. A line with "warning: " reports a setting
/// that is allowed, but dangerous or probably not intended. Also checks that certificates can be loaded, that keys match,
/// and that passphrases decrypt the keys. Resolves host names, and checks that listening addresses belong to this host.
/// Sends nothing except to the resolver, and does not affect a running bridge.
///
/// Prints the links and rules of a valid configuration, and notes about the behaviour of ZeroMQ links.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration of the bridge
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let read = ConfigFile::read(&args.config);
    // Files and addresses are tested even if the configuration has errors, so that all errors are reported at once.
    let (references, mut findings) = match &read {
        Ok(file) => {
            let findings = Findings { source: &file.source, errors: Vec::new(), warnings: file.warnings() };
            (&file.references(), findings)
        }
        Err(errors) => {
            let findings = Findings {
                source: errors.source(),
                errors: errors.iter().cloned().collect(),
                warnings: Vec::new(),
            };
            (errors.references(), findings)
        }
    };
    // The warnings that are logged about files are not needed twice.
    let without_log = NoSubscriber::new;
    for (link, tls) in &references.tls {
        let loaded = tracing::subscriber::with_default(without_log(), || tls.load(link));
        test_tls(&format!("link.{link}"), tls, loaded, &mut findings);
    }
    if let Some(http) = &references.http {
        let loaded = tracing::subscriber::with_default(without_log(), || http.load());
        test_tls("bridge.http_tls", &http.tls, loaded.map(|access| access.tls), &mut findings);
    }
    for (link, websocket) in &references.websocket {
        if let Err(errors) = websocket.load(link) {
            errors.into_iter().for_each(|error| findings.error(error));
        }
    }
    for (link, zeromq) in &references.zeromq {
        let loaded = tracing::subscriber::with_default(without_log(), || zeromq.load(link));
        if let Err(errors) = loaded {
            errors.into_iter().for_each(|error| findings.error(error));
        }
    }
    test_addresses(references, &mut findings);
    test_status_socket(references, &mut findings);
    findings.report();
    match (&read, findings.errors.len()) {
        (Ok(file), 0) => summary(file),
        (_, count) => {
            let errors = if count == 1 { "error" } else { "errors" };
            Err(Failure::failed(format!("{count} {errors} in {}", args.config.display())))
        }
    }
}

/// The errors and warnings so far.
struct Findings<'s> {
    source: &'s Source,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Findings<'_> {
    fn error(&mut self, diagnostic: Diagnostic) {
        self.errors.push(self.source.locate(diagnostic));
    }

    fn warning(&mut self, diagnostic: Diagnostic) {
        self.warnings.push(self.source.locate(diagnostic));
    }

    /// Writes the errors and warnings to stderr, in the order of the file.
    fn report(&mut self) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        }
        for warning in &self.warnings {
            stderr::print_line(format_args!("warning: {warning}"));
        }
        for error in &self.errors {
            stderr::print_line(format_args!("{error}"));
        }
    }
}

/// Reports the errors and warnings about the TLS credentials under a key.
fn test_tls(path: &str, tls: &LinkTls, loaded: Result<Tls, Diagnostics>, findings: &mut Findings<'_>) {
    let mutual = match loaded.as_ref().map(Tls::certificates) {
        Ok(Some(mutual)) => mutual,
        Ok(None) => return,
        Err(_) => {
            let errors = loaded.err().into_iter().flatten();
            errors.into_iter().for_each(|error| findings.error(error));
            return;
        }
    };
    // Browsers and other HTTP clients trust their own CAs, and the server never connects.
    let is_http = path == "bridge.http_tls";
    for warning in mutual.warnings().iter() {
        if is_http
            && matches!(
                warning,
                CredentialWarning::Foreign { .. } | CredentialWarning::WrongPurpose { side: "connect", .. }
            )
        {
            continue;
        }
        let key = match warning {
            CredentialWarning::KeyExposed { .. } => "keyfile",
            CredentialWarning::PassphraseExposed { .. } => "passphrase_file",
            CredentialWarning::CaLeftOut { .. } if findings.source.contains(&format!("{path}.cafile")) => {
                "cafile"
            }
            CredentialWarning::CaLeftOut { .. } => "capath",
            CredentialWarning::PemIgnored { file, .. } | CredentialWarning::PemJoined { file, .. } => {
                file_key(tls, file)
            }
            _ => "certificate",
        };
        findings.warning(Diagnostic::new(format!("{path}.{key}"), warning.to_string()));
    }
    if let Some(files) = tls.files()
        && files.backend == Backend::Auto
        && mutual.backend() == Backend::OpenSsl
    {
        let key = format!("{path}.tls_backend");
        findings.warning(
            Diagnostic::new(
                key,
                "OpenSSL is used instead of rustls, which does not accept these certificates",
            )
            .with_hint("set tls_backend = \"openssl\" to make this explicit"),
        );
    }
}

/// Returns the key of the file that a warning names.
fn file_key(tls: &LinkTls, file: &str) -> &'static str {
    let Some(files) = tls.files() else { return "certificate" };
    let is = |path: &Path| path.display().to_string() == file;
    match () {
        () if files.cafile.as_deref().is_some_and(is) => "cafile",
        () if files.certificate.as_deref().is_some_and(is) => "certificate",
        () if files.keyfile.as_deref().is_some_and(is) => "keyfile",
        () => "capath",
    }
}

/// An address in the file.
struct Address<'a> {
    key: String,
    text: &'a str,
    is_listened_on: bool,
}

/// The result of the test of an address that has failed.
enum Problem {
    Error(Diagnostic),
    Warning(Diagnostic),
}

/// Resolves names, and tests that the addresses to listen on belong to this host. Sends nothing to a peer.
fn test_addresses(references: &References, findings: &mut Findings<'_>) {
    let http = references.http.as_ref().map(|http| http.address.to_string());
    let mut addresses = Vec::new();
    for (link, address) in &references.addresses {
        let (key, texts, is_listened_on) = match address {
            LinkAddress::Connect(targets) => ("connect", targets, false),
            LinkAddress::Listen(addresses) => ("listen", addresses, true),
        };
        let key = format!("link.{link}.{key}");
        addresses.extend(texts.iter().map(|text| Address { key: key.clone(), text, is_listened_on }));
    }
    let key = "bridge.http".to_owned();
    addresses.extend(http.iter().map(|text| Address { key: key.clone(), text, is_listened_on: true }));
    // In parallel, because a resolver may take seconds for each name.
    let problems: Vec<Option<Problem>> = std::thread::scope(|scope| {
        let threads: Vec<_> = addresses.iter().map(|address| scope.spawn(|| address.test())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    for problem in problems.into_iter().flatten() {
        match problem {
            Problem::Error(error) => findings.error(error),
            Problem::Warning(warning) => findings.warning(warning),
        }
    }
}

impl Address<'_> {
    fn test(&self) -> Option<Problem> {
        // The configuration was validated before, so the address can be parsed.
        let sockets = self.text.parse::<Url>().ok()?.sockets();
        sockets.iter().find_map(|socket| self.test_socket(socket))
    }

    fn test_socket(&self, socket: &HostPort) -> Option<Problem> {
        let text = self.text;
        let diagnostic = |message: String| Diagnostic::new(self.key.as_str(), message);
        let found = match socket.resolve() {
            Ok(found) => found,
            Err(error) => return Some(Problem::Error(diagnostic(format!("{text}: {error}")))),
        };
        if !self.is_listened_on {
            return None;
        }
        // A listener uses the first address that can be bound.
        let mut errors = Vec::new();
        for address in found {
            match bind(address) {
                Ok(()) => return None,
                Err(error) => errors.push(error),
            }
        }
        let error = errors.first()?;
        Some(match error.kind() {
            io::ErrorKind::AddrInUse => Problem::Warning(
                diagnostic(format!("{text} is in use"))
                    .with_hint("choose another port, unless the bridge itself is running there"),
            ),
            io::ErrorKind::PermissionDenied => Problem::Warning(
                diagnostic(format!("this user is not allowed to listen on {text}")).with_hint(
                    "choose a port above 1023, or run the bridge as a user that may listen on this port",
                ),
            ),
            io::ErrorKind::AddrNotAvailable => Problem::Error(
                diagnostic(format!("{text} is not an address of this host"))
                    .with_hint("use an address of this host, or 0.0.0.0 or [::] for all addresses"),
            ),
            _ => Problem::Error(
                diagnostic(format!("cannot listen on {text}: {error}")).with_hint("choose another address"),
            ),
        })
    }
}

/// Binds the address as a listener does, but does not listen, so that no peer can connect.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn test_status_socket(references: &References, findings: &mut Findings<'_>) {
    let key = "bridge.status";
    let Some(socket) = references.status_socket.as_deref() else { return };
    let is_default = !findings.source.contains(key);
    match socket.symlink_metadata() {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let message = format!("{} exists, and is not a socket", socket.display());
            findings.error(Diagnostic::new(key, message).with_hint("choose another path"));
        }
        Ok(_) => {}
        Err(_) => {
            // A path without a directory is in the current one.
            let directory = socket.parent().filter(|directory| !directory.as_os_str().is_empty());
            let directory = directory.unwrap_or_else(|| Path::new("."));
            if !can_create_in(directory) {
                let message = format!(
                    "this user cannot create the status socket {}, so `zeek-bridge run` fails as this user",
                    socket.display()
                );
                findings.warning(Diagnostic::new(key, message).with_hint(
                    "set status in [bridge] to a path in a directory that the user of the bridge may write to; systemd creates \
                     /run/zeek-bridge for the unit of `zeek-bridge run --print-unit`",
                ));
            } else if !is_default && !directory.is_dir() {
                let message = format!("the directory {} does not exist", directory.display());
                findings.warning(Diagnostic::new(key, message).with_hint(
                    "create it, unless the service manager creates it (RuntimeDirectory= of systemd)",
                ));
            }
        }
    }
}

/// Returns whether this user may create files in the directory, or the directory itself if it does not exist.
fn can_create_in(directory: &Path) -> bool {
    let Ok(directory) = std::path::absolute(directory) else { return false };
    let existing = directory.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    existing.is_some_and(|existing| existing.is_dir() && is_writable(existing))
}

fn is_writable(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Writes the settings in effect to stdout, one line per table.
fn summary(file: &ConfigFile) -> Result<(), Failure> {
    let mut output = Output::new();
    let config = &file.config;
    output.line(printable(&config.operation.to_string()).as_bytes())?;
    for link in &config.links {
        output.line(printable(&link.to_string()).as_bytes())?;
    }
    let default = if file.source.contains("rule") { "" } else { "default " };
    for rule in &config.rules {
        output.line(printable(&format!("{default}{rule}")).as_bytes())?;
    }
    for note in config.notes() {
        output.line(printable(&format!("note: {note}")).as_bytes())?;
    }
    output.flush()
}
