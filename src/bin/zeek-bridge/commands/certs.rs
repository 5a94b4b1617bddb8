//! `certs`: a certification authority (CA) and certificates for mutual TLS.

mod renew;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::output::stderr::print_line;
use crate::output::{Failure, Output, steers};

/// The file names of the CA in its directory.
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// The maximum size of a file of the CA in bytes. One certificate or key is a few KiB, and a device such as /dev/zero has no
/// end.
const MAX_FILE: u64 = 1024 * 1024;

/// The longest commonName of X.509.
const MAX_NAME: usize = 64;

/// The validity of a certificate begins this time before it is issued, for hosts whose clocks are slow.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Create certificates for mutual TLS
///
/// `certs init` creates a certification authority (CA). `certs issue NAME` issues a certificate of the CA for one Zeek process,
/// bridge or node. All certificates are X.509 version 3 with ECDSA keys on P-256, which Zeek, OpenSSL and this program accept.
#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Create a CA: ca.pem and ca.key
    ///
    /// Do not copy ca.key to the hosts of the cluster; only `certs issue` and `certs renew` need it. Every host needs
    /// ca.pem. Existing files are never overwritten, and keys are readable by their owner only.
    Init(InitArgs),
    /// Issue a certificate of the CA: NAME.pem and NAME.key
    ///
    /// The certificate is valid for both ends of a connection. Prints the options of zeek-bridge, the keys of a link and the
    /// settings of Zeek that use the certificate. Existing files are never overwritten, and keys are readable by their owner only.
    Issue(IssueArgs),
    /// Replace NAME.pem and NAME.key by a new certificate and key
    ///
    /// The new certificate is valid for the same host names and IP addresses. Each file is replaced in one step and keeps its owner
    /// and permissions, but other users never get access to the key. A running bridge, node or tap loads the new files within
    /// seconds, or at once on SIGHUP.
    Renew(RenewArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The directory for the files; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The name of the CA
    #[arg(long, default_value = "zeek-bridge CA")]
    name: String,
    /// The lifetime in days
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Debug, Args)]
struct IssueArgs {
    /// The subject of the certificate, such as the name of a node or host; also the name of its files
    #[arg(value_name = "NAME")]
    name: String,
    /// A host name or IP address that the certificate is valid for, such as DNS:sensor1.example or IP:192.0.2.1; may be
    /// repeated. The default is NAME
    #[arg(long, value_name = "SAN")]
    san: Vec<String>,
    /// The directory with the files of the CA, where the new files are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The lifetime in days, cut to that of the CA
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Debug, Args)]
struct RenewArgs {
    /// The name of an issued certificate
    #[arg(value_name = "NAME")]
    name: String,
    /// The directory with the files of the CA and of the certificate
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The lifetime in days, cut to that of the CA
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub(crate) fn run(args: &CertsArgs) -> Result<(), Failure> {
    match &args.command {
        CertsCommand::Renew(args) => renew::renew(args),
        CertsCommand::Init(args) => init(args),
        CertsCommand::Issue(args) => issue(args),
    }
}

fn init(args: &InitArgs) -> Result<(), Failure> {
    if args.name.is_empty() || args.name.len() > MAX_NAME || args.name.contains(char::is_control) {
        return Err(Failure::usage(format!(
            "{:?} cannot be the name of a CA; use 1 to {MAX_NAME} bytes without control characters",
            args.name
        )));
    }
    check_directory(&std::path::absolute(&args.dir).map_err(|error| cannot("use", &args.dir, &error))?)?;
    fs::create_dir_all(&args.dir).map_err(|error| cannot("create", &args.dir, &error))?;
    let (certificate, key) = (args.dir.join(CA_CERTIFICATE), args.dir.join(CA_KEY));
    let until = after(args.days);
    let mut params = params(&args.name, Vec::new(), until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca =
        KeyPair::generate().and_then(|key| CertifiedIssuer::self_signed(params, key)).map_err(not_made)?;
    write_pair((&certificate, &ca.pem()), (&key, &ca.key().serialize_pem()))?;
    print_line(format_args!(
        "wrote {} and {}, valid until {}; issue certificates with `zeek-bridge certs issue NAME --dir {}`",
        certificate.display(),
        key.display(),
        date(until),
        args.dir.display()
    ));
    Ok(())
}

fn issue(args: &IssueArgs) -> Result<(), Failure> {
    let name = file_name(&args.name)?;
    let sans = if args.san.is_empty() { std::slice::from_ref(&args.name) } else { &args.san };
    let sans = sans.iter().map(|text| san(text)).collect::<Result<Vec<_>, _>>()?;
    let issued = Issued::new(&args.dir, name, sans, args.days)?;
    let directory = fs::canonicalize(&args.dir).map_err(|error| cannot("use", &args.dir, &error))?;
    let directory = check_directory(&directory)?;
    let (certificate, key_file) = certificate_files(&args.dir, name);
    write_pair((&certificate, &issued.certificate), (&key_file, &issued.key))?;
    print_usage(directory, name, [&certificate, &key_file], issued.until)
}

/// Returns the paths of a certificate and its key.
fn certificate_files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")))
}

/// Returns the host names and IP addresses that a certificate is valid for.
fn sans_of(pem: &str) -> Result<Vec<SanType>, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).map_err(|error| error.to_string())?;
    if certificate.is_ca() {
        return Err("it is the certificate of a CA".to_owned());
    }
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let Some(names) = names else { return Ok(Vec::new()) };
    let kept = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Ia5String::try_from(*name).map(SanType::DnsName).ok(),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).map(SanType::IpAddress).ok()
        }
        _ => None,
    };
    let all: Option<Vec<_>> = names.value.general_names.iter().map(kept).collect();
    all.ok_or_else(|| "it has a subjectAltName that is neither a host name nor an IP address".to_owned())
}

