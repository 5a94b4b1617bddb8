//! `check`: what is wrong with a bridge's configuration, without running it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::TcpSocket;
use tracing::subscriber::NoSubscriber;
use zeek_bridge::bridge::config::{ConfigFile, InvalidConfig, LinkTls, Mistake, Place, References, Source};
use zeek_bridge::net::HostPort;
use zeek_bridge::net::tls::{Backend, CredentialWarning, Tls};

use crate::output::{Failure, Output, printable, stderr};

/// Check a bridge configuration and report all errors
///
/// Each error is a line on stderr: CONFIG.toml:LINE: KEY: the cause and a fix. A line with "warning: " reports what is
/// allowed but dangerous or probably not intended. Also checks that certificates load, keys match and passphrases open
/// them, resolves host names, and checks that listening addresses belong to this host. Sends nothing except to the
/// resolver, and does not affect a running bridge.
///
/// Without errors, prints the links and rules as they will apply.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration of the bridge
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let read = ConfigFile::read(&args.config);
    // What a file refers to is tested also if there are mistakes elsewhere in it, so that all are reported at once.
    let (references, mut findings) = match &read {
        Ok(file) => {
            let findings = Findings { source: &file.source, mistakes: Vec::new(), warnings: file.warnings() };
            (&file.references(), findings)
        }
        Err(invalid) => {
            let InvalidConfig { source, mistakes, references, .. } = invalid;
            (&**references, Findings { source, mistakes: mistakes.clone(), warnings: Vec::new() })
        }
    };
    for (link, tls) in &references.tls {
        test_tls(link, tls, &mut findings);
    }
    test_addresses(references, &mut findings);
    test_status_socket(references, &mut findings);
    findings.tell();
    match (&read, findings.mistakes.len()) {
        (Ok(file), 0) => summary(file),
        (_, count) => {
            let mistakes = if count == 1 { "mistake" } else { "mistakes" };
            Err(Failure::failed(format!("{count} {mistakes} in {}", args.config.display())))
        }
    }
}

/// What was found so far.
struct Findings<'s> {
    source: &'s Source,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Findings<'_> {
    fn mistake(&mut self, path: String, message: String) {
        self.mistakes.push(self.source.mistake(path, message));
    }

    fn warning(&mut self, path: String, message: String) {
        self.warnings.push(self.source.mistake(path, message));
    }

    /// On stderr, in the order of the file.
    fn tell(&mut self) {
        for list in [&mut self.mistakes, &mut self.warnings] {
            list.sort_by_key(|mistake| (mistake.line, mistake.column));
        }
        for warning in &self.warnings {
            stderr::print_line(format_args!("warning: {warning}"));
        }
        for mistake in &self.mistakes {
            stderr::print_line(format_args!("{mistake}"));
        }
    }
}

/// Loads what mutual TLS takes.
fn test_tls(link: &str, tls: &LinkTls, findings: &mut Findings<'_>) {
    // What it would log is said here, with the line.
    let loaded = tracing::subscriber::with_default(NoSubscriber::new(), || tls.load(link));
    let mutual = match loaded {
        Ok(Tls::Mutual(mutual)) => mutual,
        Ok(_) => return,
        Err(mistakes) => {
            findings.mistakes.extend(mistakes.into_iter().map(|mistake| findings.source.find(mistake)));
            return;
        }
    };
    for warning in mutual.warnings().iter() {
        let key = match warning {
            CredentialWarning::KeyExposed { .. } => "keyfile",
            CredentialWarning::CaLeftOut { .. } if findings.source.says(&format!("link.{link}.cafile")) => {
                "cafile"
            }
            CredentialWarning::CaLeftOut { .. } => "capath",
            CredentialWarning::PemIgnored { file, .. } | CredentialWarning::PemJoined { file, .. } => {
                file_key(tls, file)
            }
            _ => "certificate",
        };
        findings.warning(format!("link.{link}.{key}"), warning.to_string());
    }
    if let LinkTls::Mutual(files) = tls
        && files.backend == Backend::Auto
        && mutual.backend() == Backend::OpenSsl
    {
        let message = "these certificates take OpenSSL, which is used instead of rustls; tls_backend = \"openssl\" \
                       leaves no doubt";
        findings.warning(format!("link.{link}.tls_backend"), message.to_owned());
    }
}

/// The key of the file of certificates that a warning names.
fn file_key(tls: &LinkTls, file: &str) -> &'static str {
    let LinkTls::Mutual(files) = tls else { return "certificate" };
    let is = |path: &Path| path.display().to_string() == file;
    match () {
        () if files.cafile.as_deref().is_some_and(is) => "cafile",
        () if is(&files.certificate) => "certificate",
        () if is(&files.keyfile) => "keyfile",
        () => "capath",
    }
}

