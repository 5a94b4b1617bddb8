//! The keys of CURVE, the encryption of ZeroMQ.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use zeek_bridge::endpoint::{CurveClient, CurveServer};
use zeek_bridge::zeromq::curve::{InvalidKey, KeyPair, PublicKey, SecretKey};

use super::source::Source;
use crate::environment::var;
use crate::output::Failure;

pub(crate) const SERVER_KEY: &str = "curve-server-key";
pub(crate) const PUBLIC_KEY: &str = "curve-public-key";
pub(crate) const SECRET_KEY: &str = "curve-secret-key";

/// The options for the keys of CURVE, by their names on the command line.
pub(crate) const CURVE_OPTIONS: [&str; 3] = [SERVER_KEY, PUBLIC_KEY, SECRET_KEY];

/// The name of the only client that a listener accepts.
const CLIENT: &str = "client";

// This is not a doc comment, because clap would use it as the summary of the command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct CurveArgs {
    /// The public key of the servers of a ZeroMQ cluster with CURVE: a file, such as zeekctl's server_publickey, or 40 characters of
    /// Z85. Zeek's variables are the default
    // Keys may begin with a hyphen.
    #[arg(long, value_name = "FILE|KEY", allow_hyphen_values = true)]
    curve_server_key: Option<OsString>,
    /// The public key of the clients of the cluster: a file, such as zeekctl's client_publickey, or 40 characters of Z85
    #[arg(long, value_name = "FILE|KEY", allow_hyphen_values = true)]
    curve_public_key: Option<OsString>,
    /// The file with the secret key of the clients, such as zeekctl's client_secretkey; with --listen, that of the server
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
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

    /// Returns the value of an option, and its source. If the secret key is not set in `source`, the environment is used.
    fn value<'a>(&self, option: &str, source: &'a Source) -> Option<(&'a Source, OsString)> {
        let own = self.as_options().into_iter().find(|(name, _)| *name == option);
        match own {
            Some((_, value)) => Some((source, value.to_owned())),
            None if option == SECRET_KEY => {
                Some((&Source::Environment, var(&Source::Environment.option(option))?))
            }
            None => None,
        }
    }

    /// Returns an error if one of these options is not set. `requirement` names the keys that are needed.
    fn missing(&self, options: &[&str], source: &Source, requirement: &str) -> Option<Failure> {
        let missing = options.iter().filter(|option| self.value(option, source).is_none());
        let missing: Vec<String> = missing.map(|option| source.option(option)).collect();
        let verb = if missing.len() == 1 { "is" } else { "are" };
        (!missing.is_empty()).then(|| {
            let message = format!("{} {verb} not set; CURVE requires {requirement}", missing.join(" and "));
            Failure::usage(source.locate(message))
        })
    }

    fn public_key(&self, option: &str, source: &Source) -> Result<Option<PublicKey>, Failure> {
        self.value(option, source).map(|(source, value)| public_key(&value, source, option)).transpose()
    }

    /// Reads the secret key. If there is a public key, checks that it belongs to the secret key.
    fn pair(&self, source: &Source, option: &str) -> Result<Option<KeyPair>, Failure> {
        let Some((secret_source, secret)) = self.value(SECRET_KEY, source) else { return Ok(None) };
        let keys = KeyPair::from(secret_key(&secret, secret_source)?);
        match self.public_key(option, source)? {
            Some(public) if public != *keys.public() => Err(Failure::usage(source.locate(format!(
                "{} is {public}, but the secret key of {} belongs to the public key {}; use both keys of one pair",
                source.option(option),
                secret_source.option(SECRET_KEY),
                keys.public()
            )))),
            _ => Ok(Some(keys)),
        }
    }

    /// Reads the keys of a client.
    ///
    /// # Errors
    /// Fails if a key is missing or cannot be read, or if the two keys of the client are not a pair. No error contains a secret key.
    pub(crate) fn client(&self, source: &Source) -> Result<CurveClient, Failure> {
        let requirement = "the public key of the servers, and both keys of the clients";
        if let Some(failure) = self.missing(&CURVE_OPTIONS, source, requirement) {
            return Err(failure);
        }
        let server = self.public_key(SERVER_KEY, source)?;
        let client =
            server.zip(self.pair(source, PUBLIC_KEY)?).map(|(server, keys)| CurveClient { server, keys });
        client.ok_or_else(|| Failure::usage(format!("CURVE requires {requirement}")))
    }

    /// Reads the keys of a server: its own secret key, and the public key of its clients. If the public key of the server is set, it
    /// must belong to the secret key.
    ///
    /// # Errors
    /// As [`CurveArgs::client`].
    pub(crate) fn server(&self, source: &Source) -> Result<CurveServer, Failure> {
        let requirement = "the secret key of the server, and the public key of the clients";
        if let Some(failure) = self.missing(&[PUBLIC_KEY, SECRET_KEY], source, requirement) {
            return Err(failure);
        }
        let client = self.public_key(PUBLIC_KEY, source)?;
        let server = self
            .pair(source, SERVER_KEY)?
            .zip(client)
            .map(|(keys, client)| CurveServer { keys, clients: Arc::new((client, CLIENT).into()) });
        server.ok_or_else(|| Failure::usage(format!("CURVE requires {requirement}")))
    }
}

