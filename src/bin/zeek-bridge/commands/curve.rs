//! `curve`: keys for CURVE, the encryption of ZeroMQ.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeek_bridge::zeromq::curve::KeyPair;

use crate::output::stderr::print_line;
use crate::output::{Failure, Output};
use crate::replacement::{write_private_replacement, write_replacement};

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
    /// of Z85, and a newline. Only the owner of the file can read the secret key. Without --out, prints both keys as one JSON line
    /// with the members "public" and "secret".
    ///
    /// If the command is interrupted, the files may not match. Run it again with --force.
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// The start of the file names; zeekctl uses client and server
    #[arg(value_name = "NAME", default_value = "client", requires = "out")]
    name: String,
    /// Write the keys to files in this directory; if it does not exist, it is created, and only its owner has access
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace existing files; they keep their owner, and only the owner gets access to the secret key
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
    let mut builder = fs::DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(directory);
    created.map_err(|error| cannot("create", directory, &error))?;
    let [public_file, secret_file] =
        ["publickey", "secretkey"].map(|kind| directory.join(format!("{name}_{kind}")));
    for path in [&secret_file, &public_file] {
        check_target(path, force)?;
    }
    // Both files are completely written before the first one gets its final name.
    let secret = write_private_replacement(&secret_file, &format!("{}\n", keys.secret().expose_z85()))
        .map_err(|error| cannot("write", &secret_file, &error))?;
    let public = write_replacement(&public_file, &format!("{}\n", keys.public()), 0o644)
        .map_err(|error| cannot("write", &public_file, &error))?;
    let persist = |file: tempfile::NamedTempFile, path: &Path| {
        let persisted = if force { file.persist(path) } else { file.persist_noclobber(path) };
        persisted.map(drop).map_err(|error| error.error)
    };
    let refused = |path: &Path, error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => cannot("write", path, error),
    };
    // The public key is replaced first: if this fails, the old secret key is not lost.
    persist(public, &public_file).map_err(|error| refused(&public_file, &error))?;
    if let Err(error) = persist(secret, &secret_file) {
        let secret_file_error = refused(&secret_file, &error);
        // Without `force`, it was created above.
        if !force && fs::remove_file(&public_file).is_ok() {
            return Err(secret_file_error);
        }
        return Err(Failure::failed(format!(
            "cannot write {}: {error}; {} was already replaced and does not match it; run the command again with --force",
            secret_file.display(),
            public_file.display()
        )));
    }
    print_line(format_args!("wrote {} and {}", public_file.display(), secret_file.display()));
    Ok(())
}

/// Checks that a file can be created at `path` or, with `force`, replaced.
fn check_target(path: &Path, force: bool) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(Failure::failed(format!(
            "{} is a directory; choose another name or directory",
            path.display()
        ))),
        Ok(_) if !force => Err(exists(path)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("write", path, &error)),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::failed(format!(
        "{} exists already; choose another name or directory, or replace both keys with --force",
        path.display()
    ))
}

/// Checks that `name` can be the start of a file name.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) || name.starts_with(['.', '-'])
    {
        return Err(Failure::usage(format!(
            "the name of the pair of keys is invalid; use at most {MAX_NAME} letters, digits, `.`, `_` and `-`, and do not begin with `.` or `-`"
        )));
    }
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::ReadOnlyFilesystem => "; use a writable directory with free space, with --out",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "; use another directory, with --out",
        _ => "",
    };
    // The error of a temporary file contains its path. Its cause does not.
    let cause = error.get_ref().and_then(|error| error.source());
    let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
    Failure::failed(format!("cannot {what} {}: {cause}{hint}", path.display()))
}
