//! Loads the keys of CURVE of a link.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::schema::{CurveClientConfig, CurveKeys, PublicKeySource, SecretKeySource, ZeroMqLink};
use crate::endpoint::{CurveClient, CurveServer, ZeroMqConfig};
use crate::zeromq::curve::{AllowedClients, KeyPair, PublicKey, SecretKey};

impl ZeroMqLink {
    /// Reads the keys of the link with this name, and returns its settings. Blocks while it reads files.
    ///
    /// # Errors
    /// Returns an error for each key that cannot be read, and for keys that do not match.
    pub fn load(&self, link: &str) -> Result<ZeroMqConfig, Diagnostics> {
        let node = self.node.as_deref().map(Arc::from);
        let mut settings = ZeroMqConfig { format: self.event_format, node, ..ZeroMqConfig::default() };
        let mut keys = Reader { link, errors: Vec::new() };
        match &self.curve {
            None => {}
            Some(CurveKeys::Client { server, public, secret }) => {
                let server = keys.public("curve.server_key", "", server);
                let public = public.as_ref().and_then(|public| keys.public("curve.public_key", "", public));
                if let Some(secret) = keys.secret(secret) {
                    let pair = KeyPair::from(secret);
                    let is_secret = |key: &PublicKey| key.as_bytes() == pair.secret().expose_bytes();
                    let same = "the key is the same as secret_key";
                    if server.as_ref().is_some_and(is_secret) {
                        keys.error("curve.server_key", same.to_owned(), EXCHANGED);
                    }
                    match &public {
                        Some(public) if is_secret(public) => {
                            keys.error("curve.public_key", same.to_owned(), EXCHANGED);
                        }
                        Some(public) if public != pair.public() => {
                            let message = format!("the public key of the secret key is {}", pair.public());
                            let hint = "use the two files of one pair, or remove public_key";
                            keys.error("curve.public_key", message, hint);
                        }
                        _ => {}
                    }
                    settings.client = server.map(|server| CurveClient { server, keys: pair });
                }
            }
            Some(CurveKeys::Server { secret, clients }) => {
                let allowed = keys.clients(clients);
                if let Some(secret) = keys.secret(secret) {
                    let pair = KeyPair::from(secret);
                    if let Some(name) = allowed.name(pair.public()) {
                        let message = format!("client {name}: the key is the public key of this bridge");
                        keys.error("curve.client", message, "use the public key of the client");
                    }
                    let same = PublicKey::from_bytes(*pair.secret().expose_bytes());
                    if let Some(name) = same.ok().and_then(|same| allowed.name(&same)) {
                        let message = format!("client {name}: the key is the same as secret_key");
                        keys.error("curve.client", message, EXCHANGED);
                    }
                    settings.server = Some(CurveServer { keys: pair, clients: Arc::new(allowed) });
                }
            }
        }
        if keys.errors.is_empty() { Ok(settings) } else { Err(keys.errors.into()) }
    }
}

/// The hint if a public key has the same text as the secret key.
const EXCHANGED: &str =
    "use the file with the public key here, and the file with the secret key in secret_key";

/// The hint if the file of a public key does not exist.
const NO_FILE: &str = "if the value is a key and not a file, write all of its 40 characters of Z85";

/// Reads the keys of a link, and collects the errors.
struct Reader<'a> {
    link: &'a str,
    errors: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn error(&mut self, key: &str, message: String, hint: &str) {
        let diagnostic = Diagnostic::new(format!("link.{}.{key}", self.link), message);
        self.errors.push(diagnostic.with_hint(hint));
    }

    /// Reads a public key. `owner` is the start of the message of an error.
    fn public(&mut self, key: &str, owner: &str, source: &PublicKeySource) -> Option<PublicKey> {
        let mut hint = "";
        let read = match source {
            PublicKeySource::Key(key) => Ok(*key),
            PublicKeySource::File(path) => {
                if !path.exists() {
                    hint = NO_FILE;
                }
                PublicKey::from_file(path).map_err(|error| format!("{}: {error}", path.display()))
            }
            PublicKeySource::Environment(name) => {
                variable(name).and_then(|text| text.parse().map_err(|error| format!("{name}: {error}")))
            }
        };
        read.map_err(|message| self.error(key, format!("{owner}{message}"), hint)).ok()
    }

    fn secret(&mut self, source: &SecretKeySource) -> Option<SecretKey> {
        let read = match source {
            SecretKeySource::File(path) => {
                SecretKey::from_file(path).map_err(|error| format!("{}: {error}", path.display()))
            }
            // The value is a secret, so it is not in the error.
            SecretKeySource::Environment(name) => {
                variable(name).and_then(|text| text.parse().map_err(|error| format!("{name}: {error}")))
            }
        };
        read.map_err(|message| self.error("curve.secret_key", message, "")).ok()
    }

    fn clients(&mut self, clients: &[CurveClientConfig]) -> AllowedClients {
        let mut allowed = AllowedClients::default();
        for CurveClientConfig { name, public_key } in clients {
            let Some(key) = self.public("curve.client", &format!("client {name}: "), public_key) else {
                continue;
            };
            if let Some(other) = allowed.insert(key, name.as_str()).filter(|other| **other != **name) {
                let message = format!("clients {other} and {name} have the same key");
                self.error("curve.client", message, "use one name for it, or create another key");
            }
        }
        allowed
    }
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name)
        .map_err(|_| format!("the environment variable {name} is not set, or not UTF-8; set it"))
}
