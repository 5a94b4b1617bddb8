//! Bytes from one side to the other, unchanged.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use zeek_bridge::net::Stream;
use zeek_bridge::trace::Side;

use super::tape::Tape;

/// How much is read at a time.
pub(super) const PIECE: usize = 64 * 1024;

/// How long one direction goes on after the other one broke.
const LINGER: Duration = Duration::from_secs(5);

/// What a side does that expects TLS where there is none, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// The first that it says is TLS.
    Tls,
    /// It has closed, after it was spoken to and before it said anything.
    Silent,
}

/// Passes everything on until both sides have ended what they say, or one of them broke.
///
/// # Errors
/// When a side broke, with who it was.
pub(super) async fn pass(
    connector: Stream,
    listener: Stream,
    tape: &Tape,
    odd: impl Fn(Side, Odd),
) -> Result<(), (Side, io::Error)> {
    let [connector_spoke, listener_spoke] = [const { AtomicBool::new(false) }; 2];
    let (from_connector, to_connector) = split(connector);
    let (from_listener, to_listener) = split(listener);
    let forth = one_way(Side::Connector, from_connector, to_listener, tape, &connector_spoke, &odd);
    let back = one_way(Side::Listener, from_listener, to_connector, tape, &listener_spoke, &odd);
    tokio::pin!(forth, back);
    // Whoever has nothing more to say may still have something to hear. Of what is broken, that is not for sure.
    let (first, other, by_listener) = tokio::select! {
        first = &mut forth => (first, back, false),
        first = &mut back => (first, forth, true),
    };
    let by_listener = by_listener || matches!(first, Err((Side::Listener, _)));
    if by_listener && connector_spoke.load(Ordering::Relaxed) && !listener_spoke.load(Ordering::Relaxed) {
        odd(Side::Listener, Odd::Silent);
    }
    match first {
        Ok(()) => other.await,
        Err(error) => {
            let _ = tokio::time::timeout(LINGER, other).await;
            Err(error)
        }
    }
}

/// Until there is nothing more to read, which is then told to the other side.
async fn one_way(
    side: Side,
    mut from: ReadHalf<Stream>,
    mut to: WriteHalf<Stream>,
    tape: &Tape,
    spoke: &AtomicBool,
    odd: &impl Fn(Side, Odd),
) -> Result<(), (Side, io::Error)> {
    let mut room = BytesMut::new();
    let read = loop {
        room.reserve(PIECE);
        match from.read_buf(&mut room).await {
            Ok(0) => break Ok(()),
            Err(error) => break Err((side, error)),
            Ok(_) => {}
        }
        let bytes = room.split().freeze();
        // A handshake, or an alert.
        if !spoke.swap(true, Ordering::Relaxed) && matches!(*bytes, [21 | 22, 3, 0..=4, ..]) {
            odd(side, Odd::Tls);
        }
        // Before it is passed on: so that no answer to it can be written down before it.
        tape.keep(side, bytes.clone()).await;
        let written = async {
            to.write_all(&bytes).await?;
            to.flush().await
        };
        written.await.map_err(|error| (side.other(), error))?;
    };
    // That it cannot be told is seen by whoever reads from there.
    let _ = to.shutdown().await;
    read
}
