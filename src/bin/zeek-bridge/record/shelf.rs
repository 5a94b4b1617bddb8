//! Where the recordings stand: a folder each, the oldest of which may have to go.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::folder::{self, About, Folder};

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
    /// Those that stay whatever is kept, of which it is told once.
    stuck: HashSet<String>,
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
        // Before there is another: on a full disk there would be no room for it.
        if let Err(error) = self.prune(&mut open) {
            tracing::warn!("old recordings in {} cannot be removed: {error}", self.path.display());
        }
        loop {
            open.number = open.number.saturating_add(1);
            let name = format!("{stamp}-{:04}", open.number);
            match create(self.path.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(folder) => {
                    open.names.insert(name);
                    return Ok(folder);
                }
            }
        }
    }

    /// Removes the oldest that are too many when another one comes, and not being written.
    fn prune(&self, open: &mut Open) -> io::Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_ours(&name) && !open.stuck.contains(&name) {
                names.push(name);
            }
        }
        names.sort();
        let mut too_many = names.len().saturating_add(1).saturating_sub(keep);
        for name in names {
            if too_many == 0 {
                break;
            }
            if open.names.contains(&name) {
                continue;
            }
            let path = self.path.join(&name);
            let why = match folder::holds_others(&path) {
                Ok(true) => "there is something in it that is not of the recording".to_owned(),
                Ok(false) => match folder::remove(&path) {
                    Ok(()) => {
                        too_many = too_many.saturating_sub(1);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            tracing::warn!("an old recording stays and counts no more for --keep, {}: {why}", path.display());
            // Nor did it have to go: there is one less.
            too_many = too_many.saturating_sub(1);
            open.stuck.insert(name);
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

#[cfg(test)]
mod tests {
    use super::super::folder::tests::{about, frames};
    use super::*;
    use crate::conversation::Side;

    fn old(root: &Path, number: u32) -> PathBuf {
        let path = root.join(format!("20200101T000000Z-{number:04}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("frames.jsonl"), "").unwrap();
        path
    }

    fn there(root: &Path) -> usize {
        fs::read_dir(root).unwrap().count()
    }

    #[test]
    fn what_somebody_put_into_a_recording_keeps_that_one_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let all = [1, 2, 3, 4].map(|number| old(root.path(), number));
        let note = all[0].join("note");
        fs::write(&note, "mine").unwrap();
        let shelf = Shelf::new(root.path().to_owned(), Some(2)).unwrap();
        for count in [3, 3] {
            shelf.end(&shelf.begin(about()).unwrap());
            // One that stays beside two, as a whole.
            assert_eq!(there(root.path()), count);
            assert!(note.is_file() && all[0].join("frames.jsonl").is_file());
        }
        assert!(all[1..].iter().all(|folder| !folder.exists()));
    }

    #[test]
    fn the_oldest_goes_before_there_is_another() {
        let root = tempfile::tempdir().unwrap();
        let all = [1, 2].map(|number| old(root.path(), number));
        let shelf = Shelf::new(root.path().to_owned(), Some(2)).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let failed = shelf.add(|_| {
            assert_eq!(all.each_ref().map(|folder| folder.exists()), [false, true]);
            Err(full())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        // It is no endless loss.
        assert!(shelf.add(|_| Err(full())).is_err());
        assert_eq!(there(root.path()), 1);
    }

    #[test]
    fn a_recording_that_is_cut_goes_on_and_has_all() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path().to_owned(), Some(1)).unwrap();
        let path = root.path().join("20200101T000000Z-0001");
        let mut first = Folder::create(path, about(), Some("before".into())).unwrap();
        shelf.open.lock().unwrap().names.insert(name(first.path()));
        let bytes = frames(2, 10);
        first.input(Side::Listener, 0, &bytes[..bytes.len() - 1]).unwrap();
        let next = shelf.cut(&mut first).unwrap();
        assert_eq!(first.written(), [0, (bytes.len() / 2).try_into().unwrap()]);
        assert_eq!(next.written(), [0, (bytes.len() / 2 - 1).try_into().unwrap()]);
        assert!(first.path().exists() && next.path().exists());
    }
}
