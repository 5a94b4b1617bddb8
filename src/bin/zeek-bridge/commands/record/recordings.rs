//! The folder of recordings (`--out`): names new recordings and removes the oldest ones (`--keep`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use zeek_bridge::trace::{self, Description, Writer};

use super::run_lock::{self, RunLock};

/// The folder given with --out.
#[derive(Debug)]
pub(super) struct Recordings {
    path: PathBuf,
    /// The number of recordings to keep.
    keep: Option<usize>,
    /// The id of this run, which is in the names of its recordings.
    run: String,
    state: Mutex<State>,
}

/// The mutex around this state also serializes the creation of recordings.
#[derive(Debug, Default)]
struct State {
    /// The names of the recordings that are being written.
    open: HashSet<String>,
    /// Recordings that cannot be removed. Each is reported once, and no longer counted.
    stuck: HashSet<String>,
    number: u64,
    /// Held from the first recording of this run on.
    lock: Option<RunLock>,
    /// Whether this run has made a recording.
    has_recorded: bool,
}

impl Recordings {
    /// Creates the folder if it does not exist, and checks that it is writable.
    pub(super) fn new(path: PathBuf, keep: Option<usize>) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let test = path.join(format!(".zeek-bridge-{}", std::process::id()));
        fs::create_dir(&test)?;
        fs::remove_dir(&test)?;
        Ok(Recordings { path, keep, run: format!("{:08x}", fastrand::u32(..)), state: Mutex::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the recording of a new connection.
    pub(super) fn begin(&self, description: Description) -> io::Result<Writer> {
        self.add(|path| Writer::create(path, description.clone(), None))
    }

    /// Completes a recording and continues it in a new one.
    pub(super) fn split(&self, recording: &mut Writer) -> io::Result<Writer> {
        let next = self.add(|path| recording.split(path))?;
        self.end(recording);
        Ok(next)
    }

    /// Marks a recording as no longer written to.
    pub(super) fn end(&self, recording: &Writer) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&name(recording.path()));
    }