/// A new certificate with its key, as PEM.
struct Issued {
    certificate: String,
    key: String,
    until: SystemTime,
}

impl Issued {
    /// Issues a certificate of the CA in this directory.
    fn new(directory: &Path, name: &str, sans: Vec<SanType>, days: u32) -> Result<Self, Failure> {
        let (issuer, end) = read_ca(directory)?;
        let until = after(days).min(end);
        let key = KeyPair::generate().map_err(not_made)?;
        let mut params = params(name, sans, until);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).map_err(not_made)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem(), until })
    }
}

/// Reads the CA in a directory. Also returns the end of its validity.
fn read_ca(directory: &Path) -> Result<(Issuer<'static, KeyPair>, SystemTime), Failure> {
    let (ca_file, ca_key_file) = (directory.join(CA_CERTIFICATE), directory.join(CA_KEY));
    let ca = read(&ca_file)?;
    let ca_key = read(&ca_key_file)?;
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::failed(format!(
            "{} cannot be used: {error}; use the files of `zeek-bridge certs init`, and name their directory with --dir",
            path.display()
        ))
    };
    let ca_key = KeyPair::from_pem(&ca_key).map_err(|error| unusable(&ca_key_file, &error))?;
    let (end, public_key) = end_and_key(&ca).map_err(|error| unusable(&ca_file, &error))?;
    if ca_key.subject_public_key_info() != public_key {
        let another = format!("it is not the key of {}", ca_file.display());
        return Err(unusable(&ca_key_file, &another));
    }
    if end <= SystemTime::now() {
        let expired = format!("it expired on {}", date(end));
        return Err(unusable(&ca_file, &expired));
    }
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).map_err(|error| unusable(&ca_file, &error))?;
    Ok((issuer, end))
}

/// Prints the options, keys and settings that use a certificate.
fn print_usage(
    directory: &str,
    name: &str,
    [certificate, key_file]: [&Path; 2],
    until: SystemTime,
) -> Result<(), Failure> {
    let [ca, certificate_path, key_path] = [CA_CERTIFICATE, &format!("{name}.pem"), &format!("{name}.key")]
        .map(|file| {
            let separator = if directory.ends_with('/') { "" } else { "/" };
            format!("{directory}{separator}{file}")
        });
    let shell = |path: &str| match path
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "/._-+@%".contains(letter))
    {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    };
    // TOML has the same escapes.
    let zeek = |path: &str| path.replace('\\', r"\\").replace('"', "\\\"");
    let text = format!(
        "# zeek-bridge\n--cafile {} --certificate {} --keyfile {}\n\n\
         # a link of zeek-bridge run\ncafile = \"{3}\"\ncertificate = \"{4}\"\nkeyfile = \"{5}\"\n\n\
         # Zeek\nredef Broker::ssl_cafile = \"{3}\";\nredef Broker::ssl_certificate = \"{4}\";\n\
         redef Broker::ssl_keyfile = \"{5}\";",
        shell(&ca),
        shell(&certificate_path),
        shell(&key_path),
        zeek(&ca),
        zeek(&certificate_path),
        zeek(&key_path)
    );
    let mut output = Output::new();
    let printed = output.line(text.as_bytes()).and_then(|()| output.flush());
    print_line(format_args!(
        "wrote {} and {}, valid until {}",
        certificate.display(),
        key_file.display(),
        date(until)
    ));
    printed
}

/// Returns the text of a path, if it can be printed unchanged for a shell and for Zeek.
fn check_directory(directory: &Path) -> Result<&str, Failure> {
    directory.to_str().filter(|text| !text.contains(steers)).ok_or_else(|| {
        Failure::failed(format!(
            "the path {} contains control characters or is not UTF-8, so options and settings cannot contain it; use \
             another directory",
            directory.display()
        ))
    })
}

