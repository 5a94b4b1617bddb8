//! The files of a recording.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Side;

pub(super) const INDEX: &str = "frames.jsonl";
pub(super) const META: &str = "meta.json";

/// The name of `meta.json` while it is being written.
pub(super) const NEW_META: &str = "meta.json.new";

/// The files of a recording. [`remove`] removes only these files.
const FILES: [&str; 5] = [stream_file(Side::Connector), stream_file(Side::Listener), INDEX, META, NEW_META];

/// Returns the name of the file with the bytes of a side.
pub(super) const fn stream_file(side: Side) -> &'static str {
    match side {
        Side::Connector => "connector.bin",
        Side::Listener => "listener.bin",
    }
}

/// Returns whether a folder is a recording: it contains `frames.jsonl`, `connector.bin` and `listener.bin`.
#[must_use]
pub fn is_recording(folder: &Path) -> bool {
    let [connector, listener] = Side::BOTH.map(stream_file);
    [INDEX, connector, listener].iter().all(|name| folder.join(name).is_file())
}

/// Returns the recordings directly in a folder, sorted by name.
///
/// # Errors
/// Fails if the folder cannot be read.
pub fn recordings_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut recordings = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_recording(&path) {
            recordings.push(path);
        }
    }
    recordings.sort();
    Ok(recordings)
}

/// Returns whether a folder contains files that do not belong to a recording.
///
/// # Errors
/// Fails if the folder cannot be read.
pub fn contains_other_files(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = FILES.iter().any(|name| entry.file_name() == *name) && !entry.file_type()?.is_dir();
        if !is_ours {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes a recording: its files, then the folder. If the folder contains files that do not belong to the recording,
/// these files and the folder are kept.
///
/// # Errors
/// Fails if a file or the folder cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    for file in FILES {
        match fs::remove_file(folder.join(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(folder)
}

/// Creates a folder that only its owner can read, because the recorded bytes may be secret and are not encrypted.
pub(super) fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
