//! Reading the files of credentials, of which some can be read only once.

use std::path::Path;
use std::sync::Arc;

use super::credential_error::CredentialFault;

/// Whether this is a pipe or a device: what is read from it cannot be read again, and its reader may have to wait.
pub(super) fn is_read_once(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Reads a file, and refuses a pipe or device that has replaced it since the first load.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, CredentialFault> {
    if is_read_once(path) {
        return Err(CredentialFault::NotAFile);
    }
    std::fs::read(path).map_err(unreadable)
}

/// Reads a pipe or a device until its end.
pub(super) fn read_pipe(path: &Path) -> Result<Vec<u8>, CredentialFault> {
    tracing::info!("{} is not a regular file: it is read to its end, once", path.display());
    std::fs::read(path).map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> CredentialFault {
    CredentialFault::Unreadable(Arc::new(error))
}

/// Whether others than its owner can read it.
#[cfg(unix)]
pub(super) fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const GROUP_OR_OTHERS_READ: u32 = 0o044;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & GROUP_OR_OTHERS_READ != 0)
}

#[cfg(not(unix))]
pub(super) fn is_exposed(_: &Path) -> bool {
    false
}
