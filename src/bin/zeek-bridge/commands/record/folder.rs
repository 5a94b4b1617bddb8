//! One recording: its folder, written while the connection lasts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;

use crate::conversation::{Conversation, Line, Side};
use crate::output::Object;

/// What a recording consists of; nothing else is ever removed.
const FILES: [&str; 5] = ["connector.bin", "listener.bin", "frames.jsonl", "meta.json", "meta.json.new"];

/// How many bytes of lines wait at most; and a frame of more becomes text alone, whatever other connections have.
const WAITING: usize = 1024 * 1024;

/// Held while a large frame is text, which is up to six times as long.
static LARGE: Mutex<()> = Mutex::new(());

/// What is known of a connection before anything is said.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// RFC 3339.
    pub(super) start: String,
    /// The two addresses, unless they are not to be told.
    pub(super) ends: Option<[String; 2]>,
    /// What was spoken with each of them.
    pub(super) tls: [&'static str; 2],
    pub(super) redacted: bool,
}

/// The folder of a connection, or of a part of it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    about: About,
    /// The name of the folder that holds what was before.
    continues: Option<String>,
    sides: [Stream; 2],
    frames: Frames,
    t_us: u64,
    conversation: Conversation,
}

#[derive(Debug)]
struct Stream {
    file: File,
    written: u64,
}

/// `frames.jsonl`: a line for each frame.
#[derive(Debug)]
struct Frames {
    file: File,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    /// The bytes of all lines, written or not.
    size: u64,
    /// The number of frames.
    count: u64,
}

impl Frames {
    fn add(&mut self, line: &Line) {
        self.count = self.count.saturating_add(line.said.is_ok().into());
        let line = line.tell(Object::new()).into_line();
        // With the line break.
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
        self.size = self.size.saturating_add(length);
        self.pending.extend_from_slice(&line);
        self.pending.push(b'\n');
    }

    /// Writes the pending lines, and keeps only as much memory as a few lines need.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        self.pending.shrink_to(WAITING);
        written
    }
}

impl Folder {
    /// Makes the folder, which must not be there yet. It is not there either if this fails.
    pub(super) fn create(path: PathBuf, about: About, continues: Option<String>) -> io::Result<Self> {
        make_private(&path)?;
        let folder = Self::fill(path.clone(), about, continues);
        if folder.is_err() {
            let _ = remove(&path);
        }
        folder
    }

