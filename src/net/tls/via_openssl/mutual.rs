//! Mutual TLS on OpenSSL.

use std::fmt;
use std::net::IpAddr;

use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslVersion};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags, X509VerifyParam, X509VerifyParamRef};
use openssl::x509::{X509, X509PurposeId, X509StoreContext, X509VerifyResult};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ProtocolVersion, SupportedProtocolVersion};

use super::super::certificate_fault::CertificateFault;
use super::super::chain::Presenter;
use super::super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::super::credentials::Credentials;
use super::super::error::TlsError;
use super::super::material::{KeySection, Material, Raw, key_section};
use super::super::self_check::SelfCheck;
use super::super::warning::CredentialWarning;
use super::error;
use crate::net::Stream;

/// The cipher list of Broker.
const CIPHERS: &str = "HIGH:!aNULL:!MD5";

/// The OpenSSL context for mutual TLS. `connect` and `accept` use it.
pub(in super::super) struct OpenSslMutual {
    context: SslContext,
    /// Whether clients must present a certificate.
    verifies_clients: bool,
    /// The name that the certificates of peers must contain.
    name: Option<String>,
    self_check: SelfCheck,
    warnings: Vec<CredentialWarning>,
}

impl OpenSslMutual {
    pub(in super::super) fn new(
        credentials: &Credentials,
        raw: &Raw,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let fail = |kind| {
            move |error: ErrorStack| {
                credentials.error(kind, CredentialFault::OpenSsl(error::text(Some(&error))))
            }
        };
        let certificate = |fault| credentials.error(CredentialKind::Certificate, fault);
        let keyfile = |fault| credentials.error(CredentialKind::Keyfile, fault);
        let unusable =
            |error: ErrorStack| certificate(CredentialFault::UnusableCertificate(error::text(Some(&error))));

        let mut context = super::context().map_err(fail(CredentialKind::Backend))?;
        context.set_cipher_list(CIPHERS).map_err(fail(CredentialKind::Backend))?;
        context.set_session_id_context(b"zeek-bridge").map_err(fail(CredentialKind::Backend))?;
        if !versions.iter().any(|version| version.version == ProtocolVersion::TLSv1_3) {
            context.set_max_proto_version(Some(SslVersion::TLS1_2)).map_err(fail(CredentialKind::Backend))?;
        }
        if !versions.iter().any(|version| version.version == ProtocolVersion::TLSv1_2) {
            context.set_min_proto_version(Some(SslVersion::TLS1_3)).map_err(fail(CredentialKind::Backend))?;
        }

        let mut material = Material::new(credentials, raw)?;
        let mut cas = Vec::new();
        material.trust(credentials, |ca| {
            let ca = X509::from_der(&ca.der).map_err(|error| error::text(Some(&error)))?;
            cas.push(ca.clone());
            context.cert_store_mut().add_cert(ca).map_err(|error| error::text(Some(&error)))
        })?;
        // As with rustls, every certificate in the store is trusted, even if it is not self-signed.
        let store = context.cert_store_mut();
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN).map_err(fail(CredentialKind::Backend))?;

        if credentials.need_certificate() {
            let key = private_key(raw).map_err(keyfile)?;
            let mut chain = material.chain.iter();
            let no_certificate = || certificate(CredentialFault::NoCertificate(String::new()));
            let leaf = chain.next().ok_or_else(no_certificate)?;
            let leaf = X509::from_der(leaf).map_err(unusable)?;
            context.set_certificate(&leaf).map_err(unusable)?;
            for der in chain {
                context.add_extra_chain_cert(X509::from_der(der).map_err(unusable)?).map_err(unusable)?;
            }
            match leaf.public_key() {
                Ok(public) if !public.public_eq(&key) => return Err(keyfile(CredentialFault::KeyMismatch)),
                _ => {}
            }
            context
                .set_private_key(&key)
                .map_err(|error| keyfile(CredentialFault::UnusableKey(error::text(Some(&error)))))?;
        }

        let name = credentials.server_name()?.map(|name| name.to_str().into_owned());
        if let Some(name) = &name {
            require_name(context.verify_param_mut(), name).map_err(fail(CredentialKind::VerifyName))?;
        }

        let context = context.build();
        let trust = Trust::new(cas, context.security_level()).map_err(fail(CredentialKind::Backend))?;
        let self_check = match material.chain.split_first().filter(|_| !material.cas.is_empty()) {
            Some((leaf, rest)) => SelfCheck::new(|side| trust.check(side, leaf, rest).err()),
            None => SelfCheck::new(|_| None),
        };
        self_check.warn(credentials, &mut material);
        let verifies_clients = credentials.need_cas();
        Ok(OpenSslMutual { context, verifies_clients, name, self_check, warnings: material.warnings })
    }

    pub(in super::super) fn warnings(&self) -> &[CredentialWarning] {
        &self.warnings
    }

    /// Returns the faults for which OpenSSL rejects our own certificate: as a server's and as a client's certificate.
    pub(in super::super) fn self_check(&self) -> &SelfCheck {
        &self.self_check
    }

    /// Connects to a server. Its certificate must contain `host`, unless the credentials have a name to verify. Sends `host` as
    /// SNI.
    pub(in super::super) async fn connect(
        &self,
        tcp: TcpStream,
        host: Option<ServerName<'static>>,
    ) -> Result<Stream, TlsError> {
        let mut ssl = Ssl::new(&self.context).map_err(|error| error::failed(&error))?;
        if let Some(ServerName::DnsName(host)) = &host {
            let host = host.as_ref();
            // SNI has no final dot (RFC 6066, section 3).
            ssl.set_hostname(host.strip_suffix('.').unwrap_or(host))
                .map_err(|error| error::failed(&error))?;
        }
        let name = match (&self.name, host) {
            (None, Some(host)) => {
                let host = host.to_str().into_owned();
                require_name(ssl.param_mut(), &host).map_err(|error| error::failed(&error))?;
                Some(host)
            }
            (name, _) => name.clone(),
        };
        super::shake_hands_and_check(ssl, tcp, Presenter::Client, name).await
    }

    pub(in super::super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let ssl = Ssl::new(&self.context).map_err(|error| error::failed(&error))?;
        if self.verifies_clients {
            super::shake_hands_and_check(ssl, tcp, Presenter::Server, self.name.clone()).await
        } else {
            super::shake_hands(ssl, tcp, Presenter::Server).await
        }
    }
}

