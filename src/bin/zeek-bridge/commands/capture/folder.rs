//! Recordings: folders as those of `fixtures/`, one connection each.

use std::fs;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use super::report::{About, Report, Speaks};
use super::table::Tally;
use crate::conversation::{Conversation, Line, Side};
use crate::input;
use crate::output::{Failure, Progress};

/// How many bytes are read at a time.
const CHUNK: usize = 64 * 1024;

/// The part of a line of `frames.jsonl` that tells when which bytes came.
#[derive(Deserialize)]
struct When {
    from: String,
    t_us: u64,
    offset: u64,
    #[serde(default)]
    length: u64,
}

/// What `meta.json` of a recording tells that matters for reading it. Nothing of it has to be there.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Meta {
    /// When the connection began (RFC 3339).
    start: Option<String>,
    /// The folder that holds what was before.
    pub(crate) continues: Option<String>,
    /// Whether whoever wrote it was through with it.
    complete: Option<bool>,
    /// Why it is not all of it.
    error: Option<String>,
}

impl Meta {
    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join("meta.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn start_ns(&self) -> Option<u64> {
        let start = humantime::parse_rfc3339(self.start.as_ref()?).ok()?;
        start.duration_since(UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
    }

    fn note(&self) -> Option<String> {
        let before = self.continues.as_ref().map(|name| format!("what was before is in {name}"));
        let cut = match (&self.error, self.complete) {
            (Some(error), _) => Some(format!("the recording stops before the end: {error}")),
            (None, Some(false)) => Some("the recording is not ended, or its recorder was stopped".to_owned()),
            _ => None,
        };
        let words: Vec<String> = before.into_iter().chain(cut).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// Reads a recording, or all in a folder of them.
pub(super) fn read(
    folder: &Path,
    report: &mut dyn Report,
    shown: Option<Progress>,
) -> Result<Tally, Failure> {
    let mut recordings = Vec::new();
    if is_recording(folder) {
        recordings.push(folder.to_owned());
    } else {
        let unreadable = |error| Failure::failed(format!("cannot read {}: {error}", folder.display()));
        recordings = recordings_in(folder).map_err(unreadable)?;
    }
    if recordings.is_empty() {
        return Err(Failure::failed(format!(
            "{} is no recording, and holds none: a recording is a folder with frames.jsonl, connector.bin and \
             listener.bin, as `zeek-bridge record` writes it",
            folder.display()
        )));
    }
    let mut tally = Tally::default();
    for folder in recordings {
        tally.connections = tally.connections.saturating_add(1);
        tally.broker = tally.broker.saturating_add(1);
        recording(&folder, tally.connections, &mut tally.errors, report, shown.as_ref())?;
    }
    Ok(tally)
}

/// The recordings in a folder, in the order of their names.
pub(crate) fn recordings_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
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

pub(crate) fn is_recording(folder: &Path) -> bool {
    ["frames.jsonl", "connector.bin", "listener.bin"].iter().all(|name| folder.join(name).is_file())
}

fn recording(
    folder: &Path,
    number: u64,
    errors: &mut u64,
    report: &mut dyn Report,
    shown: Option<&Progress>,
) -> Result<(), Failure> {
    let name =
        folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let meta = Meta::read(folder);
    let about = About {
        number,
        name: name.unwrap_or_else(|| folder.display().to_string()),
        start_ns: meta.start_ns(),
        speaks: Speaks::Broker,
        note: meta.note(),
    };
    report.begin(&about)?;
    lines(folder, &meta, &mut |line| {
        let bad = line.said.as_ref().map_or(true, |frame| frame.content.is_err());
        *errors = errors.saturating_add(bad.into());
        if let Some(shown) = shown {
            shown.inc(1);
        }
        report.line(&about, &line)
    })?;
    report.end(&about)
}

/// Gives what both sides of one recording said, in its order.
pub(crate) fn lines(
    folder: &Path,
    meta: &Meta,
    each: &mut dyn FnMut(Line) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut conversation =
        if meta.continues.is_some() { Conversation::continued() } else { Conversation::default() };
    let mut connector = Bytes::open(folder.join("connector.bin"))?;
    let mut listener = Bytes::open(folder.join("listener.bin"))?;
    let mut t_us = 0;
    let index = folder.join("frames.jsonl");
    let mut lines = input::open(Some(&index))?.lines();
    while let Some(line) = lines.next()? {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("{}, line {}: {error}", index.display(), line.number))
        };
        let text = line.text.as_ref().map_err(|error| wrong(error))?;
        let when: When = match serde_json::from_slice(text) {
            Ok(when) => when,
            // A recorder that is killed leaves half a line; its bytes are there.
            Err(error) if error.is_eof() && lines.next()?.is_none() => break,
            Err(error) => return Err(wrong(&error)),
        };
        let (side, bytes) = match when.from.as_str() {
            "connector" => (Side::Connector, &mut connector),
            "listener" => (Side::Listener, &mut listener),
            _ => return Err(wrong(&"\"from\" is neither connector nor listener")),
        };
        t_us = when.t_us;
        let until = when.offset.saturating_add(when.length);
        while bytes.read < until {
            let Some(chunk) = bytes.next(until)? else {
                return Err(wrong(&format_args!("{}.bin has no {until} bytes", side.name())));
            };
            conversation.input(side, t_us, chunk).try_for_each(&mut *each)?;
        }
    }
    // What is in no line, because whoever wrote it was stopped.
    for (side, bytes) in [(Side::Connector, &mut connector), (Side::Listener, &mut listener)] {
        while let Some(chunk) = bytes.next(u64::MAX)? {
            conversation.input(side, t_us, chunk).try_for_each(&mut *each)?;
        }
    }
    // That the last frame is not whole yet is no fault of a recording that is not ended.
    if meta.complete != Some(false) {
        conversation.end(t_us).try_for_each(each)?;
    }
    Ok(())
}

/// What a side sent, from the beginning on.
struct Bytes {
    path: PathBuf,
    file: BufReader<fs::File>,
    chunk: Vec<u8>,
    /// How many bytes were read.
    read: u64,
}

impl Bytes {
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let file = BufReader::new(input::open_file(&path)?);
        Ok(Bytes { path, file, chunk: vec![0; CHUNK], read: 0 })
    }

    /// Some bytes, none at or behind `until`; `None` at the end.
    fn next(&mut self, until: u64) -> Result<Option<&[u8]>, Failure> {
        let most = usize::try_from(until.saturating_sub(self.read)).unwrap_or(CHUNK).min(CHUNK);
        let space = self.chunk.get_mut(..most).unwrap_or_default();
        let count = loop {
            match self.file.read(space) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Failure::failed(format!("cannot read {}: {error}", self.path.display())));
                }
                Ok(count) => break count,
            }
        };
        self.read = self.read.saturating_add(count.try_into().unwrap_or(u64::MAX));
        Ok(self.chunk.get(..count).filter(|chunk| !chunk.is_empty()))
    }
}
