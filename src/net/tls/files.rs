//! Reads the files of credentials. Their size and the time to read them are limited.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::credential_error::CredentialFault;

/// The maximum size of a file with certificates or a key, in bytes. The bundle of all public CAs has 0.25 MiB, or 1 MiB if it also
/// contains the text of each certificate. Without a limit, a device such as /dev/zero would fill the memory.
pub(super) const MAX_PEM_SIZE: u64 = 4 * 1024 * 1024;

/// The maximum size of a file with a passphrase, in bytes. OpenSSL's prompt accepts 1,024 bytes.
pub(super) const MAX_PASSPHRASE_SIZE: u64 = 4096;

/// How long to wait for a pipe or a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct PipeTimeouts {
    /// The maximum time that the pipe may have no writer.
    pub(super) writer: Duration,
    /// The maximum time to read all data.
    pub(super) data: Duration,
}

impl PipeTimeouts {
    /// A shell starts the command that writes to the pipe (`<(command)`) before or just after this process. If the pipe has
    /// no writer after five seconds, no command is going to write to it. The time to read all data is longer, because the
    /// command may ask a person for a passphrase. For example, `systemd-ask-password` waits 90 seconds.
    pub(super) const DEFAULT: PipeTimeouts =
        PipeTimeouts { writer: Duration::from_secs(5), data: Duration::from_secs(120) };
}

/// The interval at which a pipe without data is read again.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns whether the path is a pipe or a device. The content of a pipe or a device can be read only once, and a reader
/// may have to wait for it.
pub(super) fn is_read_once(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Reads a short secret from a file or a pipe.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, CredentialFault> {
    if is_read_once(path) {
        read_pipe(path, MAX_PASSPHRASE_SIZE, PipeTimeouts::DEFAULT)
    } else {
        read_file(path, MAX_PASSPHRASE_SIZE)
    }
}

/// Reads a regular file. Refuses a pipe or device, which may have replaced the file since the first load.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, CredentialFault> {
    let file = open(path)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(CredentialFault::NotAFile);
    }
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(unreadable)?;
    within(limit, content)
}

/// Reads a pipe or a device to its end. `timeouts` limits how long this waits.
pub(super) fn read_pipe(path: &Path, limit: u64, timeouts: PipeTimeouts) -> Result<Vec<u8>, CredentialFault> {
    tracing::info!("{} is not a regular file; it is read only once, to its end", path.display());
    let file = open(path)?;
    let is_pipe = is_fifo(&file);
    let start = Instant::now();
    let mut content = Vec::new();
    loop {
        let room = limit.saturating_add(1).saturating_sub(u64::try_from(content.len()).unwrap_or(u64::MAX));
        match (&file).take(room).read_to_end(&mut content) {
            // A read from a pipe without a writer does not block, but returns the end of the file.
            Ok(_) if is_pipe && content.is_empty() && !had_writer(&file) => {
                if start.elapsed() >= timeouts.writer {
                    return Err(CredentialFault::NoWriter);
                }
            }
            Ok(_) => return within(limit, content),
            // The pipe has a writer, but no data now. The data that was read before is in `content`.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if start.elapsed() >= timeouts.data {
                    return Err(CredentialFault::Unfinished { waited: timeouts.data });
                }
            }
            Err(error) => return Err(unreadable(error)),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns whether a pipe without data has had a writer since it was opened, and this writer is gone.
///
/// Linux reports a hangup only if there was a writer. Other systems may also report a hangup before the first writer. On
/// them, this returns `false`, so an empty pipe cannot be distinguished from a pipe without a writer.
#[cfg(target_os = "linux")]
fn had_writer(pipe: &File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Data may have been written since the last read.
    poll(&mut fds, Some(&now)).is_ok() && fds.iter().all(|fd| fd.revents() == PollFlags::HUP)
}

#[cfg(not(target_os = "linux"))]
fn had_writer(_: &File) -> bool {
    false
}

fn within(limit: u64, content: Vec<u8>) -> Result<Vec<u8>, CredentialFault> {
    if u64::try_from(content.len()).is_ok_and(|length| length <= limit) {
        Ok(content)
    } else {
        Err(CredentialFault::TooLarge { limit })
    }
}

/// Opens a file, but not a directory. Does not wait for the writer of a pipe.
fn open(path: &Path) -> Result<File, CredentialFault> {
    let file = open_nonblocking(path).map_err(unreadable)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(CredentialFault::Directory);
    }
    Ok(file)
}

#[cfg(unix)]
fn open_nonblocking(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    // The flag `NONBLOCK` has no effect on a regular file. On Linux, opening /dev/stdin creates a new open file
    // description, so that the flag is not set for other processes that use the same pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_nonblocking(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn is_fifo(file: &File) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_fifo(_: &File) -> bool {
    false
}

fn unreadable(error: io::Error) -> CredentialFault {
    CredentialFault::Unreadable(Arc::new(error))
}

/// Returns whether users other than the owner can read the file.
#[cfg(unix)]
pub(crate) fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const GROUP_OR_OTHERS_READ: u32 = 0o044;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & GROUP_OR_OTHERS_READ != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_exposed(_: &Path) -> bool {
    false
}