/// Reads a public key: a file, or the key itself.
fn public_key(value: &OsStr, source: &Source, option: &str) -> Result<PublicKey, Failure> {
    let path = Path::new(value);
    let key = match as_key(value) {
        Ok(key) if !path.exists() => Ok(key),
        Err(error) if matches!(path.try_exists(), Ok(false)) => {
            Err(format!("neither a file nor a key: {error}"))
        }
        _ => PublicKey::from_file(path).map_err(|error| error.to_string()),
    };
    key.map_err(|error| {
        let option = source.option(option);
        Failure::usage(source.locate(format!("{option}: {}: {error}", value.to_string_lossy())))
    })
}

/// Reads a secret key from a file. In a variable, the value may also be the key itself. A value that is not a file may be a secret key
/// with a typing error, so no error contains it.
fn secret_key(value: &OsStr, source: &Source) -> Result<SecretKey, Failure> {
    let path = Path::new(value);
    let is_variable = matches!(source, Source::Environment | Source::Zeek(_));
    let error = match as_key::<SecretKey>(value) {
        Ok(key) if is_variable && !path.exists() => return Ok(key),
        Ok(_) if !path.exists() => format!(
            "a secret key is not accepted here, because other users may see it; write it to a file that only you can read, or set {}",
            Source::Environment.option(SECRET_KEY)
        ),
        Err(error) if matches!(path.try_exists(), Ok(false)) => match is_variable {
            true => format!("the value is neither a key nor a file: {error}"),
            false => "the file does not exist; use the name of a file with a secret key".to_owned(),
        },
        _ => match SecretKey::from_file(path) {
            Ok(key) => return Ok(key),
            Err(error) => format!("{}: {error}", path.display()),
        },
    };
    Err(Failure::usage(source.locate(format!("{}: {error}", source.option(SECRET_KEY)))))
}

fn as_key<K: FromStr<Err = InvalidKey>>(value: &OsStr) -> Result<K, InvalidKey> {
    value.to_str().unwrap_or_default().parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Role;

    #[test]
    fn a_server_has_its_own_secret_key_and_accepts_the_key_of_the_clients() {
        let folder = tempfile::tempdir().unwrap();
        let [server, client] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let secret = folder.path().join("server_secretkey");
        std::fs::write(&secret, format!("{}\n", server.secret().expose_z85())).unwrap();
        let mut args = CurveArgs::default();
        args.set(SECRET_KEY, secret.into_os_string());
        let error = |args: &CurveArgs| match args.server(&Source::COMMAND_LINE) {
            Err(Failure::Error(_, message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(
            error(&args)
                .starts_with("--curve-public-key is not set; CURVE requires the secret key of the server")
        );
        args.set(PUBLIC_KEY, client.public().to_string().into());
        let both = args.server(&Source::COMMAND_LINE).unwrap();
        assert_eq!(both.keys.public(), server.public());
        assert_eq!(both.clients.name(client.public()).map(|name| &**name), Some(CLIENT));
        assert_eq!(both.clients.name(server.public()), None);
        args.set(SERVER_KEY, server.public().to_string().into());
        assert!(args.server(&Source::COMMAND_LINE).is_ok());
        args.set(SERVER_KEY, client.public().to_string().into());
        assert!(error(&args).contains(&format!("belongs to the public key {}", server.public())));
    }

    #[test]
    fn zeek_has_a_secret_key_for_each_role() {
        let names = |role| CURVE_OPTIONS.map(|option| Source::Zeek(role).option(option));
        let variables =
            |names: [&str; 3]| names.map(|name| format!("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{name}"));
        let client = ["SERVER_PUBLICKEY", "CLIENT_PUBLICKEY", "CLIENT_SECRETKEY"];
        assert_eq!(names(Role::Client), variables(client));
        assert_eq!(names(Role::Server), variables([client[0], client[1], "SERVER_SECRETKEY"]));
    }
}
