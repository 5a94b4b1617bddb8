//! The keys of CURVE, the encryption of ZeroMQ.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use zeek_bridge::endpoint::{CurveClient, CurveServer};
use zeek_bridge::zeromq::curve::{AllowedClients, InvalidKey, KeyPair, PublicKey, SecretKey};

use super::source::Source;
use crate::environment::var;
use crate::output::Failure;

pub(crate) const SERVER_KEY: &str = "curve-server-key";
pub(crate) const PUBLIC_KEY: &str = "curve-public-key";
pub(crate) const SECRET_KEY: &str = "curve-secret-key";

/// The options for the keys of CURVE, by their names on the command line.
pub(crate) const CURVE_OPTIONS: [&str; 3] = [SERVER_KEY, PUBLIC_KEY, SECRET_KEY];

// This is not a doc comment, because clap would use a doc comment as the summary of the command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct CurveArgs {
    /// The public key of the servers of a ZeroMQ cluster with CURVE: a file, such as zeekctl's server_publickey, or 40 characters of
    /// Z85. Zeek's variables are the default
    #[arg(long, value_name = "FILE|KEY")]
    curve_server_key: Option<OsString>,
    /// The public key of the clients of the cluster: a file, such as zeekctl's client_publickey, or 40 characters of Z85
    #[arg(long, value_name = "FILE|KEY")]
    curve_public_key: Option<OsString>,
    /// The file with the secret key of the clients, such as zeekctl's client_secretkey
    #[arg(long, value_name = "FILE")]
    curve_secret_key: Option<OsString>,
}

impl CurveArgs {
    /// Returns the options that are set.
    pub(crate) fn as_options(&self) -> Vec<(&'static str, &OsStr)> {
        let values = [&self.curve_server_key, &self.curve_public_key, &self.curve_secret_key];
        CURVE_OPTIONS
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect()
    }

    /// Returns the name of the first option that is set.
    pub(crate) fn first_option(&self) -> Option<&'static str> {
        self.as_options().first().map(|(name, _)| *name)
    }

    /// Returns whether the secret key is the only option that is set.
    pub(crate) fn is_secret_key_only(&self) -> bool {
        matches!(self.as_options()[..], [(SECRET_KEY, _)])
    }

    /// Sets an option. The options are [`CURVE_OPTIONS`].
    pub(crate) fn set(&mut self, option: &str, value: OsString) {
        let key = match option {
            SERVER_KEY => &mut self.curve_server_key,
            PUBLIC_KEY => &mut self.curve_public_key,
            _ => &mut self.curve_secret_key,
        };
        *key = Some(value);
    }

    /// Reads the variables of this source, [`Source::Environment`] or [`Source::Zeek`].
    pub(crate) fn from_environment(source: &Source) -> Self {
        let mut args = CurveArgs::default();
        for option in CURVE_OPTIONS {
            if let Some(value) = var(&source.option(option)) {
                args.set(option, value);
            }
        }
        args
    }

    /// Reads the keys. If the source has no secret key, that of the environment is used.
    ///
    /// # Errors
    /// Fails if a key is missing or cannot be read, or if the two keys of the client are not a pair. No error contains a secret key.
    pub(crate) fn client(&self, source: &Source) -> Result<CurveClient, Failure> {
        let own = |option| self.as_options().into_iter().find(|(name, _)| *name == option);
        let own = |option| own(option).map(|(_, value)| (source, value.to_owned()));
        let variable = || Some((&Source::Environment, var(&Source::Environment.option(SECRET_KEY))?));
        let [server, public] = [SERVER_KEY, PUBLIC_KEY].map(own);
        let secret = own(SECRET_KEY).or_else(variable);
        let (Some((_, server)), Some((_, public)), Some((secret_source, secret))) =
            (&server, &public, &secret)
        else {
            let options = [
                (SERVER_KEY, server.is_some()),
                (PUBLIC_KEY, public.is_some()),
                (SECRET_KEY, secret.is_some()),
            ];
            let missing: Vec<String> = options
                .into_iter()
                .filter(|(_, is_set)| !is_set)
                .map(|(name, _)| source.option(name))
                .collect();
            let verb = if missing.len() == 1 { "is" } else { "are" };
            return Err(Failure::usage(source.locate(format!(
                "{} {verb} not set; CURVE requires the public key of the servers, and both keys of the clients",
                missing.join(" and ")
            ))));
        };
        let server = public_key(server, source, SERVER_KEY)?;
        let public = public_key(public, source, PUBLIC_KEY)?;
        let keys = KeyPair::from(secret_key(secret, secret_source)?);
        if *keys.public() != public {
            return Err(Failure::usage(source.locate(format!(
                "{} is {public}, but the secret key of {} belongs to the public key {}; use both keys of one pair",
                source.option(PUBLIC_KEY),
                secret_source.option(SECRET_KEY),
                keys.public()
            ))));
        }
        Ok(CurveClient { server, keys })
    }
}

