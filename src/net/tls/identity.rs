//! The identity of a peer: the names in its certificate.

use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, BmpString, Tag, ToDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::data::steers_terminal;

/// The names and the hash of a peer's own certificate. In mutual TLS, a trusted CA has signed the names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// The subject in the form of RFC 4514 and of Zeek's logs, most specific part first: `CN=worker-1,O=Example`. Different
    /// subjects have different texts. Empty if there is no subject, or if the certificate cannot be parsed.
    pub subject: String,
    /// The names of the subjectAltName extension, in the order of the certificate. Contains at most
    /// [`PeerIdentity::MOST_NAMES`] names.
    pub sans: Vec<SubjectAltName>,
    /// The SHA-256 of the certificate (DER).
    pub sha256: [u8; 32],
}

/// One of the names in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectAltName {
    /// A DNS name, unchanged.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// An e-mail address.
    Email(String),
    /// A URI.
    Uri(String),
    /// A directory name, in the form of [`PeerIdentity::subject`].
    Directory(String),
}

impl PeerIdentity {
    /// The maximum number of names. If there are more, the last ones are omitted.
    pub const MOST_NAMES: usize = 1024;

    /// Returns the identity of this certificate (DER). For a malformed certificate, only the hash is set.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        match X509Certificate::from_der(certificate) {
            Ok((_, parsed)) => {
                PeerIdentity { subject: rfc4514(parsed.subject()), sans: names(&parsed), sha256 }
            }
            Err(error) => {
                tracing::warn!("cannot parse the names in a peer's certificate: {error}");
                PeerIdentity { subject: String::new(), sans: Vec::new(), sha256 }
            }
        }
    }

    /// Returns the hash in hex, without colons, as in Zeek's logs.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.sha256)
    }
}

/// Writes the subject, the subjectAltNames in parentheses, and the hash.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        for (index, san) in self.sans.iter().enumerate() {
            write!(f, "{}{san}", if index == 0 { " (" } else { ", " })?;
        }
        write!(f, "{} sha256:{}", if self.sans.is_empty() { "" } else { ")" }, self.sha256_hex())
    }
}

/// Writes the name in the notation of OpenSSL: `DNS:node.example`. Control characters are escaped.
impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            SubjectAltName::Ip(address) => return write!(f, "IP:{address}"),
            SubjectAltName::Dns(name) => ("DNS", name),
            SubjectAltName::Email(name) => ("email", name),
            SubjectAltName::Uri(name) => ("URI", name),
            SubjectAltName::Directory(name) => ("DirName", name),
        };
        write!(f, "{kind}:")?;
        for letter in name.chars() {
            if steers_terminal(letter) {
                write!(f, "{}", letter.escape_default())?
            } else {
                f.write_char(letter)?
            }
        }
        Ok(())
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<SubjectAltName> {
    // A certificate with two such extensions is invalid, so neither extension is used.
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| {
        Some(match name {
            GeneralName::DNSName(name) => SubjectAltName::Dns((*name).to_owned()),
            GeneralName::RFC822Name(name) => SubjectAltName::Email((*name).to_owned()),
            GeneralName::URI(name) => SubjectAltName::Uri((*name).to_owned()),
            GeneralName::DirectoryName(name) => SubjectAltName::Directory(rfc4514(name)),
            GeneralName::IPAddress(bytes) => SubjectAltName::Ip(
                <[u8; 4]>::try_from(*bytes)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                    .ok()?,
            ),
            _ => return None,
        })
    });
    names.take(PeerIdentity::MOST_NAMES).collect()
}

/// Converts a name in DER to the form of [`PeerIdentity::subject`], or to hex if it cannot be parsed.
pub(super) fn distinguished_name(der: &[u8]) -> String {
    match X509Name::from_der(der) {
        Ok((_, name)) => rfc4514(&name),
        Err(_) => format!("#{}", data_encoding::HEXLOWER.encode(der)),
    }
}

/// Returns the issuer of this certificate (DER) in the form of [`PeerIdentity::subject`].
pub(in crate::net) fn issuer(certificate: &[u8]) -> String {
    X509Certificate::from_der(certificate).map_or_else(|_| String::new(), |(_, c)| rfc4514(c.issuer()))
}

/// Returns a name in the form of RFC 4514: its parts in reverse order, with special characters escaped.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    let short = short_name(&oid);
    text.push_str(short.unwrap_or(&oid));
    text.push('=');
    match (short, string(value)) {
        (Some(_), Some(value)) => push_escaped(text, &value),
        // RFC 4514, section 2.4: a value that is not a string, or whose attribute has no short name, is written in hex.
        _ => {
            text.push('#');
            text.push_str(&data_encoding::HEXLOWER.encode(&value.to_der_vec().unwrap_or_default()));
        }
    }
}

/// Returns the short name of an attribute, if it has one.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

fn string(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        // In practice, this type contains Latin-1.
        Tag::T61String => Some(value.data.iter().copied().map(char::from).collect()),
        Tag::BmpString => BmpString::try_from(value).ok().map(|text| text.string()),
        _ => None,
    }
}

fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', letter]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            _ if steers_terminal(letter) => {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    text.push_str(&format!("\\{byte:02X}"));
                }
            }
            _ => text.push(letter),
        }
    }
}
