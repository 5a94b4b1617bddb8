//! The writer of recordings.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::conversation::{Conversation, Entry};
use super::folder::{INDEX, META, NEW_META, create_private, remove, stream_file};
use super::meta::{self, Description, Progress};
use super::{Protocol, Side, to_u64};
use crate::data::{escape_json, steers_terminal};

/// The buffered lines are written when their total size in bytes exceeds this value. One long line may exceed it by any
/// length.
const MAX_PENDING: usize = 1024 * 1024;

/// The size of the body above which a frame is large, in bytes. The JSON of a frame can be more than 30 times as large: a `none` is
/// one byte of the frame, and about 30 of JSON.
const LARGE_FRAME: usize = 32 * 1024;

/// Held while a large frame is converted to JSON and written, so that the memory of all writers together is bounded.
static LARGE: Mutex<()> = Mutex::new(());

/// Writes the recording of a connection, or of a part of it, while the connection lasts.
///
/// The folder can be read at any time:
///
/// - `meta.json` contains `"complete": false` until [`finish`](Self::finish) or [`split`](Self::split) is called.
/// - No line of `frames.jsonl` describes bytes that are not written yet.
///
/// All methods block on the file system. After an error, call [`abandon`](Self::abandon).
///
/// ```
/// use zeek_bridge::trace::{Description, Meta, Reader, Side, Writer};
///
/// # let root = std::env::temp_dir().join(format!("zeek-bridge-doc-{}", std::process::id()));
/// # let folder = root.clone();
/// let mut writer = Writer::create(folder.clone(), Description::default(), None)?;
/// writer.input(Side::Listener, 12, b"\0\0\0\x05\x07ZEEK")?;
/// writer.finish()?;
///
/// let meta = Meta::read(&folder);
/// assert_eq!(meta.complete, Some(true));
/// let entries = Reader::open(&folder, &meta)?.collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((entries.len(), entries[0].t_us), (1, 12));
/// # zeek_bridge::trace::remove(&root)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    description: Description,
    /// The name of the recording that contains the earlier part of the connection.
    continues: Option<String>,
    connector: Stream,
    listener: Stream,
    index: Index,
    t_us: u64,
    conversation: Conversation,
}

#[derive(Debug)]
struct Stream {
    file: File,
    written: u64,
}

/// `frames.jsonl`: a line for each entry.
#[derive(Debug)]
struct Index {
    file: File,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    /// The size of all lines, written or not.
    size: u64,
    /// The number of frames.
    count: u64,
}

impl Index {
    fn add(&mut self, entry: &Entry) {
        self.count = self.count.saturating_add(entry.frame.is_ok().into());
        let start = self.pending.len();
        self.pending.push(b'{');
        entry.write_members(&mut self.pending);
        self.pending.push(b'}');
        // Escape characters that control a terminal, because a user may print a recording to one.
        let line = self.pending.get(start..).unwrap_or_default();
        if let Some(escaped) = escape_json(line, steers_terminal) {
            self.pending.truncate(start);
            self.pending.extend_from_slice(&escaped);
        }
        self.pending.push(b'\n');
        self.size = self.size.saturating_add(to_u64(self.pending.len().saturating_sub(start)));
    }

    /// Writes the pending lines. Afterwards, keeps a buffer of about [`MAX_PENDING`] bytes at most.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        self.pending.shrink_to(MAX_PENDING);
        written
    }
}

impl Writer {
    /// Creates a recording in a new folder, which only its owner can read. If this recording continues a previous
    /// recording after [`Writer::split`], `continues` is the name of the previous recording, and the protocol.
    ///
    /// # Errors
    /// Fails if the folder exists ([`io::ErrorKind::AlreadyExists`]) or cannot be written. A folder that was created is
    /// removed again.
    pub fn create(
        path: PathBuf,
        description: Description,
        continues: Option<(String, Protocol)>,
    ) -> io::Result<Self> {
        create_private(&path)?;
        let writer = Self::create_files(path.clone(), description, continues);
        if writer.is_err() {
            let _ = remove(&path);
        }
        writer
    }