fn params(name: &str, sans: Vec<SanType>, until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = sans;
    params.not_before = SystemTime::now().checked_sub(CLOCK_SKEW).unwrap_or(SystemTime::UNIX_EPOCH).into();
    params.not_after = until.into();
    params
}

fn after(days: u32) -> SystemTime {
    let now = SystemTime::now();
    now.checked_add(DAY.saturating_mul(days)).unwrap_or(now)
}

/// Returns the end of a CA certificate's validity, and its public key (SubjectPublicKeyInfo in DER).
fn end_and_key(pem: &str) -> Result<(SystemTime, Vec<u8>), String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).map_err(|error| error.to_string())?;
    if !certificate.is_ca() {
        return Err("it is not the certificate of a CA".to_owned());
    }
    if certificate.validity().not_before.timestamp() > ASN1Time::now().timestamp() {
        return Err(format!("it is not valid before {}", certificate.validity().not_before));
    }
    let end = u64::try_from(certificate.validity().not_after.timestamp())
        .map_err(|_| "it expired before 1970".to_owned())?;
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end));
    let end = end.ok_or_else(|| "its end of validity is out of range".to_owned())?;
    Ok((end, certificate.public_key().raw.to_vec()))
}

/// Returns `name` if it can be the name of a file and of a certificate.
fn file_name(name: &str) -> Result<&str, Failure> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) || name.starts_with(['.', '-'])
    {
        return Err(Failure::usage(format!(
            "{name:?} cannot be the name of a certificate; use at most {MAX_NAME} letters, digits, `.`, `_` and `-`"
        )));
    }
    if name == "ca" {
        return Err(Failure::usage("the files of \"ca\" are those of the CA; choose another name"));
    }
    Ok(name)
}

fn san(text: &str) -> Result<SanType, Failure> {
    let invalid = |text: &str| {
        Failure::usage(format!(
            "{text:?} is not a host name or an IP address; use DNS:sensor1.example or IP:192.0.2.1"
        ))
    };
    let (kind, name) = match text.split_once(':') {
        Some((kind @ ("DNS" | "IP"), name)) => (kind, name),
        _ if text.parse::<IpAddr>().is_ok() => ("IP", text),
        _ => ("DNS", text),
    };
    if kind == "IP" {
        return name.parse().map(SanType::IpAddress).map_err(|_| invalid(text));
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '*');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(is_plain);
    if name.parse::<IpAddr>().is_ok() || !name.split('.').all(is_label) {
        return Err(invalid(text));
    }
    Ia5String::try_from(name).map(SanType::DnsName).map_err(|_| invalid(text))
}

/// Reads a file of the CA.
fn read(path: &Path) -> Result<String, Failure> {
    read_file(path, "create a CA with `zeek-bridge certs init`, or name its directory with --dir")
}

/// Reads a PEM file. `missing` is the hint if it does not exist.
fn read_file(path: &Path, missing: &str) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display, hint: &str| {
        Failure::failed(format!("cannot read {}: {error}; {hint}", path.display()))
    };
    let mut text = String::new();
    // Do not wait for the writer of a pipe.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let read = file.and_then(|file| match file.metadata()?.file_type().is_fifo() {
        true => Err(io::Error::other("it is a pipe")),
        false => file.take(MAX_FILE).read_to_string(&mut text),
    });
    match read {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length >= MAX_FILE) => {
            Err(failed(&"it is larger than 1 MiB", "it is not a file of `zeek-bridge certs init`"))
        }
        // Some editors write a byte order mark.
        Ok(_) => Ok(text.trim_start_matches('\u{feff}').to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(&error, missing)),
        Err(error) => Err(failed(&error, "make it a readable file")),
    }
}

/// Writes a certificate and its key, or neither.
fn write_pair(certificate: (&Path, &str), key: (&Path, &str)) -> Result<(), Failure> {
    write_new(key, 0o600)?;
    write_new(certificate, 0o644).inspect_err(|_| {
        // It was created above.
        let _ = fs::remove_file(key.0);
    })
}

fn write_new((path, text): (&Path, &str), mode: u32) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::failed(format!(
            "{} exists already; choose another name or directory, move the file away, or replace an issued certificate with \
             `zeek-bridge certs renew`",
            path.display()
        )),
        _ => cannot("create", path, &error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(path);
        cannot("write", path, &error)
    })
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "cannot {what} {}: {error}; use a writable directory with free space, with --dir",
        path.display()
    ))
}

fn not_made(error: rcgen::Error) -> Failure {
    Failure::failed(format!("the certificate could not be created: {error}"))
}

fn date(time: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(time).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}