    fn add(&self, create: impl FnMut(PathBuf) -> io::Result<Writer>) -> io::Result<Writer> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.lock.as_ref().is_some_and(RunLock::exists) {
            state.lock = Some(RunLock::acquire(&self.path, &self.run)?);
        }
        let added = self.add_locked(&mut state, create);
        state.has_recorded |= added.is_ok();
        if !state.has_recorded {
            // This run has no recordings to protect, so the lock file is not needed.
            state.lock = None;
        }
        added
    }

    fn add_locked(
        &self,
        state: &mut State,
        mut create: impl FnMut(PathBuf) -> io::Result<Writer>,
    ) -> io::Result<Writer> {
        let stamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let stamp: String = stamp.chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
        // Prune first: if the disk is full, a new recording cannot be created before an old one is removed.
        if let Err(error) = self.prune(state) {
            tracing::warn!("cannot remove old recordings in {}: {error}", self.path.display());
        }
        loop {
            state.number = state.number.saturating_add(1);
            let name = format!("{stamp}-{}-{:04}", self.run, state.number);
            match create(self.path.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(recording) => {
                    state.open.insert(name);
                    return Ok(recording);
                }
            }
        }
    }

    /// Removes the oldest recordings, so that there are at most `keep` after the next one is created. Recordings that are
    /// being written are not removed. Recordings of a different recorder that is running are neither removed nor counted.
    fn prune(&self, state: &mut State) -> io::Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let mut names = Vec::new();
        // Each lock is checked once.
        let mut active = HashMap::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_counted = match recorder_of(&name) {
                Recorder::None => false,
                Recorder::Unknown => true,
                Recorder::Run(run) if run == self.run => true,
                Recorder::Run(run) => {
                    let known = active.entry(run.to_owned());
                    !*known.or_insert_with(|| run_lock::is_active(&self.path, run))
                }
            };
            if is_counted && !state.stuck.contains(&name) {
                names.push(name);
            }
        }
        names.sort();
        let mut too_many = names.len().saturating_add(1).saturating_sub(keep);
        for name in names {
            if too_many == 0 {
                break;
            }
            if state.open.contains(&name) {
                continue;
            }
            let path = self.path.join(&name);
            let why = match trace::contains_other_files(&path) {
                Ok(true) => "it contains files that are not part of a recording".to_owned(),
                Ok(false) => match trace::remove(&path) {
                    Ok(()) => {
                        too_many = too_many.saturating_sub(1);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            tracing::warn!("cannot remove {}: {why}; --keep no longer counts it", path.display());
            too_many = too_many.saturating_sub(1);
            state.stuck.insert(name);
        }
        Ok(())
    }
}

/// Which recorder made a folder, by its name.
#[derive(Debug, PartialEq)]
enum Recorder<'a> {
    /// It is not a recording.
    None,
    /// `20261123T081500Z-0001`, as earlier versions named them.
    Unknown,
    /// `20261123T081500Z-5c1d09ae-0001`.
    Run(&'a str),
}

fn recorder_of(name: &str) -> Recorder<'_> {
    let digits =
        |text: &str, least: usize| text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_stamp = |text: &str| {
        let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
        parts.is_some_and(|(day, time)| digits(day, 8) && digits(time, 6))
    };
    let is_run =
        |text: &str| text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = name.split('-');
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(stamp), Some(number), None, None] if is_stamp(stamp) && digits(number, 4) => Recorder::Unknown,
        [Some(stamp), Some(run), Some(number), None]
            if is_stamp(stamp) && is_run(run) && digits(number, 4) =>
        {
            Recorder::Run(run)
        }
        _ => Recorder::None,
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use zeek_bridge::data::{EndpointId, Topic};
    use zeek_bridge::trace::Side;
    use zeek_bridge::wire::Envelope;

    use super::*;

    fn old(root: &Path, number: u32) -> PathBuf {
        let path = root.join(format!("20200101T000000Z-{number:04}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("frames.jsonl"), "").unwrap();
        path
    }

    /// Returns the number of recordings.
    fn recording_count(root: &Path) -> usize {
        let names = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| recorder_of(name.to_str().unwrap()) != Recorder::None).count()
    }

    #[test]
    fn a_recording_with_other_files_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let all = [1, 2, 3, 4].map(|number| old(root.path(), number));
        let note = all[0].join("note");
        fs::write(&note, "mine").unwrap();
        let recordings = Recordings::new(root.path().to_owned(), Some(2)).unwrap();
        for count in [3, 3] {
            recordings.end(&recordings.begin(Description::default()).unwrap());
            // The recording that cannot be removed, in addition to the two that are kept.
            assert_eq!(recording_count(root.path()), count);
            assert!(note.is_file() && all[0].join("frames.jsonl").is_file());
        }
        assert!(all[1..].iter().all(|folder| !folder.exists()));
    }

    #[test]
    fn the_oldest_is_removed_before_a_new_one_is_created() {
        let root = tempfile::tempdir().unwrap();
        let all = [1, 2].map(|number| old(root.path(), number));
        let recordings = Recordings::new(root.path().to_owned(), Some(2)).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let failed = recordings.add(|_| {
            assert_eq!(all.each_ref().map(|folder| folder.exists()), [false, true]);
            Err(full())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        // A failure does not remove more recordings.
        assert!(recordings.add(|_| Err(full())).is_err());
        assert_eq!(recording_count(root.path()), 1);
    }

    #[test]
    fn a_split_recording_continues_without_loss() {
        let root = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(root.path().to_owned(), Some(1)).unwrap();
        let path = root.path().join("20200101T000000Z-0001");
        let mut first =
            Writer::create(path, Description::default(), Some(("before".into(), trace::Protocol::Broker)))
                .unwrap();
        recordings.state.lock().unwrap().open.insert(name(first.path()));
        let mut bytes = BytesMut::new();
        for _ in 0..2 {
            let id = EndpointId::from_bytes([1; 16]);
            let envelope = Envelope::data(id, Topic::from_static("/t"), &"content".into()).unwrap();
            envelope.encode(&mut bytes).unwrap();
        }
        first.input(Side::Listener, 0, &bytes[..bytes.len() - 1]).unwrap();
        let next = recordings.split(&mut first).unwrap();
        assert_eq!(first.written(), [0, (bytes.len() / 2).try_into().unwrap()]);
        assert_eq!(next.written(), [0, (bytes.len() / 2 - 1).try_into().unwrap()]);
        assert!(first.path().exists() && next.path().exists());
    }

    fn record(recordings: &Recordings) -> PathBuf {
        let folder = recordings.begin(Description::default()).unwrap();
        recordings.end(&folder);
        folder.path().to_owned()
    }

    #[test]
    fn recorders_in_one_folder_keep_their_own_recordings() {
        let root = tempfile::tempdir().unwrap();
        let earlier = old(root.path(), 1);
        let [first, second] = [2, 1].map(|keep| Recordings::new(root.path().to_owned(), Some(keep)).unwrap());
        let of_first = [(); 2].map(|()| record(&first));
        assert!(!earlier.exists());
        let of_second = [(); 3].map(|()| record(&second));
        assert!(of_first.iter().all(|recording| recording.exists()));
        assert_eq!(of_second.each_ref().map(|recording| recording.exists()), [false, false, true]);
        let next = record(&first);
        assert_eq!(of_first.each_ref().map(|recording| recording.exists()), [false, true]);
        assert!(of_second[2].exists());
        // Recordings of a recorder that has ended count for the remaining one.
        drop(first);
        let last = record(&second);
        assert_eq!(
            [&of_first[1], &next, &of_second[2], &last].map(|recording| recording.exists()),
            [false, false, false, true]
        );
        drop(second);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no lock is left");
    }

    #[test]
    fn the_lock_of_a_killed_recorder_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let killed = root.path().join("20200101T000000Z-0123abcd-0001");
        fs::rename(old(root.path(), 1), &killed).unwrap();
        // After a kill, the file exists without a lock.
        let lock = root.path().join(".zeek-bridge-0123abcd.lock");
        fs::write(&lock, "").unwrap();
        record(&Recordings::new(root.path().to_owned(), Some(1)).unwrap());
        assert!(!killed.exists() && !lock.exists());
    }

    #[test]
    fn a_recording_that_cannot_be_created_leaves_no_lock() {
        let root = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(root.path().to_owned(), Some(1)).unwrap();
        assert!(recordings.add(|_| Err(io::ErrorKind::StorageFull.into())).is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn recordings_are_recognized_by_name() {
        for (name, recorder) in [
            ("20261123T081500Z-5c1d09ae-0001", Recorder::Run("5c1d09ae")),
            ("20261123T081500Z-5c1d09ae-12345", Recorder::Run("5c1d09ae")),
            ("20261123T081500Z-0001", Recorder::Unknown),
            ("20261123T081500Z-5c1d09ae", Recorder::None),
            ("20261123T081500Z-5C1D09AE-0001", Recorder::None),
            ("20261123T081500Z-5c1d09ae-0001-x", Recorder::None),
            ("20261123-5c1d09ae-0001", Recorder::None),
            ("notes", Recorder::None),
        ] {
            assert_eq!(recorder_of(name), recorder, "{name}");
        }
    }
}