    fn create_files(
        path: PathBuf,
        description: Description,
        continues: Option<(String, Protocol)>,
    ) -> io::Result<Self> {
        let stream = |side: Side| -> io::Result<Stream> {
            Ok(Stream { file: File::create(path.join(stream_file(side)))?, written: 0 })
        };
        let (connector, listener) = (stream(Side::Connector)?, stream(Side::Listener)?);
        let index = Index { file: File::create(path.join(INDEX))?, pending: Vec::new(), size: 0, count: 0 };
        let (continues, conversation) = match continues {
            Some((name, protocol)) => (Some(name), Conversation::continued(protocol)),
            None => (None, Conversation::of(description.protocol)),
        };
        let writer =
            Writer { path, description, continues, connector, listener, index, t_us: 0, conversation };
        writer.write_meta(false, None, None)?;
        Ok(writer)
    }

    /// Returns the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of recorded bytes of the connector and of the listener.
    #[must_use]
    pub fn written(&self) -> [u64; 2] {
        [self.connector.written, self.listener.written]
    }

    /// Returns the size of the folder in bytes, including buffered lines, without `meta.json`, which has a few hundred bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.written().into_iter().fold(self.index.size, u64::saturating_add)
    }

    /// Returns the number of frames.
    #[must_use]
    pub fn frame_count(&self) -> u64 {
        self.index.count
    }

    /// Writes bytes that a side sent, `t_us` microseconds after the start of the connection. Lines about them may stay
    /// buffered until [`flush`](Self::flush).
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn input(&mut self, from: Side, t_us: u64, bytes: &[u8]) -> io::Result<()> {
        // Entries are in the order of the calls, so the time of an entry must not be earlier than that of the previous
        // entry.
        self.t_us = self.t_us.max(t_us);
        let stream = self.stream(from);
        stream.file.write_all(bytes)?;
        stream.written = stream.written.saturating_add(to_u64(bytes.len()));
        for entry in self.conversation.input(from, self.t_us, bytes) {
            let is_large = entry.frame.as_ref().is_ok_and(|frame| frame.body.len() > LARGE_FRAME);
            let alone = is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
            self.index.add(&entry);
            if is_large || self.index.pending.len() > MAX_PENDING {
                self.index.flush()?;
            }
            drop(alone);
        }
        Ok(())
    }

    /// Writes the buffered lines.
    ///
    /// # Errors
    /// Fails if the file cannot be written. In this case, the lines are discarded.
    pub fn flush(&mut self) -> io::Result<()> {
        self.index.flush()
    }

    /// Returns whether [`split`](Self::split) can be called: both sides have finished their handshake, and there is at least
    /// one frame.
    #[must_use]
    pub fn can_be_split(&self) -> bool {
        self.index.count > 0 && self.conversation.can_be_split()
    }

    /// Completes this recording, and returns the writer of a new recording for the rest of the connection. The bytes of
    /// incomplete frames are moved to the new recording.
    ///
    /// # Errors
    /// Fails as [`create`](Self::create) and [`input`](Self::input) do. The new folder is removed again, and with it the bytes of
    /// incomplete frames that were already moved.
    pub fn split(&mut self, path: PathBuf) -> io::Result<Self> {
        self.flush()?;
        let protocol = self.conversation.protocol().unwrap_or(Protocol::Broker);
        let next = Writer::create(path, self.description.clone(), Some((name(&self.path), protocol)))?;
        let new = next.path.clone();
        let moved = self.move_rest_to(next);
        if moved.is_err() {
            let _ = remove(&new);
        }
        moved
    }

    fn move_rest_to(&mut self, mut next: Self) -> io::Result<Self> {
        let partial =
            Side::BOTH.map(|side| (side, Bytes::copy_from_slice(self.conversation.partial_frame(side))));
        for (from, bytes) in &partial {
            next.input(*from, self.t_us, bytes)?;
        }
        for (from, bytes) in &partial {
            let stream = self.stream(*from);
            stream.written = stream.written.saturating_sub(to_u64(bytes.len()));
            stream.file.set_len(stream.written)?;
        }
        self.write_meta(true, Some(&name(&next.path)), None)?;
        Ok(next)
    }

    /// Completes the recording at the end of the connection.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        for entry in self.conversation.end(self.t_us) {
            self.index.add(&entry);
        }
        self.flush()?;
        self.write_meta(true, None, None)
    }

    /// Ends the recording before the end of the connection, for the given reason.
    ///
    /// # Errors
    /// Fails if `meta.json` cannot be written. In this case, it still contains `"complete": false`.
    pub fn abandon(&mut self, reason: &str) -> io::Result<()> {
        let _ = self.flush();
        self.write_meta(false, None, Some(reason))
    }

    /// Replaces `meta.json` by a rename, so that no reader sees an incomplete file.
    fn write_meta(&self, complete: bool, continued_in: Option<&str>, error: Option<&str>) -> io::Result<()> {
        let progress = Progress {
            continues: self.continues.as_deref(),
            continued_in,
            protocol: self.conversation.protocol(),
            complete,
            error,
            frames: self.index.count,
            bytes: self.written(),
        };
        let text = meta::to_json(&self.description, &progress);
        let mut text = escape_json(&text, steers_terminal).unwrap_or(text);
        text.push(b'\n');
        let new = self.path.join(NEW_META);
        fs::write(&new, text)?;
        fs::rename(new, self.path.join(META))
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::{Meta, Reader};
    use super::*;
    use crate::data::{EndpointId, Topic, Value};
    use crate::wire::Envelope;

    /// Returns frames of a side that has finished its handshake.
    fn frames(count: usize, length: usize) -> Vec<u8> {
        let value = Value::from("\u{1}".repeat(length));
        let mut bytes = BytesMut::new();
        for _ in 0..count {
            let id = EndpointId::from_bytes([1; 16]);
            Envelope::data(id, Topic::from_static("/t"), &value).unwrap().encode(&mut bytes).unwrap();
        }
        bytes.to_vec()
    }

    #[test]
    fn neither_many_lines_nor_a_large_one_stay_in_memory() {
        let root = tempfile::tempdir().unwrap();
        for (count, length) in [(2_000, 1_000), (1, 2_000_000)] {
            let path = root.path().join(count.to_string());
            let mut writer = Writer::create(path.clone(), Description::default(), before()).unwrap();
            writer.input(Side::Connector, 0, &frames(count, length)).unwrap();
            let capacity = writer.index.pending.capacity();
            assert!(capacity <= 2 * MAX_PENDING, "{capacity}");
            writer.finish().unwrap();
            let lines = fs::read_to_string(path.join("frames.jsonl")).unwrap();
            assert_eq!(lines.lines().count(), count);
            assert!(lines.len() > 6 * count * length);
            let written = writer.written()[0] + u64::try_from(lines.len()).unwrap();
            assert_eq!(writer.size(), written);
            let entries = Reader::open(&path, &Meta::read(&path)).unwrap();
            assert_eq!(entries.filter(|entry| entry.as_ref().unwrap().frame.is_ok()).count(), count);
        }
    }

    #[test]
    fn a_large_frame_is_written_at_once() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(root.path().join("a"), Description::default(), before()).unwrap();
        for (length, is_written) in [(LARGE_FRAME / 2, false), (LARGE_FRAME, true)] {
            writer.input(Side::Connector, 0, &frames(1, length)).unwrap();
            assert_eq!(writer.index.pending.is_empty(), is_written, "{length}");
        }
    }

    fn before() -> Option<(String, Protocol)> {
        Some(("before".into(), Protocol::Broker))
    }

    /// Returns a writer after the handshake, which has received one complete frame and a part of a second frame.
    fn writer_to_split(path: PathBuf) -> Writer {
        let mut writer = Writer::create(path, Description::default(), before()).unwrap();
        writer.input(Side::Connector, 0, &frames(2, 10)[..100]).unwrap();
        assert_eq!((writer.frame_count(), writer.can_be_split()), (1, true));
        writer
    }

    #[test]
    fn a_recording_that_was_split_has_all_its_lines() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("first");
        let _next = writer_to_split(path.clone()).split(root.path().join("second")).unwrap();
        let meta = Meta::read(&path);
        assert_eq!(meta.complete, Some(true));
        assert_eq!(fs::read_to_string(path.join(INDEX)).unwrap().lines().count(), 1);
        assert_eq!(Reader::open(&path, &meta).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_split_leaves_no_folder_behind() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("first");
        let mut writer = writer_to_split(path.clone());
        // Make the last step fail: it cannot write `meta.json`.
        fs::create_dir(path.join(NEW_META)).unwrap();
        writer.split(root.path().join("second")).unwrap_err();
        assert!(!root.path().join("second").exists());
    }
}
