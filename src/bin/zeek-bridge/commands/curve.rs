//! `curve`: keys for CURVE, the encryption of ZeroMQ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeek_bridge::zeromq::curve::KeyPair;

use crate::output::stderr::print_line;
use crate::output::{Failure, Output};
use crate::replacement::write_replacement;

/// The maximum length of a name in bytes.
const MAX_NAME: usize = 64;

/// Create keys for CURVE, the encryption of ZeroMQ
///
/// Zeek 8.2 and later can encrypt the connections of its ZeroMQ cluster backend. The cluster needs one pair of keys for its
/// servers and one for its clients. A server also needs the public keys of its clients, and a client the public key of the
/// server.
#[derive(Debug, Args)]
pub(crate) struct CurveArgs {
    #[command(subcommand)]
    command: CurveCommand,
}

#[derive(Debug, Subcommand)]
enum CurveCommand {
    /// Create a pair of keys
    ///
    /// With --out, writes the files NAME_publickey and NAME_secretkey. They have the format of zeekctl's files: 40 characters
    /// of Z85, and a newline. A new secret key is readable by its owner only. Without --out, prints both keys as one JSON line
    /// with the members "public" and "secret".
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// The start of the file names; zeekctl uses client and server
    #[arg(value_name = "NAME", default_value = "client", requires = "out")]
    name: String,
    /// Write the keys to files in this directory, which is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace existing files; they keep their owner, but other users never get access to the secret key
    #[arg(long, requires = "out")]
    force: bool,
}

pub(crate) fn run(args: &CurveArgs) -> Result<(), Failure> {
    let CurveCommand::Keygen(args) = &args.command;
    check_name(&args.name)?;
    let keys =
        KeyPair::generate().map_err(|error| Failure::failed(format!("cannot create keys: {error}")))?;
    match &args.out {
        Some(directory) => write(directory, &args.name, &keys, args.force),
        None => print(&keys),
    }
}

fn print(keys: &KeyPair) -> Result<(), Failure> {
    let keys = serde_json::json!({"public": keys.public().to_string(), "secret": keys.secret().expose_z85()});
    let mut output = Output::new();
    output.line(keys.to_string().as_bytes()).and_then(|()| output.flush())
}

/// Writes both files, or none if one exists and `force` is not set.
fn write(directory: &Path, name: &str, keys: &KeyPair, force: bool) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| cannot("create", directory, &error))?;
    let [public_file, secret_file] =
        ["publickey", "secretkey"].map(|kind| directory.join(format!("{name}_{kind}")));
    let prepare = |path: &Path, key: String, mode| {
        write_replacement(path, &format!("{key}\n"), mode).map_err(|error| cannot("write", path, &error))
    };
    // Both files are complete before the first has its name.
    let secret = prepare(&secret_file, keys.secret().expose_z85(), 0o600)?;
    let public = prepare(&public_file, keys.public().to_string(), 0o644)?;
    let persist = |file: tempfile::NamedTempFile, path: &Path| {
        let persisted = if force { file.persist(path) } else { file.persist_noclobber(path) };
        persisted.map(drop).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => Failure::failed(format!(
                "{} exists already; choose another name or directory, or replace both keys with --force",
                path.display()
            )),
            _ => cannot("write", path, &error.error),
        })
    };
    persist(secret, &secret_file)?;
    persist(public, &public_file).inspect_err(|_| {
        if !force {
            // It was created above.
            let _ = fs::remove_file(&secret_file);
        }
    })?;
    print_line(format_args!("wrote {} and {}", public_file.display(), secret_file.display()));
    Ok(())
}

/// Checks that `name` can be the start of a file name.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) || name.starts_with(['.', '-'])
    {
        return Err(Failure::usage(format!(
            "{name:?} cannot be the name of a pair of keys; use at most {MAX_NAME} letters, digits, `.`, `_` and `-`"
        )));
    }
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "cannot {what} {}: {error}; use a writable directory with free space, with --out",
        path.display()
    ))
}
