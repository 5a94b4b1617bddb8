//! Builds the settings of an endpoint and the TLS of a link from its configuration.

use super::diagnostic::{Diagnostic, Diagnostics};
use super::schema::{
    IdentityPattern, LinkConfig, LinkTls, TlsFiles, TokenConfig, TokenSource, WebSocketLink, ZeroMqLink,
};
use crate::endpoint::{Admits, EndpointConfig, WebSocketConfig, ZeroMqConfig};
use crate::net::tls::{
    Authentication, CredentialError, CredentialKind, Credentials, Passphrase, PemSource, Remedy, Tls,
};
use crate::websocket::{Access, Token, Tokens};
use crate::wire::Limits;

impl LinkConfig {
    /// Returns the settings of this link's endpoint: its limits, and the identities that it admits. All remaining
    /// settings have their default values.
    #[must_use]
    pub fn endpoint_config(&self) -> EndpointConfig {
        let limits = &self.limits;
        let default = Limits::DEFAULT;
        EndpointConfig {
            label: Some(self.name.as_str().into()),
            limits: Limits {
                max_frame: limits.frame,
                max_handshake_frame: default.max_handshake_frame.min(limits.frame),
                max_depth: limits.depth,
                ..default
            },
            peer_queue: limits.queue,
            when_full: self.when_full,
            max_peers: limits.peers,
            connects_per_second: limits.connects_per_second,
            admits: (!self.allow.is_empty()).then(|| {
                let allow = self.allow.clone();
                Admits::with(move |peer| IdentityPattern::allow(&allow, peer))
            }),
            ..EndpointConfig::default()
        }
    }

    /// Returns whether a link with this configuration can keep the peers of a link with the other one: only settings of the
    /// WebSocket API, and the keys of CURVE, `anonymous` and `loop` of ZeroMQ, may differ. They apply to new connections, and clients whose key was removed are disconnected.
    pub(in crate::bridge) fn keeps_peers_of(&self, other: &Self) -> bool {
        let zeromq = match (&self.zeromq, &other.zeromq) {
            (Some(own), Some(other)) => {
                // Connections with and without CURVE cannot exist on one link.
                if own.curve.is_some() != other.curve.is_some() {
                    return false;
                }
                let ZeroMqLink { curve, anonymous, accepts_loops, .. } = own.clone();
                Some(ZeroMqLink { curve, anonymous, accepts_loops, ..other.clone() })
            }
            (_, other) => other.clone(),
        };
        let keeps = self.websocket.is_some() == other.websocket.is_some();
        keeps && *self == LinkConfig { websocket: self.websocket.clone(), zeromq, ..other.clone() }
    }

    /// Loads the keys of CURVE of this link, as [`ZeroMqLink::load`] does. Returns the default settings for a link that does
    /// not use ZeroMQ.
    ///
    /// # Errors
    /// Returns the errors of [`ZeroMqLink::load`].
    pub fn zeromq_settings(&self) -> Result<ZeroMqConfig, Diagnostics> {
        self.zeromq.as_ref().map_or_else(|| Ok(ZeroMqConfig::default()), |link| link.load(&self.name))
    }

    /// Loads the tokens of this link, as [`WebSocketLink::load`] does. Returns the default settings for a link that does not
    /// use the WebSocket API.
    ///
    /// # Errors
    /// Returns the errors of [`WebSocketLink::load`].
    pub fn websocket_settings(&self) -> Result<WebSocketConfig, Diagnostics> {
        self.websocket.as_ref().map_or_else(|| Ok(WebSocketConfig::default()), |link| link.load(&self.name))
    }

    /// Loads the TLS of this link, as [`LinkTls::load`] does.
    ///
    /// # Errors
    /// Returns the errors of [`LinkTls::load`].
    pub fn tls(&self) -> Result<Tls, Diagnostics> {
        self.tls.load(&self.name)
    }
}

impl WebSocketLink {
    /// Reads the tokens of the link with this name, and returns its settings. Blocks while it reads files.
    ///
    /// # Errors
    /// Returns an error for each token that cannot be read.
    pub fn load(&self, link: &str) -> Result<WebSocketConfig, Diagnostics> {
        let mut errors = Vec::new();
        let mut error = |key: &str, message: String| {
            errors.push(Diagnostic::new(format!("link.{link}.{key}"), message));
        };
        let tokens = load_tokens(&self.tokens, |message| error("token", message));
        let token = self.token_file.clone().map(|path| TokenSource::File(path).read()).transpose();
        let token = token.map_err(|message| error("token_file", message)).ok().flatten();
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let access = Access { tokens, origins: self.origins.clone(), ..Access::default() };
        Ok(WebSocketConfig { access, binary: self.binary, token })
    }
}

