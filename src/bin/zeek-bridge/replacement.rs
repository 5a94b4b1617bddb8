//! Files that replace others in one step.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::output::stderr::print_line;

/// Writes a temporary file that can replace `path` later. It has the permissions, the owner and the group of `path`, so that a
/// service can still read its key. If `path` does not exist, the file has the permissions `mode`. Other users have at most the
/// permissions in `mode`.
pub(crate) fn write_replacement(path: &Path, text: &str, mode: u32) -> io::Result<tempfile::NamedTempFile> {
    write(path, text, mode, |old| old & (0o770 | mode & 0o007))
}

/// Writes a temporary file that can replace `path` later. It has the owner and the group of `path`, and only the owner has access.
pub(crate) fn write_private_replacement(path: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    write(path, text, 0o600, |_| 0o600)
}

/// `replaced_mode` returns the permissions of a file that replaces one with the permissions in its argument.
fn write(
    path: &Path,
    text: &str,
    mode: u32,
    replaced_mode: impl FnOnce(u32) -> u32,
) -> io::Result<tempfile::NamedTempFile> {
    // Only the owner can read the file until it is complete.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    let mut permissions = fs::Permissions::from_mode(mode);
    match fs::metadata(path) {
        Ok(old) => {
            permissions.set_mode(replaced_mode(old.mode()));
            let new = file.as_file().metadata()?;
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
        Err(error) => return Err(error),
    }
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    Ok(file)
}
