//! Finds the recordings in a folder that belong to a different recorder that is still running.
//!
//! The name of each recording contains the id of the run that made it. A recorder holds a lock on a file named after this id.
//! The operating system releases the lock when the process ends, even if it is killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Held by a recorder as long as it has recordings in a folder.
#[derive(Debug)]
pub(super) struct RunLock {
    path: PathBuf,
    /// Locked until it is closed.
    _file: File,
}

impl RunLock {
    /// Locks a run. Call this before its first recording exists: until then, nobody checks the lock.
    pub(super) fn acquire(folder: &Path, run: &str) -> io::Result<Self> {
        let path = path(folder, run);
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        // If the file system has no locks, the file alone marks the run as active. If the recorder then ends without
        // removing the file, other recorders keep its recordings forever.
        let _ = lock(&file);
        Ok(RunLock { path, _file: file })
    }

    /// Returns whether the file still exists. It does not exist if the folder was removed.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns whether a run may still be active. Returns `true` if this cannot be determined, so that its recordings are kept.
pub(super) fn is_active(folder: &Path, run: &str) -> bool {
    let path = path(folder, run);
    match File::open(&path) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(file) => {
            let active = lock(&file).is_err();
            if !active {
                // A recorder that was killed could not remove its file.
                let _ = fs::remove_file(&path);
            }
            active
        }
    }
}

fn path(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!(".zeek-bridge-{run}.lock"))
}

fn lock(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?)
}
