//! `certs renew`: replaces a certificate and its key.

use std::fs;
use std::io;
use std::path::Path;

use super::{
    CA_CERTIFICATE, CA_KEY, Issued, RenewArgs, cannot, certificate_files, date, file_name, read_file, sans_of,
};
use crate::output::Failure;
use crate::output::stderr::print_line;
use crate::replacement::write_replacement;

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
    let new_key = write_replacement(&key_target, &issued.key, 0o600)
        .map_err(|error| cannot("replace", &key_target, &error))?;
    let new_certificate = write_replacement(&certificate_target, &issued.certificate, 0o644)
        .map_err(|error| cannot("replace", &certificate_target, &error))?;
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
