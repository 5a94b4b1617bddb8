//! The queue from a connection to the thread that writes its recording.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::recordings::Recordings;
use super::redact::Redactor;
use zeek_bridge::trace::{Description, Side, Writer};

/// Maximum number of queued pieces, of at most [`super::forward::PIECE`] bytes each.
const QUEUED: usize = 64;

/// The lines about recorded bytes are written after each group of this number of bytes.
const BATCH: usize = 256 * 1024;

/// The number of bytes after which the size of a recording is checked.
const PART: usize = 4096;

/// A recording cannot be split within a handshake or a frame, so it can become larger than `--rotate`. This is the maximum
/// excess in bytes.
const MAX_EXCESS: u64 = 64 * 1024 * 1024;

/// Maximum time for which a slow disk may delay a connection. After that, its recording is abandoned.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Bytes that a side sent.
struct Piece {
    from: Side,
    t_us: u64,
    bytes: Bytes,
}

/// The sending end. If the recording fails, the connection continues.
pub(super) struct Queue {
    start: Instant,
    pieces: Mutex<Option<mpsc::Sender<Piece>>>,
    too_slow: Arc<AtomicBool>,
}

/// The receiving end.
pub(super) struct Receiver {
    pieces: mpsc::Receiver<Piece>,
    too_slow: Arc<AtomicBool>,
}

/// A change that the command reports.
pub(super) enum Notice<'a> {
    Started(&'a Writer),
    Ended(&'a Writer, Option<&'a io::Error>),
}

pub(super) fn queue() -> (Queue, Receiver) {
    let (sender, pieces) = mpsc::channel(QUEUED);
    let too_slow = Arc::new(AtomicBool::new(false));
    let queue = Queue { start: Instant::now(), pieces: Mutex::new(Some(sender)), too_slow: too_slow.clone() };
    (queue, Receiver { pieces, too_slow })
}

impl Queue {
    /// Queues bytes. Waits at most [`MAX_DELAY`] for a slow disk, and then abandons the recording.
    pub(super) async fn push(&self, from: Side, bytes: Bytes) {
        let Some(sender) = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        let t_us = self.start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        match tokio::time::timeout(MAX_DELAY, sender.send(Piece { from, t_us, bytes })).await {
            Ok(Ok(())) => return,
            // The writer has failed and reported it.
            Ok(Err(_)) => {}
            Err(_) => self.too_slow.store(true, Ordering::Relaxed),
        }
        self.end();
    }

    /// Ends the queue: the writer completes the recording.
    pub(super) fn end(&self) {
        *self.pieces.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Receiver {
    /// Writes the recording of a connection until the queue ends. Blocks. Passes an error to `notify` if the recording has
    /// been created, and writes it to `meta.json` if that is possible.
    pub(super) fn write_to(
        mut self,
        recordings: &Recordings,
        description: Description,
        rotate: Option<u64>,
        redactor: Option<Redactor>,
        notify: impl FnMut(Notice<'_>),
    ) -> io::Result<()> {
        let redacted = redactor.is_some();
        let recording = recordings.begin(description)?;
        let mut session = Session { recordings, recording, rotate, redactor, notify };
        (session.notify)(Notice::Started(&session.recording));
        let written = session.write(&mut self.pieces).and_then(|()| {
            if self.too_slow.load(Ordering::Relaxed) {
                let reason = if redacted {
                    "the disk, or the redaction, is slower than the connection"
                } else {
                    "the disk is slower than the connection"
                };
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            session.recording.finish()
        });
        if let Err(error) = &written {
            let _ = session.recording.abandon(&error.to_string());
        }
        (session.notify)(Notice::Ended(&session.recording, written.as_ref().err()));
        recordings.end(&session.recording);
        written
    }
}

/// The recording of a connection, which consists of several folders if it is rotated.
struct Session<'a, N> {
    recordings: &'a Recordings,
    recording: Writer,
    rotate: Option<u64>,
    redactor: Option<Redactor>,
    notify: N,
}

impl<N: FnMut(Notice<'_>)> Session<'_, N> {
    /// Writes pieces until the queue ends. Pieces that are queued together are written together.
    fn write(&mut self, pieces: &mut mpsc::Receiver<Piece>) -> io::Result<()> {
        while let Some(piece) = pieces.blocking_recv() {
            let mut bytes = piece.bytes.len();
            self.piece(piece)?;
            // The batch is limited, so that the lines are not delayed too long.
            while bytes < BATCH
                && let Ok(piece) = pieces.try_recv()
            {
                bytes = bytes.saturating_add(piece.bytes.len());
                self.piece(piece)?;
            }
            self.recording.flush()?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> io::Result<()> {
        let bytes = match &mut self.redactor {
            Some(redactor) => redactor.input(piece.from, &piece.bytes),
            None => piece.bytes,
        };
        let Some(most) = self.rotate else { return self.recording.input(piece.from, piece.t_us, &bytes) };
        // Write in parts, so that the size is checked often enough and no recording becomes much larger than requested.
        for part in bytes.chunks(PART) {
            self.recording.input(piece.from, piece.t_us, part)?;
            if self.recording.size() >= most && self.recording.can_be_split() {
                let next = self.recordings.split(&mut self.recording)?;
                (self.notify)(Notice::Ended(&self.recording, None));
                self.recording = next;
                (self.notify)(Notice::Started(&self.recording));
            } else if self.recording.written().into_iter().fold(0, u64::saturating_add)
                >= most.saturating_add(MAX_EXCESS)
            {
                return Err(io::Error::other(
                    "it is too large for one folder and cannot be split, because it is not Broker's protocol",
                ));
            }
        }
        Ok(())
    }
}