/// Reads tokens, and passes a message to `error` for each one that cannot be used.
pub(super) fn load_tokens(configured: &[TokenConfig], mut error: impl FnMut(String)) -> Tokens {
    let mut tokens = Tokens::default();
    for TokenConfig { name, source } in configured {
        match source.read() {
            Ok(token) => {
                if let Some(other) = tokens.owner_of(&token).filter(|other| **other != **name) {
                    error(format!("tokens {other} and {name} have the same text; create a new one"));
                }
                tokens.insert(name.as_str(), token);
            }
            Err(message) => error(format!("token {name}: {message}")),
        }
    }
    tokens
}

impl TokenSource {
    fn read(&self) -> Result<Token, String> {
        match self {
            TokenSource::File(path) => {
                Token::from_file(path).map_err(|error| format!("{}: {error}", path.display()))
            }
            TokenSource::Environment(name) => match std::env::var(name) {
                // The value is a secret, so it is not in the error.
                Ok(value) => Token::new(&value).map_err(|error| format!("{name}: {error}")),
                Err(_) => Err(format!("the environment variable {name} is not set, or not UTF-8; set it")),
            },
        }
    }
}

impl LinkTls {
    /// Loads the TLS of the link with this name. Call it from a blocking thread: it reads files, and may decrypt a key,
    /// which is slow by design.
    ///
    /// # Errors
    /// Returns an error for each file or directory that cannot be read or used. Errors that concern several files
    /// follow, such as a private key that does not match the certificate. Each error contains the configuration key
    /// that it is about, such as `link.agents.keyfile`. [`Source::locate`](super::Source::locate) adds the line of that
    /// key.
    pub fn load(&self, link: &str) -> Result<Tls, Diagnostics> {
        self.load_under(&format!("link.{link}"))
    }

    /// Like [`LinkTls::load`], for the keys under `path`.
    pub(super) fn load_under(&self, path: &str) -> Result<Tls, Diagnostics> {
        let error = |key: &str, message: String| Diagnostic::new(format!("{path}.{key}"), message);
        match self {
            LinkTls::Off => Ok(Tls::Off),
            LinkTls::Anonymous => {
                Tls::anonymous().map_err(|unavailable| error("tls", unavailable.to_string()).into())
            }
            LinkTls::Mutual(files) | LinkTls::Server(files) => {
                let authentication = match self {
                    LinkTls::Server(_) => Authentication::Server,
                    _ => Authentication::Mutual,
                };
                let credentials = Credentials { authentication, ..files.credentials() };
                credentials.load_or_diagnose().map(Tls::from).map_err(|errors| {
                    let errors: Vec<_> = errors
                        .iter()
                        .map(|found| {
                            let source = if found.source.is_empty() {
                                String::new()
                            } else {
                                format!("{}: ", found.source)
                            };
                            error(files.key(found), format!("{source}{}", found.fault)).with_hint(hint(found))
                        })
                        .collect();
                    errors.into()
                })
            }
        }
    }
}

impl TlsFiles {
    /// Returns the credentials in these files, for mutual TLS, without reading them.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials {
            cafile: self.cafile.clone().map(PemSource::File),
            capath: self.capath.clone(),
            certificate: self.certificate.clone().map(PemSource::File),
            keyfile: self.keyfile.clone().map(PemSource::File),
            passphrase: self.passphrase_file.clone().map(Passphrase::from_file),
            verify_name: self.verify_name.clone(),
            backend: self.backend,
            authentication: Authentication::Mutual,
        }
    }

    /// Returns the configuration key that an error is about.
    fn key(&self, error: &CredentialError) -> &'static str {
        match error.kind {
            CredentialKind::Cafile => "cafile",
            CredentialKind::Capath => "capath",
            CredentialKind::Certificate => "certificate",
            CredentialKind::Passphrase => "passphrase_file",
            CredentialKind::VerifyName => "verify_name",
            CredentialKind::Backend => "tls_backend",
            _ => "keyfile",
        }
    }
}

/// Returns the hint, which names the configuration key to change.
fn hint(error: &CredentialError) -> String {
    let key = match error.remedy() {
        Some(Remedy::Passphrase) => " (`passphrase_file = \"FILE\"`)",
        Some(Remedy::OpenSsl) => " (`tls_backend = \"openssl\"`)",
        None => "",
    };
    error.hint() + key
}
