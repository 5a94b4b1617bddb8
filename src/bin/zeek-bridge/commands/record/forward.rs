//! Forwards the bytes of each side unchanged to the opposite side.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use zeek_bridge::net::Stream;
use zeek_bridge::trace::Side;

use super::writer::Queue;

/// Maximum number of bytes of one read.
pub(super) const PIECE: usize = 64 * 1024;

/// The time for which one direction continues after the opposite direction failed.
const LINGER: Duration = Duration::from_secs(5);

/// A sign that a side expects TLS although the recorder uses none with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsSign {
    /// The first bytes of the side are TLS.
    Tls,
    /// The side received bytes, and closed the connection without sending any.
    Silent,
}

/// Forwards everything until both sides have closed their direction, or one of them fails.
///
/// # Errors
/// Fails if a connection fails. The error contains the side of this connection.
pub(super) async fn forward(
    connector: Stream,
    listener: Stream,
    queue: &Queue,
    on_tls_sign: impl Fn(Side, TlsSign),
) -> Result<(), (Side, io::Error)> {
    let [connector_sent, listener_sent] = [const { AtomicBool::new(false) }; 2];
    let (from_connector, to_connector) = split(connector);
    let (from_listener, to_listener) = split(listener);
    let forth = one_way(Side::Connector, from_connector, to_listener, queue, &connector_sent, &on_tls_sign);
    let back = one_way(Side::Listener, from_listener, to_connector, queue, &listener_sent, &on_tls_sign);
    tokio::pin!(forth, back);
    // A side that has closed its sending direction may still receive.
    let (first, other, by_listener) = tokio::select! {
        first = &mut forth => (first, back, false),
        first = &mut back => (first, forth, true),
    };
    let is_silent = || connector_sent.load(Ordering::Relaxed) && !listener_sent.load(Ordering::Relaxed);
    if by_listener && is_silent() {
        on_tls_sign(Side::Listener, TlsSign::Silent);
    }
    match first {
        Ok(()) => other.await,
        Err(error) => {
            let _ = tokio::time::timeout(LINGER, other).await;
            // The answer of a listener that closes early may have arrived only now.
            if !by_listener && error.0 == Side::Listener && is_silent() {
                on_tls_sign(Side::Listener, TlsSign::Silent);
            }
            Err(error)
        }
    }
}

/// Forwards one direction until its end, and then closes this direction at the receiver.
async fn one_way(
    side: Side,
    mut from: ReadHalf<Stream>,
    mut to: WriteHalf<Stream>,
    queue: &Queue,
    has_sent: &AtomicBool,
    on_tls_sign: &impl Fn(Side, TlsSign),
) -> Result<(), (Side, io::Error)> {
    let mut buffer = BytesMut::new();
    let read = loop {
        buffer.reserve(PIECE);
        match from.read_buf(&mut buffer).await {
            Ok(0) => break Ok(()),
            Err(error) => break Err((side, error)),
            Ok(_) => {}
        }
        let bytes = buffer.split().freeze();
        // A TLS handshake or alert.
        if !has_sent.swap(true, Ordering::Relaxed) && matches!(*bytes, [21 | 22, 3, 0..=4, ..]) {
            on_tls_sign(side, TlsSign::Tls);
        }
        // Record the bytes before they are forwarded. Otherwise, an answer to them could be recorded first.
        queue.push(side, bytes.clone()).await;
        let written = async {
            to.write_all(&bytes).await?;
            to.flush().await
        };
        written.await.map_err(|error| (side.other(), error))?;
    };
    // An error can be ignored here: the opposite direction then fails as well.
    let _ = to.shutdown().await;
    read
}
