//! Where the recordings stand: a folder each, the oldest of which may have to go.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::folder::{About, Folder};

/// What a recording consists of; nothing else is ever removed.
const FILES: [&str; 5] = ["connector.bin", "listener.bin", "frames.jsonl", "meta.json", "meta.json.new"];

/// The folder given with --out.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    /// How many recordings there may be.
    keep: Option<usize>,
    /// The recordings that are being written. Also keeps the making of folders one after the other.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    names: HashSet<String>,
    number: u64,
}

impl Shelf {
    /// Makes the folder if there is none, and sees whether it can be written to.
    pub(super) fn new(path: PathBuf, keep: Option<usize>) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let test = path.join(format!(".zeek-bridge-{}", std::process::id()));
        fs::create_dir(&test)?;
        fs::remove_dir(&test)?;
        Ok(Shelf { path, keep, open: Mutex::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A recording that begins now.
    pub(super) fn begin(&self, about: About) -> io::Result<Folder> {
        self.add(|path| Folder::create(path, about.clone(), None))
    }

    /// Ends a recording, and goes on with it in a further folder.
    pub(super) fn cut(&self, folder: &mut Folder) -> io::Result<Folder> {
        let next = self.add(|path| folder.cut(path))?;
        self.end(folder);
        Ok(next)
    }

    /// It is not written to any more.
    pub(super) fn end(&self, folder: &Folder) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&name(folder.path()));
    }

    fn add(&self, mut create: impl FnMut(PathBuf) -> io::Result<Folder>) -> io::Result<Folder> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let stamp: String = stamp.chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
        loop {
            open.number = open.number.saturating_add(1);
            let name = format!("{stamp}-{:04}", open.number);
            match create(self.path.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(folder) => {
                    open.names.insert(name);
                    if let Err(error) = self.prune(&open.names) {
                        tracing::warn!(
                            "an old recording in {} cannot be removed: {error}",
                            self.path.display()
                        );
                    }
                    return Ok(folder);
                }
            }
        }
    }

    /// Removes the oldest that are too many, and not being written.
    fn prune(&self, open: &HashSet<String>) -> io::Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_ours(&name) {
                names.push(name);
            }
        }
        names.sort();
        let too_many = names.len().saturating_sub(keep);
        for name in names.iter().filter(|name| !open.contains(*name)).take(too_many) {
            let folder = self.path.join(name);
            for file in FILES {
                match fs::remove_file(folder.join(file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::remove_dir(folder)?;
        }
        Ok(())
    }
}

/// Whether a recorder gave this name: `20261123T081500Z-0001`.
fn is_ours(name: &str) -> bool {
    let digits =
        |text: &str, least: usize| text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.split_once('-').and_then(|(stamp, number)| Some((stamp.split_once('T')?, number)));
    parts.is_some_and(|((day, time), number)| {
        digits(day, 8) && time.strip_suffix('Z').is_some_and(|time| digits(time, 6)) && digits(number, 4)
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
