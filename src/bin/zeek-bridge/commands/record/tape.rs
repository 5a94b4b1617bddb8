//! What passes, on its way from the connection to the thread that writes it down.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::redact::Redactor;
use super::shelf::Shelf;
use zeek_bridge::trace::{Description, Side, Writer};

/// How many pieces of at most [`super::pass::PIECE`] bytes may wait for the disk.
const WAITING: usize = 64;

/// How many bytes are written before the lines about them are.
const BATCH: usize = 256 * 1024;

/// How many bytes are written before it is seen whether a folder is full.
const PART: usize = 4096;

/// How much more than it should a folder may hold that cannot be cut yet: the handshake, and the largest frame.
const UNCUT: u64 = 64 * 1024 * 1024;

/// How long a connection waits for the disk before its recording is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that a side said.
struct Piece {
    from: Side,
    t_us: u64,
    bytes: Bytes,
}

/// The end at which pieces go in. Whatever becomes of them, the connection goes on.
pub(super) struct Tape {
    start: Instant,
    pieces: Mutex<Option<mpsc::Sender<Piece>>>,
    too_slow: Arc<AtomicBool>,
}

/// The other end.
pub(super) struct Source {
    pieces: mpsc::Receiver<Piece>,
    too_slow: Arc<AtomicBool>,
}

/// What becomes known while it is written.
pub(super) enum News<'a> {
    Begun(&'a Writer),
    Ended(&'a Writer, Option<&'a io::Error>),
}

pub(super) fn tape() -> (Tape, Source) {
    let (sender, pieces) = mpsc::channel(WAITING);
    let too_slow = Arc::new(AtomicBool::new(false));
    let tape = Tape { start: Instant::now(), pieces: Mutex::new(Some(sender)), too_slow: too_slow.clone() };
    (tape, Source { pieces, too_slow })
}

impl Tape {
    /// Takes a piece. Waits for a disk that is slow, but not for long.
    pub(super) async fn keep(&self, from: Side, bytes: Bytes) {
        let Some(sender) = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        let t_us = self.start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        match tokio::time::timeout(PATIENCE, sender.send(Piece { from, t_us, bytes })).await {
            Ok(Ok(())) => return,
            // Whoever writes has given up, and said so.
            Ok(Err(_)) => {}
            Err(_) => self.too_slow.store(true, Ordering::Relaxed),
        }
        self.end();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        *self.pieces.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Source {
    /// Writes all of a connection down; blocks. An error is told to `news`, where there is a folder, and stands in its
    /// `meta.json`, if that can be written.
    pub(super) fn write_to(
        mut self,
        shelf: &Shelf,
        description: Description,
        rotate: Option<u64>,
        redactor: Option<Redactor>,
        news: impl FnMut(News<'_>),
    ) -> io::Result<()> {
        let redacted = redactor.is_some();
        let recording = shelf.begin(description)?;
        let mut desk = Desk { shelf, recording, rotate, redactor, news };
        (desk.news)(News::Begun(&desk.recording));
        let written = desk.write(&mut self.pieces).and_then(|()| {
            if self.too_slow.load(Ordering::Relaxed) {
                let words = if redacted {
                    "the disk, or the making of pseudonyms, is too slow for what passes"
                } else {
                    "the disk is too slow for what passes"
                };
                return Err(io::Error::new(io::ErrorKind::TimedOut, words));
            }
            desk.recording.finish()
        });
        if let Err(error) = &written {
            let _ = desk.recording.abandon(&error.to_string());
        }
        (desk.news)(News::Ended(&desk.recording, written.as_ref().err()));
        shelf.end(&desk.recording);
        written
    }
}

/// Where a connection is written down.
struct Desk<'a, N> {
    shelf: &'a Shelf,
    recording: Writer,
    rotate: Option<u64>,
    redactor: Option<Redactor>,
    news: N,
}

impl<N: FnMut(News<'_>)> Desk<'_, N> {
    /// Until there are no more pieces. What is there at once is written at once.
    fn write(&mut self, pieces: &mut mpsc::Receiver<Piece>) -> io::Result<()> {
        while let Some(piece) = pieces.blocking_recv() {
            let mut bytes = piece.bytes.len();
            self.piece(piece)?;
            // Bounded, so that what was said is seen in time.
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
        let said = match &mut self.redactor {
            Some(redactor) => redactor.input(piece.from, &piece.bytes),
            None => piece.bytes,
        };
        let Some(most) = self.rotate else { return self.recording.input(piece.from, piece.t_us, &said) };
        // In parts, so that no folder becomes much larger than it should.
        for part in said.chunks(PART) {
            self.recording.input(piece.from, piece.t_us, part)?;
            if self.recording.size() >= most && self.recording.can_be_split() {
                self.recording.flush()?;
                let next = self.shelf.split(&mut self.recording)?;
                (self.news)(News::Ended(&self.recording, None));
                self.recording = next;
                (self.news)(News::Begun(&self.recording));
            } else if self.recording.written().into_iter().fold(0, u64::saturating_add)
                >= most.saturating_add(UNCUT)
            {
                return Err(io::Error::other(
                    "there is too much of it for one folder, and it cannot be cut, for it is not Broker's protocol",
                ));
            }
        }
        Ok(())
    }
}
