//! Recordings, which are folders with one connection each.

use std::path::Path;
use std::time::UNIX_EPOCH;

use zeek_bridge::trace::{self, Content, Entry, Meta, ReadError, Reader, is_recording, recordings_in};

use super::report::{About, Protocol, Report};
use super::table::Tally;
use crate::output::{Failure, Progress};

/// Reads a recording, or all recordings in a folder.
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
            "{} is not a recording and contains none; a recording is a folder with frames.jsonl, connector.bin and \
             listener.bin, as `zeek-bridge record` writes it",
            folder.display()
        )));
    }
    let mut tally = Tally::default();
    for folder in recordings {
        tally.connections = tally.connections.saturating_add(1);
        tally.decoded = tally.decoded.saturating_add(1);
        read_one(&folder, tally.connections, &mut tally.errors, report, shown.as_ref())?;
    }
    Ok(tally)
}

fn read_one(
    folder: &Path,
    number: u64,
    errors: &mut u64,
    report: &mut dyn Report,
    shown: Option<&Progress>,
) -> Result<(), Failure> {
    let name =
        folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let meta = Meta::read(folder);
    let failed = |error: ReadError| Failure::failed(error.to_string());
    let mut entries = Reader::open(folder, &meta).map_err(failed)?.peekable();
    // A recording that is not finished does not name its protocol.
    let protocol = match entries.peek() {
        Some(Ok(Entry { frame: Ok(frame), .. })) => match frame.content {
            Ok(Content::WebSocket(_)) => Protocol::WebSocket,
            Ok(Content::ZeroMq(_)) => Protocol::ZeroMq,
            _ => Protocol::Broker,
        },
        _ => match meta.protocol {
            Some(trace::Protocol::WebSocket) => Protocol::WebSocket,
            Some(trace::Protocol::ZeroMq) => Protocol::ZeroMq,
            _ => Protocol::Broker,
        },
    };
    let about = About {
        number,
        name: name.unwrap_or_else(|| folder.display().to_string()),
        start_ns: start_ns(&meta),
        protocol,
        note: note(&meta),
    };
    report.begin(&about)?;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_error = entry.frame.as_ref().map_or(true, |frame| frame.content.is_err());
        *errors = errors.saturating_add(is_error.into());
        if let Some(shown) = shown {
            shown.inc(1);
        }
        report.entry(&about, &entry)?;
    }
    report.end(&about)
}

/// Returns the start of the connection in nanoseconds since 1970.
fn start_ns(meta: &Meta) -> Option<u64> {
    let start = humantime::parse_rfc3339(meta.start.as_ref()?).ok()?;
    start.duration_since(UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
}

fn note(meta: &Meta) -> Option<String> {
    let earlier = meta.continues.as_ref().map(|name| format!("the earlier part is in {name}"));
    let incomplete = match (&meta.error, meta.complete) {
        (Some(error), _) => Some(format!("the recording stops before the end: {error}")),
        (None, Some(false)) => Some("the recording is not finished, or its recorder was stopped".to_owned()),
        _ => None,
    };
    let notes: Vec<String> = earlier.into_iter().chain(incomplete).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}