    fn fill(path: PathBuf, about: About, continues: Option<String>) -> io::Result<Self> {
        let stream = |side: Side| -> io::Result<Stream> {
            Ok(Stream { file: File::create(path.join(format!("{}.bin", side.name())))?, written: 0 })
        };
        let sides = [stream(Side::Connector)?, stream(Side::Listener)?];
        let file = File::create(path.join("frames.jsonl"))?;
        let frames = Frames { file, pending: Vec::new(), size: 0, count: 0 };
        let conversation =
            if continues.is_some() { Conversation::continued() } else { Conversation::default() };
        let folder = Folder { path, about, continues, sides, frames, t_us: 0, conversation };
        folder.tell(false, None, None)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes each side sent, as far as they are in here.
    pub(super) fn written(&self) -> [u64; 2] {
        self.sides.each_ref().map(|side| side.written)
    }

    /// The size of the folder: what each side sent and the lines about it. `meta.json`, of some hundred bytes, does not
    /// count.
    pub(super) fn size(&self) -> u64 {
        self.written().into_iter().fold(self.frames.size, u64::saturating_add)
    }

    /// How many frames there are.
    pub(super) fn count(&self) -> u64 {
        self.frames.count
    }

    /// Takes what a side sent. The bytes are in the file when this is over; the lines about them may wait for
    /// [`Folder::flush`], so that no line ever tells of bytes that are not there.
    pub(super) fn input(&mut self, from: Side, t_us: u64, bytes: &[u8]) -> io::Result<()> {
        // Both sides' clocks are one, but which of two came first is seen by who comes first to here.
        self.t_us = self.t_us.max(t_us);
        let side = side(&mut self.sides, from);
        side.file.write_all(bytes)?;
        side.written = side.written.saturating_add(bytes.len().try_into().unwrap_or(u64::MAX));
        for line in self.conversation.input(from, self.t_us, bytes) {
            let large = line.said.as_ref().is_ok_and(|frame| frame.body.len() > WAITING);
            let alone = large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
            self.frames.add(&line);
            if self.frames.pending.len() > WAITING {
                self.frames.flush()?;
            }
            drop(alone);
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.frames.flush()
    }

    /// Whether another folder could go on from here, and this one would have something in it.
    pub(super) fn can_be_cut(&self) -> bool {
        self.frames.count > 0 && self.conversation.can_be_cut()
    }

    /// Ends it here, and goes on in another one. What is not a whole frame yet moves there.
    pub(super) fn cut(&mut self, path: PathBuf) -> io::Result<Self> {
        let begun = Side::BOTH.map(|side| Bytes::copy_from_slice(self.conversation.begun(side)));
        let mut next = Folder::create(path, self.about.clone(), Some(name(&self.path)))?;
        let moved = Side::BOTH.into_iter().zip(&begun);
        if let Err(error) = moved.clone().try_for_each(|(from, begun)| next.input(from, self.t_us, begun)) {
            let _ = remove(&next.path);
            return Err(error);
        }
        for (from, begun) in moved {
            let side = side(&mut self.sides, from);
            side.written = side.written.saturating_sub(begun.len().try_into().unwrap_or(u64::MAX));
            side.file.set_len(side.written)?;
        }
        self.tell(true, Some(name(&next.path)), None)?;
        Ok(next)
    }

    /// The connection is over.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let t_us = self.t_us;
        for line in self.conversation.end(t_us) {
            self.frames.add(&line);
        }
        self.flush()?;
        self.tell(true, None, None)
    }

    /// No more of it can be written, or is.
    pub(super) fn give_up(&mut self, why: &str) -> io::Result<()> {
        let _ = self.flush();
        self.tell(false, None, Some(why))
    }

    /// Writes `meta.json`, at once as a whole.
    fn tell(&self, complete: bool, continued_in: Option<String>, error: Option<&str>) -> io::Result<()> {
        let [connector_tls, listener_tls] = self.about.tls;
        let [connector, listener] = self.written();
        let mut meta = Object::new()
            .with("recorder", concat!("zeek-bridge ", env!("CARGO_PKG_VERSION")))
            .with("start", self.about.start.as_str())
            .with("tls", json!({"connector": connector_tls, "listener": listener_tls}))
            .with("redacted", self.about.redacted);
        if let Some([connector, listener]) = &self.about.ends {
            meta = meta.with("connector", connector.as_str()).with("listener", listener.as_str());
        }
        if let Some(continues) = &self.continues {
            meta = meta.with("continues", continues.as_str());
        }
        meta = meta.with("complete", complete);
        if complete || error.is_some() {
            meta = meta
                .with("frames", self.frames.count)
                .with("bytes", json!({"connector": connector, "listener": listener}));
        }
        if let Some(next) = continued_in {
            meta = meta.with("continued_in", next);
        }
        if let Some(error) = error {
            meta = meta.with("error", error);
        }
        let (new, name) = (self.path.join("meta.json.new"), self.path.join("meta.json"));
        let mut line = meta.into_line();
        line.push(b'\n');
        fs::write(&new, line)?;
        fs::rename(new, name)
    }
}

/// Whether there is something in the folder that is not of a recording.
pub(super) fn holds_others(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_ours = FILES.iter().any(|name| entry.file_name() == *name) && !entry.file_type()?.is_dir();
        if !is_ours {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes a recording.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for file in FILES {
        match fs::remove_file(path.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(path)
}

/// Makes a folder that others cannot look into: what passes may be secret, and is not encrypted here.
fn make_private(path: &Path) -> io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

fn side(sides: &mut [Stream; 2], side: Side) -> &mut Stream {
    let [connector, listener] = sides;
    match side {
        Side::Connector => connector,
        Side::Listener => listener,
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::BytesMut;
    use zeek_bridge::data::{EndpointId, Topic, Value};
    use zeek_bridge::wire::Envelope;

    use super::*;

    pub(in super::super) fn about() -> About {
        About { start: String::new(), ends: None, tls: ["off"; 2], redacted: false }
    }

    /// Frames of one side that has said its handshake.
    pub(in super::super) fn frames(count: usize, length: usize) -> Vec<u8> {
        let value = Value::from("\u{1}".repeat(length));
        let mut bytes = BytesMut::new();
        for _ in 0..count {
            let id = EndpointId::from_bytes([1; 16]);
            Envelope::data(id, Topic::from_static("/t"), &value).unwrap().encode(&mut bytes).unwrap();
        }
        bytes.to_vec()
    }

    #[test]
    fn many_lines_and_a_large_one_do_not_wait_in_memory() {
        let root = tempfile::tempdir().unwrap();
        for (count, length) in [(2_000, 1_000), (1, 2_000_000)] {
            let path = root.path().join(count.to_string());
            let mut folder = Folder::create(path.clone(), about(), Some("before".into())).unwrap();
            folder.input(Side::Connector, 0, &frames(count, length)).unwrap();
            let capacity = folder.frames.pending.capacity();
            assert!(capacity <= 2 * WAITING, "{capacity}");
            folder.end().unwrap();
            let lines = fs::read_to_string(path.join("frames.jsonl")).unwrap();
            assert_eq!(lines.lines().count(), count);
            assert!(lines.len() > 6 * count * length);
            let written = folder.written()[0] + u64::try_from(lines.len()).unwrap();
            assert_eq!(folder.size(), written);
        }
    }
}
