//! Server-sent events for one viewer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::deadline::Deadline;
use super::settings::Settings;

/// The first frame: a browser that has lost the connection connects again after one second.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// Returns an event with this data, which is one line.
pub(super) fn frame(event: &str, json: &[u8]) -> Vec<u8> {
    [b"event: ", event.as_bytes(), b"\ndata: ", json, b"\n\n"].concat()
}

/// The frames for one viewer. The viewer is counted until this is dropped.
pub(super) struct Feed {
    status: watch::Receiver<Bytes>,
    sample: watch::Receiver<Bytes>,
    settings: watch::Receiver<Arc<Settings>>,
    has_begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    pub(super) fn new(
        status: watch::Receiver<Bytes>,
        sample: watch::Receiver<Bytes>,
        settings: watch::Receiver<Arc<Settings>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Feed { status, sample, settings, has_begun: false, _permit: permit }
    }

    /// Waits for the next frame. Returns `None` if the viewer must connect again, because its token may no longer be valid, or
    /// because the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(Bytes::from_static(RETRY));
        }
        let source = tokio::select! {
            biased;
            _ = self.settings.changed() => return None,
            changed = self.sample.changed() => changed.map(|()| &mut self.sample),
            changed = self.status.changed() => changed.map(|()| &mut self.status),
        };
        source.ok().map(|source| source.borrow_and_update().clone())
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// The body of the response. It is polled only if the connection has sent the previous frames, except for less than
/// [`HEADER_BYTES`](super::server::HEADER_BYTES).
pub(super) struct Events {
    next: Option<Next>,
    /// Runs while the connection sends a frame, or the end.
    deadline: Deadline,
}

impl Events {
    pub(super) fn new(feed: Feed, deadline: Deadline) -> Self {
        Events { next: Some(Self::next(feed)), deadline }
    }

    fn next(mut feed: Feed) -> Next {
        Box::pin(async move { feed.next().await.map(|frame| (frame, feed)) })
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(next) = &mut this.next else { return Poll::Ready(None) };
        this.deadline.end();
        let frame = ready!(next.as_mut().poll(cx));
        this.deadline.start();
        let (frame, next) = frame.map(|(frame, feed)| (Ok(Frame::data(frame)), Self::next(feed))).unzip();
        this.next = next;
        Poll::Ready(frame)
    }
}