impl fmt::Debug for OpenSslMutual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSslMutual").field("self_check", &self.self_check).finish_non_exhaustive()
    }
}

/// Requires this DNS name or IP address in the peer's certificate. The name is compared only with subjectAltName.
fn require_name(param: &mut X509VerifyParamRef, name: &str) -> Result<(), ErrorStack> {
    param.set_hostflags(X509CheckFlags::NEVER_CHECK_SUBJECT | X509CheckFlags::NO_PARTIAL_WILDCARDS);
    match name.parse::<IpAddr>() {
        Ok(ip) => param.set_ip(ip),
        // Remove the final dot of an absolute DNS name: certificates do not contain it.
        Err(_) => param.set_host(name.strip_suffix('.').unwrap_or(name)),
    }
}

/// Decrypts and parses the key.
pub(in super::super) fn check_key(raw: &Raw) -> Result<(), CredentialFault> {
    private_key(raw).map(drop)
}

/// Parses our certificate.
pub(in super::super) fn check_certificate(der: &[u8]) -> Result<(), CredentialFault> {
    X509::from_der(der)
        .map(drop)
        .map_err(|error| CredentialFault::UnusableCertificate(error::text(Some(&error))))
}

/// Returns our key, decrypted if necessary. If the key is encrypted and there is no passphrase, does not call OpenSSL,
/// because OpenSSL would ask for a passphrase at the terminal.
fn private_key(raw: &Raw) -> Result<PKey<Private>, CredentialFault> {
    let decryption_error = |error: ErrorStack| {
        let text = error::text(Some(&error));
        if text.contains("unsupported") {
            CredentialFault::UnsupportedEncryption(text)
        } else {
            CredentialFault::WrongPassphrase
        }
    };
    let key = match (key_section(&raw.keyfile)?, &raw.passphrase) {
        (KeySection::Open(der), _) => PKey::private_key_from_der(der.secret_der())
            .map_err(|error| CredentialFault::UnusableKey(error::text(Some(&error)))),
        (_, None) => Err(CredentialFault::Encrypted),
        (KeySection::Legacy(pem), Some(passphrase)) => {
            PKey::private_key_from_pem_passphrase(pem.as_bytes(), passphrase).map_err(decryption_error)
        }
        (KeySection::Pkcs8(der), Some(passphrase)) => {
            PKey::private_key_from_pkcs8_passphrase(&der, passphrase).map_err(decryption_error)
        }
    }?;
    // OpenSSL loads keys on any curve. But if TLS does not support the curve of a key, no handshake with this key succeeds.
    match key.ec_key().ok().and_then(|key| key.group().curve_name()) {
        Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1 | Nid::SECP521R1) | None => Ok(key),
        Some(curve) => Err(CredentialFault::UnsupportedCurve(
            curve.short_name().unwrap_or("an unknown curve").to_owned(),
        )),
    }
}

/// The trusted CAs, for verification without a handshake.
struct Trust {
    servers: X509Store,
    clients: X509Store,
}

impl Trust {
    fn new(cas: Vec<X509>, security_level: u32) -> Result<Self, ErrorStack> {
        let store = |purpose| {
            let mut param = X509VerifyParam::new()?;
            param.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
            param.set_purpose(purpose)?;
            param.set_auth_level(i32::try_from(security_level).unwrap_or(i32::MAX));
            let mut store = X509StoreBuilder::new()?;
            store.set_param(&param)?;
            for ca in &cas {
                store.add_cert(ca.clone())?;
            }
            Ok::<_, ErrorStack>(store.build())
        };
        Ok(Trust { servers: store(X509PurposeId::SSL_SERVER)?, clients: store(X509PurposeId::SSL_CLIENT)? })
    }

    /// Verifies that `side` may present this chain in a connection.
    fn check(
        &self,
        side: Presenter,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), CertificateFault> {
        let store = match side {
            Presenter::Server => &self.servers,
            Presenter::Client => &self.clients,
        };
        let check = || {
            let leaf = X509::from_der(leaf)?;
            let mut chain = Stack::new()?;
            for der in intermediates {
                chain.push(X509::from_der(der)?)?;
            }
            X509StoreContext::new()?.init(store, &leaf, &chain, |check| {
                check.verify_cert()?;
                Ok(match check.error() {
                    X509VerifyResult::OK => None,
                    _ => Some(error::verdict(check, None).fault),
                })
            })
        };
        match check() {
            Ok(None) => Ok(()),
            Ok(Some(verdict)) => Err(verdict),
            Err(error) => Err(CertificateFault::Unusable(error::text(Some(&error)))),
        }
    }
}
