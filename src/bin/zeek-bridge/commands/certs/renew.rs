//! `certs renew`: replaces a certificate and its key.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{
    CA_CERTIFICATE, CA_KEY, Issued, RenewArgs, cannot, certificate_files, date, file_name, read_file, sans_of,
};
use crate::output::Failure;
use crate::output::stderr::print_line;

pub(super) fn renew(args: &RenewArgs) -> Result<(), Failure> {
    let name = file_name(&args.name)?;
    let (certificate, key_file) = certificate_files(&args.dir, name);
    let pem = read_file(&certificate, &format!("issue it with `zeek-bridge certs issue {name}`"))?;
    let sans = sans_of(&pem).map_err(|error| {
        Failure::failed(format!(
            "{} cannot be renewed: {error}; move it away, and issue a new certificate with `zeek-bridge certs issue {name}`",
            certificate.display()
        ))
    })?;
    let issued = Issued::new(&args.dir, name, sans, args.days)?;
    // Both new files are complete before the first file is replaced. Programs that read the files between the two replacements
    // keep their previous certificate, because the key does not match.
    // A symbolic link is kept, and the file that it names is replaced.
    let target = |file: &Path| file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let (key_target, certificate_target) = (target(&key_file), target(&certificate));
    let ca = [CA_CERTIFICATE, CA_KEY].map(|file| target(&args.dir.join(file)));
    for (file, target) in [(&key_file, &key_target), (&certificate, &certificate_target)] {
        // A link to a file that does not exist is not followed by `canonicalize`.
        let is_replaceable = match fs::symlink_metadata(target) {
            Ok(metadata) => metadata.is_file(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_replaceable || ca.contains(target) || key_target == certificate_target {
            let file = file.display();
            return Err(Failure::failed(format!(
                "cannot replace {file}: it is neither a separate regular file nor a link to one; move it away"
            )));
        }
    }
    let new_key = write_replacement(&key_target, &issued.key, 0o600)?;
    let new_certificate = write_replacement(&certificate_target, &issued.certificate, 0o644)?;
    new_key.persist(&key_target).map_err(|error| cannot("replace", &key_file, &error.error))?;
    new_certificate
        .persist(&certificate_target)
        .map_err(|error| cannot("replace", &certificate, &error.error))?;
    print_line(format_args!(
        "replaced {} and {}, valid until {}",
        certificate.display(),
        key_file.display(),
        date(issued.until)
    ));
    Ok(())
}

/// Writes a temporary file that can replace `path` later. It has the permissions, the owner and the group of `path`, so that a
/// service can still read its key. If `path` does not exist, the file has the permissions `mode`. Other users have at most the
/// permissions in `mode`.
fn write_replacement(path: &Path, text: &str, mode: u32) -> Result<tempfile::NamedTempFile, Failure> {
    let failed = |error| cannot("replace", path, &error);
    // Only the owner can read the file until it is complete.
    let mut file =
        tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let mut permissions = fs::Permissions::from_mode(mode);
    match fs::metadata(path) {
        Ok(old) => {
            permissions.set_mode(old.mode() & (0o770 | mode & 0o007));
            let new = file.as_file().metadata().map_err(failed)?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid())
                && let Err(error) = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))
            {
                let (path, uid, gid) = (path.display(), old.uid(), old.gid());
                print_line(format_args!(
                    "cannot keep the owner of {path}: {error}; run chown {uid}:{gid} {path}"
                ));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}
