//! `check`: what is wrong with a bridge's configuration, without running it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use tokio::net::TcpSocket;
use tracing::subscriber::NoSubscriber;
use zeek_bridge::bridge::config::{BridgeConfig, ConfigFile, LinkConfig, LinkTls, Mistake, Place, Source};
use zeek_bridge::net::tls::{Backend, CredentialWarning, Tls};

use crate::args::CheckArgs;
use crate::exit::{self, Failure};
use crate::output::Output;

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let file = ConfigFile::read(&args.config);
    let mut findings =
        Findings { source: &file.source, mistakes: file.mistakes.clone(), warnings: Vec::new() };
    if file.mistakes.is_empty() {
        findings.warnings = file.warnings();
    }
    for link in &file.config.links {
        test_tls(link, &mut findings);
    }
    test_addresses(&file.config, &mut findings);
    test_status_socket(&file, &mut findings);
    findings.tell();
    match findings.mistakes.len() {
        0 => summary(&file),
        count => {
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
            exit::say(format_args!("warning: {warning}"));
        }
        for mistake in &self.mistakes {
            exit::say(format_args!("{mistake}"));
        }
    }
}

/// Loads what mutual TLS takes.
fn test_tls(link: &LinkConfig, findings: &mut Findings<'_>) {
    // What it would log is said here, with the line.
    let loaded = tracing::subscriber::with_default(NoSubscriber::new(), || link.tls());
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
            CredentialWarning::CaLeftOut { .. }
                if findings.source.says(&format!("link.{}.cafile", link.name)) =>
            {
                "cafile"
            }
            CredentialWarning::CaLeftOut { .. } => "capath",
            CredentialWarning::PemIgnored { file, .. } | CredentialWarning::PemJoined { file, .. } => {
                file_key(link, file)
            }
            _ => "certificate",
        };
        findings.warning(format!("link.{}.{key}", link.name), warning.to_string());
    }
    if let LinkTls::Mutual(files) = &link.tls
        && files.backend == Backend::Auto
        && mutual.backend() == Backend::OpenSsl
    {
        let message = "these certificates take OpenSSL, which is used instead of rustls; tls_backend = \"openssl\" \
                       leaves no doubt";
        findings.warning(format!("link.{}.tls_backend", link.name), message.to_owned());
    }
}

/// The key of the file of certificates that a warning names.
fn file_key(link: &LinkConfig, file: &str) -> &'static str {
    let LinkTls::Mutual(files) = &link.tls else { return "certificate" };
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
fn test_addresses(config: &BridgeConfig, findings: &mut Findings<'_>) {
    let metrics = config.operation.metrics.map(|address| address.to_string());
    let mut addresses = Vec::new();
    for link in &config.links {
        let (key, texts, is_listened_on) = match &link.place {
            Place::Connect(targets) => ("connect", targets, false),
            Place::Listen(addresses) => ("listen", addresses, true),
        };
        let path = format!("link.{}.{key}", link.name);
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
        let found: Vec<SocketAddr> = match text.to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(error) => {
                let mend = "check the name, and this host's resolver";
                return Some(Trouble::Mistake(format!("{text} cannot be found: {error}; {mend}")));
            }
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

fn test_status_socket(file: &ConfigFile, findings: &mut Findings<'_>) {
    let path = "bridge.status";
    let Some(socket) = file.config.operation.status_socket.as_deref().filter(|_| findings.source.says(path))
    else {
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
            if let Some(directory) = socket.parent().filter(|directory| !directory.is_dir()) {
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
    output.line(config.operation.to_string().as_bytes())?;
    for link in &config.links {
        output.line(link.to_string().as_bytes())?;
    }
    let default = if file.source.says("rule") { "" } else { "default " };
    for rule in &config.rules {
        output.line(format!("{default}{rule}").as_bytes())?;
    }
    output.flush()
}