impl CurveArgs {
    /// Reads the keys of a server: its secret key, and the public key of the clients.
    ///
    /// # Errors
    /// Fails if one of them is missing or cannot be read, or if the public key of the server is set, too.
    pub(crate) fn server(&self, source: &Source) -> Result<CurveServer, Failure> {
        let own = |option| self.as_options().into_iter().find(|(name, _)| *name == option);
        let own = |option| own(option).map(|(_, value)| value);
        let [None, Some(public), Some(secret)] = [SERVER_KEY, PUBLIC_KEY, SECRET_KEY].map(own) else {
            return Err(Failure::usage(source.locate(format!(
                "a server of CURVE requires {} with its own secret key, {} with the public key of the clients, and no other key",
                source.option(SECRET_KEY),
                source.option(PUBLIC_KEY)
            ))));
        };
        let mut clients = AllowedClients::default();
        clients.insert(public_key(public, source, PUBLIC_KEY)?, "client");
        Ok(CurveServer { keys: KeyPair::from(secret_key(secret, source)?), clients: Arc::new(clients) })
    }
}

/// Reads a public key: a file, or the key itself.
fn public_key(value: &OsStr, source: &Source, option: &str) -> Result<PublicKey, Failure> {
    let path = Path::new(value);
    let key = if path.exists() {
        PublicKey::from_file(path).map_err(|error| error.to_string())
    } else {
        as_key(value).map_err(|error| format!("neither a file nor a key: {error}"))
    };
    key.map_err(|error| {
        let option = source.option(option);
        Failure::usage(source.locate(format!("{option}: {}: {error}", value.to_string_lossy())))
    })
}

/// Reads a secret key: a file or, in a variable, also the key itself. A value that is not a file may be a secret key with a typing
/// error, so it is not in the error.
fn secret_key(value: &OsStr, source: &Source) -> Result<SecretKey, Failure> {
    let path = Path::new(value);
    let is_variable = matches!(source, Source::Environment | Source::Zeek);
    let error = match as_key::<SecretKey>(value) {
        _ if path.exists() => match SecretKey::from_file(path) {
            Ok(key) => return Ok(key),
            Err(error) => format!("{}: {error}", path.display()),
        },
        Ok(key) if is_variable => return Ok(key),
        Ok(_) => format!(
            "a secret key is not accepted here, because other users may see it; write it to a file that only you can read, or set {}",
            Source::Environment.option(SECRET_KEY)
        ),
        Err(error) if is_variable => format!("the value is neither a key nor a file: {error}"),
        Err(_) => "the file does not exist; use the name of a file with a secret key".to_owned(),
    };
    Err(Failure::usage(source.locate(format!("{}: {error}", source.option(SECRET_KEY)))))
}

fn as_key<K: FromStr<Err = InvalidKey>>(value: &OsStr) -> Result<K, InvalidKey> {
    value.to_str().unwrap_or_default().parse()
}