/// An address somewhere in the file.
struct Address<'a> {
    path: String,
    text: &'a str,
    is_listened_on: bool,
}

/// What is wrong with an address.
enum Trouble {
    Mistake(String),
    Warning(String),
}

/// Looks names up, and whether what is to be listened on is this host's. Nothing is sent to anyone.
fn test_addresses(references: &References, findings: &mut Findings<'_>) {
    let metrics = references.metrics.map(|address| address.to_string());
    let mut addresses = Vec::new();
    for (link, place) in &references.places {
        let (key, texts, is_listened_on) = match place {
            Place::Connect(targets) => ("connect", targets, false),
            Place::Listen(addresses) => ("listen", addresses, true),
        };
        let path = format!("link.{link}.{key}");
        addresses.extend(texts.iter().map(|text| Address { path: path.clone(), text, is_listened_on }));
    }
    let path = "bridge.metrics".to_owned();
    addresses.extend(metrics.iter().map(|text| Address { path: path.clone(), text, is_listened_on: true }));
    // Each may take its time.
    let troubles: Vec<Option<Trouble>> = std::thread::scope(|scope| {
        let threads: Vec<_> = addresses.iter().map(|address| scope.spawn(|| address.test())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    for (address, trouble) in addresses.into_iter().zip(troubles) {
        match trouble {
            Some(Trouble::Mistake(message)) => findings.mistake(address.path, message),
            Some(Trouble::Warning(message)) => findings.warning(address.path, message),
            None => {}
        }
    }
}

impl Address<'_> {
    fn test(&self) -> Option<Trouble> {
        let text = self.text;
        // The configuration was checked before, so that it can be parsed.
        let found = match text.parse::<HostPort>().ok()?.resolve() {
            Ok(found) => found,
            Err(error) => return Some(Trouble::Mistake(format!("{text}: {error}"))),
        };
        if !self.is_listened_on {
            return None;
        }
        // The first that will do is listened on.
        let mut errors = Vec::new();
        for address in found {
            match bind(address) {
                Ok(()) => return None,
                Err(error) => errors.push(error),
            }
        }
        let error = errors.first()?;
        Some(match error.kind() {
            io::ErrorKind::AddrInUse => Trouble::Warning(format!(
                "{text} is in use; unless the bridge itself is running there, choose another port"
            )),
            io::ErrorKind::PermissionDenied => Trouble::Warning(format!(
                "this user may not listen on {text}; if the bridge's user may not either, choose a port above 1023"
            )),
            io::ErrorKind::AddrNotAvailable => Trouble::Mistake(format!(
                "{text} is no address of this host; give one of its own, or 0.0.0.0 or [::] for all of them"
            )),
            _ => Trouble::Mistake(format!("{text} cannot be listened on: {error}; choose another address")),
        })
    }
}

/// Takes the address as one does who listens, but does not listen, so that nobody could connect here by mistake.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn test_status_socket(references: &References, findings: &mut Findings<'_>) {
    let path = "bridge.status";
    let Some(socket) = references.status_socket.as_deref().filter(|_| findings.source.says(path)) else {
        return;
    };
    let shown = socket.display();
    match socket.symlink_metadata() {
        Ok(metadata) if !is_socket(&metadata) => {
            findings
                .mistake(path.to_owned(), format!("{shown} is there, and is no socket; choose another path"));
        }
        Ok(_) => {}
        Err(_) => {
            // A path without a directory is in the current one.
            let directory = socket.parent().filter(|directory| !directory.as_os_str().is_empty());
            if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
                findings.warning(path.to_owned(), no_directory(directory));
            }
        }
    }
}

fn no_directory(directory: &Path) -> String {
    format!(
        "there is no directory {} now; unless the service manager makes it, as systemd's RuntimeDirectory does, make it",
        directory.display()
    )
}

#[cfg(unix)]
fn is_socket(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &std::fs::Metadata) -> bool {
    true
}

/// What applies, a line each.
fn summary(file: &ConfigFile) -> Result<(), Failure> {
    let mut output = Output::new();
    let config = &file.config;
    output.line(printable(&config.operation.to_string()).as_bytes())?;
    for link in &config.links {
        output.line(printable(&link.to_string()).as_bytes())?;
    }
    let default = if file.source.says("rule") { "" } else { "default " };
    for rule in &config.rules {
        output.line(printable(&format!("{default}{rule}")).as_bytes())?;
    }
    output.flush()
}
